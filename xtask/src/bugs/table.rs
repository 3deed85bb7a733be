//! What `bugs` prints.

use super::catalogue::Expected;
use super::gate::Caught;
use super::{Catalogue, Outcome, What};
use crate::plain::Bug;

/// One line a run, in columns.
pub fn print(catalogue: &Catalogue, outcomes: &[Outcome]) {
    let model = catalogue.model;
    say!("model       {} ({})", model.name, model.path.display());
    say!();
    let head = [
        "mistake",
        "expected",
        "caught",
        "first site",
        "input",
        "difference",
    ];
    let lines: Vec<[String; 6]> = [head.map(str::to_owned)]
        .into_iter()
        .chain(outcomes.iter().map(line))
        .collect();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max();
    let widths: Vec<usize> = (0..6)
        .map(|column| width(column).unwrap_or_default())
        .collect();
    for line in &lines {
        let cells = line.iter().zip(&widths);
        let cells: Vec<String> = cells
            .map(|(cell, &width)| format!("{cell:width$}"))
            .collect();
        say!("{}", cells.join("  ").trim_end());
    }
    say!();
    say!("input       cases: the references'; any other is made here, with its truth in float64");
    say!("{}", verdict(outcomes));
}

fn verdict(outcomes: &[Outcome]) -> String {
    let bugs = outcomes
        .iter()
        .filter(|outcome| matches!(outcome.what, What::Plain(Some(_))));
    let bugs = bugs.count();
    let others = Bug::ALL.len() - bugs;
    let behind = match others {
        0 => String::new(),
        n => format!("; {n} more are about checkpoints that these weights do not suffice for"),
    };
    let wrong = outcomes
        .iter()
        .filter(|outcome| !outcome.is_as_expected())
        .count();
    match wrong {
        0 => format!("PASS: {bugs} mistakes, each as expected; none where none is made{behind}"),
        n => format!("FAIL: {n} of {} not as expected{behind}", outcomes.len()),
    }
}

fn line(outcome: &Outcome) -> [String; 6] {
    let what = match outcome.what {
        What::Rooms => "(our rooms)",
        What::Plain(None) => "(none)",
        What::Plain(Some(bug)) => bug.says(),
    };
    let expected = match outcome.expected {
        Expected::Pass => "PASS".to_owned(),
        Expected::Caught(place) => format!("{:>2} {}", place.checkpoint, place.by.name()),
    };
    let wrong = match outcome.expected {
        _ if outcome.is_as_expected() => String::new(),
        Expected::Caught(place) => {
            let input = place.input.unwrap_or("cases");
            format!("  WRONG: expected {} on {input}", place.site)
        }
        Expected::Pass => "  WRONG".to_owned(),
    };
    let [caught, site, input, size] = match &outcome.caught {
        None => ["PASS", "", "", ""].map(str::to_owned),
        Some(caught) => cells(caught),
    };
    [
        what.to_owned(),
        expected,
        caught,
        site,
        input,
        size + &wrong,
    ]
}

fn cells(caught: &Caught) -> [String; 4] {
    let Caught {
        checkpoint,
        input,
        by,
        site,
        size,
    } = caught;
    let input = input.unwrap_or("cases");
    let site = if site == input { "-" } else { site };
    [
        format!("{checkpoint:>2} {}", by.name()),
        site.to_owned(),
        input.to_owned(),
        size.clone(),
    ]
}
