//! kyro-rmi beside what else finds a key in a sorted column: building, hits, misses, batches of 32. One thread, independent
//! lookups; `kyro-bench index` has the serial ones, the floor and more rivals.
//!
//! `KYRO_BENCH_KEYS=1000000,100000000` chooses the sizes (1 M and 10 M), `KYRO_BENCH_SETS=uniform,osm-like` the key sets (all
//! but the adversarial one). A rival that answers wrong is named, and not timed.
#![expect(clippy::print_stderr, reason = "who is not timed")]

use std::hint::black_box;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BatchSize, BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use kyro_bench::dataset::DataSet;
use kyro_bench::index::Lookups;
use kyro_bench::rival::binary::{Branchless, PartitionPoint};
use kyro_bench::rival::eytzinger::Eytzinger;
use kyro_bench::rival::interpolation::Interpolation;
use kyro_bench::rival::kyro::Kyro;
use kyro_bench::rival::tree_map::TreeMap;
use kyro_bench::store::{Store, verify};

/// Lookups of one iteration, and keys handed over at once.
const LOOKUPS: usize = 4096;
const BATCH: usize = 32;

/// The numbers or names of a variable, or these.
fn chosen(variable: &str, otherwise: &str) -> Vec<String> {
    let value = std::env::var(variable).unwrap_or_else(|_| otherwise.to_owned());
    value.split(',').map(|word| word.trim().to_owned()).filter(|word| !word.is_empty()).collect()
}

type Group<'a> = BenchmarkGroup<'a, WallTime>;

/// Verifies a store, then times what it is asked.
fn lookups<S: Store>(
    group: &mut Group<'_>,
    name: &str,
    store: Result<S, String>,
    keys: &[u64],
    asked: &Lookups,
) {
    let refused = store.and_then(|store| {
        for wanted in [&asked.hits, &asked.misses] {
            verify(&store, keys, wanted).map_err(|wrong| wrong.to_string())?;
        }
        Ok(store)
    });
    let store = match refused {
        Ok(store) => store,
        Err(reason) => {
            eprintln!("{name} is not timed: {reason}");
            return;
        }
    };
    group.throughput(Throughput::Elements(LOOKUPS as u64));
    for (kind, wanted) in [("hit", &asked.hits), ("miss", &asked.misses)] {
        group.bench_function(format!("{kind}/{name}"), |bencher| {
            bencher.iter(|| {
                wanted
                    .iter()
                    .fold(0_usize, |sum, &key| sum.wrapping_add(store.find(black_box(key)).unwrap_or(1)))
            });
        });
    }
    group.bench_function(format!("batch of {BATCH}/{name}"), |bencher| {
        let mut found = [None; BATCH];
        bencher.iter(|| {
            for keys in asked.hits.chunks(BATCH) {
                store.find_batch(black_box(keys), &mut found[..keys.len()]);
            }
            found
        });
    });
}

fn building(group: &mut Group<'_>, name: &str, keys: &[u64], build: impl Fn() -> usize) {
    group.throughput(Throughput::Elements(keys.len() as u64));
    group.bench_function(format!("build/{name}"), |bencher| {
        bencher.iter_batched(|| (), |()| build(), BatchSize::PerIteration);
    });
}

fn indexes(criterion: &mut Criterion) {
    let usual = "dense,uniform,normal,lognormal,osm-like,fb-like,wiki-like,snowflake";
    for size in chosen("KYRO_BENCH_KEYS", "1000000,10000000") {
        let Ok(size) = size.parse::<usize>() else {
            eprintln!("KYRO_BENCH_KEYS: {size:?} is no number");
            continue;
        };
        for name in chosen("KYRO_BENCH_SETS", usual) {
            let Some(set) = DataSet::named(&name) else {
                eprintln!("KYRO_BENCH_SETS: there is no set {name:?}");
                continue;
            };
            one_set(criterion, set, size);
        }
    }
}

fn one_set(criterion: &mut Criterion, set: DataSet, size: usize) {
    let keys = set.generate(size, 1);
    let asked = Lookups::new(&keys, LOOKUPS, 1);
    let mut group = criterion.benchmark_group(format!("{} {size}", set.name()));
    group
        .sample_size(10)
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(500));
    let bytes = |store: &dyn Store| store.index_bytes() as usize;
    building(&mut group, "kyro-rmi", &keys, || Kyro::build(&keys).map_or(0, |index| bytes(&index)));
    building(&mut group, "BTreeMap", &keys, || bytes(&TreeMap::build(&keys)));
    building(&mut group, "Eytzinger", &keys, || bytes(&Eytzinger::build(&keys)));
    let kyro = Kyro::build(&keys).map_err(|error| error.to_string());
    lookups(&mut group, "kyro-rmi", kyro, &keys, &asked);
    lookups(&mut group, "BTreeMap", Ok(TreeMap::build(&keys)), &keys, &asked);
    lookups(&mut group, "binary search", Ok(PartitionPoint::new(&keys)), &keys, &asked);
    lookups(&mut group, "binary search, branchless", Ok(Branchless::new(&keys)), &keys, &asked);
    lookups(&mut group, "Eytzinger", Ok(Eytzinger::build(&keys)), &keys, &asked);
    lookups(&mut group, "interpolation", Ok(Interpolation::new(&keys)), &keys, &asked);
    #[cfg(feature = "rivals-index")]
    {
        use kyro_bench::rival::hash::Hash;
        use kyro_bench::rival::pgm::PgmExtra;
        building(&mut group, "hashbrown", &keys, || bytes(&Hash::build(&keys)));
        building(&mut group, "pgm-extra", &keys, || {
            PgmExtra::build(&keys, 64).map_or(0, |index| bytes(&index))
        });
        lookups(&mut group, "hashbrown", Ok(Hash::build(&keys)), &keys, &asked);
        lookups(&mut group, "pgm-extra", PgmExtra::build(&keys, 64), &keys, &asked);
    }
    group.finish();
}

criterion_group!(benches, indexes);
criterion_main!(benches);
