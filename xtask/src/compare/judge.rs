//! Holding what a dump has against the references, site by site.

use std::collections::BTreeMap;

use anyhow::Result;
use llorch_parity::{
    BUDGET, Evidence, Expectation, Failure, Judge, Key, Mismatch, Reason, Reference as Held, Rule,
    SquaredErrors, Tensor, compare,
};
use llorch_weights::Config;
use ndarray::{ArrayD, Axis};

use super::diagnosis::rms_difference;
use super::dump::{Dump, Foreign};
use super::layout::{self, Layout, Reading, Unreadable};
use super::names::{Map, Meaning, QKV, TOKENS};
use super::precision::Precision;
use super::reference::{Call, Reference};
use super::site::{self, Site};
use crate::checkpoints::rule;
use crate::references::CaseTraces;

/// Scores below this are masks: ports write -1e4, -1e9, the type's smallest number or -inf.
const MASK: f64 = -9e3;

/// What a dump's tensors were held against and what came of it.
pub struct Judged {
    /// In the order of execution.
    pub sites: Vec<JudgedSite>,
    pub calls: BTreeMap<usize, Call>,
    /// Names that the map does not know.
    pub unknown: Vec<String>,
    /// Names whose site this case has no reference for.
    pub without_reference: Vec<String>,
    /// The sites of those names.
    pub not_judged: Vec<String>,
    /// What was assumed of layouts, masks and rows, each once.
    pub assumed: Vec<String>,
    /// What keeps sites without an outcome, besides the layouts.
    pub reasons: Vec<String>,
}

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
    pub worst: Option<llorch_parity::Difference>,
    pub elements: usize,
    /// The errors against the truth.
    pub ratio: Option<f64>,
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
}

/// What is the same for all sites of a run.
pub struct Against<'a> {
    pub config: &'a Config,
    pub traces: &'a CaseTraces,
    pub map: &'a Map,
    /// The user's word on the axes of heads, probabilities and streams.
    pub layouts: &'a [Layout],
    pub evidence: Evidence,
}

/// Judges every tensor of the dump that the map knows.
///
/// # Errors
/// Where the dump has a call that the case has not.
pub fn judge(dump: &Dump, against: &Against) -> Result<Judged> {
    let mut judged = Judged {
        sites: Vec::new(),
        calls: BTreeMap::new(),
        unknown: Vec::new(),
        without_reference: Vec::new(),
        not_judged: Vec::new(),
        assumed: Vec::new(),
        reasons: Vec::new(),
    };
    let sites = site::all(against.config.n_layer());
    for (name, foreign) in &dump.tensors {
        let Some(meaning) = against.map.meaning(name) else {
            judged.unknown.push(name.clone());
            continue;
        };
        if meaning.site == TOKENS {
            continue;
        }
        let (precision, values) = match foreign {
            Foreign::Floats(precision, values) => (*precision, values),
            Foreign::Ids(_) => {
                judged.unknown.push(format!("{name} (integers)"));
                continue;
            }
        };
        if !judged.calls.contains_key(&meaning.call) {
            let call = Call::of(against.traces, meaning.call, against.config, &sites)?;
            judged.calls.insert(meaning.call, call);
        }
        judged.add(name, &meaning, precision, values, &sites, against);
    }
    let place = |judged: &JudgedSite| sites.iter().position(|site| *site == judged.site);
    // Of two tensors at one site the inner module's, with the longer name, ran first.
    judged
        .sites
        .sort_by_key(|s| (s.call, place(s), std::cmp::Reverse(s.name.len())));
    judged.assumed.sort();
    judged.assumed.dedup();
    judged.compare(against);
    Ok(judged)
}

impl Judged {
    /// Reads one tensor as the site, or the three sites, that it is.
    fn add(
        &mut self,
        name: &str,
        meaning: &Meaning,
        precision: Precision,
        values: &ArrayD<f64>,
        sites: &[Site],
        against: &Against,
    ) {
        let Some(layer) = meaning.site.strip_suffix(QKV) else {
            let site = sites.iter().find(|site| site.name == meaning.site);
            let axes = site.map(|site| site.kind.axes);
            if let (Some(site), Some(axes)) = (site, axes) {
                let tensor = (name, precision, values);
                self.add_site(tensor, meaning, site, axes, |values| values, against);
            } else {
                self.without_reference.push(name.to_owned());
            }
            return;
        };
        for (third, letter) in ["q", "k", "v"].into_iter().enumerate() {
            let wanted = format!("{layer}attn.{letter}");
            let Some(site) = sites.iter().find(|site| site.name == wanted) else {
                self.without_reference.push(name.to_owned());
                return;
            };
            let of_three = move |all: ArrayD<f64>| match all.ndim() {
                5 => all.index_axis(Axis(2), third).to_owned(),
                _ => all,
            };
            let tensor = (name, precision, values);
            self.add_site(tensor, meaning, site, "BT3HD", of_three, against);
        }
    }

