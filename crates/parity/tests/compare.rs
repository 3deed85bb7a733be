//! Dtype, order of the stages, values and figures of a comparison.

mod common;

use common::{constant, counting, mismatch};
use llorch_parity::{
    Comparison, Dtype, Mismatch, NonFinite, Reference, Rule, Side, Tensor, compare,
};
use ndarray::{arr0, arr1, array};

const INF: f32 = f32::INFINITY;

fn held(ours: &Tensor, witness: &Tensor, rule: Rule) -> Comparison {
    compare(ours, Reference::witness(witness), rule).unwrap()
}

#[test]
fn a_tensor_does_not_vouch_for_itself() {
    let tensor = counting(&[3]);
    let found = mismatch(&tensor, &tensor, Rule::exact());
    assert_eq!(found, Mismatch::Itself);
    assert_eq!(
        found.to_string(),
        "expected two tensors, found one compared with itself"
    );
    held(&tensor, &tensor.clone(), Rule::exact());
}

#[test]
fn float64_for_float32_is_a_mismatch_even_with_equal_values() {
    let (single, double) = (array![1.0f32].into(), array![1.0f64].into());
    let found = mismatch(&double, &single, Rule::within(1e-4));
    assert_eq!(
        found,
        Mismatch::Dtype {
            expected: Dtype::Float32,
            found: Dtype::Float64
        }
    );
    assert_eq!(found.to_string(), "dtype: expected float32, found float64");
    let ids = array![1i64].into();
    let found = mismatch(&single, &ids, Rule::within(1e-4));
    assert_eq!(
        found,
        Mismatch::Dtype {
            expected: Dtype::Int64,
            found: Dtype::Float32
        }
    );
}

#[test]
fn the_stages_come_in_order() {
    // Wrong in dtype, shape, finiteness and value; then in one respect less at a time.
    let reference = constant(&[2, 2], 1.0);
    let nan = f64::NAN;
    let ours = array![nan, 5.0].into();
    assert!(matches!(
        mismatch(&ours, &reference, Rule::exact()),
        Mismatch::Dtype { .. }
    ));
    let ours = array![f32::NAN, 5.0].into();
    let found = mismatch(&ours, &reference, Rule::exact());
    assert_eq!(found.to_string(), "shape: expected [2, 2], found [2]");
    let ours = array![[5.0, 1.0], [f32::NAN, 1.0]].into();
    let found = mismatch(&ours, &reference, Rule::exact());
    assert_eq!(
        found.to_string(),
        "not finite: expected a number, found NaN at [1, 0] of ours"
    );
    let ours = array![[5.0f32, 1.0], [1.0, 1.0]].into();
    assert!(matches!(
        mismatch(&ours, &reference, Rule::exact()),
        Mismatch::Values(_)
    ));
}

#[test]
fn values_over_the_bound_are_counted_and_the_worst_is_placed() {
    let reference = array![[1.0f32, -2000.0], [0.0, 1.0]].into();
    let ours = array![[1.0f32, -2000.15], [0.002, 1.001]].into();
    let Mismatch::Values(comparison) = mismatch(&ours, &reference, Rule::within(1e-4)) else {
        panic!("expected Values");
    };
    // The largest difference, 0.15, is within its bound of 0.2: large values have large bounds.
    assert_eq!((comparison.elements, comparison.over), (4, 2));
    let worst = &comparison.worst;
    assert_eq!(
        (worst.index.as_slice(), worst.reference),
        (&[1, 0][..], 0.0)
    );
    assert_eq!(worst.ours, f64::from(0.002f32));
    assert_eq!(
        (worst.difference, worst.allowed),
        (f64::from(0.002f32), 1e-4)
    );
    assert!((worst.share() - 20.0).abs() < 1e-5);
    let text = Mismatch::Values(comparison).to_string();
    assert!(
        text.starts_with("values: 2 of 4 elements differ too much, the worst at [1, 0]"),
        "{text}"
    );
}

#[test]
fn of_equal_shares_the_larger_difference_is_the_worst_then_the_first() {
    let worst = |ours: [f32; 4]| {
        // Half of what is allowed everywhere: 0.5 at 0, 2 at 4.
        let reference = ours.map(|value| if value < 1.0 { 0.0 } else { 4.0 });
        let [ours, reference] = [ours, reference].map(|values| Tensor::from(arr1(&values)));
        held(&ours, &reference, Rule::within(0.5)).worst.index
    };
    assert_eq!(worst([0.25, 5.0, 3.0, -0.25]), [1]);
    assert_eq!(worst([3.0, 0.25, 5.0, 0.25]), [0]);
    assert_eq!(worst([0.25, -0.25, 0.25, 0.25]), [0]);
}

#[test]
fn the_bound_itself_is_admitted_and_the_next_number_is_not() {
    let reference = array![0.0f64].into();
    let at: Tensor = array![1e-4f64].into();
    assert_eq!(held(&at, &reference, Rule::within(1e-4)).over, 0);
    let next = array![1e-4f64.next_up()].into();
    assert!(matches!(
        mismatch(&next, &reference, Rule::within(1e-4)),
        Mismatch::Values(_)
    ));
}

