//! The projection c_attn of GPT-2 124M, on one thread.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use llorch_qkv::Qkv;
use ndarray::{Array1, Array2, Array3};
use std::hint::black_box;

const CHANNELS: usize = 768;

fn forward(c: &mut Criterion) {
    let weight = Array2::from_shape_fn((CHANNELS, 3 * CHANNELS), |(i, j)| {
        ((i * 31 + j) % 97) as f32 / 970.0 - 0.05
    });
    let bias = Array1::zeros(3 * CHANNELS);
    let qkv = Qkv::new(weight.view(), bias.view(), 12).expect("a layer");
    let mut group = c.benchmark_group("qkv");
    for tokens in [1, 64, 512] {
        let x = Array3::from_shape_fn((1, tokens, CHANNELS), |(_, t, i)| {
            ((t + i) % 97) as f32 / 48.0 - 1.0
        });
        // A step reads the weights: GiB/s. A prompt multiplies: 2 Gelem/s are 2 GFLOP/s.
        group.throughput(match tokens {
            1 => Throughput::Bytes(4 * weight.len() as u64),
            _ => Throughput::Elements(2 * (tokens * weight.len()) as u64),
        });
        group.bench_function(BenchmarkId::new("forward", tokens), |b| {
            b.iter(|| black_box(qkv.forward(x.view()).expect("an output")));
        });
    }
}

criterion_group!(benches, forward);
criterion_main!(benches);
