//! Named fields of a JSON object or a query string, checked: nothing missing, nothing twice, nothing unknown.
//!
//! An unknown field is refused rather than ignored: a client that misspells one, or sends a condition that this
//! version does not know, must not be told that its write was done as asked.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserializer as _;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::decimal::{NotU64, parse_u64};
use crate::problem::{Code, Problem};

/// Why fields could not be read. The text names the field, never its content.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FieldError {
    #[error("there is nothing; a JSON object is needed")]
    Empty,
    #[error("not a JSON object: {reason}")]
    InvalidJson { reason: String },
    #[error("`{field}` is missing")]
    Missing { field: &'static str },
    #[error("`{field}` {reason}")]
    Invalid { field: Cow<'static, str>, reason: String },
    #[error("`{field}` is given more than once")]
    Duplicate { field: String },
    #[error("`{field}` is not a field here; there {}", known_text(.known))]
    Unknown { field: String, known: &'static [&'static str] },
}

fn known_text(known: &[&str]) -> String {
    match known {
        [] => "are none".to_owned(),
        [one] => format!("is `{one}`"),
        many => format!("are `{}`", many.join("`, `")),
    }
}

impl FieldError {
    pub(crate) fn invalid(field: &'static str, reason: impl Into<String>) -> Self {
        Self::Invalid { field: Cow::Borrowed(field), reason: reason.into() }
    }

    fn not_u64(field: &'static str, reason: NotU64) -> Self {
        Self::invalid(field, format!("must be an integer from 0 to 18446744073709551615, it {reason}"))
    }
}

impl From<FieldError> for Problem {
    fn from(error: FieldError) -> Self {
        let detail = error.to_string();
        let (code, field) = match error {
            FieldError::Empty => (Code::EmptyBody, None),
            FieldError::InvalidJson { .. } => (Code::InvalidJson, None),
            FieldError::Missing { field } => (Code::MissingField, Some(Cow::Borrowed(field))),
            FieldError::Invalid { field, .. } => (Code::InvalidField, Some(field)),
            FieldError::Duplicate { field } => (Code::DuplicateField, Some(Cow::Owned(field))),
            FieldError::Unknown { field, .. } => (Code::UnknownField, Some(Cow::Owned(field))),
        };
        Self { field, ..Self::new(code, detail) }
    }
}

/// A JSON object whose values are not read yet.
#[derive(Debug)]
pub(crate) struct Object<'a> {
    fields: Vec<(Cow<'a, str>, &'a RawValue)>,
}

