//! Shapes are equal axis by axis, or they are refused with both of them named.

use llorch_numerics::{Dim, check_shape};
use proptest::prelude::*;

#[test]
fn a_size_of_zero_is_refused_even_where_zero_is_expected() {
    assert!(check_shape("x", &[0], &[Dim::Any("T")]).is_err());
    assert!(check_shape("x", &[0], &[Dim::Is(0)]).is_err());
}

#[test]
fn the_message_names_the_array_and_both_shapes() {
    let error = check_shape(
        "q",
        &[12, 12, 64],
        &[Dim::Is(2), Dim::Any("T"), Dim::Is(64)],
    );
    let error = error.expect_err("twelve rows are not two");
    assert_eq!(
        error.to_string(),
        "q: expected shape [2, T, 64], found [12, 12, 64]"
    );
    let error = check_shape("x", &[], &[Dim::Is(3)]).expect_err("no axes");
    assert_eq!(error.to_string(), "x: expected shape [3], found []");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_shape_fits_itself_and_no_other(
        shape in prop::collection::vec(1..6_usize, 0..5),
        other in prop::collection::vec(0..6_usize, 0..5),
    ) {
        let exact: Vec<Dim> = shape.iter().copied().map(Dim::Is).collect();
        prop_assert_eq!(check_shape("x", &shape, &exact), Ok(()));
        prop_assert_eq!(check_shape("x", &other, &exact).is_ok(), other == shape);

        let any = vec![Dim::Any("N"); shape.len()];
        let fits = other.len() == shape.len() && !other.contains(&0);
        match check_shape("x", &other, &any) {
            Ok(()) => prop_assert!(fits),
            Err(error) => {
                prop_assert!(!fits);
                prop_assert_eq!((error.what, error.expected, error.found), ("x", any, other));
            }
        }
    }
}
