//! In which order a dump's axes stand, and turning them into the reference's.
//!
//! A layout is a word of axis letters, slowest first: `BHTD`. Parentheses join axes into one: `BT(HD)`. `S+`
//! is an axis at least that long, of which the beginning counts: a cache with room to spare. What is left out
//! must have length 1. A layout comes from the names' map or from the user; otherwise from the shape, and only
//! where the shape leaves one reading. Values never decide.

use anyhow::{Result, bail, ensure};
use ndarray::{ArrayD, ArrayViewD, Axis, IxDyn, Slice};

use super::site::Lengths;

/// A parsed layout: groups of axes, each group one axis of the tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    word: String,
    groups: Vec<Group>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Group {
    axes: Vec<char>,
    /// The tensor may have more than the axis' length.
    is_roomy: bool,
}

impl Layout {
    /// Parses `BHTD`, `BT(HD)`, `BHTS+`.
    ///
    /// # Errors
    /// Where it is no such word.
    pub fn parse(word: &str) -> Result<Self> {
        let mut groups: Vec<Group> = Vec::new();
        let mut is_open = false;
        for letter in word.chars() {
            match letter {
                '(' if !is_open => {
                    is_open = true;
                    groups.push(Group {
                        axes: Vec::new(),
                        is_roomy: false,
                    });
                }
                ')' if is_open => is_open = false,
                '+' if !is_open && groups.last().is_some_and(|group| group.axes.len() == 1) => {
                    groups
                        .iter_mut()
                        .last()
                        .into_iter()
                        .for_each(|group| group.is_roomy = true);
                }
                'B' | 'T' | 'S' | 'C' | 'H' | 'D' | 'I' | 'V' | '1' | '3' if is_open => {
                    groups
                        .iter_mut()
                        .last()
                        .into_iter()
                        .for_each(|group| group.axes.push(letter));
                }
                'B' | 'T' | 'S' | 'C' | 'H' | 'D' | 'I' | 'V' | '1' => groups.push(Group {
                    axes: vec![letter],
                    is_roomy: false,
                }),
                _ => bail!("expected a layout such as BTHD, BHTD or BT(HD), found {word:?}"),
            }
        }
        let mut seen: Vec<char> = groups.iter().flat_map(|group| group.axes.clone()).collect();
        seen.retain(|axis| *axis != '1');
        seen.sort_unstable();
        let distinct = seen.windows(2).all(|pair| pair[0] != pair[1]);
        ensure!(
            !is_open && !seen.is_empty() && distinct,
            "expected a layout such as BTHD, BHTD or BT(HD), found {word:?}"
        );
        Ok(Layout {
            word: word.to_owned(),
            groups,
        })
    }

    /// Whether this can be the order of those axes: none is unknown, and only units or the batch are missing.
    pub fn is_of(&self, axes: &str) -> bool {
        let letters: Vec<char> = self
            .groups
            .iter()
            .flat_map(|group| group.axes.clone())
            .collect();
        let is_known = letters
            .iter()
            .all(|axis| *axis == '1' || axes.contains(*axis));
        is_known
            && axes
                .chars()
                .all(|axis| axis == 'B' || letters.contains(&axis))
    }

