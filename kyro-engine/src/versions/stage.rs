//! Bringing the runs of a data set into the directory, under numbers of our own, checked from end to end.

use std::path::Path;
use std::sync::atomic::Ordering;

use super::VersionError;
use crate::error::{MaintenanceError, OpenError};
use crate::indexed_run::IndexedRun;
use crate::maintenance::entry;
use crate::manifest::{Manifest, ManifestFile, RunEntry};
use crate::open::lock;
use crate::run_files::{build_index, index_path, load_index, load_run, remove_files, run_path};
use crate::shared::{ProgressMeter, RUNS_DIR, Shared};

/// Runs that are here and that nobody names yet. Dropped before they are taken, they go.
pub(super) struct Staged<'a> {
    shared: &'a Shared,
    runs: Vec<IndexedRun>,
    pub(super) copied: u64,
}

impl<'a> Staged<'a> {
    /// Brings in the runs of the data set in `dir`. On return they are durable under their names.
    pub(super) fn bring(shared: &'a Shared, dir: &Path) -> Result<Self, VersionError> {
        let storage = &*shared.storage;
        let read = |storage| ManifestFile::read(storage, dir).map_err(VersionError::DataSet);
        // Looked at before the lock is taken: a directory of something else gets no lock file.
        let no_manifest = VersionError::NotADataSet { dir: dir.to_owned(), reason: "it has no MANIFEST" };
        read(storage)?.ok_or(no_manifest)?;
        let _lock = lock(storage, dir).map_err(VersionError::DataSet)?;
        let Some(manifest) = read(storage)? else {
            return Err(VersionError::NotADataSet { dir: dir.to_owned(), reason: "it has no MANIFEST" });
        };
        if let Some(reason) = lacks(&manifest) {
            return Err(VersionError::NotADataSet { dir: dir.to_owned(), reason });
        }
        let mut staged = Self { shared, runs: Vec::with_capacity(manifest.runs.len()), copied: 0 };
        for named in &manifest.runs {
            let number = shared.next_run.fetch_add(1, Ordering::Relaxed);
            let brought = staged.bring_run(&dir.join(RUNS_DIR), named, number);
            if brought.is_err() {
                remove_files(shared, number);
            }
            staged.runs.push(brought?);
        }
        let runs_dir = shared.runs_dir();
        storage.sync_dir(&runs_dir).map_err(|source| io("sync", &runs_dir, source))?;
        Ok(staged)
    }

    fn bring_run(&mut self, from: &Path, named: &RunEntry, number: u64) -> Result<IndexedRun, VersionError> {
        let shared = self.shared;
        let runs_dir = shared.runs_dir();
        let (run_to, index_to) = (run_path(&runs_dir, number), index_path(&runs_dir, number));
        self.bring_file(&run_path(from, named.number), &run_to)?;
        let (file, run) = load_run(&*shared.storage, &run_to).map_err(VersionError::DataSet)?;
        let corrupt = |offset, reason| {
            let file = run_path(from, named.number);
            VersionError::DataSet(OpenError::Corrupt { file, offset, reason })
        };
        if !named.is(&run) {
            return Err(corrupt(0, "it is not the run that the manifest names".to_owned()));
        }
        let mut meter = ProgressMeter::new(&shared.options, "verify", "bytes");
        run.verify(&mut |done, total| meter.at(done, Some(total)))
            .map_err(|damage| corrupt(damage.position(), damage.to_string()))?;
        // An index is a cache: what is wrong with it is mended by another.
        let index = self.bring_file(&index_path(from, named.number), &index_to).ok().and_then(|()| {
            let index = load_index(&*shared.storage, &index_to, &run).ok()?;
            index.verify(run.keys()).is_ok().then_some(index)
        });
        let index = if let Some(index) = index {
            index
        } else {
            shared.storage.remove(&index_to).ok();
            build_index(shared, &run, number)?
        };
        Ok(IndexedRun::new(number, run_to, file, run, index, &shared.options).at_offset(named.offset))
    }

    /// Gives a file a second name here, or copies it. Its bytes are durable then, whoever wrote it.
    fn bring_file(&mut self, from: &Path, to: &Path) -> Result<(), MaintenanceError> {
        let storage = &*self.shared.storage;
        // What was copied into the data set's directory may be in the page cache alone.
        let file = storage.open_read(from).map_err(|source| io("open", from, source))?;
        file.sync_all().map_err(|source| io("sync", from, source))?;
        if storage.link(from, to).is_err() {
            storage.copy(from, to).map_err(|source| io("copy", from, source))?;
            self.copied += 1;
        }
        Ok(())
    }

    pub(super) fn entries(&self) -> Vec<RunEntry> {
        self.runs.iter().map(entry).collect()
    }

    /// They are named: whoever has them now is in charge of them.
    pub(super) fn take(mut self) -> Vec<IndexedRun> {
        std::mem::take(&mut self.runs)
    }
}

impl Drop for Staged<'_> {
    fn drop(&mut self) {
        for run in &self.runs {
            remove_files(self.shared, run.number());
        }
    }
}

/// What a directory has beside runs, if that keeps it from being a data set.
fn lacks(manifest: &Manifest) -> Option<&'static str> {
    match manifest.clean {
        None => Some("it was not closed cleanly, or its build did not finish"),
        Some(clean) if clean.next_offset > manifest.wal.replay_from => Some("its log holds what no run does"),
        Some(_) if !manifest.ranges.is_empty() => {
            Some("it has deleted ranges that no compaction has applied")
        }
        Some(_) => None,
    }
}

pub(super) fn io(doing: &'static str, path: &Path, source: std::io::Error) -> MaintenanceError {
    MaintenanceError::Io { doing, path: path.to_owned(), source }
}
