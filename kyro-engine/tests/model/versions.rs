//! Data sets that are built, checked, pushed and put on top; rollbacks and prunings.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use kyro_engine::{BulkBuild, BulkError, BulkOptions, Duplicates, Engine, PushReport, VersionError};

use crate::content::{Content, Kept};
use crate::machine::Machine;
use crate::reads::check_whole;
use crate::workload::{KEYS, Random, options};

impl Machine {
    /// Builds a data set, in or out of order, with or without keys that come twice, and memory for few records.
    fn data_set(&mut self, random: &mut Random) -> (String, Content) {
        let dir = self.new_directory();
        let mut how = BulkOptions::default();
        how.engine = options();
        how.memory_bytes = 64 << random.below(6);
        how.duplicates = if random.below(2) == 0 { Duplicates::Refuse } else { Duplicates::LastWins };
        let refuses_twice = how.duplicates == Duplicates::Refuse;
        let mut build = BulkBuild::create_on(Arc::new(self.disk.clone()), &dir, how).expect("a build");
        let count = random.below(40);
        let mut keys: Vec<u64> = (0..count)
            .map(|_| match random.below(3) {
                0 => random.below(64),
                _ => KEYS[random.below(KEYS.len() as u64) as usize],
            })
            .collect();
        if random.below(2) == 0 {
            keys.sort_unstable();
        }
        if refuses_twice {
            let mut seen = BTreeSet::new();
            keys.retain(|key| seen.insert(*key));
        }
        let mut set = Content::new();
        for (&key, offset) in keys.iter().zip(0..) {
            let value = format!("{dir} {key} {offset}").into_bytes();
            build.push(key, &value).expect("takes a record");
            set.insert(key, (offset, value));
        }
        if refuses_twice
            && let Some((&key, _)) = set.iter().nth(random.below(set.len().max(1) as u64) as usize)
        {
            // A key that came already is refused at once, or where the records are sorted at last.
            let is_told =
                |error: &BulkError| matches!(error, BulkError::Duplicate { key: told, .. } if *told == key);
            if random.below(6) == 0 {
                let again = build.push(key, b"again").and_then(|()| build.finish().map(drop));
                assert!(again.as_ref().is_err_and(is_told), "{again:?}");
                self.remove(Path::new(&dir));
                return self.data_set(random);
            }
        }
        let report = build.finish().expect("a data set");
        assert_eq!((report.records, report.keys), (keys.len() as u64, set.len() as u64));
        assert_eq!(report.next_offset, keys.len() as u64);
        if random.below(2) == 0 {
            let engine = Engine::open_on(Arc::new(self.disk.clone()), &dir, options()).expect("opens");
            check_whole(&engine, &set);
            engine.close().expect("closes");
        }
        (dir, set)
    }

    fn switched(&self, report: &PushReport, before: u64, entries: usize, version: u64) {
        let told = (report.offset, report.entries, report.version.0);
        assert_eq!(told, (before, entries as u64, version), "{report:?}");
        assert_eq!(self.engine.next_offset(), before + 1, "one operation");
        assert_eq!(report.copied, 0, "the disk has links");
    }

    pub(crate) fn push(&mut self, random: &mut Random) {
        let (dir, set) = self.data_set(random);
        let label = format!("set {}", self.directories);
        let before = self.engine.next_offset();
        let report = self.engine.push(&dir, &label).expect("pushes");
        assert!(report.version.0 >= self.model.next_version, "a version twice: {report:?}");
        self.switched(&report, before, set.len(), report.version.0);
        self.model.next_version = report.version.0 + 1;
        let content = stamped(set, report.offset);
        self.model.switch(report.offset, report.version.0, &label, content);
        self.remove(Path::new(&dir));
    }

    pub(crate) fn ingest(&mut self, random: &mut Random) {
        let (dir, set) = self.data_set(random);
        let label = format!("layer {}", self.directories);
        let before = self.engine.next_offset();
        let report = self.engine.ingest(&dir, &label).expect("ingests");
        self.switched(&report, before, set.len(), self.model.current);
        self.model.layer(report.offset, &label, stamped(set, report.offset));
        self.remove(Path::new(&dir));
    }

    pub(crate) fn rollback(&mut self, random: &mut Random) {
        let id = self.version_or_bogus(random);
        let before = self.engine.next_offset();
        let result = self.engine.rollback(id);
        match self.model.versions.get(&id.0).cloned() {
            None => assert!(matches!(result, Err(VersionError::NoSuchVersion { .. })), "{result:?}"),
            Some(_) if id.0 == self.model.current => {
                assert!(matches!(result, Err(VersionError::IsCurrent { .. })), "{result:?}");
            }
            Some(Kept { label, content, .. }) => {
                let report = result.expect("rolls back");
                assert_eq!((report.offset, report.version), (before, id));
                self.model.switch(before, id.0, &label, content);
            }
        }
    }

    pub(crate) fn prune(&mut self, random: &mut Random) {
        let id = self.version_or_bogus(random);
        let result = self.engine.prune_version(id);
        if id.0 == self.model.current {
            assert!(matches!(result, Err(VersionError::IsCurrent { .. })), "{result:?}");
        } else if self.model.versions.remove(&id.0).is_some() {
            result.expect("prunes");
        } else {
            assert!(matches!(result, Err(VersionError::NoSuchVersion { .. })), "{result:?}");
        }
    }
}

/// The set as the one operation brings it.
fn stamped(set: Content, offset: u64) -> Content {
    set.into_iter().map(|(key, (_, value))| (key, (offset, value))).collect()
}
