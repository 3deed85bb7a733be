//! Which case a dump belongs to.

use std::collections::BTreeMap;

use anyhow::{Result, bail, ensure};
use llorch_parity::{Case, Tensor};
use ndarray::{ArrayD, Ix2, IxDyn};

use super::dump::{Dump, Foreign};
use super::names::{Map, TOKENS};
use crate::references::{CaseTraces, References};

/// The case of the dump's tokens, or the one that is named; or why there is none to be judged by.
///
/// # Errors
/// Where the name is none, or tokens are no integers.
pub fn find<'a>(
    references: &'a References,
    dump: &Dump,
    map: &Map,
    named: Option<&str>,
) -> Result<Result<&'a CaseTraces, String>> {
    let fed = fed(dump, map)?;
    if let Some(name) = named {
        let traces = by_name(references, name)?;
        if !fed.is_empty() && !was_fed(traces, &fed) {
            return Ok(Err(format!(
                "the dump's tokens, {}, are not those of case {name}; \
                 `cargo xtask compare --tokens {name}` prints what to feed",
                sample(&fed)
            )));
        }
        return Ok(Ok(traces));
    }
    let known = cases(references).map(|traces| traces.case.name.as_str());
    let known = known.collect::<Vec<_>>().join(", ");
    if fed.is_empty() {
        bail!(
            "the dump has no `tokens`: put the ids that the port was fed into it under that name, or say \
             --case ({known})"
        );
    }
    let found = cases(references).find(|traces| was_fed(traces, &fed));
    Ok(found.ok_or_else(|| {
        format!(
            "the dump's tokens, {}, are those of no case ({known}); `cargo xtask compare --tokens CASE` \
             prints what to feed",
            sample(&fed)
        )
    }))
}

/// Prints the ids of each call of a case as JSON, [B, T] a line.
///
/// # Errors
/// Where there is no such case, or it starts from no tokens.
pub fn print_tokens(references: &References, name: &str) -> Result<()> {
    let traces = by_name(references, name)?;
    for call in 0..traces.case.calls.len() {
        let Some(ids) = tokens(traces, call) else {
            bail!("case {name} starts from no tokens but from its embed");
        };
        let rows: Vec<Vec<i64>> = ids
            .view()
            .into_dimensionality::<Ix2>()?
            .rows()
            .into_iter()
            .map(|row| row.to_vec())
            .collect();
        say!("{}", serde_json::to_string(&rows)?);
    }
    Ok(())
}

/// The cases of forward calls: those that show activations.
fn cases(references: &References) -> impl Iterator<Item = &CaseTraces> {
    let shows = |traces: &&CaseTraces| traces.witness.iter().any(|(name, _)| name.contains("/h."));
    references.cases.iter().filter(shows)
}

fn by_name<'a>(references: &'a References, name: &str) -> Result<&'a CaseTraces> {
    let known: Vec<&str> = cases(references)
        .map(|traces| traces.case.name.as_str())
        .collect();
    let found = cases(references).find(|traces| traces.case.name == name);
    match found {
        Some(traces) => Ok(traces),
        None => bail!(
            "expected one of the cases {}, found {name}",
            known.join(", ")
        ),
    }
}

/// The ids that the dump says each call was fed.
fn fed(dump: &Dump, map: &Map) -> Result<BTreeMap<usize, ArrayD<i64>>> {
    let mut fed = BTreeMap::new();
    for (name, tensor) in &dump.tensors {
        let Some(meaning) = map.meaning(name).filter(|meaning| meaning.site == TOKENS) else {
            continue;
        };
        match tensor {
            Foreign::Ids(ids) => {
                let twice = fed.insert(meaning.call, ids.clone()).is_some();
                ensure!(
                    !twice,
                    "{name}: expected the tokens of call {} once",
                    meaning.call
                );
            }
            Foreign::Floats(precision, _) => bail!("{name}: expected ids, found {precision}"),
        }
    }
    Ok(fed)
}

/// Whether a case's calls begin with exactly these tokens. Axes of length 1 do not matter.
fn was_fed(traces: &CaseTraces, fed: &BTreeMap<usize, ArrayD<i64>>) -> bool {
    fed.iter().all(|(call, ids)| {
        tokens(traces, *call).is_some_and(|expected| {
            let long = |ids: &ArrayD<i64>| -> Vec<usize> {
                ids.shape()
                    .iter()
                    .copied()
                    .filter(|axis| *axis != 1)
                    .collect()
            };
            long(&expected) == long(ids) && expected.iter().eq(ids)
        })
    })
}

fn tokens(traces: &CaseTraces, call: usize) -> Option<ArrayD<i64>> {
    let tensor: &Tensor = traces.witness.get(&format!("{call}/tokens"))?;
    Some(tensor.view::<i64, IxDyn>()?.to_owned())
}

/// The first few ids.
fn sample(fed: &BTreeMap<usize, ArrayD<i64>>) -> String {
    let first = fed.values().next();
    let ids: Vec<String> = first
        .iter()
        .flat_map(|ids| ids.iter())
        .take(6)
        .map(i64::to_string)
        .collect();
    format!("{}...", ids.join(" "))
}

/// `37 tokens in 1 call`.
pub fn describe(case: &Case) -> String {
    let rows = match case.batch {
        1 => String::new(),
        rows => format!("{rows} rows of "),
    };
    let tokens: usize = case.calls.iter().sum();
    let calls = match case.calls.len() {
        1 => String::new(),
        calls => format!(" in {calls} calls"),
    };
    let s = if tokens == 1 { "" } else { "s" };
    format!("{}: {rows}{tokens} token{s}{calls}", case.name)
}
