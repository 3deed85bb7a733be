//! The same weights and tokens give the same bits, however they are run.

mod common {
    pub mod model;
    pub mod references;
}

use std::num::NonZeroUsize;

use common::model::{contents, tiny, tiny_on};
use common::references::{Case, Recorder};
use llorch_fixtures::bits;
use llorch_model::{Cpu, Gpt2, Isa, Sampler, Sampling, generate, greedy, tokens};
use ndarray::{Array2, Array3, ArrayView2, Axis, concatenate, s};

/// Fewer and more than there are cores.
const THREADS: [usize; 4] = [1, 2, 3, 8];

/// What a prompt of 40 tokens is cut into: itself, and what does and does not divide it.
const PIECES: [usize; 4] = [40, 1, 7, 16];

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
    let pieces = pieces.map(|tokens| model.forward(tokens, &mut cache, &mut ()).expect("logits"));
    join(1, pieces)
}

/// The same, a probe listening to every site of every piece.
fn heard_logits(model: &Gpt2, tokens: ArrayView2<u32>, piece: usize) -> Array3<f32> {
    let mut recorder = Recorder::default();
    let mut cache = model.cache(tokens.nrows(), 40).expect("a cache");
    let pieces = tokens.axis_chunks_iter(Axis(1), piece).enumerate();
    let pieces = pieces.map(|(call, tokens)| {
        recorder.call = call;
        let heard = model.forward(tokens, &mut cache, &mut recorder);
        let heard = heard.expect("logits");
        let recorded = recorder
            .trace
            .array::<f32, ndarray::Ix3>(&format!("{call}/logits"));
        assert_eq!(bits(recorded.expect("logits")), bits(&heard));
        heard
    });
    join(1, pieces)
}

/// The last logits of a prompt that nothing is cached of, [B, 1, V].
fn recomputed(model: &Gpt2, prompt: ArrayView2<u32>) -> Array3<f32> {
    let mut cache = model
        .cache(prompt.nrows(), prompt.ncols())
        .expect("a cache");
    let last = model.forward_last(prompt, &mut cache, &mut ());
    last.expect("logits").insert_axis(Axis(1))
}

fn join(axis: usize, parts: impl Iterator<Item = Array3<f32>>) -> Array3<f32> {
    let parts: Vec<_> = parts.collect();
    let views: Vec<_> = parts.iter().map(|part| part.view()).collect();
    concatenate(Axis(axis), &views).expect("parts that fit each other")
}

fn on(isa: Isa, threads: usize) -> Gpt2 {
    let threads = NonZeroUsize::new(threads).expect("some");
    let cpu = Cpu::new(threads).and_then(|cpu| cpu.with_isa(isa));
    tiny_on(&cpu.expect("an available instruction set"))
}

/// Whether it takes a function call for every multiplication, as the portable one does on x86-64: there
/// a run of [`rows`] takes half a second, fifteen times as long as with vectors of eight.
fn is_slow(isa: Isa) -> bool {
    isa == Isa::Portable && isa != Isa::best()
}

/// The SHA-256 of the embedded model's logits for [`rows`], [B, T, V] in little-endian bytes.
///
/// It is our own and says nothing about being right: that is the checkpoints' to say. It says that this
/// machine, its instruction set and its compiler give the bits that every other gives. Who changes the
/// order of evaluation on purpose, in `llorch-numerics`, changes it here.
const LOGITS_SHA256: &str = "1d718dd6e8cdaf33defa3784879dcde47655d5abde4795beb2d25860b1b3afc0";

/// Held against the committed hash.
#[track_caller]
fn assert_are_everybody_s(logits: &Array3<f32>, model: &Gpt2, how: &str) {
    let bytes: Vec<u8> = logits.iter().flat_map(|x| x.to_le_bytes()).collect();
    let (threads, isa) = (model.cpu().threads(), model.cpu().isa());
    assert_eq!(
        llorch_parity::sha256_hex(&bytes),
        LOGITS_SHA256,
        "{threads} threads, {isa}, {how}"
    );
}

