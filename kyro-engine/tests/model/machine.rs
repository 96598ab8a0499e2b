//! The database, its model, and everything that is held across steps.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;

use kyro_engine::storage::{SimDisk, Storage};
use kyro_engine::{
    CheckpointOptions, Engine, EventOp, ReadError, ReadOnly, Replay, ScanIter, VersionId, View,
};

use crate::Kind;
use crate::content::{Content, Model};
use crate::reads::{check_reader, check_whole, probe, some_scan};
use crate::workload::{DIR, KEYS, Random, open, options};

/// Views, scans and so on that are held at once, at most.
const HELD: usize = 4;

/// A scan half way, and what it must still give.
type HeldScan = (ScanIter, VecDeque<(u64, u64, Vec<u8>)>);

pub(crate) struct Machine {
    pub(crate) disk: SimDisk,
    pub(crate) engine: Engine,
    pub(crate) model: Model,
    views: VecDeque<(View, u64, Content)>,
    scans: VecDeque<HeldScan>,
    /// A subscription: it has been given everything below its offset.
    subscriber: Option<Replay>,
    reader: Option<(ReadOnly, u64, Content)>,
    checkpoint: Option<String>,
    /// Directories made so far.
    pub(crate) directories: u64,
}

impl Machine {
    pub(crate) fn new() -> Self {
        let disk = SimDisk::new();
        let engine = open(&disk).expect("opens");
        Self {
            disk,
            engine,
            model: Model::default(),
            views: VecDeque::new(),
            scans: VecDeque::new(),
            subscriber: None,
            reader: None,
            checkpoint: None,
            directories: 0,
        }
    }

    pub(crate) fn step(&mut self, kind: Kind, seed: u64) {
        let random = &mut Random(seed);
        match kind {
            Kind::Burst => self.burst(random),
            Kind::Single => self.single(random),
            Kind::Probe => {
                probe(&self.engine, &self.model.content, random);
                if let Some((view, _, content)) = self.views.back() {
                    probe(view, content, random);
                }
                if let Some((reader, _, content)) = &self.reader {
                    probe(&reader.view(), content, random);
                }
            }
            Kind::Flush => {
                let report = self.engine.flush().expect("flushes");
                assert_eq!(self.engine.stats().delta_entries, 0, "{report:?}");
            }
            Kind::Compact => {
                let report = self.engine.compact().expect("compacts");
                let live = self.model.content.len() as u64;
                assert_eq!(report.keys_retained, live);
                assert_eq!(self.engine.stats().keys_at_most, live);
            }
            Kind::BuildIndex => {
                let report = self.engine.build_index().expect("builds");
                assert_eq!(report.keys, self.model.content.len() as u64);
            }
            Kind::Reopen => {
                self.engine.close().expect("closes");
                self.start(self.disk.clone());
            }
            Kind::Kill => self.start(self.disk.restart()),
            Kind::PowerCut => self.start(self.disk.crash(seed)),
            Kind::CutInFlight => self.cut_in_flight(random),
            Kind::HoldView => {
                let view = self.engine.view().expect("a view");
                self.views.truncate(HELD - 1);
                self.views.push_front((view, self.engine.next_offset(), self.model.content.clone()));
            }
            Kind::HoldScan => {
                let (scan, expected) = some_scan(&self.model.content, random);
                self.scans.truncate(HELD - 1);
                self.scans.push_front((self.engine.scan(scan).expect("a scan"), expected));
            }
            Kind::LetGo => drop((self.views.pop_back(), self.scans.pop_back(), self.subscriber.take())),
            Kind::Subscribe => {
                let oldest = self.engine.oldest_offset();
                let newest = self.model.next_offset().max(oldest);
                let start = oldest + random.below(newest - oldest + 1);
                self.subscriber = Some(self.engine.replay(start, None).expect("history is there"));
            }
            Kind::OpenReader => match &mut self.reader {
                Some((reader, next_offset, content)) => {
                    *next_offset = reader.refresh().expect("refreshes");
                    *content = self.model.content.clone();
                    assert!(*next_offset >= self.model.next_offset(), "a reader that has not read all");
                }
                none => {
                    let storage = Arc::new(self.disk.clone());
                    let reader = Engine::open_read_only_on(storage, DIR, options()).expect("opens to read");
                    *none = Some((reader, self.model.next_offset(), self.model.content.clone()));
                }
            },
            Kind::Checkpoint => self.checkpoint(random),
            Kind::Push => self.push(random),
            Kind::Ingest => self.ingest(random),
            Kind::Rollback => self.rollback(random),
            Kind::Prune => self.prune(random),
        }
    }

    /// A fresh start on what `disk` holds; views and scans of the engine before go on.
    pub(crate) fn start(&mut self, disk: SimDisk) {
        (self.subscriber, self.reader) = (None, None);
        self.engine = open(&disk).expect("opens");
        self.disk = disk;
    }

