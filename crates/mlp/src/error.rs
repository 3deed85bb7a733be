use llorch_numerics::{PackError, ShapeError};

/// What can be wrong with the feed-forward layer or its input.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// An array has another shape than it must have, or a size of zero.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// A weight could not be packed.
    #[error(transparent)]
    Pack(PackError),
}

impl From<PackError> for Error {
    fn from(error: PackError) -> Self {
        match error {
            PackError::Shape(error) => Error::Shape(error),
            other => Error::Pack(other),
        }
    }
}
