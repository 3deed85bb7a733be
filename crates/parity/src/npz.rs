//! The `.npz` format: a zip archive of `.npy` arrays.
//!
//! Reading distrusts every size in the file. Memory is spent on bytes that are there; a header is looked
//! at before it goes to a parser that recurses; a shape is believed once the bytes agree with it.

use crate::error::TraceError;
use crate::tensor::{Element, Tensor};
use ndarray::{ArrayD, IxDyn, ShapeBuilder};
use ndarray_npy::NpzWriter;
use ndarray_npy::npy::header::Header;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Cursor, Read};
use zip::ZipArchive;

/// The most that one tensor may unpack to, in bytes (1 GiB): the logits of 1,024 tokens of the largest
/// GPT-2 are a fifth of it.
pub const MAX_TENSOR_BYTES: u64 = 1 << 30;

/// The longest header that is parsed, in bytes; numpy writes 118 for ordinary arrays.
const MAX_HEADER_BYTES: usize = 4096;

/// Every tensor of the archive in the archive's order.
pub(crate) fn read(file: &str, bytes: &[u8]) -> Result<Vec<(String, Tensor)>, TraceError> {
    let zip = |reason: String| TraceError::Zip {
        file: file.to_owned(),
        reason,
    };
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|e| zip(e.to_string()))?;
    if archive.is_empty() {
        return Err(TraceError::Empty {
            file: file.to_owned(),
        });
    }
    refuse_hidden_entries(file, bytes, &archive)?;
    let mut tensors = Vec::with_capacity(archive.len());
    for index in 0..archive.len() {
        let entry = archive.by_index(index).map_err(|e| zip(e.to_string()))?;
        let entry_name = entry.name().to_owned();
        let at = Place {
            file,
            entry: &entry_name,
        };
        let name = entry_name
            .strip_suffix(".npy")
            .filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| at.entry_name())?.to_owned();
        let npy = unpack(&at, entry, MAX_TENSOR_BYTES)?;
        tensors.push((name, parse(&at, &npy)?));
    }
    Ok(tensors)
}

/// The archive of `tensors`, deflated; the zip's timestamps are constant.
pub(crate) fn write(file: &str, tensors: &BTreeMap<String, Tensor>) -> Result<Vec<u8>, TraceError> {
    let zip = |reason: String| TraceError::Zip {
        file: file.to_owned(),
        reason,
    };
    if tensors.is_empty() {
        return Err(TraceError::Empty {
            file: file.to_owned(),
        });
    }
    let mut npz = NpzWriter::new_compressed(Cursor::new(Vec::new()));
    for (name, tensor) in tensors {
        let added = match tensor {
            Tensor::F32(a) => npz.add_array(name, &a.as_standard_layout()),
            Tensor::F64(a) => npz.add_array(name, &a.as_standard_layout()),
            Tensor::I64(a) => npz.add_array(name, &a.as_standard_layout()),
        };
        added.map_err(|e| zip(e.to_string()))?;
    }
    Ok(npz.finish().map_err(|e| zip(e.to_string()))?.into_inner())
}

/// Where an error is: which entry of which file.
struct Place<'a> {
    file: &'a str,
    entry: &'a str,
}

impl Place<'_> {
    fn npy(&self, reason: impl ToString) -> TraceError {
        let (file, entry) = (self.file.to_owned(), self.entry.to_owned());
        TraceError::Npy {
            file,
            entry,
            reason: reason.to_string(),
        }
    }

    fn entry_name(&self) -> TraceError {
        TraceError::EntryName {
            file: self.file.to_owned(),
            entry: self.entry.to_owned(),
        }
    }
}

