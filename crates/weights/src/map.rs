//! The memory map: the only unsafe code of the crate.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use memmap2::Mmap;

use crate::Error;

/// One file's bytes, mapped read-only.
#[derive(Debug)]
pub(crate) struct Mapped {
    pub path: PathBuf,
    bytes: Mmap,
}

impl Mapped {
    pub fn open(path: &Path) -> Result<Self, Error> {
        let read = |source| Error::Read {
            path: path.to_path_buf(),
            source,
        };
        let file = File::open(path).map_err(read)?;
        #[allow(unsafe_code)]
        // SAFETY: the map is read-only and private to this value, and no reference outlives it. What
        // Rust cannot rule out is another process changing the file meanwhile; `Weights` documents
        // that as the caller's duty, as every reader of mapped weights must.
        let bytes = unsafe { Mmap::map(&file) }.map_err(read)?;
        Ok(Self {
            path: path.to_path_buf(),
            bytes,
        })
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}
