//! What is written is what is read, against a plain vector.
#![expect(clippy::unwrap_used, reason = "test helpers")]

use std::ops::ControlFlow;

use kyro_snapshot::{
    Compression, LastBlock, MAX_OFFSET, Mapping, Record, RecordRef, Run, RunInfo, Stamp, Summary, Writer,
};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

type Rows = Vec<(u64, u64, Option<Vec<u8>>)>;

const INFO: RunInfo = RunInfo { uuid: [7; 16], database: [9; 16], epoch: 3 };

fn write(rows: &Rows) -> (Vec<u8>, Summary) {
    write_with(rows, Compression::None)
}

fn write_with(rows: &Rows, compression: Compression) -> (Vec<u8>, Summary) {
    let mut writer = Writer::with_compression(Vec::new(), INFO, compression).unwrap();
    for (key, offset, value) in rows {
        writer.push(*key, *offset, value.as_deref()).unwrap();
    }
    writer.finish().unwrap()
}

/// Both kinds of files of these rows.
fn check_both(rows: &Rows) {
    check(rows, write(rows).0);
    let (file, summary) = write_with(rows, Compression::Lz4);
    assert!(summary.stored_value_bytes <= summary.value_bytes);
    assert_eq!(u32::from_le_bytes(file[8..12].try_into().unwrap()), 2);
    check(rows, file);
}

/// Reads `file` in every way there is and compares it with `rows`.
fn check(rows: &Rows, file: Vec<u8>) {
    let run = Run::open(Mapping::from_bytes(file)).unwrap();
    assert_eq!(run.len(), rows.len());
    assert_eq!(run.is_empty(), rows.is_empty());
    assert_eq!(run.info(), &INFO);
    assert_eq!(run.keys(), rows.iter().map(|row| row.0).collect::<Vec<_>>());
    assert_eq!(run.tombstones(), rows.iter().filter(|row| row.2.is_none()).count() as u64);
    assert_eq!(
        run.value_bytes(),
        rows.iter().flat_map(|row| &row.2).map(|value| value.len() as u64).sum::<u64>()
    );
    let ends = rows.first().map(|first| first.0..=rows[rows.len() - 1].0);
    assert_eq!(run.key_range(), ends);
    let offsets = || rows.iter().map(|row| row.1);
    assert_eq!(run.offsets(), offsets().min().map(|least| least..=offsets().max().unwrap()));

    // Values that are all empty are read from nowhere.
    let is_nowhere = run.fixed_width() == Some(0);
    assert!(rows.is_empty() || is_nowhere || run.ready_value(0).is_none(), "nothing has been verified yet");
    for (index, (key, offset, value)) in rows.iter().enumerate() {
        let entry = run.entry(index).unwrap();
        assert_eq!(run.key(index), Ok(*key));
        assert_eq!(entry.offset, *offset);
        assert_eq!(run.stamp(index), Ok(Stamp { offset: *offset, is_tombstone: value.is_none() }));
        assert_eq!(run.locator_word(index).is_some(), run.fixed_width().is_none());
        assert!(run.locator_word(index).is_none_or(|word| word < run.raw_locators().len()));
        assert_eq!(run.value(index).unwrap(), entry.value);
        let read = entry.value.map(|place| run.read(place, &mut LastBlock::default()).unwrap());
        assert_eq!(read.as_deref(), value.as_deref());
        assert_eq!(run.find(*key), Ok(Some(index)));
        for near in [key.wrapping_sub(1), key.wrapping_add(1)] {
            assert_eq!(run.lower_bound(near).unwrap(), rows.partition_point(|row| row.0 < near));
            assert_eq!(run.find(near).unwrap(), rows.iter().position(|row| row.0 == near));
        }
    }
    let forward: Rows = run.iter().map(Result::unwrap).map(own).collect();
    assert_eq!(&forward, rows);
    let mut backward: Rows = run.iter().rev().map(Result::unwrap).map(own).collect();
    backward.reverse();
    assert_eq!(&backward, rows);
    let middle = rows.len() / 3..rows.len() - rows.len() / 4;
    let part: Rows = run.range(middle.clone()).map(Result::unwrap).map(own).collect();
    assert_eq!(part, rows[middle]);
    assert_eq!(run.iter().len(), rows.len());

    check_visits(&run, rows);
    let mut last = (0, 0);
    run.verify(&mut |done, total| {
        assert!(done >= last.0 && done <= total);
        last = (done, total);
    })
    .unwrap();
    assert_eq!(last, (run.file_bytes(), run.file_bytes()));
    assert!(run.is_verified());
    for (index, (_, _, value)) in rows.iter().enumerate() {
        if run.is_compressed() {
            assert_eq!(run.ready_value(index), None);
            continue;
        }
        assert_eq!(run.ready_value(index), value.as_deref());
        assert!((run.value_hint(index) as u64) < run.file_bytes());
    }
    assert_eq!(run.as_bytes().len() as u64, run.file_bytes());
    check_visits(&run, rows);
}

