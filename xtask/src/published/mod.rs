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

    fn open(path: &Path, model: &ModelDir) -> Result<Option<Self>> {
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
        let tokenizer = match Tokenizer::open(&folder.path) {
            Ok(tokenizer) => Some(tokenizer),
            Err(Error::NoTokenizer { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        let (mut trials, mut absent) = (Vec::new(), Vec::new());
        for (case, kind) in self.figures() {
            match kind.at(checkpoint, tokenizer.as_ref())? {
                Some(Ready::Trial(trial)) => trials.push((case, trial)),
                Some(Ready::Absent { what, hint }) => {
                    absent.push((format!("{case}: {what}"), hint))
                }
                None => {}
            }
        }
        if trials.is_empty() && absent.is_empty() {
            return Ok(None);
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
        format!("{project} {file} @{version}, {figure},")
    }
}

impl Kind {
    /// The figure, made ready for a checkpoint; `None` where it does not belong to it.
    fn at<'a>(
        &'a self,
        checkpoint: usize,
        tokenizer: Option<&'a Tokenizer>,
    ) -> Result<Option<Ready<'a>>> {
        Ok(Some(match (self, checkpoint) {
            (Kind::FinalHidden(figure), 8) => figure.ready(tokenizer)?,
            (Kind::Logprobs(figure), 8) => figure.ready(tokenizer)?,
            (Kind::NextToken(figure), 9) => figure.ready(tokenizer)?,
            (Kind::Greedy(figure), 10) => figure.ready(tokenizer, Greedily::Forced)?,
            (Kind::Greedy(figure), 12) => figure.ready(tokenizer, Greedily::Freely)?,
            (Kind::Tokenized(figure), 12) => figure.ready(tokenizer),
            _ => return Ok(None),
        }))
    }
}
