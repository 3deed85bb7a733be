//! What a comparison says: the verdict first, then where, why, and what to look at.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use llorch_parity::Evidence;
use serde::Serialize;
use serde_json::json;

use super::case;
use super::diagnosis::{Cause, Diagnosis};
use super::dump::{Dump, Foreign};
use super::judge::{Against, Judged, JudgedSite, Outcome};
use super::site::{self, Site};
use crate::checkpoints::CHECKPOINTS;
use crate::model_dir::{ModelDir, relative};
use crate::references::References;

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
    not_in_the_dump: Vec<String>,
    unknown_names: Vec<String>,
    without_reference: Vec<String>,
    evidence: Evidence,
}

/// One line of the table.
#[derive(Serialize)]
struct Checkpoint {
    number: usize,
    name: &'static str,
    sites: usize,
    elements: usize,
    worst: Option<f64>,
    bound: Option<String>,
    /// The largest R of a site.
    ratio: Option<f64>,
    verdict: &'static str,
    at: Option<String>,
}

#[derive(Serialize)]
struct FirstWrong {
    site: String,
    name: String,
    what: String,
    last_right: Option<String>,
    /// Steps between the two that the dump does not show.
    between: Vec<String>,
    /// Logits: the positions that agree, from the first on.
    right_positions: Option<usize>,
    look_at: String,
}

#[derive(Serialize)]
struct Row {
    site: String,
    name: String,
    dtype: String,
    verdict: &'static str,
    worst: Option<f64>,
    at: Option<Vec<usize>>,
    allowed: Option<f64>,
    ratio: Option<f64>,
    what: Option<String>,
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
            not_in_the_dump: absent(&judged, &all),
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

    fn print_text(&self, verbose: bool) {
        say!("model       {}", self.model);
        say!("references  {}, case {}", self.references, self.case);
        say!("dump        {}", self.dump);
        say!("names       {}", self.map);
        for assumed in &self.assumed {
            say!("assumed     {assumed}");
        }
        say!("");
        say!(" #  checkpoint   sites  elements  worst |d|   bound      R  verdict");
        for checkpoint in &self.checkpoints {
            say!("{}", checkpoint.line());
        }
        say!("");
        self.print_verdict();
        if let (Some(wrong), Some(diagnosis)) = (&self.first_wrong, &self.diagnosis) {
            print_diagnosis(wrong, diagnosis);
        }
        if verbose {
            self.print_details();
        }
    }

    fn print_verdict(&self) {
        let sites = self
            .sites
            .iter()
            .filter(|row| row.verdict == "right")
            .count();
        match (&self.first_wrong, self.verdict) {
            (Some(wrong), _) => wrong.print(),
            (None, "PASS") => {
                say!("PASS: {sites} tensors agree");
                self.print_limits();
            }
            (None, _) => say!("INCONCLUSIVE: {sites} tensors agree"),
        }
        for because in &self.because {
            say!("  not known       {because}");
        }
    }

    /// What a PASS is not about.
    fn print_limits(&self) {
        if !self.not_in_the_dump.is_empty() {
            say!("  not in the dump {}", self.not_in_the_dump.join(", "));
        }
        if !self.without_reference.is_empty() {
            say!(
                "  not judged      {} tensors that this case has no reference for",
                self.without_reference.len()
            );
        }
    }

    fn print_details(&self) {
        say!("");
        for row in &self.sites {
            say!("{}", row.line());
        }
        for (what, names) in [
            ("no such name in the map", &self.unknown_names),
            ("no reference in this case", &self.without_reference),
        ] {
            if !names.is_empty() {
                say!("{what}: {}", names.join(", "));
            }
        }
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

/// One line for each of the checkpoints that a dump can be about.
fn checkpoints(judged: &Judged, first: Option<usize>) -> Vec<Checkpoint> {
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
            ratio: of(number)
                .filter_map(|(_, site)| site.ratio)
                .reduce(f64::max),
            verdict,
            at: wrong.first().map(|at| judged.sites[*at].key()),
        }
    };
    let numbered = CHECKPOINTS.iter().take(9);
    numbered
        .map(|checkpoint| line(checkpoint.number, checkpoint.name))
        .collect()
}

/// Logits of the last position alone are what 9 is about.
fn number_of(judged: &JudgedSite) -> usize {
    match judged.site.kind.checkpoint {
        8 if judged.is_last => 9,
        number => number,
    }
}

