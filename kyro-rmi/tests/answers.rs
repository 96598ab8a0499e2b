//! Every answer against a slice oracle, over distributions kind and unkind.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

mod keys;

use std::cell::Cell;

use kyro_rmi::{AlignedBytes, BuildError, BuildOptions, Column, Probe, Rmi, RootKind};

const WINDOWS: [usize; 7] = [16, 24, 32, 40, 48, 56, 64];

fn options(window: usize) -> BuildOptions {
    let mut options = BuildOptions::default();
    options.window = Some(window);
    options
}

/// A tree of separators, whatever the keys are like.
fn separators() -> BuildOptions {
    let mut options = BuildOptions::default();
    options.root = Some(RootKind::Separators);
    options
}

/// Builds with every window, and over separators, and asks about every key, its neighbours, and keys in the gaps.
#[track_caller]
fn check(keys: &[u64]) {
    for options in WINDOWS.map(options).into_iter().chain([BuildOptions::default(), separators()]) {
        check_with(keys, &options);
    }
}

#[track_caller]
fn check_with(keys: &[u64], options: &BuildOptions) {
    let index = Rmi::build(keys, options).expect("sorted and distinct");
    index.verify(keys).expect("a build verifies");
    let mut wanted = vec![0, 1, u64::MAX - 1, u64::MAX, 1 << 63, (1 << 63) - 1];
    for (position, &key) in keys.iter().enumerate() {
        wanted.extend([key.wrapping_sub(1), key, key.wrapping_add(1)]);
        if let Some(&next) = keys.get(position + 1) {
            wanted.push(key + (next - key) / 2);
            wanted.push(key + (next - key) / 7);
        }
    }
    let mut probes = vec![Probe { position: 0, found: false, mispredicted: false }; wanted.len()];
    assert_eq!(index.probe_batch(keys, &wanted, &mut probes), 0, "no window of a built index is wrong");
    for (&key, &batched) in wanted.iter().zip(&probes) {
        let position = keys.partition_point(|&other| other < key);
        let found = keys.get(position) == Some(&key);
        let window = index.window(key);
        assert!(window.start <= position && position <= window.end, "{key}: {position} not in {window:?}");
        assert!(window.len() <= index.stats().max_window as usize);
        assert!(window.end <= keys.len());
        let probe = index.probe(keys, key);
        let mispredicted = probe.mispredicted;
        assert_eq!(probe, Probe { position, found, mispredicted: false }, "{key}");
        assert_eq!(probe, batched, "{key} {mispredicted}");
        assert_eq!(index.find(keys, key), found.then_some(position));
        let predicted = Cell::new(usize::MAX);
        assert_eq!(index.probe_with(keys, key, |at| predicted.set(at), |probe| probe), probe);
        let near = window.start.saturating_sub(16)..=window.end + 16;
        assert!(near.contains(&predicted.get()), "{key}: predicted {predicted:?}, window {window:?}");
        assert!(predicted.get() <= keys.len());
        assert_eq!(index.lower_bound(keys, key), position);
    }
}

#[test]
fn no_key_one_key_and_a_few() {
    check(&[]);
    for key in [0, 1, 7, 1 << 53, (1 << 63) - 1, 1 << 63, u64::MAX - 1, u64::MAX] {
        check(&[key]);
    }
    check(&[0, u64::MAX]);
    check(&[0, 1, u64::MAX - 1, u64::MAX]);
    for count in [2, 15, 16, 17, 31, 32, 33, 63, 64, 65, 66, 127, 128, 129, 255, 256, 257, 1000] {
        check(&(0..count).collect::<Vec<u64>>());
        check(&(0..count).map(|i| u64::MAX - (count - 1 - i)).collect::<Vec<u64>>());
        check(&(0..count).map(|i| i * (u64::MAX / count)).collect::<Vec<u64>>());
        check(&(0..count.min(64)).map(|i| 1 << i).collect::<Vec<u64>>());
    }
}

#[test]
fn every_distribution() {
    for (name, keys) in keys::every(4000, 1) {
        println!("{name}");
        check(&keys);
    }
}

