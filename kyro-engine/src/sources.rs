//! The places a key can be at one moment. Immutable but for the delta, which only the committer extends.

use std::sync::Arc;

use arc_swap::Guard;

use crate::delta::Delta;
use crate::indexed_run::IndexedRun;
use crate::published::Published;
use crate::queue::Frozen;
use crate::range_tombstones::RangeTombstones;
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
    published: Published<Sources>,
}

impl Views {
    pub(crate) fn new(first: Sources) -> Self {
        Self { published: Published::new(first) }
    }

    /// Runs a short read on the sources; see [`Published::read`].
    #[inline]
    pub(crate) fn read<R>(&self, read: impl FnOnce(&Sources) -> R, was_old: impl FnOnce()) -> R {
        self.published.read(read, was_old)
    }

    /// The sources for one read.
    pub(crate) fn load(&self) -> Guard<Arc<Sources>> {
        self.published.load()
    }

    /// The sources, to keep for a longer operation.
    pub(crate) fn pin(&self) -> Arc<Sources> {
        self.published.pin()
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
        self.published.replace(|current| {
            let mut next = Sources::clone(current);
            change(&mut next);
            next
        });
    }

    /// Lets replaced sources go that a read held until now.
    pub(crate) fn release(&self) {
        self.published.release();
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
