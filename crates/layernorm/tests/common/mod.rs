//! The right normalisation, taken apart so that a test can change one thing of it.
#![allow(dead_code, reason = "each test file uses its share of what is common")]

use llorch_fixtures::{Case, Fixture};
use llorch_layernorm::LayerNorm;
use llorch_parity::{Judgement, Rule};
use ndarray::{Array1, Array3, ArrayView1, ArrayView3};

/// DESIGN's bound for checkpoint 1.
pub fn rule() -> Rule {
    Rule::within(1e-5)
}

/// What a normalisation is built from.
#[derive(Clone)]
pub struct Parts {
    pub weight: Array1<f32>,
    pub bias: Array1<f32>,
    pub epsilon: f64,
}

impl Parts {
    /// The embedded model's, by the name in its file: `h.0.ln_1`, `ln_f`.
    pub fn of(fixture: &Fixture, name: &str) -> Parts {
        let channels = fixture.config.n_embd();
        Parts {
            weight: fixture.vector(&format!("{name}.weight"), channels),
            bias: fixture.vector(&format!("{name}.bias"), channels),
            epsilon: fixture.config.layer_norm_epsilon(),
        }
    }

    /// Weight 1 and bias 0.
    pub fn plain(channels: usize, epsilon: f64) -> Parts {
        Parts {
            weight: Array1::ones(channels),
            bias: Array1::zeros(channels),
            epsilon,
        }
    }

    pub fn build(&self) -> LayerNorm {
        LayerNorm::new(self.weight.view(), self.bias.view(), self.epsilon).expect("a normalisation")
    }

    pub fn forward(&self, x: ArrayView3<f32>) -> Array3<f32> {
        self.build().forward(x).expect("a normalised array")
    }
}

/// Judges what `ours` makes of the witness's inputs, at `ln_1` and `ln_2` of every layer.
pub fn judge(cases: &[&str], ours: impl Fn(&Parts, ArrayView3<f32>) -> Array3<f32>) -> Judgement {
    let fixture = llorch_fixtures::tiny();
    let norms = ["ln_1", "ln_2"];
    let parts: Vec<_> = (0..fixture.config.n_layer())
        .map(|layer| norms.map(|norm| Parts::of(&fixture, &format!("h.{layer}.{norm}"))))
        .collect();
    let rules = norms.map(|norm| (norm, rule()));
    fixture.judge(cases, &rules, |case, call, layer| {
        let [ln_1, ln_2] = &parts[layer];
        let y_1 = ours(ln_1, case.block_input(call, layer).view());
        let y_2 = ours(ln_2, case.after_attention(call, layer).view());
        vec![("ln_1", y_1.into_dyn()), ("ln_2", y_2.into_dyn())]
    })
}

/// The same at `ln_f`.
pub fn judge_last(
    cases: &[&str],
    ours: impl Fn(&Parts, ArrayView3<f32>) -> Array3<f32>,
) -> Judgement {
    let fixture = llorch_fixtures::tiny();
    let parts = Parts::of(&fixture, "ln_f");
    let layers = fixture.config.n_layer();
    fixture.judge_after_layers(cases, &[("ln_f", rule())], |case: &Case, call| {
        let y = ours(&parts, case.block_input(call, layers).view());
        vec![("ln_f", y.into_dyn())]
    })
}

/// Mean and variance in two passes in float64.
pub fn moments(row: ArrayView1<f32>) -> (f64, f64) {
    let n = row.len() as f64;
    let mean = row.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
    let squares = row.iter().map(|&x| (f64::from(x) - mean).powi(2));
    (mean, squares.sum::<f64>() / n)
}

/// The formula in float64 with the mean and the variance that `statistics` finds.
pub fn formula(
    parts: &Parts,
    x: ArrayView3<f32>,
    statistics: impl Fn(ArrayView1<f32>) -> (f64, f64),
) -> Array3<f64> {
    let mut y = x.mapv(f64::from);
    for (mut out, row) in y.rows_mut().into_iter().zip(x.rows()) {
        let (mean, variance) = statistics(row);
        let inverse = (variance + parts.epsilon).sqrt().recip();
        for ((out, weight), bias) in out.iter_mut().zip(&parts.weight).zip(&parts.bias) {
            *out = (*out - mean) * inverse * f64::from(*weight) + f64::from(*bias);
        }
    }
    y
}
