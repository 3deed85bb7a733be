//! What is timed, on our side and on a peer's.

use std::fmt;

use serde::Serialize;

/// Steps of a decode that are timed together.
const STEPS: usize = 8;

/// A task; as JSON it is what `reference/bench_peers.py` reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "task", rename_all = "lowercase")]
pub enum Task {
    /// A prompt into an empty cache, the logits of its last position.
    Prefill { tokens: usize },
    /// Single tokens behind `past` positions, the logits of every row.
    Decode {
        batch: usize,
        past: usize,
        steps: usize,
    },
}

impl Task {
    /// The prompts that a model has positions for: 64, 512 and 1024.
    pub fn prefills(positions: usize) -> Vec<Task> {
        let lengths = [64, 512, 1024].map(|tokens: usize| tokens.min(positions));
        unique(lengths.map(|tokens| Task::Prefill { tokens }).into())
    }

    /// Steps after 64 and after 512 positions, or after as many as leave room for them.
    pub fn decodes(batch: usize, positions: usize) -> Vec<Task> {
        let steps = STEPS.min(positions);
        let pasts = [64, 512].map(|past: usize| past.min(positions - steps));
        let decode = |past| Task::Decode { batch, past, steps };
        unique(pasts.map(decode).into())
    }

    /// The positions that it fills.
    pub fn positions(self) -> usize {
        match self {
            Task::Prefill { tokens } => tokens,
            Task::Decode { past, steps, .. } => past + steps,
        }
    }

    /// The tokens that one time is for.
    pub fn tokens(self) -> usize {
        match self {
            Task::Prefill { tokens } => tokens,
            Task::Decode { batch, .. } => batch,
        }
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Task::Prefill { tokens } => write!(f, "prefill {tokens}"),
            Task::Decode { batch, past, .. } => {
                write!(f, "decode, batch {batch}, after {past}")
            }
        }
    }
}

fn unique(mut tasks: Vec<Task>) -> Vec<Task> {
    tasks.dedup();
    tasks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_model_gets_tasks_that_fit() {
        assert_eq!(Task::prefills(1024).len(), 3);
        assert_eq!(Task::prefills(160).len(), 2);
        for positions in [1, 5, 64, 160, 520, 1024] {
            let decodes = Task::decodes(3, positions);
            for task in Task::prefills(positions).into_iter().chain(decodes) {
                assert!((1..=positions).contains(&task.positions()), "{task:?}");
            }
        }
    }

    #[test]
    fn a_task_is_written_as_peers_read_it() {
        let json = |task: Task| serde_json::to_value(task).expect("JSON");
        let prefill = serde_json::json!({"task": "prefill", "tokens": 9});
        assert_eq!(json(Task::Prefill { tokens: 9 }), prefill);
        let decode = serde_json::json!({"task": "decode", "batch": 2, "past": 64, "steps": 8});
        assert_eq!(json(Task::decodes(2, 1024)[0]), decode);
    }
}
