//! The places a key can be at one moment. Immutable but for the delta, which only the committer extends.

use std::sync::{Arc, PoisonError};

use arc_swap::{ArcSwap, Guard};

use crate::delta::Delta;
use crate::indexed_run::IndexedRun;
use crate::queue::Frozen;
use crate::range_tombstones::RangeTombstones;
use crate::sync::Mutex;
use crate::visible::Visible;

/// The places a key can be, newest first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sources {
    /// Takes the writes.
    pub(crate) delta: Arc<Delta>,
    /// A delta that no longer grows and is not yet in a run.
    pub(crate) frozen: Option<Frozen>,
    /// Runs, newest first.
    pub(crate) runs: Vec<Arc<IndexedRun>>,
    /// Deleted ranges that the runs still need; more recent ones are in the deltas.
    pub(crate) ranges: Arc<RangeTombstones>,
    /// One past the operation by which the runs last became others as a whole: who sees them sees it.
    pub(crate) since: u64,
}

/// Publishes the sources: readers load, the committer and the maintenance replace.
#[derive(Debug)]
pub(crate) struct Views {
    current: ArcSwap<Sources>,
    replacing: Mutex<()>,
}

impl Views {
    pub(crate) fn new(first: Sources) -> Self {
        Self { current: ArcSwap::from_pointee(first), replacing: Mutex::default() }
    }

    /// The sources for one read.
    pub(crate) fn load(&self) -> Guard<Arc<Sources>> {
        self.current.load()
    }

    /// The sources, to keep for a longer operation.
    pub(crate) fn pin(&self) -> Arc<Sources> {
        self.current.load_full()
    }

    /// The sources, to keep, and an offset below which they hold everything.
    pub(crate) fn pin_at(&self, visible: &Visible) -> (Arc<Sources>, u64) {
        loop {
            let sources = self.pin();
            let next_offset = visible.next().max(sources.since);
            // When a delta was frozen in between, what is visible may be in the one that took its place.
            if Arc::ptr_eq(&sources, &self.load()) {
                return (sources, next_offset);
            }
        }
    }

    /// Publishes what `change` makes of the current sources.
    pub(crate) fn replace(&self, change: impl FnOnce(&mut Sources)) {
        let _turn = self.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = Sources::clone(&self.current.load());
        change(&mut next);
        self.current.store(Arc::new(next));
    }
}

impl Sources {
    /// Memory that recent writes take, in bytes, by estimate.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.deltas().map(|delta| delta.bytes()).sum()
    }

    /// The deltas, newest first.
    pub(crate) fn deltas(&self) -> impl Iterator<Item = &Arc<Delta>> {
        std::iter::once(&self.delta).chain(self.frozen.iter().filter_map(|frozen| frozen.delta.as_ref()))
    }
}
