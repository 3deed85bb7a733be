//! What `validate` prints.

use std::collections::{BTreeMap, BTreeSet};

use llorch_parity::{Judgement, KindSummary, Reason, Verdict};

use super::{Row, name};
use crate::checkpoints::Basis;
use crate::model_dir::{ModelDir, relative};
use crate::references::{References, versions};
use crate::witnesses::quorum::{Absent, Opinion, Says};

/// Failures and reasons that are printed; verdict.json has all.
const SHOWN: usize = 5;

/// The width at which text under a row is broken.
const WIDTH: usize = 100;

/// The table, or nothing where JSON was asked for.
pub struct Table {
    silent: bool,
    verbose: bool,
}

impl Table {
    pub fn new(silent: bool, verbose: bool) -> Self {
        Table { silent, verbose }
    }

    pub fn head(&self, model: &ModelDir, references: &References) {
        if self.silent {
            return;
        }
        let manifest = &references.manifest;
        say!("model       {} ({})", model.name, model.path.display());
        let folder = relative(manifest.dir().to_owned());
        say!(
            "references  {}: {} cases by {}",
            folder.display(),
            manifest.cases().len(),
            manifest.witness()
        );
        say!("versions    {}", versions(manifest.versions()));
        say!();
        say!(
            "{:>2}  {:<11}  {:<10}  {:>5}  {:>9}  {:>9}  {:>5}  {:>5}  {:>5}  {:<12}  worst |d| at",
            "#",
            "checkpoint",
            "basis",
            "sites",
            "elements",
            "worst |d|",
            "bound",
            "R",
            "runs",
            "verdict",
        );
    }

    pub fn row(&self, row: &Row) {
        if self.silent {
            return;
        }
        let (checkpoint, judgement) = (row.checkpoint, &row.judgement);
        let worst = judgement.worst();
        let line = format!(
            "{:>2}  {:<11}  {:<10}  {:>5}  {:>9}  {:>9}  {:>5}  {:>5}  {:>5}  {:<12}  {}",
            checkpoint.number,
            checkpoint.name,
            checkpoint.basis.name(),
            judgement.sites(),
            judgement.elements(),
            worst.map_or("-".to_owned(), |worst| short(worst.difference.difference)),
            bound(judgement),
            judgement
                .largest_ratio()
                .map_or("-".to_owned(), |pool| format!("{:.2}", pool.ratio)),
            judgement.runs().len(),
            name(judgement.verdict()),
            worst.map_or(String::new(), |worst| format!(
                "{} {:?}",
                worst.key, worst.difference.index
            )),
        );
        say!("{}", line.trim_end());
        if self.verbose {
            kinds(judgement.kinds());
        }
        findings(judgement);
    }

    pub fn foot(&self, rows: &[Row], asked: usize, model: &ModelDir, absent: &[Absent]) {
        if self.silent {
            return;
        }
        say!();
        say!("|d|   |ours - witness|, the one that uses most of its bound * max(1, |witness|)");
        say!(
            "R     RMS(ours - truth) / RMS(witness - truth), in units of max(1, |witness|), at most 4;"
        );
        say!("      the largest case of each kind of site:");
        for row in rows {
            ratios(row);
        }
        say!("runs  pairs of runs that must be equal to the bit: again, in pieces, cached, alone");
        witnesses(rows, absent);
        say!();
        say!("{}", verdict(rows, asked, model, absent.len()));
    }
}

/// Who judged beside `hf`, and of how many comparisons in its cases each made how many.
fn witnesses(rows: &[Row], absent: &[Absent]) {
    if rows.iter().any(|row| !row.opinions.is_empty()) {
        say!("others beside hf who agree, each with its comparisons, of those in its cases:");
    }
    for row in rows.iter().filter(|row| !row.opinions.is_empty()) {
        indented(&format!(
            "{:>2}  {}",
            row.checkpoint.number,
            said(&row.opinions)
        ));
    }
    if !absent.is_empty() {
        say!("absent, and nothing stands in for them:");
    }
    for Absent { witness, because } in absent {
        say!("      {witness}: {because}");
    }
}

/// Those who agree, then the others by what they say.
fn said(opinions: &[Opinion]) -> String {
    let mut agree = Vec::new();
    let mut others: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for opinion in opinions {
        let (witness, sites, of) = (&*opinion.witness, opinion.sites, opinion.of);
        match &opinion.says {
            Says::Agrees if sites == of => agree.push(format!("{witness} {sites}")),
            Says::Agrees => agree.push(format!("{witness} {sites} of {of}")),
            Says::Dissents(_) => others.entry("DISSENT").or_default().push(witness),
            Says::Abstains(because) => others.entry(because).or_default().push(witness),
        }
    }
    if agree.is_empty() {
        agree.push("none".to_owned());
    }
    let others = others.iter();
    let others = others.map(|(says, names)| format!("; {says}: {}", names.join(", ")));
    agree.join(", ") + &others.collect::<String>()
}

