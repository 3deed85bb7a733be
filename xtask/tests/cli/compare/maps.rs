//! Names and orders of axes.

use std::fs;

use llorch_parity::Tensor;
use ndarray::IxDyn;

use super::{changed, floats, folder, judged, npy, text, witness, written};

#[test]
fn a_map_of_ones_own_and_a_folder_of_npy() {
    let folder = folder();
    let witness = witness("multibyte");
    let ids: Vec<u8> = witness
        .get("0/tokens")
        .map(|tensor| {
            let ids = tensor.view::<i64, IxDyn>().expect("ids").to_owned();
            ids.iter()
                .flat_map(|id| (*id as i32).to_le_bytes())
                .collect()
        })
        .expect("tokens");
    // Heads in front, no batch axis, float16: [H, T, D].
    let q =
        floats(witness.get("0/h.1.attn.q").expect("queries")).permuted_axes(IxDyn(&[0, 2, 1, 3]));
    let half = |x: &f32| half_bits(*x).to_le_bytes();
    let q: Vec<u8> = q.iter().flat_map(half).collect();
    let dump = folder.path().join("dump");
    fs::create_dir(&dump).expect("a folder");
    fs::write(dump.join("ids.npy"), npy("<i4", "(37,)", &ids)).expect("ids");
    fs::write(dump.join("query_1.npy"), npy("<f2", "(6, 37, 24)", &q)).expect("queries");
    let map = folder.path().join("mine.toml");
    fs::write(
        &map,
        "[tensors]\n'ids' = 'tokens'\n'query_{i}' = 'h.{i}.attn.q'\n",
    )
    .expect("a map");
    let (code, report) = judged(&dump, &["--map", text(&map)]);
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(report["sites"][0]["dtype"], "float16");
    assert_eq!(
        report["assumed"][0],
        "attn.q: axes HTD, the only order of this shape"
    );
    // The other order is another tensor's, and not this one's.
    let (code, report) = judged(&dump, &["--map", text(&map), "--layout", "THD"]);
    assert_eq!(code, Some(1), "{report}");
    let (code, report) = judged(&dump, &["--map", text(&map), "--layout", "HTD"]);
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(report["assumed"][0], "attn.q: axes HTD");
}

/// A bound that is absolute where numbers are small would let this pass.
#[test]
fn small_numbers_in_half_precision_are_held_to_their_own_size() {
    let folder = folder();
    let embed = floats(witness("multibyte").get("0/embed").expect("the embedding"));
    assert!(embed.iter().all(|x| x.abs() < 1.0));
    let map = folder.path().join("mine.toml");
    fs::write(&map, "[tensors]\n'embed' = 'embed'\n").expect("a map");
    let dump = folder.path().join("dump");
    fs::create_dir(&dump).expect("a folder");
    for (scale, expected) in [(1.0, Some(0)), (0.99, Some(1))] {
        let data = embed
            .iter()
            .flat_map(|x| half_bits(x * scale).to_le_bytes());
        let data: Vec<u8> = data.collect();
        let file = npy("<f2", "(1, 37, 144)", &data);
        fs::write(dump.join("embed.npy"), file).expect("the embedding");
        let arguments = ["--map", text(&map), "--case", "multibyte"];
        let (code, report) = judged(&dump, &arguments);
        assert_eq!(code, expected, "{scale}: {report}");
    }
}

/// A float32 that is rounded towards zero to a float16, as its bits. Ordinary numbers alone.
fn half_bits(x: f32) -> u16 {
    let bits = x.to_bits();
    let exponent = i32::try_from(bits >> 23 & 0xff).expect("eight bits") - 127 + 15;
    let sign = (bits >> 16 & 0x8000) as u16;
    if exponent <= 0 {
        return sign;
    }
    sign | u16::try_from(exponent).expect("five bits") << 10 | (bits >> 13 & 0x3ff) as u16
}

/// What stands at a site that the map knows is judged, or is a reason to know nothing.
#[test]
fn what_a_map_knows_is_not_left_out() {
    let folder = folder();
    let integers = changed(&folder, "two-tokens", |name, tensor| match name {
        "0/logits" => Some(Tensor::from(floats(&tensor).mapv(|x| x as i64))),
        _ => Some(tensor),
    });
    let (code, report) = judged(&integers, &[]);
    assert_eq!(code, Some(3), "{report}");
    assert_eq!(
        report["because"][0],
        "0/logits: expected floats for logits, found integers"
    );

    let witness = witness("two-tokens");
    let tensors = [
        ("0/tokens", "0/tokens"),
        ("0/h.3", "0/h.3"),
        ("0/h.4", "0/h.3"),
    ];
    let tensor = |of| witness.get(of).expect("a tensor").clone();
    let path = written(
        &folder,
        tensors.map(|(name, of)| (name.to_owned(), tensor(of))),
    );
    let (code, report) = judged(&path, &[]);
    assert_eq!(code, Some(3), "{report}");
    assert_eq!(report["because"][0], "0/h.4: expected one of 4 layers");
}
