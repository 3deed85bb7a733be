//! Who else judges a checkpoint, and what comes of it.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use llorch_parity::{Judge, Judgement, ManifestError, Reason, Trace, Verdict};
use serde::Serialize;

use super::{NAMES, Stance, Testimony, Witness, folder};
use crate::checkpoints::{Checkpoint, Run, sites};
use crate::explain;
use crate::model_dir::ModelDir;
use crate::published::Published;
use crate::references::{CaseTraces, References, committed};

/// What is wanted beside `hf` of a checkpoint that the whole model runs for.
const ANOTHER: &str = "another implementation of the whole model that judges this checkpoint";

/// The first checkpoint that the whole model runs for.
const WHOLE: usize = 7;

/// The witnesses beside `hf`.
pub struct Quorum {
    jurors: Vec<Juror>,
    /// Figures that others publish about this very model.
    published: Option<Published>,
    absent: Vec<Absent>,
    /// What is there and cannot be believed.
    damaged: Vec<String>,
    /// Whether from [`WHOLE`] on a PASS needs one of them.
    is_needed: bool,
    hint: String,
}

/// A witness that is not there, and why.
#[derive(Debug, Serialize)]
pub struct Absent {
    pub witness: String,
    pub because: String,
}

/// A witness in the place of `hf`.
struct Juror {
    name: String,
    label: String,
    cases: Vec<CaseTraces>,
}

/// What a witness says of a checkpoint.
#[derive(Debug, Serialize)]
pub struct Opinion {
    pub witness: String,
    /// `model` or `kernels`, as its witness.json says, or `figures`.
    pub label: String,
    #[serde(flatten)]
    pub says: Says,
    /// The comparisons that it made.
    pub sites: usize,
    /// Those that `hf` makes in the same cases.
    pub of: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "says", content = "because", rename_all = "lowercase")]
pub enum Says {
    /// Where it judges, ours is within the checkpoint's bounds of it.
    Agrees,
    Dissents(String),
    Abstains(String),
}

impl Quorum {
    /// Opens the traces that are kept of a model; `asked` is its name on a command line.
    pub fn open(asked: &str, model: &ModelDir, references: &References) -> Self {
        let kept = folder(references.manifest.dir()).or_else(|| folder(&committed(&model.name)));
        Self::open_in(kept.as_deref(), asked, model, references)
    }

    /// Opens those in a folder. What was not made beside these references is as good as absent.
    fn open_in(dir: Option<&Path>, asked: &str, model: &ModelDir, references: &References) -> Self {
        let mut quorum = Quorum {
            jurors: Vec::new(),
            published: None,
            absent: Vec::new(),
            damaged: Vec::new(),
            is_needed: model.is_embedded,
            hint: format!("`cargo xtask refs --model {asked} --witness all` makes them"),
        };
        match Published::of(model) {
            Ok(published) => quorum.published = published,
            Err(error) => quorum.damaged.push(explain(&error)),
        }
        for name in NAMES {
            match dir.map(|dir| dir.join(name)).filter(|dir| dir.is_dir()) {
                Some(dir) => quorum.add(name, &dir, model, references),
                None => quorum.lacks(name, "no traces"),
            }
        }
        quorum
    }

    fn add(&mut self, name: &str, dir: &Path, model: &ModelDir, references: &References) {
        match Witness::open(dir, model) {
            Ok(witness) => match witness.check_references(references) {
                Ok(()) => self.jurors.push(Juror::new(witness, references)),
                Err(error) => self.lacks(name, &explain(&error)),
            },
            Err(error) => match error.downcast_ref() {
                Some(ManifestError::OtherModel { .. }) => self.lacks(name, &explain(&error)),
                _ => self.damaged.push(explain(&error)),
            },
        }
    }

    fn lacks(&mut self, name: &str, because: &str) {
        self.absent.push(Absent {
            witness: name.to_owned(),
            because: because.to_owned(),
        });
    }

    pub fn absent(&self) -> &[Absent] {
        &self.absent
    }

    /// What each says of a checkpoint.
    pub fn opinions(&self, run: &Run, checkpoint: Checkpoint) -> Vec<Opinion> {
        let jurors = self.jurors.iter();
        jurors
            .map(|juror| juror.opinion(run, checkpoint))
            .chain(self.published(run, checkpoint))
            .collect()
    }

    /// What published figures say, where any belong to a checkpoint.
    fn published(&self, run: &Run, checkpoint: Checkpoint) -> Option<Opinion> {
        let (published, model) = self.published.as_ref().zip(run.port.model())?;
        let evidence = run.evidence.clone();
        let judged = published.judge(checkpoint.number, model, run.model, evidence);
        let (says, sites, open) = match judged.transpose()? {
            Ok(judgement) => (says(&judgement), judgement.sites(), open(&judgement)),
            Err(error) => (Says::Abstains(explain(&error)), 0, 0),
        };
        Some(Opinion {
            witness: "published".to_owned(),
            label: "figures".to_owned(),
            of: sites + open,
            says,
            sites,
        })
    }

