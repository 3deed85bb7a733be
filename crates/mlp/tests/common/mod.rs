//! The right feed-forward layer, taken apart so that a test can change one thing of it.
#![allow(dead_code, reason = "each test file uses its share of what is common")]

use llorch_fixtures::{Fixture, tiny};
use llorch_mlp::{Activation, Mlp};
use llorch_numerics::Probe;
use llorch_parity::{Judgement, Rule};
use ndarray::{Array1, Array2, ArrayD, ArrayView3, ArrayViewD};

/// What the layer is built from.
#[derive(Clone)]
pub struct Parts {
    pub fc: Array2<f32>,
    pub fc_bias: Array1<f32>,
    pub proj: Array2<f32>,
    pub proj_bias: Array1<f32>,
    pub activation: Activation,
}

impl Parts {
    /// The embedded model's, of a layer.
    pub fn of(fixture: &Fixture, layer: usize) -> Parts {
        let (channels, inner) = (fixture.config.n_embd(), fixture.config.n_inner());
        let name = |part| format!("h.{layer}.mlp.{part}");
        Parts {
            fc: fixture.matrix(&name("c_fc.weight"), [channels, inner]),
            fc_bias: fixture.vector(&name("c_fc.bias"), inner),
            proj: fixture.matrix(&name("c_proj.weight"), [inner, channels]),
            proj_bias: fixture.vector(&name("c_proj.bias"), channels),
            activation: Activation::GeluTanh,
        }
    }

    pub fn build(&self) -> Mlp {
        Mlp::new(
            self.fc.view(),
            self.fc_bias.view(),
            self.proj.view(),
            self.proj_bias.view(),
            self.activation,
        )
        .expect("a layer")
    }

    /// Every site, by its name in the trace.
    pub fn forward(&self, x: ArrayView3<f32>) -> Vec<(&'static str, ArrayD<f32>)> {
        let mut sites = Sites::default();
        let out = self.build().forward(x, &mut sites).expect("an output");
        let [fc, act, recorded] = ["fc", "act", "out"].map(|site| sites.take(site));
        assert_eq!(recorded, out.into_dyn(), "the probe sees what is returned");
        vec![("mlp.fc", fc), ("mlp.act", act), ("mlp.out", recorded)]
    }
}

/// A probe that keeps everything.
#[derive(Default)]
pub struct Sites(Vec<(String, ArrayD<f32>)>);

impl Sites {
    pub fn names(&self) -> Vec<&str> {
        self.0.iter().map(|(name, _)| name.as_str()).collect()
    }

    pub fn take(&mut self, site: &str) -> ArrayD<f32> {
        let place = self.0.iter().position(|(name, _)| name == site);
        let place = place.unwrap_or_else(|| panic!("{site} was never recorded"));
        self.0.remove(place).1
    }
}

impl Probe for Sites {
    fn wants(&self, _: &str) -> bool {
        true
    }

    fn record(&mut self, site: &str, values: ArrayViewD<f32>) {
        self.0.push((site.to_owned(), values.to_owned()));
    }
}

/// Judges what `ours` makes of the witness's inputs, at the given sites of every layer.
pub fn judge(
    cases: &[&str],
    sites: &[&str],
    ours: impl Fn(&Parts, ArrayView3<f32>) -> Vec<(&'static str, ArrayD<f32>)>,
) -> Judgement {
    let fixture = tiny();
    let parts: Vec<Parts> = (0..fixture.config.n_layer())
        .map(|layer| Parts::of(&fixture, layer))
        .collect();
    let rules: Vec<_> = sites
        .iter()
        .map(|&site| (site, Rule::within(1e-4)))
        .collect();
    fixture.judge(cases, &rules, |case, call, layer| {
        let x = case.stream(call, &format!("h.{layer}.ln_2"));
        ours(&parts[layer], x.view())
    })
}

/// All three.
pub const SITES: [&str; 3] = ["mlp.fc", "mlp.act", "mlp.out"];
