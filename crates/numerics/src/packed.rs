//! Weights of a linear layer, packed once so that every product reads them in order.

use ndarray::{Array, Array1, ArrayView, ArrayView1, ArrayView2, Axis, Dimension};

use crate::isa::{Isa, Kernel, dispatch_on};
use crate::panel::{CHUNK, Lanes, WIDTH, product};
use crate::shape::{Dim, ShapeError, check_shape};

/// A matrix [K, N] in panels of 32 columns, `[ceil(N / 32)][K][32]`, its last panel padded with zeros.
///
/// It serves a vector and any number of rows alike, and since a column can be read back
/// ([`PackedMatrix::column`]), a tied head's panels serve the embedding lookup too.
#[derive(Clone, Debug)]
pub struct PackedMatrix {
    inputs: usize,
    outputs: usize,
    lanes: Vec<Lanes>,
}

impl PackedMatrix {
    /// Packs a weight in Conv1D's layout, [in, out], as GPT-2's files hold it.
    ///
    /// # Errors
    /// [`ShapeError`] where either size is zero.
    pub fn from_in_out(weight: ArrayView2<f32>) -> Result<Self, ShapeError> {
        check_shape("weight", weight.shape(), &[Dim::Any("in"), Dim::Any("out")])?;
        let (inputs, outputs) = weight.dim();
        let mut lanes = vec![Lanes::ZERO; inputs * outputs.div_ceil(WIDTH)];
        for (panel, columns) in lanes
            .chunks_exact_mut(inputs)
            .zip(weight.axis_chunks_iter(Axis(1), WIDTH))
        {
            for (lanes, row) in panel.iter_mut().zip(columns.rows()) {
                for (lane, &value) in lanes.0.iter_mut().zip(row) {
                    *lane = value;
                }
            }
        }
        Ok(PackedMatrix {
            inputs,
            outputs,
            lanes,
        })
    }

    /// Packs a weight in Linear's layout, [out, in], as an embedding or a head is held.
    ///
    /// # Errors
    /// [`ShapeError`] where either size is zero.
    pub fn from_out_in(weight: ArrayView2<f32>) -> Result<Self, ShapeError> {
        check_shape("weight", weight.shape(), &[Dim::Any("out"), Dim::Any("in")])?;
        Self::from_in_out(weight.reversed_axes())
    }

    /// K, the length of an input row.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// N, the length of an output row.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Column `n` of the [K, N] matrix, to the bit: the embedding of token `n` where the matrix is a
    /// tied head. `None` where there is no such column.
    pub fn column(&self, n: usize) -> Option<Array1<f32>> {
        if n >= self.outputs {
            return None;
        }
        let panel = self.lanes.chunks_exact(self.inputs).nth(n / WIDTH)?;
        Some(panel.iter().map(|lanes| lanes.0[n % WIDTH]).collect())
    }

    /// `x @ self + bias` over the last axis: x is `[.., K]`, bias `[N]`, the result `[.., N]`.
    ///
    /// # Errors
    /// [`ShapeError`] where x or bias have another shape or x a size of zero.
    pub fn multiply<D: Dimension>(
        &self,
        x: ArrayView<f32, D>,
        bias: Option<ArrayView1<f32>>,
    ) -> Result<Array<f32, D>, ShapeError> {
        self.multiply_on(Isa::best(), x, bias)
    }

    fn multiply_on<D: Dimension>(
        &self,
        isa: Isa,
        x: ArrayView<f32, D>,
        bias: Option<ArrayView1<f32>>,
    ) -> Result<Array<f32, D>, ShapeError> {
        // At least one axis: an x without any is refused and not indexed.
        let mut expected = vec![Dim::Any("M"); x.ndim().max(1)];
        if let Some(last) = expected.last_mut() {
            *last = Dim::Is(self.inputs);
        }
        check_shape("x", x.shape(), &expected)?;
        let mut shape = x.raw_dim();
        if let Some(last) = shape.slice_mut().last_mut() {
            *last = self.outputs;
        }
        if let Some(bias) = bias {
            check_shape("bias", bias.shape(), &[Dim::Is(self.outputs)])?;
        }
        let x = x.as_standard_layout();
        let mut out = Array::zeros(shape);
        // Both are in standard layout, so both are slices.
        if let (Some(x), Some(out)) = (x.as_slice(), out.as_slice_mut()) {
            let matrix = self;
            dispatch_on(isa, Multiply { x, matrix, out });
        }
        if let Some(bias) = bias {
            out += &bias;
        }
        Ok(out)
    }
}

/// Rows that share one pass over a panel.
const ROWS: usize = 4;

struct Multiply<'a> {
    x: &'a [f32],
    matrix: &'a PackedMatrix,
    out: &'a mut [f32],
}

impl Kernel for Multiply<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let PackedMatrix {
            inputs,
            outputs,
            ref lanes,
        } = *self.matrix;
        for (panel, first) in lanes.chunks_exact(inputs).zip((0..).step_by(WIDTH)) {
            let columns = first..outputs.min(first + WIDTH);
            let x = self.x.chunks(ROWS * inputs);
            let out = self.out.chunks_mut(ROWS * outputs);
            for (x, out) in x.zip(out) {
                let row = |m: usize| &x[m * inputs..(m + 1) * inputs];
                let mut store = |sums: &[[f32; WIDTH]]| {
                    for (out, sums) in out.chunks_exact_mut(outputs).zip(sums) {
                        let out = &mut out[columns.clone()];
                        out.copy_from_slice(&sums[..out.len()]);
                    }
                };
                match x.len() / inputs {
                    1 => store(&product::<_, CHUNK>([row(0)], panel)),
                    2 => store(&product::<_, CHUNK>([row(0), row(1)], panel)),
                    3 => store(&product::<_, CHUNK>([row(0), row(1), row(2)], panel)),
                    _ => store(&product::<_, CHUNK>(
                        [row(0), row(1), row(2), row(3)],
                        panel,
                    )),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;
    use crate::testing::{assert_equal_on_every_isa, bits, values};

    #[test]
    fn products_have_equal_bits_on_every_instruction_set() {
        for (rows, inputs, outputs) in [(1, 1, 1), (2, 31, 33), (3, 65, 64), (5, 257, 95)] {
            let array = |seed, shape: (usize, usize)| {
                Array2::from_shape_vec(shape, values(seed, shape.0 * shape.1)).unwrap()
            };
            let weight = PackedMatrix::from_in_out(array(1, (inputs, outputs)).view()).unwrap();
            let x = array(2, (rows, inputs));
            let bias = Array1::from_vec(values(3, outputs));
            assert_equal_on_every_isa(|isa| {
                let y = weight.multiply_on(isa, x.view(), Some(bias.view()));
                bits(y.unwrap().as_slice().unwrap())
            });
        }
    }
}
