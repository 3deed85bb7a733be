//! `cargo xtask refs --matrix`: who agrees with whom at every kind of site, and who is how far from the truth.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use llorch_model::Cpu;
use llorch_parity::Trace;
use ndarray::IxDyn;

use super::Witness;
use super::testimony::site;
use crate::checkpoints::{isolated, propagated, sites};
use crate::model_dir::ModelDir;
use crate::port::{Port, Rooms};
use crate::references::{CaseTraces, References};

/// What our own column is called, and the first witness's.
pub const OURS: &str = "llorch";
pub const HF: &str = "hf";

/// One kind of site, over all calls and layers of the cases that witnesses were run on.
pub struct Table {
    pub basis: &'static str,
    pub kind: &'static str,
    /// The number of floats compared.
    pub elements: usize,
    pub columns: Vec<Column>,
}

pub struct Column {
    pub name: String,
    /// RMS of the errors against the truth, in units of max(1, |hf|).
    pub error: f64,
    /// The worst |difference| to each column, in units of the RMS of the truth's tensor.
    pub differences: Vec<f64>,
}

/// The tables of a model: isolated, then propagated.
///
/// # Errors
/// Where a witness lacks a tensor of a kind that it shows, or has one of another form.
pub fn tables(
    model: &ModelDir,
    references: &References,
    witnesses: &[Witness],
) -> Result<Vec<Table>> {
    let cpu = Cpu::from_env()?;
    let cases: BTreeSet<&String> = witnesses
        .iter()
        .flat_map(|witness| &witness.traces)
        .filter(|(_, trace)| trace.iter().any(|(name, _)| has_table(name)))
        .map(|((case, _), _)| case)
        .collect();
    let rooms = Rooms::new(model, &cpu, true)?;
    let mut tables = Vec::new();
    for basis in ["isolated", "propagated"] {
        let mut runs = Vec::new();
        for name in &cases {
            let traces = references.cases.iter().find(|t| &t.case.name == *name);
            let traces =
                traces.with_context(|| format!("case {name}: expected references, found none"))?;
            let key = ((*name).clone(), basis.to_owned());
            let theirs: Vec<(&str, &Trace)> = witnesses
                .iter()
                .filter_map(|w| Some((w.about.name.as_str(), w.traces.get(&key)?)))
                .collect();
            if theirs.is_empty() {
                continue;
            }
            let ours = match basis {
                "isolated" => isolated::trace(&rooms, traces, model.config.n_layer())?,
                _ => {
                    let whole = rooms
                        .model()
                        .context("expected a whole model, found a part")?;
                    propagated::trace(whole, traces, |_| true)?
                }
            };
            runs.push(Run {
                traces,
                ours,
                theirs,
            });
        }
        for kind in sites::kinds() {
            tables.extend(table(basis, kind, &runs)?);
        }
    }
    ensure!(!tables.is_empty(), "nothing to compare");
    Ok(tables)
}

/// A case as everybody ran it.
struct Run<'a> {
    traces: &'a CaseTraces,
    ours: Trace,
    theirs: Vec<(&'a str, &'a Trace)>,
}

/// The table of one kind; none where no witness shows it.
fn table(basis: &'static str, kind: &'static str, runs: &[Run]) -> Result<Option<Table>> {
    let mut sums: Vec<Sum> = Vec::new();
    let mut elements = 0;
    for run in runs {
        let names: BTreeSet<&str> = run
            .theirs
            .iter()
            .flat_map(|(_, trace)| trace.iter().map(|(name, _)| name))
            .filter(|name| kind_of(name) == kind)
            .collect();
        for name in names {
            let site = Site::read(basis, run, name)?;
            elements += site.truth.len();
            for (column, values) in &site.columns {
                let at = sums.iter().position(|sum| sum.name == *column);
                let at = at.unwrap_or_else(|| {
                    sums.push(Sum::new(column));
                    sums.len() - 1
                });
                sums[at].add(&site, values);
            }
        }
    }
    if sums.is_empty() {
        return Ok(None);
    }
    let names: Vec<String> = sums.iter().map(|sum| sum.name.clone()).collect();
    let mut columns = Vec::new();
    for sum in sums {
        ensure!(
            sum.elements == elements,
            "{basis} {kind}: {} shows {} floats of {elements}",
            sum.name,
            sum.elements
        );
        columns.push(Column {
            error: (sum.squares / elements as f64).sqrt(),
            differences: names.iter().map(|name| sum.worst[name]).collect(),
            name: sum.name,
        });
    }
    Ok(Some(Table {
        basis,
        kind,
        elements,
        columns,
    }))
}

