//! `cargo xtask validate`: the gate.

mod table;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use llorch_model::Cpu;
use llorch_parity::{Evidence, Judgement, ManifestError, Verdict};
use serde::Serialize;
use serde_json::json;

use crate::checkpoints::{CHECKPOINTS, Checkpoint, Run};
use crate::model_dir::{ModelDir, Place, relative};
use crate::port::Rooms;
use crate::references::{self, References};
use crate::witnesses::quorum::{Opinion, Quorum};
use crate::{explain, root};

/// Runs the checkpoints in order and stops at the first that is not a PASS.
///
/// LLORCH_THREADS and LLORCH_ISA choose what it runs on. Exit codes: 0 all PASS, 1 FAIL, 2 misuse,
/// 3 INCONCLUSIVE.
#[derive(clap::Args)]
pub struct Options {
    /// `tiny`, the embedded model, the path of a Hugging Face model folder, or a name that was fetched
    #[arg(long, default_value = "tiny")]
    model: String,
    /// The last checkpoint to run; those before it must pass
    #[arg(long, default_value_t = 12, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=12))]
    checkpoint: u8,
    /// The folder of references, if not the one that `cargo xtask refs` writes
    #[arg(long, value_name = "DIR")]
    refs: Option<PathBuf>,
    /// Print the verdict file instead of the table
    #[arg(long)]
    json: bool,
    /// Also print every kind of site: worst places, relative errors, value ranges
    #[arg(long)]
    verbose: bool,
}

/// A checkpoint with its judgement.
#[derive(Serialize)]
struct Row {
    #[serde(flatten)]
    checkpoint: Checkpoint,
    #[serde(flatten)]
    judgement: Judgement,
    /// What the witnesses beside `hf` say.
    opinions: Vec<Opinion>,
}

pub fn run(options: &Options) -> Result<ExitCode> {
    let asked = usize::from(options.checkpoint);
    let place = Place::find(&options.model)?;
    // Whatever stops this run, the verdict of an earlier one must not stand for it.
    let name = place.name.clone();
    let because = "the run did not come to its end";
    write(&name, &unfinished(&name, asked, because))?;
    let result = judge(options, place);
    if let Err(error) = &result {
        // The error itself is what the user needs to see; this is for who reads the file alone.
        let _ = write(&name, &unfinished(&name, asked, &explain(error)));
    }
    result
}

/// Judges the model at a place and prints what came of it.
fn judge(options: &Options, place: Place) -> Result<ExitCode> {
    let asked = usize::from(options.checkpoint);
    let cpu = Cpu::from_env()?;
    let model = ModelDir::open_at(place)?;
    let references = match References::open(&model, options.refs.as_deref()) {
        Ok(references) => references,
        Err(error) => return no_references(options, &model, &error),
    };
    let table = table::Table::new(options.json, options.verbose);
    table.head(&model, &references);

    let rooms = Rooms::new(&model, &cpu, asked > 6)?;
    let run = Run {
        port: &rooms,
        model: &model,
        cases: &references.cases,
        missing: &references.missing,
        refs_command: refs_command(options),
        evidence: evidence(&model, &references),
    };
    let quorum = Quorum::open(&quoted(&options.model), &model, &references);
    let mut rows: Vec<Row> = Vec::new();
    for checkpoint in CHECKPOINTS.into_iter().take(asked) {
        let opinions = quorum.opinions(&run, checkpoint);
        let row = Row {
            checkpoint,
            judgement: run.judge_with(checkpoint, |judge| {
                quorum.weigh(checkpoint, &opinions, judge);
            }),
            opinions,
        };
        table.row(&row);
        let pass = row.judgement.verdict().is_pass();
        rows.push(row);
        if !pass {
            break;
        }
    }
    let last = rows.last().context("no checkpoint was run")?;
    let code = last.judgement.verdict().exit_code();
    let text = write(
        &model.name,
        &json!({
            "model": model.name,
            "kind": references.manifest.kind(),
            "references": references.manifest.dir().display().to_string(),
            "witness": references.manifest.witness(),
            "versions": references.manifest.versions(),
            "absent_witnesses": quorum.absent(),
            "published_not_judged": quorum.not_judged(),
            "asked": asked,
            "verdict": name(last.judgement.verdict()),
            "checkpoints": rows,
        }),
    )?;
    table.foot(&rows, asked, &model, quorum.absent());
    if options.json {
        say!("{text}");
    }
    Ok(ExitCode::from(code))
}

/// What a verdict stands on.
pub fn evidence(model: &ModelDir, references: &References) -> Evidence {
    Evidence {
        weights_sha256: model.weights_sha256.clone(),
        inputs_sha256: references.inputs_sha256(),
        references_sha256: references.manifest.sha256().to_owned(),
        commit: git(&["rev-parse", "HEAD"]).unwrap_or_else(|| "unknown".to_owned()),
        dirty: git(&["status", "--porcelain"]).is_none_or(|changes| !changes.is_empty()),
    }
}

/// Without references nothing can be judged, and nothing is known to be wrong.
fn no_references(options: &Options, model: &ModelDir, error: &ManifestError) -> Result<ExitCode> {
    let command = refs_command(options);
    // Where the repository's own files are damaged, it has them whole.
    let absent = matches!(
        error,
        ManifestError::MissingFile { .. } | ManifestError::OtherModel { .. }
    );
    let committed = references::committed(&model.name);
    let hint = if options.refs.is_none() && !absent && committed.is_dir() {
        let folder = relative(committed);
        let folder = folder.display();
        format!("`git checkout -- {folder}` restores them")
    } else {
        format!("`{command}` makes them")
    };
    let because = format!("{error}; {hint}");
    let text = write(
        &model.name,
        &unfinished(&model.name, usize::from(options.checkpoint), &because),
    )?;
    if options.json {
        say!("{text}");
    } else {
        say!(
            "INCONCLUSIVE at checkpoint 1: no references to be used for {}",
            model.name
        );
        say!("  {error}");
        say!("  {hint}");
    }
    Ok(ExitCode::from(3))
}

/// What makes the references that a run looks for.
fn refs_command(options: &Options) -> String {
    let mut command = format!("cargo xtask refs --model {}", quoted(&options.model));
    if let Some(dir) = &options.refs {
        command += &format!(" --refs {}", quoted(&dir.to_string_lossy()));
    }
    command
}

/// As a shell takes it for one argument.
fn quoted(argument: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-".contains(c);
    if argument.chars().all(plain) {
        return argument.to_owned();
    }
    format!("'{}'", argument.replace('\'', r"'\''"))
}

fn unfinished(model: &str, asked: usize, because: &str) -> serde_json::Value {
    json!({
        "model": model,
        "asked": asked,
        "verdict": "INCONCLUSIVE",
        "because": because,
        "checkpoints": [],
    })
}

fn name(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Pass(_) => "PASS",
        Verdict::Fail(_) => "FAIL",
        Verdict::Inconclusive(_) => "INCONCLUSIVE",
    }
}

/// Writes `target/parity/<model>/verdict.json` and returns its text. It is a record: nothing ever reads a
/// verdict from it.
fn write(model: &str, verdict: &serde_json::Value) -> Result<String> {
    let dir = root().join("target").join("parity").join(model);
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let file = dir.join("verdict.json");
    let text = serde_json::to_string_pretty(verdict)?;
    fs::write(&file, format!("{text}\n"))
        .with_context(|| format!("cannot write {}", file.display()))?;
    Ok(text)
}

/// What git says, or nothing where this is no checkout.
pub fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .args(arguments)
        .current_dir(root())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
