//! Versions of the whole content: a data set built elsewhere takes the place of everything in one step, and what was
//! there before is kept, to go back to.
//!
//! One version is the content; the others are kept beside it, each with the runs that were its own when it was left.
//! Which one it is, is changed by one operation of the log with an offset of its own, so that it is in one order with all
//! writes: they fall wholly before it or wholly after it. Before the operation is written, the manifest names the new
//! runs and says that everything below it is in runs; so a recovery that meets the operation in the log has nothing
//! in memory and need only change the list of runs. From the operation on, the manifest in memory says the new state, and
//! whatever is written next makes that durable.

mod stage;
mod switch;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::engine::Engine;
use crate::error::{MaintenanceError, OpenError, WriteError};
use crate::manifest::{Manifest, RunEntry};
use crate::range_tombstones::RangeEntry;
use crate::run_files::{index_path, remove_files, run_path};

pub(crate) use switch::{Change, OpenedRuns};

/// Longest label of a version, in bytes.
pub const MAX_LABEL_BYTES: usize = 256;

/// Which version of the content: a number that is never given twice. 0 is what was there before the first push.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VersionId(pub u64);

impl fmt::Display for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A version of the content, as [`Engine::versions`] tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Version {
    /// Its number.
    pub id: VersionId,
    /// The label that it was pushed with; empty for version 0.
    pub label: String,
    /// Whether it is the content now.
    pub is_current: bool,
    /// The offset of the operation that made it the content, the last time; 0 for version 0 until a rollback to it.
    pub since: u64,
    /// Entries of its runs, those that newer ones overwrite included.
    pub entries: u64,
    /// Bytes of its runs.
    pub bytes: u64,
}

/// What [`Engine::push`], [`Engine::ingest`] or [`Engine::rollback`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PushReport {
    /// The version that is the content now.
    pub version: VersionId,
    /// The offset of the operation: reads from `offset + 1` on see the new content.
    pub offset: u64,
    /// Entries of the runs that came.
    pub entries: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Run files that had to be copied, because a second name for them could not be had.
    pub copied: u64,
    /// How long writers had to wait. Readers did not.
    pub writers_waited: Duration,
}

