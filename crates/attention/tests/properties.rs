//! What holds for attention of any size.

mod common;

use common::Input;
use llorch_attention::{Attention, Error};
use llorch_fixtures::{bits, of_cases};
use llorch_numerics::{Cpu, Dim, KvPanels, ShapeError};
use ndarray::{Array1, Array2, Array4, s};
use proptest::prelude::*;

/// Sizes on both sides of the panels' 32, and with them an input made from a seed.
#[derive(Clone, Debug)]
struct Plan {
    batch: usize,
    heads: usize,
    dim: usize,
    tokens: usize,
    past: usize,
    seed: u64,
    magnitude: f32,
}

fn plan() -> impl Strategy<Value = Plan> {
    // A few queries, or more than are computed together.
    let tokens = prop_oneof![3 => 1..6_usize, 1 => 30..70_usize];
    let sizes = (1..4_usize, 1..4_usize, 1..40_usize, tokens, 0..70_usize);
    (sizes, any::<u64>(), 0.1..30.0_f32).prop_map(|(sizes, seed, magnitude)| {
        let (batch, heads, dim, tokens, past) = sizes;
        Plan {
            batch,
            heads,
            dim,
            tokens,
            past,
            seed,
            magnitude,
        }
    })
}

impl Plan {
    fn values(&self, stream: u64, shape: (usize, usize, usize, usize)) -> Array4<f32> {
        let mut state = self.seed ^ stream.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Array4::from_shape_simple_fn(shape, || {
            // Knuth's MMIX generator; its upper bits are good enough for values between -1 and 1.
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            ((state >> 40) as f32 / (1 << 23) as f32 - 1.0) * self.magnitude
        })
    }

    fn input(&self) -> Input {
        let Plan {
            batch,
            heads,
            dim,
            tokens,
            past,
            ..
        } = *self;
        let stored = (batch, past + tokens, heads, dim);
        Input {
            layer: 0,
            q: self.values(1, (batch, tokens, heads, dim)),
            k: self.values(2, stored),
            v: self.values(3, stored),
        }
    }

    fn attention(&self) -> Attention {
        let channels = self.heads * self.dim;
        let (weight, bias) = (Array2::eye(channels), Array1::zeros(channels));
        Attention::new(weight.view(), bias.view(), self.heads).expect("a small attention")
    }

    fn panels(&self, [batch, stored, heads, dim]: [usize; 4]) -> KvPanels {
        let mut panels = KvPanels::new(batch, stored, heads, dim).expect("small panels");
        let zeros = Array4::zeros((batch, stored, heads, dim));
        panels
            .append(&Cpu::default(), zeros.view(), zeros.view())
            .expect("room");
        panels
    }
}

