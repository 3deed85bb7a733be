//! `cargo xtask bugs`: the gate on a plain implementation that makes one known mistake at a time.

mod catalogue;
mod gate;
mod inputs;
mod table;

use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Result, bail, ensure};
use llorch_model::Cpu;
use llorch_parity::Evidence;

use crate::model_dir::ModelDir;
use crate::plain::{Bug, Weights};
use crate::port::{Plain, Rooms};
use crate::references::References;
use crate::{explain, validate};
use catalogue::Expected;
use gate::Caught;

/// Proves that the checkpoints can fail: each of a catalogue of mistakes that ports of GPT-2 make must be
/// caught at its own checkpoint, by its own site, and without a mistake everything must pass.
///
/// The expectations are those of the embedded model and of GPT-2 124M's attention half. Exit codes: 0 every mistake
/// was caught as expected, 1 one was not, 2 misuse, 3 there are no whole references to judge by.
#[derive(clap::Args)]
pub struct Options {
    /// `tiny`, the embedded model, or the path of a Hugging Face model folder
    #[arg(long, default_value = "tiny")]
    model: String,
}

pub fn run(options: &Options) -> Result<ExitCode> {
    let model = ModelDir::open(&options.model)?;
    let catalogue = match Catalogue::open(&model) {
        Ok(catalogue) => catalogue,
        Err(error) => {
            say!("INCONCLUSIVE: {}", explain(&error));
            return Ok(ExitCode::from(3));
        }
    };
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
    /// The last checkpoint that the weights suffice for.
    last: usize,
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
    /// Needs whole references, and the weights of a whole model or of an attention half.
    fn open(model: &'a ModelDir) -> Result<Self> {
        let references = References::open(model, None)?;
        let whole = model.missing.is_empty();
        let last = match references.manifest.kind() {
            "whole" if whole => 12,
            "attention-half" => 5,
            kind => bail!("expected all weights of a {kind} model, found a part"),
        };
        let missing = references.missing.first();
        ensure!(
            missing.is_none(),
            "expected {} among the references, found none",
            missing.map_or("", |missing| missing)
        );
        Ok(Catalogue {
            weights: Weights::load(&model.weights, &model.config)?,
            evidence: validate::evidence(model, &references),
            last,
            model,
            references,
        })
    }

    /// Our rooms, the plain implementation, and each mistake that the model can show.
    fn run(&self) -> Result<Vec<Outcome>> {
        let bugs = Bug::ALL.iter().map(|&bug| What::Plain(Some(bug)));
        let all = [What::Rooms, What::Plain(None)].into_iter().chain(bugs);
        let all: Vec<(What, Expected)> = all
            .filter_map(|what| Some((what, self.expected(what)?)))
            .collect();
        let cpu = Cpu::from_env()?;
        let next = AtomicUsize::new(0);
        let work = || -> Result<Vec<(usize, Outcome)>> {
            let mut done = Vec::new();
            loop {
                let place = next.fetch_add(1, Ordering::Relaxed);
                let Some(&(what, expected)) = all.get(place) else {
                    return Ok(done);
                };
                let caught = self.judge(what, &cpu)?;
                let outcome = Outcome {
                    what,
                    expected,
                    caught,
                };
                done.push((place, outcome));
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
    fn expected(&self, what: What) -> Option<Expected> {
        match what {
            What::Plain(Some(bug)) => catalogue::expected(bug, self.last),
            What::Plain(None) | What::Rooms => Some(Expected::Pass),
        }
    }

    /// Runs the gate on one.
    fn judge(&self, what: What, cpu: &Cpu) -> Result<Option<Caught>> {
        Ok(match what {
            What::Rooms => {
                let rooms = Rooms::new(self.model, cpu, self.last > 6)?;
                gate::run(self, &rooms)
            }
            What::Plain(bug) => {
                let weights = &self.weights;
                gate::run(self, &Plain { weights, bug })
            }
        })
    }
}
