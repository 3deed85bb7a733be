//! Weights of a linear layer, packed once so that every product reads them in order.

use std::sync::Arc;

use ndarray::{Array, ArrayView, ArrayView1, ArrayView2, ArrayViewMut2, Axis, Dimension};

use crate::activation::Activation;
use crate::arena::Arena;
use crate::cpu::Cpu;
use crate::isa::dispatch_on;
use crate::multiply::{Finish, Multiply};
use crate::panel::{Lanes, ROWS, WIDTH};
use crate::shape::{Dim, ShapeError, check_shape};
use crate::simd::LANES;

/// Why a weight could not be packed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PackError {
    /// A size is zero.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// There is no memory for the panels.
    #[error("weight: expected a shape that fits into memory, found {shape:?}")]
    Memory {
        /// The weight's shape.
        shape: [usize; 2],
    },
}

/// A matrix [K, N] in panels of 32 columns, `[ceil(N / 32)][K][32]`, its last panel padded with zeros.
///
/// It serves a vector and any number of rows alike, and since a column can be read back
/// ([`PackedMatrix::column`]), a tied head's panels serve the embedding lookup too. They lie on huge
/// pages where the system has them. A clone shares them.
#[derive(Clone, Debug)]
pub struct PackedMatrix {
    inputs: usize,
    outputs: usize,
    lanes: Arc<Arena>,
}

impl PackedMatrix {
    /// Packs a weight in Conv1D's layout, [in, out], as GPT-2's files hold it.
    ///
    /// # Errors
    /// [`PackError::Shape`] where either size is zero, [`PackError::Memory`].
    pub fn from_in_out(cpu: &Cpu, weight: ArrayView2<f32>) -> Result<Self, PackError> {
        check_shape("weight", weight.shape(), &[Dim::Any("in"), Dim::Any("out")])?;
        let (inputs, outputs) = weight.dim();
        let panels = outputs.div_ceil(WIDTH);
        let lanes = inputs.checked_mul(panels).and_then(Arena::zeroed);
        let mut lanes = lanes.ok_or(PackError::Memory {
            shape: [inputs, outputs],
        })?;
        let share = cpu.share(panels);
        let panels = lanes.chunks_mut(share * inputs);
        let columns = weight.axis_chunks_iter(Axis(1), share * WIDTH);
        let mut tasks: Vec<_> = panels.zip(columns).collect();
        cpu.for_each(&mut tasks, |(panels, columns)| {
            let columns = columns.axis_chunks_iter(Axis(1), WIDTH);
            for (panel, columns) in panels.chunks_exact_mut(inputs).zip(columns) {
                pack(panel, columns);
            }
        });
        Ok(PackedMatrix {
            inputs,
            outputs,
            lanes: Arc::new(lanes),
        })
    }

