//! A model composed in these few lines from the rooms, each of its parts open to change.

use super::references::{Case, LAYERS, Recorder};
use llorch_attention::Attention;
use llorch_kv_cache::KvCache;
use llorch_layernorm::LayerNorm;
use llorch_mlp::Mlp;
use llorch_model::{Config, Probe, Weights, attention, layer_norm, mlp, qkv};
use llorch_numerics::{Cpu, PackedMatrix, Scoped};
use llorch_parity::Trace;
use llorch_qkv::Qkv;
use ndarray::{Array, Array2, Array3, Axis, Dimension};

/// The stream, its normalisation and what a room made of that, into the next stream.
pub type Join = fn(&Array3<f32>, &Array3<f32>, &Array3<f32>) -> Array3<f32>;

/// What a test may change.
pub struct Plain {
    pub config: Config,
    pub wte: Array2<f32>,
    pub wpe: Array2<f32>,
    pub head: PackedMatrix,
    pub layers: Vec<Layer>,
    pub ln_f: Option<LayerNorm>,
    /// From the positions in the cache and the place in the call.
    pub position: fn(usize, usize) -> usize,
    pub after_attention: Join,
    pub after_mlp: Join,
    pub norm_first: bool,
    /// Which of T positions the last logits are of.
    pub last: fn(usize) -> usize,
}

pub struct Layer {
    pub ln_1: LayerNorm,
    qkv: Qkv,
    attention: Attention,
    pub ln_2: LayerNorm,
    mlp: Mlp,
}

/// The right model.
pub fn plain() -> Plain {
    let folder = llorch_fixtures::tiny_path();
    let config = Config::open(&folder).expect("the embedded model's config");
    let weights = Weights::open(&folder).expect("the embedded model's weights");
    let rows = |name: &str, n: usize| {
        let tensor = weights.tensor(name, &[n, config.n_embd()]).expect(name);
        tensor.view2().expect(name).to_owned()
    };
    let norm = |name: &str| layer_norm(&weights, &config, name).expect("a normalisation");
    let layer = |i: usize| Layer {
        ln_1: norm(&format!("h.{i}.ln_1")),
        qkv: qkv(&weights, &config, i).expect("c_attn"),
        attention: attention(&weights, &config, i).expect("c_proj"),
        ln_2: norm(&format!("h.{i}.ln_2")),
        mlp: mlp(&weights, &config, i).expect("an mlp"),
    };
    let wte = rows("wte.weight", config.vocab_size());
    Plain {
        head: PackedMatrix::from_out_in(&Cpu::default(), wte.view()).expect("a head"),
        wpe: rows("wpe.weight", config.n_positions()),
        layers: (0..LAYERS).map(layer).collect(),
        ln_f: Some(norm("ln_f")),
        position: |past, place| past + place,
        after_attention: |x, _, out| x + out,
        after_mlp: |x, _, out| x + out,
        norm_first: true,
        last: |tokens| tokens - 1,
        wte,
        config,
    }
}

impl Plain {
    pub fn run(&self, case: &Case) -> Trace {
        let (heads, dim) = (self.config.n_head(), self.config.head_dim());
        let cache = || KvCache::new(case.batch(), case.positions(), heads, dim).expect("a cache");
        let mut caches: Vec<_> = self.layers.iter().map(|_| cache()).collect();
        let mut recorder = Recorder::default();
        for (call, tokens) in case.calls.iter().enumerate() {
            recorder.call = call;
            if case.is_last_only() {
                let logits = self.forward(tokens, &mut caches, &mut ());
                let last = logits.index_axis(Axis(1), (self.last)(tokens.ncols()));
                recorder.record("logits_last", last.into_dyn());
            } else {
                self.forward(tokens, &mut caches, &mut recorder);
            }
        }
        recorder.trace
    }

    fn forward(
        &self,
        tokens: &Array2<u32>,
        caches: &mut [KvCache],
        probe: &mut dyn Probe,
    ) -> Array3<f32> {
        let past = caches[0].len();
        let (batch, new) = tokens.dim();
        let mut x = Array3::from_shape_fn((batch, new, self.wte.ncols()), |(b, t, c)| {
            // The last position of all has none behind it.
            let position = (self.position)(past, t).min(self.wpe.nrows() - 1);
            self.wte[[tokens[[b, t]] as usize, c]] + self.wpe[[position, c]]
        });
        show(probe, "embed", &x);
        for (i, (layer, cache)) in self.layers.iter().zip(caches).enumerate() {
            x = self.block(layer, x, cache, &mut Scoped::new(&format!("h.{i}."), probe));
            show(probe, &format!("h.{i}"), &x);
        }
        if let Some(norm) = &self.ln_f {
            x = norm.forward(x.view()).expect("ln_f");
        }
        show(probe, "ln_f", &x);
        let logits = self.head.multiply(&Cpu::default(), x.view(), None, None);
        let logits = logits.expect("logits");
        show(probe, "logits", &logits);
        logits
    }

    fn block(
        &self,
        layer: &Layer,
        x: Array3<f32>,
        cache: &mut KvCache,
        probe: &mut dyn Probe,
    ) -> Array3<f32> {
        let norm = |norm: &LayerNorm, x: &Array3<f32>| norm.forward(x.view()).expect("a normal");
        if !self.norm_first {
            let x = norm(&layer.ln_1, &(&x + &attend(layer, &x, cache, probe)));
            show(probe, "ln_1", &x);
            let out = layer.mlp.forward(x.view(), &mut Scoped::new("mlp.", probe));
            let x = norm(&layer.ln_2, &(x + out.expect("mlp")));
            show(probe, "ln_2", &x);
            return x;
        }
        let normal = norm(&layer.ln_1, &x);
        show(probe, "ln_1", &normal);
        let out = attend(layer, &normal, cache, probe);
        let x = (self.after_attention)(&x, &normal, &out);
        let normal = norm(&layer.ln_2, &x);
        show(probe, "ln_2", &normal);
        let out = layer
            .mlp
            .forward(normal.view(), &mut Scoped::new("mlp.", probe));
        (self.after_mlp)(&x, &normal, &out.expect("mlp"))
    }
}

fn attend(
    layer: &Layer,
    input: &Array3<f32>,
    cache: &mut KvCache,
    probe: &mut dyn Probe,
) -> Array3<f32> {
    let heads = layer.qkv.forward(input.view()).expect("q, k and v");
    cache.append(heads.k.view(), heads.v.view()).expect("room");
    let mut probe = Scoped::new("attn.", probe);
    let values = [&heads.q, &heads.k, &heads.v, &cache.keys(), &cache.values()].map(Clone::clone);
    for (site, values) in ["q", "k", "v", "cache.k", "cache.v"]
        .into_iter()
        .zip(values)
    {
        show(&mut probe, site, &values);
    }
    let out = layer
        .attention
        .forward(heads.q.view(), cache.panels(), &mut probe);
    out.expect("attention")
}

fn show<D: Dimension>(probe: &mut dyn Probe, site: &str, values: &Array<f32, D>) {
    if probe.wants(site) {
        probe.record(site, values.view().into_dyn());
    }
}
