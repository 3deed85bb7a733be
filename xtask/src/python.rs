//! Python environments below target/, made where they are wanted.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use anyhow::{Context, Result, bail};
use llorch_parity::sha256_hex;

use crate::root;

/// A folder with a Python that knows the packages installed into it.
pub struct Environment {
    dir: PathBuf,
}

impl Environment {
    /// The environment of this name; perhaps it is not there yet.
    pub fn named(name: &str) -> Self {
        Environment {
            dir: root().join("target").join(name),
        }
    }

    /// Its Python.
    pub fn python(&self) -> PathBuf {
        self.dir.join("bin").join("python")
    }

    /// Whether it is there. A link to a Python that has since been removed is none.
    pub fn exists(&self) -> bool {
        self.python().exists()
    }

    /// Whether it has these requirements, as they are now.
    pub fn holds(&self, requirements: &Path) -> Result<bool> {
        let found = fs::read_to_string(self.stamp(requirements));
        let wanted = hash(requirements)?;
        Ok(self.exists() && found.is_ok_and(|found| found == wanted))
    }

    /// Makes it from nothing, whatever was there.
    pub fn make(&self) -> Result<()> {
        note(&format!(
            "making a Python environment in {}",
            self.dir.display()
        ));
        if self.dir.exists() {
            fs::remove_dir_all(&self.dir)
                .with_context(|| format!("cannot remove {}", self.dir.display()))?;
        }
        let system = env::var_os("PYTHON").unwrap_or_else(|| "python3".into());
        let mut venv = Command::new(&system);
        venv.args(["-m", "venv"]).arg(&self.dir);
        run(
            &mut venv,
            "cannot make a Python environment: expected Python 3.11 or later with venv (PYTHON=PATH names another)",
        )
    }

    /// Installs requirements, with these variables in pip's environment; what pip says is passed on.
    pub fn install(&self, requirements: &Path, variables: &[(&str, &str)]) -> Result<()> {
        let mut pip = Command::new(self.python());
        pip.args(["-m", "pip", "install", "--quiet"])
            .args(["--disable-pip-version-check", "--requirement"])
            .arg(requirements)
            .envs(variables.iter().copied());
        let shown = requirements.strip_prefix(root()).unwrap_or(requirements);
        let problem = format!(
            "cannot install {}, which needs Python 3.11 or later and the Python package registry",
            shown.display()
        );
        run(&mut pip, &problem)?;
        let stamp = self.stamp(requirements);
        fs::write(&stamp, hash(requirements)?)
            .with_context(|| format!("cannot write {}", stamp.display()))
    }

    /// Where is said what of a requirements file was installed last.
    fn stamp(&self, requirements: &Path) -> PathBuf {
        let stem = requirements.file_stem().unwrap_or_default();
        self.dir.join(stem).with_extension("sha256")
    }
}

/// Says what takes a while, to whom reads no results.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

fn hash(requirements: &Path) -> Result<String> {
    let text = fs::read(requirements)
        .with_context(|| format!("cannot read {}", requirements.display()))?;
    Ok(sha256_hex(&text))
}

/// Runs a command to its end; where it fails, its last line says why.
fn run(command: &mut Command, problem: &str) -> Result<()> {
    let program = Path::new(command.get_program()).display().to_string();
    let output = command
        .stdin(Stdio::null())
        .stdout(io::stderr())
        .stderr(Stdio::piped())
        .spawn()
        .and_then(|child| child.wait_with_output())
        .with_context(|| format!("{problem} ({program} does not run)"))?;
    let _ = io::stderr().write_all(&output.stderr);
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().map(str::trim).rfind(|line| !line.is_empty());
        let why = last.unwrap_or(&program);
        bail!("{problem} ({}: {why})", output.status);
    }
    Ok(())
}