/// Walks parts of the run both ways, ended by a key and by the visitor.
fn check_visits(run: &Run<Mapping>, rows: &Rows) {
    let parts = [0..rows.len(), rows.len() / 3..rows.len(), 0..rows.len() / 2, rows.len()..rows.len() + 9];
    for part in parts {
        let expected = &rows[part.start..part.end.min(rows.len())];
        let middle = expected.get(expected.len() / 2).map_or(0, |row| row.0);
        let most = expected.len() * 2 / 3;
        for reverse in [false, true] {
            let visited = |goes_on: &dyn Fn(u64) -> bool, most: usize| {
                let (mut visited, mut keys) = (Vec::new(), Vec::new());
                let visit = &mut |RecordRef { key, offset, value }: RecordRef<'_>| {
                    keys.push((key, offset, value.map(<[u8]>::len)));
                    if keys.len() < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
                };
                run.visit_keys(part.clone(), reverse, goes_on, visit).unwrap();
                let visit = &mut |RecordRef { key, offset, value }: RecordRef<'_>| {
                    visited.push((key, offset, value.map(<[u8]>::to_vec)));
                    if visited.len() < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
                };
                run.visit(part.clone(), reverse, goes_on, visit).unwrap();
                let bare =
                    visited.iter().map(|(key, offset, value)| (*key, *offset, value.as_ref().map(|_| 0)));
                assert_eq!(keys, bare.collect::<Vec<_>>());
                visited
            };
            let mut expected = expected.to_vec();
            if reverse {
                expected.reverse();
            }
            assert_eq!(visited(&|_| true, usize::MAX), expected);
            let before = |key: u64| if reverse { key > middle } else { key < middle };
            let up_to: Rows = expected.iter().filter(|row| before(row.0)).cloned().collect();
            assert_eq!(visited(&before, usize::MAX), up_to);
            if most > 0 {
                assert_eq!(visited(&|_| true, most), expected[..most]);
            }
        }
    }
}

fn own(record: Record<'_>) -> (u64, u64, Option<Vec<u8>>) {
    (record.key, record.offset, record.value.map(|value| value.to_vec()))
}

fn value() -> impl Strategy<Value = Option<Vec<u8>>> {
    prop_oneof![
        2 => Just(None),
        2 => Just(Some(Vec::new())),
        8 => vec(any::<u8>(), 1..40).prop_map(Some),
        1 => (any::<u8>(), 1_000..60_000_usize).prop_map(|(byte, len)| Some(vec![byte; len])),
    ]
}

fn key() -> impl Strategy<Value = u64> {
    prop_oneof![any::<u64>(), 0..200_u64, Just(0), Just(u64::MAX), (u64::MAX - 200)..=u64::MAX]
}

