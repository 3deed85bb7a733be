//! Attention of one layer of GPT-2 124M with its output projection, on one thread.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use llorch_attention::Attention;
use llorch_numerics::{Cpu, KvPanels};
use ndarray::{Array1, Array2, Array4};
use std::hint::black_box;

const CHANNELS: usize = 768;
const HEADS: usize = 12;

fn numbers(tokens: usize) -> Array4<f32> {
    let shape = (1, tokens, HEADS, CHANNELS / HEADS);
    Array4::from_shape_fn(shape, |(_, t, h, d)| {
        ((t * 13 + h * 7 + d) % 97) as f32 / 48.0 - 1.0
    })
}

fn forward(c: &mut Criterion) {
    let weight = Array2::from_shape_fn((CHANNELS, CHANNELS), |(i, j)| {
        ((i * 31 + j) % 97) as f32 / 970.0 - 0.05
    });
    let bias = Array1::zeros(CHANNELS);
    let attention = Attention::new(weight.view(), bias.view(), HEADS).expect("a layer");
    let mut group = c.benchmark_group("attention");
    for (past, tokens) in [(64, 1), (512, 1), (0, 64), (0, 512), (0, 1024)] {
        let stored = past + tokens;
        let (q, kv) = (numbers(tokens), numbers(stored));
        let mut panels = KvPanels::new(1, stored, HEADS, CHANNELS / HEADS).expect("a store");
        let appended = panels.append(&Cpu::default(), kv.view(), kv.view());
        appended.expect("room");
        // A step reads weights, keys and values: GiB/s. A prompt multiplies: 2 Gelem/s are 2 GFLOP/s.
        group.throughput(match tokens {
            1 => Throughput::Bytes(4 * (weight.len() + 2 * CHANNELS * stored) as u64),
            _ => {
                let own = 2 * CHANNELS * tokens * (tokens + 1);
                Throughput::Elements((2 * tokens * weight.len() + own) as u64)
            }
        });
        group.bench_function(
            BenchmarkId::new(format!("forward after {past}"), tokens),
            |b| {
                b.iter(|| {
                    black_box(
                        attention
                            .forward(q.view(), &panels, &mut ())
                            .expect("an output"),
                    )
                });
            },
        );
    }
}

criterion_group!(benches, forward);
criterion_main!(benches);
