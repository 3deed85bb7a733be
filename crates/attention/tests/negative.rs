//! Attentions that are wrong in one thing each, and how the judgement says so.

mod common;

use common::{Input, Sites, attention, c_proj, judge};
use llorch_attention::Attention;
use llorch_fixtures::{Fixture, assert_pass, first_failure, first_mismatch, tiny};
use llorch_numerics::{Cpu, PackedMatrix};
use llorch_parity::{Failure, Mismatch};
use ndarray::{Array1, Array2, Axis, s};

/// A single call and two calls of a batch of two: the mask beside a cache shows in the second alone.
const CASES: [&str; 2] = ["two-tokens", "chunks"];

/// The first place at which each site is judged, and the first beside a cache.
const SCORES: &str = "two-tokens 0/h.0.attn.scores";
const PROBS: &str = "two-tokens 0/h.0.attn.probs";
const OUT: &str = "two-tokens 0/h.0.attn.out";
const LATER_SCORES: &str = "chunks 1/h.0.attn.scores";

/// How a wrong attention must fail: the stage at which its first wrong site is refused.
#[derive(Debug, PartialEq)]
enum Stage {
    Shape,
    Mask,
    Values,
}

#[track_caller]
fn assert_fails(place: &str, stage: Stage, attend: impl Fn(&Fixture, &Input) -> Sites) {
    let fixture = tiny();
    let judgement = judge(&fixture, &CASES, |input| attend(&fixture, input));
    let (key, mismatch) = first_mismatch(&judgement);
    assert_eq!(key.to_string(), place);
    let found = match mismatch {
        Mismatch::Shape { .. } => Stage::Shape,
        Mismatch::Mask { .. } => Stage::Mask,
        Mismatch::Values(_) => Stage::Values,
        other => panic!("expected {stage:?}, found {other}"),
    };
    assert_eq!(found, stage, "{key}: {mismatch}");
}

/// An attention with another c_proj.
fn projected(
    fixture: &Fixture,
    input: &Input,
    change: impl Fn(Array2<f32>, Array1<f32>) -> (Array2<f32>, Array1<f32>),
) -> Sites {
    let (weight, bias) = c_proj(fixture, input.layer);
    let (weight, bias) = change(weight, bias);
    let heads = fixture.config.n_head();
    let attention = Attention::new(weight.view(), bias.view(), heads);
    input.attend(&attention.expect("weights that fit"))
}

/// An attention with another factor on its scores, made from D.
fn scaled(fixture: &Fixture, input: &Input, scale: fn(f64) -> f64) -> Sites {
    let dim = fixture.config.head_dim() as f64;
    let attention = attention(fixture, input.layer).with_scale(scale(dim));
    input.attend(&attention.expect("a positive scale"))
}

/// An attention in which query t of a call sees the first `visible(past, t)` positions.
fn seeing(fixture: &Fixture, input: &Input, visible: fn(usize, usize) -> usize) -> Sites {
    let (past, stored) = (input.past(), input.k.dim().1);
    let visible = |t| visible(past, t).clamp(1, stored);
    input.attend_seeing(&attention(fixture, input.layer), visible)
}

const EVERYTHING: usize = usize::MAX;

#[test]
fn the_mask_that_is_moved_below_is_right_in_its_place() {
    let fixture = tiny();
    let judgement = judge(&fixture, &CASES, |input| {
        seeing(&fixture, input, |past, t| past + t + 1)
    });
    assert_pass(&judgement);
}

#[test]
fn no_mask_fails() {
    assert_fails(SCORES, Stage::Mask, |fixture, input| {
        seeing(fixture, input, |_, _| EVERYTHING)
    });
}

#[test]
fn no_mask_fails_by_its_probabilities_where_the_scores_are_masked_for_show() {
    assert_fails(PROBS, Stage::Values, |fixture, input| Sites {
        scores: input.attend(&attention(fixture, input.layer)).scores,
        ..seeing(fixture, input, |_, _| EVERYTHING)
    });
}

/// A single call is right; beside a cache the new positions see each other's future.
#[test]
fn a_mask_lost_beside_a_cache_fails() {
    assert_fails(LATER_SCORES, Stage::Mask, |fixture, input| {
        seeing(
            fixture,
            input,
            |past, t| if past == 0 { t + 1 } else { EVERYTHING },
        )
    });
}

/// The mask of a [T, T] square laid over the left of [T, S]: position t of the call sees t + 1 positions.
#[test]
fn a_mask_that_forgets_the_past_fails() {
    assert_fails(LATER_SCORES, Stage::Mask, |fixture, input| {
        seeing(fixture, input, |_, t| t + 1)
    });
}

#[test]
fn a_call_that_sees_its_own_positions_alone_fails() {
    assert_fails(LATER_SCORES, Stage::Shape, |fixture, input| {
        let own = s![.., input.past().., .., ..];
        let (k, v) = (input.k.slice(own).to_owned(), input.v.slice(own).to_owned());
        Input {
            k,
            v,
            ..input.clone()
        }
        .attend(&attention(fixture, input.layer))
    });
}

#[test]
fn a_mask_one_position_late_fails() {
    assert_fails(SCORES, Stage::Mask, |fixture, input| {
        seeing(fixture, input, |past, t| past + t + 2)
    });
}

