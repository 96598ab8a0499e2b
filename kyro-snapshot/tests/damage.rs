//! Any damage to a file is a typed error or changes no answer: never a wrong value, never a panic.
#![expect(clippy::unwrap_used, reason = "test helpers")]

use kyro_snapshot::{
    BLOCK_BYTES, Compression, Corrupt, LastBlock, Mapping, OpenError, Record, Run, RunInfo, Value, Writer,
};

type Row = (u64, u64, Option<Vec<u8>>);

fn rows(count: u64) -> Vec<Row> {
    (0..count)
        .map(|key| {
            let value = (key % 7 != 3).then(|| (0..key % 41).map(|at| (key * 31 + at) as u8).collect());
            (key * key * 1_000 + key, 5_000 - key, value)
        })
        .collect()
}

fn write(uuid: u8, rows: &[Row]) -> Vec<u8> {
    write_with(uuid, rows, Compression::None)
}

fn write_with(uuid: u8, rows: &[Row], compression: Compression) -> Vec<u8> {
    let info = RunInfo { uuid: [uuid; 16], database: [2; 16], epoch: 1 };
    let mut writer = Writer::with_compression(Vec::new(), info, compression).unwrap();
    for (key, offset, value) in rows {
        writer.push(*key, *offset, value.as_deref()).unwrap();
    }
    writer.finish().unwrap().0
}

/// What a damaged file answered.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    refused: bool,
    corrupt: usize,
    right: usize,
    verified: bool,
}

/// Asks for everything in every way. Panics on a wrong answer.
fn ask(file: &[u8], rows: &[Row]) -> Outcome {
    let mut outcome = Outcome::default();
    let Ok(run) = Run::open(Mapping::from_bytes(file.to_vec())) else {
        return Outcome { refused: true, ..outcome };
    };
    assert_eq!(run.len(), rows.len());
    for (index, (key, offset, value)) in rows.iter().enumerate() {
        let found = run.find(*key).and_then(|found| {
            let found = found.map(|found| run.entry(found)).transpose()?;
            let Some(entry) = found else { return Ok(None) };
            let value = entry.value.map(|place| run.read(place, &mut LastBlock::default())).transpose()?;
            Ok(Some((entry.offset, value.map(|value| value.to_vec()))))
        });
        match found {
            Ok(found) => {
                assert_eq!(found, Some((*offset, value.clone())), "key {key}");
                outcome.right += 1;
            }
            Err(error) => {
                let again = run.find(*key).and_then(|_| run.entry(index)).and_then(|entry| {
                    entry.value.map(|place| run.read(place, &mut LastBlock::default())).transpose()
                });
                assert_eq!(again.unwrap_err(), error, "the same for ever");
                assert!(error.position() < file.len() as u64);
                outcome.corrupt += 1;
            }
        }
        if let Ok(found) = run.find(key + 1) {
            assert_eq!(found, rows.iter().position(|row| row.0 == key + 1), "absent key {}", key + 1);
        }
    }
    for (record, (key, offset, value)) in run.iter().zip(rows) {
        if let Ok(record) = record {
            assert_eq!(
                record,
                Record { key: *key, offset: *offset, value: value.as_deref().map(Value::InFile) }
            );
        }
    }
    outcome.verified = run.verify(&mut |_, _| ()).is_ok();
    outcome
}

#[test]
fn every_flipped_byte_is_found() {
    for rows in [rows(40), rows(1), rows(0), (0..20).map(|key| (key, key, Some(vec![9; 4]))).collect()] {
        let mut file = write(1, &rows);
        let whole = ask(&file, &rows);
        assert_eq!(whole, Outcome { right: rows.len(), verified: true, ..Outcome::default() });
        for at in 0..file.len() {
            for flip in [0x01, 0x80, 0xFF] {
                file[at] ^= flip;
                let outcome = ask(&file, &rows);
                assert!(!outcome.verified, "byte {at} ^ {flip:#x} was not found: {outcome:?}");
                // Only the padding around the block checksums can be hurt without an answer depending on it.
                file[at] ^= flip;
            }
        }
    }
}

