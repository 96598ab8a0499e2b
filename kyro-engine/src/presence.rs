//! Whether a read would wait for a disk, told without waiting: for callers that serve others meanwhile.

use std::sync::{Arc, OnceLock};

use kyro_snapshot::residency::touch_pages;

use crate::counters::Counters;
use crate::engine::Engine;
use crate::error::ReadError;
use crate::indexed_run::Foreseen;
use crate::reading::{Found, Reading};
use crate::sources::Sources;

pub use kyro_snapshot::Presence;
pub use kyro_snapshot::residency::major_faults;

impl Engine {
    /// Whether a read of `key` finds everything it needs in memory. Reads nothing that is not. With [`Presence::Read`]
    /// and once everything has been read, as after [`Engine::warm_up`], it costs one flag for each run.
    ///
    /// A key for which it says no is brought in by [`Engine::fetch`].
    #[inline]
    pub fn has_at_hand(&self, key: u64, presence: Presence) -> bool {
        self.read(|reading| {
            (presence == Presence::Read && reading.sources.is_read()) || reading.has_at_hand(key, presence)
        })
    }

    /// Whether every block of every run has been read since it was opened.
    pub fn is_read(&self) -> bool {
        self.read(|reading| reading.sources.is_read())
    }

    /// Brings into memory what a read of `key` needs: waits for the disk, so that the read need not.
    ///
    /// # Errors
    /// As [`Engine::get`].
    pub fn fetch(&self, key: u64) -> Result<(), ReadError> {
        let shared = self.shared();
        // Kept, not borrowed for a short read: this may wait for the disk.
        let (sources, visible) = shared.views.pin_at(&shared.visible);
        let reading = Reading { sources: &sources, visible, counters: uncounted() };
        // What a range delete covers counts too: to find that out takes the same pages.
        let holder = match reading.find_version(key)? {
            Some(Found::Delta(_)) => return Ok(()),
            Some(Found::Run(run, position)) => {
                if let Some((_, value)) = run.entry(position, reading.counters)? {
                    touch_pages(&value);
                }
                Some(run.number())
            }
            None => None,
        };
        // A get verifies the block of the key it found, and no neighbour that its window reaches into.
        for run in sources.runs.iter().filter(|run| run.may_contain(key)) {
            run.touch_window(key, reading.counters)?;
            // Older ones are not asked.
            if holder == Some(run.number()) {
                break;
            }
        }
        Ok(())
    }
}

/// Counters that nobody looks at: a fetch goes before a read, which counts.
fn uncounted() -> &'static Counters {
    static UNCOUNTED: OnceLock<Counters> = OnceLock::new();
    UNCOUNTED.get_or_init(|| Counters::new(Arc::default()))
}

impl Sources {
    #[inline]
    fn is_read(&self) -> bool {
        self.runs.iter().all(|run| run.is_read())
    }
}

impl Reading<'_> {
    #[cold]
    fn has_at_hand(self, key: u64, presence: Presence) -> bool {
        if self.sources.deltas().any(|delta| delta.get(key, self.visible).is_some()) {
            return true;
        }
        for run in &self.sources.runs {
            match run.foresee(key, presence) {
                Foreseen::Absent => {}
                Foreseen::Present => return true,
                Foreseen::Unread => return false,
            }
        }
        true
    }
}
