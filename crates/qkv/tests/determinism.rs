//! Equal to the bit, on a real layer and what goes into it.

mod common;

use std::num::NonZeroUsize;

use common::Parts;
use llorch_fixtures::{
    Bits, assert_any_layout_agrees, assert_chunks_agree_with_the_whole, assert_is_on_its_cpu,
    assert_rows_agree_in_any_batch, assert_runs_and_threads_agree, four_rows, shaped_bits, tiny,
};
use llorch_numerics::{Cpu, Isa};
use llorch_qkv::{Heads, Qkv};
use ndarray::{Array3, ArrayView3, Axis, s};

/// The projection and four rows for it.
fn right() -> (Parts, Array3<f32>) {
    let x = four_rows(|case| case.stream(0, "h.2.ln_1"));
    (Parts::of(&tiny(), 2), x)
}

fn forward(qkv: &Qkv, x: ArrayView3<f32>) -> Bits {
    let Heads { q, k, v } = qkv.forward(x).expect("heads");
    [q, k, v].iter().map(shaped_bits).collect()
}

#[test]
fn runs_and_threads_agree() {
    let (parts, x) = right();
    let qkv = parts.build();
    assert_runs_and_threads_agree(
        || forward(&qkv, x.view()),
        || forward(&parts.build(), x.view()),
    );
}

/// Threads of its own, those of the caller being tested above.
#[test]
fn threads_and_instruction_sets_of_its_own_agree() {
    let (parts, x) = right();
    let alone = forward(&parts.build(), x.view());
    for isa in Isa::available() {
        for threads in [1, 2, 3, 8].map(NonZeroUsize::new) {
            let cpu = Cpu::new(threads.expect("some")).and_then(|cpu| cpu.with_isa(isa));
            let qkv = parts
                .build()
                .on(&cpu.expect("an available instruction set"));
            assert_eq!(forward(&qkv, x.view()), alone, "{threads:?}, {isa}");
        }
    }
}

#[test]
fn the_layer_is_on_the_threads_it_is_given() {
    let (parts, _) = right();
    assert_is_on_its_cpu(|cpu| parts.build().on(cpu));
}

#[test]
fn a_row_has_its_bits_in_any_batch() {
    let (parts, x) = right();
    let qkv = parts.build();
    assert_rows_agree_in_any_batch(&x, |x| forward(&qkv, x));
}

#[test]
fn chunks_have_the_bits_of_the_whole() {
    let (parts, x) = right();
    let qkv = parts.build();
    assert_chunks_agree_with_the_whole(&x, |x| forward(&qkv, x));
}

#[test]
fn the_layout_of_the_input_does_not_matter() {
    let (parts, x) = right();
    let qkv = parts.build();
    assert_any_layout_agrees(&x, |x| forward(&qkv, x));
}

#[test]
fn the_layout_of_the_weights_does_not_matter() {
    let (parts, x) = right();
    let columns = parts.weight.t().as_standard_layout().into_owned();
    let mut backwards = parts.bias.clone();
    backwards.invert_axis(Axis(0));
    let backwards = backwards.to_vec();
    let bias = ndarray::ArrayView1::from(&backwards).slice_move(s![..;-1]);
    assert!(!columns.t().is_standard_layout());
    let qkv = Qkv::new(columns.t(), bias, parts.heads).expect("a projection");
    assert_eq!(forward(&qkv, x.view()), forward(&parts.build(), x.view()));
}

/// What the cache and attention are handed is in standard layout.
#[test]
fn the_heads_are_contiguous() {
    let (parts, x) = right();
    let heads = parts.forward(x.view());
    for part in [&heads.q, &heads.k, &heads.v] {
        assert!(part.is_standard_layout());
    }
}
