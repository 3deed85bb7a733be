//! Continues a text, or token ids, on the CPU.

use std::io::{self, ErrorKind, Write};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use llorch_model::{Cpu, Error, Gpt2, Sampler, Sampling, TextStream, Tokenizer, generate};
use llorch_weights::hub::model_folder;

/// The embedded model, beside the crates.
const EMBEDDED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/tiny");

/// Continues a text with a GPT-2, or token ids where these are given.
///
/// Prints the prompt and what follows as it comes, up to the end-of-text token; with --tokens only the new
/// ids, separated by commas, so that they can be handed in again.
#[derive(Parser)]
#[command(name = "generate")]
struct Options {
    /// Hugging Face model folder, or the name of a repository that was fetched [default: the embedded model]
    #[arg(long, value_name = "MODEL", default_value = EMBEDDED, hide_default_value = true)]
    model: PathBuf,
    /// Text to continue
    #[arg(long, value_name = "TEXT", default_value = "What say you")]
    prompt: String,
    /// Token ids to continue, separated by commas: ids in, ids out
    #[arg(
        long,
        value_name = "IDS",
        value_delimiter = ',',
        conflicts_with = "prompt"
    )]
    tokens: Option<Vec<u32>>,
    /// New tokens at most
    #[arg(long, value_name = "N", default_value_t = 64)]
    max_new_tokens: usize,
    /// What the logits are divided by; under 1e-6 the best token is always taken
    #[arg(long, value_name = "T", default_value_t = 0.8)]
    temperature: f32,
    /// Choose among the K best tokens only
    #[arg(long, value_name = "K")]
    top_k: Option<usize>,
    /// Choose among the best tokens that make up the share P of the probability
    #[arg(long, value_name = "P", default_value_t = 0.95)]
    top_p: f64,
    /// The same seed gives the same tokens
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Threads [default: LLORCH_THREADS, else as many as the machine has]; the tokens do not depend on it
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

/// Whether the reader has seen enough.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<io::Error>();
    error.is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}

fn run(options: &Options) -> Result<()> {
    let sampling = Sampling {
        temperature: options.temperature,
        top_k: options.top_k,
        top_p: Some(options.top_p),
    };
    let sampler = Sampler::new(sampling, options.seed)?;
    let mut cpu = Cpu::from_env()?;
    if let Some(threads) = options.threads {
        cpu = Cpu::new(threads)?.with_isa(cpu.isa())?;
    }
    let folder = model_folder(&options.model).with_context(|| {
        let model = options.model.display();
        format!(
            "{model}: no such folder, nor such a repository in the Hugging Face cache; \
             `cargo xtask fetch {model}` fetches one"
        )
    })?;
    let model = Gpt2::open_on(&folder, &cpu)?;
    let follow = |prompt: &[u32]| {
        let ends =
            |token: &_| matches!(token, Ok(id) if model.config().eos_token_ids().contains(id));
        let new = generate(&model, prompt, options.max_new_tokens, sampler)?;
        anyhow::Ok(new.take_while(move |token| !ends(token)))
    };
    let out = io::stdout().lock();
    match &options.tokens {
        Some(ids) => print_ids(out, follow(ids)?),
        None => {
            let tokenizer = Tokenizer::open(&folder)?;
            let new = follow(&tokenizer.encode(&options.prompt)?)?;
            print_text(out, &options.prompt, tokenizer.stream(), new)
        }
    }
}

/// The prompt, and each piece of text as it comes.
fn print_text(
    mut out: impl Write,
    prompt: &str,
    mut text: TextStream,
    new: impl Iterator<Item = Result<u32, Error>>,
) -> Result<()> {
    write!(out, "{prompt}")?;
    out.flush()?;
    for token in new {
        write!(out, "{}", text.push(token?)?)?;
        out.flush()?;
    }
    Ok(writeln!(out, "{}", text.finish()?)?)
}

/// Each id as it comes, separated by commas.
fn print_ids(mut out: impl Write, new: impl Iterator<Item = Result<u32, Error>>) -> Result<()> {
    for (i, token) in new.enumerate() {
        let separator = if i == 0 { "" } else { "," };
        write!(out, "{separator}{}", token?)?;
        out.flush()?;
    }
    Ok(writeln!(out)?)
}
