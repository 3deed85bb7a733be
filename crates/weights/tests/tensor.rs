//! The numbers that come out.

mod common;

use common::{Item, folder, folder_of, item, model, shifted};
use llorch_weights::{Error, Weights};

fn halves(dtype: &'static str, patterns: &[u16]) -> Item {
    Item {
        key: "wpe.weight".into(),
        dtype,
        shape: vec![patterns.len()],
        bytes: patterns
            .iter()
            .flat_map(|bits| bits.to_le_bytes())
            .collect(),
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|x| x.to_bits()).collect()
}

#[test]
fn float32_is_borrowed_and_keeps_every_bit() {
    let values = [0.0, -0.0, 1.5, f32::MIN_POSITIVE, 1e-45, f32::MAX, f32::MIN];
    let mut it = item("ln_f.bias", &[7], 0.0);
    it.bytes = values.iter().flat_map(|x: &f32| x.to_le_bytes()).collect();
    let dir = folder_of(&[it]);
    let weights = Weights::open(dir.path()).unwrap();
    let tensor = weights.tensor("ln_f.bias", &[7]).unwrap();
    assert_eq!(bits(tensor.as_slice()), bits(&values));
    assert_eq!(tensor.is_borrowed(), cfg!(target_endian = "little"));
    assert_eq!((tensor.name(), tensor.shape()), ("ln_f.bias", &[7][..]));
}

#[test]
fn unaligned_float32_is_copied() {
    for shift in [1, 2, 3, 4] {
        let bytes = shifted(&model(""), shift);
        let dir = folder([("model.safetensors", &bytes)]);
        let weights = Weights::open(dir.path()).unwrap();
        let tensor = weights.tensor("wpe.weight", &[3, 4]).unwrap();
        let expected: Vec<f32> = (100..112).map(|i| i as f32).collect();
        assert_eq!(tensor.as_slice(), expected);
        assert_eq!(
            tensor.is_borrowed(),
            shift == 4 && cfg!(target_endian = "little")
        );
    }
}

/// Every finite float16 against its definition (IEEE 754, binary16).
#[test]
fn float16_converts_exactly() {
    let patterns: Vec<u16> = (0..=u16::MAX).filter(|b| b >> 10 & 31 != 31).collect();
    let value = |b: &u16| {
        let (exponent, fraction) = (i32::from(b >> 10 & 31), f64::from(b & 1023) / 1024.0);
        let magnitude = match exponent {
            0 => fraction * 2f64.powi(-14),
            _ => (1.0 + fraction) * 2f64.powi(exponent - 15),
        };
        (if b >> 15 == 1 { -magnitude } else { magnitude }) as f32
    };
    let dir = folder_of(&[halves("F16", &patterns)]);
    let weights = Weights::open(dir.path()).unwrap();
    let tensor = weights.tensor("wpe.weight", &[patterns.len()]).unwrap();
    let expected: Vec<f32> = patterns.iter().map(value).collect();
    assert_eq!(expected.len(), 63_488);
    assert_eq!(bits(tensor.as_slice()), bits(&expected));
    assert!(!tensor.is_borrowed());
}

/// Every finite bfloat16: the upper half of a float32.
#[test]
fn bfloat16_converts_exactly() {
    let patterns: Vec<u16> = (0..=u16::MAX).filter(|b| b >> 7 & 255 != 255).collect();
    let dir = folder_of(&[halves("BF16", &patterns)]);
    let weights = Weights::open(dir.path()).unwrap();
    let tensor = weights.tensor("wpe.weight", &[patterns.len()]).unwrap();
    let expected: Vec<u32> = patterns.iter().map(|b| u32::from(*b) << 16).collect();
    assert_eq!(expected.len(), 65_280);
    assert_eq!(bits(tensor.as_slice()), expected);
}

