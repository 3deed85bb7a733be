//! `cargo xtask bench`: how fast it is, and how much of what this machine gives that is.

mod comparison;
mod cost;
mod engine;
mod figure;
mod first_token;
mod peer;
mod probe;
mod report;
mod shape;
mod task;

use std::env;
use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use llorch_model::{Cpu, Gpt2};
use llorch_weights::{Config, Head, Weights};
use tempfile::TempDir;

use crate::model_dir::Place;
use crate::python::note;
use crate::{root, validate};
use comparison::Race;
use cost::Cost;
use engine::Engine;
use figure::Figure;
use first_token::FirstToken;
use probe::Prober;
use report::{Range, Report, Subject, Table};
use shape::Shape;
use task::Task;

/// The rows that decodes are measured with.
const BATCHES: [usize; 3] = [1, 4, 16];

/// Measures decode, prefill, time to a first token and memory, beside what the machine gives.
///
/// Every time is the median of several rounds, each between two measurements of the machine's read
/// bandwidth and multiply-adds; the better of these is the limit whose share is printed.
#[derive(clap::Args)]
pub struct Options {
    /// `tiny`, the embedded model, or the path of a Hugging Face model folder
    #[arg(long, conflicts_with = "shape")]
    model: Option<String>,
    /// A model of random weights in one of GPT-2's sizes [default: gpt2]
    #[arg(long)]
    shape: Option<Shape>,
    /// Threads to run on, whatever LLORCH_THREADS says; LLORCH_ISA holds
    #[arg(long, value_name = "N", default_value = "1")]
    threads: NonZeroUsize,
    /// Print everything that was measured as JSON instead of the table
    #[arg(long)]
    json: bool,
    /// Compare with programs that others wrote, in alternation; installs them below target/ first
    #[arg(long)]
    peers: bool,
    /// Repetitions of each measurement, after one for nothing
    #[arg(long, value_name = "N", default_value = "5")]
    rounds: NonZeroUsize,
    /// What a fresh process does to measure the first token
    #[arg(long, hide = true, requires = "model", conflicts_with_all = ["peers", "json"])]
    first_token: bool,
    /// Measure this build, whatever it was built for
    #[arg(long, hide = true)]
    as_built: bool,
}

pub fn run(options: &Options) -> Result<ExitCode> {
    let cpu = Cpu::new(options.threads)?.with_isa(Cpu::from_env()?.isa())?;
    if let (true, Some(model)) = (options.first_token, &options.model) {
        let start = first_token::measure(Path::new(model), &cpu)?;
        say!("{}", serde_json::to_string(&start)?);
        return Ok(ExitCode::SUCCESS);
    }
    let model = Model::find(options)?;
    if cfg!(debug_assertions) && !options.as_built {
        return again_in_release();
    }
    let model = model.or_made()?;
    measure(options, &model, &cpu)
}

/// Runs the same command as users' programs are built: the alias builds with assertions.
fn again_in_release() -> Result<ExitCode> {
    note("building for release");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let status = Command::new(cargo)
        .args(["run", "--quiet", "--release", "--package", "xtask"])
        .arg("--manifest-path")
        .arg(root().join("Cargo.toml"))
        .arg("--")
        .args(env::args_os().skip(1))
        .status()
        .context("cannot build for release")?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    let code =
        code.with_context(|| format!("the measurement did not come to its end ({status})"))?;
    Ok(ExitCode::from(code))
}

/// A model folder to measure, or the shape of one that is yet to be made.
struct Model {
    name: String,
    path: PathBuf,
    shape: Option<Shape>,
    /// Removes a folder that was made.
    made: Option<TempDir>,
}

impl Model {
    fn find(options: &Options) -> Result<Self> {
        let Some(model) = &options.model else {
            let shape = options.shape.unwrap_or(Shape::Gpt2);
            return Ok(Model {
                name: shape.name().to_owned(),
                path: PathBuf::new(),
                shape: Some(shape),
                made: None,
            });
        };
        let place = Place::find(model)?;
        // What is no model is refused before anything is built or loaded.
        let config = Config::open(&place.path)?;
        Weights::open(&place.path)?.check(&config)?;
        Ok(Model {
            name: place.name,
            path: place.path,
            shape: None,
            made: None,
        })
    }

