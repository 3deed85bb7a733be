//! Prints the ids of a text, and fails unless they decode to the very same text.
//!
//! `cargo run -p llorch-model --example tokenize -- --model FOLDER "Hello."`

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::Parser;
use llorch_model::Tokenizer;

/// Prints the ids of a text, and fails unless they decode to the very same text.
#[derive(Parser)]
struct Options {
    /// The folder of a model or of its tokenizer
    #[arg(long)]
    model: PathBuf,
    /// The text; read from standard input where there is none
    text: Option<String>,
}

fn main() -> ExitCode {
    match run(Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(options: Options) -> Result<()> {
    let text = match options.text {
        Some(text) => text,
        None => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text)?;
            text
        }
    };
    let tokenizer = Tokenizer::open(options.model)?;
    let ids = tokenizer.encode(&text)?;
    let decoded = tokenizer.decode(&ids)?;
    ensure!(decoded == text, "expected the text back, found {decoded:?}");
    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    writeln!(std::io::stdout(), "{}", ids.join(" "))?;
    Ok(())
}