    /// Packs a weight in Linear's layout, [out, in], as an embedding or a head is held.
    ///
    /// # Errors
    /// [`PackError::Shape`] where either size is zero, [`PackError::Memory`].
    pub fn from_out_in(cpu: &Cpu, weight: ArrayView2<f32>) -> Result<Self, PackError> {
        check_shape("weight", weight.shape(), &[Dim::Any("out"), Dim::Any("in")])?;
        Self::from_in_out(cpu, weight.reversed_axes()).map_err(|error| match error {
            PackError::Memory {
                shape: [inputs, outputs],
            } => PackError::Memory {
                shape: [outputs, inputs],
            },
            other => other,
        })
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
    pub fn column(&self, n: usize) -> Option<impl Iterator<Item = f32>> {
        if n >= self.outputs {
            return None;
        }
        let panel = self.lanes.chunks_exact(self.inputs).nth(n / WIDTH)?;
        let (vector, lane) = (n % WIDTH / LANES, n % LANES);
        Some(panel.iter().map(move |lanes| lanes[vector][lane]))
    }

    /// `activation(x @ self + bias)` over the last axis: x is `[.., K]`, bias `[N]`, the result `[.., N]`.
    ///
    /// # Errors
    /// [`ShapeError`] where x or bias have another shape or x a size of zero.
    pub fn multiply<D: Dimension>(
        &self,
        cpu: &Cpu,
        x: ArrayView<f32, D>,
        bias: Option<ArrayView1<f32>>,
        activation: Option<Activation>,
    ) -> Result<Array<f32, D>, ShapeError> {
        // At least one axis: an x without any is refused and not indexed.
        let mut expected = vec![Dim::Any("M"); x.ndim().max(1)];
        if let Some(last) = expected.last_mut() {
            *last = Dim::Is(self.inputs);
        }
        check_shape("x", x.shape(), &expected)?;
        if let Some(bias) = bias {
            check_shape("bias", bias.shape(), &[Dim::Is(self.outputs)])?;
        }
        let mut shape = x.raw_dim();
        if let Some(last) = shape.slice_mut().last_mut() {
            *last = self.outputs;
        }
        let x = x.as_standard_layout();
        // In standard layout, so a slice; its length is a multiple of K.
        let x = x.as_slice().unwrap_or_default();
        let mut out = cpu.array((x.len() / self.inputs, self.outputs));
        let bias = bias.as_ref().map(|bias| bias.as_standard_layout());
        let bias = bias.as_ref().and_then(|bias| bias.as_slice());
        self.fill(cpu, x, bias, activation, out.view_mut());
        let wrong = |_| ShapeError {
            what: "out",
            expected: shape.slice().iter().copied().map(Dim::Is).collect(),
            found: vec![x.len() / self.inputs, self.outputs],
        };
        out.into_shape_with_order(shape.clone()).map_err(wrong)
    }

    /// Shares the panels out; every thread writes columns of its own.
    fn fill(
        &self,
        cpu: &Cpu,
        x: &[f32],
        bias: Option<&[f32]>,
        activation: Option<Activation>,
        mut out: ArrayViewMut2<f32>,
    ) {
        let panels = self.outputs.div_ceil(WIDTH);
        // Rows of a prompt go over groups of panels, which a small share would cut.
        let share = match x.len() / self.inputs > ROWS {
            true => cpu.share(panels.div_ceil(4)) * 4,
            false => cpu.share(panels),
        };
        let mut tasks: Vec<_> = self
            .lanes
            .chunks(share * self.inputs)
            .zip(out.axis_chunks_iter_mut(Axis(1), share * WIDTH))
            .zip((0..).step_by(share * WIDTH))
            .map(|((panels, out), first)| Multiply {
                x,
                inputs: self.inputs,
                panels,
                finish: Finish {
                    bias: bias.map(|bias| &bias[first..]),
                    activation,
                },
                out,
            })
            .collect();
        cpu.for_each(&mut tasks, |task| dispatch_on(cpu.isa(), task));
    }
}

/// Fills one panel with up to 32 columns, [K, <= 32].
fn pack(panel: &mut [Lanes], columns: ArrayView2<f32>) {
    for (lanes, row) in panel.iter_mut().zip(columns.rows()) {
        let lanes = lanes.as_flattened_mut();
        match row.as_slice() {
            Some(row) => lanes[..row.len()].copy_from_slice(row),
            None => {
                for (lane, &value) in lanes.iter_mut().zip(row) {
                    *lane = value;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array1, Array2};

    use super::*;
    use crate::testing::{assert_equal_on_every_isa, bits, values};

    #[test]
    fn products_have_equal_bits_on_every_instruction_set() {
        // The last three: panels in groups, k in strips, and both panels and strips left over.
        let sizes = [(1, 1, 1), (2, 31, 33), (3, 65, 64), (13, 257, 95)];
        let large = [(150, 700, 150), (13, 6200, 40), (1, 3100, 180)];
        for (rows, inputs, outputs) in sizes.into_iter().chain(large) {
            let array = |seed, shape: (usize, usize)| {
                Array2::from_shape_vec(shape, values(seed, shape.0 * shape.1)).unwrap()
            };
            let weight = array(1, (inputs, outputs));
            let weight = PackedMatrix::from_in_out(&Cpu::default(), weight.view()).unwrap();
            let x = array(2, (rows, inputs));
            let bias = Array1::from_vec(values(3, outputs));
            for activation in [None, Some(Activation::GeluTanh)] {
                assert_equal_on_every_isa(|isa| {
                    let cpu = Cpu::default().with_isa(isa).unwrap();
                    let y = weight.multiply(&cpu, x.view(), Some(bias.view()), activation);
                    bits(y.unwrap().as_slice().unwrap())
                });
            }
        }
    }
}
