//! The fuzz body of the files that `load` reads.
#![allow(
    missing_docs,
    clippy::missing_panics_doc,
    clippy::unwrap_used,
    reason = "a fuzz body stops by panicking"
)]

use super::binary_records::BinaryRecords;
use super::csv_records::CsvRecords;
use super::ndjson_records::NdjsonRecords;
use super::records::Records;

/// Any bytes as NDJSON, CSV or a binary frame: every record is counted on a line of its own, in order, and the reading ends.
pub fn records(data: &[u8]) {
    let Some((mode, file)) = data.split_first() else { return };
    match mode % 4 {
        3 => read(&mut BinaryRecords::new(file, 1000), file.len()),
        0 => read(&mut NdjsonRecords::new(file, 1000), file.len()),
        1 => drop(
            CsvRecords::new(file, "key", Some("value"), 1000)
                .map(|mut records| read(&mut records, file.len())),
        ),
        _ => drop(CsvRecords::new(file, "key", None, 1000).map(|mut records| read(&mut records, file.len()))),
    }
}

fn read(records: &mut dyn Records, len: usize) {
    let (mut before, mut count) = (0, 0);
    while let Ok(Some(record)) = records.next_record() {
        let line = match record {
            Ok(record) => record.line,
            Err(bad) => {
                assert!(!bad.reason.is_empty());
                bad.line
            }
        };
        count += 1;
        assert!(
            line >= before && count <= len + 1,
            "line {line} after {before}, record {count} of {len} bytes"
        );
        before = line;
    }
}