    /// Compares everything; the whole log, which takes longest, only if `all` is asked for.
    pub(crate) fn check(&mut self, all: bool) {
        let (engine, model) = (&self.engine, &self.model);
        check_whole(engine, &model.content);
        assert_eq!(engine.stats().mispredicts, 0);
        assert!(engine.next_offset() >= model.next_offset(), "offsets go on");
        for (view, next_offset, content) in &self.views {
            assert_eq!(view.next_offset(), *next_offset);
            check_whole(view, content);
        }
        for (scan, expected) in &mut self.scans {
            let entry = scan.next().map(|entry| entry.expect("an entry reads"));
            let found = entry.map(|entry| (entry.key, entry.offset, entry.value.to_vec()));
            assert_eq!(found, expected.pop_front(), "a scan that was held");
        }
        if let Some((reader, next_offset, content)) = &self.reader {
            assert!(reader.next_offset() >= *next_offset);
            check_reader(reader, content);
        }
        let versions = engine.versions().into_iter();
        let versions: Vec<_> = versions.map(|one| (one.id.0, one.label, one.is_current, one.since)).collect();
        let expected: Vec<_> = model
            .versions
            .iter()
            .map(|(&id, kept)| (id, kept.label.clone(), id == model.current, kept.since))
            .collect();
        assert_eq!(versions, expected);
        self.check_subscriber();
        if all {
            self.check_log();
        }
    }

    /// The log tells every operation that it still has, each event without a key among them.
    fn check_log(&self) {
        let (engine, model) = (&self.engine, &self.model);
        let oldest = engine.oldest_offset();
        let replay = engine.replay(oldest, None).expect("history is there");
        let told: BTreeMap<_, _> =
            replay.map(|event| event.expect("history reads")).map(|event| (event.offset, event.op)).collect();
        let expected = model.history.range(oldest..);
        assert!(told.iter().eq(expected), "from {oldest} on: {told:?} of {:?}", model.history);
        let first_event = model.history.iter().find(|(_, op)| matches!(op, EventOp::Append { .. }));
        assert!(first_event.is_none_or(|(offset, _)| *offset >= oldest), "an event without a key is gone");
    }

    /// A subscription is given each event once, or told that it came too late.
    fn check_subscriber(&mut self) {
        let (engine, model) = (&self.engine, &self.model);
        let Some(mut replay) = self.subscriber.take() else { return };
        let start = replay.next_offset();
        let mut expected = model.history.range(start..);
        for event in replay.by_ref() {
            match event {
                Ok(event) => assert_eq!(Some((&event.offset, &event.op)), expected.next()),
                Err(ReadError::HistoryGone { oldest: said }) => {
                    assert!(
                        replay_from(expected.next()) < said && said <= engine.oldest_offset(),
                        "history is there"
                    );
                    self.subscriber = Some(engine.replay(said, None).expect("history is there"));
                    return;
                }
                Err(error) => panic!("history reads: {error:?}"),
            }
        }
        assert_eq!(expected.next(), None, "events that a subscription was not given");
        self.subscriber = Some(replay);
    }

    /// A copy is opened, read, written and verified; the next one may build on it.
    fn checkpoint(&mut self, random: &mut Random) {
        let dir = self.new_directory();
        let mut how = CheckpointOptions::default();
        how.copy = random.below(2) == 0;
        how.base = self.checkpoint.as_ref().filter(|_| random.below(2) == 0).map(Into::into);
        let report = self.engine.checkpoint_with(&dir, &how).expect("a checkpoint");
        assert_eq!(report.next_offset, self.engine.next_offset());
        let copy = Engine::open_on(Arc::new(self.disk.clone()), &dir, options()).expect("the copy opens");
        check_whole(&copy, &self.model.content);
        probe(&copy, &self.model.content, random);
        let events = |engine: &Engine| -> Vec<_> {
            let replay = engine.replay(engine.oldest_offset(), None).expect("history is there");
            let all = replay.map(|event| event.expect("history reads"));
            all.filter(|event| matches!(event.op, EventOp::Append { .. })).collect()
        };
        assert_eq!(events(&copy), events(&self.engine), "events of the copy");
        // The two are databases of their own.
        let offset = copy.put(KEYS[0], "of the copy").expect("the copy takes writes");
        assert!(offset >= report.next_offset);
        copy.compact().expect("compacts");
        copy.close().expect("closes");
        drop(copy);
        let storage: Arc<dyn Storage> = Arc::new(self.disk.clone());
        let verified = kyro_engine::verify_on(&storage, Path::new(&dir), None).expect("verifies");
        assert!(verified.damage.is_empty(), "{verified:?}");
        if let Some(before) = self.checkpoint.replace(dir) {
            self.remove(Path::new(&before));
        }
    }

    pub(crate) fn new_directory(&mut self) -> String {
        self.directories += 1;
        format!("/directory-{}", self.directories)
    }

    /// Removes a directory and what is in it, as far as a crash left it there.
    pub(crate) fn remove(&self, dir: &Path) {
        for name in self.disk.list(dir).unwrap_or_default() {
            let path = dir.join(name);
            if self.disk.remove(&path).is_err() {
                self.remove(&path);
            }
        }
        self.disk.remove_dir(dir).ok();
    }

    pub(crate) fn version_or_bogus(&self, random: &mut Random) -> VersionId {
        let there: Vec<u64> = self.model.versions.keys().copied().collect();
        match there.get(random.below(there.len() as u64 + 1) as usize) {
            Some(&id) => VersionId(id),
            None => VersionId(self.model.next_version + random.below(3)),
        }
    }
}

fn replay_from(next: Option<(&u64, &EventOp)>) -> u64 {
    next.map_or(u64::MAX, |(offset, _)| *offset)
}
