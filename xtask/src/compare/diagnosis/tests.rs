//! The plain model's own mistakes, dumped, and told from the dump.

use std::collections::BTreeMap;

use llorch_parity::Evidence;
use ndarray::{Array2, ArrayD, ArrayViewD, Ix2, IxDyn};

use super::{Diagnosis, diagnose};
use crate::compare::dump::{Dump, Foreign};
use crate::compare::judge::{Against, Judged, judge};
use crate::compare::names::Map;
use crate::compare::precision::Precision;
use crate::model_dir::{EMBEDDED, ModelDir};
use crate::plain::{Bug, Weights, forward, new_caches};
use crate::references::{CaseTraces, References};

struct Bench {
    model: ModelDir,
    references: References,
    weights: Weights,
    map: Map,
}

impl Bench {
    fn new() -> Self {
        let model = ModelDir::open(EMBEDDED).expect("the embedded model");
        Bench {
            references: References::open(&model, None).expect("its references"),
            weights: Weights::load(&model.weights, &model.config).expect("its weights"),
            map: Map::named("llorch").expect("our own names"),
            model,
        }
    }

    fn case(&self, name: &str) -> &CaseTraces {
        let mut cases = self.references.cases.iter();
        cases
            .find(|traces| traces.case.name == name)
            .expect("a case")
    }

    /// What a port with this mistake would dump.
    fn dump(&self, case: &str, bug: Option<Bug>) -> Dump {
        let traces = self.case(case);
        let calls: Vec<Array2<u32>> = (0..traces.case.calls.len())
            .map(|call| {
                let ids = traces.witness.array::<i64, Ix2>(&format!("{call}/tokens"));
                ids.expect("tokens").mapv(|id| id as u32)
            })
            .collect();
        let positions = calls.iter().map(|tokens| tokens.ncols()).sum();
        let mut caches = new_caches(&self.model.config, traces.case.batch, positions, bug);
        let mut tensors = BTreeMap::new();
        for (call, tokens) in calls.iter().enumerate() {
            let mut record = |site: &str, values: ArrayViewD<f32>| {
                let values = Foreign::Floats(Precision::Float32, values.mapv(f64::from));
                tensors.insert(format!("{call}/{site}"), values);
            };
            // Some mistakes make shapes that a later step refuses; a port would stop there.
            if forward(&self.weights, tokens.view(), &mut caches, bug, &mut record).is_err() {
                break;
            }
        }
        Dump { tensors }
    }

    fn judge(&self, case: &str, dump: &Dump) -> (Judged, Option<Diagnosis>) {
        let traces = self.case(case);
        let hash = "0123456789abcdef".repeat(4);
        let against = Against {
            config: &self.model.config,
            traces,
            map: &self.map,
            layouts: &[],
            evidence: Evidence {
                weights_sha256: hash.clone(),
                inputs_sha256: hash.clone(),
                references_sha256: hash,
                commit: "unknown".to_owned(),
                dirty: true,
            },
        };
        let judged = judge(dump, &against).expect("a judgement");
        let diagnosis = diagnose(&judged, &self.weights, traces);
        (judged, diagnosis)
    }
}

fn change(dump: &mut Dump, name: &str, change: impl FnOnce(&mut ArrayD<f64>)) {
    match dump.tensors.get_mut(name) {
        Some(Foreign::Floats(_, values)) => change(values),
        _ => panic!("{name} is dumped"),
    }
}

#[test]
fn the_plain_model_is_right_without_a_mistake() {
    let bench = Bench::new();
    for case in ["two-tokens", "steps", "chunks"] {
        let (judged, diagnosis) = bench.judge(case, &bench.dump(case, None));
        assert!(judged.sites.iter().all(|site| site.is_right()), "{case}");
        assert!(
            judged.sites.len() > 50 && judged.reasons.is_empty(),
            "{case}"
        );
        assert!(diagnosis.is_none(), "{case}");
    }
}

/// Each mistake that shows, on the case that it shows on: named, and among three at most.
#[test]
fn every_mistake_of_a_step_is_told_from_its_dump() {
    let bench = Bench::new();
    let mut missed = Vec::new();
    let mut shown = 0;
    // From LayerTwice on the order of layers is at fault, which explanations of another name are about.
    let bugs = Bug::ALL.iter().filter(|bug| **bug < Bug::LayerTwice);
    for &bug in bugs {
        let name = format!("{bug:?}");
        let case = if name.starts_with("Cache") || name.ends_with("Cache") {
            "chunks"
        } else {
            "two-tokens"
        };
        let (judged, diagnosis) = bench.judge(case, &bench.dump(case, Some(bug)));
        let Some(diagnosis) = diagnosis else {
            continue;
        };
        shown += 1;
        let ids: Vec<&str> = diagnosis
            .causes
            .iter()
            .map(|cause| cause.id.as_str())
            .collect();
        if !ids.contains(&name.as_str()) || ids.len() > 3 {
            let first = judged.first_wrong().map(|at| judged.sites[at].key());
            missed.push(format!("{name} at {first:?}: {ids:?}"));
        }
    }
    assert!(
        missed.is_empty() && shown > 60,
        "{shown} shown, missed: {missed:#?}"
    );
}

