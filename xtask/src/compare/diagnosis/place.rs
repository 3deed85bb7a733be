//! Where in a tensor, and where in the model, an error sits.

use std::collections::BTreeSet;

use ndarray::Axis;
use serde::Serialize;

use super::fit::rms_difference;
use crate::compare::judge::Judged;
use crate::compare::judged_site::JudgedSite;

/// The places of a site's wrong numbers.
#[derive(Debug, Default, Serialize)]
pub struct Place {
    /// One sentence an axis.
    pub says: Vec<String>,
    /// The first wrong position, where those before it are right.
    pub right_before: Option<usize>,
    /// The error at the same kind of site, layer after layer.
    pub growth: Vec<(String, f64)>,
}

impl Place {
    pub fn of(judged: &Judged, first: usize) -> Place {
        let wrong = &judged.sites[first];
        let mut place = Place {
            growth: growth(judged, wrong),
            ..Place::default()
        };
        if wrong.values.shape() != wrong.reference.witness.shape() {
            return place;
        }
        let bad = wrong_indices(wrong);
        if bad.is_empty() {
            place
                .says
                .push("every number within its tolerance".to_owned());
            return place;
        }
        let shape = wrong.values.shape();
        for (axis, letter) in wrong.site.kind.axes.chars().enumerate() {
            let name = match letter {
                'B' => "rows",
                'T' => "positions",
                'S' => "keys",
                'H' => "heads",
                'V' => "tokens of the vocabulary",
                _ => "channels",
            };
            let at: BTreeSet<usize> = bad.iter().map(|index| index[axis]).collect();
            let length = shape[axis];
            if length == 1 {
                continue;
            }
            let which = if at.len() == length {
                "all".to_owned()
            } else {
                ranges(&at)
            };
            place.says.push(format!("{name}: {which} of {length}"));
            let start = at.first().copied().unwrap_or_default();
            if letter == 'T' && start > 0 && at.len() == length - start {
                place.right_before = Some(start);
            }
        }
        place
    }
}

/// The places of numbers that are too far away or are none.
fn wrong_indices(wrong: &JudgedSite) -> Vec<Vec<usize>> {
    let pairs = wrong.values.indexed_iter().zip(&wrong.reference.witness);
    let bad = pairs.filter(|((_, found), expected)| {
        let allowed = wrong.rule.tolerance.allowed(**expected);
        let is_right = *found == *expected || (**found - **expected).abs() <= allowed;
        !is_right
    });
    bad.map(|((index, _), _)| ndarray::Dimension::as_array_view(&index).to_vec())
        .collect()
}

/// `0..6, 9`: at most four of them.
pub fn ranges(at: &BTreeSet<usize>) -> String {
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for &place in at {
        match ranges.last_mut() {
            Some((_, end)) if *end + 1 == place => *end = place,
            _ => ranges.push((place, place)),
        }
    }
    let more = ranges.len().saturating_sub(4);
    let shown = ranges.iter().take(4).map(|(start, end)| match end - start {
        0 => start.to_string(),
        _ => format!("{start}..={end}"),
    });
    let mut text = shown.collect::<Vec<_>>().join(", ");
    if more > 0 {
        text += &format!(
            " and {} more",
            at.len() - ranges[..4].iter().map(|(a, b)| b - a + 1).sum::<usize>()
        );
    }
    text
}

/// The error relative to the reference's size at each layer's site of the wrong one's kind, or block output.
fn growth(judged: &Judged, wrong: &JudgedSite) -> Vec<(String, f64)> {
    let errors = |kind: &str| -> Vec<(String, f64)> {
        let of_kind = judged.sites.iter().filter(|site| {
            site.call == wrong.call && site.site.layer.is_some() && site.site.kind.name == kind
        });
        let relative = of_kind.filter_map(|site| {
            let gap = rms_difference(&site.values, &site.reference.witness)?;
            Some((site.site.name.clone(), gap))
        });
        relative.collect()
    };
    let blocks = errors("");
    if blocks.len() > 1 {
        blocks
    } else {
        errors(wrong.site.kind.name)
    }
}

impl JudgedSite {
    /// The positions, second axis, whose numbers are all within tolerance, from the first on.
    pub fn right_positions(&self) -> Option<usize> {
        if self.values.shape() != self.reference.witness.shape() || self.values.ndim() < 2 {
            return None;
        }
        let axis = self.site.kind.axes.find('T')?;
        let bad = wrong_indices(self);
        let first = bad.iter().map(|index| index[axis]).min();
        Some(first.unwrap_or(self.values.len_of(Axis(axis))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_told_in_ranges() {
        let told = |at: &[usize]| ranges(&at.iter().copied().collect());
        assert_eq!(told(&[0, 1, 2, 3]), "0..=3");
        assert_eq!(told(&[7]), "7");
        assert_eq!(told(&[0, 2, 3, 9]), "0, 2..=3, 9");
        assert_eq!(told(&[0, 2, 4, 6, 8, 9]), "0, 2, 4, 6 and 2 more");
    }
}
