//! `cargo xtask trace`: our own activations at every site, for any model.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use llorch_model::{Cpu, Gpt2, Tokenizer, tokens};
use llorch_parity::Tensor;
use ndarray::Array2;

use crate::checkpoints::Recorder;
use crate::model_dir::ModelDir;

/// Writes our own activations at every site of one forward pass to an .npz file.
#[derive(clap::Args)]
pub struct Options {
    /// `tiny`, the embedded model, the path of a Hugging Face model folder, or a name that was fetched
    #[arg(long, default_value = "tiny")]
    model: String,
    #[command(flatten)]
    input: Input,
    /// Where to write
    #[arg(long, value_name = "FILE.npz")]
    out: PathBuf,
}

#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct Input {
    /// The text to run
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    prompt: Option<String>,
    /// The token ids to run, separated by commas; rows of a batch by semicolons
    #[arg(long, value_name = "IDS", allow_hyphen_values = true)]
    tokens: Option<String>,
}

pub fn run(options: &Options) -> Result<ExitCode> {
    // Before the model is run, which may take minutes.
    let folder = options.out.parent().unwrap_or(Path::new(""));
    ensure!(
        folder == Path::new("") || folder.is_dir(),
        "--out {}: expected a folder that exists, found none at {}",
        options.out.display(),
        folder.display()
    );
    let cpu = Cpu::from_env()?;
    let model = ModelDir::open(&options.model)?;
    let gpt2 = Gpt2::load(&model.weights, &model.config, &cpu)?;
    let batch = match (&options.input.tokens, &options.input.prompt) {
        (Some(ids), _) => parse(ids)?,
        (None, prompt) => {
            let text = prompt.as_deref().unwrap_or_default();
            tokens(&[&Tokenizer::open(&model.path)?.encode(text)?])?
        }
    };
    let mut recorder = Recorder::new(|_: &str| true);
    let mut cache = gpt2.cache(batch.nrows(), batch.ncols())?;
    gpt2.forward(batch.view(), &mut cache, recorder.call(0))?;
    let mut trace = recorder.finish()?;
    trace.insert("0/tokens", Tensor::from(batch.mapv(i64::from)))?;
    trace
        .write_npz(&options.out)
        .context("cannot write the trace")?;
    say!(
        "{} tensors written to {}",
        trace.len(),
        options.out.display()
    );
    Ok(ExitCode::SUCCESS)
}

/// `1,2;3,4` is [[1, 2], [3, 4]].
fn parse(ids: &str) -> Result<Array2<u32>> {
    let rows = ids
        .split(';')
        .map(|row| {
            let ids = row.split(',').map(|id| {
                let id = id.trim();
                id.parse()
                    .with_context(|| format!("--tokens: expected a token id, found {id:?}"))
            });
            ids.collect::<Result<Vec<u32>>>()
        })
        .collect::<Result<Vec<_>>>()?;
    let rows: Vec<&[u32]> = rows.iter().map(Vec::as_slice).collect();
    Ok(tokens(&rows)?)
}
