//! From logits to tokens.

use llorch_model::{Error, Sampler, Sampling, greedy};
use ndarray::{Array1, ArrayView1, array};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

fn of(temperature: f32, top_k: Option<usize>, top_p: Option<f64>) -> Sampling {
    Sampling {
        temperature,
        top_k,
        top_p,
    }
}

fn probabilities(sampling: Sampling, logits: ArrayView1<f32>) -> Array1<f32> {
    let probabilities = sampling.probabilities(logits);
    probabilities.unwrap_or_else(|error| panic!("{sampling:?}: {error}"))
}

/// The tokens that can be drawn.
fn kept(sampling: Sampling, logits: &Array1<f32>) -> Vec<usize> {
    let probabilities = probabilities(sampling, logits.view());
    let sum: f32 = probabilities.sum();
    assert!((sum - 1.0).abs() < 1e-6, "{sampling:?} sums to {sum}");
    let kept = probabilities.indexed_iter().filter(|&(_, &p)| p > 0.0);
    kept.map(|(token, _)| token).collect()
}

#[test]
fn greedy_takes_the_first_of_equals() {
    assert_eq!(
        greedy(array![1.0, 3.0, 3.0, -2.0].view()).expect("a token"),
        1
    );
    assert_eq!(greedy(array![-0.0, 0.0].view()).expect("a token"), 0);
    assert_eq!(greedy(array![-7.0].view()).expect("a token"), 0);
}

#[test]
fn top_p_keeps_the_token_that_greedy_takes_also_of_two_zeros() {
    for logits in [array![-0.0, 0.0], array![0.0, -0.0]] {
        assert_eq!(kept(of(1.0, None, Some(0.1)), &logits), [0]);
    }
}

#[test]
fn below_a_millionth_the_temperature_is_greedy_whatever_the_seed() {
    let logits = array![1.0, 1.00001, 1.00001, 0.0];
    for temperature in [0.0, 1e-7, 9.9e-7] {
        assert_eq!(kept(of(temperature, None, None), &logits), [1]);
        for seed in 0..20 {
            let mut sampler = Sampler::new(of(temperature, None, None), seed).expect("settings");
            assert_eq!(sampler.choose(logits.view()).expect("a token"), 1);
        }
    }
    assert_eq!(kept(of(1.0, None, None), &logits), [0, 1, 2, 3]);
}

#[test]
fn temperature_divides_the_logits() {
    let logits = array![0.0, 1.0, 2.5];
    for temperature in [0.25f32, 0.7, 1.0, 3.0] {
        let weights = logits.mapv(|x: f32| f64::from(x / temperature).exp());
        let expected = &weights / weights.sum();
        let ours = probabilities(of(temperature, None, None), logits.view());
        for (ours, expected) in ours.iter().zip(expected) {
            assert!((f64::from(*ours) - expected).abs() < 1e-6, "{temperature}");
        }
    }
}

#[test]
fn top_k_keeps_the_k_best_and_the_equals_of_the_last() {
    let logits = array![1.0, 5.0, 3.0, 3.0, 2.0];
    assert_eq!(kept(of(1.0, Some(1), None), &logits), [1]);
    assert_eq!(kept(of(1.0, Some(2), None), &logits), [1, 2, 3]);
    assert_eq!(kept(of(1.0, Some(3), None), &logits), [1, 2, 3]);
    assert_eq!(kept(of(1.0, Some(4), None), &logits), [1, 2, 3, 4]);
    for k in [5, 6, usize::MAX] {
        let all = probabilities(of(1.0, Some(k), None), logits.view());
        assert_eq!(all, probabilities(Sampling::default(), logits.view()));
    }
}

