use std::{borrow::Cow, ops::Range, sync::Arc};

use half::{bf16, f16};
use ndarray::{ArrayView1, ArrayView2};
use safetensors::Dtype;

use crate::{Error, map::Mapped};

/// A tensor of finite float32 numbers in row-major order.
///
/// Borrowed from the memory map where the file holds aligned float32 (on a little-endian machine),
/// otherwise an owned conversion. Float16 and bfloat16 convert exactly: float32 holds all their values.
#[derive(Debug, Clone)]
pub struct Tensor<'a> {
    name: String,
    shape: Vec<usize>,
    data: Cow<'a, [f32]>,
    _pages: Arc<Pages<'a>>,
}

/// A tensor's bytes in its file, whose memory is given back with the last clone of the tensor.
#[derive(Debug)]
pub(crate) struct Pages<'a> {
    pub file: &'a Mapped,
    pub range: Range<usize>,
}

impl<'a> Pages<'a> {
    pub fn bytes(&self) -> &'a [u8] {
        // The range was checked against the file when it was opened, and a map keeps its length.
        &self.file.bytes()[self.range.clone()]
    }
}

impl Drop for Pages<'_> {
    fn drop(&mut self) {
        self.file.release(&self.range);
    }
}

impl<'a> Tensor<'a> {
    /// Decodes the bytes, whose length safetensors has checked against `dtype` and `shape`.
    pub(crate) fn decode(
        name: &str,
        dtype: Dtype,
        shape: &[usize],
        pages: Pages<'a>,
    ) -> Result<Self, Error> {
        let bytes = pages.bytes();
        let tensor = Self {
            _pages: Arc::new(pages),
            name: name.to_string(),
            shape: shape.to_vec(),
            data: floats(dtype, bytes).ok_or_else(|| Error::Dtype {
                name: name.to_string(),
                found: dtype.to_string(),
            })?,
        };
        match first_not_finite(&tensor.data) {
            None => Ok(tensor),
            Some(flat) => Err(Error::NotFinite {
                index: place(flat, shape),
                found: tensor.data[flat],
                name: tensor.name,
            }),
        }
    }

    /// The tensor's name without the `transformer.` prefix.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The size of each dimension.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// All elements, row-major.
    pub fn as_slice(&self) -> &[f32] {
        &self.data
    }

    /// Whether the elements are the file's own bytes, not a copy.
    pub fn is_borrowed(&self) -> bool {
        matches!(self.data, Cow::Borrowed(_))
    }

    /// The tensor as `[n]`.
    ///
    /// # Errors
    /// [`Error::Rank`] if it does not have one dimension.
    pub fn view1(&self) -> Result<ArrayView1<'_, f32>, Error> {
        match self.shape[..] {
            [n] => ArrayView1::from_shape(n, &self.data).map_err(|_| self.rank(1)),
            _ => Err(self.rank(1)),
        }
    }

    /// The tensor as `[rows, columns]`; for a Conv1D weight these are `[in, out]`, as in the file.
    ///
    /// # Errors
    /// [`Error::Rank`] if it does not have two dimensions.
    pub fn view2(&self) -> Result<ArrayView2<'_, f32>, Error> {
        match self.shape[..] {
            [rows, columns] => {
                ArrayView2::from_shape((rows, columns), &self.data).map_err(|_| self.rank(2))
            }
            _ => Err(self.rank(2)),
        }
    }

    fn rank(&self, expected: usize) -> Error {
        Error::Rank {
            name: self.name.clone(),
            expected,
            found: self.shape.clone(),
        }
    }
}

/// The float types that are read, all of which float32 holds exactly.
pub(crate) fn is_readable(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16)
}

/// The elements as float32; `None` for a type that is not read.
fn floats(dtype: Dtype, bytes: &[u8]) -> Option<Cow<'_, [f32]>> {
    // safetensors are little-endian; on other machines the bytes have to be turned round.
    if dtype == Dtype::F32
        && cfg!(target_endian = "little")
        && let Ok(aligned) = bytemuck::try_cast_slice(bytes)
    {
        return Some(Cow::Borrowed(aligned));
    }
    let (fours, _) = bytes.as_chunks::<4>();
    let (pairs, _) = bytes.as_chunks::<2>();
    Some(Cow::Owned(match dtype {
        Dtype::F32 => fours.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        Dtype::F16 => pairs
            .iter()
            .map(|b| f16::from_le_bytes(*b).to_f32())
            .collect(),
        Dtype::BF16 => pairs
            .iter()
            .map(|b| bf16::from_le_bytes(*b).to_f32())
            .collect(),
        _ => return None,
    }))
}

/// The place of the first NaN or infinity. 0 x is NaN exactly there, and asking so takes no branch: a model
/// is read as fast as memory gives it.
fn first_not_finite(values: &[f32]) -> Option<usize> {
    const LANES: usize = 64;
    let mut chunks = values.chunks(LANES).enumerate();
    let (chunk, values) = chunks.find(|(_, values)| {
        let mut sums = [0.0_f32; LANES];
        for (sum, x) in sums.iter_mut().zip(*values) {
            *sum = 0.0 * x;
        }
        sums.iter().any(|sum| *sum != 0.0)
    })?;
    let place = values.iter().position(|x| !x.is_finite())?;
    Some(chunk * LANES + place)
}

/// The index in each dimension of the `flat`-th element.
fn place(mut flat: usize, shape: &[usize]) -> Vec<usize> {
    let mut index = vec![0; shape.len()];
    for (i, &n) in index.iter_mut().zip(shape).rev() {
        // An element exists, so no dimension is zero.
        *i = flat % n;
        flat /= n;
    }
    index
}
