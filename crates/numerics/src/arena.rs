//! Memory for panels: zeroed, aligned, and on huge pages where the system has them.
//!
//! Arenas are cut from blocks of many huge pages. In a mapping of its own each would end on small ones: a tenth
//! of GPT-2's weights, and a third of a long cache.
#![allow(unsafe_code)]

use std::ops::{Deref, DerefMut, Range};
use std::slice;
use std::sync::{Arc, Mutex, PoisonError};

use memmap2::{MmapMut, MmapRaw};

use crate::panel::Lanes;

/// A product with a vector reads every weight once: with pages of 4 KiB, looking up where they are costs
/// about a tenth of the time.
const HUGE_PAGE: usize = 2 << 20;

/// An arena has whole pages, so that they can be given back: x86-64's are of 4 KiB, AArch64's of up to 64.
const PAGE: usize = 64 << 10;

/// Mapped at a time; what is never touched takes no memory.
const BLOCK: usize = 64 << 20;

/// Where arenas come from. As with any allocator, that is all they share.
static ROOM: Mutex<Room> = Mutex::new(Room::NONE);

/// A fixed number of zeroed [`Lanes`]. What is never touched takes no memory.
#[derive(Debug)]
pub(crate) struct Arena {
    block: Arc<Block>,
    /// Bytes of the block, which no other arena has.
    range: Range<usize>,
    length: usize,
}

/// Memory that stays mapped until its last arena is dropped.
#[derive(Debug)]
struct Block(MmapRaw);

impl Block {
    /// A block and its bytes: at least so many, on huge pages.
    fn new(bytes: usize) -> Option<(Arc<Self>, Range<usize>)> {
        let bytes = bytes.max(BLOCK).checked_next_multiple_of(HUGE_PAGE)?;
        let map = MmapMut::map_anon(bytes.checked_add(HUGE_PAGE)?).ok()?;
        let start = map.as_ptr().align_offset(HUGE_PAGE).min(HUGE_PAGE);
        // An advice: a system that has no huge pages refuses it, and nothing is lost but time.
        #[cfg(target_os = "linux")]
        let _ = map.advise_range(memmap2::Advice::HugePage, start, bytes);
        Some((Arc::new(Block(map.into())), start..start + bytes))
    }
}

/// What is left of a block.
struct Room {
    block: Option<Arc<Block>>,
    free: Range<usize>,
}

impl Room {
    const NONE: Room = Room {
        block: None,
        free: 0..0,
    };

    /// Bytes that nobody has had, so they are zero.
    fn take(&mut self, bytes: usize) -> Option<(Arc<Block>, Range<usize>)> {
        let bytes = bytes.max(1).checked_next_multiple_of(PAGE)?;
        if let Some(block) = &self.block
            && bytes <= self.free.len()
        {
            return Some((block.clone(), cut(&mut self.free, bytes)));
        }
        let (block, mut free) = Block::new(bytes)?;
        let range = cut(&mut free, bytes);
        if free.len() > self.free.len() {
            *self = Room {
                block: Some(block.clone()),
                free,
            };
        }
        Some((block, range))
    }
}

/// Cuts off the first bytes.
fn cut(free: &mut Range<usize>, bytes: usize) -> Range<usize> {
    let start = free.start;
    free.start += bytes;
    start..free.start
}

impl Arena {
    /// `None` where the memory is not to be had.
    pub(crate) fn zeroed(length: usize) -> Option<Self> {
        let bytes = length.checked_mul(size_of::<Lanes>())?;
        let mut room = ROOM.lock().unwrap_or_else(PoisonError::into_inner);
        let (block, range) = room.take(bytes)?;
        Some(Arena {
            block,
            range,
            length,
        })
    }

    fn start(&self) -> *mut Lanes {
        self.block
            .0
            .as_mut_ptr()
            .wrapping_add(self.range.start)
            .cast()
    }
}

impl Deref for Arena {
    type Target = [Lanes];

    fn deref(&self) -> &[Lanes] {
        // SAFETY: the range lies in the block, has room for `length` lanes, is aligned to pages and was zero at
        // first, which are numbers. The block stays mapped as long as `self` has it. No other arena has
        // the range, so whoever could write to it has `self` borrowed.
        unsafe { slice::from_raw_parts(self.start(), self.length) }
    }
}

