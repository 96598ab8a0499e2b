//! The one step: writers held, memory flushed, one operation logged, the list of runs replaced.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, bounded};
use kyro_wal::storage::Storage;

use super::stage::Staged;
use super::{Kept, MAX_LABEL_BYTES, PushReport, VersionError, VersionId};
use crate::batch::Switch;
use crate::engine::Engine;
use crate::error::{MaintenanceError, OpenError, WriteError};
use crate::indexed_run::IndexedRun;
use crate::maintenance::FlushTurn;
use crate::manifest::{Manifest, RunEntry};
use crate::options::Options;
use crate::queue::{Frozen, Request};
use crate::range_tombstones::{RangeEntry, RangeTombstones};
use crate::run_files::open_run;
use crate::shared::{RUNS_DIR, Shared};
use crate::sources::Sources;

/// Recent writes with which writers are held: what is more is flushed before, beside them.
const FEW_OPERATIONS: u64 = 10_000;

/// What the committer is to log and then to show.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) switch: Switch,
    runs: Vec<IndexedRun>,
    ranges: Vec<RangeEntry>,
    /// Whether the runs are new, and get the operation's offset.
    is_new: bool,
    pub(crate) reply: Sender<Result<u64, WriteError>>,
}

impl Change {
    /// The sources after the operation at `offset`. Their delta is empty.
    pub(crate) fn show(self, sources: &mut Sources, offset: u64) {
        let stamp = |run: IndexedRun| Arc::new(if self.is_new { run.at_offset(Some(offset)) } else { run });
        let runs = self.runs.into_iter().map(stamp);
        if self.switch.is_layer {
            sources.runs.splice(0..0, runs);
        } else {
            sources.runs = runs.collect();
            sources.ranges = Arc::new(RangeTombstones::new(self.ranges.iter().map(RangeEntry::tombstone)));
        }
        sources.since = offset + 1;
    }
}

impl Engine {
    pub(super) fn bring_in(
        &self,
        dir: &Path,
        label: &str,
        is_layer: bool,
    ) -> Result<PushReport, VersionError> {
        let shared = self.shared();
        if label.len() > MAX_LABEL_BYTES {
            return Err(VersionError::Label { bytes: label.len() });
        }
        let staged = Staged::bring(shared, dir)?;
        let (copied, entries) = (staged.copied, staged.entries());
        let _merging = shared.take_merge_turn()?;
        let flushing = shared.take_flush_turn()?;
        let mut id = 0;
        let named = shared.publish(
            None,
            |manifest| id = manifest.stage(label.to_owned(), is_layer, entries.clone()),
            |_| {},
        );
        if let Err(error) = named {
            if !shared.manifest.is_in_force() {
                // The disk may name them all the same: they stay until the directory is next opened.
                drop(staged.take());
            }
            return Err(error.into());
        }
        let switch = Switch { version: id, is_layer, label: Bytes::copy_from_slice(label.as_bytes()) };
        let switched = shared.switch(&flushing, switch, staged.take(), Vec::new(), true);
        let unknown = matches!(switched, Err(VersionError::Write(WriteError::CommitUnknown { .. })));
        if switched.is_err() && !unknown {
            // The operation is not in the log.
            let staged = shared.manifest.current().versions.kept.into_iter().find(|kept| kept.name.id == id);
            if let Some(staged) = staged {
                shared.drop_version(&staged).ok();
            }
        }
        let (offset, writers_waited) = switched?;
        let version = VersionId(shared.manifest.current().versions.current.id);
        // What the log held for the version before need not be kept.
        flushing.flush().ok();
        Ok(report(version, offset, &entries, copied, writers_waited))
    }

    pub(super) fn go_back(&self, id: VersionId) -> Result<PushReport, VersionError> {
        let shared = self.shared();
        let _merging = shared.take_merge_turn()?;
        let flushing = shared.take_flush_turn()?;
        let versions = shared.manifest.current().versions;
        if versions.current.id == id.0 {
            return Err(VersionError::IsCurrent { id });
        }
        let found = versions.kept.into_iter().find(|kept| kept.name.id == id.0 && kept.was_used);
        let Kept { name, runs: entries, ranges, .. } = found.ok_or(VersionError::NoSuchVersion { id })?;
        let mut runs = Vec::with_capacity(entries.len());
        for entry in &entries {
            let opened = open_run(&*shared.storage, &shared.runs_dir(), entry, &shared.options);
            runs.push(opened.map_err(VersionError::DataSet)?.0);
        }
        let switch = Switch { version: id.0, is_layer: false, label: Bytes::from(name.label) };
        let (offset, writers_waited) = shared.switch(&flushing, switch, runs, ranges, false)?;
        flushing.flush().ok();
        Ok(report(id, offset, &entries, 0, writers_waited))
    }
}

