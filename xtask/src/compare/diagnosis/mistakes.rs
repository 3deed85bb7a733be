//! Known mistakes, made by the plain model.

use ndarray::{ArrayD, Axis, Slice};

use super::fit::Fit;
use super::{Cause, Explanation, Reach, Scene};
use crate::compare::judged_site::JudgedSite;
use crate::compare::replay::{Replay, Sites, Span};
use crate::plain::{Bug, activate};

/// Multiplications that a diagnosis may cost; a few minutes.
const MOST_WORK: f64 = 2e11;

/// What a replay does in each block.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Plan {
    /// A mistake, in every layer.
    Mistake(Bug),
    /// The weights of another layer in one block.
    Weights { block: usize, of: usize },
    /// From a block on, the weights of the layer so many further on.
    Shift { block: usize, by: isize },
    /// The layers in reverse.
    Reverse { layers: usize },
}

impl Plan {
    /// Whether the mistake is made where heads are taken apart that a projection gave side by side.
    pub fn is_of_split(self) -> bool {
        matches!(
            self,
            Plan::Mistake(
                Bug::QkvInterleaved
                    | Bug::QkvKeysValuesSwapped
                    | Bug::QkvQueriesKeysSwapped
                    | Bug::QkvHeadsDimsExchanged
                    | Bug::QkvReshapedHeadsFirst
                    | Bug::QkvBatchJoined
                    | Bug::QkvQueriesScaled
            )
        )
    }

    /// The layer whose weights a block has, and its mistake.
    fn at(self, block: usize, only: Option<usize>) -> (usize, Option<Bug>) {
        match self {
            Plan::Mistake(bug) => {
                let makes_it = only.is_none_or(|only| only == block);
                (block, Some(bug).filter(|_| makes_it))
            }
            Plan::Weights { block: at, of } if at == block => (of, None),
            Plan::Shift { block: from, by } if block >= from => {
                // A layer that does not exist has no weights, which ends the replay.
                (block.checked_add_signed(by).unwrap_or(usize::MAX), None)
            }
            Plan::Reverse { layers } if block < layers => (layers - 1 - block, None),
            _ => (block, None),
        }
    }
}

/// Every known mistake with its fit at the first wrong site, where it has one.
pub fn tried(scene: &Scene) -> Vec<(Explanation, Fit)> {
    let fits = explanations(scene).into_iter().filter_map(|explanation| {
        let plan = explanation.plan?;
        let mut sites = scene
            .replay
            .run(scene.span, &|block| plan.at(block, None))
            .ok()?;
        activate_own(scene, plan, &mut sites);
        Some((explanation, scene.fit(&sites, plan)?))
    });
    fits.collect()
}

/// Activates the port's own `mlp.fc`, where that is right and the activation is what is wrong: a table of half
/// precision rounds numbers apart that differ in the last digit only.
fn activate_own(scene: &Scene, plan: Plan, sites: &mut Sites) {
    let wrong = &scene.judged.sites[scene.first];
    let (Plan::Mistake(bug), "mlp.act", Some(layer)) =
        (plan, wrong.site.kind.name, wrong.site.layer)
    else {
        return;
    };
    let fc = format!("h.{layer}.mlp.fc");
    let before = scene.judged.sites[..scene.first].iter().rev();
    let is_own = |site: &&JudgedSite| {
        site.call == wrong.call && site.site.name == fc && site.is_right() && !site.is_last
    };
    let activation = scene.replay.weights.config.activation();
    let activated =
        |fc: &ArrayD<f64>| fc.mapv(|x| activate(x as f32, activation, Some(bug)).into());
    // Other mistakes than those of the function itself are made elsewhere.
    let is_of_function = sites
        .get(&fc)
        .is_some_and(|fc| sites.get(&wrong.site.name) == Some(&activated(fc)));
    if let Some(own) = before.clone().find(is_own)
        && is_of_function
    {
        sites.insert(wrong.site.name.clone(), activated(&own.values));
    }
}

fn explanations(scene: &Scene) -> Vec<Explanation> {
    // What follows in the list is about the choice of tokens, which dumps do not hold.
    let bugs = Bug::ALL
        .iter()
        .copied()
        .filter(|bug| *bug < Bug::ArgmaxOverRows);
    let mut all: Vec<Explanation> = bugs
        .map(|bug| Explanation {
            id: format!("{bug:?}"),
            says: bug.says().to_owned(),
            plan: Some(Plan::Mistake(bug)),
        })
        .collect();
    if scene.layers < 2 || scene.span.from == Some(scene.layers) {
        return all;
    }
    let wrong = &scene.judged.sites[scene.first];
    let block = match (wrong.site.layer, wrong.site.kind.name) {
        (Some(layer), _) => layer,
        (None, "embed") => return all,
        (None, _) => scene.layers - 1,
    };
    let mut add = |id: String, says: String, plan: Plan| {
        let plan = Some(plan);
        all.push(Explanation { id, says, plan });
    };
    let from = scene.span.from.unwrap_or(0);
    if from == 0 {
        let layers = scene.layers;
        let says = "the layers run in reverse".to_owned();
        add("LayersReversed".to_owned(), says, Plan::Reverse { layers });
    }
    for at in from..=block {
        if at + 1 < scene.layers {
            let says = format!("layer {at} is skipped: layer {} runs in its place", at + 1);
            add(
                format!("LayerSkipped:{at}"),
                says,
                Plan::Shift { block: at, by: 1 },
            );
        }
        if at > 0 {
            let says = format!("layer {} runs twice", at - 1);
            add(
                format!("LayerTwice:{}", at - 1),
                says,
                Plan::Shift { block: at, by: -1 },
            );
        }
    }
    for of in (0..scene.layers).filter(|of| *of != block && from == block) {
        let says = format!("layer {block} has the weights of layer {of}");
        add(
            format!("WeightsOfLayer:{of}"),
            says,
            Plan::Weights { block, of },
        );
    }
    all
}

