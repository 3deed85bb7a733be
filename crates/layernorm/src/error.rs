use llorch_numerics::ShapeError;

/// What can be wrong with a layer normalisation or its input.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Error {
    /// An array has another shape than it must have, or a size of zero.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// Epsilon cannot keep the root away from zero.
    #[error("epsilon: expected a finite number above 0, found {found}")]
    Epsilon {
        /// The epsilon given.
        found: f64,
    },
}
