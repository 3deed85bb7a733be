//! Every kind of file that GPT-2 weights come in, and every setting that changes the numbers.

mod common {
    pub mod folder;
    pub mod model;
}

use std::collections::BTreeMap;

use common::folder::{Folder, Stored, logits, sites};
use common::model::tiny;
use half::{bf16, f16};
use llorch_fixtures::bits;
use ndarray::{Array, Array1, Axis, Ix2, Ix4, Slice, arr0};
use safetensors::Dtype;

fn embedded() -> Vec<u32> {
    bits(&logits(&tiny()))
}

/// The same tensors under other keys.
fn renamed(folder: Folder, rename: impl Fn(String) -> String) -> Folder {
    let tensors = folder.tensors.into_iter();
    let tensors = tensors
        .map(|(name, stored)| (rename(name), stored))
        .collect();
    Folder { tensors, ..folder }
}

#[test]
fn keys_with_and_without_the_prefix_are_the_same_model() {
    let bare = |name: String| name.trim_start_matches("transformer.").to_owned();
    let without = renamed(Folder::tiny(), bare);
    let with = renamed(Folder::tiny(), |name| format!("transformer.{}", bare(name)));
    assert_ne!(without.tensors.keys().next(), with.tensors.keys().next());
    assert_eq!(bits(&logits(&without.model())), embedded());
    assert_eq!(bits(&logits(&with.model())), embedded());
}

#[test]
fn mask_buffers_of_older_files_are_ignored() {
    let mut folder = Folder::tiny();
    for layer in 0..4 {
        let mask = Array::<f32, _>::from_elem((1, 1, 160, 160), 0.5);
        folder.add(&format!("transformer.h.{layer}.attn.bias"), &mask);
        folder.add(&format!("h.{layer}.attn.masked_bias"), &arr0(-1e4));
    }
    assert_eq!(bits(&logits(&folder.model())), embedded());
}

/// The embedded model in a half-precision type, and in float32 after the same rounding.
fn rounded(dtype: Dtype, encode: fn(f32) -> [u8; 2], round: fn(f32) -> f32) -> [Folder; 2] {
    let (mut half, mut full) = (Folder::tiny(), Folder::tiny());
    for (name, stored) in Folder::tiny().tensors {
        let values = half.get(&name);
        let bytes = values.iter().flat_map(|&x| encode(x)).collect();
        let shape = stored.shape;
        half.tensors.insert(
            name.clone(),
            Stored {
                dtype,
                shape,
                bytes,
            },
        );
        full.set(&name, &values.mapv(round));
    }
    [half, full]
}

#[test]
fn float16_files_give_the_bits_of_their_rounded_weights() {
    let [half, full] = rounded(
        Dtype::F16,
        |x| f16::from_f32(x).to_le_bytes(),
        |x| f16::from_f32(x).to_f32(),
    );
    let ours = bits(&logits(&half.model()));
    assert_eq!(ours, bits(&logits(&full.model())));
    assert_ne!(ours, embedded());
}

#[test]
fn bfloat16_files_give_the_bits_of_their_rounded_weights() {
    let [half, full] = rounded(
        Dtype::BF16,
        |x| bf16::from_f32(x).to_le_bytes(),
        |x| bf16::from_f32(x).to_f32(),
    );
    let ours = bits(&logits(&half.model()));
    assert_eq!(ours, bits(&logits(&full.model())));
    assert_ne!(ours, embedded());
}

#[test]
fn a_tied_model_whose_file_repeats_wte_is_tied() {
    let mut folder = Folder::tiny();
    folder.add("lm_head.weight", &folder.get("wte.weight"));
    assert_eq!(bits(&logits(&folder.model())), embedded());
}

/// As transformers does.
#[test]
fn a_head_of_the_file_s_own_makes_the_logits_tied_or_not() {
    let mut folder = Folder::tiny();
    folder.add("lm_head.weight", &(folder.get("wte.weight") * 2.0));
    let twice: Vec<u32> = embedded()
        .into_iter()
        .map(|bits| (f32::from_bits(bits) * 2.0).to_bits())
        .collect();
    assert_eq!(bits(&logits(&folder.model())), twice);
    let untied = folder.with("tie_word_embeddings", false);
    assert_eq!(bits(&logits(&untied.model())), twice);
}

