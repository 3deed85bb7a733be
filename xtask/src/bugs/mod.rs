//! `cargo xtask bugs`: the gate on a plain implementation that makes one known mistake at a time.

mod catalogue;
mod gate;
mod inputs;
mod table;

use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Result, bail};
use llorch_model::Cpu;
use llorch_parity::Evidence;

use crate::model_dir::ModelDir;
use crate::plain::{Bug, Weights};
use crate::port::{Plain, Port, Rooms};
use crate::references::References;
use crate::validate;
use catalogue::Expected;
use gate::Caught;

/// Proves that the checkpoints can fail: each of a catalogue of mistakes that ports of GPT-2 make must be
/// caught at its own checkpoint, by its own site, and without a mistake everything must pass.
///
/// Exit codes: 0 every mistake was caught as expected, 1 one was not, 2 misuse.
#[derive(clap::Args)]
pub struct Options {
    /// `tiny`, the embedded model, or the path of a Hugging Face model folder
    #[arg(long, default_value = "tiny")]
    model: String,
}

pub fn run(options: &Options) -> Result<ExitCode> {
    let model = ModelDir::open(&options.model)?;
    let catalogue = Catalogue::open(&model)?;
    let outcomes = catalogue.run()?;
    table::print(&catalogue, &outcomes);
    let all = outcomes.iter().all(Outcome::is_as_expected);
    Ok(ExitCode::from(u8::from(!all)))
}

/// A model with its references, and what the mistakes are made with.
struct Catalogue<'a> {
    model: &'a ModelDir,
    references: References,
    weights: Weights,
    evidence: Evidence,
}

/// What was run, and what came of it.
struct Outcome {
    what: What,
    expected: Expected,
    /// Nothing where all checkpoints passed.
    caught: Option<Caught>,
}

/// Whose steps were judged.
#[derive(Clone, Copy)]
enum What {
    Rooms,
    Plain(Option<Bug>),
}

impl Outcome {
    fn is_as_expected(&self) -> bool {
        self.expected.is(self.caught.as_ref())
    }
}

impl<'a> Catalogue<'a> {
    fn open(model: &'a ModelDir) -> Result<Self> {
        let references = References::open(model, None)?;
        Ok(Catalogue {
            weights: Weights::load(&model.weights, &model.config)?,
            evidence: validate::evidence(model, &references),
            model,
            references,
        })
    }

    /// The last checkpoint that the weights suffice for.
    fn last(&self) -> Result<usize> {
        match self.references.manifest.kind() {
            "whole" if self.model.missing.is_empty() => Ok(12),
            "attention-half" => Ok(5),
            kind => bail!(
                "expected a whole model or an attention half, found a {kind} without {} tensors",
                self.model.missing.len()
            ),
        }
    }

    /// Our rooms, the plain implementation, and each mistake that the model can show.
    fn run(&self) -> Result<Vec<Outcome>> {
        let last = self.last()?;
        let bugs = Bug::ALL.iter().map(|&bug| What::Plain(Some(bug)));
        let all: Vec<What> = [What::Rooms, What::Plain(None)]
            .into_iter()
            .chain(bugs)
            .filter(|&what| self.expected(what, last).is_some())
            .collect();
        let cpu = Cpu::from_env()?;
        let next = AtomicUsize::new(0);
        let work = || -> Result<Vec<(usize, Outcome)>> {
            let mut done = Vec::new();
            loop {
                let place = next.fetch_add(1, Ordering::Relaxed);
                let Some(&what) = all.get(place) else {
                    return Ok(done);
                };
                let outcome = self.outcome(what, last, &cpu)?;
                done.extend(outcome.map(|outcome| (place, outcome)));
            }
        };
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let mut done = std::thread::scope(|scope| -> Result<Vec<(usize, Outcome)>> {
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            let mut done = Vec::new();
            for thread in threads {
                match thread.join() {
                    Ok(outcomes) => done.extend(outcomes?),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            Ok(done)
        })?;
        done.sort_by_key(|(place, _)| *place);
        Ok(done.into_iter().map(|(_, outcome)| outcome).collect())
    }

    /// What must come of it; nothing where it is about checkpoints that the weights do not suffice for.
    fn expected(&self, what: What, last: usize) -> Option<Expected> {
        match what {
            What::Plain(Some(bug)) => catalogue::expected(bug, last),
            What::Plain(None) | What::Rooms => Some(Expected::Pass),
        }
    }

    fn outcome(&self, what: What, last: usize, cpu: &Cpu) -> Result<Option<Outcome>> {
        let Some(expected) = self.expected(what, last) else {
            return Ok(None);
        };
        let port: Box<dyn Port + '_> = match what {
            What::Rooms => Box::new(Rooms::new(self.model, cpu, last > 6)?),
            What::Plain(bug) => Box::new(Plain {
                weights: &self.weights,
                bug,
            }),
        };
        Ok(Some(Outcome {
            what,
            expected,
            caught: gate::run(self, &*port, last),
        }))
    }
}
