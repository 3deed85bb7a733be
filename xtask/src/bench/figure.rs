//! What comes of a task's repetitions.

use serde::Serialize;

use super::cost::{Cost, Work};
use super::probe::Limits;
use super::task::Task;

/// A task's time and its share of the machine's limits.
#[derive(Serialize)]
pub struct Figure {
    pub task: Task,
    pub work: Work,
    /// Of one run; a decode's of one step.
    pub seconds: f64,
    pub tokens_per_second: f64,
    /// The share of the read bandwidth that the bytes it must read take up.
    pub of_read: f64,
    /// The share of the multiply-adds that its operations take up.
    pub of_multiply_adds: f64,
    /// How it compares with the smallest task of its kind.
    pub growth: Option<Growth>,
    pub repetitions: Vec<Repetition>,
}

#[derive(Serialize)]
pub struct Repetition {
    pub seconds: f64,
    /// The better ones of those before and after.
    pub limits: Limits,
}

/// How a figure compares with the smallest of its kind.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Growth {
    /// A decode's tokens a second over those of one row.
    OverBatch1(f64),
    /// A prefill's time per token over that of the shortest prompt.
    PerToken {
        /// As it is.
        time: f64,
        /// Without the time that attention's own operations take at the limit.
        without_attention: f64,
    },
}

impl Figure {
    pub fn new(task: Task, cost: &Cost, repetitions: Vec<(f64, Limits)>) -> Self {
        let work = cost.of(task);
        let repetitions = repetitions.into_iter();
        let repetitions: Vec<_> = repetitions
            .map(|(seconds, limits)| Repetition { seconds, limits })
            .collect();
        let of = |value: fn(&Repetition, Work) -> f64| {
            median(repetitions.iter().map(|repetition| value(repetition, work)))
        };
        let seconds = of(|repetition, _| repetition.seconds);
        Figure {
            task,
            work,
            seconds,
            tokens_per_second: task.tokens() as f64 / seconds,
            of_read: of(|repetition, work| {
                work.bytes / repetition.seconds / repetition.limits.read
            }),
            of_multiply_adds: of(|repetition, work| {
                work.operations / repetition.seconds / repetition.limits.multiply_adds
            }),
            growth: None,
            repetitions,
        }
    }

    /// Compares it with the smallest of its kind among the figures before it, where there is one.
    pub fn compared(self, before: &[Figure]) -> Self {
        let first = |wanted: fn(Task, Task) -> bool| {
            before.iter().find(|first| wanted(first.task, self.task))
        };
        let growth = match self.task {
            Task::Decode { .. } => first(same_past_one_row)
                .map(|first| Growth::OverBatch1(self.tokens_per_second / first.tokens_per_second)),
            Task::Prefill { .. } => first(both_prefills).map(|first| Growth::PerToken {
                time: self.per_token(0.0) / first.per_token(0.0),
                without_attention: self.per_token(1.0) / first.per_token(1.0),
            }),
        };
        Figure { growth, ..self }
    }

    /// Seconds a token, without so much of attention's own operations at the limit.
    fn per_token(&self, without: f64) -> f64 {
        let attention = without * self.work.attention_operations;
        let seconds = self
            .repetitions
            .iter()
            .map(|repetition| repetition.seconds - attention / repetition.limits.multiply_adds);
        median(seconds) / self.task.tokens() as f64
    }
}

fn both_prefills(first: Task, second: Task) -> bool {
    matches!(
        (first, second),
        (Task::Prefill { .. }, Task::Prefill { .. })
    )
}

fn same_past_one_row(first: Task, second: Task) -> bool {
    match (first, second) {
        (
            Task::Decode { batch: 1, past, .. },
            Task::Decode {
                past: second_past, ..
            },
        ) => past == second_past,
        _ => false,
    }
}

/// The median; of an even number the mean of the two in the middle, of none NaN.
pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    match (values.len(), values.len() / 2) {
        (0, _) => f64::NAN,
        (length, half) if length % 2 == 1 => values[half],
        (_, half) => (values[half - 1] + values[half]) / 2.0,
    }
}

/// Least, median and most.
#[derive(Clone, Copy, Serialize)]
pub struct Spread {
    pub min: f64,
    pub median: f64,
    pub max: f64,
}

impl Spread {
    pub fn of(values: impl Iterator<Item = f64> + Clone) -> Self {
        Spread {
            min: values.clone().fold(f64::INFINITY, f64::min),
            median: median(values.clone()),
            max: values.fold(f64::NEG_INFINITY, f64::max),
        }
    }
}
