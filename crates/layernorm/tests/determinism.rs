//! Equal to the bit, on the embedded model's last normalisation and what goes into it.

mod common;

use std::num::NonZeroUsize;

use common::Parts;
use llorch_fixtures::{
    Bits, assert_any_layout_agrees, assert_chunks_agree_with_the_whole, assert_is_on_its_cpu,
    assert_rows_agree_in_any_batch, assert_runs_and_threads_agree, four_rows, shaped_bits, tiny,
};
use llorch_layernorm::LayerNorm;
use llorch_numerics::{Cpu, Isa};
use ndarray::{Array3, ArrayView3, Axis, s};

/// The normalisation and four rows for it.
fn right() -> (LayerNorm, Array3<f32>) {
    let fixture = tiny();
    let layers = fixture.config.n_layer();
    let x = four_rows(|case| case.block_input(0, layers));
    (Parts::of(&fixture, "ln_f").build(), x)
}

fn forward(norm: &LayerNorm, x: ArrayView3<f32>) -> Bits {
    vec![shaped_bits(&norm.forward(x).expect("a normalised array"))]
}

#[test]
fn runs_and_threads_agree() {
    let (norm, x) = right();
    assert_runs_and_threads_agree(
        || forward(&norm, x.view()),
        || forward(&right().0, x.view()),
    );
}

/// Threads of its own, those of the caller being tested above.
#[test]
fn threads_and_instruction_sets_of_its_own_agree() {
    let (norm, x) = right();
    let alone = forward(&norm, x.view());
    for isa in Isa::available() {
        for threads in [1, 2, 3, 8].map(NonZeroUsize::new) {
            let cpu = Cpu::new(threads.expect("some")).and_then(|cpu| cpu.with_isa(isa));
            let norm = norm.clone().on(&cpu.expect("an available instruction set"));
            assert_eq!(forward(&norm, x.view()), alone, "{threads:?}, {isa}");
        }
    }
}

#[test]
fn the_layer_is_on_the_threads_it_is_given() {
    let (norm, _) = right();
    assert_is_on_its_cpu(|cpu| norm.on(cpu));
}

#[test]
fn a_row_has_its_bits_in_any_batch() {
    let (norm, x) = right();
    assert_rows_agree_in_any_batch(&x, |x| forward(&norm, x));
}

#[test]
fn chunks_have_the_bits_of_the_whole() {
    let (norm, x) = right();
    assert_chunks_agree_with_the_whole(&x, |x| forward(&norm, x));
}

#[test]
fn the_layout_of_the_input_does_not_matter() {
    let (norm, x) = right();
    assert_any_layout_agrees(&x, |x| forward(&norm, x));
}

#[test]
fn the_layout_of_the_weights_does_not_matter() {
    let fixture = tiny();
    let (_, x) = right();
    let parts = Parts::of(&fixture, "ln_f");
    let mut backwards = parts.clone();
    backwards.weight.invert_axis(Axis(0));
    backwards.bias.invert_axis(Axis(0));
    let (weight, bias) = (backwards.weight.to_vec(), backwards.bias.to_vec());
    let view = |values| ndarray::ArrayView1::from(values).slice_move(s![..;-1]);
    let norm = LayerNorm::new(view(&weight), view(&bias), parts.epsilon).expect("a normalisation");
    assert_eq!(forward(&norm, x.view()), forward(&parts.build(), x.view()));
}