impl<'a> Object<'a> {
    /// Reads one object whose fields are among `known`. Cost: one pass over the text, one small allocation.
    pub(crate) fn parse(text: &'a [u8], known: &'static [&'static str]) -> Result<Self, FieldError> {
        if text.iter().all(u8::is_ascii_whitespace) {
            return Err(FieldError::Empty);
        }
        let invalid = |error: &serde_json::Error| FieldError::InvalidJson { reason: error.to_string() };
        let mut reader = serde_json::Deserializer::from_slice(text);
        let fields = reader.deserialize_map(ObjectVisitor).map_err(|error| invalid(&error))?;
        reader.end().map_err(|error| invalid(&error))?;
        for (position, (name, _)) in fields.iter().enumerate() {
            if !known.contains(&name.as_ref()) {
                return Err(FieldError::Unknown { field: shortened(name), known });
            }
            if fields.iter().take(position).any(|(earlier, _)| earlier == name) {
                return Err(FieldError::Duplicate { field: shortened(name) });
            }
        }
        Ok(Self { fields })
    }

    /// The JSON text of a field.
    pub(crate) fn raw(&self, name: &'static str) -> Result<&'a str, FieldError> {
        self.get(name).ok_or(FieldError::Missing { field: name })
    }

    /// A string.
    pub(crate) fn text(&self, name: &'static str) -> Result<Cow<'a, str>, FieldError> {
        parse_string(name, self.raw(name)?)
    }

    /// `true` or `false`; absent counts as false.
    pub(crate) fn truth(&self, name: &'static str) -> Result<bool, FieldError> {
        match self.get(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(FieldError::invalid(name, "must be `true` or `false`")),
        }
    }

    /// Refuses fields that are known but make no sense here.
    pub(crate) fn refuse(&self, names: &[&'static str], reason: &'static str) -> Result<(), FieldError> {
        names
            .iter()
            .find(|name| self.get(name).is_some())
            .map_or(Ok(()), |name| Err(FieldError::invalid(name, reason)))
    }

    fn get(&self, name: &str) -> Option<&'a str> {
        self.fields.iter().find(|(field, _)| field == name).map(|(_, raw)| raw.get())
    }

    /// A number or a string of decimal digits; `null` does not count as absent.
    pub(crate) fn u64(&self, name: &'static str) -> Result<u64, FieldError> {
        let raw = self.get(name).ok_or(FieldError::Missing { field: name })?;
        match raw.as_bytes().first() {
            Some(b'"') => {
                let text: Cow<'_, str> = parse_string(name, raw)?;
                parse_u64(&text).map_err(|reason| FieldError::not_u64(name, reason))
            }
            Some(b'0'..=b'9' | b'-') => parse_u64(raw).map_err(|reason| FieldError::not_u64(name, reason)),
            _ => Err(FieldError::invalid(
                name,
                format!("must be an integer from 0 to 18446744073709551615, it is {}", type_of(raw)),
            )),
        }
    }

    /// As [`Object::u64`], where an absent field and `null` are both `None`.
    pub(crate) fn optional_u64(&self, name: &'static str) -> Result<Option<u64>, FieldError> {
        match self.get(name) {
            None | Some("null") => Ok(None),
            Some(_) => self.u64(name).map(Some),
        }
    }

    /// The bytes given either as text (`plain`) or as standard base64 (`encoded`): exactly one of the two.
    pub(crate) fn bytes(
        &self,
        plain: &'static str,
        encoded: &'static str,
    ) -> Result<Cow<'a, [u8]>, FieldError> {
        match (self.get(plain), self.get(encoded)) {
            (Some(_), Some(_)) => Err(FieldError::invalid(
                encoded,
                format!("cannot stand beside `{plain}`; give one of the two"),
            )),
            (None, None) => Err(FieldError::Missing { field: plain }),
            (Some(raw), None) => Ok(match parse_string(plain, raw)? {
                Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
                Cow::Owned(text) => Cow::Owned(text.into_bytes()),
            }),
            (None, Some(raw)) => {
                let text = parse_string(encoded, raw)?;
                let bytes = BASE64.decode(text.as_bytes());
                Ok(Cow::Owned(bytes.map_err(|_| {
                    FieldError::invalid(encoded, "must be standard base64 with padding (RFC 4648, section 4)")
                })?))
            }
        }
    }
}

/// The items of a JSON array, not read yet.
pub(crate) fn array(text: &[u8]) -> Result<Vec<&RawValue>, FieldError> {
    if text.iter().all(u8::is_ascii_whitespace) {
        return Err(FieldError::Empty);
    }
    serde_json::from_slice(text).map_err(|error| FieldError::InvalidJson { reason: error.to_string() })
}

fn parse_string<'a>(name: &'static str, raw: &'a str) -> Result<Cow<'a, str>, FieldError> {
    if !raw.starts_with('"') {
        return Err(FieldError::invalid(name, format!("must be a string, it is {}", type_of(raw))));
    }
    let inner = raw.get(1..raw.len() - 1).unwrap_or_default();
    if !inner.contains('\\') {
        return Ok(Cow::Borrowed(inner)); // the raw text was validated when the object was read
    }
    let text: Result<String, _> = serde_json::from_str(raw);
    text.map(Cow::Owned).map_err(|_| FieldError::invalid(name, "holds an escape that is not Unicode text"))
}

fn type_of(raw: &str) -> &'static str {
    match raw.as_bytes().first() {
        Some(b'"') => "a string",
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}

/// A name as a message can carry it: long and control characters do not come back to the client.
fn shortened(name: &str) -> String {
    let mut text: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
    if text.len() < name.len() {
        text.push('…');
    }
    text
}

struct ObjectVisitor;

impl<'de> Visitor<'de> for ObjectVisitor {
    type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        /// More fields than any request has are refused before they are collected.
        const FIELDS_MAX: usize = 64;
        let mut fields = Vec::with_capacity(2);
        while let Some(Name(name)) = map.next_key::<Name<'de>>()? {
            if fields.len() == FIELDS_MAX {
                return Err(serde::de::Error::custom("more than 64 fields"));
            }
            fields.push((name, map.next_value::<&'de RawValue>()?));
        }
        Ok(fields)
    }
}

/// A field name, borrowed where it holds no escape.
struct Name<'a>(Cow<'a, str>);

impl<'de> serde::Deserialize<'de> for Name<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;
        impl<'de> Visitor<'de> for NameVisitor {
            type Value = Name<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a field name")
            }
            fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Borrowed(name)))
            }
            fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Owned(name.to_owned())))
            }
        }
        deserializer.deserialize_str(NameVisitor)
    }
}

