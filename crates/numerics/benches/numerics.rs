//! Products, rows and panels in the shapes of GPT-2 124M, on one thread.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use llorch_numerics::{Activation, Cpu, KvPanels, PackedMatrix, normalize, softmax};
use ndarray::{Array2, Array4};

/// Numbers between -1 and 1, the same every time.
fn numbers(rows: usize, columns: usize) -> Array2<f32> {
    Array2::from_shape_fn((rows, columns), |(i, j)| {
        ((i * 37 + j) % 257) as f32 / 128.0 - 1.0
    })
}

/// One row reads the weights: GiB/s. Many rows multiply: 2 Gelem/s are 2 GFLOP/s.
fn products(c: &mut Criterion) {
    let cpu = Cpu::default();
    let mut group = c.benchmark_group("product");
    for (name, inputs, outputs) in [("c_fc", 768, 3072), ("head", 768, 50257)] {
        let weight = numbers(inputs, outputs);
        let weight = PackedMatrix::from_in_out(&cpu, weight.view()).expect("a matrix");
        for rows in [1, 16, 512] {
            let x = numbers(rows, inputs);
            group.throughput(match rows {
                1 => Throughput::Bytes(4 * (inputs * outputs) as u64),
                _ => Throughput::Elements(2 * (rows * inputs * outputs) as u64),
            });
            let multiply = || weight.multiply(&cpu, x.view(), None, None);
            group.bench_function(BenchmarkId::new(name, rows), |b| {
                b.iter(|| cpu.recycle(multiply().expect("a product")));
            });
        }
    }
}

/// Rows of one position; copying what is changed in its place takes little of the time.
fn rows(c: &mut Criterion) {
    let isa = Cpu::default().isa();
    let mut group = c.benchmark_group("row");
    let mut bench = |name: &str, length: usize, run: &dyn Fn(&[f32], &mut [f32])| {
        let (input, _) = numbers(1, length).into_raw_vec_and_offset();
        let mut out = input.clone();
        group.throughput(Throughput::Elements(length as u64));
        group.bench_function(name, |b| b.iter(|| run(&input, &mut out)));
    };
    let (weight, bias) = ([1.0; 768], [0.0; 768]);
    bench("normalize", 768, &|x, out| {
        normalize(isa, x, 1e-5, &weight, &bias, out).expect("equal lengths");
    });
    bench("softmax", 1024, &|x, out| {
        out.copy_from_slice(x);
        softmax(isa, out);
    });
    bench("gelu tanh", 3072, &|x, out| {
        out.copy_from_slice(x);
        Activation::GeluTanh.apply(isa, out);
    });
}

/// One head's products with keys and with values: 2 Gelem/s are 2 GFLOP/s.
fn panels(c: &mut Criterion) {
    let cpu = Cpu::default();
    let kv = Array4::from_elem((1, 1024, 1, 64), 0.5);
    let mut panels = KvPanels::new(1, 1024, 1, 64).expect("a store");
    panels.append(&cpu, kv.view(), kv.view()).expect("room");
    let mut group = c.benchmark_group("head");
    for rows in [1, 32] {
        let (queries, seen) = (numbers(rows, 64), 1025 - rows);
        let (mut scores, mut out) = (numbers(rows, 1024), numbers(rows, 64));
        group.throughput(Throughput::Elements(2 * 64 * 1024 * rows as u64));
        group.bench_function(BenchmarkId::new("scores", rows), |b| {
            b.iter(|| panels.scores(cpu.isa(), (0, 0), queries.view(), 0.1, scores.view_mut()));
        });
        group.bench_function(BenchmarkId::new("average", rows), |b| {
            b.iter(|| panels.average(cpu.isa(), (0, 0), scores.view(), seen, out.view_mut()));
        });
    }
}

criterion_group!(benches, products, rows, panels);
criterion_main!(benches);
