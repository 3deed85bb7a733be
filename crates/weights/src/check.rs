//! A file's tensors against those that a config describes.

use std::collections::HashSet;

use crate::{
    Config, Error, Missing, Weights,
    layout::{HEAD, WTE},
    tensor::is_readable,
    weights::Entry,
};

/// What makes the logits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// `wte.weight`, the token embedding.
    Tied,
    /// The file's own `lm_head.weight`.
    Own,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The model's tensors in the files.
    pub tensors: usize,
    /// Their elements.
    pub parameters: usize,
    /// What makes the logits. A tied model whose file repeats `wte.weight` as `lm_head.weight` is tied.
    pub head: Head,
    /// Buffers in the files that are not read, as the files name them.
    pub ignored: Vec<String>,
    /// Tensors of the model that are not in the files.
    pub missing: Vec<Missing>,
}

pub(crate) fn whole(weights: &Weights, config: &Config) -> Result<Report, Error> {
    let report = present(weights, config)?;
    if report.missing.is_empty() {
        return Ok(report);
    }
    if report.missing.iter().all(|tensor| tensor.name == HEAD) {
        return Err(Error::NoHead);
    }
    Err(Error::Missing {
        missing: report.missing,
    })
}

pub(crate) fn present(weights: &Weights, config: &Config) -> Result<Report, Error> {
    let expected = weights.expected(config);
    extra(weights, &expected)?;
    let (mut tensors, mut parameters) = (0, 0);
    for (name, shape) in &expected {
        if let Some(found) = weights.entries.get(name) {
            entry(name, found, shape)?;
            tensors += 1;
            parameters += shape.iter().product::<usize>();
        }
    }
    Ok(Report {
        tensors,
        parameters,
        head: head(weights, config),
        ignored: weights.ignored.clone(),
        missing: weights.missing(config),
    })
}

/// Type, then shape.
pub(crate) fn entry(name: &str, entry: &Entry, shape: &[usize]) -> Result<(), Error> {
    if !is_readable(entry.dtype) {
        return Err(Error::Dtype {
            name: name.to_string(),
            found: entry.dtype.to_string(),
        });
    }
    if entry.shape != shape {
        return Err(Error::Shape {
            name: name.to_string(),
            expected: shape.to_vec(),
            found: entry.shape.clone(),
        });
    }
    Ok(())
}

fn extra(weights: &Weights, expected: &[(String, Vec<usize>)]) -> Result<(), Error> {
    let known: HashSet<&str> = expected.iter().map(|(name, _)| &name[..]).collect();
    let unknown = weights
        .entries
        .iter()
        .filter(|(name, _)| !known.contains(&name[..]));
    let names: Vec<String> = unknown.map(|(_, entry)| entry.key.clone()).collect();
    match names.is_empty() {
        true => Ok(()),
        false => Err(Error::Extra { names }),
    }
}

/// As transformers 5 does: a tied model whose file has a head unlike `wte` is not tied.
fn head(weights: &Weights, config: &Config) -> Head {
    let same = match (weights.entries.get(HEAD), weights.entries.get(WTE)) {
        (None, _) => true,
        (Some(head), Some(wte)) => {
            head.dtype == wte.dtype && weights.bytes(head) == weights.bytes(wte)
        }
        (Some(_), None) => false,
    };
    match config.tie_word_embeddings() && same {
        true => Head::Tied,
        false => Head::Own,
    }
}