/// What the messages of the other tests name.
#[test]
fn a_model_names_the_threads_and_the_instruction_set_it_was_opened_on() {
    for isa in Isa::available() {
        for threads in THREADS {
            let model = on(isa, threads);
            let cpu = model.cpu();
            assert_eq!((cpu.isa(), cpu.threads()), (isa, threads));
        }
    }
}

/// Any machine, instruction set and number of threads, with any cut of the prompt.
#[test]
fn every_machine_gives_the_same_logits() {
    let rows = rows();
    for isa in Isa::available() {
        for (i, threads) in THREADS.into_iter().enumerate() {
            let model = on(isa, threads);
            let pieces = if is_slow(isa) {
                &PIECES[i..=i]
            } else {
                &PIECES
            };
            for &piece in pieces {
                let logits = logits(&model, rows.view(), piece);
                assert_are_everybody_s(&logits, &model, &format!("pieces of {piece}"));
            }
        }
    }
}

#[test]
fn two_runs_and_two_loaded_models_agree() {
    let (model, rows) = (tiny(), rows());
    let first = logits(&model, rows.view(), 40);
    assert_eq!(bits(&first), bits(&logits(&model, rows.view(), 40)));
    assert_eq!(bits(&first), bits(&logits(&tiny(), rows.view(), 40)));
}

/// The four rows in batches of one to five: as many as there are, over and over.
#[test]
fn a_row_of_a_batch_of_one_to_five_is_the_row_alone() {
    let rows = rows();
    for isa in Isa::available() {
        for (i, threads) in THREADS.into_iter().enumerate() {
            let model = on(isa, threads);
            for batch in (1..=5).filter(|batch| !is_slow(isa) || batch % 4 == i) {
                let batches = (0..4).step_by(batch).map(|first| {
                    let places: Vec<usize> = (first..first + batch).map(|row| row % 4).collect();
                    logits(&model, rows.select(Axis(0), &places).view(), 40)
                });
                let all = join(0, batches);
                let four = all.slice_move(s![..4, .., ..]);
                assert_are_everybody_s(&four, &model, &format!("batches of {batch}"));
            }
        }
    }
}

#[test]
fn every_cut_of_a_prompt_leaves_the_same_cache() {
    let rows = rows();
    let caches = PIECES.map(|piece| {
        THREADS.map(|threads| {
            let model = on(Isa::best(), threads);
            let mut cache = model.cache(4, 40).expect("a cache");
            for tokens in rows.axis_chunks_iter(Axis(1), piece) {
                let last = model.forward_last(tokens, &mut cache, &mut ());
                last.expect("logits");
            }
            cache
        })
    });
    let caches = caches.as_flattened();
    let first = contents(&caches[0]);
    for cache in &caches[1..] {
        assert_eq!(cache.len(), 40);
        assert_eq!(contents(cache), first);
    }
}

#[test]
fn logits_of_a_cached_and_of_a_recomputed_prompt_are_equal() {
    let rows = rows();
    for isa in Isa::available() {
        for threads in THREADS
            .into_iter()
            .filter(|&threads| !is_slow(isa) || threads == 2)
        {
            let model = on(isa, threads);
            if isa == Isa::best() {
                let each = (1..=40).map(|length| recomputed(&model, rows.slice(s![.., ..length])));
                assert_are_everybody_s(&join(1, each), &model, "recomputed");
            } else {
                let one = rows.slice(s![2..3, ..]);
                let cached = logits(&model, one, 1);
                for length in [1, 2, 33, 40] {
                    let last = recomputed(&model, one.slice(s![.., ..length]));
                    let expected = cached.slice(s![.., length - 1..length, ..]);
                    assert_eq!(
                        bits(&last),
                        bits(expected),
                        "{isa}, {threads} threads, {length}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_probe_changes_nothing() {
    let rows = rows();
    for isa in Isa::available() {
        for threads in THREADS
            .into_iter()
            .filter(|&threads| !is_slow(isa) || threads == 2)
        {
            let model = on(isa, threads);
            for piece in [40, 7]
                .into_iter()
                .filter(|&piece| !is_slow(isa) || piece == 40)
            {
                let heard = heard_logits(&model, rows.view(), piece);
                assert_are_everybody_s(&heard, &model, &format!("a probe, pieces of {piece}"));
            }
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
