//! Salvaging a damaged data directory into a new one.
//!
//! Everything whose checksum holds is read: entries of runs block by block, frames of the log also behind damage. Of
//! the versions of a key the one with the highest offset counts, and a deletion is a version. What is lost is reported,
//! as keys where they can be named, as offsets or positions where not. Where the runs have the outcome of an operation,
//! the log is not asked again, unless just that place of a run is lost: a deletion that has been compacted away stays
//! one. A range delete, from the log or from the manifest's list, hides what is older of its keys. The manifest says which files belong to the database; without it, their own headers do.
//!
//! The source is only read; its lock is held meanwhile. Memory: a bounded part of the log, what the merge of the runs
//! needs for its columns, and what is lost.

mod error;
mod log;
mod merge;
mod output;
mod report;
mod runs;
mod segment;
mod source;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use kyro_snapshot::Compression;
use kyro_wal::storage::{RealStorage, Storage};

use crate::batch::{Operation, Operations, PayloadError};
use crate::options::{OnProgress, Options};
use crate::range_tombstones::{RangeEntry, RangeTombstone, RangeTombstones};
use crate::shared::ProgressMeter;
use crate::verify::verify_on;

pub use error::RepairError;
pub use report::{FileDamage, LostEntries, LostKey, LostOffsets, Renumbered, RepairReport, Unfinished};

use log::Plan;
use merge::{Candidate, Rules, Versions};
use output::{Output, Spill, Version};
use runs::Content;
use source::Source;

/// How a directory is repaired.
#[derive(Clone)]
#[non_exhaustive]
pub struct RepairOptions {
    /// Bytes of operations of the log that are kept in memory; what is more goes to temporary files in the new
    /// directory. Default 256 MiB.
    pub memory_bytes: usize,
    /// Size of the new log's segments in bytes. Default 16 MiB.
    pub wal_segment_bytes: u64,
    /// Whether the values of the new run are compressed: what the old runs were is not asked. Default: not compressed.
    pub compression: Compression,
    /// Called with the progress. Default: nobody.
    pub on_progress: Option<OnProgress>,
}

impl Default for RepairOptions {
    fn default() -> Self {
        Self {
            memory_bytes: 256 << 20,
            wal_segment_bytes: 16 << 20,
            compression: Compression::None,
            on_progress: None,
        }
    }
}

impl fmt::Debug for RepairOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RepairOptions")
            .field("memory_bytes", &self.memory_bytes)
            .field("wal_segment_bytes", &self.wal_segment_bytes)
            .field("compression", &self.compression)
            .finish_non_exhaustive()
    }
}

/// Salvages what can be read of the database in `dir` into `into`, which must not exist or be empty. The new database
/// is a different one (it has a UUID of its own), holds one run with its index, and keeps the history that the old log
/// held, events without key included, at the old offsets. It goes on above every offset that was ever given out.
///
/// Of versions, the content alone is salvaged; those that are kept beside it are among the files left out. Where the
/// manifest cannot be read and data sets were pushed or added, nothing is salvaged: see [`RepairError::PushedRuns`]. (A
/// data set that is a checkpoint of this very database cannot be told from its own runs.)
///
/// A directory with nothing wrong is copied: the new one holds the same data. Costs two reads of everything and one
/// write of what is live. Before it returns, the new directory has been verified.
///
/// # Errors
/// [`RepairError`]: there was nothing to salvage, or the file system refused. Damage is no error.
pub fn repair(
    dir: impl AsRef<Path>,
    into: impl AsRef<Path>,
    options: &RepairOptions,
) -> Result<RepairReport, RepairError> {
    let storage: Arc<dyn Storage> = Arc::new(RealStorage);
    repair_on(&storage, dir.as_ref(), into.as_ref(), options)
}

