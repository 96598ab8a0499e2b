//! What there is of a damaged directory: its manifest or what stands for it, its runs, its log.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use kyro_wal::inspect;
use kyro_wal::storage::{LockError, LockGuard, Storage};

use super::error::RepairError;
use super::log::{Expectation, Plan};
use super::merge::united;
use super::report::{LostEntries, LostOffsets, RepairReport};
use super::runs::RunFile;
use super::segment::Segment;
use crate::batch::Switch;
use crate::error::OpenError;
use crate::manifest::{FILE_NAME, Manifest, ManifestFile};
use crate::options::Options;
use crate::range_tombstones::{RangeEntry, RangeTombstones};
use crate::run_files::{index_path, run_path};
use crate::shared::{ProgressMeter, RUNS_DIR, WAL_DIR};

/// Epochs tried for a segment whose header is damaged.
const EPOCHS_TRIED: u64 = 256;

/// Everything that was found.
#[derive(Debug)]
pub(super) struct Source {
    _lock: Option<Box<dyn LockGuard>>,
    pub(super) manifest: Option<Manifest>,
    /// Newest first.
    pub(super) runs: Vec<RunFile>,
    /// Oldest first.
    pub(super) segments: Vec<Segment>,
    /// The largest epoch that was found.
    pub(super) epoch: u64,
    /// Below this offset the runs have the outcome of every operation.
    pub(super) replay_from: u64,
    /// Whether there was a run, as the numbers of the others tell, that was merged or is missing; which of them, only
    /// a manifest says.
    is_run_missing: bool,
}