proptest! {
    #[test]
    fn any_rows_come_back(rows in btree_map(key(), (0..=MAX_OFFSET, value()), 0..200)) {
        let rows: Rows = rows.into_iter().map(|(key, (offset, value))| (key, offset, value)).collect();
        check_both(&rows);
    }

    #[test]
    fn one_width_needs_no_locators(keys in btree_map(key(), any::<u64>(), 0..300), width in 0..70_usize) {
        let rows: Rows = keys
            .into_iter()
            .map(|(key, seed)| (key, seed & MAX_OFFSET, Some(seed.to_le_bytes().iter().copied().cycle().take(width).collect())))
            .collect();
        let (file, summary) = write(&rows);
        prop_assert_eq!(summary.value_bytes, (rows.len() * width) as u64);
        {
            let run = Run::open(Mapping::from_bytes(file.clone())).unwrap();
            prop_assert!(run.raw_locators().is_empty());
            prop_assert_eq!(run.fixed_width(), Some(if rows.is_empty() { 0 } else { width as u32 }));
        }
        check(&rows, file);
        check(&rows, write_with(&rows, Compression::Lz4).0);
    }

    /// Lines are made up afterwards when the width changes late.
    #[test]
    fn a_late_change_of_width_is_found(before in 0..40_usize, width in 0..20_usize, after in prop::option::of(0..20_usize)) {
        let mut rows: Rows = (0..before as u64).map(|key| (key, key, Some(vec![key as u8; width]))).collect();
        rows.push((before as u64, 0, after.map(|length| vec![1; length])));
        rows.push((before as u64 + 1, 0, Some(vec![2; width])));
        check_both(&rows);
    }
}

#[test]
fn the_extremes_come_back() {
    let value = || Some(vec![1, 2, 3]);
    let cases: Vec<Rows> = vec![
        vec![],
        vec![(0, 0, value())],
        vec![(u64::MAX, MAX_OFFSET, value())],
        vec![(0, MAX_OFFSET, None)],
        vec![(0, 5, Some(vec![])), (u64::MAX, 4, Some(vec![]))],
        vec![(0, 5, None), (1, 6, None), (u64::MAX, 7, None)],
        (0..15).map(|key| (key, key, (key % 2 == 0).then(Vec::new))).collect(),
        vec![(3, 1, Some(vec![5; 100_000])), (4, 2, None), (5, 3, Some(vec![6; 33]))],
    ];
    for rows in cases {
        check_both(&rows);
    }
}

#[test]
fn the_summary_says_what_the_run_says() {
    let rows: Rows = vec![(4, 9, Some(vec![1; 10])), (8, 2, None), (9, 3, Some(vec![2; 5]))];
    let (file, summary) = write(&rows);
    let run = Run::open(Mapping::from_bytes(file)).unwrap();
    assert_eq!(summary.info, INFO);
    assert_eq!((summary.entries, summary.tombstones), (3, 1));
    assert_eq!((summary.value_bytes, summary.file_bytes), (15, run.file_bytes()));
    assert_eq!((summary.keys, summary.offsets), (Some((4, 9)), Some((2, 9))));
    assert_eq!(summary.key_checksum, run.key_checksum());
}

#[test]
fn a_file_reads_the_same_mapped_read_and_copied() {
    let rows: Rows = (0..5_000).map(|key| (key * 3, key, Some(vec![key as u8; key as usize % 50]))).collect();
    let mut file = tempfile::tempfile().unwrap();
    let mut writer = Writer::new(std::io::BufWriter::new(&mut file), INFO).unwrap();
    for (key, offset, value) in &rows {
        writer.push(*key, *offset, value.as_deref()).unwrap();
    }
    writer.finish().unwrap();

    let mapped = Mapping::map(&file).unwrap();
    let read = Mapping::read(&file).unwrap();
    let huge = Mapping::copy_to_huge_pages(mapped.as_ref()).unwrap();
    if cfg!(target_os = "linux") {
        // How many depends on kernel and file system; a file of less than a huge page has none.
        assert_eq!((mapped.huge_bytes(), read.huge_bytes()), (Some(0), None));
        assert!(huge.huge_bytes().is_some_and(|bytes| bytes % (2 << 20) == 0), "{:?}", huge.huge_bytes());
    }
    for mapping in [mapped, read, huge] {
        assert_eq!(mapping.as_ref().as_ptr().addr() % 64, 0);
        assert_eq!(mapping.as_ref(), write(&rows).0);
        let run = Run::open(mapping).unwrap();
        assert_eq!(run.warm_up(&mut |_, _| ControlFlow::Break(())), 0);
        assert!(!run.is_verified());
        assert_eq!(run.warm_up(&mut |_, _| ControlFlow::Continue(())), run.file_bytes());
        assert!(run.is_verified(), "what was warmed up needs no checksum any more");
        assert_eq!(run.iter().map(Result::unwrap).map(own).collect::<Rows>(), rows);
    }
}
