//! Probes of parts speak to the whole's probe in the whole's names.

use std::cell::RefCell;

use llorch_numerics::{Probe, Scoped};
use ndarray::{ArrayD, ArrayViewD, array};

/// Wants one site; remembers what it was asked and what it was given.
#[derive(Default)]
struct Listener {
    wanted: &'static str,
    asked: RefCell<Vec<String>>,
    given: Vec<(String, ArrayD<f32>)>,
}

impl Probe for Listener {
    fn wants(&self, site: &str) -> bool {
        self.asked.borrow_mut().push(site.to_owned());
        site == self.wanted
    }

    fn record(&mut self, site: &str, values: ArrayViewD<f32>) {
        self.given.push((site.to_owned(), values.to_owned()));
    }
}

#[test]
fn a_part_is_asked_for_and_recorded_behind_its_prefix() {
    let mut listener = Listener {
        wanted: "h.3.attn.out",
        ..Listener::default()
    };
    let mut layer = Scoped::new("h.3.", &mut listener);
    let mut attention = Scoped::new("attn.", &mut layer);
    assert!(attention.wants("out"));
    assert!(!attention.wants("probs"));
    let values = array![[1.0, 2.0]].into_dyn();
    attention.record("out", values.view());
    assert_eq!(*listener.asked.borrow(), ["h.3.attn.out", "h.3.attn.probs"]);
    assert_eq!(listener.given, [("h.3.attn.out".to_owned(), values)]);
}

/// The whole's own name is not the part's.
#[test]
fn a_prefix_is_never_left_out() {
    let mut listener = Listener {
        wanted: "out",
        ..Listener::default()
    };
    assert!(!Scoped::new("attn.", &mut listener).wants("out"));
    assert!(Scoped::new("", &mut listener).wants("out"));
}

#[test]
fn nobody_wants_nothing_through_any_prefix() {
    let mut nobody = ();
    assert!(!nobody.wants("out"));
    assert!(!Scoped::new("h.0.", &mut nobody).wants("out"));
}
