//! What a fuzzer runs on its bytes; the tests run it on bytes of their own.
#![expect(clippy::expect_used, reason = "a fuzz body fails by panicking")]
#![allow(dead_code, reason = "each target runs one of the bodies")]

use kyro_rmi::{BuildOptions, Column, Probe, Rmi, RootKind};

/// Takes the bytes for keys, builds over them, and compares every kind of lookup with a search of the slice.
pub(crate) fn build_and_look_up(data: &[u8]) {
    let Some((&[choice, shape], rest)) = data.split_first_chunk::<2>() else { return };
    let mut keys = keys_from(shape, rest);
    keys.sort_unstable();
    keys.dedup();
    let mut options = BuildOptions::default();
    options.window = (choice > 0).then(|| 16 + 8 * usize::from(choice % 7));
    options.root = (choice & 128 != 0).then_some(RootKind::Separators);
    let index = Rmi::build(&keys, &options).expect("sorted and distinct");
    index.verify(&keys).expect("a build verifies");
    let column = Column { uuid: [choice; 16], checksum: 7, keys: keys.len() as u64 };
    let bytes = index.encode(&column).expect("the same number of keys");
    let index = Rmi::open(bytes, &column).expect("just encoded");
    index.verify_checksums().expect("just encoded");
    let mut wanted = vec![0, u64::MAX, 1 << 63];
    for pair in keys.windows(2) {
        wanted.extend([pair[0], pair[0] + 1, pair[0] + (pair[1] - pair[0]) / 2, pair[1] - 1]);
    }
    wanted.extend(keys.last());
    compare(&index, &keys, &wanted, false);
}

/// Keys as the first bytes say: absolute, or gaps of several sizes.
fn keys_from(shape: u8, bytes: &[u8]) -> Vec<u64> {
    let mut key = u64::from(shape) << 40;
    match shape % 4 {
        0 => bytes.as_chunks::<8>().0.iter().map(|&word| u64::from_le_bytes(word)).collect(),
        1 => {
            bytes.as_chunks::<2>().0.iter().map(|&[value, shift]| u64::from(value) << (shift % 57)).collect()
        }
        2 => {
            let mut add = |&gap: &u8| {
                key = key.saturating_add(1 << (gap % 44));
                key
            };
            bytes.iter().map(&mut add).collect()
        }
        // Each byte is a run of dense keys and the jump after it.
        _ => {
            let mut keys = Vec::new();
            for &byte in bytes.iter().take(600) {
                let run = 1 + 9 * u64::from(byte & 15);
                keys.extend((0..run).map(|i| key.saturating_add(i)));
                key = key.saturating_add(run + (1 << (byte >> 2)) / 3);
            }
            keys
        }
    }
}

/// Opens the bytes as an index over some keys: an error, or answers that are right for all that.
pub(crate) fn decode(data: &[u8]) {
    let keys: Vec<u64> = (0..2000).map(|i| i * i).collect();
    // Whatever column the bytes say they belong to.
    let uuid = data.get(16..).and_then(|rest| rest.first_chunk::<16>()).copied().unwrap_or_default();
    let field = |at: usize| {
        data.get(at..).and_then(|rest| rest.first_chunk::<8>()).map_or(0, |&w| u64::from_le_bytes(w))
    };
    let column = Column { uuid, checksum: field(32) as u32, keys: field(40) };
    if let Ok(index) = Rmi::open(data, &column) {
        let wanted: Vec<u64> = (0..200).map(|i| i * 20_011).chain([0, u64::MAX]).collect();
        compare(&index, &keys, &wanted, true);
        drop(index.verify(&keys));
        drop(index.verify_checksums());
        assert_eq!(index.warm_up(), data.len() as u64);
    }
}

/// Compares every kind of lookup with a search of the slice.
fn compare<B: AsRef<[u8]>>(index: &Rmi<B>, keys: &[u64], wanted: &[u64], may_mispredict: bool) {
    let mut probes = vec![Probe { position: 0, found: false, mispredicted: false }; wanted.len()];
    let wrong = index.probe_batch(keys, wanted, &mut probes);
    assert!(may_mispredict || wrong == 0, "{wrong} windows are wrong");
    for (&key, batched) in wanted.iter().zip(probes) {
        let position = keys.partition_point(|&other| other < key);
        let found = keys.get(position) == Some(&key);
        let probe = index.probe(keys, key);
        assert_eq!((probe.position, probe.found), (position, found), "{key}");
        assert_eq!(probe, batched, "{key}");
        assert_eq!(index.find(keys, key), found.then_some(position), "{key}");
        assert_eq!(index.lower_bound(keys, key), position, "{key}");
        let window = index.window(key);
        assert!(may_mispredict || (window.start <= position && position <= window.end), "{key} {window:?}");
    }
}
