//! Products with packed weights: right, and each row's own business.

mod common;

use common::{ROUNDING, bits, cpu, matrix, values};
use llorch_numerics::{Activation, CHUNK, Cpu, Dim, PackError, PackedMatrix, ShapeError};
use ndarray::{Array, Array1, Array2, Array3, ArrayView2, Axis, IxDyn, arr0, s};
use proptest::prelude::*;

fn packed(weight: ArrayView2<f32>) -> PackedMatrix {
    PackedMatrix::from_in_out(&Cpu::default(), weight).expect("a matrix")
}

fn multiply(weight: &PackedMatrix, x: ArrayView2<f32>) -> Array2<f32> {
    weight
        .multiply(&Cpu::default(), x, None, None)
        .expect("[M, K]")
}

/// Holds `x @ weight + bias` against float64, element by element. Rounding errors add up along a chunk,
/// then over the chunks, then the bias: that many times half a unit of the terms' magnitudes, at most.
fn check(x: &Array2<f32>, weight: &Array2<f32>, bias: &Array1<f32>) -> Result<(), String> {
    let inputs = weight.nrows();
    let roundings = (inputs.min(CHUNK) + inputs.div_ceil(CHUNK) + 1) as f64;
    let packed = packed(weight.view());
    let found = packed.multiply(&Cpu::default(), x.view(), Some(bias.view()), None);
    let found = found.map_err(|error| error.to_string())?;
    for ((m, n), &found) in found.indexed_iter() {
        let (mut exact, mut magnitude) = (f64::from(bias[n]), f64::from(bias[n]).abs());
        for (&x, &weight) in x.row(m).iter().zip(weight.column(n)) {
            let term = f64::from(x) * f64::from(weight);
            exact += term;
            magnitude += term.abs();
        }
        let allowed = 1.01 * roundings * ROUNDING * magnitude;
        if (f64::from(found) - exact).abs() > allowed {
            return Err(format!(
                "[{m}, {n}]: expected {exact} within {allowed:e}, found {found}"
            ));
        }
    }
    Ok(())
}

/// On both sides of a panel, of two panels, and a vocabulary's odd number.
const SIZES: [usize; 8] = [1, 31, 32, 33, 63, 64, 65, 1001];

#[test]
fn products_of_odd_sizes_are_right() {
    for inputs in SIZES {
        for outputs in SIZES {
            let (x, weight) = (matrix(1, 3, inputs), matrix(2, inputs, outputs));
            let bias = Array1::from_vec(values(3, outputs));
            let result = check(&x, &weight, &bias);
            assert_eq!(result, Ok(()), "{inputs} in, {outputs} out");
        }
    }
}

#[test]
fn a_row_has_its_bits_whatever_rows_are_beside_it() {
    for (inputs, outputs) in [(33, 65), (144, 31), (1001, 33)] {
        let weight = packed(matrix(1, inputs, outputs).view());
        let x = matrix(2, 9, inputs);
        let alone: Vec<Vec<u32>> = x
            .axis_chunks_iter(Axis(0), 1)
            .map(|row| bits(&multiply(&weight, row)))
            .collect();
        for rows in 1..=9 {
            for first in 0..=9 - rows {
                let some = multiply(&weight, x.slice(s![first..first + rows, ..]));
                let some: Vec<_> = some
                    .rows()
                    .into_iter()
                    .map(|row| bits(row.iter()))
                    .collect();
                assert_eq!(some, alone[first..first + rows]);
            }
        }
    }
}

/// Of the weights as they are packed, and of their product.
#[test]
fn threads_change_no_bit() {
    for outputs in [1, 33, 1571] {
        let (weight, x) = (matrix(1, 65, outputs), matrix(2, 7, 65));
        let product = multiply(&packed(weight.view()), x.view());
        for threads in [1, 2, 3, 8] {
            let cpu = cpu(threads);
            for weight in [
                PackedMatrix::from_in_out(&cpu, weight.view()),
                PackedMatrix::from_out_in(&cpu, weight.t()),
            ] {
                let weight = weight.expect("a matrix");
                assert_eq!(bits(&multiply(&weight, x.view())), bits(&product));
                let shared = weight.multiply(&cpu, x.view(), None, None);
                assert_eq!(bits(&shared.expect("[M, N]")), bits(&product));
            }
        }
    }
}