fn report(
    version: VersionId,
    offset: u64,
    runs: &[RunEntry],
    copied: u64,
    writers_waited: Duration,
) -> PushReport {
    let entries = runs.iter().map(|run| run.entries).sum();
    let bytes = runs.iter().map(|run| run.bytes).sum();
    PushReport { version, offset, entries, bytes, copied, writers_waited }
}

impl Shared {
    /// Makes runs that the manifest names the content. Gives the operation's offset, and how long writers were held.
    fn switch(
        &self,
        flushing: &FlushTurn<'_>,
        switch: Switch,
        runs: Vec<IndexedRun>,
        ranges: Vec<RangeEntry>,
        is_new: bool,
    ) -> Result<(u64, Duration), VersionError> {
        for _ in 0..3 {
            flushing.flush()?;
            if self.views.load().delta.operations() <= FEW_OPERATIONS {
                break;
            }
        }
        let start = Instant::now();
        let (go_on, held) = bounded::<Change>(1);
        let frozen = self.hold(held)?;
        flushing.flush_held(&frozen)?;
        // The log's operation is found by a recovery that starts right at it: the disk must say so before.
        self.manifest.update(|_| {}).map_err(|source| self.manifest_error(source))?;
        let (reply, answer) = bounded(1);
        let stopped = || WriteError::CommitUnknown { reason: "the committer stopped".into() };
        go_on.send(Change { switch, runs, ranges, is_new, reply }).map_err(|_| WriteError::Closed)?;
        let offset = answer.recv().unwrap_or_else(|_| Err(stopped()))?;
        Ok((offset, start.elapsed()))
    }

    /// Has the committer commit nothing until it gets a change or the other end goes. What was written is frozen.
    fn hold(&self, held: Receiver<Change>) -> Result<Frozen, MaintenanceError> {
        let (reply, answer) = bounded(1);
        if !self.queue.ask(Request::Hold(reply, held)) {
            return Err(MaintenanceError::Closed);
        }
        answer.recv().unwrap_or(Err(MaintenanceError::Closed))
    }
}

/// Runs as they were opened, and the indexes that had to be trained, to be written when everything has been read.
#[derive(Debug, Default)]
pub(crate) struct OpenedRuns {
    pub(crate) runs: Vec<Arc<IndexedRun>>,
    pub(crate) rebuilt: Vec<(u64, Vec<u8>)>,
}

impl OpenedRuns {
    /// Opens what a manifest names.
    pub(crate) fn open(
        storage: &dyn Storage,
        dir: &Path,
        manifest: &Manifest,
        options: &Options,
    ) -> Result<Self, OpenError> {
        let mut opened = Self { runs: Vec::with_capacity(manifest.runs.len()), rebuilt: Vec::new() };
        for entry in &manifest.runs {
            let (run, index) = open_run(storage, &dir.join(RUNS_DIR), entry, options)?;
            opened.rebuilt.extend(index.map(|bytes| (entry.number, bytes)));
            opened.runs.push(Arc::new(run));
        }
        Ok(opened)
    }
}

impl Manifest {
    /// What a recovery makes of a switch that it meets in the log, at `offset`: the manifest says the new content.
    ///
    /// # Errors
    /// Where that cannot be, in words.
    pub(crate) fn recover(&mut self, switch: &Switch, offset: u64, replayed: u64) -> Result<(), String> {
        let version = switch.version;
        if replayed > 0 {
            return Err(format!(
                "operation {offset} switches to version {version} with {replayed} writes before it in no run"
            ));
        }
        if self.switch(version, offset) {
            return Ok(());
        }
        Err(format!("operation {offset} switches to version {version}, which the manifest does not name"))
    }
}
