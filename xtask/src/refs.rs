//! `cargo xtask refs`: regenerates the references, or checks that they are what they claim to be.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};
use clap::builder::PossibleValuesParser;

use crate::model_dir::ModelDir;
use crate::python::Environment;
use crate::references::{References, committed, is_committed, own};
use crate::root;
use crate::witnesses::make::{Action, Outcome, Programs};
use crate::witnesses::{self, matrix, page};

/// Makes a model's references with Hugging Face transformers, in a Python environment of its own; with
/// --witness, the traces of another implementation beside them.
///
/// Needs Python 3.11 or later and, the first time, the Python package registry. Models whose references
/// are under fixtures/refs/ have them written there, others under target/refs/; witnesses' traces go to
/// fixtures/witnesses/ and target/witnesses/.
#[derive(clap::Args)]
pub struct Options {
    /// `tiny`, the embedded model, the path of a Hugging Face model folder, or a name that was fetched
    #[arg(long, default_value = "tiny")]
    model: String,
    /// Regenerate and compare with what is there instead of writing; exit 1 where they differ
    #[arg(long)]
    check: bool,
    /// The folder of references, if not the usual one
    #[arg(long, value_name = "DIR", conflicts_with_all = ["witness", "matrix"])]
    refs: Option<PathBuf>,
    /// A further witness instead of the references, or all
    #[arg(long, value_name = "NAME", value_parser = witness_names())]
    witness: Option<String>,
    /// A checkout of github.com/tinygrad/tinygrad at the commit that reference/witnesses/tinygrad_gpt2.py pins
    #[arg(long, value_name = "PATH")]
    tinygrad: Option<PathBuf>,
    /// Who agrees with whom, from the traces that are there, into docs/witnesses.md; needs no Python
    #[arg(long, conflicts_with = "witness")]
    matrix: bool,
}

fn witness_names() -> PossibleValuesParser {
    PossibleValuesParser::new(witnesses::NAMES.into_iter().chain(["all"]))
}

pub fn run(options: &Options) -> Result<ExitCode> {
    let model = ModelDir::open(&options.model)?;
    let refs = match &options.refs {
        Some(refs) => refs.clone(),
        None if model.is_embedded || is_committed(&model) => committed(&model.name),
        None => own(&model.name),
    };
    if options.matrix {
        return publish_matrix(&model, &refs, options.check);
    }
    let environment = environment()?;
    let action = if options.check {
        Action::Check
    } else {
        Action::Write
    };
    let code = match options.witness {
        Some(_) => 0,
        None => hugging_face(&environment, &model, &refs, action)?,
    };
    let Some(out) = witnesses::folder(&refs) else {
        ensure!(
            options.witness.is_none(),
            "{}: expected a folder in which references are kept",
            refs.display()
        );
        return Ok(ExitCode::from(code));
    };
    let programs = Programs {
        environment: &environment,
        model: &model.path,
        references: &refs,
        out,
        tinygrad: options.tinygrad.as_deref(),
    };
    let names: Vec<&str> = match options.witness.as_deref() {
        None if action == Action::Write => Vec::new(),
        None | Some("all") => witnesses::NAMES.to_vec(),
        Some(name) => vec![name],
    };
    Ok(ExitCode::from(code.max(run_all(
        &programs,
        action,
        &names,
        options.witness.as_deref(),
    )?)))
}

/// Runs witnesses one after the other. One that is asked for by its name and cannot be made is misuse.
fn run_all(programs: &Programs, action: Action, names: &[&str], asked: Option<&str>) -> Result<u8> {
    let mut code = 0;
    for name in names {
        match programs.run(action, name)? {
            Outcome::Done => {}
            Outcome::Failed => code = 1,
            Outcome::Absent(reason) => {
                ensure!(asked != Some(*name), "--witness {name}: {reason}");
                say!("{action}: {name} ({reason})");
            }
        }
    }
    Ok(code)
}

/// Writes or checks the references themselves.
fn hugging_face(
    environment: &Environment,
    model: &ModelDir,
    refs: &Path,
    action: Action,
) -> Result<u8> {
    let (action, flag) = match action {
        Action::Check => ("check", "--refs"),
        Action::Write => ("write", "--out"),
    };
    let python = environment.python();
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
        Some(code) => Ok(code),
        None => bail!("reference/hf.py did not come to its end ({status})"),
    }
}

fn publish_matrix(model: &ModelDir, refs: &Path, check: bool) -> Result<ExitCode> {
    let references = References::open(model, Some(refs))?;
    let dir = witnesses::folder(refs);
    let dir =
        dir.with_context(|| format!("{}: expected a folder of references", refs.display()))?;
    let witnesses = witnesses::open(&dir, model, &references)?;
    ensure!(
        !witnesses.is_empty(),
        "{}: expected witnesses, found none; `cargo xtask refs --witness all` makes them",
        dir.display()
    );
    let tables = matrix::tables(model, &references, &witnesses)?;
    page::publish(&model.name, &witnesses, &tables, check)
}

/// The Python of an environment that holds exactly reference/requirements.txt, and what witnesses asked for
/// since; made where it is not there yet or the requirements have changed.
fn environment() -> Result<Environment> {
    let requirements = root().join("reference").join("requirements.txt");
    let environment = Environment::named("refs-python");
    if !environment.holds(&requirements)? {
        environment.make()?;
        environment.install(&requirements, &[])?;
    }
    Ok(environment)
}
