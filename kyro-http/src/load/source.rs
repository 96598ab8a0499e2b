//! Opening the file: by name or stdin, packed or not, in either form.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use flate2::bufread::MultiGzDecoder;

use super::LoadError;
use super::csv_records::CsvRecords;
use super::ndjson_records::NdjsonRecords;
use super::progress::Counts;
use super::records::Records;
use crate::cli::{Format, LoadArgs};

const BUFFER_BYTES: usize = 256 << 10;

/// The records of the file, and its size on disk where it has one.
pub(super) fn open(
    arguments: &LoadArgs,
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

/// The form that a name promises, and whether the file is packed.
fn form(path: &Path, asked: Option<Format>) -> Result<(Format, bool), LoadError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let (stem, packed) = name.strip_suffix(".gz").map_or((name.as_str(), false), |stem| (stem, true));
    let extension = stem.rsplit_once('.').map_or("", |(_, extension)| extension);
    let by_name = match extension {
        "ndjson" | "jsonl" | "json" => Some(Format::Ndjson),
        "csv" => Some(Format::Csv),
        _ => None,
    };
    let form = asked.or(by_name).ok_or_else(|| LoadError::Form {
        file: path.to_owned(),
        reason: "the name does not tell the form; say --format ndjson or --format csv".to_owned(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_the_form() {
        for (name, expected) in [
            ("a.ndjson", Some((Format::Ndjson, false))),
            ("a.b.JSONL.gz", Some((Format::Ndjson, true))),
            ("dir.csv/a.csv", Some((Format::Csv, false))),
            ("a.csv.gz", Some((Format::Csv, true))),
            ("a.txt", None),
            ("a", None),
            ("-", None),
        ] {
            assert_eq!(form(Path::new(name), None).ok(), expected, "{name}");
        }
        assert_eq!(form(Path::new("-"), Some(Format::Csv)).ok(), Some((Format::Csv, false)));
        assert_eq!(form(Path::new("a.gz"), Some(Format::Csv)).ok(), Some((Format::Csv, true)));
    }
}
