//! The memory map: the only unsafe code of the crate.

use std::{
    fs::File,
    ops::Range,
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

    /// Gives back the memory of a range that will hardly be read again: a model that is packed tensor by
    /// tensor then never takes twice its size. Reading it again reads the file again.
    #[allow(unsafe_code)]
    pub fn release(&self, range: &Range<usize>) {
        #[cfg(unix)]
        // SAFETY: the map is of a file, shared and read-only, so its pages hold nothing that the file
        // does not: those that are dropped come back with the same bytes. It is an advice; where the
        // system does not take it, nothing is lost but memory.
        let _ = unsafe {
            let advice = memmap2::UncheckedAdvice::DontNeed;
            self.bytes
                .unchecked_advise_range(advice, range.start, range.len())
        };
    }
}
