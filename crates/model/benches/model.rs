//! One block of GPT-2 124M, on one thread; `cargo xtask bench` measures whole models.

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use llorch_model::{Block, Config, KvCache, Weights};
use ndarray::Array3;
use safetensors::tensor::{Dtype, TensorView, serialize_to_file};

const CHANNELS: usize = 768;

/// The tensors of layer 0, in a file as users have it.
fn block() -> Block {
    let shapes: [(&str, &[usize]); 6] = [
        ("ln_1", &[CHANNELS]),
        ("attn.c_attn", &[CHANNELS, 3 * CHANNELS]),
        ("attn.c_proj", &[CHANNELS, CHANNELS]),
        ("ln_2", &[CHANNELS]),
        ("mlp.c_fc", &[CHANNELS, 4 * CHANNELS]),
        ("mlp.c_proj", &[4 * CHANNELS, CHANNELS]),
    ];
    // The longest tensor; the others are its beginning.
    let numbers = (0..4 * CHANNELS * CHANNELS).map(|i| (i % 97) as f32 / 970.0 - 0.05);
    let bytes: Vec<u8> = numbers.flat_map(f32::to_le_bytes).collect();
    let tensor = |shape: &[usize]| {
        let length = 4 * shape.iter().product::<usize>();
        TensorView::new(Dtype::F32, shape.to_vec(), &bytes[..length]).expect("a tensor")
    };
    let tensors = shapes.iter().flat_map(|(name, shape)| {
        let bias = &shape[shape.len() - 1..];
        [("weight", *shape), ("bias", bias)]
            .map(|(part, shape)| (format!("h.0.{name}.{part}"), tensor(shape)))
    });
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("model.safetensors");
    serialize_to_file(tensors, None, &file).expect("a file");
    let weights = Weights::open(&file).expect("weights");
    // Without any field: the sizes of 124M.
    let config = Config::from_json("{}").expect("a config");
    Block::load(&weights, &config, 0).expect("a block")
}

fn forward(c: &mut Criterion) {
    let block = block();
    let weights = 12 * CHANNELS * CHANNELS;
    let input = |tokens| {
        Array3::from_shape_fn((1, tokens, CHANNELS), |(_, t, i)| {
            ((t + i) % 97) as f32 / 48.0
        })
    };
    let mut cache = KvCache::new(1, 1024, 12, CHANNELS / 12).expect("a cache");
    let mut group = c.benchmark_group("block");
    for (past, tokens) in [(64, 1), (512, 1), (0, 64), (0, 512), (0, 1024)] {
        // A step reads weights, keys and values: GiB/s. A prompt multiplies: 2 Gelem/s are 2 GFLOP/s.
        group.throughput(match tokens {
            1 => Throughput::Bytes(4 * (weights + 2 * CHANNELS * (past + 1)) as u64),
            _ => Throughput::Elements((2 * tokens * (weights + CHANNELS * (tokens + 1))) as u64),
        });
        cache.truncate(0);
        if past > 0 {
            let filled = block.forward(input(past), &mut cache, &mut ());
            filled.expect("an output");
        }
        let id = BenchmarkId::new(format!("forward after {past}"), tokens);
        let mut run = |x| {
            cache.truncate(past);
            block.forward(x, &mut cache, &mut ()).expect("an output")
        };
        group.bench_function(id, |b| {
            b.iter_batched(|| input(tokens), &mut run, BatchSize::LargeInput);
        });
    }
}

criterion_group!(benches, forward);
criterion_main!(benches);
