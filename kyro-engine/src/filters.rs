//! When a run gets a filter: when searching it in vain has cost about as much as making the filter would.
//!
//! A search in vain reads a cache line of keys from memory and asks for one of values, a filter reads one of a smaller
//! place. So a filter gains nothing where keys are found in the first run that is asked, and much where absent keys are
//! asked for or there are several runs. Nobody has to say which it is: searches in vain are counted, and once there was
//! one for every sixteen entries without a filter, the runs get theirs, from the thread that merges;
//! in a reader without threads, at its next refresh.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::counters::{Event, VAIN_SEARCHES};
use crate::filter::Filter;
use crate::indexed_run::IndexedRun;
use crate::shared::Shared;

/// Entries without a filter for which there must have been one search in vain.
const ENTRIES_A_SEARCH: u64 = 16;

/// What is known of searches in vain.
#[derive(Debug, Default)]
pub(crate) struct Filters {
    /// Those up to the last time that filters were made.
    before: AtomicU64,
}

impl Shared {
    /// Makes the filters that pay, newest run first, as far as their share of the memory goes. Costs a look where there
    /// is nothing to do; otherwise reads the keys of the runs.
    pub(crate) fn make_filters(&self) {
        let sources = self.views.pin();
        let lacks = |run: &&Arc<IndexedRun>| run.filter_bytes() == 0;
        let entries: u64 = sources.runs.iter().filter(lacks).map(|run| run.len()).sum();
        let searches = self.counters.total(Event::VainSearch);
        let new = searches.saturating_sub(self.filters.before.load(Ordering::Relaxed));
        if entries == 0 || new < VAIN_SEARCHES.max(entries / ENTRIES_A_SEARCH) {
            return;
        }
        self.filters.before.store(searches, Ordering::Relaxed);
        let taken = sources.runs.iter().map(|run| run.filter_bytes()).sum();
        let mut room = self.options.filter_share().saturating_sub(taken);
        for run in sources.runs.iter().filter(lacks) {
            let bytes = Filter::bytes_for(run.len());
            if bytes <= room {
                run.make_filter(|| !self.health.is_closed());
                room -= bytes;
            }
        }
    }
}
