//! One tensor of a dump, held against the reference.

use llorch_parity::{
    BUDGET, Difference, Key, Mismatch, Reference as Held, Rule, SquaredErrors, Tensor, compare,
};
use llorch_weights::Config;
use ndarray::ArrayD;

use super::diagnosis::{rms_difference, size_in_units};
use super::names::Meaning;
use super::precision::Precision;
use super::reference::Reference;
use super::site::Site;

/// Scores below this are masks: ports write -1e4, -1e9, the type's smallest number or -inf.
const MASK: f64 = -9e3;

/// One tensor of the dump at one site.
pub struct JudgedSite {
    pub call: usize,
    pub site: Site,
    /// Its name in the dump.
    pub name: String,
    pub precision: Precision,
    pub rule: Rule,
    pub outcome: Outcome,
    /// The port's tensor in the reference's order; as it was where it could not be read.
    pub values: ArrayD<f64>,
    /// What it is held against, cut to the rows that the port has.
    pub reference: Reference,
    /// Whether the port shows the last position alone.
    pub is_last: bool,
    /// Whether the dump has its heads side by side.
    pub is_joined: bool,
    /// Largest difference and the difference allowed there, with the place; none where values were not compared.
    pub worst: Option<Difference>,
    pub elements: usize,
    /// The errors against the truth.
    pub ratio: Option<f64>,
    /// What R is pooled from, over the layers; half precision has no truth.
    pub errors: Option<SquaredErrors>,
}

/// What a comparison says of a site.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    Right,
    /// What is wrong with it.
    Wrong(String),
    /// Why nothing can be said.
    Unknown(String),
}

impl JudgedSite {
    pub fn is_right(&self) -> bool {
        self.outcome == Outcome::Right
    }

    pub fn is_wrong(&self) -> bool {
        matches!(self.outcome, Outcome::Wrong(_))
    }

    /// `0/h.3.attn.q`.
    pub fn key(&self) -> String {
        format!("{}/{}", self.call, self.site.name)
    }

    pub fn judges_key(&self, case: &str) -> Key {
        Key::new(case, format!("{} as {}", self.key(), self.name))
    }

    pub fn has_truth(&self) -> bool {
        self.precision.is_full() && self.reference.delta.is_some()
    }

    /// Ours, the witness's, the truth's difference: all in float64, which changes none of them.
    pub fn tensors(&self) -> (Tensor, Tensor, Option<Tensor>) {
        let delta = self.reference.delta.clone().filter(|_| self.has_truth());
        (
            Tensor::from(self.values.clone()),
            Tensor::from(self.reference.witness.clone()),
            delta.map(Tensor::from),
        )
    }

    /// The figures of its own comparison; the verdict is the judge's.
    pub fn measure(&mut self, ours: &Tensor, held: Held) {
        let comparison = match compare(ours, held, self.rule) {
            Ok(comparison) => comparison,
            Err(Mismatch::Values(comparison)) => *comparison,
            Err(_) => return,
        };
        self.errors = comparison.errors.filter(|_| self.precision.is_full());
        self.ratio = match self.precision.is_full() {
            true => self.errors.map(SquaredErrors::ratio),
            false => rms_difference(&self.values, &self.reference.witness).map(|error| {
                let due = self.precision.due() * size_in_units(&self.reference.witness);
                if error == 0.0 { 0.0 } else { error / due }
            }),
        };
        self.elements = comparison.elements;
        self.worst = Some(comparison.worst);
    }

    /// R, where it is more than the budget or no number.
    pub fn excess(&self) -> Option<f64> {
        self.ratio.filter(|ratio| {
            let holds = *ratio <= BUDGET;
            !holds
        })
    }

    /// Half precision has no truth to be measured by; its own rounding is what it may have.
    pub fn hold_to_precision(&mut self) {
        if let Some(excess) = self.excess()
            && !self.precision.is_full()
        {
            self.outcome = Outcome::Wrong(format!(
                "budget: {excess:.1} times the error that {} owes to its rounding; at most {BUDGET}",
                self.precision
            ));
        }
    }

    /// Brings scores to the reference's form: scaled, and -inf where the future is.
    pub fn normalise_scores(&mut self, meaning: &Meaning, config: &Config) -> Option<String> {
        let target = &meaning.target;
        if !target.is_scaled {
            let scale = config.attention_scale(self.site.layer.unwrap_or_default());
            self.values.mapv_inplace(|score| score * scale);
        }
        let mut is_finite_mask = false;
        for (score, expected) in self.values.iter_mut().zip(&self.reference.witness) {
            if *expected == f64::NEG_INFINITY && !target.is_masked {
                *score = f64::NEG_INFINITY;
            } else if *score < MASK && score.is_finite() {
                (*score, is_finite_mask) = (f64::NEG_INFINITY, true);
            }
        }
        match (target.is_scaled, target.is_masked) {
            (true, true) if is_finite_mask => Some(format!("numbers below {MASK:e} are masks")),
            (true, true) => None,
            (scaled, masked) => {
                let scaled = if scaled {
                    ""
                } else {
                    "multiplied by 1/sqrt(D) here; "
                };
                let masked = if masked {
                    ""
                } else {
                    "the future is not looked at"
                };
                Some(
                    format!("{scaled}{masked}")
                        .trim_end_matches("; ")
                        .to_owned(),
                )
            }
        }
    }
}

/// The sentence without its numbers to the last digit.
pub fn in_words(mismatch: &Mismatch) -> String {
    match mismatch {
        Mismatch::Values(comparison) => {
            let worst = &comparison.worst;
            format!(
                "{} of {} numbers differ too much, the worst at {:?}: expected {:.6}, found {:.6}",
                comparison.over, comparison.elements, worst.index, worst.reference, worst.ours
            )
        }
        other => other.to_string(),
    }
}
