//! A figure that is ready to be held against a model: what it claims, and how the model is asked.

use anyhow::{Result, ensure};
use llorch_parity::{Choice, Expectation, Judge, Key, Reference, Rule, Tensor};
use ndarray::{Array1, ArrayView1, Ix1, arr0};

use crate::port::Model;

/// How far float32 may move a logit, in units of max(1, |logit|).
///
/// A hundredth of checkpoint 8's tolerance, by which hardly a token would be settled at the real GPT-2's logits
/// near -100. At `tiny`'s the float32 witnesses are within 4.2e-6 of the truth, but for llama.cpp, whose GELU is
/// half precision; and rust-bert publishes one of -69 to within 1e-4, which is 1.4e-6 of it.
const ROUNDING: f64 = 1e-5;

/// A figure made ready, or what is not there to make it so.
pub enum Ready<'a> {
    Trial(Trial<'a>),
    Absent { what: String, hint: String },
}

impl<'a> Ready<'a> {
    pub fn trial(claims: Vec<Claim>, ask: impl Fn(&dyn Model) -> Result<Vec<Answer>> + 'a) -> Self {
        Ready::Trial(Trial {
            claims,
            ask: Box::new(ask),
        })
    }

    pub fn without_tokenizer() -> Self {
        Ready::Absent {
            what: "the tokens".to_owned(),
            hint: "tokenizer.json, or vocab.json and merges.txt, beside the model make them"
                .to_owned(),
        }
    }
}

/// Asks a model for its answers.
type Ask<'a> = Box<dyn Fn(&dyn Model) -> Result<Vec<Answer>> + 'a>;

/// What a figure claims, and the question that a model answers claim by claim.
pub struct Trial<'a> {
    claims: Vec<Claim>,
    ask: Ask<'a>,
}

/// One thing that a figure says.
pub struct Claim {
    name: String,
    /// What it is pooled by.
    kind: &'static str,
    says: Says,
}

enum Says {
    Number(f64, Rule),
    Token(u32),
    Exactly(Tensor),
}

/// What a model has for a claim.
pub enum Answer {
    Number(f64),
    /// The token that it chooses, its margin between the best two logits, and what that must exceed.
    Token {
        id: u32,
        margin: f64,
        needed: f64,
    },
    Exactly(Tensor),
}

impl Claim {
    pub fn number(name: impl Into<String>, kind: &'static str, value: f64, rule: Rule) -> Self {
        Claim {
            name: name.into(),
            kind,
            says: Says::Number(value, rule),
        }
    }

    pub fn token(name: impl Into<String>, id: u32) -> Self {
        Claim {
            name: name.into(),
            kind: "greedy",
            says: Says::Token(id),
        }
    }

    pub fn text(text: &str) -> Self {
        Claim {
            name: "text".to_owned(),
            kind: "text",
            says: Says::Exactly(Tensor::from_text(text)),
        }
    }

    pub fn ids(ids: &[u32]) -> Self {
        Claim {
            name: "ids".to_owned(),
            kind: "ids",
            says: Says::Exactly(ids_tensor(ids)),
        }
    }

    fn key(&self, case: &str) -> Key {
        Key::new(format!("{case}:"), &self.name)
    }

    fn expectation(&self, case: &str) -> Expectation {
        let tensor = |rule| Expectation::tensor_without_truth(self.key(case), self.kind, rule);
        match self.says {
            Says::Number(_, rule) => tensor(rule),
            Says::Token(_) => Expectation::choice(self.key(case), self.kind),
            Says::Exactly(_) => tensor(Rule::exact()),
        }
    }
}

impl Answer {
    /// A model's choice among its logits, \[V\].
    pub fn token(id: u32, logits: ArrayView1<f32>) -> Self {
        let mut best = [f64::NEG_INFINITY; 2];
        for logit in logits.iter().copied().map(f64::from) {
            if logit > best[0] {
                best = [logit, best[0]];
            } else if logit > best[1] {
                best[1] = logit;
            }
        }
        Answer::Token {
            id,
            margin: best[0] - best[1],
            needed: 2.0 * ROUNDING * best[0].abs().max(1.0),
        }
    }

    /// Everything that it says, to be compared with another run's.
    fn values(&self) -> Vec<f64> {
        match self {
            Answer::Number(value) => vec![*value],
            Answer::Token { id, margin, .. } => vec![f64::from(*id), *margin],
            Answer::Exactly(tensor) => {
                let values = tensor.view::<i64, Ix1>();
                values.iter().flatten().map(|&value| value as f64).collect()
            }
        }
    }
}

impl Trial<'_> {
    pub fn expectations(&self, case: &str) -> Vec<Expectation> {
        let claims = self.claims.iter();
        claims.map(|claim| claim.expectation(case)).collect()
    }

    /// Asks the model twice and hands the judge its answers; a claim without an answer stays open.
    pub fn run(&self, case: &str, model: &dyn Model, judge: &mut Judge) -> Result<()> {
        let [first, again] = [(self.ask)(model)?, (self.ask)(model)?];
        ensure!(
            !self.claims.is_empty() && first.len() <= self.claims.len(),
            "expected a figure of {} numbers or ids, found {}",
            first.len(),
            self.claims.len()
        );
        for (claim, answer) in self.claims.iter().zip(&first) {
            compare(&claim.key(case), &claim.says, answer, judge);
        }
        let [first, again] = [&first, &again].map(|answers| {
            let values = answers.iter().flat_map(Answer::values);
            Tensor::from(values.collect::<Array1<f64>>())
        });
        judge.identical(&format!("{case}, again"), &first, &again);
        Ok(())
    }
}

fn compare(key: &Key, says: &Says, answer: &Answer, judge: &mut Judge) {
    let mut tensors = |published: &Tensor, ours: &Tensor| {
        judge.compare(key, Some(ours), Some(Reference::witness(published)));
    };
    match (says, answer) {
        (Says::Number(published, _), Answer::Number(ours)) => {
            tensors(&arr0(*published).into(), &arr0(*ours).into());
        }
        (Says::Exactly(published), Answer::Exactly(ours)) => tensors(published, ours),
        (&Says::Token(reference), &Answer::Token { id, margin, needed }) => {
            let choice = Choice {
                ours: id.into(),
                reference: reference.into(),
                margin,
                needed,
            };
            judge.compare_choice(key, choice);
        }
        _ => judge.compare(key, None, None),
    }
}

/// Ids as a tensor, \[n\].
pub fn ids_tensor(ids: &[u32]) -> Tensor {
    let ids: Array1<i64> = ids.iter().map(|&id| i64::from(id)).collect();
    ids.into()
}
