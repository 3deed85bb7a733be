//! The twelve checkpoints: what each expects, and how an implementation is run for it.

mod choices;
mod cut;
mod generation;
mod inputs;
pub mod isolated;
mod pieces;
pub mod propagated;
mod recorder;
mod sampling;
pub mod sites;

use anyhow::Result;
use llorch_parity::{Evidence, Judge, Judgement, Trace, TraceError};
use serde::Serialize;

use crate::explain;
use crate::model_dir::ModelDir;
use crate::port::Port;
use crate::references::CaseTraces;

pub use recorder::Recorder;
pub use sites::rule;

/// What a checkpoint's components were fed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Basis {
    /// The reference's own inputs, so that an error is the component's own.
    Isolated,
    /// The tokens alone: the whole model ran.
    Propagated,
    /// Both, each against its own truth.
    Both,
}

impl Basis {
    pub fn name(self) -> &'static str {
        match self {
            Basis::Isolated => "isolated",
            Basis::Propagated => "propagated",
            Basis::Both => "both",
        }
    }
}

/// One of the twelve.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Checkpoint {
    pub number: usize,
    pub name: &'static str,
    pub basis: Basis,
}

/// All twelve in the order of the gate: a checkpoint counts only where those before it pass.
pub const CHECKPOINTS: [Checkpoint; 12] = {
    use Basis::{Both, Isolated, Propagated};
    const fn checkpoint(number: usize, name: &'static str, basis: Basis) -> Checkpoint {
        Checkpoint {
            number,
            name,
            basis,
        }
    }
    [
        checkpoint(1, "layernorm", Isolated),
        checkpoint(2, "qkv", Isolated),
        checkpoint(3, "kv-cache", Isolated),
        checkpoint(4, "scores", Isolated),
        checkpoint(5, "attention", Isolated),
        checkpoint(6, "mlp", Isolated),
        checkpoint(7, "blocks", Propagated),
        checkpoint(8, "logits", Propagated),
        checkpoint(9, "last-logits", Propagated),
        checkpoint(10, "greedy", Propagated),
        checkpoint(11, "sampling", Both),
        checkpoint(12, "generation", Propagated),
    ]
};

/// What all checkpoints of a run share.
pub struct Run<'a> {
    /// The implementation that is judged.
    pub port: &'a dyn Port,
    pub model: &'a ModelDir,
    /// What it is judged by.
    pub cases: &'a [CaseTraces],
    /// What is not there of the references.
    pub missing: &'a [String],
    /// What makes them anew.
    pub refs_command: String,
    pub evidence: Evidence,
}

impl Run<'_> {
    /// Judges one checkpoint.
    pub fn judge(&self, checkpoint: Checkpoint) -> Judgement {
        self.judge_with(checkpoint, |_| ())
    }

    /// Judges one checkpoint, with what else the judge is to know.
    pub fn judge_with(&self, checkpoint: Checkpoint, tell: impl FnOnce(&mut Judge)) -> Judgement {
        let expected = sites::expectations(checkpoint.number, self);
        let hint = format!("`{}` makes it", self.refs_command);
        let mut judge = Judge::new(expected, &hint);
        for missing in self.missing {
            judge.absent(format!("{missing} among the references"), &hint);
        }
        let missing = self.missing_weights(checkpoint.number);
        if !missing.is_empty() {
            judge.absent(missing, "the whole model's model.safetensors has them");
        } else if let Err(error) = self.run(checkpoint.number, &mut judge) {
            // A reference that lacks what a component is fed says nothing about the component.
            match error.downcast_ref::<TraceError>() {
                Some(lack) => judge.absent(format!("whole references ({lack})"), &hint),
                None => judge.broken(explain(&error)),
            }
        }
        tell(&mut judge);
        judge.finish(self.evidence.clone())
    }

    fn run(&self, checkpoint: usize, judge: &mut Judge) -> Result<()> {
        match (checkpoint, self.port.model()) {
            (1..=6, _) => isolated::run(checkpoint, self, judge),
            (7..=9, Some(model)) => propagated::run(checkpoint, model, self, judge),
            (10, Some(model)) => choices::run(model, self, judge),
            (11, Some(model)) => sampling::run(model, self, judge),
            (_, Some(model)) => generation::run(model, self, judge),
            (_, None) => {
                judge.absent("the whole model", "its model.safetensors has every tensor");
                Ok(())
            }
        }
    }

    /// The tensors that a checkpoint needs and the file lacks, in one line; empty where none do.
    fn missing_weights(&self, checkpoint: usize) -> String {
        let needed = |name: &str| match checkpoint {
            1 => name.contains("ln_"),
            2 => name.contains("attn.c_attn"),
            3 => false,
            4 | 5 => name.contains("attn.c_proj"),
            6 => name.contains("mlp."),
            _ => true,
        };
        let missing = self
            .model
            .missing
            .iter()
            .filter(|tensor| needed(&tensor.name));
        let names: Vec<String> = missing.map(ToString::to_string).collect();
        match names.len() {
            0 => String::new(),
            1 => format!("a tensor of the model ({})", names.join(", ")),
            n => format!("{n} tensors of the model ({})", names.join(", ")),
        }
    }
}

/// Holds every tensor of one run against the same of another, to the bit.
fn identical(judge: &mut Judge, run: &str, a: &Trace, b: &Trace) {
    for (name, tensor) in a.iter() {
        let run = format!("{run}: {name}");
        match b.get(name) {
            Some(other) => judge.identical(&run, tensor, other),
            None => judge.absent(&run, "the second run did not give it"),
        }
    }
}
