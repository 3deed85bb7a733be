use ndarray::Array2;

use crate::Error;

/// Puts rows of token ids into a batch, [B, T].
///
/// ```
/// use llorch_model::{Error, tokens};
///
/// assert_eq!(tokens(&[&[1, 2], &[3, 4]])?, ndarray::array![[1, 2], [3, 4]]);
/// let error = tokens(&[&[1, 2], &[3]]).unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "expected rows of equal length, found 2 tokens in row 0 and 1 in row 1"
/// );
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// [`Error::EmptyPrompt`] without rows or tokens, [`Error::Ragged`] where the rows' lengths differ.
pub fn tokens(rows: &[&[u32]]) -> Result<Array2<u32>, Error> {
    let length = rows.first().map_or(0, |row| row.len());
    if let Some((row, ids)) = rows.iter().enumerate().find(|(_, ids)| ids.len() != length) {
        return Err(Error::Ragged {
            row,
            expected: length,
            found: ids.len(),
        });
    }
    if length == 0 {
        return Err(Error::EmptyPrompt);
    }
    Ok(Array2::from_shape_fn((rows.len(), length), |(b, t)| {
        rows[b][t]
    }))
}