impl DerefMut for Arena {
    fn deref_mut(&mut self) -> &mut [Lanes] {
        // SAFETY: as above; `self` is borrowed by this caller alone.
        unsafe { slice::from_raw_parts_mut(self.start(), self.length) }
    }
}

impl Drop for Arena {
    /// Gives the memory back now: the block may live as long as the program.
    fn drop(&mut self) {
        #[cfg(all(
            target_os = "linux",
            any(target_arch = "x86_64", target_arch = "aarch64")
        ))]
        {
            let Range { start, end } = self.range;
            let advice = memmap2::UncheckedAdvice::DontNeed;
            // SAFETY: nobody reads the range any more: it was this arena's alone, and is not given out again. It
            // has whole pages, so nobody else has a part of what is given back.
            // Where the system refuses, the memory goes with the block.
            let _ = unsafe {
                self.block
                    .0
                    .unchecked_advise_range(advice, start, end - start)
            };
        }
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
            assert_eq!(arena.as_ptr().align_offset(PAGE), 0);
        }
        assert!(Arena::zeroed(0).unwrap().is_empty());
    }

    #[test]
    fn arenas_share_huge_pages_and_no_byte() {
        let mut room = Room::NONE;
        let (block, first) = room.take(3 * PAGE / 2).unwrap();
        let place = block.0.as_mut_ptr().wrapping_add(first.start);
        assert_eq!(place.align_offset(HUGE_PAGE), 0);
        assert_eq!(first.len(), 2 * PAGE);
        let (same, second) = room.take(1).unwrap();
        assert!(Arc::ptr_eq(&block, &same));
        assert_eq!(second, first.end..first.end + PAGE);
        // The rest is too little, and stays for who needs less.
        let (large, _) = room.take(BLOCK).unwrap();
        assert!(!Arc::ptr_eq(&block, &large));
        let (same, third) = room.take(1).unwrap();
        assert!(Arc::ptr_eq(&block, &same));
        assert_eq!(third.start, second.end);
    }

    #[test]
    fn the_end_of_a_large_block_is_used() {
        let mut room = Room::NONE;
        let (block, large) = room.take(BLOCK + 1).unwrap();
        let (same, small) = room.take(HUGE_PAGE - PAGE).unwrap();
        assert!(Arc::ptr_eq(&block, &same));
        assert_eq!(small, large.end..large.end + HUGE_PAGE - PAGE);
    }

    #[test]
    fn one_that_is_dropped_takes_nothing_from_its_neighbours() {
        let page = PAGE / size_of::<Lanes>();
        let mut arenas: Vec<_> = (0..3).map(|_| Arena::zeroed(page).unwrap()).collect();
        for (arena, mark) in arenas.iter_mut().zip([1.0, 2.0, 3.0]) {
            arena.fill([[mark; 16]; 2]);
        }
        drop(arenas.remove(1));
        let next = Arena::zeroed(page).unwrap();
        assert_eq!(arenas[0][..], [[[1.0; 16]; 2]; PAGE / size_of::<Lanes>()]);
        assert_eq!(arenas[1][..], [[[3.0; 16]; 2]; PAGE / size_of::<Lanes>()]);
        assert!(next.iter().flatten().flatten().all(|&x| x == 0.0));
    }

    /// The system answers a read of what it has taken back with zeros.
    #[test]
    #[cfg(all(
        target_os = "linux",
        any(target_arch = "x86_64", target_arch = "aarch64")
    ))]
    fn what_is_dropped_is_given_back() {
        let mut arena = Arena::zeroed(1).unwrap();
        arena.fill([[7.0; 16]; 2]);
        let (block, start) = (arena.block.clone(), arena.start());
        drop(arena);
        // SAFETY: the block is still mapped, and the range is nobody's any more.
        let left = unsafe { start.read() };
        assert_eq!(left, [[0.0; 16]; 2]);
        drop(block);
    }

    #[test]
    fn more_than_there_can_be_is_none() {
        for length in [usize::MAX / 256, usize::MAX / 128, usize::MAX] {
            assert!(Arena::zeroed(length).is_none(), "{length}");
        }
    }
}
