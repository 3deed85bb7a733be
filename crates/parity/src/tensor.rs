//! Arrays of any rank in one of the element types that traces hold.

use ndarray::{Array, ArrayD, ArrayView, ArrayViewD, Dimension, IxDyn};
use serde::Serialize;
use std::fmt;

/// The element types a trace can hold. There is no conversion between them: float64 for float32 is a
/// mismatch, not a detail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// IEEE 754 binary32, numpy's `<f4`.
    Float32,
    /// IEEE 754 binary64, numpy's `<f8`.
    Float64,
    /// Signed 64-bit integers, numpy's `<i8`: token ids.
    Int64,
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Dtype::Float32 => "float32",
            Dtype::Float64 => "float64",
            Dtype::Int64 => "int64",
        })
    }
}

/// An owned array of any rank. Its shape is part of its value: nothing in this crate broadcasts,
/// squeezes or flattens.
#[derive(Clone, Debug, PartialEq)]
pub enum Tensor {
    /// float32 elements.
    F32(ArrayD<f32>),
    /// float64 elements.
    F64(ArrayD<f64>),
    /// int64 elements.
    I64(ArrayD<i64>),
}

impl Tensor {
    /// The element type.
    pub fn dtype(&self) -> Dtype {
        match self {
            Tensor::F32(_) => Dtype::Float32,
            Tensor::F64(_) => Dtype::Float64,
            Tensor::I64(_) => Dtype::Int64,
        }
    }

    /// The length of every axis, outermost first; empty for a scalar.
    pub fn shape(&self) -> &[usize] {
        match self {
            Tensor::F32(a) => a.shape(),
            Tensor::F64(a) => a.shape(),
            Tensor::I64(a) => a.shape(),
        }
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        match self {
            Tensor::F32(a) => a.len(),
            Tensor::F64(a) => a.len(),
            Tensor::I64(a) => a.len(),
        }
    }

    /// Whether some axis has length zero.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A view with the element type and rank the caller needs, or `None` where either differs.
    pub fn view<T: Element, D: Dimension>(&self) -> Option<ArrayView<'_, T, D>> {
        T::of(self)?.into_dimensionality().ok()
    }

    /// The bytes of `text` as int64, shape `[bytes]`: text is then judged like ids, exactly.
    pub fn from_text(text: &str) -> Tensor {
        let bytes: Vec<i64> = text.bytes().map(i64::from).collect();
        Tensor::I64(Array::from_vec(bytes).into_dyn())
    }
}

/// An element type that a [`Tensor`] can hold: `f32`, `f64` or `i64`.
pub trait Element: sealed::Sealed {
    /// Its name in a trace.
    const DTYPE: Dtype;

    /// The tensor's array, or `None` where its element type is another.
    fn of(tensor: &Tensor) -> Option<ArrayViewD<'_, Self>>;
}

mod sealed {
    pub trait Sealed: Copy + 'static {}
}

macro_rules! element {
    ($type:ty, $variant:ident, $dtype:ident) => {
        impl sealed::Sealed for $type {}

        impl Element for $type {
            const DTYPE: Dtype = Dtype::$dtype;

            fn of(tensor: &Tensor) -> Option<ArrayViewD<'_, Self>> {
                match tensor {
                    Tensor::$variant(array) => Some(array.view()),
                    _ => None,
                }
            }
        }

        /// Copies the view into standard layout.
        impl<D: Dimension> From<ArrayView<'_, $type, D>> for Tensor {
            fn from(view: ArrayView<'_, $type, D>) -> Tensor {
                let dynamic: ArrayView<'_, $type, IxDyn> = view.into_dyn();
                Tensor::$variant(dynamic.as_standard_layout().into_owned())
            }
        }

        impl<D: Dimension> From<Array<$type, D>> for Tensor {
            fn from(array: Array<$type, D>) -> Tensor {
                Tensor::$variant(array.into_dyn())
            }
        }
    };
}

element!(f32, F32, Float32);
element!(f64, F64, Float64);
element!(i64, I64, Int64);

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Ix1, Ix2, array};

    #[test]
    fn a_view_comes_in_the_type_and_rank_asked_for_or_not_at_all() {
        let tensor = Tensor::from(array![[1.0f32, 2.0], [3.0, 4.0]].t());
        assert_eq!(tensor.dtype(), Dtype::Float32);
        assert_eq!(tensor.shape(), [2, 2]);
        assert_eq!((tensor.len(), tensor.is_empty()), (4, false));
        assert_eq!(
            tensor.view::<f32, Ix2>().unwrap(),
            array![[1.0, 3.0], [2.0, 4.0]]
        );
        assert!(tensor.view::<f32, Ix1>().is_none());
        assert!(tensor.view::<f64, Ix2>().is_none());
    }

    #[test]
    fn text_is_its_bytes() {
        assert_eq!(
            Tensor::from_text("é!"),
            Tensor::from(array![0xc3i64, 0xa9, 0x21])
        );
        assert!(Tensor::from_text("").is_empty());
    }

    #[test]
    fn element_types_have_numpys_names() {
        let names = [Dtype::Float32, Dtype::Float64, Dtype::Int64].map(|dtype| dtype.to_string());
        assert_eq!(names, ["float32", "float64", "int64"]);
    }
}
