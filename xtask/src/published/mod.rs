//! The witness `published`: figures that other projects publish about a model, and a model held against them.

mod file;
mod ids;
mod numbers;
mod trial;

#[cfg(test)]
mod tests;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use llorch_model::{Error, Tokenizer};
use llorch_parity::{Evidence, Judge, Judgement, sha256_hex};

use crate::model_dir::ModelDir;
use crate::port::Model;
use crate::{explain, root};
use file::{Figure, File, Kind, Source};
use ids::Greedily;
use trial::Ready;

/// The figures about one model.
pub struct Published {
    sources: Vec<Source>,
    /// The file's.
    sha256: String,
}

impl Published {
    /// Those of fixtures/published.json about this very model; `None` where it has none.
    pub fn of(model: &ModelDir) -> Result<Option<Self>> {
        Self::open(&root().join("fixtures").join("published.json"), model)
    }

    /// Those of a file of the same form.
    pub fn open(path: &Path, model: &ModelDir) -> Result<Option<Self>> {
        let text = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text, model).with_context(|| format!("cannot use {}", path.display()))
    }

    fn parse(text: &[u8], model: &ModelDir) -> Result<Option<Self>> {
        let file: File = serde_json::from_slice(text)?;
        let about = file.models.into_iter().filter(|about| is_of(about, model));
        let sources: Vec<Source> = about.flat_map(|about| about.sources).collect();
        Ok((!sources.is_empty()).then(|| Published {
            sources,
            sha256: sha256_hex(text),
        }))
    }

    /// What is published about the model and not judged, each with the reason.
    pub fn not_judged(&self) -> impl Iterator<Item = (String, &str)> {
        self.sources.iter().flat_map(|source| {
            let not_judged = source.not_judged.iter();
            not_judged.map(|what| (source.case(&what.name), &*what.reason))
        })
    }

    /// Judges a model by the figures that belong to a checkpoint; `None` where none does.
    ///
    /// A figure is judged by its source's tolerance, and a greedy id where our own margin settles it. Whatever
    /// is asked of the model is asked twice, and must be the same to the bit.
    pub fn judge(
        &self,
        checkpoint: usize,
        model: &dyn Model,
        folder: &ModelDir,
        evidence: Evidence,
    ) -> Result<Option<Judgement>> {
        let mut figures = self
            .figures()
            .filter(|(_, kind)| kind.is_at(checkpoint))
            .peekable();
        if figures.peek().is_none() {
            return Ok(None);
        }
        let tokenizer = match Tokenizer::open(&folder.path) {
            Ok(tokenizer) => Some(tokenizer),
            Err(Error::NoTokenizer { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        let (mut trials, mut absent) = (Vec::new(), Vec::new());
        for (case, kind) in figures {
            match kind.ready(checkpoint, tokenizer.as_ref())? {
                Ready::Trial(trial) => trials.push((case, trial)),
                Ready::Absent { what, hint } => absent.push((format!("{what} of {case}"), hint)),
            }
        }
        let expected = trials
            .iter()
            .flat_map(|(case, trial)| trial.expectations(case));
        let mut judge = Judge::new(expected.collect(), "the file of published figures has it");
        for (what, hint) in absent {
            judge.absent(what, hint);
        }
        for (case, trial) in &trials {
            if let Err(error) = trial.run(case, model, &mut judge) {
                judge.broken(format!("{case}: {}", explain(&error)));
            }
        }
        Ok(Some(judge.finish(Evidence {
            inputs_sha256: self.sha256.clone(),
            references_sha256: self.sha256.clone(),
            ..evidence
        })))
    }

    fn figures(&self) -> impl Iterator<Item = (String, &Kind)> {
        self.sources.iter().flat_map(|source| {
            let figures = source.figures.iter();
            figures.map(|Figure { name, figure, .. }| (source.case(name), figure))
        })
    }
}

/// Whether this is about the model. A folder's own name has no slash and proves nothing: anybody's fine-tuned
/// model can be called so.
fn is_of(about: &file::Model, model: &ModelDir) -> bool {
    match &about.weights_sha256 {
        Some(sha256) => *sha256 == model.weights_sha256,
        None => about.name.contains('/') && about.name == model.name,
    }
}

impl Source {
    /// What a comparison with one of its figures is called.
    fn case(&self, figure: &str) -> String {
        let Source {
            project,
            file,
            version,
            ..
        } = self;
        let version = version.get(..8).unwrap_or(version);
        format!("{project} {file} @{version}, {figure}")
    }
}

impl Kind {
    fn is_at(&self, checkpoint: usize) -> bool {
        let at: &[usize] = match self {
            Kind::FinalHidden(_) | Kind::Logprobs(_) => &[8],
            Kind::NextToken(_) => &[9],
            Kind::Greedy(_) => &[10, 12],
            Kind::Tokenized(_) => &[12],
        };
        at.contains(&checkpoint)
    }

    /// The figure, made ready for a checkpoint that it belongs to.
    fn ready<'a>(
        &'a self,
        checkpoint: usize,
        tokenizer: Option<&'a Tokenizer>,
    ) -> Result<Ready<'a>> {
        match self {
            Kind::FinalHidden(figure) => figure.ready(tokenizer),
            Kind::Logprobs(figure) => figure.ready(tokenizer),
            Kind::NextToken(figure) => figure.ready(tokenizer),
            Kind::Greedy(figure) if checkpoint == 10 => figure.ready(tokenizer, Greedily::Forced),
            Kind::Greedy(figure) => figure.ready(tokenizer, Greedily::Freely),
            Kind::Tokenized(figure) => Ok(figure.ready(tokenizer)),
        }
    }
}