#[test]
fn a_row_has_its_bits_also_beside_nan_and_infinity() {
    let weight = packed(matrix(1, 65, 33).view());
    let mut x = matrix(2, 4, 65);
    let clean = multiply(&weight, x.view());
    x.row_mut(1).fill(f32::NAN);
    x.row_mut(3).fill(f32::INFINITY);
    let dirty = multiply(&weight, x.view());
    for row in [0, 2] {
        assert_eq!(bits(dirty.row(row)), bits(clean.row(row)));
    }
}

#[test]
fn a_column_has_its_bits_whatever_columns_are_beside_it() {
    let (weight, x) = (matrix(1, 65, 70), matrix(2, 3, 65));
    let all = multiply(&packed(weight.view()), x.view());
    for (first, columns) in [(0, 1), (5, 31), (31, 33), (69, 1)] {
        let place = s![.., first..first + columns];
        let some = multiply(&packed(weight.slice(place)), x.view());
        assert_eq!(bits(&some), bits(all.slice(place)));
    }
}

#[test]
fn an_activation_comes_last_and_is_what_it_is_alone() {
    let cpu = Cpu::default();
    for outputs in [1, 33, 64] {
        let (weight, x) = (packed(matrix(1, 65, outputs).view()), matrix(2, 7, 65));
        let bias = Array1::from_vec(values(3, outputs));
        let product = |activation| {
            let product = weight.multiply(&cpu, x.view(), Some(bias.view()), activation);
            product.expect("[M, N]")
        };
        let linear = product(None).into_raw_vec_and_offset().0;
        for activation in [Activation::GeluTanh, Activation::GeluErf, Activation::Relu] {
            let mut expected = linear.clone();
            activation.apply(cpu.isa(), &mut expected);
            assert_ne!(bits(&expected), bits(&linear));
            assert_eq!(bits(&product(Some(activation))), bits(&expected));
        }
    }
}

#[test]
fn axes_and_memory_order_of_the_input_do_not_matter() {
    let weight = packed(matrix(1, 33, 31).view());
    let x = matrix(2, 6, 33);
    let expected = bits(&multiply(&weight, x.view()));

    let batched = x.to_shape((2, 3, 33)).expect("six rows");
    let y: Array3<f32> = weight
        .multiply(&Cpu::default(), batched.view(), None, None)
        .expect("[B, T, K]");
    assert_eq!(y.dim(), (2, 3, 31));
    assert_eq!(bits(&y), expected);

    let columns_first = x.t().as_standard_layout().into_owned();
    assert!(!columns_first.t().is_standard_layout());
    assert_eq!(bits(&multiply(&weight, columns_first.t())), expected);

    let vector: Array1<f32> = weight
        .multiply(&Cpu::default(), x.row(4), None, None)
        .expect("[K]");
    assert_eq!(bits(&vector), expected[4 * 31..5 * 31]);
}

#[test]
fn both_layouts_of_a_weight_give_the_same_matrix() {
    for outputs in SIZES {
        let weight = matrix(1, 33, outputs);
        let in_out = packed(weight.view());
        let out_in = PackedMatrix::from_out_in(&Cpu::default(), weight.t()).expect("a matrix");
        assert_eq!((out_in.inputs(), out_in.outputs()), (33, outputs));
        let x = matrix(2, 2, 33);
        assert_eq!(
            bits(&multiply(&in_out, x.view())),
            bits(&multiply(&out_in, x.view()))
        );
    }
}

