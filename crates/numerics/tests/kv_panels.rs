//! The store of keys and values: what it holds, and its products.

mod common;

use common::{ROUNDING, array, bits, cpu, matrix, store};
use llorch_numerics::{CHUNK, Cpu, Isa, KvPanels, SCORE_CHUNK};
use ndarray::{Array2, ShapeBuilder, s};
use proptest::prelude::*;

#[test]
fn what_it_holds_is_said_and_copied_out() {
    let panels = store();
    assert_eq!((panels.shape(), panels.capacity()), ([2, 6, 3, 5], 8));
    assert_eq!(bits(&panels.keys()), bits(&array(1, [2, 6, 3, 5])));
    assert_eq!(bits(&panels.values()), bits(&array(2, [2, 6, 3, 5])));
}

#[test]
fn threads_change_no_bit_of_what_is_stored() {
    for threads in [1, 2, 3, 8] {
        let mut panels = KvPanels::new(2, 80, 3, 41).expect("a store");
        for (positions, seed) in [(1, 1), (35, 2), (44, 3)] {
            let shape = [2, positions, 3, 41];
            let (k, v) = (array(seed, shape), array(seed + 10, shape));
            panels
                .append(&cpu(threads), k.view(), v.view())
                .expect("room");
            let new = s![.., panels.shape()[1] - positions.., .., ..];
            assert_eq!(bits(panels.keys().slice(new)), bits(&k));
            assert_eq!(bits(panels.values().slice(new)), bits(&v));
        }
    }
}

/// The future's probabilities are not multiplied by the future's values, not even by zero.
#[test]
fn what_a_row_does_not_see_is_not_read() {
    let (panels, clean) = (store(), matrix(3, 4, 6));
    let mut dirty = clean.clone();
    for ((m, s), probability) in dirty.indexed_iter_mut() {
        if s >= 3 + m {
            *probability = f32::NAN;
        }
    }
    let [clean, dirty] = [clean, dirty].map(|probabilities| {
        let mut out = Array2::zeros((4, 5));
        let average = panels.average(Isa::best(), (1, 2), probabilities.view(), 3, out.view_mut());
        average.expect("stored positions");
        out
    });
    assert!(clean.iter().all(|x| x.is_finite()));
    assert_eq!(bits(&dirty), bits(&clean));
}

#[test]
fn axes_and_memory_order_do_not_matter() {
    let (panels, isa) = (store(), Isa::best());
    let (queries, probabilities) = (matrix(3, 4, 5), matrix(4, 4, 6));
    let run = |queries: &Array2<f32>, probabilities: &Array2<f32>, turned: bool| {
        let mut scores = Array2::zeros((4, 6).set_f(turned));
        let mut average = Array2::zeros((4, 5).set_f(turned));
        panels
            .scores(isa, (0, 1), queries.view(), 0.5, scores.view_mut())
            .and_then(|()| {
                let probabilities = probabilities.view();
                panels.average(isa, (0, 1), probabilities, 3, average.view_mut())
            })
            .expect("stored positions");
        [bits(&scores), bits(&average)]
    };
    let columns_first =
        |array: &Array2<f32>| array.t().as_standard_layout().into_owned().reversed_axes();
    let turned = [&queries, &probabilities].map(columns_first);
    assert!(turned.iter().all(|array| !array.is_standard_layout()));
    let straight = run(&queries, &probabilities, false);
    assert_eq!(run(&turned[0], &turned[1], true), straight);
    assert_eq!(run(&queries, &probabilities, true), straight);
}

#[test]
fn the_average_over_no_position_is_zero() {
    let mut out = Array2::from_elem((2, 5), 7.0);
    let probabilities = Array2::ones((2, 1));
    store()
        .average(Isa::best(), (0, 0), probabilities.view(), 0, out.view_mut())
        .expect("none, and one position");
    assert_eq!(bits(out.row(0)), [0; 5]);
    assert_eq!(
        bits(out.row(1)),
        bits(array(2, [2, 6, 3, 5]).slice(s![0, 0, 0, ..]))
    );
}

/// `a . b` in float64, with what `length` terms a chain may be off in float32 at most.
fn dot<'a>(length: usize, pairs: impl ExactSizeIterator<Item = (&'a f32, &'a f32)>) -> (f64, f64) {
    let count = pairs.len();
    let roundings = (count.min(length) + count.div_ceil(length)) as f64;
    let (sum, magnitude) = pairs.fold((0.0, 0.0), |(sum, magnitude), (&a, &b)| {
        let term = f64::from(a) * f64::from(b);
        (sum + term, magnitude + f64::abs(term))
    });
    (sum, 1.01 * roundings * ROUNDING * magnitude)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn products_of_any_size_are_right(
        (heads, dim, stored, spare) in (1..4_usize, 1..70_usize, 1..80_usize, 0..40_usize),
        seed in any::<u64>(),
        (seen, rows) in any::<(prop::sample::Index, prop::sample::Index)>(),
    ) {
        let shape = [2, stored, heads, dim];
        let (k, v) = (array(seed ^ 1, shape), array(seed ^ 2, shape));
        let mut panels = KvPanels::new(2, stored + spare, heads, dim).expect("a small store");
        panels.append(&Cpu::default(), k.view(), v.view()).expect("room");
        let seen = seen.index(stored) + 1;
        let rows = rows.index(seen.min(20)) + 1;
        let first = seen + 1 - rows;
        let (queries, probabilities) = (matrix(seed ^ 3, rows, dim), matrix(seed ^ 4, rows, seen));
        let (b, h) = (1, heads - 1);

        let mut scores = Array2::zeros((rows, seen));
        panels.scores(Isa::best(), (b, h), queries.view(), 0.5, scores.view_mut()).expect("stored positions");
        for ((m, s), &found) in scores.indexed_iter() {
            let key = k.slice(s![b, s, h, ..]);
            let (expected, allowed) = dot(SCORE_CHUNK, queries.row(m).iter().zip(key.iter()));
            prop_assert!((2.0 * f64::from(found) - expected).abs() <= allowed + 1e-30);
        }
        let mut average = Array2::zeros((rows, dim));
        panels.average(Isa::best(), (b, h), probabilities.view(), first, average.view_mut()).expect("stored positions");
        for ((m, d), &found) in average.indexed_iter() {
            let visible = ..first + m;
            let (row, channel) = (probabilities.slice(s![m, visible]), v.slice(s![b, visible, h, d]));
            let (expected, allowed) = dot(CHUNK, row.iter().zip(channel.iter()));
            prop_assert!((f64::from(found) - expected).abs() <= allowed + 1e-30);
        }
    }
}
