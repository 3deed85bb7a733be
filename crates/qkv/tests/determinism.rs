//! Equal to the bit, on a real layer and what goes into it.

mod common;

use common::{Parts, bits};
use llorch_fixtures::tiny;
use llorch_qkv::Qkv;
use ndarray::{Array3, Array4, ArrayView3, Axis, ShapeBuilder, concatenate, s};

/// The projection, and four rows of 11 positions: the batch's three and the start of another prompt.
fn right() -> (Parts, Array3<f32>) {
    let fixture = tiny();
    let batch = fixture.case("batch").stream(0, "h.2.ln_1");
    let other = fixture.case("multibyte").stream(0, "h.2.ln_1");
    let other = other.slice(s![.., ..batch.dim().1, ..]);
    let x = concatenate(Axis(0), &[batch.view(), other]).expect("rows of equal length");
    assert_eq!(x.dim().0, 4);
    (Parts::of(&fixture, 2), x)
}

fn forward(qkv: &Qkv, x: ArrayView3<f32>) -> [Array4<u32>; 3] {
    bits(&qkv.forward(x).expect("heads"))
}

#[test]
fn runs_and_threads_agree() {
    let (parts, x) = right();
    let qkv = parts.build();
    let first = forward(&qkv, x.view());
    std::thread::scope(|scope| {
        let runs = [(); 4].map(|()| scope.spawn(|| forward(&qkv, x.view())));
        for run in runs {
            assert_eq!(run.join().expect("a run"), first);
        }
    });
    assert_eq!(forward(&parts.build(), x.view()), first, "built anew");
}

#[test]
fn a_row_has_its_bits_in_any_batch() {
    let (parts, x) = right();
    let qkv = parts.build();
    for batch in 1..=4 {
        let together = forward(&qkv, x.slice(s![..batch, .., ..]));
        for row in 0..batch {
            let alone = forward(&qkv, x.slice(s![row..=row, .., ..]));
            for (together, alone) in together.iter().zip(alone) {
                let together = together.slice(s![row..=row, .., .., ..]);
                assert_eq!(together, alone, "{row} of {batch}");
            }
        }
    }
}

#[test]
fn chunks_have_the_bits_of_the_whole() {
    let (parts, x) = right();
    let qkv = parts.build();
    let whole = forward(&qkv, x.view());
    for length in 1..=x.dim().1 {
        for (index, chunk) in x.axis_chunks_iter(Axis(1), length).enumerate() {
            let place = index * length..index * length + chunk.dim().1;
            for (whole, chunk) in whole.iter().zip(forward(&qkv, chunk)) {
                let whole = whole.slice(s![.., place.clone(), .., ..]);
                assert_eq!(whole, chunk, "chunks of {length}");
            }
        }
    }
}

#[test]
fn the_layout_of_the_input_does_not_matter() {
    let (parts, x) = right();
    let qkv = parts.build();
    let mut columns = Array3::zeros(x.dim().f());
    columns.assign(&x);
    assert!(!columns.is_standard_layout());
    assert_eq!(forward(&qkv, columns.view()), forward(&qkv, x.view()));

    let view = x.slice(s![..;-1, 1..;3, ..]);
    assert!(!view.is_standard_layout());
    let copy = view.as_standard_layout();
    assert_eq!(forward(&qkv, view), forward(&qkv, copy.view()));
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