/// Why the content was not changed. It is as it was, but for [`WriteError::CommitUnknown`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VersionError {
    /// The data set cannot be read.
    #[error("the data set cannot be used")]
    DataSet(#[source] OpenError),
    /// The data set's directory holds more than runs.
    #[error("{} is not a data set: {reason}; make one with BulkBuild, or with a checkpoint of a database", .dir.display())]
    NotADataSet {
        /// The directory.
        dir: PathBuf,
        /// What there is beside runs.
        reason: &'static str,
    },
    /// The label is too long.
    #[error("the label is {bytes} bytes, the limit is {MAX_LABEL_BYTES}")]
    Label {
        /// Its size in bytes.
        bytes: usize,
    },
    /// There is no such version.
    #[error("there is no version {id}; see the list of versions")]
    NoSuchVersion {
        /// The version asked for.
        id: VersionId,
    },
    /// The version is the content: there is nothing to go back to, and it cannot be removed.
    #[error("version {id} is the content now")]
    IsCurrent {
        /// The version asked for.
        id: VersionId,
    },
    /// What was in memory could not be flushed, or a file or the manifest could not be written.
    #[error(transparent)]
    Maintenance(#[from] MaintenanceError),
    /// The operation could not be written to the log.
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl Engine {
    /// Replaces the whole content by the data set in `dir`, in one step: what [`BulkBuild`](crate::BulkBuild) or
    /// [`Engine::checkpoint`] made, or any database that was closed cleanly after a flush.
    ///
    /// The push is one operation with one offset, which is also the offset of every entry it brings. Whatever was
    /// acknowledged before it belongs to the version before, and whatever comes after it goes on top of the new one.
    /// A read sees the one or the other; views from before keep what they see. A subscriber is told by
    /// [`EventOp::Version`](crate::EventOp::Version). What was the content stays on disk, with the writes since its own
    /// push, until [`Engine::prune_version`]; [`Engine::rollback`] brings it back.
    ///
    /// Every byte of the data set is read and checked first, and every key looked up through its index, which is trained
    /// if it is missing. Its files get second names (hard links), or are copied where `dir` is on another file
    /// system; `dir` may be removed afterwards, but its files must not be written to. Waits for a flush and a compaction
    /// that run. Writers wait while the last recent writes are flushed, a few milliseconds; readers do not.
    ///
    /// # Errors
    /// See [`VersionError`]. After a crash either content is there, whole.
    pub fn push(&self, dir: impl AsRef<Path>, label: &str) -> Result<PushReport, VersionError> {
        self.bring_in(dir.as_ref(), label, false)
    }

    /// Adds the data set in `dir` on top of the content, in one step: its keys are overwritten, all others stay. For what
    /// comes in bulk beside a trickle of writes. Otherwise as [`Engine::push`], but that there is no version to go back
    /// to; a subscriber is told by [`EventOp::Layer`](crate::EventOp::Layer).
    ///
    /// # Errors
    /// As [`Engine::push`].
    pub fn ingest(&self, dir: impl AsRef<Path>, label: &str) -> Result<PushReport, VersionError> {
        self.bring_in(dir.as_ref(), label, true)
    }

    /// Makes a version that is kept the content again, as it was when it was left. One operation, like [`Engine::push`];
    /// what was the content until then is kept in its turn, with all that was written on top of it, so that a rollback
    /// can be taken back.
    ///
    /// Takes the time of a flush. What it reads of the version's runs is checked on first touch.
    ///
    /// # Errors
    /// [`VersionError::NoSuchVersion`], [`VersionError::IsCurrent`]; otherwise as [`Engine::push`].
    pub fn rollback(&self, id: VersionId) -> Result<PushReport, VersionError> {
        self.go_back(id)
    }

    /// The versions there are, oldest first. One entry, version 0, where nothing was ever pushed.
    pub fn versions(&self) -> Vec<Version> {
        list(&self.shared().manifest.current())
    }

    /// Forgets a version that is kept, and gives its space back; views that see it keep it for as long as they are held.
    /// Gives the bytes of its runs.
    ///
    /// # Errors
    /// [`VersionError::NoSuchVersion`], [`VersionError::IsCurrent`], [`VersionError::Maintenance`] when the manifest cannot
    /// be written: the version is still there then.
    pub fn prune_version(&self, id: VersionId) -> Result<u64, VersionError> {
        let shared = self.shared();
        let _merging = shared.take_merge_turn()?;
        let versions = shared.manifest.current().versions;
        if versions.current.id == id.0 {
            return Err(VersionError::IsCurrent { id });
        }
        let found = versions.kept.into_iter().find(|kept| kept.name.id == id.0 && kept.was_used);
        let gone = found.ok_or(VersionError::NoSuchVersion { id })?;
        shared.drop_version(&gone)?;
        Ok(gone.runs.iter().map(|run| run.bytes).sum())
    }
}

/// The versions that a manifest names, oldest first; one that is on its way is none yet.
pub(crate) fn list(manifest: &Manifest) -> Vec<Version> {
    let Versions { current, kept, .. } = &manifest.versions;
    let version = |name: &Name, is_current, runs: &[RunEntry]| Version {
        id: VersionId(name.id),
        label: name.label.clone(),
        is_current,
        since: name.since,
        entries: runs.iter().map(|run| run.entries).sum(),
        bytes: runs.iter().map(|run| run.bytes).sum(),
    };
    let others = kept.iter().filter(|kept| kept.was_used).map(|kept| version(&kept.name, false, &kept.runs));
    let mut versions: Vec<_> = others.chain([version(current, true, &manifest.runs)]).collect();
    versions.sort_unstable_by_key(|version| version.id);
    versions
}

impl crate::shared::Shared {
    /// Removes a version: from the manifest, and then its files.
    fn drop_version(&self, gone: &Kept) -> Result<(), MaintenanceError> {
        let forget =
            |manifest: &mut Manifest| manifest.versions.kept.retain(|kept| kept.name.id != gone.name.id);
        self.manifest.update(forget).map_err(|source| self.manifest_error(source))?;
        let _names = self.run_names.lock().unwrap_or_else(PoisonError::into_inner);
        for run in &gone.runs {
            remove_files(self, run.number);
        }
        Ok(())
    }

    fn manifest_error(&self, source: std::io::Error) -> MaintenanceError {
        MaintenanceError::Io { doing: "write", path: self.manifest.path().to_owned(), source }
    }
}

/// What the manifest says of versions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Versions {
    /// Numbers given so far, the first version's included; 0 while nothing was ever pushed.
    next: u64,
    /// The content: its runs are the manifest's.
    pub(crate) current: Name,
    /// The others.
    pub(crate) kept: Vec<Kept>,
}

/// Which version, and since when.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Name {
    pub(crate) id: u64,
    pub(crate) label: String,
    /// The offset of the operation that made it the content; 0 for what there was at first.
    pub(crate) since: u64,
}

