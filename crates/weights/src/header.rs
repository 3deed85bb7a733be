//! The header of one safetensors file: <https://github.com/huggingface/safetensors#format>.
//!
//! The safetensors crate checks nearly everything. Two things it does not, so they are checked before
//! it is called: of two equal keys it keeps the last; and it adds to an offset near 2^64, a panic
//! wherever overflow is checked.

use safetensors::{SafeTensorError, SafeTensors};
use serde_json::Value;

use crate::{Error, json::Pairs, map::Mapped, weights::Entry};

/// The header's length comes first, as a little-endian u64.
const LENGTH: usize = 8;

/// The longest header that safetensors accepts, in bytes.
const MAX_HEADER: u64 = 100_000_000;

/// The tensors of `file`, which is the `at`-th, in the order of their bytes.
pub(crate) fn entries(file: &Mapped, at: usize) -> Result<Vec<Entry>, Error> {
    let bytes = file.bytes();
    check(file)?;
    let (header, metadata) = SafeTensors::read_metadata(bytes).map_err(|e| refused(file, e))?;
    let start = LENGTH + header;
    let entry = |key: String| {
        let info = metadata.info(&key)?;
        Some(Entry {
            key,
            file: at,
            dtype: info.dtype,
            shape: info.shape.clone(),
            bytes: start + info.data_offsets.0..start + info.data_offsets.1,
        })
    };
    Ok(metadata
        .offset_keys()
        .into_iter()
        .filter_map(entry)
        .collect())
}

fn check(file: &Mapped) -> Result<(), Error> {
    let Some((header, data)) = split(file.bytes()) else {
        // safetensors says which length is wrong.
        return Ok(());
    };
    let pairs: Pairs<Value> = serde_json::from_slice(header)
        .map_err(|e| refused(file, SafeTensorError::InvalidHeaderDeserialization(e)))?;
    if let Some(key) = pairs.duplicate() {
        return Err(Error::DuplicateKey {
            path: file.path.clone(),
            key: key.to_string(),
        });
    }
    let len = data.len() as u64;
    for (name, info) in pairs.0 {
        let end = info
            .get("data_offsets")
            .and_then(|offsets| offsets.get(1)?.as_u64());
        if let Some(end) = end.filter(|end| *end > len) {
            return Err(Error::PastEnd {
                path: file.path.clone(),
                name,
                end,
                len,
            });
        }
    }
    Ok(())
}

fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<LENGTH>()?;
    let length = Some(u64::from_le_bytes(*length)).filter(|length| *length <= MAX_HEADER)?;
    rest.split_at_checked(usize::try_from(length).ok()?)
}

fn refused(file: &Mapped, source: SafeTensorError) -> Error {
    Error::Safetensors {
        path: file.path.clone(),
        source,
    }
}
