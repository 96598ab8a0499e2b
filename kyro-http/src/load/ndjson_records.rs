//! NDJSON: one JSON object a line, `{"key": …, "value": …}` or `{"key": …, "value_base64": …}`.

use std::io::{self, BufRead, Read as _};

use super::records::{BadLine, Record, Records};
use crate::fields::{FieldError, Object};

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The records of an NDJSON text.
pub(crate) struct NdjsonRecords<R> {
    input: R,
    line: u64,
    buffer: Vec<u8>,
    /// Longer lines are bad; they are skipped, not kept.
    max_line_bytes: u64,
}

impl<R: BufRead> NdjsonRecords<R> {
    pub(crate) fn new(input: R, max_value_bytes: u32) -> Self {
        // A character may take six bytes as an escape.
        let max_line_bytes = u64::from(max_value_bytes) * 6 + (64 << 10);
        Self { input, line: 0, buffer: Vec::new(), max_line_bytes }
    }

    /// Reads the next line into the buffer. `Ok(None)` at the end, `Ok(Some(false))` for a line that is too long.
    fn read_line(&mut self) -> io::Result<Option<bool>> {
        self.buffer.clear();
        let read = self.input.by_ref().take(self.max_line_bytes + 1).read_until(b'\n', &mut self.buffer)?;
        if read == 0 {
            return Ok(None);
        }
        self.line += 1;
        if self.buffer.last() == Some(&b'\n') || read as u64 <= self.max_line_bytes {
            return Ok(Some(true));
        }
        self.buffer.clear();
        self.input.skip_until(b'\n')?;
        Ok(Some(false))
    }
}

impl<R: BufRead> Records for NdjsonRecords<R> {
    fn next_record(&mut self) -> io::Result<Option<Result<Record, BadLine>>> {
        loop {
            let Some(whole) = self.read_line()? else { return Ok(None) };
            let line = self.line;
            if !whole {
                let reason = format!("the line is longer than {} bytes", self.max_line_bytes);
                return Ok(Some(Err(BadLine { line, reason })));
            }
            let text = self.buffer.as_slice();
            let text = if line == 1 { text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text) } else { text };
            return match parse(text) {
                Err(FieldError::Empty) => continue,
                Err(error) => Ok(Some(Err(BadLine { line, reason: error.to_string() }))),
                Ok((key, value)) => Ok(Some(Ok(Record { line, key, value }))),
            };
        }
    }
}

fn parse(text: &[u8]) -> Result<(u64, Vec<u8>), FieldError> {
    let object = Object::parse(text, &["key", "value", "value_base64"])?;
    Ok((object.u64("key")?, object.bytes("value", "value_base64")?.into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &[u8], max_value_bytes: u32) -> Vec<Result<Record, BadLine>> {
        let mut records = NdjsonRecords::new(text, max_value_bytes);
        std::iter::from_fn(|| records.next_record().unwrap()).collect()
    }

    #[test]
    fn lines_become_records_and_keep_their_numbers() {
        let text = b"\xef\xbb\xbf{\"key\":1,\"value\":\"a\"}\r\n\n{\"key\":\"2\",\"value_base64\":\"/w==\"}\nnonsense\n{\"key\":3,\"value\":\"\"}";
        let found = all(text, 100);
        let record = |line, key, value: &[u8]| Ok(Record { line, key, value: value.to_vec() });
        assert_eq!(found[0], record(1, 1, b"a"));
        assert_eq!(found[1], record(3, 2, b"\xff"));
        assert_eq!(found[2].as_ref().unwrap_err().line, 4);
        assert_eq!(found[3], record(5, 3, b""));
        assert_eq!(found.len(), 4);
    }

    #[test]
    fn a_line_without_end_is_skipped_without_being_kept() {
        let mut text = vec![b'x'; 200_000];
        text.extend_from_slice(b"\n{\"key\":1,\"value\":\"a\"}\n");
        let mut records = NdjsonRecords::new(text.as_slice(), 10);
        assert!(records.next_record().unwrap().unwrap().unwrap_err().reason.contains("longer than"));
        assert!(records.buffer.capacity() < 150_000, "{}", records.buffer.capacity());
        assert_eq!(records.next_record().unwrap().unwrap().unwrap().line, 2);
        assert!(records.next_record().unwrap().is_none());
    }
}
