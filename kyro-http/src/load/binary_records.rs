//! The binary frame of puts, read as a stream.

use std::io::{self, BufRead, ErrorKind};

use bytes::Bytes;

use super::records::{BadLine, Record, Records};
use crate::frame::{
    FrameError, HEADER_BYTES, Kind, Next, Op, Operation, RECORD_BYTES, read_header, read_operation,
};

/// The records of a frame of operations. Their line is their number, from 1.
pub(crate) struct BinaryRecords<R> {
    input: R,
    max_value_bytes: u32,
    /// Whether the header was read.
    begun: bool,
    /// How many records the header announced, where it did.
    announced: Option<u64>,
    read: u64,
    ended: bool,
}

impl<R: BufRead> BinaryRecords<R> {
    pub(crate) fn new(input: R, max_value_bytes: u32) -> Self {
        Self { input, max_value_bytes, begun: false, announced: None, read: 0, ended: false }
    }

    /// The next so many bytes; `Ok(None)` where the input ends before the last of them.
    fn bytes(&mut self, length: usize) -> io::Result<Option<Bytes>> {
        let mut bytes = vec![0; length];
        match self.input.read_exact(&mut bytes) {
            Ok(()) => Ok(Some(Bytes::from(bytes))),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn next(&mut self) -> io::Result<Result<Option<Record>, Bad>> {
        let short = Err(Bad::Frame(FrameError::Short { record: self.read }));
        if !self.begun {
            let Some(mut header) = self.bytes(HEADER_BYTES)? else {
                return Ok(Err(FrameError::NoHeader.into()));
            };
            match read_header(&mut header, Kind::Operations) {
                Ok(announced) => self.announced = announced,
                Err(error) => return Ok(Err(error.into())),
            }
            self.begun = true;
        }
        if self.announced == Some(self.read) {
            return self.end();
        }
        let Some(mut record) = self.bytes(RECORD_BYTES)? else { return Ok(short) };
        let mut next = read_operation(&mut record, self.read, self.max_value_bytes);
        if let Ok(Next::Needs(more)) = next {
            let Some(value) = self.bytes(more)? else { return Ok(short) };
            let mut whole = Bytes::from([record, value].concat());
            next = read_operation(&mut whole, self.read, self.max_value_bytes);
        }
        match next {
            Ok(Next::End) if self.announced.is_none() => self.end(),
            Ok(Next::End) => Ok(Err(FrameError::Tag { record: self.read, tag: 0 }.into())),
            Ok(Next::Needs(_)) => Ok(short),
            Ok(Next::Operation(Operation { op: Op::Put { key, value }, expected: None })) => {
                self.read += 1;
                Ok(Ok(Some(Record { line: self.read, key, value: value.into() })))
            }
            Ok(Next::Operation(_)) => Ok(Err(Bad::NotPut)),
            Err(error) => Ok(Err(error.into())),
        }
    }

    /// The frame has ended: so must the input.
    fn end(&mut self) -> io::Result<Result<Option<Record>, Bad>> {
        let trailing = !self.input.fill_buf()?.is_empty();
        Ok(if trailing { Err(FrameError::Trailing { records: self.read }.into()) } else { Ok(None) })
    }
}

#[derive(Debug, thiserror::Error)]
enum Bad {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("a load takes puts without conditions only")]
    NotPut,
}

impl<R: BufRead> Records for BinaryRecords<R> {
    fn next_record(&mut self) -> io::Result<Option<Result<Record, BadLine>>> {
        if self.ended {
            return Ok(None);
        }
        let next = self.next()?;
        // Behind a bad record nobody knows where the next one begins.
        self.ended = !matches!(next, Ok(Some(_)));
        let line = self.read + 1;
        Ok(next.map_err(|bad| BadLine { line, reason: bad.to_string() }).transpose())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{write_end, write_entry, write_header};

    fn all(bytes: &[u8]) -> Vec<Result<Record, BadLine>> {
        let mut records = BinaryRecords::new(bytes, 10);
        std::iter::from_fn(|| records.next_record().unwrap()).collect()
    }

    /// A put and an entry of a scan differ in nothing here: tag 1, length, key, zero.
    fn frame(records: Option<u64>, puts: &[(u64, &[u8])]) -> Vec<u8> {
        let mut out = Vec::new();
        write_header(&mut out, Kind::Operations, records);
        for (key, value) in puts {
            write_entry(&mut out, *key, 0, Some(value));
        }
        if records.is_none() {
            write_end(&mut out, None);
        }
        out
    }

    #[test]
    fn records_come_one_by_one() {
        for records in [Some(2), None] {
            let found = all(&frame(records, &[(7, b"seven"), (8, b"")]));
            assert_eq!(found[0], Ok(Record { line: 1, key: 7, value: b"seven".to_vec() }));
            assert_eq!(found[1], Ok(Record { line: 2, key: 8, value: Vec::new() }));
            assert_eq!(found.len(), 2);
        }
    }

    #[test]
    fn what_is_cut_or_too_long_ends_with_a_bad_record() {
        let whole = frame(None, &[(7, b"seven")]);
        for end in 0..whole.len() {
            assert!(all(&whole[..end]).last().is_some_and(Result::is_err), "{end}");
        }
        let mut longer = whole.clone();
        longer.push(0);
        assert!(all(&longer)[1].as_ref().is_err_and(|bad| bad.reason.contains("more bytes")));
        assert!(
            all(&frame(Some(1), &[(7, b"eleven bytes")]))[0]
                .as_ref()
                .is_err_and(|bad| bad.reason.contains("limit"))
        );
        assert!(all(&frame(Some(3), &[(7, b"x")]))[1].is_err());
    }
}