#[test]
fn top_p_keeps_the_best_until_they_reach_p() {
    // Shares of 0.1, 0.4, 0.2 and 0.3.
    let logits = array![1.0f32, 4.0, 2.0, 3.0].mapv(f32::ln);
    for (p, expected) in [
        (1e-9, &[1][..]),
        (0.39, &[1]),
        (0.41, &[1, 3]),
        (0.69, &[1, 3]),
        (0.71, &[1, 2, 3]),
        (0.91, &[0, 1, 2, 3]),
    ] {
        assert_eq!(kept(of(1.0, None, Some(p)), &logits), expected, "p {p}");
    }
    let all = probabilities(of(1.0, None, Some(1.0)), logits.view());
    assert_eq!(all, probabilities(Sampling::default(), logits.view()));
}

#[test]
fn top_p_is_reached_where_the_sum_is_equal_to_it() {
    let quarters = Array1::zeros(4);
    for (p, expected) in [
        (0.25, &[0][..]),
        (0.5, &[0, 1]),
        (0.75, &[0, 1, 2]),
        (1.0, &[0, 1, 2, 3]),
    ] {
        assert_eq!(kept(of(1.0, None, Some(p)), &quarters), expected, "p {p}");
    }
}

#[test]
fn a_tiny_p_keeps_the_first_of_equals() {
    let logits = array![0.0, 2.0, 2.0, 1.0];
    assert_eq!(kept(of(1.0, None, Some(1e-9)), &logits), [1]);
    assert_eq!(greedy(logits.view()).expect("a token"), 1);
}

#[test]
fn top_p_sees_the_temperature_and_what_top_k_left() {
    let logits = array![1.0f32, 4.0, 2.0, 3.0].mapv(f32::ln);
    // At temperature 0.5 the shares are 1, 16, 4 and 9 thirtieths.
    assert_eq!(kept(of(0.5, None, Some(0.5)), &logits), [1]);
    // Of the two best alone they are 4 and 3 sevenths.
    assert_eq!(kept(of(1.0, None, Some(0.55)), &logits), [1, 3]);
    assert_eq!(kept(of(1.0, Some(2), Some(0.55)), &logits), [1]);
}

#[test]
fn seeds_reproduce_and_differ() {
    let logits = Array1::<f32>::zeros(1000);
    let draw = |seed| -> Vec<u32> {
        let mut sampler = Sampler::new(Sampling::default(), seed).expect("settings");
        let tokens = (0..50).map(|_| sampler.choose(logits.view()).expect("a token"));
        tokens.collect()
    };
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
}

/// The bound is six standard deviations of a fair draw.
#[test]
fn tokens_are_drawn_as_often_as_they_are_probable() {
    const DRAWS: usize = 20_000;
    let shares = [0.5, 0.0, 0.25, 0.15, 0.1];
    let logits: Array1<f32> = shares
        .iter()
        .map(|p: &f64| p.max(1e-30).ln() as f32)
        .collect();
    let mut sampler = Sampler::new(Sampling::default(), 7).expect("settings");
    let mut counts = [0usize; 5];
    for _ in 0..DRAWS {
        counts[sampler.choose(logits.view()).expect("a token") as usize] += 1;
    }
    for (count, p) in counts.into_iter().zip(shares) {
        let expected = p * DRAWS as f64;
        let bound = 6.0 * (expected * (1.0 - p)).sqrt();
        assert!(
            (count as f64 - expected).abs() <= bound,
            "{count} for {expected}"
        );
    }
}

#[test]
fn tokens_that_are_not_kept_are_never_drawn() {
    let logits = array![0.0, 0.1, 0.2, 0.3];
    let mut sampler = Sampler::new(of(1.0, Some(2), None), 3).expect("settings");
    for _ in 0..1000 {
        assert!(sampler.choose(logits.view()).expect("a token") >= 2);
    }
}

/// The u of a seed's first draw, as the page of checkpoint 11 has it.
fn first_u(seed: u64) -> f64 {
    let bits = ChaCha8Rng::seed_from_u64(seed).next_u64() >> 11;
    bits as f64 / (1u64 << 53) as f64
}

