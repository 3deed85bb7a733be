//! Equal to the bit, on a real layer and what goes into it.

mod common;

use common::{Parts, Sites};
use llorch_fixtures::tiny;
use llorch_mlp::{Activation, Mlp};
use ndarray::{Array3, ArrayView1, ArrayView3, Axis, ShapeBuilder, concatenate, s};

const ACTIVATIONS: [Activation; 3] = [Activation::GeluTanh, Activation::GeluErf, Activation::Relu];

/// The layer, and four rows of 11 positions: the batch's three and the start of another prompt.
fn right() -> (Parts, Array3<f32>) {
    let fixture = tiny();
    let batch = fixture.case("batch").stream(0, "h.2.ln_2");
    let other = fixture.case("multibyte").stream(0, "h.2.ln_2");
    let other = other.slice(s![.., ..batch.dim().1, ..]);
    let x = concatenate(Axis(0), &[batch.view(), other]).expect("rows of equal length");
    assert_eq!(x.dim().0, 4);
    (Parts::of(&fixture, 2), x)
}

/// Bits, which tell 0 from -0.
fn forward(mlp: &Mlp, x: ArrayView3<f32>) -> Array3<u32> {
    let out = mlp.forward(x, &mut ()).expect("an output");
    out.mapv(f32::to_bits)
}

#[test]
fn runs_and_threads_agree() {
    let (mut parts, x) = right();
    for activation in ACTIVATIONS {
        parts.activation = activation;
        let mlp = parts.build();
        let first = forward(&mlp, x.view());
        std::thread::scope(|scope| {
            let runs = [(); 4].map(|()| scope.spawn(|| forward(&mlp, x.view())));
            for run in runs {
                assert_eq!(run.join().expect("a run"), first, "{activation:?}");
            }
        });
        assert_eq!(forward(&parts.build(), x.view()), first, "built anew");
    }
}

#[test]
fn a_row_has_its_bits_in_any_batch() {
    let (parts, x) = right();
    let mlp = parts.build();
    for batch in 1..=4 {
        let together = forward(&mlp, x.slice(s![..batch, .., ..]));
        for row in 0..batch {
            let alone = forward(&mlp, x.slice(s![row..=row, .., ..]));
            assert_eq!(
                together.slice(s![row..=row, .., ..]),
                alone,
                "{row} of {batch}"
            );
        }
    }
}

#[test]
fn chunks_have_the_bits_of_the_whole() {
    let (parts, x) = right();
    let mlp = parts.build();
    let whole = forward(&mlp, x.view());
    for length in 1..=x.dim().1 {
        let chunks = x.axis_chunks_iter(Axis(1), length);
        for (chunk, whole) in chunks.zip(whole.axis_chunks_iter(Axis(1), length)) {
            assert_eq!(forward(&mlp, chunk), whole, "chunks of {length}");
        }
    }
}

#[test]
fn a_probe_changes_nothing_and_sees_each_site_once_in_order() {
    let (parts, x) = right();
    let mlp = parts.build();
    let mut sites = Sites::default();
    let out = mlp.forward(x.view(), &mut sites).expect("an output");
    assert_eq!(out.mapv(f32::to_bits), forward(&mlp, x.view()));
    assert_eq!(sites.names(), ["fc", "act", "out"]);
    assert_eq!(sites.take("out"), out.into_dyn());
}

#[test]
fn the_layout_of_the_input_does_not_matter() {
    let (parts, x) = right();
    let mlp = parts.build();
    let mut columns = Array3::zeros(x.dim().f());
    columns.assign(&x);
    assert!(!columns.is_standard_layout());
    assert_eq!(forward(&mlp, columns.view()), forward(&mlp, x.view()));

    let view = x.slice(s![..;-1, 1..;3, ..]);
    assert!(!view.is_standard_layout());
    let copy = view.as_standard_layout();
    assert_eq!(forward(&mlp, view), forward(&mlp, copy.view()));
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
