//! Holding what a dump has against the references, site by site.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use anyhow::Result;
use llorch_parity::{BUDGET, Evidence, Expectation, Failure, Judge, Reason, Reference as Held};
use llorch_weights::Config;
use ndarray::{ArrayD, Axis};

use super::dump::{Dump, Foreign};
use super::judged_site::{JudgedSite, Outcome, in_words};
use super::layout::{self, Layout, Reading, Unreadable};
use super::names::{Map, Meaning, QKV, TOKENS};
use super::precision::Precision;
use super::reference::Call;
use super::site::{self, Site};
use crate::checkpoints::rule;
use crate::references::CaseTraces;

/// What a dump's tensors were held against and what came of it.
pub struct Judged {
    /// In the order of execution.
    pub sites: Vec<JudgedSite>,
    pub calls: BTreeMap<usize, Call>,
    /// Names that the map does not know.
    pub unknown: Vec<String>,
    /// Names whose site this case has no reference for.
    pub without_reference: Vec<String>,
    /// The calls and sites of those names.
    pub not_judged: Vec<(usize, String)>,
    /// What was assumed of layouts, masks and rows, each once.
    pub assumed: Vec<String>,
    /// What keeps sites without an outcome, besides the layouts.
    pub reasons: Vec<String>,
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
                let site = &meaning.site;
                judged.reasons.push(format!(
                    "{name}: expected floats for {site}, found integers"
                ));
                continue;
            }
        };
        if let Entry::Vacant(vacant) = judged.calls.entry(meaning.call) {
            vacant.insert(Call::of(
                against.traces,
                meaning.call,
                against.config,
                &sites,
            )?);
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
                self.refuse_layer(name, against);
            }
            return;
        };
        for (third, letter) in ["q", "k", "v"].into_iter().enumerate() {
            let wanted = format!("{layer}attn.{letter}");
            let Some(site) = sites.iter().find(|site| site.name == wanted) else {
                self.refuse_layer(name, against);
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

    /// A name of a layer behind the last is a sign of another model, and nothing to be left out.
    fn refuse_layer(&mut self, name: &str, against: &Against) {
        let layers = against.config.n_layer();
        self.reasons
            .push(format!("{name}: expected one of {layers} layers"));
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
            self.not_judged.push((meaning.call, site.name.clone()));
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
            errors: None,
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
        self.reasons.extend(reasons.map(ToString::to_string));
    }

    /// Marks the sites that a failure is about.
    fn record(&mut self, failure: &Failure, case: &str) {
        let mut is_placed = false;
        for judged in self.sites.iter_mut().filter(|judged| judged.is_right()) {
            let wrong = match failure {
                Failure::Mismatch { key, mismatch } if judged.judges_key(case) == *key => {
                    in_words(mismatch)
                }
                Failure::Budget { kind, found, .. } if judged.site.kind.title() == kind => {
                    match judged.excess() {
                        Some(own) => format!(
                            "budget: {own:.1} times as far from the truth as the witness is, \
                             {found:.1} over all of {kind}; at most {BUDGET} is float32's own"
                        ),
                        None => continue,
                    }
                }
                _ => continue,
            };
            judged.outcome = Outcome::Wrong(wrong);
            is_placed = true;
        }
        // Never a failure that nobody hears of. A kind whose sites were too far off has them marked already.
        let is_told =
            is_placed || matches!(failure, Failure::Budget { .. }) && self.first_wrong().is_some();
        if !is_told {
            self.reasons.push(failure.to_string());
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
