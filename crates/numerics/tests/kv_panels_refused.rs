//! Everything that the store of keys and values refuses.

mod common;

use common::{array, bits, store};
use llorch_numerics::{Cpu, Dim, Isa, KvPanels, ReadError, ShapeError, StoreError};
use ndarray::Array2;

/// Both directions of one row's product, or what was wrong with it.
fn read(
    panels: &KvPanels,
    (batch, head): (usize, usize),
    positions: usize,
    dim: usize,
) -> [Result<(), ReadError>; 2] {
    let [mut scores, mut average] =
        [positions, dim].map(|length| Array2::from_elem((1, length), 7.0));
    let (query, probabilities) = (Array2::ones((1, dim)), Array2::ones((1, positions)));
    let (isa, place) = (Isa::best(), (batch, head));
    let found = [
        panels.scores(isa, place, query.view(), 1.0, scores.view_mut()),
        panels.average(
            isa,
            place,
            probabilities.view(),
            positions,
            average.view_mut(),
        ),
    ];
    if found.iter().all(Result::is_err) {
        let untouched = scores.iter().chain(&average).all(|&x| x == 7.0);
        assert!(untouched, "an error that wrote something");
    }
    found
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
    assert_eq!(
        panels.append(&Cpu::default(), new.view(), new.view()),
        Err(full)
    );
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
        panels.append(&Cpu::default(), k.view(), v.view()),
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
fn queries_or_an_output_of_another_shape_are_refused() {
    let panels = store();
    let shape_error = |what, expected: [Dim; 2], found: [usize; 2]| {
        let (expected, found) = (expected.to_vec(), found.to_vec());
        Err(ReadError::Shape(ShapeError {
            what,
            expected,
            found,
        }))
    };
    for length in [0, 4, 6] {
        let error = |what| shape_error(what, [Dim::Is(1), Dim::Is(5)], [1, length]);
        assert_eq!(
            read(&panels, (0, 0), 6, length),
            [error("queries"), error("out")]
        );
    }
    let (isa, three) = (Isa::best(), Array2::ones((3, 5)));
    let mut out = Array2::from_elem((2, 6), 7.0);
    let found = panels.scores(isa, (0, 0), three.view(), 1.0, out.view_mut());
    assert_eq!(
        found,
        shape_error("queries", [Dim::Is(2), Dim::Is(5)], [3, 5])
    );
    let mut out = Array2::from_elem((2, 5), 7.0);
    let found = panels.average(isa, (0, 0), three.view(), 3, out.view_mut());
    assert_eq!(found, shape_error("out", [Dim::Is(3), Dim::Is(5)], [2, 5]));
    assert!(out.iter().all(|&x| x == 7.0));
}

/// Three rows of which the first sees n take n + 2 probabilities each, and as many positions.
#[test]
fn probabilities_that_do_not_fit_what_the_rows_see_are_refused() {
    let (panels, mut out) = (store(), Array2::from_elem((3, 5), 7.0));
    let mut average = |columns, seen| {
        let probabilities = Array2::ones((3, columns));
        panels.average(
            Isa::best(),
            (0, 0),
            probabilities.view(),
            seen,
            out.view_mut(),
        )
    };
    for columns in [0, 1, 4, 6] {
        let error = ShapeError {
            what: "probabilities",
            expected: vec![Dim::Any("M"), Dim::Is(5)],
            found: vec![3, columns],
        };
        assert_eq!(average(columns, 3), Err(ReadError::Shape(error)));
    }
    for (seen, found) in [(5, 7), (usize::MAX, usize::MAX)] {
        let (what, limit) = ("number of positions", 7);
        assert_eq!(
            average(6, seen),
            Err(ReadError::Outside { what, limit, found })
        );
    }
    assert!(out.iter().all(|&x| x == 7.0));
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