#[test]
fn larger_columns() {
    for (name, keys) in keys::every(150_000, 2) {
        println!("{name}");
        check_with(&keys, &BuildOptions::default());
        check_with(&keys, &separators());
    }
}

/// Every subset of a small universe, mapped to places where arithmetic is most likely to break.
#[test]
fn every_subset_of_small_universes() {
    let universes: [[u64; 10]; 5] = [
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        [0, 1, 2, (1 << 32) - 1, 1 << 32, 1 << 53, (1 << 53) + 1, 1 << 63, u64::MAX - 1, u64::MAX],
        [0, 1, 1 << 8, 1 << 16, 1 << 24, 1 << 32, 1 << 40, 1 << 48, 1 << 56, u64::MAX],
        std::array::from_fn(|i| u64::MAX - 9 + i as u64),
        std::array::from_fn(|i| (1 << 63) - 5 + i as u64),
    ];
    for universe in universes {
        for subset in 0..1u32 << universe.len() {
            let keys: Vec<u64> = (0..10).filter(|i| subset >> i & 1 == 1).map(|i| universe[i]).collect();
            check_with(&keys, &options(16));
            check_with(&keys, &separators());
        }
    }
}

/// So few keys over so wide a range that a slope has only a few bits.
#[test]
fn few_keys_over_the_whole_range() {
    for seed in 0..3000 {
        let mut random = keys::Random(seed);
        let count = 100 + random.below(300);
        let mut keys: Vec<u64> = (0..count).map(|_| random.next()).collect();
        keys.sort_unstable();
        keys.dedup();
        for options in [separators(), options(32), BuildOptions::default()] {
            let index = Rmi::build(&keys, &options).expect("sorted and distinct");
            index.verify(&keys).expect("a build verifies");
        }
    }
}

/// Every way to follow a run of 40 dense keys by gaps: longer than the smallest windows, so models are used.
#[test]
fn every_subset_of_gaps_between_dense_runs() {
    for subset in 0..1u32 << 9 {
        for shift in [1, 7, 30, 57] {
            let mut keys: Vec<u64> = Vec::new();
            let mut key = 0u64;
            for run in 0..9 {
                keys.extend((0..15).map(|i| key + i));
                key += 15 + if subset >> run & 1 == 1 { 1 << shift } else { 0 };
            }
            check_with(&keys, &options(16));
            check_with(&keys, &separators());
        }
    }
}

#[test]
fn unsorted_and_repeated_keys_are_refused_with_their_position() {
    let refused = |keys: &[u64]| match Rmi::build(keys, &BuildOptions::default()) {
        Err(BuildError::NotIncreasing { position, previous, key }) => (position, previous, key),
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(&[1, 1]), (1, 1, 1));
    assert_eq!(refused(&[0, 5, 4]), (2, 5, 4));
    let mut keys: Vec<u64> = (0..10_000).map(|i| i * 2).collect();
    keys[7000] = keys[6999];
    assert_eq!(refused(&keys), (7000, 13_998, 13_998));
    keys[7000] = u64::MAX;
    assert_eq!(refused(&keys), (7001, u64::MAX, 14_002));
}

#[test]
fn windows_that_do_not_exist_are_refused() {
    for window in [0, 1, 8, 15, 17, 31, 33, 63, 65, 72, usize::MAX] {
        assert_eq!(Rmi::build(&[1, 2], &options(window)).err(), Some(BuildError::Window { window }));
    }
}

#[test]
fn other_sorted_keys_still_get_right_answers() {
    let keys: Vec<u64> = (0..5000).map(|i| i * i).collect();
    let index = Rmi::build(&keys, &BuildOptions::default()).expect("sorted");
    for other in
        [vec![], vec![3], (0..40).collect(), (0..4000).map(|i| i * 3).collect(), keys[..4999].to_vec()]
    {
        let other: Vec<u64> = other;
        for key in (0..30_000).step_by(7) {
            let position = other.partition_point(|&k| k < key);
            assert_eq!(index.lower_bound(&other, key), position);
            assert_eq!(index.find(&other, key), (other.get(position) == Some(&key)).then_some(position));
        }
    }
}

