//! `cargo xtask refs`: regenerates the references, or checks that they are what they claim to be.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::model_dir::ModelDir;
use crate::python::Environment;
use crate::references::{committed, is_committed, own};
use crate::root;

/// Makes a model's references with Hugging Face transformers, in a Python environment of its own.
///
/// Needs Python 3.11 or later and, the first time, the Python package registry. Models whose references
/// are under fixtures/refs/ have them written there, others under target/refs/.
#[derive(clap::Args)]
pub struct Options {
    /// `tiny`, the embedded model, the path of a Hugging Face model folder, or a name that was fetched
    #[arg(long, default_value = "tiny")]
    model: String,
    /// Regenerate and compare with what is there instead of writing; exit 1 where they differ
    #[arg(long)]
    check: bool,
    /// The folder of references, if not the usual one
    #[arg(long, value_name = "DIR")]
    refs: Option<PathBuf>,
}

pub fn run(options: &Options) -> Result<ExitCode> {
    let model = ModelDir::open(&options.model)?;
    let python = environment()?;
    let refs = match &options.refs {
        Some(refs) => refs.clone(),
        None if model.is_embedded || is_committed(&model) => committed(&model.name),
        None => own(&model.name),
    };
    let (action, flag) = if options.check {
        ("check", "--refs")
    } else {
        ("write", "--out")
    };
    let status = Command::new(&python)
        .arg(root().join("reference").join("hf.py"))
        .args([
            OsStr::new(action),
            OsStr::new("--model"),
            model.path.as_os_str(),
        ])
        .args([OsStr::new(flag), refs.as_os_str()])
        .status()
        .with_context(|| format!("cannot run {}", python.display()))?;
    // hf.py's own codes: 0, 1 where a check failed, 2 for misuse.
    match status.code().and_then(|code| u8::try_from(code).ok()) {
        Some(code) => Ok(ExitCode::from(code)),
        None => bail!("reference/hf.py did not come to its end ({status})"),
    }
}

/// The Python of an environment that holds exactly reference/requirements.txt; made where it is not there
/// yet or the requirements have changed.
fn environment() -> Result<PathBuf> {
    let requirements = root().join("reference").join("requirements.txt");
    let environment = Environment::named("refs-python");
    if !environment.holds(&requirements)? {
        environment.make()?;
        environment.install(&requirements, &[])?;
    }
    Ok(environment.python())
}
