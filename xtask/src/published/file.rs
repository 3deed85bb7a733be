//! The form of a file of published figures.

use llorch_model::Tokenizer;
use llorch_parity::Rule;
use serde::Deserialize;

/// The whole file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    pub models: Vec<Model>,
}

/// What is published about one model.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// The repository's name, or that of an embedded model.
    #[serde(rename = "model")]
    pub name: String,
    /// What the weights must hash to. Where nobody published it, the name must be a repository's, under which
    /// they were fetched.
    pub weights_sha256: Option<String>,
    pub sources: Vec<Source>,
}

/// A file of another project's, as it was at a commit.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    pub project: String,
    pub file: String,
    /// The commit, or a release.
    pub version: String,
    pub figures: Vec<Figure>,
    pub not_judged: Vec<NotJudged>,
}

/// What is published there and cannot be held against a port.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NotJudged {
    pub name: String,
    pub reason: String,
}

/// One figure, under the name that its source has for it.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figure {
    pub name: String,
    /// For who reads the file.
    #[serde(rename = "remark", default)]
    _remark: Option<String>,
    pub figure: Kind,
}

/// The kinds of figure.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    FinalHidden(FinalHidden),
    Logprobs(Logprobs),
    NextToken(NextToken),
    Greedy(Greedy),
    Tokenized(Tokenized),
}

/// The first channels of `ln_f` at a position, counted from 0.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FinalHidden {
    pub prompt: Passage,
    pub position: usize,
    pub first: Vec<f64>,
    pub tolerance: Tolerance,
}

/// Natural logarithms of the probabilities of a continuation's tokens, each after all that stands before it.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Logprobs {
    pub prompt: Passage,
    pub continuation: Passage,
    pub values: Values,
    pub tolerance: Tolerance,
}

/// In what form they are published.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Values {
    /// One a token.
    Each(Vec<f64>),
    Sum(f64),
    /// Their mean, less than none of them: the cross-entropy.
    MeanLoss(f64),
}

/// The best token after a prompt, and its logit.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NextToken {
    pub prompt: Passage,
    pub id: u32,
    pub logit: f64,
    pub tolerance: Tolerance,
}

/// What greedy decoding makes of a prompt.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Greedy {
    pub prompt: Passage,
    pub continuation: Passage,
    /// How many tokens the source made, where it is said: a text alone could be of other tokens.
    pub tokens: Option<usize>,
}

/// The ids of a text.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tokenized {
    pub text: String,
    pub ids: Vec<u32>,
}

/// Tokens, as they are published: by their ids or as a text, which is encoded on its own.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Passage {
    Ids(Vec<u32>),
    Text(String),
}

impl Passage {
    /// Its ids; nothing where there is no tokenizer to make them of a text.
    pub fn ids(
        &self,
        tokenizer: Option<&Tokenizer>,
    ) -> Result<Option<Vec<u32>>, llorch_model::Error> {
        match self {
            Passage::Ids(ids) => Ok(Some(ids.clone())),
            Passage::Text(text) => tokenizer.map(|t| t.encode(text)).transpose(),
        }
    }
}

/// How far the source lets others be from its figure x: `absolute + relative * |x|`.
#[derive(Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tolerance {
    #[serde(default)]
    absolute: f64,
    #[serde(default)]
    relative: f64,
}

impl Tolerance {
    /// The same bound as the judge knows it, in units of max(1, |x|).
    pub fn rule(self, figure: f64) -> Rule {
        let allowed = self.absolute + self.relative * figure.abs();
        Rule::within(allowed / figure.abs().max(1.0))
    }
}
