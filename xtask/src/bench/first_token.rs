//! What whoever starts a program waits for: the time from nothing to a first token, and the memory it takes.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use llorch_model::{Cpu, Gpt2, greedy};
use llorch_weights::Config;
use ndarray::Axis;
use serde::{Deserialize, Serialize};

use super::engine::ids;
use super::figure::median;

/// Tokens of the prompt, where the model has as many positions.
const PROMPT: usize = 64;

/// One start, as the process itself tells it; `reference/bench_peers.py` says the same of a peer.
#[derive(Clone, Copy, Deserialize, Serialize)]
pub struct Start {
    /// From just before the model is loaded to the first greedy token.
    pub seconds: f64,
    /// The same from the start of the process on.
    #[serde(default, alias = "with_imports")]
    pub from_start: f64,
    /// The most memory that the process had; unknown where the system does not tell.
    pub peak_bytes: Option<f64>,
}

/// The medians of several starts.
#[derive(Serialize)]
pub struct FirstToken {
    pub prompt: usize,
    #[serde(flatten)]
    pub start: Start,
    /// Over the weights and the prompt's keys and values.
    pub peak_ratio: Option<f64>,
    pub starts: Vec<Start>,
}

impl FirstToken {
    /// `bytes`: what the weights and the keys and values take.
    pub fn new(prompt: usize, bytes: f64, starts: Vec<Start>) -> Self {
        let of = |value: fn(&Start) -> f64| median(starts.iter().map(value));
        let peaks: Option<Vec<f64>> = starts.iter().map(|start| start.peak_bytes).collect();
        let peak_bytes = peaks.map(|peaks| median(peaks.into_iter()));
        FirstToken {
            prompt,
            start: Start {
                seconds: of(|start| start.seconds),
                from_start: of(|start| start.from_start),
                peak_bytes,
            },
            peak_ratio: peak_bytes.map(|peak| peak / bytes),
            starts,
        }
    }
}

/// The length of the prompt for a model.
pub fn prompt(config: &Config) -> usize {
    PROMPT.min(config.n_positions())
}

/// Loads the model and computes a first token: all that a process of its own does.
pub fn measure(model: &Path, cpu: &Cpu) -> Result<Start> {
    let start = Instant::now();
    let gpt2 = Gpt2::open_on(model, cpu)?;
    let prompt = prompt(gpt2.config());
    let ids = ids(1, prompt, gpt2.config().vocab_size());
    let mut cache = gpt2.cache(1, prompt)?;
    let logits = gpt2.forward_last(ids.view(), &mut cache, &mut ())?;
    std::hint::black_box(greedy(logits.index_axis(Axis(0), 0))?);
    Ok(Start {
        seconds: start.elapsed().as_secs_f64(),
        from_start: 0.0,
        peak_bytes: peak_bytes(),
    })
}

/// Has a process of its own do it: this program, which has nothing loaded yet.
pub fn start(model: &Path, threads: usize) -> Result<Start> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["bench", "--first-token", "--threads"]);
    command.arg(threads.to_string()).arg("--model").arg(model);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let start = Instant::now();
    let mut child = command.spawn().context("cannot start a process")?;
    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        BufReader::new(stdout).read_line(&mut line)?;
    }
    let from_start = start.elapsed().as_secs_f64();
    let status = child.wait()?;
    if !status.success() {
        bail!("a process that measures the first token did not come to its end ({status})");
    }
    let said: Start = serde_json::from_str(&line)?;
    Ok(Start { from_start, ..said })
}

/// Linux' VmHWM.
fn peak_bytes() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kibibytes: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(1024.0 * kibibytes)
}
