use llorch_numerics::{PackError, ShapeError};

/// What can be wrong with the projection or its input.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// An array has another shape than it must have, or a size of zero.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// A weight could not be packed.
    #[error(transparent)]
    Pack(PackError),
    /// The channels cannot be split evenly.
    #[error("heads: expected a number that divides {channels} channels, found {heads}")]
    Heads {
        /// C.
        channels: usize,
        /// H as given.
        heads: usize,
    },
}

impl From<PackError> for Error {
    fn from(error: PackError) -> Self {
        match error {
            PackError::Shape(error) => Error::Shape(error),
            other => Error::Pack(other),
        }
    }
}
