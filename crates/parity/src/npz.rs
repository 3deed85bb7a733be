//! The `.npz` format: a zip archive of `.npy` arrays.
//!
//! Reading distrusts every size in the file. Memory is spent on bytes that are there; a header is looked
//! at before it goes to a parser that recurses; a shape is believed once the bytes agree with it.

use crate::error::TraceError;
use crate::npy::StoredArray;
use crate::tensor::Tensor;
use ndarray_npy::NpzWriter;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Cursor, Read};
use zip::ZipArchive;

/// The most that one tensor may unpack to, in bytes (1 GiB): the logits of 1,024 tokens of the largest
/// GPT-2 are a fifth of it.
pub const MAX_TENSOR_BYTES: u64 = 1 << 30;

/// Every array of an `.npz` archive in the archive's order, whatever its element type; `file` is the name
/// that errors give.
///
/// # Errors
///
/// [`TraceError`] for everything else than an archive of one or more `.npy` with different names.
pub fn read_arrays(file: &str, bytes: &[u8]) -> Result<Vec<(String, StoredArray)>, TraceError> {
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
    let mut arrays = Vec::with_capacity(archive.len());
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
        arrays.push((name, StoredArray::parse(file, &entry_name, &npy)?));
    }
    Ok(arrays)
}

/// Every tensor of the archive in the archive's order.
pub(crate) fn read(file: &str, bytes: &[u8]) -> Result<Vec<(String, Tensor)>, TraceError> {
    read_arrays(file, bytes)?
        .into_iter()
        .map(|(name, stored)| {
            let entry = format!("{name}.npy");
            let at = Place {
                file,
                entry: &entry,
            };
            Ok((name, tensor(&at, &stored)?))
        })
        .collect()
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

fn tensor(at: &Place<'_>, stored: &StoredArray) -> Result<Tensor, TraceError> {
    match stored.dtype() {
        "<f4" => stored.elements(f32::from_le_bytes).map(Tensor::F32),
        "<f8" => stored.elements(f64::from_le_bytes).map(Tensor::F64),
        "<i8" => stored.elements(i64::from_le_bytes).map(Tensor::I64),
        found => Err(TraceError::UnsupportedDtype {
            file: at.file.to_owned(),
            entry: at.entry.to_owned(),
            found: found.to_owned(),
        }),
    }
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