    fn add_site(
        &mut self,
        (name, precision, values): (&str, Precision, &ArrayD<f64>),
        meaning: &Meaning,
        site: &Site,
        axes: &str,
        part: impl Fn(ArrayD<f64>) -> ArrayD<f64>,
        against: &Against,
    ) {
        let call = &self.calls[&meaning.call];
        let Some(reference) = call.sites.get(&site.name) else {
            self.not_judged.push(site.name.clone());
            if self
                .without_reference
                .last()
                .is_none_or(|last| last != name)
            {
                self.without_reference.push(name.to_owned());
            }
            return;
        };
        let said = against.said(meaning, axes);
        let mut reading = layout::read(values, axes, &call.lengths, said);
        let mut is_last = false;
        if meaning.target.may_be_last && matches!(reading, Err(Unreadable::Shape { .. })) {
            let one = call.lengths.with('T', 1);
            if let Ok(last) = layout::read(values, axes, &one, said) {
                (reading, is_last) = (Ok(last), true);
            }
        }
        let reference = if is_last {
            reference.last()
        } else {
            reference.clone()
        };
        let stem = site.kind.title();
        if is_last {
            self.assumed
                .push(format!("{stem}: one position is the last"));
        }
        let mut judged = JudgedSite {
            call: meaning.call,
            site: site.clone(),
            name: name.to_owned(),
            precision,
            rule: precision.rule(rule(site.kind.judged_at(), &site.name)),
            outcome: Outcome::Right,
            values: values.clone(),
            reference,
            is_last,
            is_joined: false,
            worst: None,
            elements: 0,
            ratio: None,
        };
        match reading {
            Ok(Reading {
                values,
                layout,
                is_assumed,
            }) => {
                if is_assumed {
                    self.assumed.push(format!(
                        "{stem}: axes {layout}, the only order of this shape"
                    ));
                } else if against.is_users(said) && layout != axes {
                    self.assumed.push(format!("{stem}: axes {layout}"));
                }
                judged.values = part(values);
                judged.is_joined = layout.contains("HD)");
                if site.kind.name == "attn.scores" {
                    let note = judged.normalise_scores(meaning, against.config);
                    self.assumed
                        .extend(note.map(|note| format!("{stem}: {note}")));
                }
            }
            Err(Unreadable::Shape { expected }) => {
                judged.outcome = Outcome::Wrong(format!(
                    "shape: expected {expected:?}, found {:?}",
                    values.shape()
                ));
            }
            Err(Unreadable::Ambiguous { layouts }) => {
                judged.outcome = Outcome::Unknown(format!(
                    "its shape {:?} may be {}; --layout says which",
                    values.shape(),
                    layouts.join(" or ")
                ));
            }
        }
        self.sites.push(judged);
    }

    /// One judge for the whole dump, which hears first what will come.
    fn compare(&mut self, against: &Against) {
        let case = &against.traces.case.name;
        let readable = |judged: &&mut JudgedSite| judged.outcome == Outcome::Right;
        let mut expected = Vec::new();
        for judged in self.sites.iter().filter(|judged| judged.is_right()) {
            let kind = judged.site.kind.title();
            let expect = match judged.has_truth() {
                true => Expectation::tensor,
                false => Expectation::tensor_without_truth,
            };
            expected.push(expect(judged.judges_key(case), kind, judged.rule));
        }
        let mut judge = Judge::new(expected, "`cargo xtask refs` makes it");
        for judged in self.sites.iter_mut().filter(readable) {
            let key = judged.judges_key(case);
            let (ours, witness, delta) = judged.tensors();
            let held = Held {
                witness: &witness,
                delta: delta.as_ref(),
            };
            judge.compare(&key, Some(&ours), Some(held));
            judged.measure(&ours, held);
        }
        let judgement = judge.finish(against.evidence.clone());
        let (failures, reasons) = match judgement.verdict() {
            llorch_parity::Verdict::Fail(failures) => (&failures[..], judgement.pending()),
            llorch_parity::Verdict::Inconclusive(reasons) => (&[][..], &reasons[..]),
            llorch_parity::Verdict::Pass(_) => (&[][..], &[][..]),
        };
        for failure in failures {
            self.record(failure, case);
        }
        for judged in self.sites.iter_mut().filter(readable) {
            judged.hold_to_precision();
        }
        // A dump is one run: that its maker's second run would give the same bits, nobody here can know.
        let reasons = reasons
            .iter()
            .filter(|reason| !matches!(reason, Reason::NoDeterminism));
        self.reasons = reasons.map(ToString::to_string).collect();
    }