/// One tensor as everybody who shows its kind has it, without what is masked.
struct Site<'a> {
    truth: Vec<f64>,
    /// max(1, |hf|).
    units: Vec<f64>,
    rms: f64,
    columns: Vec<(&'a str, Vec<f64>)>,
}

impl<'a> Site<'a> {
    fn read(basis: &str, run: &Run<'a>, name: &str) -> Result<Self> {
        let hf = &run.traces.witness;
        let delta = match basis {
            "isolated" => run.traces.isolated.as_deref(),
            _ => run.traces.propagated.as_deref(),
        };
        let delta = delta.with_context(|| format!("{name}: expected its truth, found none"))?;
        let stored = hf.array::<f32, IxDyn>(name)?;
        let kept: Vec<bool> = stored.iter().map(|x| *x != f32::NEG_INFINITY).collect();
        let unmasked = |trace: &Trace, of: &str| -> Result<Vec<f64>> {
            let values = trace.array::<f32, IxDyn>(name)?;
            ensure!(
                values.shape() == stored.shape(),
                "{name}: expected shape {:?}, found {:?} of {of}",
                stored.shape(),
                values.shape()
            );
            let kept = values.iter().zip(&kept).filter(|(_, kept)| **kept);
            Ok(kept.map(|(x, _)| f64::from(*x)).collect())
        };
        let witness = unmasked(hf, HF)?;
        let truth: Vec<f64> = witness
            .iter()
            .zip(unmasked(delta, "the truth")?)
            .map(|(witness, delta)| witness + delta)
            .collect();
        let units = witness.iter().map(|x| x.abs().max(1.0)).collect();
        let mut columns = vec![(OURS, unmasked(&run.ours, OURS)?), (HF, witness)];
        for (column, trace) in &run.theirs {
            if trace.iter().any(|(of, _)| kind_of(of) == kind_of(name)) {
                columns.push((column, unmasked(trace, column)?));
            }
        }
        let squares: f64 = truth.iter().map(|x| x * x).sum();
        let rms = (squares / truth.len() as f64).sqrt();
        ensure!(rms > 0.0, "{name}: nothing but zeros");
        Ok(Site {
            truth,
            units,
            rms,
            columns,
        })
    }
}

/// A column of a table in the making.
struct Sum {
    name: String,
    squares: f64,
    elements: usize,
    worst: BTreeMap<String, f64>,
}

impl Sum {
    fn new(name: &str) -> Self {
        Sum {
            name: name.to_owned(),
            squares: 0.0,
            elements: 0,
            worst: BTreeMap::new(),
        }
    }

    fn add(&mut self, site: &Site, values: &[f64]) {
        let errors = values.iter().zip(&site.truth).zip(&site.units);
        self.squares += errors
            .map(|((value, truth), unit)| ((value - truth) / unit).powi(2))
            .sum::<f64>();
        self.elements += values.len();
        for (other, theirs) in &site.columns {
            let pairs = values.iter().zip(theirs);
            let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, nan_max) / site.rms;
            let kept = self.worst.entry((*other).to_owned()).or_insert(0.0);
            *kept = nan_max(*kept, worst);
        }
    }
}

/// The larger; what is not a number is larger than all.
fn nan_max(a: f64, b: f64) -> f64 {
    if a.is_nan() || a > b { a } else { b }
}

/// What is chosen from logits has none.
fn has_table(name: &str) -> bool {
    sites::kinds().any(|kind| kind == kind_of(name))
}

/// `3/h.1.attn.q` is `attn.q`.
fn kind_of(name: &str) -> &str {
    sites::kind(site(name))
}
