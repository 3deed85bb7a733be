//! Our times and a peer's, in alternation.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use serde::Serialize;

use super::engine::Engine;
use super::figure::median;
use super::first_token::{self, Start};
use super::peer::{Absence, Peers};
use super::probe::{Limits, Prober};
use super::task::Task;
use crate::explain;
use crate::python::note;

/// A peer and what it was compared in, or why it was not.
#[derive(Serialize)]
pub struct Comparison {
    pub peer: String,
    pub version: Option<String>,
    pub detail: Option<String>,
    /// Why there is nothing to compare with.
    pub absent: Option<Absence>,
    pub rows: Vec<Row>,
}

/// One thing that both did.
#[derive(Serialize)]
pub struct Row {
    pub name: String,
    /// Why the peer did not do it.
    pub absent: Option<Absence>,
    pub pairs: Vec<Pair>,
    #[serde(flatten)]
    pub medians: Option<Medians>,
}

/// Seconds of one repetition on both sides, one straight after the other.
#[derive(Serialize)]
pub struct Pair {
    pub ours: f64,
    pub theirs: f64,
    pub limits: Limits,
}

#[derive(Clone, Copy, Serialize)]
pub struct Medians {
    pub ours: f64,
    pub theirs: f64,
    /// Of the pairs' ratios, their time over ours: above 1 we are faster.
    pub ratio: f64,
}

impl Row {
    fn new(name: String, pairs: Result<Vec<Pair>>) -> Self {
        let (pairs, absent) = match pairs {
            Ok(pairs) => (pairs, None),
            Err(error) => (Vec::new(), Some(explain(&error))),
        };
        let of = |value: fn(&Pair) -> f64| median(pairs.iter().map(value));
        let medians = (!pairs.is_empty()).then(|| Medians {
            ours: of(|pair| pair.ours),
            theirs: of(|pair| pair.theirs),
            ratio: of(|pair| pair.theirs / pair.ours),
        });
        Row {
            name,
            absent,
            pairs,
            medians,
        }
    }
}

/// What peers are compared in: the tasks of one row, and a start.
pub struct Race<'a> {
    pub engine: &'a mut Engine,
    pub prober: &'a Prober,
    pub rounds: usize,
    pub tasks: &'a [Task],
    pub model: &'a Path,
    pub threads: usize,
    /// Tokens of the prompt whose first token is waited for.
    pub prompt: usize,
    pub weight_bytes: f64,
}

impl Race<'_> {
    /// Runs all peers, one after the other: several models at once may not fit into memory.
    pub fn run(&mut self, scratch: PathBuf) -> Result<Vec<Comparison>> {
        let peers = Peers::install(self.model, self.threads, scratch)?;
        let names = peers.names()?.into_iter();
        names.map(|name| self.with(&peers, name)).collect()
    }

    fn with(&mut self, peers: &Peers, name: String) -> Result<Comparison> {
        note(&format!("comparing with {name}"));
        let mut comparison = Comparison {
            peer: name.clone(),
            version: None,
            detail: None,
            absent: None,
            rows: Vec::new(),
        };
        let mut peer = match peers.serve(&name) {
            Ok(peer) => peer,
            Err(error) => {
                comparison.absent = Some(explain(&error));
                return Ok(comparison);
            }
        };
        comparison.version = Some(peer.introduction.version.clone());
        comparison.detail = Some(peer.introduction.detail.clone());
        for &task in self.tasks {
            // An error of ours ends everything, one of theirs this row.
            let pairs = self
                .prober
                .alternate(self.rounds, || Ok((self.engine.run(task)?, peer.run(task))))?;
            let row = Row::new(task.to_string(), tagged(pairs));
            comparison.rows.push(row);
        }
        // Its memory is not wanted beside a second process of it.
        drop(peer);
        let starts = self.prober.alternate(self.rounds, || {
            self.prober.warm_memory(self.weight_bytes)?;
            let ours = first_token::start(self.model, self.threads)?;
            self.prober.warm_memory(self.weight_bytes)?;
            Ok((ours, peers.first_token(&name, self.prompt)))
        })?;
        let mut add = |name: &str, part: fn(Start) -> f64| {
            let pairs = starts.iter().map(|((ours, theirs), limits)| {
                let theirs = theirs.as_ref().map(|theirs| part(*theirs));
                let theirs = theirs.map_err(|error| anyhow!(explain(error)));
                ((part(*ours), theirs), limits.clone())
            });
            let row = Row::new(name.to_owned(), tagged(pairs.collect()));
            comparison.rows.push(row);
        };
        add("first token, loading on", |start| start.seconds);
        add("first token, whole process", |start| start.from_start);
        Ok(comparison)
    }
}

fn tagged(pairs: Vec<((f64, Result<f64>), Limits)>) -> Result<Vec<Pair>> {
    let pairs = pairs.into_iter().map(|((ours, theirs), limits)| {
        theirs.map(|theirs| Pair {
            ours,
            theirs,
            limits,
        })
    });
    pairs.collect()
}
