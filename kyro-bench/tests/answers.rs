//! Every contender answers right, and one that does not is caught before it is timed.
#![expect(clippy::unwrap_used, reason = "test helpers")]

use kyro_bench::dataset::DataSet;
use kyro_bench::index::Lookups;
use kyro_bench::rival::binary::{Branchless, PartitionPoint};
use kyro_bench::rival::eytzinger::Eytzinger;
use kyro_bench::rival::interpolation::Interpolation;
use kyro_bench::rival::kyro::Kyro;
use kyro_bench::rival::static_tree::StaticTree;
use kyro_bench::rival::tree_map::TreeMap;
use kyro_bench::store::{Store, WrongAnswer, verify};

fn stores(keys: &[u64]) -> Vec<Box<dyn Store + '_>> {
    vec![
        Box::new(Kyro::build(keys).unwrap()),
        Box::new(PartitionPoint::new(keys)),
        Box::new(Branchless::new(keys)),
        Box::new(Interpolation::new(keys)),
        Box::new(Eytzinger::build(keys)),
        Box::new(StaticTree::build(keys)),
        Box::new(TreeMap::build(keys)),
        #[cfg(feature = "rivals-index")]
        Box::new(kyro_bench::rival::hash::Hash::build(keys)),
    ]
}

fn check(keys: &[u64], wanted: &[u64]) {
    for store in stores(keys) {
        verify(&*store, keys, wanted).unwrap();
    }
}

#[test]
fn everyone_is_right_on_every_set() {
    for set in DataSet::ALL {
        let keys = set.generate(20_000, 3);
        let lookups = Lookups::new(&keys, 5_000, 3);
        check(&keys, &keys);
        check(&keys, &lookups.misses);
    }
}

/// Every size up to three levels of every tree, every key, every gap, both ends.
#[test]
fn everyone_is_right_at_every_size() {
    for count in (0..=70).chain([255, 256, 257, 271, 272, 273, 288, 289, 290, 4623, 4624, 4625, 5000]) {
        let keys: Vec<u64> = (0..count).map(|index| 10 + 3 * index).collect();
        let wanted: Vec<u64> = (0..=3 * count + 20).chain([u64::MAX - 1, u64::MAX]).collect();
        check(&keys, &wanted);
    }
    check(&[0, u64::MAX], &[0, 1, u64::MAX - 1, u64::MAX]);
    check(&[u64::MAX], &[0, u64::MAX]);
}

/// A store that is wrong for one key, in one way.
struct Liar<'a> {
    honest: PartitionPoint<'a>,
    about: u64,
    way: &'static str,
}

impl Store for Liar<'_> {
    fn name(&self) -> String {
        "liar".into()
    }

    fn find(&self, key: u64) -> Option<usize> {
        match self.honest.find(key) {
            Some(place) if key == self.about && self.way == "find" => Some(place + 1),
            None if key == self.about && self.way == "find" => Some(0),
            honest => honest,
        }
    }

    fn lower_bound(&self, key: u64) -> Option<usize> {
        let honest = self.honest.lower_bound(key);
        if key == self.about && self.way == "lower_bound" { honest.map(|place| place + 1) } else { honest }
    }

    fn find_batch(&self, keys: &[u64], found: &mut [Option<usize>]) {
        for (key, found) in keys.iter().zip(found) {
            // Forgetting to answer is a wrong answer too.
            if *key != self.about || self.way != "find_batch" {
                *found = self.honest.find(*key);
            }
        }
    }

    fn index_bytes(&self) -> u64 {
        0
    }
}

#[test]
fn verification_catches_one_wrong_answer_in_ten_thousand() {
    let keys = DataSet::Uniform.generate(10_000, 1);
    let absent = keys[500] + 1;
    for way in ["find", "find_batch", "lower_bound"] {
        for about in [keys[0], keys[7_123], keys[9_999], absent] {
            let liar = Liar { honest: PartitionPoint::new(&keys), about, way };
            let wanted: Vec<u64> = keys.iter().copied().chain([absent]).collect();
            let WrongAnswer { question, key, expected, found, .. } =
                verify(&liar, &keys, &wanted).unwrap_err();
            assert_eq!((question, key), (way, about));
            assert_ne!(expected, found);
        }
    }
    let honest = Liar { honest: PartitionPoint::new(&keys), about: absent, way: "none" };
    assert_eq!(verify(&honest, &keys, &keys), Ok(()));
}
