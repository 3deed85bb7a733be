//! How well an explanation reproduces a port's tensor.

use ndarray::{ArrayD, IxDyn};

use crate::compare::judged_site::JudgedSite;
use crate::compare::precision::Precision;
use crate::compare::reference::root_mean_square;

/// An explanation may leave so many times the rounding error that the witness itself has at the site. Both
/// carry their own errors up to there, and a port's sums may be a few times worse than the witness's.
const NOISES: f64 = 8.0;
/// What is right instead must be further away than the explanation, by this factor.
const CLOSER: f64 = 3.0;

/// What is left of a port's tensor when an explanation is taken off, beside what may be left.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fit {
    /// The root mean square of what is left, in units of max(1, |explained|).
    pub residue: f64,
    /// The rounding error that both have, in the same units.
    pub noise: f64,
}

impl Fit {
    /// How an explanation fits, or nothing where shape or mask is another.
    pub fn of(judged: &JudgedSite, explained: &ArrayD<f64>) -> Option<Fit> {
        let residue = rms_difference(&judged.values, explained)?;
        let noise = noise(judged);
        // Rounding errors grow with the numbers.
        let (usual, own) = (size(&judged.reference.witness), size(explained));
        let growth = if usual > 0.0 {
            (own / usual).max(1.0)
        } else {
            1.0
        };
        Some(Fit {
            residue,
            noise: noise * growth,
        })
    }

    /// Whether nothing but rounding is left, and the right computation leaves more.
    pub fn reproduces(&self, correct: Option<Fit>) -> bool {
        let is_closer = correct.is_none_or(|correct| correct.residue > CLOSER * self.residue);
        self.residue <= NOISES * self.noise && is_closer
    }
}

/// The rounding error to be expected at a site, in units of max(1, |value|).
pub fn noise(judged: &JudgedSite) -> f64 {
    let measured = judged.reference.rounding.unwrap_or_default();
    let roundings = if judged.precision.is_full() { 1.0 } else { 4.0 };
    let unit = judged
        .precision
        .unit_roundoff()
        .max(Precision::Float32.unit_roundoff());
    let rounded = roundings * unit * size_in_units(&judged.reference.witness);
    measured.max(rounded)
}

/// The root mean square of the numbers that are not masked, each in units of max(1, |value|).
pub fn size_in_units(values: &ArrayD<f64>) -> f64 {
    let values = values.iter().filter(|x| x.is_finite());
    root_mean_square(values.map(|x| x / x.abs().max(1.0)))
}

/// The root mean square of the numbers that are not masked.
fn size(values: &ArrayD<f64>) -> f64 {
    root_mean_square(values.iter().copied().filter(|x| x.is_finite()))
}

/// The root mean square difference in units of max(1, |explained|); nothing where the shapes differ in more
/// than axes of length 1, a mask stands in one only, or a value is no number.
pub fn rms_difference(found: &ArrayD<f64>, explained: &ArrayD<f64>) -> Option<f64> {
    if squeezed(found) != squeezed(explained) {
        return None;
    }
    let mut squares = (0.0, 0usize);
    for (f, e) in found.iter().zip(explained) {
        if f == e {
            squares.1 += usize::from(e.is_finite());
        } else if f.is_finite() && e.is_finite() {
            squares.0 += ((f - e) / e.abs().max(1.0)).powi(2);
            squares.1 += 1;
        } else {
            return None;
        }
    }
    (squares.1 > 0).then(|| (squares.0 / squares.1 as f64).sqrt())
}

fn squeezed(values: &ArrayD<f64>) -> IxDyn {
    let axes: Vec<usize> = values
        .shape()
        .iter()
        .copied()
        .filter(|axis| *axis != 1)
        .collect();
    IxDyn(&axes)
}