/// The parameters of a query string.
#[derive(Debug)]
pub(crate) struct Query<'a> {
    fields: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl<'a> Query<'a> {
    /// Reads `a=1&b=2`, percent-decoded, whose names are among `known`.
    pub(crate) fn parse(query: Option<&'a str>, known: &'static [&'static str]) -> Result<Self, FieldError> {
        let mut fields: Vec<(Cow<'a, str>, Cow<'a, str>)> = Vec::new();
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = percent_decode(name);
            if !known.contains(&name.as_ref()) {
                return Err(FieldError::Unknown { field: shortened(&name), known });
            }
            if fields.iter().any(|(earlier, _)| *earlier == name) {
                return Err(FieldError::Duplicate { field: shortened(&name) });
            }
            fields.push((name, percent_decode(value)));
        }
        Ok(Self { fields })
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_ref())
    }

    pub(crate) fn u64(&self, name: &'static str) -> Result<u64, FieldError> {
        self.optional_u64(name)?.ok_or(FieldError::Missing { field: name })
    }

    pub(crate) fn optional_u64(&self, name: &'static str) -> Result<Option<u64>, FieldError> {
        let parse = |text| parse_u64(text).map_err(|reason| FieldError::not_u64(name, reason));
        self.get(name).map(parse).transpose()
    }

    /// `true` or `false`.
    pub(crate) fn truth(&self, name: &'static str) -> Result<Option<bool>, FieldError> {
        match self.get(name) {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(_) => Err(FieldError::invalid(name, "must be `true` or `false`")),
        }
    }

    /// `?keys=string` writes keys as JSON strings, for readers whose numbers end at 2^53; `number` is the default.
    pub(crate) fn keys_as_strings(&self) -> Result<bool, FieldError> {
        match self.get("keys") {
            None | Some("number") => Ok(false),
            Some("string") => Ok(true),
            Some(_) => Err(FieldError::invalid("keys", "must be `number` or `string`")),
        }
    }
}

/// A number in the path, such as the `7` of `/v1/get_fast/7`.
pub(crate) fn path_number(field: &'static str, segment: &str) -> Result<u64, FieldError> {
    parse_u64(segment).map_err(|reason| FieldError::not_u64(field, reason))
}

/// Undoes `%41` and `+`. A sequence that is not UTF-8, or not a whole escape, stays as it is: no name or number
/// matches it.
fn percent_decode(text: &str) -> Cow<'_, str> {
    if !text.bytes().any(|byte| byte == b'%' || byte == b'+') {
        return Cow::Borrowed(text);
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        match (first, tail) {
            (b'%', [high, low, after @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                decoded.push((hex(*high) << 4) | hex(*low));
                rest = after;
            }
            (b'+', _) => decoded.push(b' '),
            _ => decoded.push(*first),
        }
    }
    String::from_utf8(decoded).map_or(Cow::Borrowed(text), Cow::Owned)
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit - b'A' + 10,
    }
}

#[cfg(test)]
mod tests;