#[test]
fn numbers_that_are_not_finite() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut it = item("wpe.weight", &[3, 4], 0.0);
        // The second one is not the first place.
        it.bytes[4 * 6..4 * 7].copy_from_slice(&bad.to_le_bytes());
        it.bytes[4 * 9..4 * 10].copy_from_slice(&f32::NAN.to_le_bytes());
        let dir = folder_of(&[it]);
        let error = Weights::open(dir.path())
            .unwrap()
            .tensor("wpe.weight", &[3, 4])
            .unwrap_err();
        let Error::NotFinite { name, index, found } = &error else {
            panic!("{error}")
        };
        assert_eq!(
            (&name[..], &index[..], found.to_bits()),
            ("wpe.weight", &[1, 2][..], bad.to_bits())
        );
    }
    for (dtype, infinity) in [("F16", 0x7c00), ("BF16", 0x7f80)] {
        let dir = folder_of(&[halves(dtype, &[0, 0, infinity])]);
        let error = Weights::open(dir.path())
            .unwrap()
            .tensor("wpe.weight", &[3])
            .unwrap_err();
        assert!(
            matches!(&error, Error::NotFinite { index, .. } if index == &[2]),
            "{error}"
        );
    }
}

/// They are looked for a block at a time; the first is named, wherever it is.
#[test]
fn the_first_of_several_numbers_that_are_not_finite_is_named() {
    for place in [0, 1, 62, 63, 64, 65, 127, 128, 198, 199] {
        let mut it = item("ln_f.bias", &[200], 0.0);
        for bad in [place, (place + 40).min(199)] {
            it.bytes[4 * bad..][..4].copy_from_slice(&f32::NEG_INFINITY.to_le_bytes());
        }
        let dir = folder_of(&[it]);
        let weights = Weights::open(dir.path()).unwrap();
        let error = weights.tensor("ln_f.bias", &[200]).unwrap_err();
        assert!(
            matches!(&error, Error::NotFinite { index, .. } if index == &[place]),
            "{error}"
        );
    }
}

#[test]
fn matrices_stay_as_stored() {
    let dir = folder_of(&model("transformer."));
    let weights = Weights::open(dir.path()).unwrap();
    let tensor = weights.tensor("h.0.attn.c_attn.weight", &[4, 12]).unwrap();
    let view = tensor.view2().unwrap();
    assert_eq!(view.dim(), (4, 12));
    for ((i, o), value) in view.indexed_iter() {
        assert_eq!(*value, 400.0 + (12 * i + o) as f32);
    }
    let bias = weights.tensor("h.0.attn.c_attn.bias", &[12]).unwrap();
    assert_eq!(bias.view1().unwrap()[11], 511.0);
}

#[test]
fn a_view_of_another_rank() {
    let dir = folder_of(&model(""));
    let weights = Weights::open(dir.path()).unwrap();
    let error = weights
        .tensor("ln_f.bias", &[4])
        .unwrap()
        .view2()
        .unwrap_err();
    let Error::Rank {
        name,
        expected: 2,
        found,
    } = &error
    else {
        panic!("{error}")
    };
    assert_eq!((&name[..], &found[..]), ("ln_f.bias", &[4][..]));
    let error = weights
        .tensor("wpe.weight", &[3, 4])
        .unwrap()
        .view1()
        .unwrap_err();
    assert!(matches!(error, Error::Rank { expected: 1, .. }), "{error}");
}

#[test]
fn another_name_or_shape_than_the_files() {
    let dir = folder_of(&model("transformer."));
    let weights = Weights::open(dir.path()).unwrap();
    // Names have no prefix, whatever the file has.
    for name in ["no.such", "transformer.wpe.weight"] {
        let error = weights.tensor(name, &[3, 4]).unwrap_err();
        let Error::Missing { missing } = &error else {
            panic!("{error}")
        };
        assert_eq!(
            (&missing[0].name[..], &missing[0].shape[..]),
            (name, &[3, 4][..])
        );
    }
    for shape in [&[4, 3][..], &[12], &[3, 4, 1], &[]] {
        let error = weights.tensor("wpe.weight", shape).unwrap_err();
        let Error::Shape {
            expected, found, ..
        } = &error
        else {
            panic!("{error}")
        };
        assert_eq!((&expected[..], &found[..]), (shape, &[3, 4][..]));
    }
}

/// Shapes with a zero in them, and scalars, are tensors too.
#[test]
fn empty_tensors_and_scalars() {
    let dir = folder_of(&[item("empty", &[0, 3], 0.0), item("scalar", &[], 5.0)]);
    let weights = Weights::open(dir.path()).unwrap();
    assert_eq!(
        weights
            .tensor("empty", &[0, 3])
            .unwrap()
            .view2()
            .unwrap()
            .dim(),
        (0, 3)
    );
    assert_eq!(weights.tensor("scalar", &[]).unwrap().as_slice(), [5.0]);
}
