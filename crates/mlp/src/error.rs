use llorch_numerics::ShapeError;

/// What can be wrong with the feed-forward layer or its input.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// An array has another shape than it must have, or a size of zero.
    #[error(transparent)]
    Shape(#[from] ShapeError),
}
