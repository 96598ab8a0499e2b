//! The search kernels: a lower bound in a window of sorted keys, for windows of every usual length.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use kyro_bench::dataset::DataSet;
use kyro_bench::random::Random;
use kyro_simd::Searcher;

/// Probes of one iteration.
const PROBES: usize = 1024;

fn windows(criterion: &mut Criterion) {
    let keys = DataSet::Uniform.generate(1 << 16, 1);
    let searcher = Searcher::new();
    let mut random = Random::new(1, "windows");
    for length in [8, 16, 32, 64, 128, 512] {
        let probes: Vec<(usize, u64)> = (0..PROBES)
            .map(|_| {
                let start = random.below((keys.len() - length) as u64) as usize;
                (start, keys[start + random.below(length as u64) as usize])
            })
            .collect();
        for &(start, key) in &probes {
            let window = &keys[start..start + length];
            assert_eq!(searcher.lower_bound(window, key), window.partition_point(|&other| other < key));
        }
        let mut group = criterion.benchmark_group(format!("window of {length}"));
        group.throughput(Throughput::Elements(PROBES as u64));
        let kernel = format!("kyro-simd {:?}", searcher.level());
        group.bench_function(BenchmarkId::from_parameter(kernel), |bencher| {
            bencher.iter(|| {
                probes.iter().fold(0, |sum, &(start, key)| {
                    sum + searcher.lower_bound(black_box(&keys[start..start + length]), key)
                })
            });
        });
        group.bench_function(BenchmarkId::from_parameter("partition_point"), |bencher| {
            bencher.iter(|| {
                probes.iter().fold(0, |sum, &(start, key)| {
                    sum + black_box(&keys[start..start + length]).partition_point(|&other| other < key)
                })
            });
        });
        group.finish();
    }
}

criterion_group!(benches, windows);
criterion_main!(benches);