/// Of n equal tokens each has an nth of [0, 1), its start included. The seeds were searched for: the u of
/// both is at the start of a share, within what three float32 thirds are more than one, and exactly.
#[test]
fn a_token_is_drawn_from_the_start_of_its_share_on() {
    for (tokens, seed) in [(3, 260_574_755), (1 << 19, 20_757_771_635)] {
        let share = first_u(seed) * tokens as f64;
        assert!(share >= 1.0 && share.fract() < 1e-8, "{share}");
        let mut sampler = Sampler::new(Sampling::default(), seed).expect("settings");
        let drawn = sampler.choose(Array1::zeros(tokens).view());
        assert_eq!(drawn.expect("a token"), share as u32, "of {tokens}");
    }
}

/// Half a million tokens, 6e-11 together, that float64 loses when it takes them from u one by one, but not
/// when it adds them up: where u is closer to 1 than that, something is left over after the last token.
#[test]
fn what_rounding_leaves_over_goes_to_no_token_that_is_not_kept() {
    const LOST: usize = 1 << 19;
    const SEED: u64 = 2_650_585_502;
    assert!(1.0 - first_u(SEED) < 5e-11);
    let mut logits = Array1::from_elem(LOST + 2, -36.75);
    logits[LOST] = 0.0;
    logits[LOST + 1] = -40.0;
    let all_but_the_last = of(1.0, Some(LOST + 1), None);
    let mut sampler = Sampler::new(all_but_the_last, SEED).expect("settings");
    let drawn = sampler.choose(logits.view()).expect("a token");
    assert_eq!(drawn as usize, LOST);
}

#[test]
fn large_logits_have_probabilities() {
    let large = array![1e4, -1e4, 1e4, 9.99e3];
    for temperature in [1e-6, 0.1, 1.0, 1e6] {
        for (top_k, top_p) in [(None, None), (Some(2), None), (None, Some(0.9))] {
            let ours = probabilities(of(temperature, top_k, top_p), large.view());
            assert!(ours.iter().all(|p| p.is_finite()), "{temperature}: {ours}");
            assert!((ours.sum() - 1.0).abs() < 1e-6, "{temperature}: {ours}");
        }
    }
    // A logit that a low temperature takes out of float32's range is no probability at all.
    assert_eq!(kept(of(1e-6, None, None), &array![0.0, f32::MIN]), [0]);
}

#[test]
fn a_best_logit_that_the_temperature_takes_out_of_range_is_refused() {
    let logits = array![0.0, 1e34, 2e34];
    let error = of(1e-6, None, None).probabilities(logits.view());
    let error = error.expect_err("an infinite logit");
    assert!(
        matches!(
            error,
            Error::Logits {
                token: 2,
                found: f32::INFINITY
            }
        ),
        "{error}"
    );
}

#[test]
fn settings_without_a_meaning_are_refused_by_name() {
    let one = array![1.0];
    for (sampling, name) in [
        (of(-0.1, None, None), "temperature"),
        (of(f32::NAN, None, None), "temperature"),
        (of(f32::INFINITY, None, None), "temperature"),
        (of(1.0, Some(0), None), "top-k"),
        (of(1.0, None, Some(0.0)), "top-p"),
        (of(1.0, None, Some(1.0001)), "top-p"),
        (of(1.0, None, Some(-0.5)), "top-p"),
        (of(1.0, None, Some(f64::NAN)), "top-p"),
    ] {
        let new = Sampler::new(sampling, 0).expect_err("refused");
        let used = sampling.probabilities(one.view()).expect_err("refused");
        for error in [new, used] {
            let named = matches!(error, Error::Sampling { setting, .. } if setting == name);
            assert!(named, "{sampling:?}: {error}");
        }
    }
}

#[test]
fn logits_that_are_not_finite_are_refused_with_their_token() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let logits = array![0.0, 1.0, bad];
        let mut sampler = Sampler::new(Sampling::default(), 0).expect("settings");
        let errors = [
            greedy(logits.view()).map(|_| ()),
            sampler.choose(logits.view()).map(|_| ()),
            Sampling::GREEDY.probabilities(logits.view()).map(|_| ()),
        ];
        for error in errors {
            let named = matches!(error, Err(Error::Logits { token: 2, .. }));
            assert!(named, "{bad}: {error:?}");
        }
    }
}
