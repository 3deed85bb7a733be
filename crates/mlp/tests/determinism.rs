//! Equal to the bit, on a real layer and what goes into it.

mod common;

use std::num::NonZeroUsize;

use common::{Parts, Sites};
use llorch_fixtures::{
    Bits, assert_any_layout_agrees, assert_chunks_agree_with_the_whole, assert_is_on_its_cpu,
    assert_rows_agree_in_any_batch, assert_runs_and_threads_agree, four_rows, shaped_bits, tiny,
};
use llorch_mlp::{Activation, Mlp};
use llorch_numerics::{Cpu, Isa};
use ndarray::{Array3, ArrayView1, ArrayView3, s};

const ACTIVATIONS: [Activation; 3] = [Activation::GeluTanh, Activation::GeluErf, Activation::Relu];

/// The layer and four rows for it.
fn right() -> (Parts, Array3<f32>) {
    let x = four_rows(|case| case.stream(0, "h.2.ln_2"));
    (Parts::of(&tiny(), 2), x)
}

fn forward(mlp: &Mlp, x: ArrayView3<f32>) -> Bits {
    vec![shaped_bits(&mlp.forward(x, &mut ()).expect("an output"))]
}

#[test]
fn runs_and_threads_agree() {
    let (mut parts, x) = right();
    for activation in ACTIVATIONS {
        parts.activation = activation;
        let mlp = parts.build();
        assert_runs_and_threads_agree(
            || forward(&mlp, x.view()),
            || forward(&parts.build(), x.view()),
        );
    }
}

/// Threads of its own, those of the caller being tested above.
#[test]
fn threads_and_instruction_sets_of_its_own_agree() {
    let (mut parts, x) = right();
    for activation in ACTIVATIONS {
        parts.activation = activation;
        let alone = forward(&parts.build(), x.view());
        for isa in Isa::available() {
            for threads in [1, 2, 3, 8].map(NonZeroUsize::new) {
                let cpu = Cpu::new(threads.expect("some")).and_then(|cpu| cpu.with_isa(isa));
                let mlp = parts
                    .build()
                    .on(&cpu.expect("an available instruction set"));
                assert_eq!(forward(&mlp, x.view()), alone, "{threads:?}, {isa}");
            }
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
    let mlp = parts.build();
    assert_rows_agree_in_any_batch(&x, |x| forward(&mlp, x));
}

#[test]
fn chunks_have_the_bits_of_the_whole() {
    let (parts, x) = right();
    let mlp = parts.build();
    assert_chunks_agree_with_the_whole(&x, |x| forward(&mlp, x));
}

#[test]
fn a_probe_changes_nothing_and_sees_each_site_once_in_order() {
    let (parts, x) = right();
    let mlp = parts.build();
    let mut sites = Sites::default();
    let out = mlp.forward(x.view(), &mut sites).expect("an output");
    assert_eq!([shaped_bits(&out)], forward(&mlp, x.view())[..]);
    assert_eq!(sites.names(), ["fc", "act", "out"]);
    assert_eq!(sites.take("out"), out.into_dyn());
}

#[test]
fn the_layout_of_the_input_does_not_matter() {
    let (parts, x) = right();
    let mlp = parts.build();
    assert_any_layout_agrees(&x, |x| forward(&mlp, x));
}

#[test]
fn the_layout_of_the_weights_does_not_matter() {
    let (parts, x) = right();
    let [fc, proj] = [&parts.fc, &parts.proj].map(|w| w.t().as_standard_layout().into_owned());
    assert!(!fc.t().is_standard_layout() && !proj.t().is_standard_layout());
    let [fc_bias, proj_bias] = [&parts.fc_bias, &parts.proj_bias]
        .map(|bias| bias.iter().rev().copied().collect::<Vec<f32>>());
    let backwards = |values| ArrayView1::from(values).slice_move(s![..;-1]);
    let mlp = Mlp::new(
        fc.t(),
        backwards(&fc_bias),
        proj.t(),
        backwards(&proj_bias),
        parts.activation,
    )
    .expect("a layer");
    assert_eq!(forward(&mlp, x.view()), forward(&parts.build(), x.view()));
}
