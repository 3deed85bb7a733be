//! What a comparison says: the verdict first, then where, why, and what to look at.

mod first_wrong;
mod lines;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use llorch_parity::Evidence;
use serde::Serialize;
use serde_json::json;

use super::case;
use super::diagnosis::{Diagnosis, ranges};
use super::dump::{Dump, Foreign};
use super::judge::{Against, Judged};
use super::judged_site::Outcome;
use super::site::{self, Site};
use crate::model_dir::{ModelDir, relative};
use crate::references::References;
use first_wrong::FirstWrong;
use lines::{Checkpoint, Row, checkpoints};

/// Everything there is to say of a dump.
#[derive(Serialize)]
pub struct Report {
    verdict: &'static str,
    model: String,
    references: String,
    case: String,
    dump: String,
    map: String,
    assumed: Vec<String>,
    checkpoints: Vec<Checkpoint>,
    first_wrong: Option<FirstWrong>,
    diagnosis: Option<Diagnosis>,
    /// Why the verdict is INCONCLUSIVE, or what is unknown besides.
    because: Vec<String>,
    sites: Vec<Row>,
    not_in_the_dump: Vec<Absent>,
    unknown_names: Vec<String>,
    without_reference: Vec<String>,
    evidence: Evidence,
}

impl Report {
    pub fn new(
        model: &ModelDir,
        references: &References,
        dump: &Dump,
        path: &Path,
        against: &Against,
        judged: Judged,
        diagnosis: Option<Diagnosis>,
    ) -> Report {
        let all = site::all(model.config.n_layer());
        let mut because = judged.reasons.clone();
        let missing = references.missing.iter();
        because.extend(missing.map(|missing| format!("{missing} among the references")));
        let unknown = judged
            .sites
            .iter()
            .filter_map(|judged| match &judged.outcome {
                Outcome::Unknown(why) => Some(format!("{} ({}): {why}", judged.key(), judged.name)),
                _ => None,
            });
        because.extend(unknown);
        let is_judged = judged
            .sites
            .iter()
            .any(|site| site.is_right() || site.is_wrong());
        if !is_judged {
            because.push("nothing in the dump could be judged".to_owned());
        }
        let first = judged.first_wrong();
        let verdict = match (first, because.is_empty()) {
            (Some(_), _) => "FAIL",
            (None, true) => "PASS",
            (None, false) => "INCONCLUSIVE",
        };
        let precisions: BTreeSet<String> = dump
            .tensors
            .values()
            .filter_map(|tensor| match tensor {
                Foreign::Floats(precision, _) => Some(precision.to_string()),
                Foreign::Ids(_) => None,
            })
            .collect();
        let known = dump.tensors.len() - judged.unknown.len();
        Report {
            verdict,
            model: format!("{} ({})", model.name, model.path.display()),
            references: relative(references.manifest.dir().to_owned())
                .display()
                .to_string(),
            case: case::describe(&against.traces.case),
            dump: format!(
                "{}: {} tensors, {}",
                path.display(),
                dump.tensors.len(),
                precisions.into_iter().collect::<Vec<_>>().join(" and ")
            ),
            map: format!(
                "{}: {known} of {} known",
                against.map.name,
                dump.tensors.len()
            ),
            checkpoints: checkpoints(&judged, first),
            first_wrong: first.map(|first| FirstWrong::of(&judged, first, &all)),
            sites: judged.sites.iter().map(Row::of).collect(),
            not_in_the_dump: absent(&judged, against.traces.case.calls.len(), &all),
            assumed: judged.assumed,
            unknown_names: judged.unknown,
            without_reference: judged.without_reference,
            evidence: against.evidence.clone(),
            because,
            diagnosis,
        }
    }

    /// Prints all of it, and gives the exit code.
    ///
    /// # Errors
    /// Where it cannot be written as JSON.
    pub fn print(&self, json: bool, verbose: bool) -> Result<ExitCode> {
        if json {
            say!("{}", serde_json::to_string_pretty(self)?);
        } else {
            self.print_text(verbose);
        }
        Ok(ExitCode::from(match self.verdict {
            "PASS" => 0,
            "FAIL" => 1,
            _ => 3,
        }))
    }
}

/// Says that nothing can be said, and why.
pub fn nothing(because: &str, json: bool) -> ExitCode {
    if json {
        say!(
            "{}",
            json!({ "verdict": "INCONCLUSIVE", "because": [because] })
        );
    } else {
        say!("INCONCLUSIVE: {because}");
    }
    ExitCode::from(3)
}

/// Kinds of site that no tensor of the dump shows, anywhere or in some calls or layers.
#[derive(Serialize)]
struct Absent {
    /// None where it is all of them.
    calls: Option<String>,
    /// None where it is all of them.
    layers: Option<String>,
    sites: Vec<&'static str>,
}

fn absent(judged: &Judged, calls: usize, all: &[Site]) -> Vec<Absent> {
    let shown = judged.sites.iter();
    let shown = shown.map(|site| (site.call, site.site.name.as_str()));
    let not_judged = judged.not_judged.iter();
    let not_judged = not_judged.map(|(call, site)| (*call, site.as_str()));
    let shown: BTreeSet<(usize, &str)> = shown.chain(not_judged).collect();
    let mut groups: Vec<Absent> = Vec::new();
    for (at, site) in all.iter().enumerate() {
        if all[..at].iter().any(|before| before.kind == site.kind) {
            continue;
        }
        let of_kind: Vec<&Site> = all.iter().filter(|other| other.kind == site.kind).collect();
        for (layers, in_calls) in lacking(&of_kind, calls, &shown) {
            let layers = layers.as_ref().map(ranges);
            let in_calls = (in_calls.len() < calls).then(|| ranges(&in_calls));
            let same = |group: &&mut Absent| group.layers == layers && group.calls == in_calls;
            match groups.iter_mut().find(same) {
                Some(group) => group.sites.push(site.kind.title()),
                None => groups.push(Absent {
                    calls: in_calls,
                    layers,
                    sites: vec![site.kind.title()],
                }),
            }
        }
    }
    groups
}

/// The layers that lack one kind of site, none for all of them, and the calls in which just they do.
fn lacking(
    of_kind: &[&Site],
    calls: usize,
    shown: &BTreeSet<(usize, &str)>,
) -> BTreeMap<Option<BTreeSet<usize>>, BTreeSet<usize>> {
    let mut lacking: BTreeMap<_, BTreeSet<usize>> = BTreeMap::new();
    for call in 0..calls {
        let is_missing = |site: &&&Site| !shown.contains(&(call, site.name.as_str()));
        let missing: Vec<&&Site> = of_kind.iter().filter(is_missing).collect();
        if missing.is_empty() {
            continue;
        }
        let is_everywhere = missing.len() == of_kind.len();
        let layers =
            (!is_everywhere).then(|| missing.iter().filter_map(|site| site.layer).collect());
        lacking.entry(layers).or_default().insert(call);
    }
    lacking
}
