//! Why the first wrong site is wrong: explanations tried on the reference's own tensors and weights.
//!
//! What a port computes after its first mistake is wrong for that reason alone, so only the first wrong site is
//! explained. Its input is still right, and the reference has it. An explanation is a tensor: what the plain
//! model gives with one known mistake, or another tensor of the reference, shifted, scaled, reordered. It
//! counts where it leaves nothing of the port's tensor but rounding, over every element, and the right
//! computation leaves more. Those that fit equally cannot be told apart, and all are named.

mod fit;
mod mistakes;
mod place;
mod structure;
#[cfg(test)]
mod tests;

use serde::Serialize;

use super::judge::Judged;
use super::replay::{Replay, Sites, Span};
use crate::plain::Weights;
use crate::references::CaseTraces;
use fit::Fit;

pub use fit::{rms_difference, size_in_units};
pub use place::{Place, ranges};

/// Of explanations that fit, those are kept whose residue is at most so many times the smallest.
const AS_GOOD: f64 = 3.0;

/// What was found at the first wrong site.
#[derive(Debug, Serialize)]
pub struct Diagnosis {
    /// What reproduces the port's tensor; several cannot be told apart. The best first.
    pub causes: Vec<Cause>,
    /// One explanation is left: nothing else fits, and everything was tried.
    pub is_certain: bool,
    /// Whether the known mistakes were tried: over many layers of a large model that would take too long.
    pub is_complete: bool,
    /// How far the right computation is, root mean square in units of max(1, |expected|).
    pub correct: Option<f64>,
    /// The rounding error to be expected here, in the same units.
    pub noise: f64,
    /// The best of what does not fit.
    pub runner_up: Option<Cause>,
    /// How many explanations were tried.
    pub tried: usize,
    pub place: Place,
}

/// An explanation that was tried.
#[derive(Clone, Debug, Serialize)]
pub struct Cause {
    pub id: String,
    /// In words.
    pub says: String,
    /// What it leaves of the port's tensor.
    pub residue: f64,
    /// How far the mistake, made on and on, reproduces what the dump has of this call.
    pub reach: Option<Reach>,
}

/// The sites after the first wrong one that an explanation reproduces too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reach {
    /// How many in a row, the first wrong one among them.
    pub sites: usize,
    /// Of how many.
    pub of: usize,
    /// The first that it does not reproduce.
    pub until: Option<String>,
    /// The mistake is made in this layer alone; otherwise in all that follow.
    pub only_layer: Option<usize>,
}

/// The first wrong site with what is needed to explain it.
struct Scene<'a> {
    judged: &'a Judged,
    first: usize,
    replay: Replay<'a>,
    /// From the block that holds the first step that nobody has shown to be right.
    span: Span,
    layers: usize,
}

/// Explains the first wrong site of a dump; nothing where there is none.
pub fn diagnose(judged: &Judged, weights: &Weights, traces: &CaseTraces) -> Option<Diagnosis> {
    let first = judged.first_wrong()?;
    let scene = Scene::of(judged, first, weights, traces)?;
    let wrong = &judged.sites[first];
    let correct = scene.correct();
    let is_complete = mistakes::are_affordable(&scene);
    let mut tried = match is_complete {
        true => mistakes::tried(&scene),
        false => Vec::new(),
    };
    let known = chosen(&tried, correct);
    // What a tensor happens to equal is a cause only where no mistake is known to make it.
    let mut causes = if known.is_empty() {
        tried.extend(structure::tried(&scene));
        chosen(&tried, correct)
    } else {
        known
    };
    causes.retain(|(explanation, _)| !mistakes::is_refuted(&scene, explanation));
    mistakes::reach(&scene, &mut causes);
    let causes = farthest(causes);
    // What leaves as much as the right computation is a mistake that makes no difference here.
    let is_some_help =
        |fit: &Fit| correct.is_none_or(|correct| fit.residue < 0.9 * correct.residue);
    let runner_up = tried
        .iter()
        .filter(|(_, fit)| !fit.reproduces(correct) && is_some_help(fit))
        .min_by(|(_, a), (_, b)| a.residue.total_cmp(&b.residue));
    Some(Diagnosis {
        is_certain: causes.len() == 1 && is_complete,
        is_complete,
        correct: correct.map(|fit| fit.residue),
        noise: fit::noise(wrong),
        runner_up: runner_up.map(|(explanation, fit)| explanation.cause(*fit)),
        tried: tried.len(),
        place: Place::of(judged, first),
        causes: causes.into_iter().map(|(_, cause)| cause).collect(),
    })
}

