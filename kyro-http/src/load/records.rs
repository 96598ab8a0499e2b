//! One record of a file, and what a file gives.

use std::io;

/// A key and its value, and the line they came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) line: u64,
    pub(crate) key: u64,
    pub(crate) value: Vec<u8>,
}

impl Record {
    /// The record, if its value is not over the limit.
    pub(crate) fn within(self, max_value_bytes: u32) -> Result<Self, BadLine> {
        if self.value.len() as u64 > u64::from(max_value_bytes) {
            let reason = format!("the value is {} bytes, the limit is {max_value_bytes}", self.value.len());
            return Err(BadLine { line: self.line, reason });
        }
        Ok(self)
    }
}

/// A line that holds no record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BadLine {
    pub(crate) line: u64,
    pub(crate) reason: String,
}

/// Reads one record after the other. A bad line does not end the reading; an error does.
pub(crate) trait Records {
    fn next_record(&mut self) -> io::Result<Option<Result<Record, BadLine>>>;
}
