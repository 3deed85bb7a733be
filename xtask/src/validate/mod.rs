//! `cargo xtask validate`: the gate.

mod table;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use llorch_model::Gpt2;
use llorch_parity::{Evidence, Judgement, Verdict};
use serde::Serialize;
use serde_json::json;

use crate::checkpoints::{CHECKPOINTS, Checkpoint, Run};
use crate::model_dir::{ModelDir, Place};
use crate::references::References;
use crate::root;

/// Runs the checkpoints in order and stops at the first that is not a PASS.
///
/// Exit codes: 0 all PASS, 1 FAIL, 2 misuse, 3 INCONCLUSIVE.
#[derive(clap::Args)]
pub struct Options {
    /// `tiny`, the embedded model, or the path of a Hugging Face model folder
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
}

pub fn run(options: &Options) -> Result<ExitCode> {
    let asked = usize::from(options.checkpoint);
    let place = Place::find(&options.model)?;
    // Whatever stops this run, the verdict of an earlier one must not stand for it.
    write(
        &place.name,
        &unfinished(options, "the run did not come to its end"),
    )?;
    let model = ModelDir::open_at(place)?;
    let references = match References::open(&model, options.refs.as_deref()) {
        Ok(references) => references,
        Err(error) => return no_references(options, &model, &error.to_string()),
    };
    let table = table::Table::new(options.json, options.verbose);
    table.head(&model, &references);

    let evidence = Evidence {
        weights_sha256: model.weights_sha256.clone(),
        inputs_sha256: references.inputs_sha256(),
        references_sha256: references.manifest.sha256().to_owned(),
        commit: git(&["rev-parse", "HEAD"]).unwrap_or_else(|| "unknown".to_owned()),
        dirty: git(&["status", "--porcelain"]).is_none_or(|changes| !changes.is_empty()),
    };
    let gpt2 = model.missing.is_empty() && asked > 6;
    let run = Run {
        gpt2: gpt2
            .then(|| Gpt2::load(&model.weights, &model.config))
            .transpose()?,
        model: &model,
        references: &references,
        evidence,
    };
    let mut rows: Vec<Row> = Vec::new();
    for checkpoint in CHECKPOINTS.into_iter().take(asked) {
        let row = Row {
            checkpoint,
            judgement: run.judge(checkpoint),
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
    let file = write(
        &model.name,
        &json!({
            "model": model.name,
            "kind": references.manifest.kind(),
            "references": references.manifest.dir().display().to_string(),
            "witness": references.manifest.witness(),
            "versions": references.manifest.versions(),
            "asked": asked,
            "verdict": name(last.judgement.verdict()),
            "checkpoints": rows,
        }),
    )?;
    table.foot(&rows, asked, &model);
    if options.json {
        say!("{}", fs::read_to_string(file)?.trim_end());
    }
    Ok(ExitCode::from(code))
}

/// Without references nothing can be judged, and nothing is known to be wrong.
fn no_references(options: &Options, model: &ModelDir, error: &str) -> Result<ExitCode> {
    let folder = options.refs.as_ref();
    let folder = folder.map_or(String::new(), |dir| format!(" --refs {}", dir.display()));
    let hint = format!(
        "`cargo xtask refs --model {}{folder}` makes them",
        options.model
    );
    let file = write(&model.name, &unfinished(options, error))?;
    if options.json {
        say!("{}", fs::read_to_string(file)?.trim_end());
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

fn unfinished(options: &Options, because: &str) -> serde_json::Value {
    json!({
        "model": options.model,
        "asked": options.checkpoint,
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

/// Writes `target/parity/<model>/verdict.json`. It is a record: nothing ever reads a verdict from it.
fn write(model: &str, verdict: &serde_json::Value) -> Result<PathBuf> {
    let dir = root().join("target").join("parity").join(model);
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let file = dir.join("verdict.json");
    let text = serde_json::to_string_pretty(verdict)? + "\n";
    fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(file)
}

/// What git says, or nothing where this is no checkout.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .args(arguments)
        .current_dir(root())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
