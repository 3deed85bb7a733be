//! Runs the witnesses' programs.

use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::explain;
use crate::python::Environment;
use crate::root;

/// What is to be done with the traces.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Write,
    Check,
}

/// What came of it.
pub enum Outcome {
    Done,
    Failed,
    /// It cannot be made here, and nothing stands in for it.
    Absent(String),
}

/// The traces of a model's witnesses.
pub struct Programs<'a> {
    pub environment: &'a Environment,
    pub model: &'a Path,
    pub references: &'a Path,
    /// Where each has a folder of its name.
    pub out: PathBuf,
    pub tinygrad: Option<&'a Path>,
}

impl Programs<'_> {
    /// Runs the program of one witness.
    ///
    /// # Errors
    /// Where Python does not run at all.
    pub fn run(&self, action: Action, name: &str) -> Result<Outcome> {
        if action == Action::Check && !self.has(name) {
            return Ok(Outcome::Absent("it has no traces".to_owned()));
        }
        if let Some(requirements) = requirements(name) {
            let requirements = root().join("reference").join(requirements);
            if !self.environment.holds(&requirements)?
                && let Err(error) = self.environment.install(&requirements, &[])
            {
                return Ok(Outcome::Absent(explain(&error)));
            }
        }
        let python = self.environment.python();
        let mut command = Command::new(&python);
        command
            .arg(root().join("reference").join("witness.py"))
            .args([action.name(), "--witness", name, "--model"])
            .arg(self.model)
            .arg("--refs")
            .arg(self.references)
            .arg("--out")
            .arg(self.out.join(name));
        if let Some(checkout) = self.tinygrad {
            command.arg("--tinygrad").arg(checkout);
        }
        let run = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn();
        let output = run
            .and_then(|child| child.wait_with_output())
            .with_context(|| format!("cannot run {}", python.display()))?;
        let said = String::from_utf8_lossy(&output.stderr);
        // Its own codes: 0, 1 where a check failed, 2 where something is missing or not supported.
        match output.status.code() {
            Some(0) => Ok(Outcome::Done),
            Some(2) => {
                let last = said.lines().rfind(|line| !line.trim().is_empty());
                let reason = last.unwrap_or("it did not say why");
                let reason = reason.trim_start_matches("witness.py: ").to_owned();
                Ok(Outcome::Absent(reason))
            }
            _ => {
                let _ = io::stderr().write_all(said.as_bytes());
                Ok(Outcome::Failed)
            }
        }
    }

    /// Whether there are traces of a witness.
    pub fn has(&self, name: &str) -> bool {
        self.out.join(name).is_dir()
    }
}

/// What a witness needs beside reference/requirements.txt.
fn requirements(name: &str) -> Option<&'static str> {
    match name {
        "mlx" => Some("witnesses/mlx.txt"),
        "transformer-lens" => Some("witnesses/transformer-lens.txt"),
        "llama-cpp" => Some("peers/llama.txt"),
        "onnxruntime" => Some("peers/onnxruntime.txt"),
        _ => None,
    }
}

impl Action {
    fn name(self) -> &'static str {
        match self {
            Action::Write => "write",
            Action::Check => "check",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Action::Write => "absent",
            Action::Check => "not checked",
        })
    }
}
