//! The loader of SOSD files: good files come back, bad ones are refused with the place.
#![expect(clippy::unwrap_used, reason = "test helpers")]

use std::path::PathBuf;

use kyro_bench::dataset::DataSet;
use kyro_bench::dataset::sosd::{Loaded, SosdError, read, write};

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn with(&self, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join("keys_uint64");
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn words(&self, words: &[u64]) -> PathBuf {
        self.with(&words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>())
    }
}

#[test]
fn written_files_come_back() {
    let place = Place::new();
    for count in [0, 1, 1000] {
        let path = place.0.path().join("written");
        let keys = DataSet::Uniform.generate(count, 1);
        write(&path, &keys).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 8 + 8 * count as u64);
        assert_eq!(read(&path, None).unwrap(), Loaded { keys, duplicates: 0 });
    }
}

#[test]
fn duplicates_are_dropped_and_counted() {
    let place = Place::new();
    let path = place.words(&[6, 0, 0, 5, 5, 5, u64::MAX]);
    assert_eq!(read(&path, None).unwrap(), Loaded { keys: vec![0, 5, u64::MAX], duplicates: 3 });
}

#[test]
fn a_limit_keeps_the_shape() {
    let place = Place::new();
    let keys: Vec<u64> = (0..1000).collect();
    let path = place.0.path().join("written");
    write(&path, &keys).unwrap();
    for limit in [0, 1, 7, 10, 999, 1000, 5000] {
        let loaded = read(&path, Some(limit)).unwrap();
        assert_eq!(loaded.keys.len(), limit.min(1000));
        let even = loaded.keys.windows(2).all(|pair| {
            let gap = pair[1] - pair[0];
            (1000 / limit.min(1000) as u64..=1000_u64.div_ceil(limit.min(1000) as u64)).contains(&gap)
        });
        assert!(even, "{limit}");
    }
}

#[test]
fn lengths_that_do_not_fit_are_refused() {
    let place = Place::new();
    let cases: [(Vec<u8>, u64, u64); 6] = [
        (vec![], 0, 8),
        (vec![1, 2, 3], 0, 8),
        (1_u64.to_le_bytes().to_vec(), 1, 16),
        (u64::MAX.to_le_bytes().to_vec(), u64::MAX, u64::MAX),
        ([2_u64.to_le_bytes(), 1_u64.to_le_bytes()].concat(), 2, 24),
        ([0_u64.to_le_bytes().as_slice(), &[7]].concat(), 0, 8),
    ];
    for (bytes, said, wanted) in cases {
        let path = place.with(&bytes);
        let error = read(&path, None).unwrap_err();
        let SosdError::Length { count, bytes: found, expected, path: named } = error else {
            panic!("{error}")
        };
        assert_eq!((count, found, expected, named), (said, bytes.len() as u64, wanted, path));
    }
}

#[test]
fn keys_out_of_order_are_refused() {
    let place = Place::new();
    let path = place.words(&[4, 1, 5, 4, 9]);
    let error = read(&path, Some(2)).unwrap_err();
    assert!(matches!(error, SosdError::Unsorted { index: 2, previous: 5, key: 4, .. }), "{error}");
    assert!(error.to_string().ends_with("is not sorted: key 2 is 4, after 5"));
}

#[test]
fn a_missing_file_is_named() {
    let error = read(&Place::new().0.path().join("nowhere"), None).unwrap_err();
    assert!(matches!(&error, SosdError::Io { path, .. } if path.ends_with("nowhere")), "{error}");
}