/// Position 0 still sees itself: it has nothing else.
#[test]
fn a_mask_one_position_early_fails() {
    assert_fails(SCORES, Stage::Mask, |fixture, input| {
        seeing(fixture, input, |past, t| past + t)
    });
}

#[test]
fn no_scaling_fails() {
    assert_fails(SCORES, Stage::Values, |fixture, input| {
        scaled(fixture, input, |_| 1.0)
    });
}

/// Twice the root is D itself: queries scaled before the product, scores after it.
#[test]
fn scaling_twice_fails() {
    assert_fails(SCORES, Stage::Values, |fixture, input| {
        scaled(fixture, input, |dim| 1.0 / dim)
    });
}

#[test]
fn multiplying_by_the_root_or_by_d_fails() {
    assert_fails(SCORES, Stage::Values, |fixture, input| {
        scaled(fixture, input, f64::sqrt)
    });
    assert_fails(SCORES, Stage::Values, |fixture, input| {
        scaled(fixture, input, |dim| dim)
    });
}

/// The factor that every real GPT-2 has, D being 64 there.
#[test]
fn the_scale_of_another_model_fails() {
    assert_fails(SCORES, Stage::Values, |fixture, input| {
        scaled(fixture, input, |_| 1.0 / 8.0)
    });
}

#[test]
fn a_transposed_square_c_proj_fails() {
    assert_fails(OUT, Stage::Values, |fixture, input| {
        projected(fixture, input, |weight, bias| {
            (weight.reversed_axes(), bias)
        })
    });
}

#[test]
fn a_zeroed_bias_fails() {
    assert_fails(OUT, Stage::Values, |fixture, input| {
        projected(fixture, input, |weight, bias| (weight, bias * 0.0))
    });
}

#[test]
fn a_weight_one_percent_off_fails() {
    assert_fails(OUT, Stage::Values, |fixture, input| {
        projected(fixture, input, |weight, bias| (weight * 1.01, bias))
    });
}

/// Within the tolerance, and yet further from the truth than float32 explains.
#[test]
fn a_weight_one_in_a_hundred_thousand_off_fails_by_the_budget() {
    let fixture = tiny();
    let judgement = judge(&fixture, &CASES, |input| {
        projected(&fixture, input, |weight, bias| (weight * 1.000_01, bias))
    });
    let failure = first_failure(&judgement);
    let Failure::Budget { kind, case, .. } = failure else {
        panic!("expected a budget that is spent, found {failure}");
    };
    assert_eq!((&kind[..], &case[..]), ("attn.out", "two-tokens"));
}

/// [B, H, T, D] read as if it were [B, T, H, D].
#[test]
fn heads_merged_without_the_transpose_fail() {
    assert_fails(OUT, Stage::Values, |fixture, input| {
        let sites = input.attend(&attention(fixture, input.layer));
        let (weight, bias) = c_proj(fixture, input.layer);
        // With the identity for c_proj the output is the merged heads.
        let (identity, zero) = (Array2::eye(weight.nrows()), Array1::zeros(bias.len()));
        let merged = Attention::new(identity.view(), zero.view(), fixture.config.n_head());
        let merged = input.attend(&merged.expect("weights that fit")).out;
        let by_heads = merged.to_shape(input.q.raw_dim()).expect("C is H times D");
        let by_heads = by_heads.permuted_axes([0, 2, 1, 3]);
        let wrong = by_heads
            .to_shape(merged.raw_dim())
            .expect("as many elements");
        let weight = PackedMatrix::from_in_out(&Cpu::default(), weight.view()).expect("a matrix");
        let out = weight.multiply(&Cpu::default(), wrong.view(), Some(bias.view()), None);
        let out = out.expect("[B, T, C]");
        Sites { out, ..sites }
    });
}

#[test]
fn softmax_over_the_queries_fails() {
    assert_fails(PROBS, Stage::Values, |fixture, input| {
        let sites = input.attend(&attention(fixture, input.layer));
        let mut probs = sites.scores.mapv(f32::exp);
        for mut lane in probs.lanes_mut(Axis(2)) {
            lane /= lane.sum();
        }
        Sites { probs, ..sites }
    });
}

#[test]
fn keys_and_values_swapped_fail() {
    assert_fails(SCORES, Stage::Values, |fixture, input| {
        let (k, v) = (input.v.clone(), input.k.clone());
        Input {
            k,
            v,
            ..input.clone()
        }
        .attend(&attention(fixture, input.layer))
    });
}

#[test]
fn another_rows_keys_and_values_fail() {
    assert_fails(
        "chunks 0/h.0.attn.scores",
        Stage::Values,
        |fixture, input| {
            let other = s![..;-1, .., .., ..];
            let (k, v) = (
                input.k.slice(other).to_owned(),
                input.v.slice(other).to_owned(),
            );
            Input {
                k,
                v,
                ..input.clone()
            }
            .attend(&attention(fixture, input.layer))
        },
    );
}

#[test]
fn another_layers_c_proj_fails() {
    assert_fails(OUT, Stage::Values, |fixture, input| {
        let other = (input.layer + 1) % fixture.config.n_layer();
        input.attend(&attention(fixture, other))
    });
}