/// The sentence that everything comes down to.
fn verdict(rows: &[Row], asked: usize, model: &ModelDir, absent: usize) -> String {
    let passed = rows.iter().filter(|row| row.judgement.verdict().is_pass());
    let passed = passed.count();
    let Some(last) = rows.last() else {
        return "INCONCLUSIVE: nothing was run".to_owned();
    };
    let (checkpoint, verdict) = (last.checkpoint, last.judgement.verdict());
    if !verdict.is_pass() {
        return format!(
            "{} at checkpoint {} ({}); {passed} of {asked} passed on {}",
            name(verdict),
            checkpoint.number,
            checkpoint.name,
            model.name
        );
    }
    let basis = match checkpoint.basis {
        Basis::Isolated => ", isolated: each component on the reference's own inputs",
        Basis::Propagated | Basis::Both => "",
    };
    let mut by = judges(rows);
    if absent > 0 {
        by += &format!(", {absent} absent");
    }
    format!(
        "PASS: {passed} of {asked} on {}{basis}; by {by}",
        model.name
    )
}

/// Everybody who judged.
fn judges(rows: &[Row]) -> String {
    let opinions = rows.iter().flat_map(|row| &row.opinions);
    let agree = opinions.filter(|opinion| opinion.says == Says::Agrees);
    let names: BTreeSet<&str> = agree.map(|opinion| &*opinion.witness).collect();
    match names.len() {
        0 => "hf alone".to_owned(),
        1 => "hf and 1 other".to_owned(),
        n => format!("hf and {n} others"),
    }
}

/// The first failures or reasons, below the row they belong to.
fn findings(judgement: &Judgement) {
    let lines: Vec<String> = match judgement.verdict() {
        Verdict::Pass(_) => return,
        Verdict::Fail(failures) => failures.iter().map(ToString::to_string).collect(),
        Verdict::Inconclusive(reasons) => telling(reasons).map(ToString::to_string).collect(),
    };
    for line in lines.iter().take(SHOWN) {
        indented(line);
    }
    if lines.len() > SHOWN {
        indented(&format!(
            "and {} more, all in verdict.json",
            lines.len() - SHOWN
        ));
    }
    if !judgement.pending().is_empty() {
        let pending = judgement.pending().len();
        indented(&format!(
            "and {pending} that could not be judged, all in verdict.json"
        ));
    }
}

/// Where something is absent, that nothing was then compared goes without saying.
fn telling(reasons: &[Reason]) -> impl Iterator<Item = &Reason> {
    let is_absent = |reason: &Reason| matches!(reason, Reason::Absent { .. });
    let any = reasons.iter().any(is_absent);
    reasons
        .iter()
        .filter(move |reason| !any || is_absent(reason))
}

/// Prints under a row, broken at spaces.
fn indented(text: &str) {
    let mut line = String::new();
    for word in text.split(' ') {
        if !line.is_empty() && line.len() + word.len() > WIDTH {
            say!("      {line}");
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line += word;
    }
    say!("      {line}");
}

/// One line a kind of site, in columns.
fn kinds(kinds: &[KindSummary]) {
    let range = |kind: &KindSummary| {
        kind.range.map_or(String::new(), |range| {
            format!("values {:.4} to {:.4}", range.min, range.max)
        })
    };
    let names = kinds.iter().map(|kind| kind.kind.len()).max();
    let ranges = kinds.iter().map(|kind| range(kind).len()).max();
    let (names, ranges) = (names.unwrap_or_default(), ranges.unwrap_or_default());
    for kind in kinds {
        let range = range(kind);
        let worst = kind.worst.as_ref().map_or(String::new(), |worst| {
            format!(
                "worst {} at {} {:?}, relative {}",
                short(worst.difference.difference),
                worst.key,
                worst.difference.index,
                short(kind.worst_relative)
            )
        });
        let line = format!("      {:<names$}  {range:<ranges$}  {worst}", kind.kind);
        say!("{}", line.trim_end());
    }
}

/// One line a checkpoint: each kind of site with its largest R.
fn ratios(row: &Row) {
    let pools = row.judgement.pools();
    if pools.is_empty() {
        return;
    }
    let line: Vec<String> = row
        .judgement
        .kinds()
        .iter()
        .filter_map(|kind| {
            let own = pools.iter().filter(|pool| pool.kind == kind.kind);
            own.max_by(|a, b| a.ratio.total_cmp(&b.ratio))
        })
        .map(|pool| format!("{} {:.2} {}", pool.kind, pool.ratio, pool.case))
        .collect();
    indented(&format!(
        "{:>2}  {}",
        row.checkpoint.number,
        line.join(", ")
    ));
}

/// The tolerance that the worst difference of a row is held against.
fn bound(judgement: &Judgement) -> String {
    let worst = judgement.worst().map(|worst| &worst.key);
    let of_worst = |kind: &&KindSummary| kind.worst.as_ref().map(|own| &own.key) == worst;
    let kind = judgement.kinds().iter().find(of_worst);
    let rule = kind.and_then(|kind| kind.rules.first());
    rule.map_or("-".to_owned(), |rule| rule.tolerance.to_string())
}

fn short(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    format!("{value:.1e}")
}
