//! Preallocated space that nobody will use goes back to the file system when the log is closed.
//!
//! There is no second way to make a file shorter: the log is rotated into a segment of the smallest size, which holds
//! nothing, and the one before it is sealed and cut behind its frames as in any rotation. A crash in between leaves what
//! a crash in a rotation does; a file that is shorter than its header says and has no footer is damaged, as ever.
//! Nothing is lost by it for the next run: a segment that was found at an opening takes no frames in any case.

use crate::Error;
use crate::format::{BLOCK, MIN_SEGMENT};
use crate::spare;

use super::Wal;

impl Wal {
    /// See the module. Does nothing to a segment that this run did not write, nor where there is no room for another.
    pub(super) fn give_back(&mut self) -> Result<(), Error> {
        self.give_back_spare();
        let live = &self.live;
        let block = BLOCK as u64;
        let needed = live.place.at.next_multiple_of(block) + block + MIN_SEGMENT;
        let slack = live.segment.len.saturating_sub(needed);
        if live.closed || slack <= self.options.close_slack_bytes {
            return Ok(());
        }
        if cfg!(mutant = "cut_before_successor") {
            let file = &live.segment.file;
            let cut = file.set_len(needed - MIN_SEGMENT).and_then(|()| file.sync_all());
            cut.map_err(|error| Error::io("cutting", &live.segment.path, error))?;
        }
        match self.rotate_into(MIN_SEGMENT, true, 0, 0) {
            // The log is as it was, and closes where it is.
            Err(Error::StorageFull { .. } | Error::Io { .. }) if self.unsealed.is_none() => Ok(()),
            other => other,
        }
    }

    /// Removes the prepared file, unless one is being prepared: then it is the caller's to wait for that and to call
    /// [`remove_spare`](crate::remove_spare).
    fn give_back_spare(&mut self) {
        let large = self.spare.take_if(|spare| spare.bytes > self.options.close_slack_bytes);
        if let Some(spare) = large {
            spare::clean_up(&*self.storage, &spare.path);
        }
    }
}
