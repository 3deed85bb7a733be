//! Appending to the cache of one layer of GPT-2 124M, on one thread.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use llorch_kv_cache::KvCache;
use ndarray::Array4;

fn append(c: &mut Criterion) {
    let mut cache = KvCache::new(1, 1024, 12, 64).expect("a cache");
    let mut group = c.benchmark_group("kv-cache");
    for (past, tokens) in [(512, 1), (0, 64), (0, 512), (0, 1024)] {
        let new = Array4::from_elem((1, tokens, 12, 64), 0.5);
        if past > cache.len() {
            let before = Array4::from_elem((1, past - cache.len(), 12, 64), 0.25);
            cache.append(before.view(), before.view()).expect("room");
        }
        // Of keys and of values.
        group.throughput(Throughput::Bytes(2 * 4 * new.len() as u64));
        group.bench_function(
            BenchmarkId::new(format!("append after {past}"), tokens),
            |b| {
                b.iter(|| {
                    cache.truncate(past);
                    cache.append(new.view(), new.view()).expect("room")
                });
            },
        );
    }
}

criterion_group!(benches, append);
criterion_main!(benches);
