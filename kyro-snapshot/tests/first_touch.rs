//! A block is verified when it is first touched, once, and not before.
#![expect(clippy::unwrap_used, reason = "test helpers")]

use kyro_snapshot::{BLOCK_BYTES, Corrupt, Mapping, Run, RunInfo, Writer};

fn write(entries: u64, fixed: bool) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), RunInfo::default()).unwrap();
    for key in 0..entries {
        let value = [key as u8; 64];
        writer.push(key, key, Some(&value[..if fixed { 64 } else { 40 + key as usize % 24 }])).unwrap();
    }
    writer.finish().unwrap().0
}

#[test]
fn opening_verifies_nothing() {
    let run = Run::open(Mapping::from_bytes(write(10_000, true))).unwrap();
    assert_eq!(run.verified_blocks().0, 0);
    assert!(run.verified_blocks().1 > 40);
    assert_eq!(run.keys().len(), 10_000);
    assert_eq!(run.verified_blocks().0, 0, "looking at the column is not touching it");
}

#[test]
fn an_entry_verifies_its_offset_its_locator_and_its_value() {
    let run = Run::open(Mapping::from_bytes(write(10_000, true))).unwrap();
    run.entry(5_000).unwrap();
    let touched = run.verified_blocks().0;
    assert_eq!(touched, 2, "offset and value");
    run.entry(5_000).unwrap();
    assert_eq!(run.verified_blocks().0, touched, "once");
    run.touch_keys(5_000..5_064).unwrap();
    assert_eq!(run.verified_blocks().0, touched + 1);
    run.touch_keys(0..0).unwrap();
    run.touch_keys(20_000..30_000).unwrap();
    assert_eq!(run.verified_blocks().0, touched + 1, "no keys, no blocks");

    let run = Run::open(Mapping::from_bytes(write(10_000, false))).unwrap();
    run.entry(5_000).unwrap();
    assert_eq!(run.verified_blocks().0, 3, "offset, locator and value");
    let run = Run::open(Mapping::from_bytes(write(10_000, false))).unwrap();
    run.value(5_000).unwrap();
    assert_eq!(run.verified_blocks().0, 2, "locator and value");
    let run = Run::open(Mapping::from_bytes(write(10_000, true))).unwrap();
    run.value(5_000).unwrap();
    assert_eq!(run.verified_blocks().0, 1, "nothing but the value");
}

#[test]
fn reading_everything_completes_the_run() {
    for fixed in [true, false] {
        let run = Run::open(Mapping::from_bytes(write(10_000, fixed))).unwrap();
        assert!(run.iter().all(|record| record.is_ok()));
        run.verify(&mut |_, _| ()).unwrap();
        assert!(run.is_verified());
        assert_eq!(run.verified_blocks().0, run.verified_blocks().1);
        assert!(run.iter().all(|record| record.is_ok()));
    }
}

/// Who asks for values alone never reads an offset; who asks whether a key is there reads neither.
#[test]
fn keys_and_values_are_complete_by_themselves() {
    for fixed in [true, false] {
        for entries in [1, 2, 500, 2_048, 10_000_u64] {
            let what = format!("{entries} entries, of one width: {fixed}");
            let run = Run::open(Mapping::from_bytes(write(entries, fixed))).unwrap();
            assert!(!run.has_verified_keys() && run.ready_value(0).is_none(), "{what}");
            let entries = run.len();
            run.touch_keys(entries / 2..entries).unwrap();
            assert!(entries < 10_000 || !run.has_verified_keys(), "{what}: half of several blocks");
            run.touch_keys(0..entries).unwrap();
            assert!(run.has_verified_keys(), "{what}");
            let one_block = run.verified_blocks().1 == 1;
            assert_eq!(run.ready_value(0).is_some(), one_block, "{what}");
            for index in 0..entries {
                run.value(index).unwrap();
            }
            for index in 0..entries {
                assert_eq!(run.ready_value(index), run.value_in_file(index).unwrap(), "{what}");
            }
            assert!(run.ready_value(entries - 1).is_some(), "{what}");
            assert!(entries < 10_000 || !run.is_verified(), "{what}: blocks that hold nothing but offsets");
            run.verify(&mut |_, _| ()).unwrap();
            assert!(run.is_verified() && run.has_verified_keys(), "{what}");
        }
    }
    let run = Run::open(Mapping::from_bytes(write(0, true))).unwrap();
    assert!(run.has_verified_keys(), "there is none");
}

/// Bytes that change under the run, as a failing device's can.
#[derive(Clone)]
struct Fickle {
    good: std::sync::Arc<Mapping>,
    bad: std::sync::Arc<Mapping>,
    read: std::sync::Arc<std::sync::atomic::AtomicBool>,
}

impl AsRef<[u8]> for Fickle {
    fn as_ref(&self) -> &[u8] {
        let bad = self.read.load(std::sync::atomic::Ordering::SeqCst);
        let mapping: &Mapping = if bad { &self.bad } else { &self.good };
        mapping.as_ref()
    }
}

#[test]
fn a_block_once_damaged_stays_damaged() {
    let good = write(10_000, true);
    let mut bad = good.clone();
    bad[4096 + 64 * 100] ^= 1;
    let read = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let fickle = Fickle {
        good: Mapping::from_bytes(good).into(),
        bad: Mapping::from_bytes(bad).into(),
        read: read.clone(),
    };
    let run = Run::open(fickle).unwrap();
    read.store(true, std::sync::atomic::Ordering::SeqCst);
    let error = run.entry(100).unwrap_err();
    assert!(matches!(error, Corrupt::Block { .. }));
    read.store(false, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(run.entry(100).unwrap_err(), error, "even when a later read looks right");
    assert_eq!(run.verify(&mut |_, _| ()).unwrap_err(), error);
    assert!(run.entry(5_000).is_ok(), "other blocks go on");
}

#[test]
fn many_threads_agree() {
    let mut file = write(20_000, false);
    let damaged = 4096 + 30 * BLOCK_BYTES;
    file[damaged] ^= 1;
    let run = Run::open(Mapping::from_bytes(file)).unwrap();
    let answers: Vec<Vec<bool>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|worker| {
                let run = &run;
                scope.spawn(move || {
                    let mut answers = vec![false; run.len()];
                    for step in 0..run.len() {
                        let index = (step * 7_919 + worker * 4_999) % run.len();
                        answers[index] = run.entry(index).is_ok();
                    }
                    answers
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    assert!(answers.iter().all(|other| other == &answers[0]));
    let wrong = answers[0].iter().filter(|right| !**right).count();
    assert!((300..400).contains(&wrong), "{wrong}");
}