impl Checkpoint {
    fn line(&self) -> String {
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

impl FirstWrong {
    fn of(judged: &Judged, first: usize, all: &[Site]) -> FirstWrong {
        let wrong = &judged.sites[first];
        let before = judged.sites[..first].iter().rev();
        let last_right = before
            .clone()
            .find(|site| site.call == wrong.call && site.is_right());
        let place = |name: &str| all.iter().position(|site| site.name == name);
        let from = last_right
            .and_then(|right| place(&right.site.name))
            .map_or(0, |at| at + 1);
        let to = place(&wrong.site.name).unwrap_or(from);
        let between = all[from.min(to)..to]
            .iter()
            .map(|site| site.name.clone())
            .collect();
        let page = CHECKPOINTS
            .iter()
            .find(|checkpoint| checkpoint.number == number_of(wrong));
        FirstWrong {
            site: wrong.key(),
            name: wrong.name.clone(),
            what: match &wrong.outcome {
                Outcome::Wrong(what) => what.clone(),
                _ => String::new(),
            },
            last_right: last_right.map(JudgedSite::key),
            between,
            right_positions: Some(wrong)
                .filter(|wrong| !wrong.is_last)
                .and_then(JudgedSite::right_positions),
            look_at: page.map_or(String::new(), |page| {
                format!("docs/checkpoints/{:02}-{}.md", page.number, page.name)
            }),
        }
    }

    fn print(&self) {
        let at = if self.between.is_empty() {
            "at"
        } else {
            "at or before"
        };
        say!("FAIL: first wrong {at} {} ({})", self.site, self.name);
        say!("  what            {}", self.what);
        match &self.last_right {
            Some(right) => say!("  last right      {right}"),
            None => say!("  last right      nothing before it is in the dump"),
        }
        if !self.between.is_empty() {
            say!("  not in the dump {}", several(&self.between, 8));
        }
    }
}

fn several(names: &[String], most: usize) -> String {
    let shown = names
        .iter()
        .take(most)
        .cloned()
        .collect::<Vec<_>>()
        .join(", ");
    match names.len().saturating_sub(most) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

fn print_diagnosis(wrong: &FirstWrong, diagnosis: &Diagnosis) {
    match &diagnosis.causes[..] {
        [] if diagnosis.tried == 0 => say!("  cause           no explanation could be tried here"),
        [] => say!(
            "  cause           none of {} explanations reproduces it",
            diagnosis.tried
        ),
        [cause] => print_cause("cause", cause),
        causes => {
            say!(
                "  cause           one of {} that cannot be told apart here",
                causes.len()
            );
            for cause in causes {
                print_cause("    or", cause);
            }
        }
    }
    let figure = |value: Option<f64>| {
        value.map_or("of another form".to_owned(), |value| {
            format!("off by {value:.1e}")
        })
    };
    let runner_up = diagnosis.runner_up.as_ref().map_or(String::new(), |next| {
        format!("; next best off by {:.1e}: {}", next.residue, next.says)
    });
    let correct = figure(diagnosis.correct);
    say!(
        "  beside it       what is right is {correct}, rounding is {:.1e}{runner_up}",
        diagnosis.noise
    );
    if let Some(right) = diagnosis.place.right_before {
        say!(
            "  positions       right before position {right}, wrong from there on: a boundary of chunks?"
        );
    } else if let Some(right) = wrong.right_positions.filter(|right| *right > 0) {
        say!("  positions       the first {right} agree");
    }
    if diagnosis.causes.is_empty() {
        say!("  where           {}", diagnosis.place.says.join("; "));
        let growth = diagnosis
            .place
            .growth
            .iter()
            .map(|(site, error)| format!("{site} {error:.1e}"));
        let growth: Vec<String> = growth.collect();
        if !growth.is_empty() {
            say!("  along layers    {}", several(&growth, 8));
        }
    }
    say!("  look at         {}", wrong.look_at);
}

fn print_cause(label: &str, cause: &Cause) {
    say!(
        "  {label:<15} {} (off by {:.1e})",
        cause.says,
        cause.residue
    );
    let Some(reach) = &cause.reach else {
        return;
    };
    let layers = reach.only_layer.map_or(String::new(), |layer| {
        format!(", made in layer {layer} alone")
    });
    let extent = match &reach.until {
        None => format!("all {} tensors from there on{layers}", reach.of),
        Some(until) => format!(
            "{} of {} tensors from there on{layers}; not {until}: compare again when this is mended",
            reach.sites, reach.of
        ),
    };
    say!("  {:<15} reproduces {extent}", "");
}

impl Row {
    fn of(judged: &JudgedSite) -> Row {
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

    fn line(&self) -> String {
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

/// What no tensor of the dump shows: a kind of site, or a kind in some layers.
fn absent(judged: &Judged, all: &[Site]) -> Vec<String> {
    let mut shown: BTreeSet<&str> = judged
        .sites
        .iter()
        .map(|site| site.site.name.as_str())
        .collect();
    shown.extend(judged.not_judged.iter().map(String::as_str));
    let mut absent: Vec<String> = Vec::new();
    let kinds = all.iter().map(|site| site.kind);
    let mut seen = Vec::new();
    for kind in kinds {
        if seen.contains(&kind) {
            continue;
        }
        seen.push(kind);
        let of_kind: Vec<&Site> = all.iter().filter(|site| site.kind == kind).collect();
        let missing: Vec<&&Site> = of_kind
            .iter()
            .filter(|site| !shown.contains(site.name.as_str()))
            .collect();
        let name = kind.title();
        if missing.len() == of_kind.len() {
            absent.push(name.to_owned());
        } else {
            absent.extend(missing.iter().map(|site| site.name.clone()));
        }
    }
    absent
}
