//! `cargo xtask compare`: somebody's port of GPT-2, tensor by tensor, against the references.

mod case;
mod diagnosis;
mod dump;
mod judge;
mod judged_site;
mod layout;
mod names;
mod precision;
mod reference;
mod replay;
mod report;
mod site;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::model_dir::ModelDir;
use crate::plain;
use crate::references::References;
use crate::validate::evidence;
use dump::Dump;
use judge::Against;
use layout::Layout;
use names::Map;

/// Holds a dump of any port's activations against the references and names its first wrong step.
///
/// A dump is a folder of .npy, an .npz or a .safetensors with activations by name, in float16, bfloat16,
/// float32 or float64. What it has is judged; docs/porting.md walks through a session. Exit codes: 0 what is
/// there agrees, 1 it does not, 2 misuse, 3 nothing can be said.
#[derive(clap::Args)]
pub struct Options {
    /// A folder of .npy, an .npz or a .safetensors
    #[arg(required_unless_present = "tokens")]
    dump: Option<PathBuf>,
    /// Print the token ids that a port must be fed for this case, one call a line, and stop
    #[arg(long, value_name = "CASE", conflicts_with = "dump")]
    tokens: Option<String>,
    /// `tiny`, the embedded model, or the path of a Hugging Face model folder
    #[arg(long, default_value = "tiny")]
    model: String,
    /// The folder of references, if not the one that `cargo xtask refs` writes
    #[arg(long, value_name = "DIR")]
    refs: Option<PathBuf>,
    /// The case that the dump was made of; otherwise its `tokens` say
    #[arg(long)]
    case: Option<String>,
    /// Whose names the dump has: llorch, transformers, transformer-lens, llama-cpp or nanogpt; otherwise
    /// those that explain most of them
    #[arg(long, value_name = "MAP", conflicts_with = "map")]
    names: Option<String>,
    /// A table of names of your own
    #[arg(long, value_name = "FILE.toml")]
    map: Option<PathBuf>,
    /// The order of axes where a shape leaves a choice, such as BHTD for queries, keys and values, and BHSD for
    /// a cache; several are separated by commas
    #[arg(long, value_delimiter = ',', value_parser = Layout::parse, value_name = "AXES")]
    layout: Vec<Layout>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Also print every site
    #[arg(long)]
    verbose: bool,
}

pub fn run(options: &Options) -> Result<ExitCode> {
    let model = ModelDir::open(&options.model)?;
    let references = match References::open(&model, options.refs.as_deref()) {
        Ok(references) => references,
        Err(error) => {
            let hint = format!("`cargo xtask refs --model {}` makes them", options.model);
            return Ok(report::nothing(&format!("{error}; {hint}"), options.json));
        }
    };
    if let Some(case) = &options.tokens {
        case::print_tokens(&references, case)?;
        return Ok(ExitCode::SUCCESS);
    }
    let path = options.dump.as_deref().context("expected a dump")?;
    let dump = Dump::open(path)?;
    let map = match (&options.map, &options.names) {
        (Some(file), _) => Ok(Map::open(file)?),
        (None, Some(name)) => Ok(Map::named(name)?),
        (None, None) => names::recognise(&dump.tensors.keys().map(String::as_str).collect()),
    };
    let map = match map {
        Ok(map) => map,
        Err(unknown) => return Ok(report::nothing(&unknown.to_string(), options.json)),
    };
    let traces = match case::find(&references, &dump, &map, options.case.as_deref())? {
        Ok(traces) => traces,
        Err(unknown) => return Ok(report::nothing(&unknown, options.json)),
    };
    let against = Against {
        config: &model.config,
        traces,
        map: &map,
        layouts: &options.layout,
        evidence: evidence(&model, &references),
    };
    let judged = judge::judge(&dump, &against)?;
    let weights = plain::Weights::load(&model.weights, &model.config)?;
    let diagnosis = diagnosis::diagnose(&judged, &weights, traces);
    let report = report::Report::new(
        &model,
        &references,
        &dump,
        path,
        &against,
        judged,
        diagnosis,
    );
    report.print(options.json, options.verbose)
}
