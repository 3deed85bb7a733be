//! Bad input: a typed error that says what was expected and found.

mod common {
    pub mod folder;
    pub mod model;
    pub mod refusals;
}

use common::folder::Folder;
use common::model::tiny;
use common::refusals::{assert_says, is_one_position_too_many};
use llorch_model::{Block, Config, Cpu, Error, Gpt2, Sampling, Weights, greedy, tokens};
use ndarray::{Array1, Array2, Array3};

fn forward(model: &Gpt2, ids: &Array2<u32>, batch: usize, capacity: usize) -> Error {
    let mut cache = model.cache(batch, capacity).expect("a cache");
    let logits = model.forward_last(ids.view(), &mut cache, &mut ());
    assert!(
        cache.is_empty(),
        "a failed forward left {} positions",
        cache.len()
    );
    logits.expect_err("a refused input")
}

#[test]
fn an_empty_prompt_is_refused() {
    let none: [&[&[u32]]; 3] = [&[], &[&[]], &[&[], &[]]];
    for rows in none {
        let error = tokens(rows).expect_err("no tokens");
        assert!(matches!(error, Error::EmptyPrompt), "{error}");
    }
    for shape in [(1, 0), (0, 1), (0, 0)] {
        let error = forward(&tiny(), &Array2::zeros(shape), 1, 5);
        assert!(matches!(error, Error::EmptyPrompt), "{error}");
    }
}

#[test]
fn a_ragged_batch_is_refused_with_the_row() {
    let error = tokens(&[&[1, 2], &[3, 4], &[5]]).expect_err("a ragged batch");
    assert!(
        matches!(
            error,
            Error::Ragged {
                row: 2,
                expected: 2,
                found: 1
            }
        ),
        "{error}"
    );
    let error = tokens(&[&[], &[1]]).expect_err("a ragged batch");
    assert!(
        matches!(
            error,
            Error::Ragged {
                row: 1,
                expected: 0,
                found: 1
            }
        ),
        "{error}"
    );
}