#[test]
fn every_column_is_read_back_to_the_bit_and_no_other() {
    for outputs in SIZES {
        let mut weight = matrix(1, 33, outputs);
        weight[[7, outputs / 2]] = -0.0;
        weight[[8, outputs / 2]] = f32::from_bits(1);
        let packed = packed(weight.view());
        for n in 0..outputs {
            let column: Vec<f32> = packed.column(n).expect("a column").collect();
            assert_eq!(bits(&column), bits(weight.column(n)));
        }
        for beyond in [outputs, outputs.next_multiple_of(32), usize::MAX] {
            assert!(packed.column(beyond).is_none(), "padding is no column");
        }
    }
}

#[test]
fn a_weight_without_rows_or_columns_is_refused() {
    let (cpu, letters) = (Cpu::default(), ["in", "out"]);
    for shape in [[0, 3], [3, 0], [0, 0]] {
        let weight = Array2::<f32>::zeros(shape);
        for (result, letters) in [
            (PackedMatrix::from_in_out(&cpu, weight.view()), letters),
            (
                PackedMatrix::from_out_in(&cpu, weight.view()),
                ["out", "in"],
            ),
        ] {
            let expected = letters.map(Dim::Any).to_vec();
            let error = ShapeError {
                what: "weight",
                expected,
                found: shape.to_vec(),
            };
            assert_eq!(result.map(|_| ()), Err(PackError::Shape(error)));
        }
    }
}

/// One number seen as more than any machine can hold.
#[test]
fn a_weight_too_large_for_memory_is_refused_and_does_not_abort() {
    let (cpu, one) = (Cpu::default(), arr0(1.0_f32));
    for shape in [[1 << 40, 1 << 18], [1 << 18, 1 << 40]] {
        let weight = one.broadcast(shape).expect("one number, often");
        let error = PackedMatrix::from_in_out(&cpu, weight).map(|_| ());
        let error = error.expect_err("no machine has it");
        assert_eq!(error, PackError::Memory { shape });
        let [inputs, outputs] = shape;
        assert_eq!(
            error.to_string(),
            format!("weight: expected a shape that fits into memory, found [{inputs}, {outputs}]")
        );
    }
}

#[test]
fn an_input_or_a_bias_of_another_shape_is_refused() {
    let (cpu, weight) = (Cpu::default(), packed(matrix(1, 4, 3).view()));
    for found in [
        vec![2, 3],
        vec![2, 5],
        vec![2, 0],
        vec![0, 4],
        vec![0, 2, 4],
        vec![5],
    ] {
        let x = Array::<f32, _>::zeros(IxDyn(&found));
        let mut expected = vec![Dim::Any("M"); found.len() - 1];
        expected.push(Dim::Is(4));
        let error = ShapeError {
            what: "x",
            expected,
            found,
        };
        assert_eq!(weight.multiply(&cpu, x.view(), None, None), Err(error));
    }
    for length in [0, 1, 2, 4] {
        let (x, bias) = (Array2::zeros((2, 4)), Array1::zeros(length));
        let found = weight.multiply(&cpu, x.view(), Some(bias.view()), None);
        let error = ShapeError {
            what: "bias",
            expected: vec![Dim::Is(3)],
            found: vec![length],
        };
        assert_eq!(found, Err(error));
    }
}

/// It has one element and no last axis that could be K.
#[test]
fn an_input_without_axes_is_refused() {
    for inputs in [1, 4] {
        let weight = packed(matrix(1, inputs, 3).view());
        let found = weight.multiply(&Cpu::default(), arr0(1.0).view(), None, None);
        let error = ShapeError {
            what: "x",
            expected: vec![Dim::Is(inputs)],
            found: vec![],
        };
        assert_eq!(found, Err(error));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn products_of_any_size_are_right(
        rows in 1..8_usize,
        inputs in 1..200_usize,
        outputs in 1..100_usize,
        seed in any::<u64>(),
    ) {
        let bias = Array1::from_vec(values(seed ^ 3, outputs));
        let result = check(&matrix(seed ^ 1, rows, inputs), &matrix(seed ^ 2, inputs, outputs), &bias);
        prop_assert_eq!(result, Ok(()));
    }
}