/// Something that may have happened.
#[derive(Clone, Debug, PartialEq)]
struct Explanation {
    id: String,
    says: String,
    plan: Option<mistakes::Plan>,
}

impl Explanation {
    fn cause(&self, fit: Fit) -> Cause {
        Cause {
            id: self.id.clone(),
            says: self.says.clone(),
            residue: fit.residue,
            reach: None,
        }
    }
}

/// The explanations that reproduce the tensor about as well as the best of them.
fn chosen(tried: &[(Explanation, Fit)], correct: Option<Fit>) -> Vec<(Explanation, Cause)> {
    let mut fitting: Vec<&(Explanation, Fit)> = tried
        .iter()
        .filter(|(_, fit)| fit.reproduces(correct))
        .collect();
    fitting.sort_by(|(_, a), (_, b)| a.residue.total_cmp(&b.residue));
    let best = fitting
        .first()
        .map_or(0.0, |(_, fit)| fit.residue.max(fit.noise));
    let as_good = fitting
        .into_iter()
        .filter(|(_, fit)| fit.residue <= AS_GOOD * best);
    as_good
        .map(|(explanation, fit)| (explanation.clone(), explanation.cause(*fit)))
        .collect()
}

/// Of explanations that fit the first wrong site equally, those that explain most of what follows.
fn farthest(causes: Vec<(Explanation, Cause)>) -> Vec<(Explanation, Cause)> {
    let sites = |cause: &Cause| cause.reach.as_ref().map_or(0, |reach| reach.sites);
    let most = causes
        .iter()
        .map(|(_, cause)| sites(cause))
        .max()
        .unwrap_or_default();
    causes
        .into_iter()
        .filter(|(_, cause)| sites(cause) == most)
        .collect()
}

impl<'a> Scene<'a> {
    fn of(
        judged: &'a Judged,
        first: usize,
        weights: &'a Weights,
        traces: &'a CaseTraces,
    ) -> Option<Self> {
        let wrong = &judged.sites[first];
        let layers = weights.config.n_layer();
        let before = judged.sites[..first].iter().rev();
        let last_right = before
            .clone()
            .find(|site| site.call == wrong.call && site.is_right());
        let from = last_right.map(|right| match (right.site.layer, right.site.kind.name) {
            (Some(layer), "") => layer + 1,
            (Some(layer), _) => layer,
            (None, "embed") => 0,
            (None, _) => layers,
        });
        let to = match (wrong.site.layer, wrong.site.kind.name) {
            (Some(layer), _) => layer,
            (None, "embed") => 0,
            (None, _) => layers,
        };
        let reference = judged.calls.get(&wrong.call)?;
        Some(Scene {
            judged,
            first,
            replay: Replay {
                weights,
                traces,
                call: wrong.call,
                reference,
            },
            // Of two tensors at one site the first may be right and the second not.
            span: Span {
                from: from.map(|from| from.min(to)),
                to,
            },
            layers,
        })
    }

    /// How the right computation fits: the reference itself.
    fn correct(&self) -> Option<Fit> {
        let wrong = &self.judged.sites[self.first];
        Fit::of(wrong, &wrong.reference.witness)
    }

    /// How well a replay fits the first wrong site. Nothing where it contradicts a site that is right.
    fn fit(&self, sites: &Sites, plan: mistakes::Plan) -> Option<Fit> {
        let wrong = &self.judged.sites[self.first];
        let before = &self.judged.sites[..self.first];
        let same_call = before
            .iter()
            .filter(|site| site.call == wrong.call && site.is_right());
        for right in same_call {
            // Where heads were side by side, it is here that they were taken apart, rightly.
            let is_told_here = right.is_joined && plan.is_of_split();
            if let Some(explained) = sites.get(&right.site.name)
                && !is_told_here
                && !mistakes::agrees(right, explained)
            {
                return None;
            }
        }
        let explained = sites.get(&wrong.site.name)?;
        let here = Fit::of(wrong, &mistakes::rows_of(wrong, explained));
        here.or_else(|| {
            // Of another shape: modules in another order give one site's tensor at another.
            let layer = wrong.site.layer?;
            let of_layer = sites
                .iter()
                .filter(|(site, _)| site.starts_with(&format!("h.{layer}.")));
            let fits = of_layer.filter_map(|(_, elsewhere)| Fit::of(wrong, elsewhere));
            fits.min_by(|a, b| a.residue.total_cmp(&b.residue))
        })
    }
}
