//! The fuzz body, shared by the fuzzer and by a bounded test: no bytes may panic the reader or make it answer wrongly.

use kyro_snapshot::inspect::inspect;
use kyro_snapshot::{BLOCK_BYTES, Compression, LastBlock, Mapping, Run, RunInfo, Writer};

const HEADER_BYTES: usize = 4096;
const FOOTER_BYTES: usize = 256;
/// Where the position of the block checksums is in the footer.
const TABLE_AT: usize = 96;

/// The first byte chooses what the rest is: a file, or rows for one and the lies to tell in it.
pub(crate) fn decode(data: &[u8]) {
    let Some((mode, data)) = data.split_first() else { return };
    let compression = if mode & 0x80 == 0 { Compression::None } else { Compression::Lz4 };
    match mode % 3 {
        0 => read_everything(data),
        1 => round_trip(data, compression),
        _ => read_everything(&lying_file(data, compression)),
    }
}

fn rows(data: &[u8]) -> Vec<(u64, u64, Option<Vec<u8>>)> {
    let mut key = 0_u64;
    let mut rows = Vec::new();
    for (index, chunk) in data.chunks(3).enumerate() {
        let [step, shift, len] = [0, 1, 2].map(|at| chunk.get(at).copied().unwrap_or(1));
        if index > 0 {
            let Some(next) = key.checked_add((u64::from(step) << (shift % 57)).max(1)) else { break };
            key = next;
        }
        let value =
            (len != 3).then(|| vec![step; if shift > 250 { 300 * usize::from(len) } else { len.into() }]);
        rows.push((key, u64::from(shift) * 1_000_003, value));
    }
    rows
}

fn write(rows: &[(u64, u64, Option<Vec<u8>>)], compression: Compression) -> Vec<u8> {
    let info = RunInfo { uuid: [1; 16], database: [2; 16], epoch: 3 };
    let mut writer =
        Writer::with_compression(Vec::new(), info, compression).expect("a vector takes everything");
    for (key, offset, value) in rows {
        writer.push(*key, *offset, value.as_deref()).expect("rows are in order");
    }
    writer.finish().expect("a vector takes everything").0
}

fn round_trip(data: &[u8], compression: Compression) {
    let rows = rows(data);
    let run = Run::open(Mapping::from_bytes(write(&rows, compression))).expect("a fresh file opens");
    assert_eq!(run.len(), rows.len());
    for (record, (key, offset, value)) in run.iter().zip(&rows) {
        let record = record.expect("a fresh file is whole");
        assert_eq!((record.key, record.offset, record.value.as_deref()), (*key, *offset, value.as_deref()));
    }
    run.verify(&mut |_, _| ()).expect("a fresh file is whole");
}

/// A file with some of its bytes replaced and every checksum made to fit again: what remains is arithmetic.
fn lying_file(data: &[u8], compression: Compression) -> Vec<u8> {
    let (lies, data) = data.split_at(data.len().min(24));
    let mut file = write(&rows(data), compression);
    for lie in lies.chunks_exact(4) {
        // Mostly the footer and the columns before it.
        let back = (usize::from(lie[0]) | usize::from(lie[1] & 0x0F) << 8) % file.len();
        let at = file.len() - 1 - back;
        let byte = if lie[1] & 0x80 != 0 { lie[2] } else { file[at] ^ lie[2] };
        let repeat = if lie[1] & 0x40 != 0 { 8 } else { 1 };
        file.iter_mut().skip(at).take(repeat).for_each(|place| *place = byte);
    }
    make_checksums_fit(&mut file);
    file
}

fn make_checksums_fit(file: &mut [u8]) {
    let footer = file.len() - FOOTER_BYTES;
    let mut word = [0; 8];
    word.copy_from_slice(&file[footer + TABLE_AT..footer + TABLE_AT + 8]);
    let table = u64::from_le_bytes(word).min(footer as u64) as usize;
    let uuid = crc32fast::hash(&file[32..48]);
    let blocks = table.div_ceil(BLOCK_BYTES);
    if table + 4 * blocks <= footer {
        for block in 0..blocks {
            let mut hasher = crc32fast::Hasher::new_with_initial(uuid);
            hasher.update(&file[block * BLOCK_BYTES..table.min((block + 1) * BLOCK_BYTES)]);
            let at = table + 4 * block;
            file[at..at + 4].copy_from_slice(&hasher.finalize().to_le_bytes());
        }
        let checksum = crc32fast::hash(&file[table..table + 4 * blocks]);
        file[footer + 156..footer + 160].copy_from_slice(&checksum.to_le_bytes());
    }
    let header = crc32fast::hash(&file[..HEADER_BYTES - 4]);
    file[HEADER_BYTES - 4..HEADER_BYTES].copy_from_slice(&header.to_le_bytes());
    let checksum = crc32fast::hash(&file[footer..footer + FOOTER_BYTES - 4]);
    file[footer + FOOTER_BYTES - 4..].copy_from_slice(&checksum.to_le_bytes());
}

fn read_everything(file: &[u8]) {
    if let Ok(facts) = inspect(file) {
        assert!(!facts.to_string().is_empty());
    }
    let Ok(run) = Run::open(Mapping::from_bytes(file.to_vec())) else { return };
    for index in 0..run.len() {
        if let Ok(entry) = run.entry(index)
            && let Some(value) = entry.value
        {
            let len = value.len();
            if let Ok(value) = run.read(value, &mut LastBlock::default()) {
                assert_eq!(value.len(), len);
            }
        }
        drop(run.key(index));
    }
    for key in [0, 1, u64::MAX / 2, u64::MAX] {
        drop(run.find(key));
    }
    let walked = run.iter().rev().flatten().count();
    assert!(walked <= run.len());
    if run.verify(&mut |_, _| ()).is_ok() {
        assert!(run.iter().all(|record| record.is_ok()), "verified, yet unreadable");
        assert!(run.keys().is_sorted_by(|low, high| low < high));
    }
}