#[test]
fn what_a_tensor_equals_is_told() {
    let bench = Bench::new();
    let told = |site: &str, edit: &dyn Fn(&mut ArrayD<f64>)| {
        let mut dump = bench.dump("batch", None);
        change(&mut dump, site, edit);
        let (_, diagnosis) = bench.judge("batch", &dump);
        let diagnosis = diagnosis.expect("it is wrong");
        let ids: Vec<String> = diagnosis
            .causes
            .iter()
            .map(|cause| cause.id.clone())
            .collect();
        assert_eq!(diagnosis.is_certain, ids.len() == 1);
        ids
    };
    let factor = told("0/h.1.mlp.out", &|values| values.mapv_inplace(|x| 0.7 * x));
    assert_eq!(factor, ["factor:0.7000"]);
    let offset = told("0/h.1.mlp.out", &|values| values.mapv_inplace(|x| x + 0.25));
    assert_eq!(offset, ["offset:0.2500"]);
    let rows = told("0/h.2.mlp.fc", &|values| {
        *values = values.select(ndarray::Axis(0), &[1, 2, 0]);
    });
    assert_eq!(rows, ["rows:1"]);
    let shifted = told("0/h.2.mlp.act", &|values| {
        let order: Vec<usize> = (0..11).map(|t| (t + 1) % 11).collect();
        *values = values.select(ndarray::Axis(1), &order);
    });
    assert_eq!(shifted, ["shifted:+1"]);
    let memory = told("0/h.1.attn.q", &|values| {
        let turned = values.clone().permuted_axes(IxDyn(&[0, 1, 3, 2]));
        let memory = turned.as_standard_layout().into_owned();
        *values = memory
            .into_shape_with_order(values.raw_dim())
            .expect("as many");
    });
    assert_eq!(memory, ["reordered:BTDH"]);
}

#[test]
fn nothing_is_called_certain_that_is_not_known() {
    let bench = Bench::new();
    let mut dump = bench.dump("batch", None);
    change(&mut dump, "0/h.1.mlp.fc", |values| {
        values
            .indexed_iter_mut()
            .for_each(|(at, x)| *x += 0.01 * ((at[2] * 7 + at[1]) as f64).sin());
    });
    let (judged, diagnosis) = bench.judge("batch", &dump);
    let diagnosis = diagnosis.expect("it is wrong");
    assert!(diagnosis.causes.is_empty() && !diagnosis.is_certain);
    assert!(diagnosis.tried > 50);
    // The rest of the dump was not made from it: one site alone is wrong.
    assert_eq!(
        judged.sites.iter().filter(|site| site.is_wrong()).count(),
        1
    );
}

#[test]
fn the_position_from_which_a_port_is_wrong_is_told() {
    let bench = Bench::new();
    let mut dump = bench.dump("batch", None);
    change(&mut dump, "0/logits", |values| {
        values
            .slice_axis_mut(ndarray::Axis(1), (7..).into())
            .mapv_inplace(|x| x + (3.0 * x).sin());
    });
    let (judged, diagnosis) = bench.judge("batch", &dump);
    assert_eq!(diagnosis.expect("it is wrong").place.right_before, Some(7));
    let first = judged.first_wrong().expect("it is wrong");
    assert_eq!(judged.sites[first].right_positions(), Some(7));
}

/// Of one and the same tensor under two names the first may be right and the second wrong.
#[test]
fn a_tensor_that_is_spoilt_on_its_way_out_is_judged() {
    let bench = Bench::new();
    let mut dump = bench.dump("two-tokens", None);
    let map = "[tensors]\n'h.1' = 'h.1'\n'h.1.again' = 'h.1'";
    let path = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(path.path(), map).expect("a map");
    let bench = Bench {
        map: Map::open(path.path()).expect("a map"),
        ..bench
    };
    let mut spoilt = dump.tensors["0/h.1"].clone();
    if let Foreign::Floats(_, values) = &mut spoilt {
        values.mapv_inplace(|x| 2.0 * x);
    }
    dump.tensors
        .insert("0/h.1.again".to_owned(), dump.tensors["0/h.1"].clone());
    dump.tensors.insert("0/h.1".to_owned(), spoilt);
    let (judged, diagnosis) = bench.judge("two-tokens", &dump);
    let outcomes: Vec<bool> = judged.sites.iter().map(|site| site.is_right()).collect();
    assert_eq!(outcomes, [true, false]);
    assert_eq!(
        diagnosis.expect("it is wrong").causes[0].id,
        "factor:2.0000"
    );
}

/// An explanation of the first wrong step is not one of what comes later.
#[test]
fn a_second_mistake_is_not_explained_away() {
    let bench = Bench::new();
    let mut dump = bench.dump("batch", Some(Bug::GeluErf));
    change(&mut dump, "0/h.2.attn.q", |values| {
        values.mapv_inplace(|x| x + 0.01)
    });
    let (_, diagnosis) = bench.judge("batch", &dump);
    let diagnosis = diagnosis.expect("it is wrong");
    assert_eq!(diagnosis.causes.len(), 1);
    let reach = diagnosis.causes[0].reach.clone().expect("it was followed");
    assert_eq!(diagnosis.causes[0].id, "GeluErf");
    assert_eq!(reach.until.as_deref(), Some("0/h.2.attn.q"));
}
