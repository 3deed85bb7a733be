//! Memory for panels: zeroed, aligned, and on huge pages where the system has them.

use std::ops::{Deref, DerefMut};

use memmap2::MmapMut;

use crate::panel::Lanes;

/// A product with a vector reads every weight once: with pages of 4 KiB, looking up where they are costs
/// about a tenth of the time.
const HUGE_PAGE: usize = 2 << 20;

/// A fixed number of zeroed [`Lanes`]. What is never touched takes no memory.
#[derive(Debug)]
pub(crate) struct Arena {
    map: MmapMut,
    start: usize,
    end: usize,
}

impl Arena {
    /// `None` where the memory is not to be had.
    pub(crate) fn zeroed(length: usize) -> Option<Self> {
        let bytes = length.checked_mul(size_of::<Lanes>())?;
        let map = MmapMut::map_anon(bytes.checked_add(HUGE_PAGE)?).ok()?;
        let start = map.as_ptr().align_offset(HUGE_PAGE).min(HUGE_PAGE);
        let end = start + bytes;
        // Whole huge pages alone: one for a remainder would mostly hold nothing.
        #[cfg(target_os = "linux")]
        if let whole @ HUGE_PAGE.. = bytes / HUGE_PAGE * HUGE_PAGE {
            // An advice: a system that has no huge pages refuses it, and nothing is lost but time.
            let _ = map.advise_range(memmap2::Advice::HugePage, start, whole);
        }
        Some(Arena { map, start, end })
    }
}

impl Deref for Arena {
    type Target = [Lanes];

    fn deref(&self) -> &[Lanes] {
        bytemuck::cast_slice(&self.map[self.start..self.end])
    }
}

impl DerefMut for Arena {
    fn deref_mut(&mut self) -> &mut [Lanes] {
        bytemuck::cast_slice_mut(&mut self.map[self.start..self.end])
    }
}

impl Clone for Arena {
    fn clone(&self) -> Self {
        let Some(mut copy) = Arena::zeroed(self.len()) else {
            // As every container of the standard library does.
            std::alloc::handle_alloc_error(std::alloc::Layout::for_value::<[Lanes]>(self))
        };
        copy.copy_from_slice(self);
        copy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_zeros_that_can_be_written() {
        for length in [1, 3, HUGE_PAGE / size_of::<Lanes>() + 1] {
            let mut arena = Arena::zeroed(length).unwrap();
            assert_eq!(arena.len(), length);
            assert!(arena.iter().flatten().flatten().all(|&x| x == 0.0));
            arena[length - 1][1][15] = 7.0;
            assert_eq!(arena.iter().flatten().flatten().sum::<f32>(), 7.0);
            assert_eq!(arena.as_ptr().align_offset(HUGE_PAGE), 0);
        }
    }

    #[test]
    fn more_than_there_can_be_is_none() {
        assert!(Arena::zeroed(usize::MAX / 256).is_none());
        assert!(Arena::zeroed(usize::MAX).is_none());
    }
}