proptest! {
    #![proptest_config(of_cases(48))]

    /// Every probability is rounded to float32 once, so their sum is off by at most half a unit of 1.
    #[test]
    fn probabilities_are_a_distribution_over_the_past(plan in plan()) {
        let sites = plan.input().attend(&plan.attention());
        for ((b, h, t), _) in sites.probs.slice(s![.., .., .., 0]).indexed_iter() {
            let row = sites.probs.slice(s![b, h, t, ..]);
            prop_assert!(row.iter().all(|&p| (0.0..=1.0).contains(&p)));
            let sum: f64 = row.iter().map(|&p| f64::from(p)).sum();
            prop_assert!((sum - 1.0).abs() <= 1.01 * f64::from(f32::EPSILON) / 2.0, "{sum}");
        }
    }

    #[test]
    fn the_future_is_exactly_minus_infinity_and_exactly_zero(plan in plan()) {
        let sites = plan.input().attend(&plan.attention());
        for ((b, h, t, s), &score) in sites.scores.indexed_iter() {
            let future = s > plan.past + t;
            prop_assert_eq!(score == f32::NEG_INFINITY, future);
            if future {
                prop_assert_eq!(sites.probs[[b, h, t, s]].to_bits(), 0);
            }
        }
    }

    /// Even NaN in the future changes no bit before it.
    #[test]
    fn changing_the_future_changes_no_bit(
        plan in plan(),
        at in any::<prop::sample::Index>(),
        with in prop_oneof![Just(f32::NAN), Just(f32::INFINITY), -1e30..1e30_f32],
    ) {
        let before = plan.input();
        let t = at.index(plan.tokens);
        let mut after = before.clone();
        let future = s![.., plan.past + t + 1.., .., ..];
        after.k.slice_mut(future).fill(with);
        after.v.slice_mut(future).fill(with);
        let [before, after] = [before, after].map(|input| input.attend(&plan.attention()));
        let seen = s![.., .., ..=t, ..];
        prop_assert_eq!(bits(before.scores.slice(seen)), bits(after.scores.slice(seen)));
        prop_assert_eq!(bits(before.probs.slice(seen)), bits(after.probs.slice(seen)));
        let out = s![.., ..=t, ..];
        prop_assert_eq!(bits(before.out.slice(out)), bits(after.out.slice(out)));
    }

    /// The average of values lies between them: c_proj is the identity here.
    #[test]
    fn the_output_lies_between_the_values_that_are_seen(plan in plan()) {
        let input = plan.input();
        let out = input.attend(&plan.attention()).out;
        for ((b, t, c), &found) in out.indexed_iter() {
            let seen = input.v.slice(s![b, ..=plan.past + t, c / plan.dim, c % plan.dim]);
            let (low, high) = seen.iter().fold((f32::MAX, f32::MIN), |(low, high), &v| (low.min(v), high.max(v)));
            let rounding = 1e-5 * plan.magnitude;
            prop_assert!((low - rounding..=high + rounding).contains(&found), "{found} in {low}..{high}");
        }
    }

    /// None, one too few, one too many, in every dimension of the queries.
    #[test]
    fn queries_of_a_wrong_size_are_refused_by_name(
        plan in plan(),
        axis in 0..4_usize,
        wrong in 0..3_usize,
    ) {
        let Plan { batch, heads, dim, tokens, past, .. } = plan;
        let stored = [batch, past + tokens, heads, dim];
        let mut shape = [batch, tokens, heads, dim];
        shape[axis] = [0, shape[axis] - 1, shape[axis] + 1][wrong];
        // The number of queries is free, up to the positions that are stored.
        if axis == 1 && shape[1] > 0 {
            shape[1] = stored[1] + 1 + wrong;
        }
        let expected = if axis == 1 && shape[1] > 0 {
            Error::Positions { queries: shape[1], stored: stored[1] }
        } else {
            Error::Shape(ShapeError {
                what: "q",
                expected: vec![Dim::Is(batch), Dim::Any("T"), Dim::Is(heads), Dim::Is(dim)],
                found: shape.to_vec(),
            })
        };
        let q = Array4::zeros(shape);
        let found = plan.attention().forward(q.view(), &plan.panels(stored), &mut ());
        prop_assert_eq!(found, Err(expected));
    }

    #[test]
    fn keys_and_values_of_other_heads_are_refused_by_name(
        plan in plan(),
        axis in 2..4_usize,
        more in any::<bool>(),
    ) {
        let mut shape = [plan.batch, plan.past + plan.tokens, plan.heads, plan.dim];
        prop_assume!(more || shape[axis] > 1);
        shape[axis] = if more { shape[axis] + 1 } else { shape[axis] - 1 };
        let expected = ShapeError {
            what: "keys and values",
            expected: vec![Dim::Any("B"), Dim::Any("S"), Dim::Is(plan.heads), Dim::Is(plan.dim)],
            found: shape.to_vec(),
        };
        let found = plan.attention().forward(plan.input().q.view(), &plan.panels(shape), &mut ());
        prop_assert_eq!(found, Err(Error::Shape(expected)));
    }

    #[test]
    fn weights_of_a_wrong_size_are_refused_by_name(
        channels in 1..40_usize,
        other in 0..42_usize,
    ) {
        prop_assume!(channels != other);
        let new = |rows: usize, columns: usize, bias: usize| {
            let (weight, bias) = (Array2::zeros((rows, columns)), Array1::zeros(bias));
            Attention::new(weight.view(), bias.view(), 1).map(|_| ())
        };
        let error = |what, expected: Vec<Dim>, found: Vec<usize>| {
            Err(Error::Shape(ShapeError { what, expected, found }))
        };
        let square = vec![Dim::Any("C"), if other == 0 { Dim::Any("C") } else { Dim::Is(channels) }];
        prop_assert_eq!(new(channels, other, channels), error("weight", square, vec![channels, other]));
        let length = vec![Dim::Is(channels)];
        prop_assert_eq!(new(channels, channels, other), error("bias", length, vec![other]));
        let nothing = vec![Dim::Any("C"), Dim::Any("C")];
        prop_assert_eq!(new(0, other, channels), error("weight", nothing, vec![0, other]));
    }
}

#[test]
fn an_empty_cache_has_nothing_to_attend_to() {
    let panels = KvPanels::new(1, 4, 2, 3).expect("small panels");
    let (weight, bias) = (Array2::eye(6), Array1::zeros(6));
    let attention = Attention::new(weight.view(), bias.view(), 2).expect("a small attention");
    let q = Array4::zeros((1, 1, 2, 3));
    let error = attention
        .forward(q.view(), &panels, &mut ())
        .expect_err("no positions");
    let message = "keys and values: expected shape [B, S, 2, 3], found [1, 0, 2, 3]";
    assert_eq!(error.to_string(), message);
}

#[test]
fn heads_that_do_not_divide_the_channels_are_refused() {
    let (weight, bias) = (Array2::zeros((12, 12)), Array1::zeros(12));
    for heads in [0, 5, 7, 13, usize::MAX] {
        let found = Attention::new(weight.view(), bias.view(), heads).map(|_| ());
        assert_eq!(
            found,
            Err(Error::Heads {
                channels: 12,
                heads
            })
        );
    }
}

#[test]
fn a_scale_that_is_no_positive_number_is_refused() {
    for scale in [0.0, -1.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN] {
        let (weight, bias) = (Array2::eye(2), Array1::zeros(2));
        let attention = Attention::new(weight.view(), bias.view(), 1).expect("a small attention");
        let error = attention
            .with_scale(scale)
            .expect_err("no factor for scores");
        let message = format!("scale: expected a finite number above 0, found {scale}");
        assert_eq!(error.to_string(), message);
    }
}
