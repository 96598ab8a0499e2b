//! CSV with a header line. The key is a column; the value is another, or all the others as a JSON object.

use std::cell::Cell;
use std::io::{self, Read};
use std::rc::Rc;

use csv::{ByteRecord, ErrorKind, Reader, ReaderBuilder};

use super::records::{BadLine, Record, Records};
use crate::decimal::parse_u64;

/// The records of a CSV text.
pub(crate) struct CsvRecords<R> {
    reader: Reader<Bounded<R>>,
    since_record: Rc<Cell<u64>>,
    columns: Vec<String>,
    key: usize,
    value: Option<usize>,
    row: ByteRecord,
}

/// Why a header does not fit what is asked for.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HeaderError {
    #[error("the header line cannot be read: {0}")]
    Unreadable(String),
    #[error("there is no column `{wanted}`; there are: {found}")]
    NoColumn { wanted: String, found: String },
    #[error("the column `{name}` stands more than once in the header")]
    Twice { name: String },
}

impl<R: Read> CsvRecords<R> {
    /// Reads the header. `value_column`: `None` makes a JSON object of all columns but the key's.
    pub(crate) fn new(
        input: R,
        key_column: &str,
        value_column: Option<&str>,
        max_value_bytes: u32,
    ) -> Result<Self, HeaderError> {
        let since_record = Rc::new(Cell::new(0));
        // Every column of a row may be quoted, and every quote doubled.
        let limit = u64::from(max_value_bytes) * 2 + (1 << 20);
        let input = Bounded { input, since_record: Rc::clone(&since_record), limit };
        let mut reader = ReaderBuilder::new().has_headers(true).from_reader(input);
        let header = reader.headers().map_err(|error| HeaderError::Unreadable(error.to_string()))?;
        let columns: Vec<String> = header.iter().map(str::to_owned).collect();
        if let Some(name) = columns
            .iter()
            .enumerate()
            .find_map(|(at, name)| columns.iter().take(at).any(|other| other == name).then_some(name))
        {
            return Err(HeaderError::Twice { name: name.clone() });
        }
        let position = |wanted: &str| {
            columns
                .iter()
                .position(|name| name == wanted)
                .ok_or_else(|| HeaderError::NoColumn { wanted: wanted.to_owned(), found: columns.join(", ") })
        };
        let key = position(key_column)?;
        let value = value_column.map(position).transpose()?;
        Ok(Self { reader, since_record, columns, key, value, row: ByteRecord::new() })
    }

    fn record(&self, line: u64) -> Result<Record, String> {
        let cell = |at: usize| self.row.get(at).unwrap_or_default();
        let name = |at: usize| self.columns.get(at).map_or("", String::as_str);
        let text = |at: usize| {
            std::str::from_utf8(cell(at)).map_err(|_| format!("column `{}` is not UTF-8", name(at)))
        };
        let key = parse_u64(text(self.key)?).map_err(|reason| {
            let column = name(self.key);
            format!("column `{column}` must be an integer from 0 to 18446744073709551615, it {reason}")
        })?;
        let value = if let Some(at) = self.value {
            cell(at).to_vec()
        } else {
            let mut object = Vec::with_capacity(self.row.as_slice().len() + 16 * self.columns.len());
            object.push(b'{');
            for at in (0..self.columns.len()).filter(|at| *at != self.key) {
                if object.len() > 1 {
                    object.push(b',');
                }
                serde_json::to_writer(&mut object, name(at)).unwrap_or_default(); // memory does not fail
                object.push(b':');
                serde_json::to_writer(&mut object, text(at)?).unwrap_or_default();
            }
            object.push(b'}');
            object
        };
        Ok(Record { line, key, value })
    }
}

