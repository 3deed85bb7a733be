//! Which tokens top-k and top-p must keep, and which lie so close to the cut that rounding decides.

use llorch_model::Sampling;

/// How far logits and sums of probabilities may be from the truth's, in either implementation.
#[derive(Clone, Copy, Debug)]
pub struct Errors {
    /// In a logit.
    pub logit: f64,
    /// In the sum of any of the probabilities.
    pub mass: f64,
}

/// For every token whether it is kept, where the truth's logits settle that; nothing where an error of the
/// given size could move the token over the cut.
pub fn settled(sampling: &Sampling, truth: &[f64], errors: Errors) -> Vec<Option<bool>> {
    let mut sorted = truth.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    // A token and what it is compared with may be off in opposite directions.
    let apart = 2.0 * errors.logit;
    if let Some(k) = sampling.top_k {
        let least = sorted.get(k - 1).copied().unwrap_or(f64::NEG_INFINITY);
        let next = sorted.get(k).copied().unwrap_or(f64::NEG_INFINITY);
        return truth
            .iter()
            .map(|&logit| decide(logit - next > apart, least - logit > apart))
            .collect();
    }
    let limit = sampling.top_p.unwrap_or(1.0);
    let above = masses(&sorted);
    // The mass of all tokens with a larger logit than this.
    let over = |logit: f64| above[sorted.partition_point(|&other| other > logit)];
    let total = above[sorted.len()];
    truth
        .iter()
        .map(|&logit| {
            // A token is kept if those before it do not reach the limit.
            let surely = over(logit + apart) / total;
            let own = (logit - sorted[0]).exp();
            let perhaps = (over((logit - apart).next_down()) - own) / total;
            decide(perhaps + errors.mass < limit, surely - errors.mass >= limit)
        })
        .collect()
}

fn decide(kept: bool, removed: bool) -> Option<bool> {
    (kept || removed).then_some(kept)
}

/// The sums of the first n weights e^logit, for n from 0 to all.
fn masses(sorted: &[f64]) -> Vec<f64> {
    let mut sum = 0.0;
    let mut sums = vec![0.0];
    for logit in sorted {
        sum += (logit - sorted[0]).exp();
        sums.push(sum);
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Probabilities 0.5, 0.3, 0.2 in another order.
    fn truth() -> Vec<f64> {
        [0.3f64, 0.5, 0.2].map(f64::ln).to_vec()
    }

    fn top_k(k: usize) -> Sampling {
        Sampling {
            top_k: Some(k),
            ..Sampling::default()
        }
    }

    fn top_p(p: f64) -> Sampling {
        Sampling {
            top_p: Some(p),
            ..Sampling::default()
        }
    }

    const SMALL: Errors = Errors {
        logit: 1e-6,
        mass: 1e-6,
    };

    #[test]
    fn without_errors_every_token_is_settled() {
        let all = |sampling| settled(&sampling, &truth(), SMALL);
        assert_eq!(all(top_k(2)), [Some(true), Some(true), Some(false)]);
        assert_eq!(all(top_k(3)), [Some(true); 3]);
        assert_eq!(all(top_k(9)), [Some(true); 3]);
        assert_eq!(all(top_p(0.79)), [Some(true), Some(true), Some(false)]);
        // The token that crosses is kept.
        assert_eq!(all(top_p(0.81)), [Some(true); 3]);
        assert_eq!(all(top_p(0.1)), [Some(false), Some(true), Some(false)]);
    }

    #[test]
    fn tokens_at_the_cut_are_not_settled() {
        let rough = Errors {
            logit: 0.21, // ln(0.3 / 0.2) is 0.405
            mass: 1e-6,
        };
        assert_eq!(
            settled(&top_k(2), &truth(), rough),
            [None, Some(true), None]
        );
        assert_eq!(
            settled(&top_p(0.8), &truth(), SMALL),
            [Some(true), Some(true), None]
        );
    }

    #[test]
    fn equal_logits_at_the_cut_are_not_settled() {
        let truth = [1.0, 0.0, 0.0, -1.0];
        assert_eq!(
            settled(&top_k(2), &truth, SMALL),
            [Some(true), None, None, Some(false)]
        );
    }
}