/// Values that make several blocks of both kinds, in a small file.
fn packed_rows() -> Vec<Row> {
    let noise = |seed: u64, len: u64| {
        (0..len).map(|at| ((seed + at).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect::<Vec<_>>()
    };
    (0..12)
        .map(|key| {
            let value = match key % 6 {
                1 => None,
                2 => Some(noise(key, 400)),
                _ => Some(vec![key as u8; 2_300]),
            };
            (key * 5, 100 + key, value)
        })
        .collect()
}

#[test]
fn every_flipped_byte_is_found_where_values_are_compressed() {
    let fixed: Vec<Row> = (0..300).map(|key| (key, key, Some(vec![9; 40]))).collect();
    for rows in [packed_rows(), rows(1), rows(0), fixed] {
        let mut file = write_with(1, &rows, Compression::Lz4);
        let whole = ask(&file, &rows);
        assert_eq!(whole, Outcome { right: rows.len(), verified: true, ..Outcome::default() });
        let step = if rows.len() > 100 { 7 } else { 1 };
        for at in (0..file.len()).filter(|at| *at < 200 || *at > 4000).step_by(step) {
            for flip in [0x01, 0x80, 0xFF] {
                file[at] ^= flip;
                assert!(!ask(&file, &rows).verified, "byte {at} ^ {flip:#x} was not found");
                file[at] ^= flip;
            }
        }
        for len in (0..file.len()).step_by(13) {
            assert!(Run::open(Mapping::from_bytes(file[..len].to_vec())).is_err(), "cut to {len}");
        }
    }
}

/// Packed bytes and lengths that lie, under checksums that are right: the answer is an error or the value itself, and
/// memory stays at what the value may take.
#[test]
fn packed_blocks_that_lie_are_typed_errors() {
    let rows = packed_rows();
    let whole = write_with(1, &rows, Compression::Lz4);
    let footer = whole.len() - 256;
    let word = |at: usize| u64::from_le_bytes(whole[at..at + 8].try_into().unwrap()) as usize;
    let (packed_bytes, table_at, blocks) = (word(footer + 160), word(footer + 168), word(footer + 176));
    assert!(blocks >= 2 && packed_bytes < 8192);
    let mut kinds = [0; 2];
    for at in (4096..4096 + packed_bytes).chain(table_at..table_at + 8 * blocks) {
        for flip in [0x01, 0x10, 0x80, 0xFF] {
            let mut forged = whole.clone();
            forged[at] ^= flip;
            make_checksums_fit(&mut forged);
            let run = Run::open(Mapping::from_bytes(forged)).unwrap();
            for (index, (_, _, value)) in rows.iter().enumerate() {
                let Some(place) = run.value(index).unwrap() else { continue };
                match run.read(place, &mut LastBlock::default()) {
                    // Other bytes of the right length cannot be told from right ones where every checksum fits.
                    Ok(read) => assert_eq!(read.len(), value.as_ref().unwrap().len()),
                    Err(Corrupt::Packed { position, .. }) => {
                        assert!(position < footer as u64);
                        kinds[usize::from(at >= table_at)] += 1;
                    }
                    Err(other) => panic!("{other}"),
                }
            }
        }
    }
    assert!(kinds.iter().all(|&count| count > 0), "{kinds:?}");
}

/// Every checksum of the file, made right again.
fn make_checksums_fit(file: &mut [u8]) {
    let footer = file.len() - 256;
    let table = u64::from_le_bytes(file[footer + 96..footer + 104].try_into().unwrap()) as usize;
    let uuid = crc32fast::hash(&file[32..48]);
    for block in 0..table.div_ceil(BLOCK_BYTES) {
        let mut hasher = crc32fast::Hasher::new_with_initial(uuid);
        hasher.update(&file[block * BLOCK_BYTES..table.min((block + 1) * BLOCK_BYTES)]);
        let at = table + 4 * block;
        file[at..at + 4].copy_from_slice(&hasher.finalize().to_le_bytes());
    }
    let sum = crc32fast::hash(&file[table..table + 4 * table.div_ceil(BLOCK_BYTES)]).to_le_bytes();
    file[footer + 156..footer + 160].copy_from_slice(&sum);
    let sum = crc32fast::hash(&file[footer..footer + 252]).to_le_bytes();
    file[footer + 252..].copy_from_slice(&sum);
}

#[test]
fn every_flipped_bit_of_the_columns_is_found() {
    let rows = rows(60);
    let mut file = write(1, &rows);
    for at in 4096..file.len() {
        for bit in 0..8 {
            file[at] ^= 1 << bit;
            assert!(!ask(&file, &rows).verified, "bit {bit} of byte {at}");
            file[at] ^= 1 << bit;
        }
    }
}

#[test]
fn every_truncation_and_growth_is_refused() {
    let rows = rows(40);
    let file = write(1, &rows);
    for len in 0..file.len() {
        let error = Run::open(Mapping::from_bytes(file[..len].to_vec())).unwrap_err();
        let expected = matches!(error, OpenError::TooShort { .. } | OpenError::NoFooter { .. });
        assert!(expected, "cut to {len} bytes: {error}");
    }
    for extra in [1, 7, 8, 63, 64, 255, 256, 4096] {
        let mut grown = file.clone();
        grown.resize(file.len() + extra, 0);
        assert!(Run::open(Mapping::from_bytes(grown)).is_err(), "{extra} bytes more");
        let mut cut_in_front = file.clone();
        cut_in_front.drain(..extra);
        assert!(Run::open(Mapping::from_bytes(cut_in_front)).is_err(), "{extra} bytes less in front");
        let mut cut_inside = file.clone();
        cut_inside.drain(1024..1024 + extra);
        assert!(Run::open(Mapping::from_bytes(cut_inside)).is_err(), "{extra} bytes less inside");
    }
}

/// Any two equal stretches of 64 bytes to 16 KiB exchanged, zeroed, or filled.
#[test]
fn moved_and_zeroed_stretches_are_found() {
    let rows = rows(3_000);
    let file = write(1, &rows);
    let mut tried = 0;
    for len in [64, 512, 4096, BLOCK_BYTES] {
        let places: Vec<usize> = (0..file.len() - len).step_by(len.max(file.len() / 40) / 64 * 64).collect();
        for &from in &places {
            for &to in &places {
                let mut moved = file.clone();
                if from.abs_diff(to) >= len {
                    moved[from..from + len].copy_from_slice(&file[to..to + len]);
                    moved[to..to + len].copy_from_slice(&file[from..from + len]);
                } else if from == to {
                    moved[from..from + len].fill(0);
                }
                if moved != file && tried % 7 == 0 {
                    assert!(!ask_quickly(&moved, &rows), "{len} bytes at {from} and {to}");
                }
                tried += 1;
            }
        }
    }
    assert!(tried > 1_000);
}

/// True when everything is answered and right; panics on a wrong answer.
fn ask_quickly(file: &[u8], rows: &[Row]) -> bool {
    let Ok(run) = Run::open(Mapping::from_bytes(file.to_vec())) else { return false };
    let mut whole = run.len() == rows.len();
    for (record, (key, offset, value)) in run.iter().zip(rows) {
        match record {
            Ok(record) => assert_eq!(
                record,
                Record { key: *key, offset: *offset, value: value.as_deref().map(Value::InFile) }
            ),
            Err(_) => whole = false,
        }
    }
    whole && run.verify(&mut |_, _| ()).is_ok()
}

#[test]
fn a_block_of_another_run_is_not_taken_for_ours() {
    let rows = rows(3_000);
    let ours = write(1, &rows);
    let theirs = write(2, &rows);
    assert_eq!(ours.len(), theirs.len());
    // All blocks are the same but the first, and still none of their checksums fits here.
    let table_at = ours.len() - 256 - 64;
    assert_eq!(ours[BLOCK_BYTES..table_at], theirs[BLOCK_BYTES..table_at]);
    for block in 0..ours.len() / BLOCK_BYTES {
        let mut mixed = ours.clone();
        let checksum = table_at + 4 * block;
        mixed[checksum..checksum + 4].copy_from_slice(&theirs[checksum..checksum + 4]);
        assert!(!ask_quickly(&mixed, &rows), "checksum of block {block}");
    }
    let mut mixed = ours.clone();
    mixed[..4096].copy_from_slice(&theirs[..4096]);
    assert!(matches!(
        Run::open(Mapping::from_bytes(mixed)).unwrap_err(),
        OpenError::ForeignFooter { header: [2, ..], footer: [1, ..], .. }
    ));
}

#[test]
fn refusals_say_what_they_found() {
    let rows = rows(40);
    let file = write(1, &rows);
    let open = |file: &[u8]| Run::open(Mapping::from_bytes(file.to_vec())).unwrap_err();

    assert_eq!(open(b""), OpenError::TooShort { bytes: 0, needed: 4352 });
    assert_eq!(open(&[b'x'; 5000]), OpenError::NotARun { found: [b'x'; 8] });
    assert_eq!(open(&[b'x'; 5000]).to_string(), "not a run: it starts with \"xxxxxxxx\", not \"kyro-run\"");

    let mut newer = file.clone();
    newer[8] = 9;
    let checksum = crc32fast::hash(&newer[..4092]);
    newer[4092..4096].copy_from_slice(&checksum.to_le_bytes());
    assert_eq!(open(&newer), OpenError::NewerVersion { found: 9, supported: 2 });
    assert_eq!(
        open(&newer).to_string(),
        "run format version 9 is newer than 2, the newest this release reads: use the release that wrote it"
    );

    let mut other_checksum = file.clone();
    other_checksum[12] = 2;
    let checksum = crc32fast::hash(&other_checksum[..4092]);
    other_checksum[4092..4096].copy_from_slice(&checksum.to_le_bytes());
    assert_eq!(
        open(&other_checksum),
        OpenError::Field { field: "checksum algorithm", expected: 1, found: 2 }
    );

    let mut damaged = file.clone();
    damaged[40] ^= 1;
    assert!(matches!(open(&damaged), OpenError::Header { .. }));
    let last = damaged.len() - 100;
    let mut damaged = file.clone();
    damaged[last] ^= 1;
    let position = file.len() as u64 - 256;
    assert!(matches!(open(&damaged), OpenError::Footer { position: p, .. } if p == position));
}

/// A footer that lies, with a valid checksum: every field is still checked against the others.
#[test]
fn a_forged_footer_is_refused() {
    for rows in [rows(40), (0..20).map(|key| (key, key, Some(vec![9; 4]))).collect::<Vec<_>>()] {
        let file = write(1, &rows);
        let footer = file.len() - 256;
        // Every 64-bit field from the file's length to the largest offset.
        for field in (24..152).step_by(8) {
            let at = footer + field;
            let honest = u64::from_le_bytes(file[at..at + 8].try_into().unwrap());
            let lies = [
                0,
                1,
                7,
                64,
                honest ^ 1,
                honest << 1,
                honest.wrapping_add(64),
                1 << 63,
                u64::MAX - 7,
                u64::MAX,
            ];
            for lie in lies {
                let mut forged = file.clone();
                forged[at..at + 8].copy_from_slice(&lie.to_le_bytes());
                let checksum = crc32fast::hash(&forged[footer..footer + 252]);
                forged[footer + 252..].copy_from_slice(&checksum.to_le_bytes());
                let Ok(run) = Run::open(Mapping::from_bytes(forged)) else { continue };
                // What no arithmetic can tell is found by reading.
                assert_eq!(run.verify(&mut |_, _| ()).is_ok(), lie == honest, "{lie} at footer + {field}");
                for index in 0..run.len() {
                    // No panic; the values themselves are covered by their own checksums.
                    drop((run.entry(index), run.key(index)));
                }
            }
        }
    }
}

#[test]
fn one_damaged_block_hurts_only_its_own_entries() {
    let rows: Vec<Row> = (0..10_000).map(|key| (key, key, Some(vec![key as u8; 20]))).collect();
    let mut file = write(1, &rows);
    let hurt = 4096 + 20 * 5_000;
    file[hurt] ^= 0x40;
    let run = Run::open(Mapping::from_bytes(file)).unwrap();
    let block = (hurt / BLOCK_BYTES) as u64;
    let mut corrupt = 0;
    for (index, (_, _, value)) in rows.iter().enumerate() {
        match run.entry(index) {
            Ok(entry) => assert_eq!(entry.value.map(|range| run.slice(range)), value.as_deref()),
            Err(error) => {
                corrupt += 1;
                assert!(matches!(error, Corrupt::Block { position, block: b, expected, found }
                    if b == block && position == block * BLOCK_BYTES as u64 && expected != found));
            }
        }
    }
    let in_block = |at: usize| at / BLOCK_BYTES == hurt / BLOCK_BYTES;
    let hit = (0..rows.len()).filter(|index| in_block(4096 + 20 * index) || in_block(4096 + 20 * index + 19));
    assert_eq!(corrupt, hit.count(), "the values that lie in the block, wholly or in part");
    assert!(!run.is_verified());
}

#[test]
fn damaged_block_checksums_are_told_from_damaged_blocks() {
    let rows = rows(40);
    let mut file = write(1, &rows);
    let table_at = file.len() - 256 - 64;
    file[table_at] ^= 1;
    let run = Run::open(Mapping::from_bytes(file)).unwrap();
    assert!(matches!(run.value(0), Err(Corrupt::Block { block: 0, .. })), "on the way nothing else is read");
    let error = run.verify(&mut |_, _| ()).unwrap_err();
    assert!(matches!(error, Corrupt::Table { position, .. } if position == table_at as u64), "{error}");
}
