//! Shapes: how one is expected, and the error when another one comes.

use std::fmt;

/// One expected size of a shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dim {
    /// Exactly this size.
    Is(usize),
    /// Any size but zero, under the letter that names it in the documentation (`B`, `T`, ...).
    Any(&'static str),
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Dim::Is(size) => write!(f, "{size}"),
            Dim::Any(name) => f.write_str(name),
        }
    }
}

/// An array had another shape than the one it must have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: expected shape [{}], found {found:?}", join(.expected))]
pub struct ShapeError {
    /// Which array.
    pub what: &'static str,
    /// The shape it must have.
    pub expected: Vec<Dim>,
    /// The shape it has.
    pub found: Vec<usize>,
}

fn join(dims: &[Dim]) -> String {
    let dims: Vec<String> = dims.iter().map(Dim::to_string).collect();
    dims.join(", ")
}

/// Checks that `found` is the expected shape; a size of zero is never accepted.
///
/// # Errors
/// [`ShapeError`] with both shapes where it is not.
///
/// ```
/// use llorch_numerics::{check_shape, Dim};
///
/// let expected = [Dim::Any("B"), Dim::Any("T"), Dim::Is(768)];
/// assert!(check_shape("x", &[1, 13, 768], &expected).is_ok());
/// let error = check_shape("x", &[1, 0, 768], &expected).unwrap_err();
/// assert_eq!(error.to_string(), "x: expected shape [B, T, 768], found [1, 0, 768]");
/// ```
pub fn check_shape(
    what: &'static str,
    found: &[usize],
    expected: &[Dim],
) -> Result<(), ShapeError> {
    let fits = found.len() == expected.len()
        && found.iter().zip(expected).all(|(&size, dim)| match dim {
            Dim::Is(expected) => size == *expected && size > 0,
            Dim::Any(_) => size > 0,
        });
    if fits {
        return Ok(());
    }
    Err(ShapeError {
        what,
        expected: expected.to_vec(),
        found: found.to_vec(),
    })
}
