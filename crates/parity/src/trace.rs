//! Named tensors, as one run wrote them.

use crate::error::TraceError;
use crate::npz;
use crate::tensor::{Element, Tensor};
use ndarray::{ArrayView, Dimension};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Tensors by name. A name stands for one tensor: a second one is an error, never a replacement.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trace {
    tensors: BTreeMap<String, Tensor>,
}

impl Trace {
    /// A trace without tensors.
    pub fn new() -> Trace {
        Trace::default()
    }

    /// Reads the bytes of an `.npz` archive; `file` is the name that errors give.
    ///
    /// Entries in Fortran order come out in standard order. Memory grows with what the archive holds,
    /// not with what its headers claim, up to [`MAX_TENSOR_BYTES`](crate::MAX_TENSOR_BYTES) a tensor.
    ///
    /// # Errors
    ///
    /// [`TraceError`] for everything else than an archive of one or more float32, float64 or int64 arrays
    /// with different names.
    pub fn from_npz(file: &str, bytes: &[u8]) -> Result<Trace, TraceError> {
        let mut trace = Trace::new();
        for (name, tensor) in npz::read(file, bytes)? {
            trace.add(file, name, tensor)?;
        }
        Ok(trace)
    }

    /// Reads an `.npz` file that has no manifest: [`Trace::from_npz`] on its bytes.
    ///
    /// # Errors
    ///
    /// [`TraceError::Io`], and those of [`Trace::from_npz`].
    pub fn read_npz(path: &Path) -> Result<Trace, TraceError> {
        let file = path.display().to_string();
        let bytes = fs::read(path).map_err(|source| TraceError::Io {
            file: file.clone(),
            source,
        })?;
        Trace::from_npz(&file, &bytes)
    }

    /// Writes an `.npz` file as `numpy.savez_compressed` does; equal traces give equal bytes.
    ///
    /// # Errors
    ///
    /// [`TraceError::Empty`] for a trace without tensors, [`TraceError::Zip`] or [`TraceError::Io`] where
    /// packing or writing fails.
    pub fn write_npz(&self, path: &Path) -> Result<(), TraceError> {
        let file = path.display().to_string();
        let bytes = npz::write(&file, &self.tensors)?;
        fs::write(path, bytes).map_err(|source| TraceError::Io { file, source })
    }

    /// Adds one tensor.
    ///
    /// # Errors
    ///
    /// [`TraceError::Duplicate`], which leaves the trace as it was.
    pub fn insert(
        &mut self,
        name: impl Into<String>,
        tensor: impl Into<Tensor>,
    ) -> Result<(), TraceError> {
        self.add("insert", name.into(), tensor.into())
    }

    /// Adds all tensors of `other`: a case may be split over several files.
    ///
    /// # Errors
    ///
    /// [`TraceError::Duplicate`].
    pub fn merge(&mut self, other: Trace) -> Result<(), TraceError> {
        other
            .tensors
            .into_iter()
            .try_for_each(|(name, tensor)| self.add("merge", name, tensor))
    }

    /// The tensor of that name.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(name)
    }

    /// A view of the tensor of that name with the element type and rank the caller needs.
    ///
    /// # Errors
    ///
    /// [`TraceError::Missing`], [`TraceError::Dtype`] or [`TraceError::Rank`].
    pub fn array<T: Element, D: Dimension>(
        &self,
        name: &str,
    ) -> Result<ArrayView<'_, T, D>, TraceError> {
        let tensor = self.get(name).ok_or_else(|| TraceError::Missing {
            name: name.to_owned(),
        })?;
        let view = T::of(tensor).ok_or_else(|| TraceError::Dtype {
            name: name.to_owned(),
            expected: T::DTYPE,
            found: tensor.dtype(),
        })?;
        view.into_dimensionality().map_err(|_| TraceError::Rank {
            name: name.to_owned(),
            // A D without a fixed rank takes every rank and does not come here.
            expected: D::NDIM.unwrap_or_default(),
            found: tensor.shape().to_vec(),
        })
    }

    /// Names and tensors in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.tensors
            .iter()
            .map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// The number of tensors.
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Whether there is no tensor.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    fn add(&mut self, file: &str, name: String, tensor: Tensor) -> Result<(), TraceError> {
        if self.tensors.contains_key(&name) {
            return Err(TraceError::Duplicate {
                file: file.to_owned(),
                name,
            });
        }
        self.tensors.insert(name, tensor);
        Ok(())
    }
}
