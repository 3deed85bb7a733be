//! The lines of a report: one a checkpoint, one a site.

use llorch_parity::Budget;
use serde::Serialize;

use crate::checkpoints::CHECKPOINTS;
use crate::compare::judge::Judged;
use crate::compare::judged_site::{JudgedSite, Outcome};

/// One line of the table.
#[derive(Serialize)]
pub struct Checkpoint {
    number: usize,
    name: &'static str,
    sites: usize,
    elements: usize,
    worst: Option<f64>,
    bound: Option<String>,
    /// The largest R of a kind of site.
    ratio: Option<f64>,
    verdict: &'static str,
    at: Option<String>,
}

#[derive(Serialize)]
pub struct Row {
    site: String,
    name: String,
    dtype: String,
    pub verdict: &'static str,
    worst: Option<f64>,
    at: Option<Vec<usize>>,
    allowed: Option<f64>,
    ratio: Option<f64>,
    what: Option<String>,
}

/// One line for each of the checkpoints that a dump can be about.
pub fn checkpoints(judged: &Judged, first: Option<usize>) -> Vec<Checkpoint> {
    let of = |number: usize| {
        let sites = judged.sites.iter().enumerate();
        sites.filter(move |(_, site)| number_of(site) == number)
    };
    let line = |number: usize, name: &'static str| {
        let measured =
            || of(number).filter_map(|(_, site)| site.worst.as_ref().map(|worst| (site, worst)));
        let worst = measured().max_by(|(_, a), (_, b)| a.share().total_cmp(&b.share()));
        let wrong: Vec<usize> = of(number)
            .filter(|(_, site)| site.is_wrong())
            .map(|(at, _)| at)
            .collect();
        let unknown = of(number).any(|(_, site)| matches!(site.outcome, Outcome::Unknown(_)));
        let verdict = match (of(number).count(), wrong.first()) {
            (0, _) => "not in the dump",
            (_, Some(at)) if Some(*at) == first => "FAIL",
            (_, Some(_)) => "wrong after it",
            (_, None) if unknown => "INCONCLUSIVE",
            (_, None) => "PASS",
        };
        Checkpoint {
            number,
            name,
            sites: of(number).count(),
            elements: of(number).map(|(_, site)| site.elements).sum(),
            worst: worst.map(|(_, worst)| worst.difference),
            bound: worst.map(|(site, _)| site.rule.tolerance.to_string()),
            ratio: largest_ratio(of(number).map(|(_, site)| site)),
            verdict,
            at: wrong.first().map(|at| judged.sites[*at].key()),
        }
    };
    let numbered = CHECKPOINTS.iter().take(9);
    numbered
        .map(|checkpoint| line(checkpoint.number, checkpoint.name))
        .collect()
}

/// The largest R, which is judged over all layers of a kind of site; half precision's is a site's own.
fn largest_ratio<'a>(sites: impl Iterator<Item = &'a JudgedSite>) -> Option<f64> {
    let mut budget = Budget::new();
    let mut ratios = Vec::new();
    for site in sites {
        match site.errors {
            Some(errors) => budget.add(site.site.kind.title(), "", errors),
            None => ratios.extend(site.ratio),
        }
    }
    ratios.extend(budget.pools().iter().map(|pool| pool.ratio));
    ratios.into_iter().reduce(f64::max)
}

/// Logits of the last position alone are what 9 is about.
pub fn number_of(judged: &JudgedSite) -> usize {
    match judged.site.kind.checkpoint {
        8 if judged.is_last => 9,
        number => number,
    }
}

impl Checkpoint {
    pub fn line(&self) -> String {
        let figure =
            |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.1e}"));
        let line = format!(
            "{:2}  {:<11}  {:>5}  {:>8}  {:>9}  {:>6}  {:>5}  {}",
            self.number,
            self.name,
            self.sites,
            self.elements,
            figure(self.worst),
            self.bound.as_deref().map_or("-".to_owned(), short),
            self.ratio.map_or("-".to_owned(), ratio),
            self.verdict,
        );
        match (&self.at, self.verdict) {
            (Some(at), "FAIL") => format!("{line} at {at}"),
            _ => line,
        }
    }
}

/// `1.5625e-2` is `1.6e-2`.
fn short(bound: &str) -> String {
    bound.parse::<f64>().map_or(bound.to_owned(), |value| {
        let long = format!("{value:.1e}");
        long.replace(".0e", "e")
    })
}

fn ratio(value: f64) -> String {
    if value < 1000.0 {
        format!("{value:.2}")
    } else {
        format!("{value:.0e}")
    }
}

impl Row {
    pub fn of(judged: &JudgedSite) -> Row {
        let (verdict, what) = match &judged.outcome {
            Outcome::Right => ("right", None),
            Outcome::Wrong(what) => ("wrong", Some(what.clone())),
            Outcome::Unknown(what) => ("unknown", Some(what.clone())),
        };
        let worst = judged.worst.as_ref();
        Row {
            site: judged.key(),
            name: judged.name.clone(),
            dtype: judged.precision.to_string(),
            verdict,
            worst: worst.map(|worst| worst.difference),
            at: worst.map(|worst| worst.index.clone()),
            allowed: worst.map(|worst| worst.allowed),
            ratio: judged.ratio,
            what,
        }
    }

    pub fn line(&self) -> String {
        let figure =
            |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.1e}"));
        let at = self
            .at
            .as_ref()
            .map_or(String::new(), |at| format!("{at:?}"));
        let line = format!(
            "{:<24} {:<8} {:>8} of {:>8}  R {:>6}  {:<18} {}",
            self.site,
            self.verdict,
            figure(self.worst),
            figure(self.allowed),
            self.ratio.map_or("-".to_owned(), ratio),
            at,
            self.name,
        );
        line.trim_end().to_owned()
    }
}