/// Inner channels that are all zeros add nothing, so they may as well not be there.
#[test]
fn an_inner_width_of_its_own_is_the_usual_one_with_the_rest_zeroed() {
    const INNER: usize = 100;
    let kept = Slice::from(..INNER);
    let (mut narrow, mut zeroed) = (Folder::tiny().with("n_inner", INNER), Folder::tiny());
    for layer in 0..4 {
        for (name, axis) in [("c_fc.weight", 1), ("c_fc.bias", 0), ("c_proj.weight", 0)] {
            let name = format!("h.{layer}.mlp.{name}");
            let whole = zeroed.get(&name);
            let part = whole.slice_axis(Axis(axis), kept);
            narrow.set(&name, &part);
            let mut rest = Array::zeros(whole.raw_dim());
            rest.slice_axis_mut(Axis(axis), kept).assign(&part);
            zeroed.set(&name, &rest);
        }
    }
    let model = narrow.model();
    assert_eq!(model.config().n_inner(), INNER);
    assert_eq!(bits(&logits(&model)), bits(&logits(&zeroed.model())));
}

/// The formulas in float64, from the libraries of others.
#[test]
fn every_activation_is_the_one_the_config_names() {
    let tanh = |x: f64| {
        let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
        0.5 * x * (1.0 + inner.tanh())
    };
    let erf = |x: f64| 0.5 * x * (1.0 + libm::erf(x / 2f64.sqrt()));
    let relu = |x: f64| x.max(0.0);
    let formulas: [(&str, &dyn Fn(f64) -> f64); 4] = [
        ("gelu_new", &tanh),
        ("gelu_pytorch_tanh", &tanh),
        ("gelu", &erf),
        ("relu", &relu),
    ];
    for (name, formula) in formulas {
        let sites = sites(&Folder::tiny().with("activation_function", name).model());
        for layer in 0..4 {
            let [fc, act] = ["fc", "act"].map(|site| &sites[&format!("h.{layer}.mlp.{site}")]);
            for (&x, &y) in fc.iter().zip(act) {
                let expected = formula(f64::from(x));
                assert!(
                    (f64::from(y) - expected).abs() < 1e-6,
                    "{name}({x}) = {y}, not {expected}"
                );
            }
        }
    }
}

/// q . k / sqrt(D) / (layer + 1) in float64, from what the layer itself had.
#[test]
fn scores_are_divided_by_the_layer_s_number_where_the_config_says_so() {
    let field = "scale_attn_by_inverse_layer_idx";
    for (wanted, folder) in [
        (false, Folder::tiny()),
        (true, Folder::tiny().with(field, true)),
    ] {
        let sites = sites(&folder.model());
        for layer in 0..4 {
            let divisor = if wanted { (layer + 1) as f64 } else { 1.0 };
            assert_scaled(&sites, layer, 1.0 / 24f64.sqrt() / divisor);
        }
    }
}

fn assert_scaled(sites: &BTreeMap<String, ndarray::ArrayD<f32>>, layer: usize, scale: f64) {
    let site = |name: &str| {
        let values = sites[&format!("h.{layer}.attn.{name}")].mapv(f64::from);
        values
            .into_dimensionality::<Ix4>()
            .expect("four dimensions")
    };
    let [q, k, scores] = ["q", "cache.k", "scores"].map(site);
    for ((b, h, t, s), &score) in scores.indexed_iter().filter(|((_, _, t, s), _)| s <= t) {
        let [q, k] = [(&q, t), (&k, s)].map(|(array, at)| array.slice(ndarray::s![b, at, h, ..]));
        let expected = q.dot(&k) * scale;
        let bound = 1e-5 * expected.abs().max(1.0);
        assert!(
            (score - expected).abs() < bound,
            "layer {layer}: {score}, not {expected}"
        );
    }
}

#[test]
fn the_embedding_is_the_token_s_row_plus_the_position_s() {
    let folder = Folder::tiny();
    let [wte, wpe] = ["wte.weight", "wpe.weight"].map(|name| {
        let values = folder.get(name);
        values.into_dimensionality::<Ix2>().expect("two dimensions")
    });
    let sites = sites(&folder.model());
    for ((b, t), &token) in common::folder::prompt().indexed_iter() {
        let expected: Array1<f32> = &wte.row(token as usize) + &wpe.row(t);
        let ours = sites["embed"].slice(ndarray::s![b, t, ..]);
        assert_eq!(bits(ours), bits(&expected));
    }
}
