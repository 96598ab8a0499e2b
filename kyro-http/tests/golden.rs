//! The binary frame of version 1, read by the tables of docs/http.md and by nothing of this crate: shown field by field,
//! written again byte for byte. The server's own reader and writer are held to the same file by the tests of `frame`.
//!
//! The golden file is never written again: other bytes are another version, with a media type and a file of its own.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::Write as _;
use std::path::PathBuf;

/// Reads fields from the front, shows them, and writes them again.
struct Dump<'a> {
    bytes: &'a [u8],
    at: usize,
    text: String,
    again: Vec<u8>,
}

impl<'a> Dump<'a> {
    fn field(&mut self, bytes: usize, what: &str) -> &'a [u8] {
        let field = &self.bytes[self.at..self.at + bytes];
        let hex: Vec<String> = field.iter().map(|byte| format!("{byte:02x}")).collect();
        writeln!(self.text, "{:>5}  {:<47}  {what}", self.at, hex.join(" ")).unwrap();
        self.at += bytes;
        field
    }

    fn number(&mut self, bytes: usize, what: &str) -> u64 {
        let number = self.field(bytes, what).iter().rev().fold(0, |sum, &byte| sum << 8 | u64::from(byte));
        self.again.extend_from_slice(&number.to_le_bytes()[..bytes]);
        number
    }

    fn zeros(&mut self, bytes: usize) {
        assert!(self.field(bytes, "zero").iter().all(|&byte| byte == 0));
        self.again.resize(self.again.len() + bytes, 0);
    }

    fn value(&mut self, bytes: u64) {
        if bytes > 0 {
            let value = self.field(usize::try_from(bytes).unwrap(), "value");
            self.again.extend_from_slice(value);
        }
    }

    /// One frame; gives its kind.
    fn frame(&mut self) -> u64 {
        assert_eq!(self.field(4, "magic, version 1"), b"KYF1");
        self.again.extend_from_slice(b"KYF1");
        let kind = self.number(1, "kind: 1 operations, 2 keys, 3 values, 4 entries");
        self.zeros(3);
        let records = self.number(8, "records; all ones: until an end record");
        let mut read = 0;
        while read < records {
            read += 1;
            match kind {
                2 => {
                    self.number(8, "key");
                }
                3 => {
                    let length = self.number(4, "length; all ones: no value");
                    self.value(if length == u64::from(u32::MAX) { 0 } else { length });
                }
                _ if self.record(kind) => {}
                _ => break,
            }
        }
        kind
    }

    /// An operation, an entry or the end; whether it was not the end.
    fn record(&mut self, kind: u64) -> bool {
        let tag = self.number(
            1,
            if kind == 1 { "1 put, 2 delete, 3 append; 0 end" } else { "1 with, 2 without a value; 0 end" },
        );
        if tag == 0 {
            self.number(1, "1: there is more");
            self.zeros(6);
            self.number(8, "the last key, where there is more");
            self.zeros(8);
            return false;
        }
        if kind == 1 {
            self.number(1, "condition: 0 none, 1 absent, 2 offset, 3 present");
            self.zeros(2);
        } else {
            self.zeros(3);
        }
        let length = self.number(4, "length of the value");
        self.number(8, "key");
        self.number(8, if kind == 1 { "expected offset" } else { "offset of the put" });
        self.value(length);
        true
    }
}

#[test]
fn version_1_field_by_field_and_written_again() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1-frames.kyf");
    let bytes = std::fs::read(path).unwrap();
    let mut dump = Dump { bytes: &bytes, at: 0, text: String::new(), again: Vec::new() };
    let mut kinds = Vec::new();
    while dump.at < bytes.len() {
        writeln!(dump.text, "== frame {}", kinds.len() + 1).unwrap();
        kinds.push(dump.frame());
    }
    assert_eq!(kinds, [1, 1, 2, 3, 4]);
    assert!(dump.again == bytes, "what was read is written again the same");
    insta::assert_snapshot!(dump.text);
}
