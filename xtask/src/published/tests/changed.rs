//! Models that are not right, or not settled.

use std::cell::Cell;

use llorch_model::{Probe, Sampling};
use llorch_parity::Reason;
use ndarray::{Array1, Array2, Array3, ArrayView1, ArrayView2, Axis, Slice, concatenate};

use super::*;
use crate::plain::{Bug, Weights};
use crate::port::{Plain, Session};

/// What becomes of a model's answers.
#[derive(Clone, Copy)]
struct Changes<'a> {
    /// Of each logit of the last position.
    last: &'a dyn Fn(f32) -> f32,
    /// Of the logits of all positions.
    all: fn(Array3<f32>) -> Array3<f32>,
    /// Of generated ids.
    generated: fn(Vec<u32>) -> Vec<u32>,
}

const NONE: Changes = Changes {
    last: &|logit| logit,
    all: |logits| logits,
    generated: |ids| ids,
};

struct Changed<'a> {
    model: &'a dyn Model,
    changes: Changes<'a>,
}

struct ChangedSession<'a> {
    session: Box<dyn Session + 'a>,
    changes: Changes<'a>,
}

impl Model for Changed<'_> {
    fn session(&self, batch: usize, positions: usize) -> Result<Box<dyn Session + '_>> {
        Ok(Box::new(ChangedSession {
            session: self.model.session(batch, positions)?,
            changes: self.changes,
        }))
    }

    fn greedy(&self, logits: ArrayView2<f32>) -> Result<Vec<u32>> {
        self.model.greedy(logits)
    }

    fn distribution(&self, sampling: &Sampling, logits: ArrayView1<f32>) -> Result<Array1<f32>> {
        self.model.distribution(sampling, logits)
    }

    fn generate(&self, prompt: &[u32], new: usize) -> Result<Vec<u32>> {
        Ok((self.changes.generated)(self.model.generate(prompt, new)?))
    }
}

impl Session for ChangedSession<'_> {
    fn forward(&mut self, tokens: ArrayView2<u32>, probe: &mut dyn Probe) -> Result<Array3<f32>> {
        Ok((self.changes.all)(self.session.forward(tokens, probe)?))
    }

    fn forward_last(&mut self, tokens: ArrayView2<u32>) -> Result<Array2<f32>> {
        Ok(self.session.forward_last(tokens)?.mapv(self.changes.last))
    }
}

fn changed(checkpoint: usize, changes: Changes) -> Judgement {
    let folder = tiny();
    let rooms = rooms(&folder);
    let model = rooms.model().expect("whole");
    judge(&file(), checkpoint, &Changed { model, changes }, &folder)
}

#[test]
fn a_margin_that_rounding_can_close_settles_nothing() {
    for checkpoint in [10, 12] {
        let last = &|logit| logit * 1e-6;
        let judgement = changed(checkpoint, Changes { last, ..NONE });
        let Verdict::Inconclusive(reasons) = judgement.verdict() else {
            panic!("expected INCONCLUSIVE, found {}", judgement.verdict());
        };
        let margins = reasons
            .iter()
            .filter(|r| matches!(r, Reason::Margin { .. }));
        assert_eq!(margins.count(), 24);
        let said = reasons[0].to_string();
        assert!(
            said.contains(&format!("{SOURCE}, generated ids: token 0")),
            "{said}"
        );
    }
}

#[test]
fn a_model_that_answers_otherwise_when_asked_again_fails() {
    let asked = Cell::new(0.0f32);
    let drifting = |logit: f32| {
        asked.set(asked.get() + 1e-9);
        logit + asked.get()
    };
    let last = &drifting;
    let judgement = changed(9, Changes { last, ..NONE });
    let said = &failures(&judgement)[0];
    assert!(
        said.starts_with("determinism") && said.contains("best token"),
        "{said}"
    );
}

#[test]
fn what_a_user_would_get_is_judged_and_not_the_forced_run_alone() {
    let generated = |mut ids: Vec<u32>| {
        ids.swap(3, 4);
        ids
    };
    let judgement = changed(12, Changes { generated, ..NONE });
    let said = &failures(&judgement)[0];
    let wrong = "generated ids: token 3: expected 412, found 308";
    assert!(said.contains(wrong), "{said}");
    let generated = |mut ids: Vec<u32>| {
        ids.pop();
        ids
    };
    let judgement = changed(12, Changes { generated, ..NONE });
    let said = &failures(&judgement)[0];
    assert!(said.contains("expected 12 tokens, found 11"), "{said}");
}

#[test]
fn logits_of_another_shape_fail_whatever_their_values() {
    // The right rows in their places, and one more behind them or in a second row of the batch.
    let longer = |logits: Array3<f32>| {
        let last = logits.slice_axis(Axis(1), Slice::from(-1..));
        concatenate(Axis(1), &[logits.view(), last]).expect("the same width")
    };
    let twice = |logits: Array3<f32>| {
        concatenate(Axis(0), &[logits.view(), logits.view()]).expect("the same shape")
    };
    for all in [longer as fn(_) -> _, twice] {
        let judgement = changed(8, Changes { all, ..NONE });
        let said = &failures(&judgement)[0];
        assert!(
            said.contains("logits: expected shape [1, 14, ..]"),
            "{said}"
        );
    }
}

#[test]
fn a_port_with_a_mistake_fails() {
    let folder = tiny();
    let weights = Weights::load(&folder.weights, &folder.config).expect("plain weights");
    let right = Plain {
        weights: &weights,
        bug: None,
    };
    let wrong = Plain {
        weights: &weights,
        bug: Some(Bug::GeluErf),
    };
    for checkpoint in [8, 9] {
        let judgement = judge(&file(), checkpoint, right.model().expect("whole"), &folder);
        assert!(judgement.verdict().is_pass(), "{}", judgement.verdict());
        let judgement = judge(&file(), checkpoint, wrong.model().expect("whole"), &folder);
        assert_eq!(
            judgement.verdict().exit_code(),
            1,
            "{}",
            judgement.verdict()
        );
    }
}