/// The zip reader keeps the last of several entries with one name; the directory itself shows them all.
fn refuse_hidden_entries(
    file: &str,
    bytes: &[u8],
    archive: &ZipArchive<Cursor<&[u8]>>,
) -> Result<(), TraceError> {
    let mut seen = BTreeSet::new();
    // A start outside the file leaves no entries, fewer than the archive has: refused below.
    let mut rest = usize::try_from(archive.central_directory_start())
        .ok()
        .and_then(|start| bytes.get(start..))
        .unwrap_or_default();
    while let Some((name, next)) = directory_entry(rest) {
        if !seen.insert(name) {
            let name = String::from_utf8_lossy(name).into_owned();
            return Err(TraceError::Duplicate {
                file: file.to_owned(),
                name,
            });
        }
        rest = next;
    }
    if seen.len() != archive.len() {
        let reason = format!(
            "{} directory entries for {} files",
            seen.len(),
            archive.len()
        );
        return Err(TraceError::Zip {
            file: file.to_owned(),
            reason,
        });
    }
    Ok(())
}

/// The name in the directory entry that `bytes` starts with, and what follows the entry
/// (APPNOTE.TXT 4.3.12).
fn directory_entry(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = |at: usize| {
        let pair = bytes.get(at..)?.first_chunk()?;
        Some(usize::from(u16::from_le_bytes(*pair)))
    };
    if !bytes.starts_with(b"PK\x01\x02") {
        return None;
    }
    let (name, extra, comment) = (length(28)?, length(30)?, length(32)?);
    Some((
        bytes.get(46..46 + name)?,
        bytes.get(46 + name + extra + comment..)?,
    ))
}

/// The entry's bytes. Reading to the end also checks the archive's CRC.
fn unpack(at: &Place<'_>, entry: impl Read, limit: u64) -> Result<Vec<u8>, TraceError> {
    let mut bytes = Vec::new();
    entry
        .take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| at.npy(e))?;
    if bytes.len() as u64 > limit {
        let (file, entry) = (at.file.to_owned(), at.entry.to_owned());
        return Err(TraceError::TooLarge { file, entry, limit });
    }
    Ok(bytes)
}

fn parse(at: &Place<'_>, npy: &[u8]) -> Result<Tensor, TraceError> {
    let header_end = header_end(npy).map_err(|reason| at.npy(reason))?;
    let (mut head, data) = npy.split_at(header_end);
    let header = Header::from_reader(&mut head).map_err(|e| at.npy(e))?;
    match header.type_descriptor.as_string().map(String::as_str) {
        Some("<f4") => array::<f32>(at, &header, data).map(Tensor::F32),
        Some("<f8") => array::<f64>(at, &header, data).map(Tensor::F64),
        Some("<i8") => array::<i64>(at, &header, data).map(Tensor::I64),
        _ => Err(TraceError::UnsupportedDtype {
            file: at.file.to_owned(),
            entry: at.entry.to_owned(),
            found: header.type_descriptor.to_string(),
        }),
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

fn array<T: Element>(
    at: &Place<'_>,
    header: &Header,
    data: &[u8],
) -> Result<ArrayD<T>, TraceError> {
    let size = size_of::<T>();
    let needed = header
        .shape
        .iter()
        .try_fold(size as u128, |bytes, &axis| bytes.checked_mul(axis as u128))
        .unwrap_or(u128::MAX);
    if needed != data.len() as u128 {
        return Err(TraceError::Length {
            file: at.file.to_owned(),
            entry: at.entry.to_owned(),
            shape: header.shape.clone(),
            expected: needed,
            found: data.len(),
        });
    }
    let elements: Option<Vec<T>> = data.chunks_exact(size).map(T::from_bytes).collect();
    let elements = elements.ok_or_else(|| at.npy("a partial element"))?;
    let shape = IxDyn(&header.shape).set_f(header.layout.is_fortran());
    let array = ArrayD::from_shape_vec(shape, elements).map_err(|e| at.npy(e))?;
    Ok(if array.is_standard_layout() {
        array
    } else {
        array.as_standard_layout().into_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_over_the_limit_is_refused_by_name() {
        let at = Place {
            file: "t.npz",
            entry: "a.npy",
        };
        assert_eq!(unpack(&at, &[0u8; 64][..], 64).unwrap().len(), 64);
        let error = unpack(&at, &[0u8; 65][..], 64).unwrap_err();
        assert!(matches!(error, TraceError::TooLarge { limit: 64, .. }));
        assert_eq!(
            error.to_string(),
            "t.npz: a.npy: expected at most 64 bytes, found more"
        );
    }
}
