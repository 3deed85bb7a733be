//! The project's commands; `cargo xtask --help` lists them.
#![forbid(unsafe_code)]

#[macro_use]
mod say;

mod bench;
mod bugs;
mod cases;
mod checkpoints;
mod compare;
mod fetch;
mod model_dir;
mod plain;
mod port;
mod published;
mod python;
mod references;
mod refs;
mod trace;
mod validate;
mod witnesses;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

/// Proves each step of GPT-2 on real weights against implementations that others wrote.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Command {
    Validate(validate::Options),
    Bugs(bugs::Options),
    Fetch(fetch::Options),
    Refs(refs::Options),
    Compare(compare::Options),
    Trace(trace::Options),
    Bench(bench::Options),
}

/// Exit codes: PASS 0, FAIL 1, misuse 2 (clap's own too), INCONCLUSIVE 3.
const MISUSE: u8 = 2;

fn main() -> ExitCode {
    let result = match Command::parse() {
        Command::Validate(options) => validate::run(&options),
        Command::Bugs(options) => bugs::run(&options),
        Command::Fetch(options) => fetch::run(&options),
        Command::Refs(options) => refs::run(&options),
        Command::Compare(options) => compare::run(&options),
        Command::Trace(options) => trace::run(&options),
        Command::Bench(options) => bench::run(&options),
    };
    result.unwrap_or_else(|error| {
        // Not eprintln!, which panics where nobody reads (`2>&1 | head`).
        let _ = writeln!(std::io::stderr(), "error: {}", explain(&error));
        ExitCode::from(MISUSE)
    })
}

/// An error and its causes in one line; many a message ends with its cause's already.
fn explain(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if line.is_empty() {
            line = cause;
        } else if !line.ends_with(&cause) {
            line = format!("{line}: {cause}");
        }
    }
    line
}

/// The workspace's folder.
fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask).to_owned()
}
