//! Entries in the form of a file: NDJSON, CSV or the binary frame.

use std::io::{self, Write};

use csv::WriterBuilder;
use serde_json::{Map, Value};

use super::{DumpArgs, Target};
use crate::cli::Format;
use crate::frame::{Kind, write_end, write_header, write_put};
use crate::kv::write_bytes;

/// Writes entries.
pub(super) struct Sink {
    form: Form,
    entries: u64,
    value_bytes: u64,
    text: Vec<u8>,
}

enum Form {
    Ndjson(Target),
    Csv { out: Box<csv::Writer<Target>>, header: Vec<String>, members: Vec<String>, begun: bool },
    Binary { out: Target, begun: bool },
}

impl Sink {
    pub(super) fn new(out: Target, form: Format, arguments: &DumpArgs) -> Self {
        let form = match form {
            Format::Ndjson => Form::Ndjson(out),
            Format::Csv => {
                let members = arguments.columns.clone();
                let mut header = vec![arguments.key_column.clone()];
                if members.is_empty() {
                    header.push(arguments.value_column.clone());
                } else {
                    header.extend(members.iter().cloned());
                }
                Form::Csv {
                    out: Box::new(WriterBuilder::new().from_writer(out)),
                    header,
                    members,
                    begun: false,
                }
            }
            Format::Binary => Form::Binary { out, begun: false },
        };
        Self { form, entries: 0, value_bytes: 0, text: Vec::new() }
    }

    /// Writes one entry; `Ok(Err)` says why the form cannot hold it.
    pub(super) fn write(&mut self, key: u64, value: &[u8]) -> io::Result<Result<(), String>> {
        self.begin()?;
        self.text.clear();
        match &mut self.form {
            Form::Ndjson(out) => {
                write!(self.text, "{{\"key\":{key},")?;
                write_bytes(&mut self.text, "value", "value_base64", value);
                self.text.extend_from_slice(b"}\n");
                out.write_all(&self.text)?;
            }
            Form::Csv { out, members, .. } if members.is_empty() => {
                out.write_record([key.to_string().as_bytes(), value]).map_err(io::Error::from)?;
            }
            Form::Csv { out, members, .. } => {
                let Ok(object) = serde_json::from_slice::<Map<String, Value>>(value) else {
                    return Ok(Err("the value is no JSON object".to_owned()));
                };
                let cells = members.iter().map(|name| cell(object.get(name)));
                out.write_record([key.to_string()].into_iter().chain(cells)).map_err(io::Error::from)?;
            }
            Form::Binary { out, .. } => {
                write_put(&mut self.text, key, value);
                out.write_all(&self.text)?;
            }
        }
        self.entries += 1;
        self.value_bytes += value.len() as u64;
        Ok(Ok(()))
    }

    fn begin(&mut self) -> io::Result<()> {
        match &mut self.form {
            Form::Csv { out, header, begun, .. } if !*begun => {
                *begun = true;
                out.write_record(header).map_err(io::Error::from)
            }
            Form::Binary { out, begun } if !*begun => {
                *begun = true;
                let mut header = Vec::new();
                write_header(&mut header, Kind::Operations, None);
                out.write_all(&header)
            }
            _ => Ok(()),
        }
    }

    /// Entries written, and the bytes of their values.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.entries, self.value_bytes)
    }

    /// Writes what ends the form.
    pub(super) fn finish(mut self) -> io::Result<Target> {
        self.begin()?;
        match self.form {
            Form::Ndjson(out) => Ok(out),
            Form::Csv { out, .. } => out.into_inner().map_err(|error| io::Error::other(error.to_string())),
            Form::Binary { mut out, .. } => {
                let mut end = Vec::new();
                write_end(&mut end, None);
                out.write_all(&end)?;
                Ok(out)
            }
        }
    }
}

/// A member as the text of a cell: strings as they are, nothing for what is missing, JSON for the rest.
fn cell(member: Option<&Value>) -> String {
    match member {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}
