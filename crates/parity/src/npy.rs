//! The `.npy` format: one array, as numpy stored it.

use crate::error::TraceError;
use ndarray::{ArrayD, IxDyn, ShapeBuilder};
use ndarray_npy::npy::header::Header;

/// The longest header that is parsed, in bytes; numpy writes 118 for ordinary arrays.
const MAX_HEADER_BYTES: usize = 4096;

/// An array of any element type: what its header says, and bytes that nobody has read as numbers yet.
#[derive(Clone, Debug)]
pub struct StoredArray {
    file: String,
    entry: String,
    dtype: String,
    shape: Vec<usize>,
    is_fortran: bool,
    bytes: Vec<u8>,
}

impl StoredArray {
    /// Reads the header of an `.npy`; `file` and `entry` are the names that errors give.
    ///
    /// # Errors
    ///
    /// [`TraceError::Npy`] for what has no header of that format.
    pub fn parse(file: &str, entry: &str, npy: &[u8]) -> Result<StoredArray, TraceError> {
        let refused = |reason: String| TraceError::Npy {
            file: file.to_owned(),
            entry: entry.to_owned(),
            reason,
        };
        let header_end = header_end(npy).map_err(refused)?;
        let (mut head, bytes) = npy.split_at(header_end);
        let header = Header::from_reader(&mut head).map_err(|e| refused(e.to_string()))?;
        let descriptor = &header.type_descriptor;
        Ok(StoredArray {
            file: file.to_owned(),
            entry: entry.to_owned(),
            dtype: descriptor
                .as_string()
                .cloned()
                .unwrap_or_else(|| descriptor.to_string()),
            is_fortran: header.layout.is_fortran(),
            shape: header.shape,
            bytes: bytes.to_vec(),
        })
    }

    /// numpy's descriptor: `<f4`, `<f2`, `<i8`, ...
    pub fn dtype(&self) -> &str {
        &self.dtype
    }

    /// The elements, `N` bytes each, in standard order. The shape is believed once the bytes agree with it.
    ///
    /// # Errors
    ///
    /// [`TraceError::Length`] where there are more or fewer bytes than the shape needs.
    pub fn elements<T: Clone, const N: usize>(
        &self,
        element: impl Fn([u8; N]) -> T,
    ) -> Result<ArrayD<T>, TraceError> {
        let needed = self
            .shape
            .iter()
            .try_fold(N as u128, |bytes, &axis| bytes.checked_mul(axis as u128))
            .unwrap_or(u128::MAX);
        if needed != self.bytes.len() as u128 {
            return Err(TraceError::Length {
                file: self.file.clone(),
                entry: self.entry.clone(),
                shape: self.shape.clone(),
                expected: needed,
                found: self.bytes.len(),
            });
        }
        let (elements, _) = self.bytes.as_chunks::<N>();
        let elements = elements.iter().map(|&bytes| element(bytes)).collect();
        let shape = IxDyn(&self.shape).set_f(self.is_fortran);
        let array = ArrayD::from_shape_vec(shape, elements).map_err(|e| TraceError::Npy {
            file: self.file.clone(),
            entry: self.entry.clone(),
            reason: e.to_string(),
        })?;
        Ok(if array.is_standard_layout() {
            array
        } else {
            array.as_standard_layout().into_owned()
        })
    }
}

/// Where the header ends (numpy.lib.format), once it is known to be short, present and flat: the parser
/// allocates the length it is told and recurses into brackets.
fn header_end(npy: &[u8]) -> Result<usize, String> {
    let (start, length) = match npy {
        [0x93, b'N', b'U', b'M', b'P', b'Y', 1, _, a, b, ..] => {
            (10, u16::from_le_bytes([*a, *b]).into())
        }
        [0x93, b'N', b'U', b'M', b'P', b'Y', 2 | 3, _, a, b, c, d, ..] => {
            (12, u32::from_le_bytes([*a, *b, *c, *d]))
        }
        _ => return Err("no npy header of version 1, 2 or 3".to_owned()),
    };
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > MAX_HEADER_BYTES {
        return Err(format!("a header of {length} bytes"));
    }
    let header = npy.get(start..start + length).ok_or("a truncated header")?;
    let open = header
        .iter()
        .filter(|b| matches!(b, b'(' | b'[' | b'{'))
        .count();
    if open > 2 {
        return Err(format!("a header with {open} opening brackets"));
    }
    Ok(start + length)
}