    /// The tensor's axes as the reference has them (`axes`), or nothing where the shape is another.
    pub fn read(
        &self,
        values: ArrayViewD<f64>,
        axes: &str,
        lengths: &Lengths,
    ) -> Option<ArrayD<f64>> {
        if values.ndim() != self.groups.len() {
            return None;
        }
        let mut values = values;
        for (at, group) in self.groups.iter().enumerate() {
            let length = group.axes.iter().map(|axis| lengths.get(*axis)).product();
            if group.is_roomy && values.shape()[at] > length {
                values.slice_axis_inplace(Axis(at), Slice::from(0..length));
            }
            if values.shape()[at] != length {
                return None;
            }
        }
        let letters: Vec<char> = self
            .groups
            .iter()
            .flat_map(|group| group.axes.clone())
            .collect();
        let open: Vec<usize> = letters.iter().map(|axis| lengths.get(*axis)).collect();
        let mut open = values.to_shape(IxDyn(&open)).ok()?.into_owned();
        let mut letters = letters;
        while let Some(at) = letters.iter().position(|axis| !axes.contains(*axis)) {
            // '1', or the batch of a site that has none: anything longer cannot be dropped.
            if open.shape()[at] != 1 {
                return None;
            }
            open = open.remove_axis(Axis(at));
            letters.remove(at);
        }
        for axis in axes
            .chars()
            .filter(|axis| !letters.contains(axis))
            .collect::<Vec<_>>()
        {
            if lengths.get(axis) != 1 {
                return None;
            }
            open = open.insert_axis(Axis(0));
            letters.insert(0, axis);
        }
        let order: Option<Vec<usize>> = axes
            .chars()
            .map(|axis| letters.iter().position(|letter| *letter == axis))
            .collect();
        let turned = open.permuted_axes(IxDyn(&order?));
        Some(turned.as_standard_layout().into_owned())
    }
}

/// The layouts in which ports hold a site with these axes, the reference's own first.
fn usual(axes: &str) -> Vec<String> {
    let mut words: Vec<String> = match axes {
        "BTHD" => ["BTHD", "BHTD", "BT(HD)", "BHDT"]
            .map(str::to_owned)
            .to_vec(),
        "BSHD" => ["BSHD", "BHSD", "BS(HD)", "BHDS"]
            .map(str::to_owned)
            .to_vec(),
        "BT3HD" => ["BT(3HD)"].map(str::to_owned).to_vec(),
        "BHTS" => vec![axes.to_owned()],
        _ => {
            // The sequence first, as torch's recurrent layers have it.
            let (b, rest) = axes.split_at(1);
            let (t, rest) = rest.split_at(1);
            vec![axes.to_owned(), format!("{t}{b}{rest}")]
        }
    };
    let without_batch: Vec<String> = words.iter().map(|word| word.replace('B', "")).collect();
    words.extend(without_batch);
    words.dedup();
    words
}

/// A tensor in the reference's order, and how it was read.
#[derive(Debug)]
pub struct Reading {
    pub values: ArrayD<f64>,
    pub layout: String,
    /// Whether the shape alone said so, and says otherwise than the reference's own order.
    pub is_assumed: bool,
}

/// Why a tensor could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// No layout has this shape.
    Shape { expected: Vec<usize> },
    /// Several have, and they are different tensors.
    Ambiguous { layouts: Vec<String> },
}

