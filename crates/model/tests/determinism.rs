//! The same weights and tokens give the same bits, however they are run.

mod common {
    pub mod model;
    pub mod references;
}

use common::model::tiny;
use common::references::{Case, Recorder};
use llorch_fixtures::bits;
use llorch_model::{Gpt2, Sampler, Sampling, generate, greedy, tokens};
use ndarray::{Array2, Array3, ArrayView2, Axis, concatenate, s};

/// Four rows of 40 tokens that have nothing in common but the text they are from.
fn rows() -> Array2<u32> {
    let text = Case::open("full-context").calls[0].clone();
    text.into_shape_with_order((4, 40)).expect("160 tokens")
}

/// The logits of every position, [B, T, V], the tokens handed over in pieces.
fn logits(model: &Gpt2, tokens: ArrayView2<u32>, piece: usize) -> Array3<f32> {
    let mut cache = model
        .cache(tokens.nrows(), tokens.ncols())
        .expect("a cache");
    let pieces = tokens.axis_chunks_iter(Axis(1), piece);
    let pieces: Vec<_> = pieces
        .map(|tokens| model.forward(tokens, &mut cache, &mut ()).expect("logits"))
        .collect();
    let views: Vec<_> = pieces.iter().map(|piece| piece.view()).collect();
    concatenate(Axis(1), &views).expect("pieces of equal batch")
}

/// The SHA-256 of the embedded model's logits for [`rows`], [B, T, V] in little-endian bytes.
///
/// It is our own and says nothing about being right: that is the checkpoints' to say. It says that this
/// machine, its instruction set and its compiler give the bits that every other gives. Who changes the
/// order of evaluation on purpose, in `llorch-numerics`, changes it here.
const LOGITS_SHA256: &str = "6786f933ab0f45a6c5569e8ea294653924ec9d0efd979f76d68be1878ba3e8d1";

#[test]
fn every_machine_gives_the_same_logits() {
    let logits = logits(&tiny(), rows().view(), 40);
    let bytes: Vec<u8> = logits.iter().flat_map(|x| x.to_le_bytes()).collect();
    assert_eq!(llorch_parity::sha256_hex(&bytes), LOGITS_SHA256);
}

#[test]
fn two_runs_and_two_loaded_models_agree() {
    let (model, rows) = (tiny(), rows());
    let first = logits(&model, rows.view(), 40);
    assert_eq!(bits(&first), bits(&logits(&model, rows.view(), 40)));
    assert_eq!(bits(&first), bits(&logits(&tiny(), rows.view(), 40)));
}

#[test]
fn a_row_of_a_batch_of_one_to_four_is_the_row_alone() {
    let (model, rows) = (tiny(), rows());
    for batch in 1..=4 {
        let whole = logits(&model, rows.slice(s![..batch, ..]), 40);
        for row in 0..batch {
            let alone = logits(&model, rows.slice(s![row..row + 1, ..]), 40);
            let of_batch = whole.slice(s![row..row + 1, .., ..]);
            assert_eq!(bits(of_batch), bits(&alone), "row {row} of {batch}");
        }
    }
}

#[test]
fn every_cut_of_a_prompt_gives_the_whole_prompt_s_logits() {
    let (model, rows) = (tiny(), rows());
    for batch in [1, 3] {
        let rows = rows.slice(s![..batch, ..]);
        let whole = logits(&model, rows, 40);
        for piece in [1, 7, 16] {
            let cut = logits(&model, rows, piece);
            assert_eq!(bits(&cut), bits(&whole), "pieces of {piece}, {batch} rows");
        }
    }
}

#[test]
fn every_cut_of_a_prompt_leaves_the_same_cache() {
    let (model, rows) = (tiny(), rows());
    let caches = [1, 7, 16, 40].map(|piece| {
        let mut cache = model.cache(4, 40).expect("a cache");
        for tokens in rows.axis_chunks_iter(Axis(1), piece) {
            let last = model.forward_last(tokens, &mut cache, &mut ());
            last.expect("logits");
        }
        cache
    });
    for cache in &caches[1..] {
        assert_eq!(cache.len(), 40);
        for (a, b) in caches[0].layers().iter().zip(cache.layers()) {
            assert_eq!(bits(&a.keys()), bits(&b.keys()));
            assert_eq!(bits(&a.values()), bits(&b.values()));
        }
    }
}

#[test]
fn the_capacity_of_a_cache_changes_nothing() {
    let (model, rows) = (tiny(), rows());
    let [tight, wide] = [40, 160].map(|capacity| {
        let mut cache = model.cache(4, capacity).expect("a cache");
        let logits = model.forward(rows.view(), &mut cache, &mut ());
        bits(&logits.expect("logits"))
    });
    assert_eq!(tight, wide);
}

#[test]
fn generated_tokens_are_those_of_a_model_without_a_cache() {
    let (model, rows) = (tiny(), rows());
    let prompt = rows.row(1).to_vec();
    let sampler = Sampler::new(Sampling::GREEDY, 0).expect("settings");
    let cached = generate(&model, &prompt, 12, sampler).expect("a prompt that fits");
    let cached: Vec<u32> = cached.collect::<Result<_, _>>().expect("tokens");

    let mut text = prompt.clone();
    for _ in 0..12 {
        let mut cache = model.cache(1, text.len()).expect("a cache");
        let batch = tokens(&[&text]).expect("a batch");
        let last = model.forward_last(batch.view(), &mut cache, &mut ());
        text.push(greedy(last.expect("logits").row(0)).expect("a token"));
    }
    assert_eq!(cached, text[40..]);
}

#[test]
fn a_probe_changes_nothing() {
    let (model, rows) = (tiny(), rows());
    let silent = logits(&model, rows.view(), 40);
    let mut recorder = Recorder::default();
    let mut cache = model.cache(4, 40).expect("a cache");
    let heard = model.forward(rows.view(), &mut cache, &mut recorder);
    assert_eq!(bits(&heard.expect("logits")), bits(&silent));
    let recorded = recorder.trace.array::<f32, ndarray::Ix3>("0/logits");
    assert_eq!(bits(recorded.expect("logits")), bits(&silent));
}

#[test]
fn the_last_logits_are_the_last_row_of_all() {
    let (model, rows) = (tiny(), rows());
    for tokens in [
        rows.view(),
        rows.slice(s![2..3, ..1]),
        rows.slice(s![..2, 3..10]),
    ] {
        let all = logits(&model, tokens, 40);
        let mut cache = model.cache(tokens.nrows(), 40).expect("a cache");
        let last = model.forward_last(tokens, &mut cache, &mut ());
        let row = all.index_axis(Axis(1), tokens.ncols() - 1);
        assert_eq!(bits(&last.expect("logits")), bits(row));
    }
}

#[test]
fn a_view_of_tokens_in_any_layout_is_as_good() {
    let (model, rows) = (tiny(), rows());
    let turned = rows.t().as_standard_layout().into_owned();
    let straight = logits(&model, rows.view(), 40);
    assert_eq!(bits(&logits(&model, turned.t(), 40)), bits(&straight));
}
