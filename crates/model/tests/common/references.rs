//! The references of the embedded model with all of it running, and the judge that holds a model to them.
#![allow(dead_code)] // Each test program uses some of it.

use llorch_fixtures::{compare_twice, tiny};
use llorch_model::Probe;
use llorch_parity::{Expectation, Judge, Judgement, Key, Rule, Trace};
use ndarray::{Array2, ArrayViewD, Axis, Ix2};

/// The cases that store sites of every call.
pub const CASES: [&str; 7] = [
    "two-tokens",
    "one-token",
    "multibyte",
    "full-context",
    "batch",
    "steps",
    "chunks",
];

/// The sites of a layer in the order of execution; the empty one is the layer's output.
const SITES: [&str; 14] = [
    ".ln_1",
    ".attn.q",
    ".attn.k",
    ".attn.v",
    ".attn.cache.k",
    ".attn.cache.v",
    ".attn.scores",
    ".attn.probs",
    ".attn.out",
    ".ln_2",
    ".mlp.fc",
    ".mlp.act",
    ".mlp.out",
    "",
];

pub const LAYERS: usize = 4;

/// A case with its references.
pub struct Case {
    pub name: String,
    /// The tokens of every call, [B, T].
    pub calls: Vec<Array2<u32>>,
    /// One text a row, where the case has text.
    pub text: Option<Vec<String>>,
    pub witness: Trace,
    /// The whole model in float64, minus the witness.
    pub truth: Trace,
    selection: String,
}

impl Case {
    pub fn open(name: &str) -> Case {
        let manifest = tiny().manifest;
        let case = manifest.case(name).expect("a case");
        let load = |part| manifest.load(name, part).expect("a trace");
        let witness = load("hf");
        let mut calls: Vec<_> = (0..case.calls.len())
            .map(|call| ids(&witness, &format!("{call}/tokens")))
            .collect();
        if case.selection == "greedy" {
            // The last generated token is never fed.
            let generated = ids(&witness, "generated");
            let fed = generated.axis_iter(Axis(1)).take(generated.ncols() - 1);
            calls.extend(fed.map(|column| column.to_owned().insert_axis(Axis(1))));
        }
        Case {
            name: name.to_owned(),
            calls,
            text: case.text.clone(),
            truth: load("propagated"),
            witness,
            selection: case.selection.clone(),
        }
    }

    /// Whether only the last position's logits of every call are stored.
    pub fn is_last_only(&self) -> bool {
        matches!(&self.selection[..], "greedy" | "sampling")
    }

    pub fn batch(&self) -> usize {
        self.calls[0].nrows()
    }

    pub fn positions(&self) -> usize {
        self.calls.iter().map(|call| call.ncols()).sum()
    }

    /// The sites stored of every call, in the order of execution.
    fn sites(&self) -> Vec<String> {
        if self.is_last_only() {
            return vec!["logits_last".to_owned()];
        }
        let of_layer = match &self.selection[..] {
            "selected" => &SITES[SITES.len() - 1..],
            _ => &SITES[..],
        };
        let layers =
            (0..LAYERS).flat_map(|i| of_layer.iter().map(move |site| format!("h.{i}{site}")));
        let mut sites = vec!["embed".to_owned()];
        sites.extend(layers);
        sites.extend(["ln_f", "logits"].map(str::to_owned));
        sites
    }

    fn expectations(&self) -> Vec<Expectation> {
        let sites = self.sites();
        let expect = |call: usize, site: &String| {
            let key = Key::new(&self.name, format!("{call}/{site}"));
            Expectation::tensor(key, kind(site), rule(site))
        };
        let calls = 0..self.calls.len();
        calls
            .flat_map(|call| sites.iter().map(move |site| expect(call, site)))
            .collect()
    }

    /// What the whole model is judged by in this case, out of all that was recorded.
    fn judged(&self, all: Trace) -> Trace {
        if self.selection != "selected" {
            return all;
        }
        let mut stored = Trace::new();
        for (name, tensor) in all
            .iter()
            .filter(|(name, _)| self.truth.get(name).is_some())
        {
            stored.insert(name, tensor.clone()).expect("a site once");
        }
        stored
    }
}

/// A reference's ids as tokens, [B, T].
pub fn ids(witness: &Trace, name: &str) -> Array2<u32> {
    let ids = witness.array::<i64, Ix2>(name).expect("ids");
    ids.mapv(|id| u32::try_from(id).expect("a token id"))
}

/// What R is pooled by: the site without its layer.
fn kind(site: &str) -> String {
    match site.strip_prefix("h.").map(|rest| rest.split_once('.')) {
        None => site.to_owned(),
        Some(None) => "h".to_owned(),
        Some(Some((_layer, site))) => site.to_owned(),
    }
}

fn rule(site: &str) -> Rule {
    match site {
        "logits" | "logits_last" => Rule::within(1e-3),
        site if site.ends_with("scores") => Rule::within(1e-4).masked(),
        _ => Rule::within(1e-4),
    }
}

/// Judges what a model gives on the tokens of the cases, asked twice, in the order of execution.
pub fn judge(cases: &[&str], run: impl Fn(&Case) -> Trace) -> Judgement {
    let cases: Vec<Case> = cases.iter().map(|name| Case::open(name)).collect();
    let expected = cases.iter().flat_map(Case::expectations).collect();
    let mut judge = Judge::new(expected, "run `cargo xtask refs`");
    for case in &cases {
        let traces = [(); 2].map(|()| case.judged(run(case)));
        compare_twice(
            &mut judge,
            &case.name,
            &traces,
            [&case.witness, &case.truth],
        );
    }
    judge.finish(tiny().evidence())
}

/// Puts everything it is offered into a trace, under `{call}/{site}`.
#[derive(Default)]
pub struct Recorder {
    pub call: usize,
    pub trace: Trace,
}

impl Probe for Recorder {
    fn wants(&self, _: &str) -> bool {
        true
    }

    fn record(&mut self, site: &str, values: ArrayViewD<f32>) {
        let name = format!("{}/{site}", self.call);
        self.trace.insert(name, values).expect("a site once");
    }
}
