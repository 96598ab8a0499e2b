//! A run: sections, fields, and which of its blocks hold.

use std::io;

use kyro_snapshot::inspect::Value;
use kyro_snapshot::{Run, VALUE_BLOCK_BYTES};
use kyro_wal::storage::Storage;

use super::{Fact, InspectOptions, Inspection, Table};
use crate::run_files::map;

pub(super) const KIND: &str = "run";

pub(super) fn inspect(
    storage: &dyn Storage,
    options: &InspectOptions,
    inspection: &mut Inspection,
) -> io::Result<()> {
    let file = map(storage, &inspection.file)?;
    let facts = match kyro_snapshot::inspect::inspect(&file) {
        Ok(facts) => facts,
        Err(error) => {
            inspection.damage.push(error.to_string());
            return Ok(());
        }
    };
    let mut sections = Table::new("sections", &["byte", "bytes", "section"]);
    for section in &facts.sections {
        sections
            .push(usize::MAX, || vec![section.position.into(), section.bytes.into(), section.name.into()]);
    }
    let mut fields = Table::new("fields", &["byte", "bytes", "field", "value"]);
    for field in &facts.fields {
        let value = match &field.value {
            Value::Number(number) => (*number).into(),
            Value::Checksum(sum) => Fact::Checksum(*sum),
            Value::Uuid(uuid) => Fact::Uuid(*uuid),
            other => Fact::Text(other.to_string()),
        };
        fields.push(usize::MAX, || {
            vec![field.position.into(), (field.bytes as u64).into(), field.name.into(), value]
        });
    }
    inspection.tables.extend([sections, fields]);
    match Run::open(file) {
        Ok(run) => {
            blocks(&run, inspection);
            if options.items {
                inspection.tables.push(entries(&run, options.limit));
            }
        }
        Err(error) => inspection.damage.push(error.to_string()),
    }
    Ok(())
}

fn blocks(run: &Run<bytes::Bytes>, inspection: &mut Inspection) {
    let damaged = run.damaged_blocks(&mut |_, _| {});
    let (right, all) = run.verified_blocks();
    inspection
        .tables
        .push(Table::fields("blocks", [("blocks", all.into()), ("with their checksum", right.into())]));
    inspection.damage.extend(damaged.iter().map(ToString::to_string));
    if damaged.is_empty() {
        inspection.damage.extend(run.verify(&mut |_, _| {}).err().map(|error| error.to_string()));
    }
}

fn entries(run: &Run<bytes::Bytes>, limit: usize) -> Table {
    let mut table = Table::new("entries", &["position", "key", "offset", "value", "bytes"]);
    for index in 0..run.len().min(limit) {
        table.rows.push(vec![
            (index as u64).into(),
            run.key(index).map_or_else(|_| "damaged".into(), Fact::from),
            run.offset(index).map_or_else(|_| "damaged".into(), |(offset, _)| offset.into()),
            match run.value(index) {
                Ok(Some(range)) if run.is_compressed() => compressed_place(range.start).as_str().into(),
                Ok(Some(range)) => format!("at byte {}", range.start).as_str().into(),
                Ok(None) => "deleted".into(),
                Err(_) => "damaged".into(),
            },
            run.value(index).ok().flatten().map(|range| range.len() as u64).into(),
        ]);
    }
    table.total = run.len() as u64;
    table
}

/// Where a compressed value is.
fn compressed_place(at: usize) -> String {
    // Places count from the end of the header, as if nothing were compressed.
    format!("in value block {}", at.saturating_sub(4096) / VALUE_BLOCK_BYTES)
}
