//! Equal to the bit, on the embedded model's last normalisation and what goes into it.

mod common;

use common::{Parts, bits};
use llorch_fixtures::tiny;
use llorch_layernorm::LayerNorm;
use ndarray::{Array3, ArrayView3, Axis, ShapeBuilder, concatenate, s};

/// The normalisation, and four rows of 11 positions: the batch's three and the start of another prompt.
fn right() -> (LayerNorm, Array3<f32>) {
    let fixture = tiny();
    let layers = fixture.config.n_layer();
    let batch = fixture.case("batch").block_input(0, layers);
    let other = fixture.case("multibyte").block_input(0, layers);
    let other = other.slice(s![.., ..batch.dim().1, ..]);
    let x = concatenate(Axis(0), &[batch.view(), other]).expect("rows of equal length");
    assert_eq!(x.dim().0, 4);
    (Parts::of(&fixture, "ln_f").build(), x)
}

fn forward(norm: &LayerNorm, x: ArrayView3<f32>) -> Array3<u32> {
    bits(norm.forward(x).expect("a normalised array").view())
}

#[test]
fn runs_and_threads_agree() {
    let (norm, x) = right();
    let first = forward(&norm, x.view());
    std::thread::scope(|scope| {
        let runs = [(); 4].map(|()| scope.spawn(|| forward(&norm, x.view())));
        for run in runs {
            assert_eq!(run.join().expect("a run"), first);
        }
    });
    assert_eq!(forward(&right().0, x.view()), first, "built anew");
}

#[test]
fn a_row_has_its_bits_in_any_batch() {
    let (norm, x) = right();
    for batch in 1..=4 {
        let together = forward(&norm, x.slice(s![..batch, .., ..]));
        for row in 0..batch {
            let alone = forward(&norm, x.slice(s![row..=row, .., ..]));
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
    let (norm, x) = right();
    let whole = forward(&norm, x.view());
    for length in 1..=x.dim().1 {
        let chunks = x.axis_chunks_iter(Axis(1), length);
        for (chunk, whole) in chunks.zip(whole.axis_chunks_iter(Axis(1), length)) {
            assert_eq!(forward(&norm, chunk), whole, "chunks of {length}");
        }
    }
}

#[test]
fn the_layout_of_the_input_does_not_matter() {
    let (norm, x) = right();
    let mut columns = Array3::zeros(x.dim().f());
    columns.assign(&x);
    assert!(!columns.is_standard_layout());
    assert_eq!(forward(&norm, columns.view()), forward(&norm, x.view()));

    let view = x.slice(s![..;-1, 1..;3, ..]);
    assert!(!view.is_standard_layout());
    let copy = view.as_standard_layout();
    assert_eq!(forward(&norm, view), forward(&norm, copy.view()));
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