impl<R: Read> Records for CsvRecords<R> {
    fn next_record(&mut self) -> io::Result<Option<Result<Record, BadLine>>> {
        self.since_record.set(0);
        let read = self.reader.read_byte_record(&mut self.row);
        let line = self.row.position().map_or(0, csv::Position::line);
        match read {
            Ok(false) => Ok(None),
            Ok(true) => Ok(Some(self.record(line).map_err(|reason| BadLine { line, reason }))),
            Err(error) => match error.into_kind() {
                ErrorKind::Io(error) => Err(error),
                ErrorKind::UnequalLengths { pos, expected_len, len } => {
                    let line = pos.map_or(line, |position| position.line());
                    let reason = format!("the row has {len} columns, the header has {expected_len}");
                    Ok(Some(Err(BadLine { line, reason })))
                }
                other => Ok(Some(Err(BadLine { line, reason: format!("not a CSV row: {other:?}") }))),
            },
        }
    }
}

/// Ends the reading where one row takes more than any row can: a quote that is never closed would otherwise read
/// the rest of the file into memory.
struct Bounded<R> {
    input: R,
    since_record: Rc<Cell<u64>>,
    limit: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.since_record.get() > self.limit {
            let reason = format!("a row takes more than {} bytes; is a quote not closed?", self.limit);
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        }
        let read = self.input.read(buffer)?;
        self.since_record.set(self.since_record.get() + read as u64);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open<'a>(text: &'a str, value: Option<&str>) -> Result<CsvRecords<&'a [u8]>, HeaderError> {
        CsvRecords::new(text.as_bytes(), "key", value, 1000)
    }

    fn all(text: &str, value: Option<&str>) -> Vec<Result<Record, BadLine>> {
        let mut records = open(text, value).unwrap();
        std::iter::from_fn(|| records.next_record().unwrap()).collect()
    }

    #[test]
    fn a_row_becomes_a_json_object_in_column_order() {
        let found = all("name,key,cc\n\"Sai\"\"d, é\",7,AD\nx,8,\n", None);
        let value = "{\"name\":\"Sai\\\"d, é\",\"cc\":\"AD\"}";
        assert_eq!(found[0], Ok(Record { line: 2, key: 7, value: value.as_bytes().to_vec() }));
        assert_eq!(found[1], Ok(Record { line: 3, key: 8, value: b"{\"name\":\"x\",\"cc\":\"\"}".to_vec() }));
    }

    #[test]
    fn one_column_can_be_the_value() {
        assert_eq!(
            all("key,v\n1,abc\n", Some("v")),
            [Ok(Record { line: 2, key: 1, value: b"abc".to_vec() })]
        );
    }

    #[test]
    fn bad_rows_are_named_and_do_not_end_the_reading() {
        let found = all("key,v\nx,1\n2\n-3,1\n,1\n18446744073709551616,1\n5,ok\n", None);
        let reasons: Vec<_> =
            found.iter().map(|row| row.as_ref().err().map(|bad| (bad.line, bad.reason.clone()))).collect();
        for (at, line, part) in [
            (0, 2, "not made of decimal digits"),
            (1, 3, "the row has 1 columns, the header has 2"),
            (2, 4, "is negative"),
            (3, 5, "is empty"),
            (4, 6, "is above"),
        ] {
            let (found_line, reason) = reasons[at].clone().unwrap();
            assert_eq!(found_line, line, "{reason}");
            assert!(reason.contains(part), "{reason}");
        }
        assert_eq!(found[5].as_ref().unwrap().key, 5);
    }

    #[test]
    fn headers_that_do_not_fit_are_refused() {
        assert_eq!(
            open("id,v\n", None).err(),
            Some(HeaderError::NoColumn { wanted: "key".into(), found: "id, v".into() })
        );
        assert!(matches!(open("key,v\n", Some("w")).err(), Some(HeaderError::NoColumn { .. })));
        assert_eq!(open("key,v,v\n", None).err(), Some(HeaderError::Twice { name: "v".into() }));
        assert!(open("", None).is_err());
    }

    #[test]
    fn a_quote_that_is_never_closed_ends_the_reading() {
        let text = format!("key,v\n1,\"{}", "x".repeat(8 << 20));
        let mut records = open(&text, None).unwrap();
        assert!(records.next_record().unwrap_err().to_string().contains("quote not closed"));
    }
}
