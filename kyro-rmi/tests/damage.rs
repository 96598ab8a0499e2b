//! Damaged bytes: a typed error, or answers that are right all the same.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

mod keys;

use kyro_rmi::{BuildOptions, Column, OpenError, Probe, Rmi, RootKind, VerifyError};

/// Columns whose indexes have every kind of record, with their encoded indexes.
fn indexes() -> Vec<(Vec<u64>, Column, Vec<u8>)> {
    let wanted =
        ["uniform", "lognormal", "exponential gaps", "dense runs", "clusters", "outliers at both ends"];
    let columns = keys::every(3000, 9).into_iter().filter(|(name, _)| wanted.contains(name));
    let mut separators = BuildOptions::default();
    separators.root = Some(RootKind::Separators);
    columns
        .flat_map(|(name, keys)| {
            let roots = [Some(BuildOptions::default()), (name == "exponential gaps").then_some(separators)];
            roots.into_iter().flatten().map(move |options| (keys.clone(), options))
        })
        .map(|(keys, options)| {
            let column = Column { uuid: [5; 16], checksum: 77, keys: keys.len() as u64 };
            let index = Rmi::build(&keys, &options).expect("sorted");
            let bytes = index.encode(&column).expect("same keys");
            (keys, column, bytes)
        })
        .collect()
}

/// Some lookups over `keys`, one by one and as a batch, compared with the slice. How many windows were wrong.
fn lookups<B: AsRef<[u8]>>(index: &Rmi<B>, keys: &[u64]) -> usize {
    let mut wrong = 0;
    let mut all = Vec::new();
    for &key in keys.iter().step_by(keys.len() / 60) {
        for key in [key.wrapping_sub(1), key, key.wrapping_add(1)] {
            let position = keys.partition_point(|&other| other < key);
            let probe = index.probe(keys, key);
            assert_eq!(probe.position, position);
            assert_eq!(probe.found, keys.get(position) == Some(&key));
            wrong += usize::from(probe.mispredicted);
            all.push((key, probe));
        }
    }
    let wanted: Vec<u64> = all.iter().map(|&(key, _)| key).collect();
    let mut probes = vec![Probe { position: 7, found: true, mispredicted: true }; wanted.len()];
    assert_eq!(index.probe_batch(keys, &wanted, &mut probes), wrong);
    for ((key, probe), batched) in all.into_iter().zip(probes) {
        assert_eq!(probe, batched, "{key}");
    }
    wrong
}

#[test]
fn every_byte_flipped_is_an_error_or_harmless() {
    for (keys, column, good) in indexes() {
        let mut detected_by_lookups = 0;
        for at in 0..good.len() {
            let mut bytes = good.clone();
            bytes[at] ^= [0x01, 0x80, 0xFF, 0x10][at % 4];
            match Rmi::open(&bytes[..], &column) {
                Err(_) => assert!(at < 256, "byte {at} is not the header's"),
                Ok(index) => {
                    assert!(at >= 256, "byte {at} of the header went unnoticed");
                    let noticed = index.verify_checksums();
                    assert!(matches!(noticed, Err(OpenError::Corrupt { .. })), "byte {at}: {noticed:?}");
                    detected_by_lookups += lookups(&index, &keys);
                    drop(index.verify(&keys)); // ends, with whatever result
                }
            }
        }
        assert!(detected_by_lookups > 0, "no flipped byte ever gave a wrong window: the test tests nothing");
    }
}

#[test]
fn every_prefix_is_an_error() {
    for (_, column, good) in indexes() {
        for length in 0..good.len() {
            let error = Rmi::open(&good[..length], &column).err();
            assert!(
                matches!(error, Some(OpenError::NotAnIndex { .. } | OpenError::Corrupt { .. })),
                "{length}: {error:?}"
            );
        }
        let mut longer = good.clone();
        longer.push(0);
        assert!(matches!(Rmi::open(longer, &column), Err(OpenError::Corrupt { .. })));
    }
}

#[test]
fn checksums_name_the_damaged_place() {
    let mut random = keys::Random(1);
    let mut keys: Vec<u64> = (0..200_000).map(|_| 1 << random.below(40) | random.below(1 << 30)).collect();
    keys.sort_unstable();
    keys.dedup();
    let column = Column { uuid: [1; 16], checksum: 1, keys: keys.len() as u64 };
    let mut options = BuildOptions::default();
    options.window = Some(16);
    let good = Rmi::build(&keys, &options).expect("sorted").encode(&column).expect("same keys");
    assert!(good.len() > 256 + 16384 + 5, "the test needs more than one checked block: {}", good.len());
    let mut bytes = good.clone();
    bytes[256 + 16384 + 5] ^= 4;
    let index = Rmi::open(bytes, &column).expect("the header is good");
    let error = index.verify_checksums().expect_err("damaged");
    assert_eq!(
        error.to_string(),
        "the index is damaged at byte 16640: the checksum of these 16 KiB does not match; rebuild it from the keys"
    );
    assert_eq!(Rmi::open(good, &column).map(|index| index.verify_checksums()), Ok(Ok(())));
}

#[test]
fn headers_are_refused_for_what_they_say() {
    let keys: Vec<u64> = (0..1000).collect();
    let column = Column { uuid: [1; 16], checksum: 2, keys: 1000 };
    let good =
        Rmi::build(&keys, &BuildOptions::default()).expect("sorted").encode(&column).expect("same keys");
    let refused = |bytes: &[u8], column: &Column| Rmi::open(bytes, column).err();

    assert_eq!(refused(b"KYRO", &column), Some(OpenError::NotAnIndex { found: *b"KYRO\0\0\0\0" }));
    assert_eq!(refused(b"", &column), Some(OpenError::NotAnIndex { found: [0; 8] }));
    let mut newer = good.clone();
    newer[8] = 3;
    let error = refused(&newer, &column);
    assert_eq!(error, Some(OpenError::NewerFormat { found: 3, supported: 2 }));
    let text = error.map(|error| error.to_string()).unwrap_or_default();
    assert!(text.contains("version 3") && text.contains("version 2"), "{text}");
    let mut none = good.clone();
    none[8] = 0;
    assert!(matches!(refused(&none, &column), Some(OpenError::Corrupt { offset: 8, .. })));
    let mut algorithm = good.clone();
    algorithm[12] = 9;
    assert_eq!(refused(&algorithm, &column), Some(OpenError::Checksum { found: 9 }));
    for other in
        [Column { uuid: [2; 16], ..column }, Column { checksum: 3, ..column }, Column { keys: 999, ..column }]
    {
        assert_eq!(refused(&good, &other), Some(OpenError::OtherColumn { found: column, wanted: other }));
    }
    let index = Rmi::open(&good[..], &column).expect("good");
    assert_eq!(index.column(), column);
    assert_eq!(index.verify(&keys[..999]), Err(VerifyError::Keys { expected: 1000, found: 999 }));
    let fewer = Column { keys: 999, ..column };
    assert_eq!(index.encode(&fewer).err(), Some(VerifyError::Keys { expected: 1000, found: 999 }));
    assert_eq!(index.encode(&column).as_deref(), Ok(&good[..]), "an opened index encodes to the same bytes");
}

#[test]
fn verify_finds_keys_of_another_column() {
    let keys: Vec<u64> = (0..5000).map(|i| i * 10).collect();
    let index = Rmi::build(&keys, &BuildOptions::default()).expect("sorted");
    let other: Vec<u64> = (0..5000).map(|i| i * i).collect();
    assert!(matches!(index.verify(&other), Err(VerifyError::OutsideWindow { .. })));
}
