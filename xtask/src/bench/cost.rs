//! What a task must read and multiply, whatever program runs it.

use llorch_weights::Config;
use serde::Serialize;

use super::task::Task;

/// Bytes of a float32.
const FLOAT: f64 = 4.0;

/// The sizes that costs are made of.
#[derive(Clone, Copy)]
pub struct Cost {
    channels: f64,
    inner: f64,
    layers: f64,
    vocabulary: f64,
    positions: f64,
    own_head: bool,
}

/// What one run of a task cannot do without.
#[derive(Clone, Copy, Serialize)]
pub struct Work {
    /// Read from memory.
    pub bytes: f64,
    /// Float32 operations, a multiply-add being two.
    pub operations: f64,
    /// Those of them that are attention's own: queries times keys, probabilities times values.
    pub attention_operations: f64,
}

impl Cost {
    /// `own_head`: the head is not `wte`.
    pub fn new(config: &Config, own_head: bool) -> Self {
        Cost {
            channels: config.n_embd() as f64,
            inner: config.n_inner() as f64,
            layers: config.n_layer() as f64,
            vocabulary: config.vocab_size() as f64,
            positions: config.n_positions() as f64,
            own_head,
        }
    }

    /// The weights of a layer's products.
    fn products(&self) -> f64 {
        self.channels * (4.0 * self.channels + 2.0 * self.inner)
    }

    /// Bytes of every weight that a step reads: the layers and the head. Of embeddings it reads one row.
    fn step_bytes(&self) -> f64 {
        // Biases of c_attn, of both c_proj and of c_fc, and two normalisations.
        let vectors = 9.0 * self.channels + self.inner;
        let layers = self.layers * (self.products() + vectors);
        FLOAT * (layers + 2.0 * self.channels + self.vocabulary * self.channels)
    }

    /// Bytes of all weights.
    pub fn weight_bytes(&self) -> f64 {
        let embeddings = match self.own_head {
            true => self.positions + self.vocabulary,
            false => self.positions,
        };
        self.step_bytes() + FLOAT * embeddings * self.channels
    }

    /// Bytes of the keys and values of one position.
    pub fn position_bytes(&self) -> f64 {
        FLOAT * 2.0 * self.channels * self.layers
    }

    /// The work of a task: of a prefill the whole, of a decode one step in the middle.
    pub fn of(&self, task: Task) -> Work {
        // New positions, rows, and how many positions all the new ones of a row see together.
        let (new, rows, seen) = match task {
            Task::Prefill { tokens } => {
                let tokens = tokens as f64;
                (tokens, 1.0, tokens * (tokens + 1.0) / 2.0)
            }
            Task::Decode { batch, past, steps } => {
                (1.0, batch as f64, past as f64 + (steps as f64 + 1.0) / 2.0)
            }
        };
        let stored = match task {
            Task::Prefill { .. } => new,
            Task::Decode { .. } => seen,
        };
        let attention_operations = rows * 4.0 * self.channels * self.layers * seen;
        let head = rows * 2.0 * self.vocabulary * self.channels;
        let layers = rows * new * 2.0 * self.products() * self.layers;
        Work {
            bytes: self.step_bytes() + rows * stored * self.position_bytes(),
            operations: layers + head + attention_operations,
            attention_operations,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The figures that are known for GPT-2 124M.
    #[test]
    fn gpt2_costs_what_is_known() {
        let config = Config::from_json("{}").expect("GPT-2's own sizes");
        let cost = Cost::new(&config, false);
        assert_eq!(cost.weight_bytes(), 4.0 * 124_439_808.0);
        assert_eq!(cost.position_bytes(), 73_728.0);
        let step = cost.of(Task::Decode {
            batch: 1,
            past: 0,
            steps: 1,
        });
        assert_eq!(
            step.bytes,
            4.0 * (124_439_808.0 - 1024.0 * 768.0) + 73_728.0
        );
        let one = cost.of(Task::Prefill { tokens: 1 });
        assert_eq!(one.operations, step.operations);
        assert_eq!(
            one.operations,
            169_869_312.0 + 77_194_752.0 + 4.0 * 768.0 * 12.0
        );
    }

    #[test]
    fn a_batch_reads_the_weights_once() {
        let config = Config::from_json("{}").expect("GPT-2's own sizes");
        let step = |batch| {
            let task = Task::Decode {
                batch,
                past: 63,
                steps: 1,
            };
            Cost::new(&config, false).of(task)
        };
        let [one, two] = [step(1), step(2)];
        assert_eq!(two.bytes - one.bytes, 64.0 * 73_728.0);
        assert_eq!(two.operations, 2.0 * one.operations);
    }
}