/// Whether all known mistakes can be tried in a time that is worth waiting for.
pub fn are_affordable(scene: &Scene) -> bool {
    work(scene, scene.span) * Bug::ALL.len() as f64 <= MOST_WORK
}

/// Multiplications of one replay.
fn work(scene: &Scene, span: Span) -> f64 {
    let config = &scene.replay.weights.config;
    let (c, i) = (config.n_embd() as f64, config.n_inner() as f64);
    let blocks = (span.to + 1)
        .min(scene.layers)
        .saturating_sub(span.from.unwrap_or(0));
    let is_to_the_end = span.to >= scene.layers;
    let head = if is_to_the_end {
        config.vocab_size() as f64 * c
    } else {
        0.0
    };
    let case = &scene.replay.traces.case;
    let rows = case.batch * case.calls[scene.replay.call];
    rows as f64 * (blocks as f64 * (4.0 * c * c + 2.0 * c * i) + head)
}

/// Whether a mistake would have shown in an earlier call, which is right.
pub fn is_refuted(scene: &Scene, explanation: &Explanation) -> bool {
    let Some(plan) = explanation.plan else {
        return false;
    };
    let call = scene.replay.call;
    let earlier = scene.judged.calls.range(..call);
    earlier.into_iter().any(|(call, reference)| {
        let replay = Replay {
            call: *call,
            reference,
            ..scene.replay
        };
        let sites = replay
            .run(scene.span, &|block| plan.at(block, None))
            .unwrap_or_default();
        let right = scene
            .judged
            .sites
            .iter()
            .filter(|site| site.call == *call && site.is_right());
        let mut shown = right.filter(|right| !(right.is_joined && plan.is_of_split()));
        shown.any(|right| {
            let explained = sites.get(&right.site.name);
            explained.is_some_and(|explained| !agrees(right, explained))
        })
    })
}

/// Follows each cause to the end of the call: made in all layers, or in the first wrong one alone.
pub fn reach(scene: &Scene, causes: &mut [(Explanation, Cause)]) {
    let whole = Span {
        from: scene.span.from,
        to: scene.layers,
    };
    let wrong = &scene.judged.sites[scene.first];
    if work(scene, whole) * 2.0 * causes.len() as f64 > MOST_WORK {
        return;
    }
    for (explanation, cause) in causes {
        let Some(plan) = explanation.plan else {
            continue;
        };
        let is_mistake = matches!(plan, Plan::Mistake(_));
        let only = wrong.site.layer.filter(|_| is_mistake);
        let ways = std::iter::once(None).chain(only.map(Some));
        let reaches = ways.filter_map(|only| {
            let sites = scene
                .replay
                .run(whole, &|block| plan.at(block, only))
                .ok()?;
            Some(follow(scene, &sites, only))
        });
        // Of equals the first: in all layers.
        cause.reach = reaches.reduce(|a, b| if b.sites > a.sites { b } else { a });
    }
}

/// How many of the sites from the first wrong one on a replay reproduces in a row.
fn follow(scene: &Scene, sites: &Sites, only_layer: Option<usize>) -> Reach {
    let rest = &scene.judged.sites[scene.first..];
    let call = rest.first().map(|site| site.call);
    let of_call: Vec<&JudgedSite> = rest.iter().filter(|site| Some(site.call) == call).collect();
    let misses = |judged: &&JudgedSite| {
        sites
            .get(&judged.site.name)
            .is_none_or(|explained| !agrees(judged, explained))
    };
    // The first is known to fit, by a narrower bound.
    let miss = of_call.iter().skip(1).position(misses).map(|at| at + 1);
    Reach {
        sites: miss.unwrap_or(of_call.len()),
        of: of_call.len(),
        until: miss.map(|at| of_call[at].key()),
        only_layer,
    }
}

/// Whether a site agrees with what an explanation gives there, by the site's own tolerance.
pub fn agrees(judged: &JudgedSite, explained: &ArrayD<f64>) -> bool {
    let explained = rows_of(judged, explained);
    judged.values.shape() == explained.shape()
        && judged
            .values
            .iter()
            .zip(&explained)
            .all(|(found, expected)| {
                let allowed = judged.rule.tolerance.allowed(*expected);
                found == expected || (found - expected).abs() <= allowed
            })
}

/// The rows of an explanation that the port shows: all, or the last.
pub fn rows_of(judged: &JudgedSite, explained: &ArrayD<f64>) -> ArrayD<f64> {
    if !judged.is_last || explained.ndim() < 2 {
        return explained.clone();
    }
    let from = explained.shape()[1].saturating_sub(1);
    explained
        .slice_axis(Axis(1), Slice::from(from..))
        .to_owned()
}
