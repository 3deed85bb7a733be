//! Our side of a task.

use std::time::Instant;

use anyhow::Result;
use llorch_model::{Cache, Gpt2};
use ndarray::{Array2, Axis, Slice};

use super::task::Task;

/// A prompt shorter than this is run several times for one time.
const SHORT: usize = 512;

/// A model with one cache, which is made once and truncated between repetitions.
pub struct Engine {
    gpt2: Gpt2,
    cache: Cache,
    /// The id of every row and position, so what the cache holds is always a part of the same rows.
    ids: Array2<u32>,
}

impl Engine {
    /// An engine for tasks of so many rows and positions.
    pub fn new(gpt2: Gpt2, batch: usize, positions: usize) -> Result<Self> {
        let cache = gpt2.cache(batch, positions)?;
        let ids = ids(batch, positions, gpt2.config().vocab_size());
        Ok(Engine { gpt2, cache, ids })
    }

    /// The same model for other tasks.
    pub fn resized(self, batch: usize, positions: usize) -> Result<Self> {
        let Engine { gpt2, cache, .. } = self;
        // Before there is another one.
        drop(cache);
        Engine::new(gpt2, batch, positions)
    }

    /// Seconds that the task takes: a prefill's, or a decode's step.
    pub fn run(&mut self, task: Task) -> Result<f64> {
        match task {
            Task::Prefill { tokens } => {
                let times = (SHORT / tokens).clamp(1, 16);
                let start = Instant::now();
                for _ in 0..times {
                    self.cache.truncate(0);
                    self.append(tokens)?;
                }
                Ok(start.elapsed().as_secs_f64() / times as f64)
            }
            Task::Decode { past, steps, .. } => {
                let missing = past.saturating_sub(self.cache.len());
                if missing > 0 {
                    self.append(missing)?;
                }
                let mut seconds = 0.0;
                // The first step after a pause pays for threads and buffers: one is run for nothing.
                for steps in [1, steps] {
                    self.cache.truncate(past);
                    let start = Instant::now();
                    for _ in 0..steps {
                        self.append(1)?;
                    }
                    seconds = start.elapsed().as_secs_f64() / steps as f64;
                }
                Ok(seconds)
            }
        }
    }

    /// Runs the next tokens of every row.
    fn append(&mut self, new: usize) -> Result<()> {
        let past = self.cache.len();
        let ids = self.ids.slice_axis(Axis(1), Slice::from(past..past + new));
        let logits = self.gpt2.forward_last(ids, &mut self.cache, &mut ())?;
        std::hint::black_box(logits);
        Ok(())
    }
}

/// The same ids in every run, [B, T]; which ones they are costs nothing and saves nothing.
pub fn ids(batch: usize, positions: usize, vocabulary: usize) -> Array2<u32> {
    Array2::from_shape_fn((batch, positions), |(row, position)| {
        let mixed = (row * 7919 + position + 1).wrapping_mul(2_654_435_761) >> 7;
        // Below the vocabulary, which is at most 2^24.
        (mixed % vocabulary) as u32
    })
}
