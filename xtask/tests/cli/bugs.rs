//! The catalogue of mistakes: each is caught at its checkpoint, or the command fails.

use crate::support::{Copies, outcome, xtask};

#[test]
fn every_mistake_is_caught_where_it_is_made() {
    let (code, printed) = outcome(&xtask(&["bugs"], &[]));
    assert_eq!(code, Some(0), "{printed}");
    let row = |what: &str| {
        let line = printed.lines().find(|line| line.starts_with(what));
        let line = line.unwrap_or_else(|| panic!("no {what}: {printed}"));
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(row("(our rooms)"), "(our rooms) PASS PASS");
    assert_eq!(row("(none)"), "(none) PASS PASS");
    let erf = row("GELU by erf for tanh");
    let caught = "GELU by erf for tanh 6 values 6 values h.0.mlp.act cases";
    assert!(erf.starts_with(caught), "{erf}");
    let ties = row("ties broken upward");
    let caught = "ties broken upward 10 values 10 values - equal logits";
    assert!(ties.starts_with(caught), "{ties}");
    let verdict = row("PASS: ");
    let mistakes = verdict.split(' ').nth(1).map(str::parse);
    assert!(matches!(mistakes, Some(Ok(60usize..))), "{verdict}");
    assert!(!printed.contains("WRONG"), "{printed}");
}

#[test]
fn without_references_nothing_is_known() {
    let copies = Copies::new("bugs-without-references");
    let model = copies.model();
    let model = model.to_str().expect("a path in UTF-8");
    let (code, printed) = outcome(&xtask(&["bugs", "--model", model], &[]));
    assert_eq!(code, Some(3), "{printed}");
    assert!(printed.starts_with("INCONCLUSIVE"), "{printed}");
}