/// Runs that are not the content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kept {
    pub(crate) name: Name,
    /// Whether it was the content before. If not, its operation is about to come, and if none came it goes at the next
    /// open.
    pub(crate) was_used: bool,
    /// Whether it is to go on top of the content instead of taking its place.
    pub(crate) is_layer: bool,
    pub(crate) runs: Vec<RunEntry>,
    pub(crate) ranges: Vec<RangeEntry>,
}

impl Versions {
    pub(crate) fn is_empty(&self) -> bool {
        self.next == 0
    }

    /// One past the operation by which the content last became another.
    pub(crate) fn since(&self) -> u64 {
        if self.current == Name::default() { 0 } else { self.current.since + 1 }
    }
}

impl Manifest {
    /// Names runs that are about to become the content, or a layer of it. Gives their number.
    pub(crate) fn stage(&mut self, label: String, is_layer: bool, runs: Vec<RunEntry>) -> u64 {
        let versions = &mut self.versions;
        let id = versions.next.max(1);
        versions.next = id + 1;
        let name = Name { id, label, since: 0 };
        versions.kept.push(Kept { name, was_used: false, is_layer, runs, ranges: Vec::new() });
        id
    }

    /// The content becomes version `id`, or gets it as a layer, by the operation at `offset`; everything below that is in
    /// runs. `false` where there is no such version.
    pub(crate) fn switch(&mut self, id: u64, offset: u64) -> bool {
        let Some(at) = self.versions.kept.iter().position(|kept| kept.name.id == id) else { return false };
        let Kept { name, was_used, is_layer, mut runs, ranges } = self.versions.kept.remove(at);
        if !was_used {
            for run in &mut runs {
                run.offset = Some(offset);
            }
        }
        if is_layer {
            self.runs.splice(0..0, runs);
        } else {
            let new = Name { since: offset, ..name };
            self.versions.kept.push(Kept {
                name: std::mem::replace(&mut self.versions.current, new),
                was_used: true,
                is_layer: false,
                runs: std::mem::replace(&mut self.runs, runs),
                ranges: std::mem::replace(&mut self.ranges, ranges),
            });
        }
        self.wal.replay_from = offset + 1;
        true
    }

    /// Forgets what was named for an operation that never came.
    pub(crate) fn drop_staged(&mut self) {
        self.versions.kept.retain(|kept| kept.was_used);
    }

    /// Every run there is, those of versions that are kept included.
    pub(crate) fn all_runs(&self) -> impl Iterator<Item = &RunEntry> {
        self.runs.iter().chain(self.versions.kept.iter().flat_map(|kept| &kept.runs))
    }

    /// Whether a file is one of the runs or their indexes.
    pub(crate) fn names(&self, runs_dir: &Path, path: &Path) -> bool {
        let is = |run: &RunEntry| {
            path == run_path(runs_dir, run.number) || path == index_path(runs_dir, run.number)
        };
        self.all_runs().any(is)
    }
}
