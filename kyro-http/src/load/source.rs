//! Opening the file: by name or stdin, packed or not, in either form.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use flate2::bufread::MultiGzDecoder;

use super::LoadError;
use super::binary_records::BinaryRecords;
use super::csv_records::CsvRecords;
use super::ndjson_records::NdjsonRecords;
use super::progress::Counts;
use super::records::Records;
use crate::cli::{Format, InputArgs};

const BUFFER_BYTES: usize = 256 << 10;

/// The records of the file, and its size on disk where it has one.
pub(crate) fn open(
    arguments: &InputArgs,
    counts: &Arc<Counts>,
) -> Result<(Box<dyn Records>, Option<u64>), LoadError> {
    let path = arguments.file.as_path();
    let unreadable = |source| LoadError::Read { file: path.to_owned(), source };
    let (form, packed) = form(path, arguments.format)?;
    let (raw, total): (Box<dyn Read>, Option<u64>) = if path == Path::new("-") {
        (Box::new(io::stdin()), None)
    } else {
        let file = File::open(path).map_err(unreadable)?;
        let metadata = file.metadata().map_err(unreadable)?;
        if metadata.is_dir() {
            return Err(unreadable(io::Error::from(io::ErrorKind::IsADirectory)));
        }
        (Box::new(file), metadata.is_file().then_some(metadata.len()))
    };
    let counted = BufReader::with_capacity(BUFFER_BYTES, Counted { input: raw, counts: Arc::clone(counts) });
    let text: Box<dyn Read> = if packed { Box::new(MultiGzDecoder::new(counted)) } else { Box::new(counted) };
    let limit = arguments.max_value_bytes;
    let records: Box<dyn Records> = match form {
        Format::Ndjson => Box::new(NdjsonRecords::new(BufReader::with_capacity(BUFFER_BYTES, text), limit)),
        Format::Binary => Box::new(BinaryRecords::new(BufReader::with_capacity(BUFFER_BYTES, text), limit)),
        Format::Csv => {
            let value = arguments.value_column.as_deref();
            let opened = CsvRecords::new(text, &arguments.key_column, value, limit);
            Box::new(
                opened
                    .map_err(|error| LoadError::Form { file: path.to_owned(), reason: error.to_string() })?,
            )
        }
    };
    Ok((records, total))
}

/// The form that was asked for, or that the name promises, and whether the file is packed.
fn form(path: &Path, asked: Option<Format>) -> Result<(Format, bool), LoadError> {
    let (by_name, packed) = Format::of_name(path);
    let form = asked.or(by_name).ok_or_else(|| LoadError::Form {
        file: path.to_owned(),
        reason: "the name does not tell the form; say --format ndjson, csv or binary".to_owned(),
    })?;
    Ok((form, packed))
}

/// Counts the bytes that leave the file, for the progress bar.
struct Counted {
    input: Box<dyn Read>,
    counts: Arc<Counts>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.counts.add_file_bytes(read as u64);
        Ok(read)
    }
}