/// Refuses a target that holds something or lies in the source.
pub(super) fn check_target(storage: &dyn Storage, dir: &Path, into: &Path) -> Result<(), RepairError> {
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    if absolute(into).starts_with(absolute(dir)) {
        return Err(RepairError::TargetInside { dir: dir.to_owned(), into: into.to_owned() });
    }
    match storage.list(into) {
        Ok(names) if names.is_empty() => Ok(()),
        Ok(_) => Err(RepairError::TargetNotEmpty { dir: into.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(RepairError::io("list", into)(error)),
    }
}

impl Source {
    /// Locks the directory and reads what is there.
    pub(super) fn read(
        storage: &dyn Storage,
        dir: &Path,
        options: &Options,
        report: &mut RepairReport,
    ) -> Result<Self, RepairError> {
        let names = storage.list(dir).map_err(RepairError::io("list", dir))?;
        if ![FILE_NAME, WAL_DIR, RUNS_DIR].iter().any(|ours| names.iter().any(|name| name == ours)) {
            return Err(RepairError::NotADatabase { dir: dir.to_owned() });
        }
        let lock = lock(storage, dir)?;
        report.locked = lock.is_some();
        let manifest = manifest(storage, dir, report)?;
        let (runs_dir, wal_dir) = (dir.join(RUNS_DIR), dir.join(WAL_DIR));
        let paths = inspect::segments(storage, &wal_dir).unwrap_or_default();
        let mut meter = ProgressMeter::new(options, "read runs", "bytes");
        let mut progress = |done, total| meter.at(done, Some(total));
        let mut runs = Vec::new();
        match &manifest {
            Some(manifest) => {
                let in_force = named_runs(storage, dir, manifest, report, &mut progress)?;
                runs.extend(in_force.into_iter().map(|run| (0, run)));
            }
            None => {
                for (number, path) in run_files(storage, &runs_dir) {
                    runs.push((number, RunFile::open(storage, path, None, report, &mut progress)?));
                }
            }
        }
        let facts: Vec<_> =
            paths.iter().filter_map(|path| inspect::segment_facts(storage, path).ok()).collect();
        let uuid = manifest.as_ref().map(|manifest| manifest.uuid.0);
        let of_segments = facts.iter().map(|facts| facts.uuid);
        let of_runs =
            runs.iter().filter_map(|(_, run)| run.opened.as_ref().map(|opened| opened.run.info().database));
        // A run may have come from elsewhere, a segment never did.
        let uuid = uuid.or_else(|| most_frequent(of_segments)).or_else(|| most_frequent(of_runs));
        let Some(uuid) = uuid else { return Err(RepairError::NothingLeft { dir: dir.to_owned() }) };
        let numbers: BTreeSet<u64> = runs.iter().map(|(number, _)| *number).collect();
        let is_run_missing =
            manifest.is_none() && numbers.last().is_some_and(|&newest| numbers.len() as u64 != newest);
        if manifest.is_none() {
            refuse_pushed(dir, &runs, uuid)?;
            keep_in_force(&mut runs, report);
        }
        let runs: Vec<RunFile> = runs.into_iter().map(|(_, run)| run).collect();
        note_unnamed(storage, &runs_dir, manifest.as_ref(), report);

        let of_runs = runs.iter().filter_map(|run| run.opened.as_ref().map(|opened| opened.run.info().epoch));
        let epochs = facts.iter().map(|facts| facts.epoch).chain(of_runs);
        let epoch = epochs.chain(manifest.as_ref().map(|manifest| manifest.epoch)).max().unwrap_or(0);
        let epochs = (epoch + 2).saturating_sub(EPOCHS_TRIED).max(1)..=epoch + 2;
        let segments = segments(storage, &paths, uuid, &epochs, options, report)?;
        let after_runs = after(&runs);
        let replay_from = manifest.as_ref().map_or(after_runs, |manifest| manifest.wal.replay_from);
        Ok(Self { _lock: lock, manifest, runs, segments, epoch, replay_from, is_run_missing })
    }

    /// The content is that of the last switch in the log, where there is one behind what the runs hold: its runs take
    /// the place of those that the manifest names.
    pub(super) fn with_switches(
        mut self,
        storage: &dyn Storage,
        dir: &Path,
        plan: &Plan,
        report: &mut RepairReport,
    ) -> Result<Self, RepairError> {
        let Some(manifest) = &mut self.manifest else { return Ok(self) };
        let mut is_switched = false;
        for (segment, frames) in self.segments.iter().zip(&plan.frames) {
            let walked = segment.frames(storage, &mut |facts, payload| {
                let is_new = frames.contains(&facts.at) && facts.first_offset >= self.replay_from;
                if let Some(switch) = is_new.then(|| Switch::from_payload(&Bytes::copy_from_slice(payload))) {
                    let switch = switch.filter(|switch| manifest.switch(switch.version, facts.first_offset));
                    is_switched |= switch.is_some();
                }
            });
            walked.map_err(|error| RepairError::Log(Box::new(error)))?;
        }
        if is_switched {
            self.replay_from = manifest.wal.replay_from;
            self.runs = named_runs(storage, dir, manifest, report, &mut |_, _| {})?;
        }
        Ok(self)
    }

    /// Operations below this offset were on another version of the content.
    pub(super) fn since(&self) -> u64 {
        self.manifest.as_ref().map_or(0, |manifest| manifest.versions.since())
    }

    pub(super) fn expectation(&self, dir: &Path) -> Expectation<'_> {
        Expectation {
            wal_dir: dir.join(WAL_DIR),
            manifest: self.manifest.as_ref(),
            after_runs: after(&self.runs),
        }
    }

    /// Finds between which offsets each run's entries lie, and reports what the runs lost and the log has not got.
    pub(super) fn with_bounds(mut self, plan: &Plan, dir: &Path, report: &mut RepairReport) -> Self {
        let known: Vec<_> = self.runs.iter().map(RunFile::known_offsets).collect();
        let end = if self.manifest.is_some() { self.replay_from } else { plan.next_offset };
        for (index, run) in self.runs.iter_mut().enumerate() {
            let newer = known[..index].iter().flatten().map(|&(least, _)| least);
            let older = known[index + 1..].iter().flatten().map(|&(_, most)| most + 1);
            let sure = run.opened.as_ref().and_then(|opened| opened.offsets.clone());
            let (low, below) = (older.max().unwrap_or(0), newer.chain([end]).min().unwrap_or(end));
            // Without a manifest nothing says where among the others one belongs that cannot be read.
            let anywhere = self.manifest.is_none() && run.opened.is_none();
            let (low, below) = if anywhere { (0, end) } else { (low, below) };
            run.offsets = sure.unwrap_or(low..=below.saturating_sub(1));
            run.report_lost(plan, report);
        }
        self.report_missing_runs(plan, dir, report);
        report.lost_range_deletes = self.lost_range_deletes(plan);
        self
    }

    /// Offsets of operations that are in no file. A range delete among them may be missing: in the manifest where that
    /// is lost, or, where a run lost entries that the log still has, since it was dropped with what it covered in there.
    fn lost_range_deletes(&self, plan: &Plan) -> Vec<RangeInclusive<u64>> {
        let mut from = u64::MAX;
        for run in &self.runs {
            let (first, last) = (*run.offsets.start(), *run.offsets.end());
            let is_filled = (run.opened.is_none() || !run.gaps.is_empty())
                && plan.uncovered(first, last.saturating_add(1)) != [(first, last.saturating_add(1))];
            // What is older than the last entry of a run has been applied to it when it was written.
            if let Some((_, last)) = run.known_offsets().filter(|_| self.manifest.is_none()) {
                from = from.min(last + 1);
            }
            if is_filled {
                from = from.min(last.saturating_add(1));
            }
        }
        let missing = plan.uncovered(from, self.replay_from.max(from));
        missing.into_iter().map(|(first, next)| first..=next - 1).collect()
    }

    /// Offsets, from and below, that a run had which is missing, or which were overwritten and merged away: those before
    /// and between the runs that are there.
    pub(super) fn of_missing_runs(&self) -> Vec<(u64, u64)> {
        let mut known: Vec<_> = self.runs.iter().filter_map(RunFile::known_offsets).collect();
        known.sort_unstable();
        known.retain(|_| self.is_run_missing);
        let mut first = 0;
        let mut missing = Vec::new();
        for (least, most) in known {
            if first < least {
                missing.push((first, least));
            }
            first = first.max(most + 1);
        }
        missing
    }

    fn report_missing_runs(&self, plan: &Plan, dir: &Path, report: &mut RepairReport) {
        let missing = self.of_missing_runs();
        let missing = missing.iter().flat_map(|&(first, next)| plan.uncovered(first, next));
        report.lost_offsets.extend(missing.map(|(first, next)| LostOffsets {
            first,
            last: Some(next - 1),
            file: dir.join(RUNS_DIR),
            why: "no run and no log segment that is there holds them: they were overwritten and merged away, or a run \
                  is missing"
                .to_owned(),
            in_runs: false,
        }));
    }

    /// Keys for which a run may have lost its entry.
    pub(super) fn lost_places(&self) -> Vec<RangeInclusive<u64>> {
        let gone = self.runs.iter().filter(|run| run.opened.is_none()).map(|_| 0..=u64::MAX);
        let gaps = self.runs.iter().flat_map(|run| run.gaps.iter().map(|gap| gap.keys.clone()));
        united(gone.chain(gaps).collect())
    }
}

/// The runs that a manifest names, with the deleted ranges that apply to each.
fn named_runs(
    storage: &dyn Storage,
    dir: &Path,
    manifest: &Manifest,
    report: &mut RepairReport,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Vec<RunFile>, RepairError> {
    let mut runs = Vec::with_capacity(manifest.runs.len());
    for entry in &manifest.runs {
        let path = run_path(&dir.join(RUNS_DIR), entry.number);
        let mut run = RunFile::open(storage, path, Some(entry), report, progress)?;
        let ranges = manifest.ranges.iter().filter(|range| range.runs.contains(&entry.number));
        run.ranges = RangeTombstones::new(ranges.map(RangeEntry::tombstone));
        runs.push(run);
    }
    Ok(runs)
}

impl RunFile {
    fn report_lost(&self, plan: &Plan, report: &mut RepairReport) {
        let (first, last) = (*self.offsets.start(), *self.offsets.end());
        let is_common = self.opened.as_ref().is_some_and(|opened| opened.common_offset.is_some());
        // The log has the operation that brought such a run, and not its entries.
        let missing =
            if is_common { vec![(first, last + 1)] } else { plan.uncovered(first, last.saturating_add(1)) };
        if self.opened.is_none() && self.entries != Some(0) {
            let entries =
                self.entries.map_or(String::new(), |entries| format!(" with its {entries} entries"));
            report.lost_offsets.extend(missing.iter().map(|&(first, next)| LostOffsets {
                first,
                last: Some(next - 1),
                file: self.path.clone(),
                why: format!("the run{entries} cannot be read; only some of these offsets were in it"),
                in_runs: false,
            }));
        }
        for gap in &self.gaps {
            let offsets: Vec<u64> =
                gap.offsets.iter().copied().filter(|&offset| !plan.covers(offset)).collect();
            let others = gap.unknown > 0 && !missing.is_empty();
            if !offsets.is_empty() || others {
                report.lost_entries.push(LostEntries {
                    file: self.path.clone(),
                    positions: gap.positions.start as u64..gap.positions.end as u64,
                    keys: gap.keys.clone(),
                    offsets,
                    other_offsets: others.then(|| self.offsets.clone()),
                });
            }
        }
    }
}

fn lock(storage: &dyn Storage, dir: &Path) -> Result<Option<Box<dyn LockGuard>>, RepairError> {
    match storage.lock(&dir.join("LOCK")) {
        Ok(guard) => Ok(Some(guard)),
        Err(LockError::Held { pid }) => Err(RepairError::Locked { dir: dir.to_owned(), pid }),
        // A file system that cannot be written: nobody else writes there either.
        Err(_) => Ok(None),
    }
}

fn manifest(
    storage: &dyn Storage,
    dir: &Path,
    report: &mut RepairReport,
) -> Result<Option<Manifest>, RepairError> {
    let path = dir.join(FILE_NAME);
    let headers = "which files belong to the database is taken from their headers";
    match ManifestFile::read(storage, dir) {
        Ok(Some(manifest)) => return Ok(Some(manifest)),
        Ok(None) => report.note(path, None, format!("it is missing; {headers}")),
        Err(OpenError::NewerFormat { file, found, .. }) => {
            return Err(RepairError::NewerFormat { file, what: format!("manifest format {found}") });
        }
        Err(OpenError::Corrupt { reason, .. }) => report.note(path, Some(0), format!("{reason}; {headers}")),
        Err(error) => report.note(path, None, format!("{}; {headers}", crate::describe(&error))),
    }
    Ok(None)
}

/// The run files of a directory with their numbers.
fn run_files(storage: &dyn Storage, runs_dir: &Path) -> Vec<(u64, PathBuf)> {
    let names = storage.list(runs_dir).unwrap_or_default();
    let numbered = names.iter().filter_map(|name| {
        let number = u64::from_str_radix(name.strip_suffix(".run")?, 16).ok()?;
        Some((number, runs_dir.join(name)))
    });
    numbered.collect()
}

/// Without a manifest: runs of other databases were pushed or added, and where they stand among the others only it says.
/// To leave them out would give the content before the push with the writes after it on top.
fn refuse_pushed(dir: &Path, runs: &[(u64, RunFile)], uuid: [u8; 16]) -> Result<(), RepairError> {
    let is_foreign = |run: &RunFile| {
        let database = run.opened.as_ref().map(|opened| opened.run.info().database);
        database.is_some_and(|database| database != uuid && database != [0; 16])
    };
    let pushed: Vec<PathBuf> =
        runs.iter().filter(|(_, run)| is_foreign(run)).map(|(_, run)| run.path.clone()).collect();
    if pushed.is_empty() {
        return Ok(());
    }
    Err(RepairError::PushedRuns { dir: dir.to_owned(), runs: pushed })
}

/// Without a manifest: leaves out those that a later merge has replaced, and puts the rest
/// in order. A run that shares offsets with one of a higher number went into it.
fn keep_in_force(runs: &mut Vec<(u64, RunFile)>, report: &mut RepairReport) {
    let whole = |run: &RunFile| {
        run.opened.as_ref().filter(|opened| opened.is_whole).and_then(|opened| opened.offsets.clone())
    };
    let merged: Vec<_> = runs.iter().filter_map(|(number, run)| Some((*number, whole(run)?))).collect();
    runs.retain(|(number, run)| {
        let replaced = whole(run).is_some_and(|offsets| {
            merged.iter().any(|(later, other)| {
                later > number && other.start() <= offsets.end() && offsets.start() <= other.end()
            })
        });
        if replaced {
            report.ignored.push(run.path.clone());
        }
        !replaced
    });
    runs.sort_by_key(|(_, run)| std::cmp::Reverse(run.known_offsets().map_or(0, |(_, most)| most)));
}

/// Files beside the runs that no manifest names.
fn note_unnamed(
    storage: &dyn Storage,
    runs_dir: &Path,
    manifest: Option<&Manifest>,
    report: &mut RepairReport,
) {
    let Some(manifest) = manifest else { return };
    let named = |path: &PathBuf| {
        let mut files = manifest
            .runs
            .iter()
            .flat_map(|run| [run_path(runs_dir, run.number), index_path(runs_dir, run.number)]);
        files.any(|file| file == *path)
    };
    let files = storage.list(runs_dir).unwrap_or_default();
    report.ignored.extend(files.iter().map(|name| runs_dir.join(name)).filter(|path| !named(path)));
}

fn segments(
    storage: &dyn Storage,
    paths: &[PathBuf],
    uuid: [u8; 16],
    epochs: &RangeInclusive<u64>,
    options: &Options,
    report: &mut RepairReport,
) -> Result<Vec<Segment>, RepairError> {
    let mut meter = ProgressMeter::new(options, "read log", "segments");
    let mut segments: Vec<Segment> = Vec::new();
    for (index, path) in paths.iter().enumerate() {
        meter.at(index as u64, Some(paths.len() as u64));
        let Some(segment) = Segment::read(storage, path, uuid, epochs.clone(), report)? else { continue };
        // One that truncated the log says so: what it cut off is no part of it.
        if segment.facts.as_ref().is_some_and(|facts| facts.truncates)
            && let Some((number, _)) = segment.predecessor()
        {
            while let Some(cut) = segments.pop_if(|before| before.number > number) {
                report.ignored.push(cut.path);
            }
        }
        segments.push(segment);
    }
    Ok(segments)
}

fn most_frequent(uuids: impl Iterator<Item = [u8; 16]>) -> Option<[u8; 16]> {
    let mut votes = BTreeMap::new();
    uuids.filter(|uuid| *uuid != [0; 16]).for_each(|uuid| *votes.entry(uuid).or_insert(0) += 1);
    votes.into_iter().max_by_key(|&(_, votes)| votes).map(|(uuid, _)| uuid)
}

/// The offset after the largest in any run.
fn after(runs: &[RunFile]) -> u64 {
    let last = runs.iter().filter_map(RunFile::known_offsets).map(|(_, most)| most).max();
    last.map_or(0, |last| last + 1)
}
