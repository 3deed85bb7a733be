//! A peer: a process of `reference/bench_peers.py` that runs one task per line.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::first_token::Start;
use super::task::Task;
use crate::python::{Environment, note};
use crate::root;

/// Which requirements a peer needs.
const REQUIREMENTS: [(&str, &str); 4] = [
    ("transformers", "hf"),
    ("onnxruntime", "onnxruntime"),
    ("llama.cpp", "llama"),
    ("llama.cpp-kv32", "llama"),
];

/// What llama.cpp is compiled with: all that this machine has, and not taken from an earlier build.
const LLAMA: [(&str, &str); 2] = [
    ("CMAKE_ARGS", "-DGGML_NATIVE=ON"),
    ("PIP_NO_CACHE_DIR", "1"),
];

/// Where peers are run: with which Python, on which model.
pub struct Peers<'a> {
    environment: Environment,
    model: &'a Path,
    threads: usize,
    /// Where converted models are kept, and what peers print.
    scratch: PathBuf,
    /// Requirements that could not be installed, and why.
    failed: Vec<(String, String)>,
}

/// Why a peer is not compared; never guessed at.
pub type Absence = String;

/// Either what was wanted, or that the peer cannot do it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Answer<T> {
    Done(T),
    Absent { absent: String },
    Unsupported { unsupported: String },
}

impl<T> Answer<T> {
    fn done(self) -> Result<T> {
        match self {
            Answer::Done(done) => Ok(done),
            Answer::Absent { absent: why } | Answer::Unsupported { unsupported: why } => {
                bail!("{why}")
            }
        }
    }
}

impl<'a> Peers<'a> {
    /// Makes the environment where it is not there yet.
    pub fn install(model: &'a Path, threads: usize, scratch: PathBuf) -> Result<Self> {
        fs::create_dir_all(&scratch)
            .with_context(|| format!("cannot create {}", scratch.display()))?;
        let environment = Environment::named("peers-python");
        if !environment.exists() {
            environment.make()?;
        }
        let mut files: Vec<&str> = REQUIREMENTS.iter().map(|(_, file)| *file).collect();
        files.dedup();
        let mut failed = Vec::new();
        for file in files {
            let path = root().join("reference/peers").join(file);
            let path = path.with_extension("txt");
            if environment.holds(&path)? {
                continue;
            }
            note(&format!("installing reference/peers/{file}.txt"));
            let variables = if file == "llama" { &LLAMA[..] } else { &[] };
            if let Err(error) = environment.install(&path, variables) {
                failed.push((file.to_owned(), error.to_string()));
            }
        }
        Ok(Peers {
            environment,
            model,
            threads,
            scratch,
            failed,
        })
    }

    /// The names of all peers, also of those that will turn out to be absent.
    pub fn names(&self) -> Result<Vec<String>> {
        let output = self.command("peers").output();
        let output = output.context("cannot run reference/bench_peers.py")?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("reference/bench_peers.py: {}", said.trim());
        }
        let names = String::from_utf8(output.stdout)?;
        Ok(names.lines().map(str::to_owned).collect())
    }

    /// Starts a peer; it has loaded the model when this returns.
    pub fn serve(&self, name: &str) -> Result<Peer> {
        let file = REQUIREMENTS.iter().find(|(peer, _)| *peer == name);
        let why = file.and_then(|(_, file)| self.failed.iter().find(|(failed, _)| failed == file));
        if let Some((_, why)) = why {
            bail!("{why}");
        }
        let mut command = self.command("serve");
        self.arguments(&mut command, name);
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(self.log(name)?)
            .spawn()
            .context("reference/bench_peers.py does not run")?;
        let pipes = process.stdin.take().zip(process.stdout.take());
        let (requests, answers) = pipes.context("a process without pipes")?;
        let mut running = Running {
            process,
            requests,
            answers: BufReader::new(answers),
        };
        let introduction = running.answer()?;
        Ok(Peer {
            running,
            introduction,
        })
    }

    /// A fresh process that loads the model and computes a first token.
    pub fn first_token(&self, name: &str, tokens: usize) -> Result<Start> {
        let mut command = self.command("first-token");
        self.arguments(&mut command, name);
        command.arg("--tokens").arg(tokens.to_string());
        let output = command.stderr(self.log(name)?).output()?;
        let answer = parse::<Start>(&String::from_utf8_lossy(&output.stdout))
            .with_context(|| format!("{} ended without an answer", output.status))?;
        answer.done()
    }

    fn command(&self, action: &str) -> Command {
        let mut command = Command::new(self.environment.python());
        command.arg(root().join("reference/bench_peers.py"));
        command.arg(action).stdin(Stdio::null());
        command
    }

    fn arguments(&self, command: &mut Command, name: &str) {
        command.args(["--peer", name, "--threads", &self.threads.to_string()]);
        command.arg("--model").arg(self.model);
        command.arg("--scratch").arg(&self.scratch);
    }

    /// Where goes what the peer's libraries print.
    fn log(&self, name: &str) -> Result<Stdio> {
        let path = self.scratch.join(format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&path);
        Ok(file
            .with_context(|| format!("cannot write {}", path.display()))?
            .into())
    }
}

/// A peer that runs.
pub struct Peer {
    running: Running,
    pub introduction: Introduction,
}

/// What a peer says of itself.
#[derive(Deserialize)]
pub struct Introduction {
    pub version: String,
    pub detail: String,
}

#[derive(Deserialize)]
struct Seconds {
    seconds: f64,
}

impl Peer {
    /// Seconds that the task takes it.
    pub fn run(&mut self, task: Task) -> Result<f64> {
        let request = serde_json::to_string(&task)?;
        writeln!(self.running.requests, "{request}").context("it does not run any more")?;
        Ok(self.running.answer::<Seconds>()?.seconds)
    }
}

struct Running {
    process: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Running {
    fn answer<T: DeserializeOwned>(&mut self) -> Result<T> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        if line.is_empty() {
            bail!("it ended without an answer ({})", self.process.wait()?);
        }
        parse::<T>(&line)?.done()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It ends by itself when it is told to; one that hangs is not waited for.
        let _ = writeln!(self.requests, r#"{{"task": "stop"}}"#);
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn parse<T: DeserializeOwned>(line: &str) -> Result<Answer<T>> {
    serde_json::from_str(line).with_context(|| format!("not an answer: {:?}", line.trim()))
}
