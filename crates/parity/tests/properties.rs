//! What holds for any tensors.

mod common;

use llorch_parity::{Mismatch, Reference, Rule, Tensor, Trace, compare};
use ndarray::{ArrayD, IxDyn};
use proptest::prelude::*;

fn shape() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(1usize..5, 0..5)
}

fn tensor_of(shape: Vec<usize>) -> impl Strategy<Value = ArrayD<f32>> {
    let count = shape.iter().product::<usize>();
    let value = prop_oneof![-3.0f32..3.0, -5000.0f32..5000.0, Just(0.0)];
    prop::collection::vec(value, count)
        .prop_map(move |values| ArrayD::from_shape_vec(IxDyn(&shape), values).unwrap())
}

fn tensor() -> impl Strategy<Value = ArrayD<f32>> {
    shape().prop_flat_map(tensor_of)
}

fn rule() -> impl Strategy<Value = Rule> {
    prop_oneof![Just(Rule::exact()), (1e-6..0.1).prop_map(Rule::within)]
}

proptest! {
    #[test]
    fn a_copy_is_equal(array in tensor(), rule in rule()) {
        let (ours, witness) = (Tensor::from(array.clone()), Tensor::from(array));
        let comparison = compare(&ours, Reference::witness(&witness), rule).unwrap();
        prop_assert_eq!(comparison.elements, witness.len());
        prop_assert_eq!((comparison.over, comparison.worst_relative), (0, 0.0));
    }

    #[test]
    fn one_element_over_the_bound_is_found(
        array in tensor(),
        place in any::<prop::sample::Index>(),
        t in 1e-4..0.1,
        beyond in 1.01..1e6,
        sign in prop::sample::select(vec![-1.0, 1.0]),
    ) {
        let mut ours = array.clone();
        let place = place.index(array.len());
        let value = ours.iter_mut().nth(place).unwrap();
        let bound = t * f64::from(value.abs().max(1.0));
        *value = (f64::from(*value) + sign * beyond * bound) as f32;
        let (ours, witness) = (Tensor::from(ours), Tensor::from(array));
        let found = compare(&ours, Reference::witness(&witness), Rule::within(t)).unwrap_err();
        let Mismatch::Values(found) = found else { panic!("{found}") };
        prop_assert_eq!(found.over, 1);
        let strides = witness.shape().iter().rev().scan(1, |stride, axis| {
            let own = *stride;
            *stride *= axis;
            Some(own)
        });
        let flat: usize = found.worst.index.iter().rev().zip(strides).map(|(i, s)| i * s).sum();
        prop_assert_eq!(flat, place);
    }

    #[test]
    fn unequal_shapes_are_never_equal(a in shape(), b in shape(), rule in rule()) {
        prop_assume!(a != b);
        let (ours, witness) = (common::constant(&a, 1.0), common::constant(&b, 1.0));
        let found = compare(&ours, Reference::witness(&witness), rule).unwrap_err();
        prop_assert_eq!(found, Mismatch::Shape { expected: b, found: a });
    }

    #[test]
    fn an_npz_gives_back_what_went_in(
        tensors in prop::collection::btree_map("[a-z0-9./_]{1,12}", tensor(), 1..4),
        ids in prop::collection::vec(any::<i64>(), 1..5),
    ) {
        let mut trace = Trace::new();
        for (name, array) in tensors {
            trace.insert(name, array).unwrap();
        }
        trace.insert("IDS", ndarray::Array::from_vec(ids)).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.npz");
        trace.write_npz(&path).unwrap();
        prop_assert_eq!(Trace::read_npz(&path).unwrap(), trace);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(Trace::from_npz("t.npz", &bytes).is_err());
    }
}
