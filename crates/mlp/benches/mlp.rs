//! The feed-forward layer of GPT-2 124M, on one thread.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use llorch_mlp::{Activation, Mlp};
use ndarray::{Array1, Array2, Array3};
use std::hint::black_box;

const CHANNELS: usize = 768;
const INNER: usize = 4 * CHANNELS;

fn matrix(rows: usize, columns: usize) -> Array2<f32> {
    Array2::from_shape_fn((rows, columns), |(i, j)| {
        ((i * 31 + j) % 97) as f32 / 970.0 - 0.05
    })
}

fn forward(c: &mut Criterion) {
    let mlp = Mlp::new(
        matrix(CHANNELS, INNER).view(),
        Array1::zeros(INNER).view(),
        matrix(INNER, CHANNELS).view(),
        Array1::zeros(CHANNELS).view(),
        Activation::GeluTanh,
    );
    let mlp = mlp.expect("a layer");
    let weights = 2 * CHANNELS * INNER;
    let mut group = c.benchmark_group("mlp");
    for tokens in [1, 64, 512] {
        let x = Array3::from_shape_fn((1, tokens, CHANNELS), |(_, t, i)| {
            ((t + i) % 97) as f32 / 48.0 - 1.0
        });
        // A step reads the weights: GiB/s. A prompt multiplies: 2 Gelem/s are 2 GFLOP/s.
        group.throughput(match tokens {
            1 => Throughput::Bytes(4 * weights as u64),
            _ => Throughput::Elements(2 * (tokens * weights) as u64),
        });
        group.bench_function(BenchmarkId::new("forward", tokens), |b| {
            b.iter(|| black_box(mlp.forward(x.view(), &mut ()).expect("an output")));
        });
    }
}

criterion_group!(benches, forward);
criterion_main!(benches);
