//! The store of keys and values: its products, and everything it refuses.

mod common;

use common::{ROUNDING, bits, values};
use llorch_numerics::{CHUNK, Dim, KvPanels, ReadError, SCORE_CHUNK, ShapeError, StoreError};
use ndarray::{Array4, s};
use proptest::prelude::*;

fn array(seed: u64, shape: [usize; 4]) -> Array4<f32> {
    let values = values(seed, shape.iter().product());
    Array4::from_shape_vec(shape, values).expect("as many values")
}

/// A store of 2 rows, 3 heads and 5 channels with room for 8 positions, 6 of them taken.
fn store() -> KvPanels {
    let mut panels = KvPanels::new(2, 8, 3, 5).expect("a store");
    let shape = [2, 6, 3, 5];
    let appended = panels.append(array(1, shape).view(), array(2, shape).view());
    appended.expect("room");
    panels
}

/// Both directions of a head's product, or what was wrong with it.
fn read(
    panels: &KvPanels,
    place: (usize, usize),
    positions: usize,
    dim: usize,
) -> [Result<(), ReadError>; 2] {
    let (mut of_positions, mut of_channels) = (vec![7.0; positions], vec![7.0; dim]);
    let query = vec![1.0; dim];
    let probabilities = vec![1.0; positions];
    let found = [
        panels.scores(place, &query, 1.0, &mut of_positions),
        panels.average(place, &probabilities, &mut of_channels),
    ];
    if found.iter().all(Result::is_err) {
        let untouched = of_positions.iter().chain(&of_channels).all(|&x| x == 7.0);
        assert!(untouched, "an error that wrote something");
    }
    found
}

#[test]
fn what_it_holds_is_said_and_copied_out() {
    let panels = store();
    assert_eq!((panels.shape(), panels.capacity()), ([2, 6, 3, 5], 8));
    assert_eq!(bits(&panels.keys()), bits(&array(1, [2, 6, 3, 5])));
    assert_eq!(bits(&panels.values()), bits(&array(2, [2, 6, 3, 5])));
}

#[test]
fn a_store_of_no_size_is_refused() {
    for axis in 0..4 {
        let mut found = [2, 8, 3, 5];
        found[axis] = 0;
        let [batch, capacity, heads, dim] = found;
        let expected = ["B", "capacity", "H", "D"].map(Dim::Any).to_vec();
        let error = ShapeError {
            what: "store",
            expected,
            found: found.to_vec(),
        };
        let result = KvPanels::new(batch, capacity, heads, dim).map(|_| ());
        assert_eq!(result, Err(StoreError::Shape(error)));
    }
}

/// Too many elements, too many bytes, and more than any processor can address.
#[test]
fn a_store_too_large_for_memory_is_refused_and_does_not_abort() {
    for shape in [
        [usize::MAX, 2, 1, 1],
        [1, usize::MAX, 1, 1],
        [1, 1 << 48, 12, 64],
    ] {
        let [batch, capacity, heads, dim] = shape;
        let result = KvPanels::new(batch, capacity, heads, dim).map(|_| ());
        assert_eq!(result, Err(StoreError::TooLarge { shape }));
    }
}

#[test]
fn positions_past_the_end_are_refused_and_change_nothing() {
    let mut panels = store();
    let before = (bits(&panels.keys()), bits(&panels.values()));
    let new = array(3, [2, 3, 3, 5]);
    let full = StoreError::Full {
        capacity: 8,
        stored: 6,
        new: 3,
    };
    assert_eq!(panels.append(new.view(), new.view()), Err(full));
    assert_eq!(panels.shape(), [2, 6, 3, 5]);
    assert_eq!((bits(&panels.keys()), bits(&panels.values())), before);
}

