//! LayerNorm over the 768 channels of GPT-2 124M, on one thread.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use llorch_layernorm::LayerNorm;
use ndarray::{Array1, Array3};
use std::hint::black_box;

fn forward(c: &mut Criterion) {
    let (weight, bias) = (Array1::ones(768), Array1::zeros(768));
    let norm = LayerNorm::new(weight.view(), bias.view(), 1e-5).expect("a layer");
    let mut group = c.benchmark_group("layernorm");
    for tokens in [1, 64, 512] {
        let x = Array3::from_shape_fn((1, tokens, 768), |(_, t, i)| ((t + i) % 97) as f32 - 48.0);
        group.throughput(Throughput::Elements(x.len() as u64));
        group.bench_function(BenchmarkId::new("forward", tokens), |b| {
            b.iter(|| black_box(norm.forward(x.view()).expect("an output")));
        });
    }
}

criterion_group!(benches, forward);
criterion_main!(benches);