/// Reads a tensor in the layout that is said, or else in the only one that its shape admits.
///
/// # Errors
/// [`Unreadable`]: nothing is chosen where there is a choice.
pub fn read(
    values: &ArrayD<f64>,
    axes: &str,
    lengths: &Lengths,
    said: Option<&Layout>,
) -> Result<Reading, Unreadable> {
    let mismatch = || Unreadable::Shape {
        expected: lengths.shape(axes),
    };
    if let Some(layout) = said {
        let values = layout
            .read(values.view(), axes, lengths)
            .ok_or_else(mismatch)?;
        return Ok(Reading {
            values,
            layout: layout.word.clone(),
            is_assumed: false,
        });
    }
    let mut readings: Vec<(String, ArrayD<f64>)> = Vec::new();
    for word in usual(axes) {
        let read = Layout::parse(&word).ok();
        let read = read.and_then(|layout| layout.read(values.view(), axes, lengths));
        if let Some(read) = read {
            readings.push((word, read));
        }
    }
    let mut readings = readings.into_iter();
    let (word, first) = readings.next().ok_or_else(mismatch)?;
    // To the bit, so that NaN is no difference.
    let others = readings.filter(|(_, other)| {
        !first
            .iter()
            .zip(other)
            .all(|(a, b)| a.to_bits() == b.to_bits())
    });
    let others: Vec<String> = others.map(|(word, _)| word).collect();
    if !others.is_empty() {
        let layouts = std::iter::once(word).chain(others).collect();
        return Err(Unreadable::Ambiguous { layouts });
    }
    Ok(Reading {
        values: first,
        // Thirds side by side are what the site is, and no choice.
        is_assumed: word != axes && axes != "BT3HD",
        layout: word,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use llorch_weights::Config;
    use ndarray::Array;

    /// B 2, H 3, D 4 with `tokens` new ones of `total`.
    fn lengths(batch: usize, tokens: usize, total: usize) -> Lengths {
        let config = Config::from_json(r#"{"n_embd": 12, "n_head": 3}"#).expect("a config");
        Lengths::of(&config, batch, tokens, total)
    }

    fn counted(shape: &[usize]) -> ArrayD<f64> {
        let count = shape.iter().product::<usize>();
        Array::from_iter((0..count).map(|i| i as f64))
            .into_shape_with_order(IxDyn(shape))
            .expect("as many")
    }

    #[test]
    fn heads_in_front_are_told_by_the_shape() {
        let foreign = counted(&[2, 3, 5, 4]);
        let reading = read(&foreign, "BTHD", &lengths(2, 5, 5), None).expect("one reading");
        assert_eq!(
            (reading.layout.as_str(), reading.is_assumed),
            ("BHTD", true)
        );
        assert_eq!(reading.values.shape(), [2, 5, 3, 4]);
        assert_eq!(reading.values[[1, 4, 2, 3]], foreign[[1, 2, 4, 3]]);
    }

    #[test]
    fn as_many_tokens_as_heads_leave_a_choice_that_is_not_made() {
        let foreign = counted(&[2, 3, 3, 4]);
        let error = read(&foreign, "BTHD", &lengths(2, 3, 3), None).expect_err("two readings");
        let layouts = vec!["BTHD".to_owned(), "BHTD".to_owned()];
        assert_eq!(error, Unreadable::Ambiguous { layouts });
        let said = Layout::parse("BHTD").expect("a layout");
        let reading = read(&foreign, "BTHD", &lengths(2, 3, 3), Some(&said)).expect("said");
        assert_eq!(reading.values[[0, 1, 2, 3]], foreign[[0, 2, 1, 3]]);
    }

    #[test]
    fn a_missing_batch_axis_is_read_where_there_is_one_row() {
        let foreign = counted(&[5, 12]);
        let reading = read(&foreign, "BTC", &lengths(1, 5, 5), None).expect("one reading");
        assert_eq!(reading.values.shape(), [1, 5, 12]);
        assert!(reading.is_assumed);
        let expected = vec![2, 5, 12];
        assert_eq!(
            read(&foreign, "BTC", &lengths(2, 5, 5), None).expect_err("two rows"),
            Unreadable::Shape { expected }
        );
    }

    #[test]
    fn joined_heads_come_apart() {
        let foreign = counted(&[2, 5, 12]);
        let reading = read(&foreign, "BTHD", &lengths(2, 5, 5), None).expect("one reading");
        assert_eq!(reading.layout, "BT(HD)");
        assert_eq!(reading.values[[1, 2, 2, 1]], foreign[[1, 2, 9]]);
    }

    #[test]
    fn room_to_spare_is_cut_off_and_units_are_dropped() {
        let layout = Layout::parse("1HTS+").expect("a layout");
        let foreign = counted(&[1, 3, 2, 256]);
        let values = layout.read(foreign.view(), "BHTS", &lengths(1, 2, 7));
        let values = values.expect("it fits");
        assert_eq!(values.shape(), [1, 3, 2, 7]);
        assert_eq!(values[[0, 2, 1, 6]], foreign[[0, 2, 1, 6]]);
    }

    #[test]
    fn no_other_shape_is_read() {
        for shape in [&[2, 5, 13][..], &[2, 5, 12, 1], &[60], &[5, 2, 11]] {
            let read = read(&counted(shape), "BTC", &lengths(2, 5, 5), None);
            assert!(matches!(read, Err(Unreadable::Shape { .. })), "{shape:?}");
        }
    }

    #[test]
    fn what_is_no_layout_is_refused() {
        for word in [
            "", "bthd", "BT(HD", "BTT", "()", "B+)", "+", "BT(H+D)", "XYZ",
        ] {
            assert!(Layout::parse(word).is_err(), "{word}");
        }
    }
}
