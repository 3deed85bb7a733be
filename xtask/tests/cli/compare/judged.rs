//! What the witness gave, in part, in other types or spoilt.

use llorch_parity::Tensor;
use ndarray::{ArrayD, Axis, Slice};

use super::{changed, compare, floats, folder, judged, witness, written};
use crate::support::outcome;

#[test]
fn float64_is_judged_as_float32_is() {
    let folder = folder();
    let widened = |_: &str, tensor: Tensor| match &tensor {
        Tensor::F32(values) => Some(Tensor::from(values.mapv(f64::from))),
        _ => Some(tensor),
    };
    let (code, report) = judged(&changed(&folder, "two-tokens", widened), &[]);
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(report["checkpoints"][0]["verdict"], "PASS");
}

#[test]
fn a_partial_dump_names_what_lies_between() {
    let folder = folder();
    let path = changed(&folder, "multibyte", |name, tensor| match name {
        "0/tokens" | "0/h.1" => Some(tensor),
        "0/h.2.mlp.fc" => Some(Tensor::from(floats(&tensor) * 1.5)),
        _ => None,
    });
    let (code, report) = judged(&path, &[]);
    assert_eq!(code, Some(1), "{report}");
    let wrong = &report["first_wrong"];
    assert_eq!(
        (&wrong["site"], &wrong["last_right"]),
        (&"0/h.2.mlp.fc".into(), &"0/h.1".into())
    );
    let between = wrong["between"].as_array().expect("names");
    assert_eq!(between.first(), Some(&"h.2.ln_1".into()));
    assert_eq!(between.last(), Some(&"h.2.ln_2".into()));
    let (_, printed) = outcome(&compare(&path, &[]));
    assert!(
        printed.contains("FAIL: first wrong at or before 0/h.2.mlp.fc"),
        "{printed}"
    );
    assert!(
        printed.contains("1.500000 times what it should be"),
        "{printed}"
    );
}

#[test]
fn logits_alone_are_enough_to_say_from_where_on_they_part() {
    let folder = folder();
    let wrong_from = |from: usize| {
        let path = changed(&folder, "multibyte", |name, tensor| match name {
            "0/tokens" => Some(tensor),
            "0/logits" => {
                let mut logits = floats(&tensor);
                let mut rest = logits.slice_axis_mut(Axis(1), Slice::from(from..));
                rest.mapv_inplace(|x| x + (2.0 * x).cos());
                Some(Tensor::from(logits))
            }
            _ => None,
        });
        judged(&path, &[])
    };
    let (code, report) = wrong_from(37);
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(
        report["not_in_the_dump"][0]["sites"]
            .as_array()
            .map(Vec::len),
        Some(18),
        "{report}"
    );
    let (code, report) = wrong_from(20);
    assert_eq!(code, Some(1), "{report}");
    assert_eq!(report["first_wrong"]["right_positions"], 20);
    assert_eq!(report["diagnosis"]["is_certain"], false);
}

/// Not one of these numbers is near what it should be, or is one.
#[test]
fn spoilt_tensors_fail_where_they_are() {
    type Spoil<'a> = &'a dyn Fn(ArrayD<f32>) -> ArrayD<f32>;
    let spoilt: [(&str, Spoil); 4] = [
        ("not finite", &|mut values| {
            values
                .iter_mut()
                .skip(7)
                .take(1)
                .for_each(|x| *x = f32::NAN);
            values
        }),
        ("shape", &|values| {
            values.insert_axis(Axis(1)).insert_axis(Axis(1))
        }),
        ("shape", &|values| {
            values.slice_axis(Axis(2), Slice::from(1..)).to_owned()
        }),
        ("differ too much", &|values| values.mapv(|x| x + 2e-3)),
    ];
    for (what, spoil) in spoilt {
        let folder = folder();
        let path = changed(&folder, "two-tokens", |name, tensor| match name {
            "0/h.2.ln_2" => Some(Tensor::from(spoil(floats(&tensor)))),
            _ => Some(tensor),
        });
        let (code, report) = judged(&path, &[]);
        assert_eq!(code, Some(1), "{what}: {report}");
        assert_eq!(report["first_wrong"]["site"], "0/h.2.ln_2", "{what}");
        let said = report["first_wrong"]["what"].as_str().expect("a sentence");
        assert!(said.contains(what), "{what}: {said}");
    }
}

/// Calls and names that a PASS is not about are said where it is.
#[test]
fn a_pass_says_what_it_is_not_about() {
    let folder = folder();
    let first_call = changed(&folder, "steps", |name, tensor| {
        name.starts_with("0/").then_some(tensor)
    });
    let (code, printed) = outcome(&compare(&first_call, &[]));
    assert_eq!(code, Some(0), "{printed}");
    assert!(
        printed.contains("not in the dump calls 1..=5: embed, ln_1,"),
        "{printed}"
    );

    let witness = witness("two-tokens");
    let misspelt = witness.iter().map(|(name, tensor)| {
        let name = name.replace("h.2.mlp.act", "h.2.mlp.atc");
        (name, tensor.clone())
    });
    let path = written(&folder, misspelt);
    let (code, printed) = outcome(&compare(&path, &[]));
    assert_eq!(code, Some(0), "{printed}");
    assert!(
        printed.contains("no such name    0/h.2.mlp.atc"),
        "{printed}"
    );
}
