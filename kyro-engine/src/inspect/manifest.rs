//! A manifest, as it says.

use std::io;

use kyro_wal::storage::Storage;

use super::{Fact, Inspection, Table};
use crate::manifest::{DecodeError, MANIFEST_FORMAT, MAX_BYTES, Manifest, RunEntry};
use crate::versions::{Kept, Name};

pub(super) const KIND: &str = "manifest";

pub(super) fn inspect(storage: &dyn Storage, inspection: &mut Inspection) -> io::Result<()> {
    if inspection.bytes > MAX_BYTES {
        inspection.damage.push(format!("it is longer than a manifest can be, {MAX_BYTES} bytes"));
        return Ok(());
    }
    let mut bytes = vec![0; inspection.bytes as usize];
    let read = storage.open_read(&inspection.file)?.read_at(&mut bytes, 0)?;
    bytes.truncate(read);
    match Manifest::decode(&bytes) {
        Ok(manifest) => show(&manifest, inspection),
        Err(DecodeError::Corrupt(reason)) => inspection.damage.push(reason),
        Err(DecodeError::NewerFormat(found)) => {
            let reason = format!("it has format version {found}, this build reads up to {MANIFEST_FORMAT}");
            inspection.damage.push(reason);
        }
    }
    Ok(())
}

fn show(manifest: &Manifest, inspection: &mut Inspection) {
    let (wal, clean) = (&manifest.wal, manifest.clean);
    inspection.tables.push(Table::fields(
        "manifest",
        [
            ("database", Fact::Uuid(manifest.uuid.0)),
            ("generation", manifest.generation.into()),
            ("epoch", manifest.epoch.into()),
            ("number of the next run", manifest.next_run.into()),
            ("log: oldest segment", wal.first_segment.into()),
            ("log: replayed from offset", wal.replay_from.into()),
            ("log: oldest event without a key", wal.oldest_event.into()),
            ("closed cleanly", if clean.is_some() { "yes" } else { "no" }.into()),
            ("closed: in segment", clean.map(|clean| clean.segment).into()),
            ("closed: at byte", clean.map(|clean| clean.end).into()),
            ("closed: next offset", clean.map(|clean| clean.next_offset).into()),
            (
                "closed: checksum of the last frame",
                clean.map_or(Fact::None, |clean| Fact::Checksum(clean.checksum)),
            ),
        ],
    ));
    let mut runs = Table::new("runs, newest first", &["number", "run", "entries", "bytes"]);
    for run in &manifest.runs {
        let row = || vec![run.number.into(), Fact::Uuid(run.uuid.0), run.entries.into(), run.bytes.into()];
        runs.push(usize::MAX, row);
    }
    inspection.tables.push(runs);
    if !manifest.ranges.is_empty() {
        inspection.tables.push(ranges(manifest));
    }
    if !manifest.versions.is_empty() {
        inspection.tables.push(versions(manifest));
    }
}

fn versions(manifest: &Manifest) -> Table {
    let columns = &["version", "label", "since offset", "state", "runs"];
    let mut table = Table::new("versions of the content", columns);
    let mut push = |name: &Name, state: &str, runs: &[RunEntry]| {
        let numbers: Vec<String> = runs.iter().map(|run| run.number.to_string()).collect();
        table.push(usize::MAX, || {
            let label = Fact::Text(name.label.clone());
            vec![name.id.into(), label, name.since.into(), state.into(), Fact::Text(numbers.join(", "))]
        });
    };
    push(&manifest.versions.current, "the content", &manifest.runs);
    for Kept { name, was_used, runs, .. } in &manifest.versions.kept {
        push(name, if *was_used { "kept" } else { "about to come" }, runs);
    }
    table
}

fn ranges(manifest: &Manifest) -> Table {
    let mut table = Table::new("deleted ranges", &["first key", "last key", "offset", "still hides in runs"]);
    for range in &manifest.ranges {
        let runs: Vec<String> = range.runs.iter().map(u64::to_string).collect();
        let row =
            || vec![range.from.into(), range.to.into(), range.offset.into(), Fact::Text(runs.join(", "))];
        table.push(usize::MAX, row);
    }
    table
}
