//! What a failed write or sync does to the log: nothing for want of space, everything otherwise.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::Error;
use crate::format::FRAME_HEADER;
use crate::storage::is_storage_full;

use super::{Synced, Wal};

impl Wal {
    /// After a write that ran out of space: makes sure that no part of it can be taken for a frame, and goes on.
    pub(super) fn take_back(&mut self, needed: u64, source: io::Error) -> Error {
        let live = &mut self.live;
        // What stays behind the wiped header cannot continue a chain either: later frames count one attempt more.
        live.place.attempt = live.place.attempt.wrapping_add(u32::from(!cfg!(mutant = "same_attempt")));
        live.residue = !cfg!(mutant = "leave_residue");
        let file = live.segment.path.clone();
        match self.wipe_end() {
            Ok(()) => Error::StorageFull { file, needed, certain: true, source },
            Err(Error::StorageFull { .. }) => Error::StorageFull { file, needed, certain: false, source },
            Err(error) => error,
        }
    }

    /// Overwrites, durably, the place of the next frame's header with zeros, if a frame may be there.
    pub(super) fn wipe_end(&mut self) -> Result<(), Error> {
        if !self.live.residue {
            return Ok(());
        }
        let file = self.live.segment.path.clone();
        let needed = FRAME_HEADER as u64;
        match self.live.segment.file.write_at(&[0; FRAME_HEADER], self.live.place.at) {
            Ok(()) => {}
            Err(source) if is_storage_full(&source) => {
                return Err(Error::StorageFull { file, needed, certain: false, source });
            }
            Err(error) => return Err(self.poison("a write to", &file, &error)),
        }
        self.sync_live()?;
        self.live.residue = false;
        Ok(())
    }

    /// Makes everything written to the live segment durable.
    pub(super) fn sync_live(&mut self) -> Result<(), Error> {
        if !cfg!(mutant = "skip_fdatasync")
            && let Err(error) = self.live.segment.file.sync_data()
            && !cfg!(mutant = "retry_failed_sync")
        {
            return Err(self.poison("a sync of", &self.live.segment.path.clone(), &error));
        }
        let news = self.live.synced < self.live.place.at;
        self.live.synced = self.live.place.at;
        self.counters.syncs += 1;
        if news && let Some(notify) = &mut self.on_sync {
            notify(Synced {
                next_offset: self.next_offset,
                segment: self.live.segment.number(),
                end: self.live.synced,
            });
        }
        Ok(())
    }

    pub(super) fn check_poison(&self) -> Result<(), Error> {
        match &self.poisoned {
            Some(reason) => Err(Error::Poisoned { reason: Arc::clone(reason) }),
            None => Ok(()),
        }
    }

    /// Stops the log for ever.
    pub(super) fn poison(&mut self, what: &str, path: &Path, error: &io::Error) -> Error {
        let reason: Arc<str> = format!("{what} {} failed: {error}", path.display()).into();
        self.group.clear();
        let reason = self.poisoned.get_or_insert(reason);
        Error::Poisoned { reason: Arc::clone(reason) }
    }
}