#[test]
fn an_index_read_back_answers_as_the_one_that_was_built() {
    let of = |step: u64, options: &BuildOptions| {
        let keys: Vec<u64> = (0..50_000).map(|i| i * i * step).collect();
        Rmi::build(&keys, options).expect("sorted")
    };
    for options in [BuildOptions::default(), separators(), options(24)] {
        let built = of(1, &options);
        let column = Column { uuid: [3; 16], checksum: 7, keys: 50_000 };
        let bytes = built.encode(&column).expect("as many keys");
        let opened = Rmi::open(AlignedBytes::copy_of(&bytes), &column).expect("its own");
        assert!(opened.answers_as(&built) && built.answers_as(&opened));
        assert!(!opened.answers_as(&of(3, &options)), "an index over other keys");
        // One bit of any record makes it another; the header's checksums are not asked here.
        let mut other = bytes.clone();
        let last = other.len() - 70;
        other[last] ^= 1;
        if let Ok(other) = Rmi::open(AlignedBytes::copy_of(&other), &column) {
            assert!(!other.answers_as(&built));
        }
    }
}

#[test]
fn a_wrong_window_is_reported() {
    let keys: Vec<u64> = (0..5000).map(|i| i * i).collect();
    let index = Rmi::build(&keys, &BuildOptions::default()).expect("sorted");
    let other: Vec<u64> = (0..5000).map(|i| i * 1000).collect();
    let probe = index.probe(&other, 4_000_000);
    assert_eq!(probe, Probe { position: 4000, found: true, mispredicted: true });
    let mut answers = vec![None; 3];
    assert_eq!(index.find_batch(&other, &[4_000_000, 4_000_001, 0], &mut answers), 2);
    assert_eq!(answers, [Some(4000), None, Some(0)]);
}

#[test]
fn batches_of_any_length_answer_what_single_lookups_do() {
    let keys: Vec<u64> = (0..9000).map(|i| i * 5).collect();
    let index = Rmi::build(&keys, &BuildOptions::default()).expect("sorted");
    for length in (0..70).chain([1000]) {
        let wanted: Vec<u64> = (0..length).map(|i| i * 613 % 50_000).collect();
        let (mut positions, mut finds) = (vec![9; wanted.len()], vec![None; wanted.len()]);
        assert_eq!(index.lower_bound_batch(&keys, &wanted, &mut positions), 0);
        assert_eq!(index.find_batch(&keys, &wanted, &mut finds), 0);
        for ((&key, &position), &find) in wanted.iter().zip(&positions).zip(&finds) {
            assert_eq!(position, index.lower_bound(&keys, key));
            assert_eq!(find, index.find(&keys, key));
        }
    }
    let mut short = [7; 2];
    index.lower_bound_batch(&keys, &[0, 5, 10], &mut short);
    assert_eq!(short, [0, 1], "as many as the shorter slice has");
}

/// Keys of every depth side by side in one batch: whatever the others of its group do, a key gets the answer that
/// it gets alone.
#[test]
fn batches_of_mixed_depths_answer_what_single_lookups_do() {
    let mut random = keys::Random(21);
    let mut deepest = 0;
    let roots = [BuildOptions::default(), separators()];
    for ((name, keys), options) in
        keys::every(20_000, 8).into_iter().flat_map(|set| roots.map(|root| (set.clone(), root)))
    {
        let index = Rmi::build(&keys, &options).expect("sorted");
        deepest = deepest.max(index.stats().max_steps);
        let near = |random: &mut keys::Random| match random.below(4) {
            0 => random.next(),
            distance => keys[random.below(keys.len() as u64) as usize].wrapping_add(distance).wrapping_sub(2),
        };
        for length in (0..70).chain([256, 1000]) {
            let wanted: Vec<u64> = (0..length).map(|_| near(&mut random)).collect();
            let mut probes = vec![Probe { position: 7, found: true, mispredicted: true }; length];
            assert_eq!(index.probe_batch(&keys, &wanted, &mut probes), 0, "{name}");
            for (&key, &batched) in wanted.iter().zip(&probes) {
                assert_eq!(batched, index.probe(&keys, key), "{name}: {key}");
            }
        }
    }
    assert!(deepest >= 5, "no column is deep: {deepest}");
}