    fn record(&mut self, failure: &Failure, case: &str) {
        match failure {
            Failure::Mismatch { key, mismatch } => {
                for judged in &mut self.sites {
                    if judged.judges_key(case) == *key {
                        judged.outcome = Outcome::Wrong(in_words(mismatch));
                    }
                }
            }
            Failure::Budget { kind, found, .. } => {
                let of_kind = |judged: &&mut JudgedSite| {
                    judged.site.kind.title() == kind && judged.is_right()
                };
                for judged in self.sites.iter_mut().filter(of_kind) {
                    let own = judged.ratio.filter(|ratio| !(*ratio <= BUDGET));
                    judged.outcome = match own {
                        Some(own) => Outcome::Wrong(format!(
                            "budget: {own:.1} times as far from the truth as the witness is, \
                             {found:.1} over all of {kind}; at most {BUDGET} is float32's own"
                        )),
                        None => continue,
                    };
                }
            }
            other => self.reasons.push(other.to_string()),
        }
    }

    /// The first site that is wrong, in the order of execution.
    pub fn first_wrong(&self) -> Option<usize> {
        self.sites.iter().position(JudgedSite::is_wrong)
    }
}

impl Against<'_> {
    fn is_users(&self, said: Option<&Layout>) -> bool {
        said.is_some_and(|said| self.layouts.contains(said))
    }

    /// What is known of the order of a tensor's axes: the user's word first, then the map's.
    fn said<'b>(&'b self, meaning: &'b Meaning, axes: &str) -> Option<&'b Layout> {
        let users = self.layouts.iter().find(|layout| layout.is_of(axes));
        users.or(meaning.target.axes.as_ref())
    }
}

impl JudgedSite {
    fn judges_key(&self, case: &str) -> Key {
        Key::new(case, format!("{} as {}", self.key(), self.name))
    }

    fn has_truth(&self) -> bool {
        self.precision.is_full() && self.reference.delta.is_some()
    }

    /// Ours, the witness's, the truth's difference: all in float64, which changes none of them.
    fn tensors(&self) -> (Tensor, Tensor, Option<Tensor>) {
        let delta = self.reference.delta.clone().filter(|_| self.has_truth());
        (
            Tensor::from(self.values.clone()),
            Tensor::from(self.reference.witness.clone()),
            delta.map(Tensor::from),
        )
    }

    /// The figures of its own comparison; the verdict is the judge's.
    fn measure(&mut self, ours: &Tensor, held: Held) {
        let comparison = match compare(ours, held, self.rule) {
            Ok(comparison) => comparison,
            Err(Mismatch::Values(comparison)) => *comparison,
            Err(_) => return,
        };
        self.ratio = match self.precision.is_full() {
            true => comparison.errors.map(SquaredErrors::ratio),
            false => rms_difference(&self.values, &self.reference.witness)
                .map(|error| error / self.precision.due()),
        };
        self.elements = comparison.elements;
        self.worst = Some(comparison.worst);
    }

    /// Half precision has no truth to be measured by; its own rounding is what it may have.
    fn hold_to_precision(&mut self) {
        let excess = self
            .ratio
            .filter(|ratio| !self.precision.is_full() && !(*ratio <= BUDGET));
        if let Some(excess) = excess {
            self.outcome = Outcome::Wrong(format!(
                "budget: {excess:.1} times the error that {} owes to its rounding; at most {BUDGET}",
                self.precision
            ));
        }
    }

    /// Brings scores to the reference's form: scaled, and -inf where the future is.
    fn normalise_scores(&mut self, meaning: &Meaning, config: &Config) -> Option<String> {
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
fn in_words(mismatch: &Mismatch) -> String {
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
