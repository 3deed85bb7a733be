//! Memory of intermediate values, used again.
//!
//! A layer's arrays are as large as the caches, and every layer makes and drops the same ones. Returned to
//! the system each time, they would come back as new pages, and a long prompt would spend a good part of its
//! time on having them cleared.

use std::sync::{Mutex, PoisonError};

/// More than one layer has at a time.
const KEPT: usize = 32;

/// Vectors that nobody uses at the moment.
#[derive(Debug, Default)]
pub(crate) struct Spare(Mutex<Vec<Vec<f32>>>);

impl Spare {
    /// A vector of this length that holds anything: what was in it, or zeros.
    pub(crate) fn take(&self, length: usize) -> Vec<f32> {
        let mut spare = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let large_enough = spare.iter().enumerate();
        // Not much larger either: a vector that is cut short and used in full again has to be cleared.
        let fits = length..=length.saturating_mul(2);
        let large_enough = large_enough.filter(|(_, vector)| fits.contains(&vector.capacity()));
        let smallest = large_enough.min_by_key(|(_, vector)| vector.capacity());
        let Some((index, _)) = smallest else {
            drop(spare);
            return vec![0.0; length];
        };
        let mut vector = spare.remove(index);
        drop(spare);
        vector.resize(length, 0.0);
        vector
    }

    pub(crate) fn give(&self, vector: Vec<f32>) {
        let mut spare = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        spare.push(vector);
        // The ones that have been of no use for longest make room.
        while spare.len() > KEPT {
            spare.remove(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_that_is_large_enough_comes_back() {
        let spare = Spare::default();
        for (length, mark) in [(10, 1.0), (30, 2.0), (20, 3.0)] {
            spare.give(vec![mark; length]);
        }
        assert_eq!(spare.take(15), [3.0; 15]);
        assert_eq!(spare.take(15), [2.0; 15]);
        assert_eq!(spare.take(15), [0.0; 15], "a new one");
        assert_eq!(spare.take(4), [0.0; 4], "10 is too large");
        assert_eq!(spare.take(9), [1.0; 9]);
    }

    #[test]
    fn the_last_ones_are_kept() {
        let spare = Spare::default();
        (0..2 * KEPT).for_each(|i| spare.give(vec![i as f32]));
        let kept = spare.0.into_inner().unwrap();
        assert_eq!(kept.len(), KEPT);
        assert_eq!(kept[0], [KEPT as f32]);
    }
}
