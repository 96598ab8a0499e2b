//! Data on stdout, everything else on stderr.

use std::fmt::Display;
use std::io::{self, Write};

use serde_json::Value;

use crate::exit::complain;
use crate::store::StoreError;

/// Writes a line of data, or a whole document of them.
pub(crate) fn line(text: impl Display) -> Result<(), StoreError> {
    writeln!(io::stdout().lock(), "{text}").map_err(StoreError::Output)
}

/// Writes bytes as they are.
pub(crate) fn bytes(bytes: &[u8]) -> Result<(), StoreError> {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(StoreError::Output)
}

/// Says something that is no data.
pub(crate) fn complain(text: &str) {
    complain!("kyro-http: {text}");
}

/// Says something that is no data, as it stands.
pub(crate) fn note(text: &str) {
    complain!("{text}");
}

/// Writes a document, as JSON or as lines for people.
pub(crate) fn document(document: &Value, as_json: bool) -> Result<(), StoreError> {
    if as_json { line(document) } else { line(fields(document)) }
}

/// A document as lines of `name  value`, with the names of what is nested joined by dots.
pub(crate) fn fields(document: &Value) -> String {
    let mut rows = Vec::new();
    flatten("", document, &mut rows);
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let lines: Vec<String> = rows.iter().map(|(name, value)| format!("{name:width$}  {value}")).collect();
    lines.join("\n")
}

fn flatten(name: &str, value: &Value, rows: &mut Vec<(String, String)>) {
    match value {
        Value::Object(members) => {
            for (member, value) in members {
                let name = if name.is_empty() { member.clone() } else { format!("{name}.{member}") };
                flatten(&name, value, rows);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            for (at, item) in items.iter().enumerate() {
                flatten(&format!("{name}.{at}"), item, rows);
            }
        }
        Value::String(text) => rows.push((name.to_owned(), text.clone())),
        Value::Null => rows.push((name.to_owned(), "-".to_owned())),
        other => rows.push((name.to_owned(), other.to_string())),
    }
}

/// A value as one line of text: what would end the line, or is no text, is escaped (`\n`, `\t`, `\\`, `\xHH`).
pub(crate) fn escaped(value: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(value.len());
    for chunk in value.utf8_chunks() {
        for letter in chunk.valid().chars() {
            match letter {
                '\\' => text.push_str("\\\\"),
                '\n' => text.push_str("\\n"),
                '\t' => text.push_str("\\t"),
                '\r' => text.push_str("\\r"),
                letter if letter.is_control() => text.extend(letter.escape_default()),
                letter => text.push(letter),
            }
        }
        for byte in chunk.invalid() {
            let _infallible = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_value_is_one_line() {
        assert_eq!(escaped("é\tb\n\\".as_bytes()), "é\\tb\\n\\\\");
        assert_eq!(escaped(b"a\xff\x00"), "a\\xff\\u{0}");
    }

    #[test]
    fn a_document_is_a_table() {
        let text = fields(&json!({"a": 1, "bb": {"c": "x", "d": null}, "e": [{"f": 2}], "g": [1, 2]}));
        assert_eq!(text, "a      1\nbb.c   x\nbb.d   -\ne.0.f  2\ng      [1,2]");
    }
}