/// As [`repair`], on any storage.
///
/// # Errors
/// As [`repair`].
pub fn repair_on(
    storage: &Arc<dyn Storage>,
    dir: &Path,
    into: &Path,
    options: &RepairOptions,
) -> Result<RepairReport, RepairError> {
    let mut report =
        RepairReport { source: dir.to_owned(), into: into.to_owned(), ..RepairReport::default() };
    source::check_target(&**storage, dir, into)?;
    let settings = Options {
        on_progress: options.on_progress.clone(),
        wal_segment_bytes: options.wal_segment_bytes,
        compression: options.compression,
        ..Options::default()
    };
    let source = Source::read(&**storage, dir, &settings, &mut report)?;
    let plan = log::plan(&source.segments, &source.expectation(dir), &mut report);
    let source = source.with_switches(&**storage, dir, &plan, &mut report)?;
    let source = source.with_bounds(&plan, dir, &mut report);

    let mut output = Output::create(storage, into, source.epoch + 1, &settings)?;
    let collected = collect(&**storage, &source, &plan, &mut output, options, &mut report)?;
    let Collected { rest, spills, oldest_event, deleted } = collected;
    let kept = source.manifest.iter().flat_map(|manifest| &manifest.ranges).map(RangeEntry::tombstone);
    let mut deleted: Vec<RangeTombstone> = kept.chain(deleted).collect();
    deleted.sort_unstable_by_key(|range| range.offset);
    deleted.dedup();
    report.range_deletes = deleted.len() as u64;
    let ranges = RangeTombstones::new(deleted);
    let rules = Rules {
        runs: &source.runs,
        replay_from: source.replay_from,
        lost_places: source.lost_places(),
        of_missing_runs: source.of_missing_runs(),
        ranges: &ranges,
    };
    let mut sources: Vec<Box<dyn Iterator<Item = Candidate> + '_>> = Vec::new();
    for (index, run) in source.runs.iter().enumerate() {
        sources.push(Box::new(run.entries().map(move |(key, offset, content)| Candidate {
            key,
            offset,
            content,
            run: Some(index),
        })));
    }
    for spill in &spills {
        sources.push(Box::new(spill.versions()));
    }
    sources.push(Box::new(rest.into_iter().map(|(key, (offset, value))| Candidate {
        key,
        offset: Some(offset),
        content: value.map_or(Content::Deleted, Content::Value),
        run: None,
    })));
    let mut versions = Versions::new(sources);
    let mut next_offset = plan.next_offset;
    let mut meter = ProgressMeter::new(&settings, "repair", "keys");
    let run = output.write_run(&mut || {
        loop {
            let (key, candidates) = versions.next_key()?;
            let Some((offset, value)) = rules.resolve(key, candidates, &mut report) else { continue };
            report.keys += 1;
            report.value_bytes += value.len() as u64;
            if report.keys.is_multiple_of(4096) {
                meter.at(report.keys, None);
            }
            let offset = offset.unwrap_or_else(|| {
                report.renumbered.push(Renumbered { key, offset: next_offset });
                next_offset += 1;
                next_offset - 1
            });
            return Some((key, offset, value));
        }
    })?;
    drop(versions);
    output.finish(spills, run, next_offset, oldest_event)?;
    report.next_offset = next_offset;
    let verified = verify_on(storage, into, options.on_progress.clone());
    let verified = verified.map_err(|error| RepairError::Unverified(Box::new(error)))?;
    match verified.damage.into_iter().next() {
        Some(damage) => Err(RepairError::Unverified(Box::new(damage.error))),
        None => Ok(report),
    }
}

/// The operations of the log.
#[derive(Default)]
struct Collected {
    /// Those that stayed in memory.
    rest: BTreeMap<u64, Version>,
    spills: Vec<Spill>,
    oldest_event: Option<u64>,
    /// The ranges they deleted.
    deleted: Vec<RangeTombstone>,
}

/// Copies the frames that count into the new log, and collects what they did to keys.
fn collect(
    storage: &dyn Storage,
    source: &Source,
    plan: &Plan,
    output: &mut Output,
    options: &RepairOptions,
    report: &mut RepairReport,
) -> Result<Collected, RepairError> {
    let mut collected = Collected::default();
    let mut bytes = 0;
    for (segment, frames) in source.segments.iter().zip(&plan.frames) {
        let mut outcome = Ok(());
        let walked = segment.frames(storage, &mut |facts, payload| {
            if outcome.is_err() || !frames.contains(&facts.at) {
                return;
            }
            let operations = match read_frame(payload, facts.count) {
                Ok(operations) => operations,
                Err(PayloadError::NewerFormat { found }) => {
                    let what = format!("payload format {found}");
                    outcome = Err(RepairError::NewerFormat { file: segment.path.clone(), what });
                    return;
                }
                Err(error) => {
                    report.note(&*segment.path, Some(facts.at), error.to_string());
                    report.lost_offsets.push(LostOffsets {
                        first: facts.first_offset,
                        last: Some(facts.first_offset + u64::from(facts.count) - 1),
                        file: segment.path.clone(),
                        why: error.to_string(),
                        in_runs: false,
                    });
                    return;
                }
            };
            bytes += payload.len();
            report.operations += u64::from(facts.count);
            let since = source.since();
            for (operation, offset) in operations.into_iter().zip(facts.first_offset..) {
                let is_of_content = offset >= since;
                let (key, value) = match operation {
                    Operation::Switch(_) => continue,
                    Operation::Append { .. } => {
                        report.events += 1;
                        collected.oldest_event.get_or_insert(offset);
                        continue;
                    }
                    // It stays in the history, as what it did to a version that is not the content.
                    _ if !is_of_content => continue,
                    Operation::Put { key, value } => (key, Some(value)),
                    Operation::Delete { key } => (key, None),
                    Operation::DeleteRange { from, to } => {
                        collected.deleted.push(RangeTombstone { from, to, offset });
                        continue;
                    }
                };
                bytes += 64;
                collected.rest.insert(key, (offset, value));
            }
            outcome = output.copy_frame(facts.first_offset, facts.count, payload).and_then(|()| {
                if bytes < options.memory_bytes {
                    return Ok(());
                }
                bytes = 0;
                let spill = output.spill(collected.spills.len(), std::mem::take(&mut collected.rest))?;
                collected.spills.push(spill);
                Ok(())
            });
        });
        outcome?;
        if let Err(error) = walked {
            // It could be read a moment ago: the frames behind this place are in no file of the new directory.
            report.note(&*segment.path, None, crate::describe(&error));
            return Err(RepairError::Log(Box::new(error)));
        }
    }
    Ok(collected)
}

fn read_frame(payload: &[u8], count: u32) -> Result<Vec<Operation>, PayloadError> {
    let operations: Vec<Operation> =
        Operations::new(Bytes::copy_from_slice(payload))?.collect::<Result<_, _>>()?;
    if operations.len() as u64 == u64::from(count) {
        Ok(operations)
    } else {
        Err(PayloadError::Malformed { at: 0, reason: "its number of operations is not the frame's" })
    }
}
