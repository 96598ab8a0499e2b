//! Properties over generated columns, with a slice as the oracle.

use kyro_rmi::{BuildOptions, Column, Rmi, RootKind};
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;

/// Columns from runs: each a start, a step, a length and a jitter, anywhere in the range.
fn runs() -> impl Strategy<Value = Vec<u64>> {
    vec((any::<u64>(), 0u32..50, 1u64..400, any::<u64>()), 0..20).prop_map(|runs| {
        let mut keys: Vec<u64> = runs
            .into_iter()
            .flat_map(|(start, shift, length, jitter)| {
                let step = 1u64 << shift;
                (0..length).map(move |i| {
                    let off = jitter.wrapping_mul(i + 1) % step;
                    start.wrapping_add(i.wrapping_mul(step)).wrapping_add(off)
                })
            })
            .collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    })
}

/// Columns of any shape.
fn columns() -> impl Strategy<Value = Vec<u64>> {
    prop_oneof![
        btree_set(any::<u64>(), 0..900).prop_map(|keys| keys.into_iter().collect()),
        btree_set(0u64..3000, 0..900).prop_map(|keys| keys.into_iter().collect()),
        btree_set((0u32..64, 0u64..40).prop_map(|(shift, add)| (1u64 << shift).wrapping_add(add)), 0..900)
            .prop_map(|keys| keys.into_iter().collect()),
        vec(0u32..56, 0..900).prop_map(|gaps| {
            let mut key = 0u64;
            let mut add = |gap: u32| {
                key = key.saturating_add(1u64 << gap);
                key
            };
            let mut keys: Vec<u64> = gaps.into_iter().map(&mut add).collect();
            keys.dedup();
            keys
        }),
        runs(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_key_and_any_key_has_its_lower_bound(
        keys in columns(), wanted in vec(any::<u64>(), 0..100), window in proptest::option::of(2usize..9),
        over_separators: bool,
    ) {
        let mut options = BuildOptions::default();
        options.window = window.map(|lines| lines * 8);
        options.root = over_separators.then_some(RootKind::Separators);
        let index = Rmi::build(&keys, &options).expect("sorted and distinct");
        prop_assert_eq!(index.verify(&keys), Ok(()));
        let near = keys.iter().flat_map(|&key| [key.wrapping_sub(1), key, key.wrapping_add(1)]);
        for key in near.chain(wanted) {
            let position = keys.partition_point(|&other| other < key);
            let window = index.window(key);
            prop_assert!(window.start <= position && position <= window.end);
            let probe = index.probe(&keys, key);
            prop_assert_eq!(probe.position, position);
            prop_assert_eq!(probe.found, keys.get(position) == Some(&key));
            prop_assert!(!probe.mispredicted);
        }
    }

    #[test]
    fn an_encoded_index_answers_like_the_one_it_came_from(
        keys in columns(), checksum: u32, uuid: [u8; 16], over_separators: bool,
    ) {
        let mut options = BuildOptions::default();
        options.root = over_separators.then_some(RootKind::Separators);
        let index = Rmi::build(&keys, &options).expect("sorted and distinct");
        let column = Column { uuid, checksum, keys: keys.len() as u64 };
        let bytes = index.encode(&column).expect("same keys");
        prop_assert_eq!(bytes.len() as u64, index.stats().bytes);
        // Unaligned on purpose: nothing but speed may depend on it.
        let mut shifted = vec![0];
        shifted.extend_from_slice(&bytes);
        let opened = Rmi::open(&shifted[1..], &column).expect("just encoded");
        let mut stats = index.stats();
        stats.build_nanos = 0; // not stored
        prop_assert_eq!(opened.stats(), stats);
        prop_assert_eq!(opened.encode(&column), Ok(bytes.clone()));
        let again = Rmi::build(&keys, &options).expect("sorted and distinct");
        prop_assert_eq!(again.encode(&column), Ok(bytes.clone()), "the same keys give the same bytes");
        prop_assert_eq!(opened.verify_checksums(), Ok(()));
        for &key in &keys {
            prop_assert_eq!(opened.window(key), index.window(key));
        }
    }
}