/// Over other keys, longer and shorter ones too, a batch reports the same wrong windows as single lookups do.
#[test]
fn batches_over_other_keys_report_what_single_lookups_do() {
    let mut wrong = 0;
    let roots = [BuildOptions::default(), separators()];
    for ((name, keys), options) in
        keys::every(3000, 5).into_iter().flat_map(|set| roots.map(|root| (set.clone(), root)))
    {
        let index = Rmi::build(&keys, &options).expect("sorted");
        let longer =
            keys.iter().flat_map(|&key| [key & !1, key | 1]).collect::<std::collections::BTreeSet<_>>();
        let others: [Vec<u64>; 5] = [
            vec![],
            (0..40).collect(),
            keys[..keys.len() - 1].to_vec(),
            keys[keys.len() / 3..].to_vec(),
            longer.into_iter().collect(),
        ];
        for other in others {
            let wanted: Vec<u64> =
                keys.iter().step_by(7).flat_map(|&k| [k.wrapping_sub(1), k, k.wrapping_add(1)]).collect();
            let mut probes = vec![Probe { position: 7, found: true, mispredicted: true }; wanted.len()];
            let reported = index.probe_batch(&other, &wanted, &mut probes);
            let mut counted = 0;
            for (&key, &batched) in wanted.iter().zip(&probes) {
                assert_eq!(batched, index.probe(&other, key), "{name}: {key} in {} keys", other.len());
                counted += usize::from(batched.mispredicted);
            }
            assert_eq!(reported, counted, "{name}");
            wrong += counted;
        }
    }
    assert!(wrong > 1000, "only {wrong} windows were wrong: the test tests nothing");
}

#[test]
fn every_level_answers_the_same() {
    let roots = [BuildOptions::default(), separators()];
    for ((_, keys), options) in
        keys::every(3000, 3).into_iter().flat_map(|set| roots.map(|root| (set.clone(), root)))
    {
        let index = Rmi::build(&keys, &options).expect("sorted");
        for searcher in kyro_simd::Searcher::available() {
            let index = index.clone().with_searcher(searcher);
            let mut positions = vec![7; keys.len()];
            assert_eq!(index.lower_bound_batch(&keys, &keys, &mut positions), 0);
            assert!(positions.iter().copied().eq(0..keys.len()), "{}", searcher.level());
            for &key in keys.iter().step_by(3) {
                for key in [key.wrapping_sub(1), key, key.wrapping_add(1)] {
                    assert_eq!(index.lower_bound(&keys, key), keys.partition_point(|&other| other < key));
                }
            }
        }
    }
}

/// Long enough that a root has to be chosen: the kinds that there are, each where it is due.
#[test]
fn every_kind_of_root_is_chosen_where_it_is_due() {
    let mut random = keys::Random(5);
    let even: Vec<u64> = (0..40_000).map(|i| i * 977).collect();
    assert_eq!(root_of(&even), RootKind::Linear);
    // Runs of a few hundred keys, each of another density.
    let (mut key, mut scale) = (0u64, 0);
    let uneven: Vec<u64> = (0..40_000)
        .map(|_| {
            if random.below(200) == 0 {
                scale = random.below(36);
            }
            key += 1 + random.below(1 << scale);
            key
        })
        .collect();
    assert_eq!(root_of(&uneven), RootKind::Separators);
}

fn root_of(keys: &[u64]) -> RootKind {
    Rmi::build(keys, &BuildOptions::default()).expect("sorted").stats().root
}

#[test]
fn statistics_say_what_is_there() {
    for (name, keys) in keys::every(20_000, 4) {
        let stats = Rmi::build(&keys, &BuildOptions::default()).expect("sorted").stats();
        assert_eq!(stats.keys, keys.len() as u64);
        assert!(stats.epsilon_p50 <= stats.epsilon_p99 && stats.epsilon_p99 <= stats.epsilon_max, "{name}");
        assert!(stats.epsilon_max <= stats.max_window, "{name}: {stats:?}");
        assert!((1..=16).contains(&stats.max_steps), "{name}: {stats:?}");
        assert!(stats.bits_per_key() < 16.0 || keys.len() < 1000, "{name}: {stats:?}");
        assert!((0.0..=1.0).contains(&stats.fallback_share()), "{name}: {stats:?}");
    }
}
