use llorch_numerics::{PackError, ReadError, ShapeError};

/// What can be wrong with attention or its input.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
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
    /// A factor that cannot scale scores.
    #[error("scale: expected a finite number above 0, found {found}")]
    Scale {
        /// The factor given.
        found: f64,
    },
    /// Every query's own key must be stored before it attends.
    #[error("expected at least {queries} stored positions for {queries} queries, found {stored}")]
    Positions {
        /// T.
        queries: usize,
        /// S.
        stored: usize,
    },
    /// The stored keys and values could not be read.
    #[error(transparent)]
    Cached(ReadError),
}

impl From<ReadError> for Error {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Shape(error) => Error::Shape(error),
            other => Error::Cached(other),
        }
    }
}

impl From<PackError> for Error {
    fn from(error: PackError) -> Self {
        match error {
            PackError::Shape(error) => Error::Shape(error),
            other => Error::Pack(other),
        }
    }
}