    /// The published figures that no checkpoint judges, each with the reason.
    pub fn not_judged(&self) -> BTreeMap<String, &str> {
        let published = self.published.iter();
        published.flat_map(Published::not_judged).collect()
    }

    /// Tells the judge of a checkpoint what stands against a PASS.
    pub fn weigh(&self, checkpoint: Checkpoint, opinions: &[Opinion], judge: &mut Judge) {
        for damage in &self.damaged {
            judge.absent(format!("a whole witness ({damage})"), &self.hint);
        }
        for opinion in opinions {
            if let Says::Dissents(because) = &opinion.says {
                judge.dissent(&opinion.witness, because);
            }
        }
        let agrees = |opinion: &Opinion| opinion.label == "model" && opinion.says == Says::Agrees;
        if self.is_needed && checkpoint.number >= WHOLE && !opinions.iter().any(agrees) {
            judge.absent(ANOTHER, &self.hint);
        }
    }
}

impl Juror {
    fn new(witness: Witness, references: &References) -> Self {
        let Witness { about, mut traces } = witness;
        let floor = Arc::new(about.floor);
        let names: BTreeSet<String> = traces.keys().map(|(case, _)| case.clone()).collect();
        let cases = references.cases.iter();
        let cases = cases.filter(|traces| names.contains(&traces.case.name));
        let mut of = |case: &str, basis: &str| -> Trace {
            let trace = traces.remove(&(case.to_owned(), basis.to_owned()));
            trace.unwrap_or_default()
        };
        let cases = cases.map(|hf| CaseTraces {
            testimony: Some(Testimony {
                isolated: of(&hf.case.name, "isolated"),
                propagated: of(&hf.case.name, "propagated"),
                floor: floor.clone(),
            }),
            case: hf.case.clone(),
            witness: hf.witness.clone(),
            isolated: hf.isolated.clone(),
            propagated: hf.propagated.clone(),
        });
        Juror {
            cases: cases.collect(),
            name: about.name,
            label: about.label,
        }
    }

    fn opinion(&self, run: &Run, checkpoint: Checkpoint) -> Opinion {
        let own = Run {
            cases: &self.cases,
            missing: &[],
            refs_command: format!("{} --witness {}", run.refs_command, self.name),
            evidence: run.evidence.clone(),
            ..*run
        };
        let names: BTreeSet<&str> = self.cases.iter().map(|t| &*t.case.name).collect();
        let of = sites::expectations(checkpoint.number, run);
        let of = of
            .iter()
            .filter(|expected| names.contains(&*expected.key().case));
        let (says, sites) = match self.stance(&own, run, checkpoint) {
            Stance::Judges => {
                let judgement = own.judge(checkpoint);
                (says(&judgement), judgement.sites())
            }
            stance => (Says::Abstains(stance.to_string()), 0),
        };
        Opinion {
            witness: self.name.clone(),
            label: self.label.clone(),
            of: of.count(),
            says,
            sites,
        }
    }

    /// Whether there is anything at a checkpoint that it can judge; if not, the better of the reasons.
    fn stance(&self, own: &Run, hf: &Run, checkpoint: Checkpoint) -> Stance {
        let number = checkpoint.number;
        if !sites::expectations(number, own).is_empty() {
            return Stance::Judges;
        }
        let (basis, layers) = (sites::basis(number), own.model.config.n_layer());
        let mut best = Stance::NotShown;
        for traces in &self.cases {
            let hf = hf.cases.iter().find(|hf| hf.case.name == traces.case.name);
            for (name, rule) in hf.map_or(Vec::new(), |hf| sites::tensors(number, hf, layers)) {
                let testimony = traces.testimony.as_ref();
                let stance = testimony.map_or(best, |t| t.stance(basis, &name, rule));
                best = best.min(stance);
            }
        }
        best
    }
}

/// What a verdict in the place of `hf`'s means. A token that its errors leave open is one comparison less.
fn says(judgement: &Judgement) -> Says {
    match judgement.verdict() {
        Verdict::Pass(_) => Says::Agrees,
        Verdict::Fail(failures) => Says::Dissents(
            failures
                .first()
                .map(ToString::to_string)
                .unwrap_or_default(),
        ),
        Verdict::Inconclusive(reasons) => match reasons.iter().find(|reason| !is_open(reason)) {
            None if judgement.sites() > 0 => Says::Agrees,
            reason => {
                let reason = reason.or(reasons.first());
                Says::Abstains(reason.map(ToString::to_string).unwrap_or_default())
            }
        },
    }
}

/// The choices that nothing settles.
fn open(judgement: &Judgement) -> usize {
    match judgement.verdict() {
        Verdict::Inconclusive(reasons) => reasons.iter().filter(|reason| is_open(reason)).count(),
        Verdict::Pass(_) | Verdict::Fail(_) => 0,
    }
}

fn is_open(reason: &Reason) -> bool {
    matches!(reason, Reason::Margin { .. })
}

impl fmt::Display for Stance {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Stance::Judges => "judges",
            Stance::BelowFloor => "below its floor",
            Stance::NotShown => "not shown",
        })
    }
}