    /// The same, its folder made where it is not there.
    fn or_made(self) -> Result<Self> {
        let Some(shape) = self.shape else {
            return Ok(self);
        };
        let made = shape.make()?;
        Ok(Model {
            path: made.path().to_owned(),
            made: Some(made),
            ..self
        })
    }

    /// Where peers keep what they convert it to: of random weights, no longer than those are there.
    fn scratch(&self) -> PathBuf {
        match &self.made {
            Some(made) => made.path().join("peers"),
            None => root().join("target").join("bench-peers"),
        }
    }
}

fn measure(options: &Options, model: &Model, cpu: &Cpu) -> Result<ExitCode> {
    let config = Config::open(&model.path)?;
    let report = Weights::open(&model.path)?.check(&config)?;
    let cost = Cost::new(&config, matches!(report.head, Head::Own));
    let (threads, rounds) = (options.threads.get(), options.rounds.get());
    let subject = subject(model, &config, &cost, cpu, rounds);
    let table = Table {
        silent: options.json,
    };
    table.head(&subject);
    let prober = Prober::new(cpu)?;

    // Before the model is here, which would leave less memory for a second one.
    let first_token = first_tokens(&prober, rounds, &model.path, threads, &config, &cost)?;
    let positions = config.n_positions();
    let mut engine = Engine::new(Gpt2::open_on(&model.path, cpu)?, 1, positions)?;
    let mut figures: Vec<Figure> = Vec::new();
    let mut add = |engine: &mut Engine, task| -> Result<()> {
        let repetitions = prober.alternate(rounds, || engine.run(task))?;
        let figure = Figure::new(task, &cost, repetitions).compared(&figures);
        table.figure(&figure);
        figures.push(figure);
        Ok(())
    };
    let mut alone = Task::prefills(positions);
    alone.extend(Task::decodes(1, positions));
    for task in &alone {
        add(&mut engine, *task)?;
    }
    // With them the engine is as they found it; batches come last.
    let peers = options.peers.then(|| {
        let mut race = Race {
            engine: &mut engine,
            prober: &prober,
            rounds,
            tasks: &alone,
            model: &model.path,
            threads,
            prompt: first_token::prompt(&config),
            weight_bytes: cost.weight_bytes(),
        };
        race.run(model.scratch())
    });
    let peers = peers.transpose()?;
    for batch in BATCHES.into_iter().filter(|batch| *batch > 1) {
        let tasks = Task::decodes(batch, positions);
        let longest = tasks.iter().map(|task| task.positions()).max();
        engine = engine.resized(batch, longest.unwrap_or(1))?;
        for task in tasks {
            add(&mut engine, task)?;
        }
    }
    table.first_token(&first_token);
    let limits = Range::new(prober.found());
    table.foot(&limits);
    if let Some(peers) = &peers {
        table.peers(peers);
    }
    if options.json {
        let report = Report {
            subject,
            figures,
            first_token,
            limits,
            peers,
        };
        say!("{}", serde_json::to_string_pretty(&report)?);
    }
    Ok(ExitCode::SUCCESS)
}

fn first_tokens(
    prober: &Prober,
    rounds: usize,
    model: &Path,
    threads: usize,
    config: &Config,
    cost: &Cost,
) -> Result<FirstToken> {
    let starts = prober.alternate(rounds, || {
        prober.warm_memory(cost.weight_bytes())?;
        first_token::start(model, threads)
    })?;
    let starts = starts.into_iter().map(|(start, _)| start).collect();
    let prompt = first_token::prompt(config);
    let bytes = cost.weight_bytes() + prompt as f64 * cost.position_bytes();
    Ok(FirstToken::new(prompt, bytes, starts))
}

fn subject(model: &Model, config: &Config, cost: &Cost, cpu: &Cpu, rounds: usize) -> Subject {
    Subject {
        model: model.name.clone(),
        random: model.made.is_some(),
        layers: config.n_layer(),
        channels: config.n_embd(),
        heads: config.n_head(),
        inner: config.n_inner(),
        positions: config.n_positions(),
        vocabulary: config.vocab_size(),
        weight_bytes: cost.weight_bytes(),
        threads: cpu.threads(),
        isa: cpu.isa().name(),
        version: env!("CARGO_PKG_VERSION"),
        commit: validate::git(&["rev-parse", "HEAD"]),
        dirty: validate::git(&["status", "--porcelain"]).is_none_or(|changes| !changes.is_empty()),
        rounds,
    }
}