#[test]
fn a_token_out_of_range_is_refused_with_its_place() {
    for bad in [1001, u32::MAX] {
        let mut ids = Array2::from_elem((2, 3), 1000);
        ids[[1, 2]] = bad;
        let error = forward(&tiny(), &ids, 2, 5);
        let expected = format!("expected token ids below 1001, found {bad} in row 1 at position 2");
        assert!(matches!(error, Error::Token { .. }), "{error}");
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn more_tokens_than_positions_are_refused() {
    let model = tiny();
    let error = forward(&model, &Array2::zeros((1, 161)), 1, 160);
    assert!(is_one_position_too_many(&error), "{error}");
    let error = model.cache(1, 161).expect_err("too large a cache");
    assert!(is_one_position_too_many(&error), "{error}");
}

#[test]
fn a_cache_for_another_number_of_layers_is_refused() {
    let mut three = Folder::tiny().with("n_layer", 3);
    three.tensors.retain(|name, _| !name.contains("h.3."));
    let mut cache = three.model().cache(1, 5).expect("a cache");
    let ids = Array2::zeros((1, 2));
    let error = tiny()
        .forward(ids.view(), &mut cache, &mut ())
        .expect_err("another model's cache");
    assert!(
        matches!(
            error,
            Error::Layers {
                expected: 4,
                found: 3
            }
        ),
        "{error}"
    );
    assert!(cache.is_empty());
}

#[test]
fn a_cache_for_another_shape_or_too_small_is_refused() {
    let model = tiny();
    let error = forward(&model, &Array2::zeros((3, 2)), 2, 5);
    assert!(
        matches!(error, Error::Cache(llorch_kv_cache::Error::Shape(_))),
        "{error}"
    );
    assert_says(&error, "[2, T, 6, 24], found [3, 2, 6, 24]");

    let error = forward(&model, &Array2::zeros((1, 6)), 1, 5);
    let full = matches!(
        error,
        Error::Cache(llorch_kv_cache::Error::Full {
            capacity: 5,
            stored: 0,
            new: 6
        })
    );
    assert!(full, "{error}");

    // As many layers, and other heads.
    let mut cache = Folder::tiny()
        .with("n_head", 4)
        .model()
        .cache(1, 5)
        .expect("a cache");
    let error = model.forward(Array2::zeros((1, 1)).view(), &mut cache, &mut ());
    let error = error.expect_err("another model's cache");
    assert_says(&error, "[1, T, 4, 36], found [1, 1, 6, 24]");
    assert!(cache.is_empty());

    for (batch, capacity) in [(0, 5), (1, 0)] {
        let error = model.cache(batch, capacity).expect_err("an empty cache");
        assert!(
            matches!(error, Error::Cache(llorch_kv_cache::Error::Shape(_))),
            "{error}"
        );
    }
}

#[test]
fn a_block_s_input_of_another_width_is_refused() {
    let dir = llorch_fixtures::tiny_path();
    let config = Config::open(&dir).expect("a config");
    let weights = Weights::open(&dir).expect("weights");
    let block = Block::load(&weights, &config, 0).expect("a block");
    let mut cache = tiny_layer_cache();
    let error = block.forward(Array3::zeros((1, 2, 143)), &mut cache, &mut ());
    let error = error.expect_err("a narrow stream");
    assert!(
        matches!(error, Error::LayerNorm(llorch_layernorm::Error::Shape(_))),
        "{error}"
    );
    assert_says(&error, "expected shape [B, T, 144], found [1, 2, 143]");
    assert!(cache.is_empty());
    let error = Block::load(&weights, &config, 4).expect_err("no such layer");
    assert_says(&error, "h.4.ln_1.weight");
}

fn tiny_layer_cache() -> llorch_kv_cache::KvCache {
    llorch_kv_cache::KvCache::new(1, 5, 6, 24).expect("a cache")
}

/// Who composes the rooms has one error type for them.
#[test]
fn a_room_s_error_keeps_its_words() {
    use llorch_mlp::{Activation, Mlp};
    let (one, two) = (Array1::zeros(1), Array1::zeros(2));
    let (square, empty) = (Array2::zeros((2, 2)), Array2::zeros((0, 2)));
    let qkv = llorch_qkv::Qkv::new(square.view(), two.view(), 1);
    let qkv = Error::from(qkv.expect_err("a narrow weight"));
    let attention = llorch_attention::Attention::new(square.view(), two.view(), 3);
    let attention = Error::from(attention.expect_err("three heads of two channels"));
    let [fc, proj] = [square.view(), square.view()];
    let mlp = Mlp::new(fc, one.view(), proj, two.view(), Activation::Relu);
    let mlp = Error::from(mlp.expect_err("a short bias"));
    let pack = llorch_numerics::PackedMatrix::from_in_out(&Cpu::default(), empty.view());
    let pack = Error::from(pack.expect_err("an empty weight"));

    assert!(matches!(qkv, Error::Qkv(_)));
    assert_says(&qkv, "weight: expected shape [2, 6], found [2, 2]");
    assert!(matches!(attention, Error::Attention(_)));
    assert_says(
        &attention,
        "heads: expected a number that divides 2 channels, found 3",
    );
    assert!(matches!(mlp, Error::Mlp(_)));
    assert_says(&mlp, "c_fc bias: expected shape [2], found [1]");
    assert!(matches!(pack, Error::Pack(_)));
    assert_says(&pack, "weight: expected shape [in, out], found [0, 2]");
}

#[test]
fn no_logits_have_no_best() {
    let none = Array1::<f32>::zeros(0);
    for error in [
        greedy(none.view()).map(|_| ()),
        Sampling::default().probabilities(none.view()).map(|_| ()),
    ] {
        assert!(matches!(error, Err(Error::NoLogits)), "{error:?}");
    }
}