#[test]
fn exact_means_equal_bits() {
    let reference = array![1.0f32, 0.0].into();
    let equal = held(&array![1.0f32, 0.0].into(), &reference, Rule::exact());
    assert_eq!(equal.worst.share(), 0.0);
    let next = array![1.0f32.next_up(), 0.0].into();
    assert!(matches!(
        mismatch(&next, &reference, Rule::exact()),
        Mismatch::Values(_)
    ));
    let Mismatch::Values(found) = mismatch(&array![1.0f32, -0.0].into(), &reference, Rule::exact())
    else {
        panic!("expected Values");
    };
    assert_eq!((found.over, found.worst.index.as_slice()), (1, &[1][..]));
    assert_eq!(
        (found.worst.difference, found.worst.share()),
        (0.0, f64::INFINITY)
    );
    // Within a tolerance the two zeros are the same number.
    held(&array![1.0f32, -0.0].into(), &reference, Rule::within(1e-6));
}

#[test]
fn integers_are_equal_or_not_under_any_tolerance() {
    let big = i64::MAX;
    let reference = array![7, big].into();
    assert_eq!(
        held(&array![7, big].into(), &reference, Rule::within(0.5)).elements,
        2
    );
    // Neighbours that float64 cannot tell apart.
    let found = mismatch(&array![7, big - 1].into(), &reference, Rule::within(0.5));
    let Mismatch::Values(found) = found else {
        panic!("expected Values, found {found}")
    };
    assert_eq!((found.over, found.worst.difference), (1, 1.0));
    assert_eq!(found.worst.share(), f64::INFINITY);
}

#[test]
fn a_senseless_tolerance_passes_nothing() {
    for t in [f64::NAN, f64::INFINITY, -1.0, 0.0, 1.0] {
        let found = mismatch(&counting(&[3]), &counting(&[3]), Rule::within(t));
        assert!(
            matches!(&found, Mismatch::Values(c) if c.over == 3),
            "{t}: {found}"
        );
    }
}

#[test]
fn a_scalar_is_one_element() {
    let comparison = held(&arr0(2.0f32).into(), &arr0(2.0f32).into(), Rule::exact());
    assert_eq!(comparison.elements, 1);
    assert!(comparison.worst.index.is_empty());
}

#[test]
fn relative_error_is_per_element_above_the_rms_and_relative_to_it_below() {
    // RMS of (3, 4, 0, 0) is 2.5.
    let reference = array![3.0f64, 4.0, 0.0, 0.0].into();
    let below = array![3.0f64, 4.0, 0.025, 0.0].into();
    let found = held(&below, &reference, Rule::within(0.1)).worst_relative;
    assert!((found - 0.01).abs() < 1e-15, "{found}");
    let above = array![3.0f64, 4.2, 0.0, 0.0].into();
    let found = held(&above, &reference, Rule::within(0.1)).worst_relative;
    assert!((found - 0.05).abs() < 1e-15, "{found}");
    let zero = constant(&[2], 0.0);
    assert_eq!(
        held(&zero, &zero.clone(), Rule::within(0.1)).worst_relative,
        0.0
    );
    let found = held(&constant(&[2], 1e-3), &zero, Rule::within(0.1)).worst_relative;
    assert_eq!(found, f64::INFINITY);
}

#[test]
fn errors_against_the_truth_are_summed_in_float64_in_units_of_the_witness() {
    let witness: Tensor = array![1.0f32, -INF, 2.0].into();
    let delta: Tensor = array![2e-7f32, 0.0, -1e-7].into();
    let ours: Tensor = array![1.0f32, -INF, 2.0000002].into();
    let reference = Reference::with_truth(&witness, &delta);
    let errors = compare(&ours, reference, Rule::within(1e-5).masked())
        .unwrap()
        .errors
        .unwrap();
    let (a, b) = (f64::from(2e-7f32), f64::from(-1e-7f32));
    let ours_off = f64::from(2.0000002f32) - 2.0;
    // The witness is 1 at the first place and 2 at the other: there an error counts half.
    assert_eq!(errors.witness, a * a + (b / 2.0) * (b / 2.0));
    let off = (ours_off - b) / 2.0;
    assert_eq!(errors.ours, a * a + off * off);
    let reference = Reference::witness(&witness);
    assert_eq!(
        compare(&ours, reference, Rule::within(1e-5).masked())
            .unwrap()
            .errors,
        None
    );
}

#[test]
fn a_truth_that_does_not_belong_to_the_witness_is_refused() {
    let witness = counting(&[2, 3]);
    let ours = witness.clone();
    let refused = |witness: &Tensor, delta: Tensor| {
        let reference = Reference::with_truth(witness, &delta);
        compare(&ours, reference, Rule::within(1e-4)).unwrap_err()
    };
    let found = refused(&witness, constant(&[1, 3], 0.0));
    assert_eq!(
        found.to_string(),
        "truth: expected floats [2, 3], found float32 [1, 3]"
    );
    let found = refused(&witness, array![[0i64, 0, 0], [0, 0, 0]].into());
    assert!(matches!(found, Mismatch::Truth { .. }), "{found}");
    let found = refused(&witness, constant(&[2, 3], f32::NAN));
    let (side, index) = (Side::Truth, vec![0, 0]);
    assert_eq!(
        found,
        Mismatch::NotFinite {
            side,
            index,
            found: NonFinite::NaN
        }
    );
    let ids: Tensor = array![1i64].into();
    let delta = array![0.0f32].into();
    let found = compare(
        &ids.clone(),
        Reference::with_truth(&ids, &delta),
        Rule::exact(),
    );
    assert!(matches!(found, Err(Mismatch::Truth { .. })));
}
