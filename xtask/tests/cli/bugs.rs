//! The catalogue of mistakes: each is caught at its checkpoint, or the command fails.

use crate::support::{Copies, outcome, xtask};

#[test]
fn every_mistake_is_caught_where_it_is_made() {
    let (code, printed) = outcome(&xtask(&["bugs"], &[]));
    assert_eq!(code, Some(0), "{printed}");
    let caught = |line: &&str| line.contains("  cases") || line.contains(" of ");
    assert!(printed.lines().filter(caught).count() > 100, "{printed}");
    let row = |mistake: &str| {
        let line = printed.lines().find(|line| line.starts_with(mistake));
        line.unwrap_or_else(|| panic!("no {mistake}: {printed}"))
    };
    for nothing in ["(our rooms)", "(none)"] {
        assert_eq!(row(nothing).matches("PASS").count(), 2, "{printed}");
    }
    // Equal tolerances would let this one pass: see docs/checkpoints/06-mlp.md.
    assert!(
        row("GELU by erf").contains(" 6 values  h.0.mlp.act"),
        "{printed}"
    );
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