#[test]
fn keys_and_values_of_unequal_length_are_refused_and_change_nothing() {
    let mut panels = store();
    let before = bits(&panels.keys());
    let (k, v) = (array(3, [2, 2, 3, 5]), array(4, [2, 1, 3, 5]));
    let expected = [2, 2, 3, 5].map(Dim::Is).to_vec();
    let error = ShapeError {
        what: "v",
        expected,
        found: vec![2, 1, 3, 5],
    };
    assert_eq!(
        panels.append(k.view(), v.view()),
        Err(StoreError::Shape(error))
    );
    assert_eq!(bits(&panels.keys()), before);
}

#[test]
fn rows_heads_and_positions_that_are_not_there_are_refused() {
    let panels = store();
    let outside = |what, limit, found| Err(ReadError::Outside { what, limit, found });
    for found in [2, usize::MAX] {
        let error = outside("batch row", 2, found);
        assert_eq!(read(&panels, (found, 0), 6, 5), [error.clone(), error]);
    }
    for found in [3, usize::MAX] {
        let error = outside("head", 3, found);
        assert_eq!(read(&panels, (1, found), 6, 5), [error.clone(), error]);
    }
    // 8 fit; the two that are not stored must not be read.
    for found in [7, 8, 9] {
        let error = outside("number of positions", 7, found);
        assert_eq!(read(&panels, (1, 2), found, 5), [error.clone(), error]);
    }
    assert_eq!(read(&panels, (1, 2), 6, 5), [Ok(()), Ok(())]);
}

#[test]
fn a_query_or_an_output_of_another_length_is_refused() {
    let panels = store();
    for length in [0, 4, 6] {
        let error = |what| {
            let (expected, found) = (vec![Dim::Is(5)], vec![length]);
            Err(ReadError::Shape(ShapeError {
                what,
                expected,
                found,
            }))
        };
        assert_eq!(
            read(&panels, (0, 0), 6, length),
            [error("query"), error("out")]
        );
    }
}

#[test]
fn errors_say_what_was_expected_and_what_was_found() {
    let outside = ReadError::Outside {
        what: "head",
        limit: 3,
        found: 4,
    };
    assert_eq!(outside.to_string(), "head: expected less than 3, found 4");
    let full = StoreError::Full {
        capacity: 8,
        stored: 6,
        new: 3,
    };
    assert_eq!(
        full.to_string(),
        "expected at most 8 positions, found 6 stored and 3 new"
    );
}

#[test]
fn the_average_over_no_position_is_zero() {
    let mut out = [7.0; 5];
    store()
        .average((0, 0), &[], &mut out)
        .expect("no positions");
    assert_eq!(bits(&out), [0; 5]);
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
        seen in any::<prop::sample::Index>(),
    ) {
        let shape = [2, stored, heads, dim];
        let (k, v) = (array(seed ^ 1, shape), array(seed ^ 2, shape));
        let mut panels = KvPanels::new(2, stored + spare, heads, dim).expect("a small store");
        panels.append(k.view(), v.view()).expect("room");
        let seen = seen.index(stored) + 1;
        let (query, probabilities) = (values(seed ^ 3, dim), values(seed ^ 4, seen));
        let (b, h) = (1, heads - 1);

        let mut scores = vec![0.0; seen];
        panels.scores((b, h), &query, 0.5, &mut scores).expect("stored positions");
        for (s, &found) in scores.iter().enumerate() {
            let key = k.slice(s![b, s, h, ..]);
            let (expected, allowed) = dot(SCORE_CHUNK, query.iter().zip(key.iter()));
            prop_assert!((2.0 * f64::from(found) - expected).abs() <= allowed + 1e-30);
        }
        let mut average = vec![0.0; dim];
        panels.average((b, h), &probabilities, &mut average).expect("stored positions");
        for (d, &found) in average.iter().enumerate() {
            let channel = v.slice(s![b, ..seen, h, d]);
            let (expected, allowed) = dot(CHUNK, probabilities.iter().zip(channel.iter()));
            prop_assert!((f64::from(found) - expected).abs() <= allowed + 1e-30);
        }
    }
}
