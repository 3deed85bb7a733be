//! `cargo xtask refs`: regenerates the references, or checks that they are what they claim to be.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{env, fs};

use anyhow::{Context, Result, bail};
use llorch_parity::sha256_hex;

use crate::model_dir::ModelDir;
use crate::references::{committed, is_committed, own};
use crate::root;

/// Makes a model's references with Hugging Face transformers, in a Python environment of its own.
///
/// Needs Python 3.11 or later and, the first time, the Python package registry. Models whose references
/// are under fixtures/refs/ have them written there, others under target/refs/.
#[derive(clap::Args)]
pub struct Options {
    /// `tiny`, the embedded model, or the path of a Hugging Face model folder
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
    let text = fs::read(&requirements)
        .with_context(|| format!("cannot read {}", requirements.display()))?;
    let dir = root().join("target").join("refs-python");
    let python = dir.join("bin").join("python");
    let stamp = dir.join("requirements.sha256");
    let wanted = sha256_hex(&text);
    // A link to a Python that has since been removed is none.
    if python.exists() && fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
        return Ok(python);
    }
    say!("making a Python environment in {}", dir.display());
    if dir.exists() {
        fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))?;
    }
    let system = env::var_os("PYTHON").unwrap_or_else(|| "python3".into());
    command(
        "cannot make a Python environment: expected Python 3.11 or later with venv (PYTHON=PATH names another)",
        &system,
        &["-m".as_ref(), "venv".as_ref(), dir.as_os_str()],
    )?;
    let pip = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--requirement",
    ];
    let mut arguments: Vec<&OsStr> = pip.iter().map(OsStr::new).collect();
    arguments.push(requirements.as_os_str());
    command(
        "cannot install reference/requirements.txt, which needs Python 3.11 or later and the Python package \
         registry; pip says above what it lacks",
        python.as_os_str(),
        &arguments,
    )?;
    fs::write(&stamp, wanted).with_context(|| format!("cannot write {}", stamp.display()))?;
    Ok(python)
}

fn command(problem: &str, program: &OsStr, arguments: &[&OsStr]) -> Result<()> {
    let shown = Path::new(program).display().to_string();
    let status = Command::new(program)
        .args(arguments)
        .status()
        .with_context(|| format!("{problem} ({shown} does not run)"))?;
    if !status.success() {
        bail!("{problem} ({shown}: {status})");
    }
    Ok(())
}
