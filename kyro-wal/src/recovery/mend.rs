//! What recovery writes, once nothing is refused.

use std::path::PathBuf;

use crate::cursor::{Cursor, Place, Step};
use crate::format::{FIRST_FRAME, FRAME_HEADER, MIN_SEGMENT};
use crate::log::Live;
use crate::seal::seal_in_full;
use crate::segment::{self, NEW, QUARANTINE, Segment};
use crate::spare;
use crate::storage::{is_storage_full, write_atomically};
use crate::{Error, Tail, Wal};

use super::tail::Verdict;
use super::{Recovery, last_offset};

/// How many bytes one write of the rewriting carries.
const CHUNK: usize = 1 << 20;

impl Recovery {
    /// The writing half of [`Recovery::finish`].
    pub(super) fn mend(mut self, epoch: u64) -> Result<(Wal, Tail), Error> {
        let last = self.chain.segments.pop();
        let (Some(last), Some(verdict)) = (last, self.verdict.take()) else {
            return Err(Error::MissingSegment {
                dir: self.dir,
                segment: self.expected.first_segment,
                why: "the directory holds no segment",
            });
        };
        // While the last segment is empty, nothing proves that the footer before it, if it can be read, is durable.
        let doubtful = self.chain.unsealed || !cfg!(mutant = "trust_visible_footer");
        let before = if doubtful && matches!(verdict, Verdict::Unclean { used: FIRST_FRAME, .. }) {
            self.chain
                .segments
                .pop()
                .map(|before| self.walk_again(before, last.header.predecessor.end))
                .transpose()?
        } else {
            None
        };
        spare::clean_up_temporaries(&*self.storage, &self.dir);
        let last = if self.chain.unsealed && !cfg!(mutant = "trust_visible_name") {
            self.name_again(&last)?
        } else {
            last.writable(&*self.storage)?
        };
        if let Some((before, place)) = before {
            let mut before = before.writable(&*self.storage)?;
            seal_in_full(&before, &place).map_err(|error| Error::io("sealing", &before.path, error))?;
            before.len = before.header.capacity;
            self.chain.segments.push(before);
        }
        let (place, next_offset, tail) = match verdict {
            Verdict::Clean { place, next_offset } => (place, next_offset, Tail::Clean),
            Verdict::Unclean { place, used } => {
                // An empty segment may just have been made again.
                let place = if place.frames == 0 { Place::start(&last) } else { place };
                let tail = self.settle(&last, place, used)?;
                // Offsets up to the limit may have been given to frames that are lost.
                let next =
                    if cfg!(mutant = "reuse_offset") { place.next_offset } else { last.header.offset_limit };
                (place, next, tail)
            }
        };
        for number in &self.chain.leftovers {
            spare::clean_up(&*self.storage, &self.dir.join(segment::name(*number)));
        }
        let live = Live {
            segment: last,
            place,
            synced: place.at,
            closed: !cfg!(mutant = "append_after_torn_tail"),
            residue: false,
        };
        let wal =
            Wal::resume(self.storage, self.dir, epoch, self.options, &self.chain.segments, live, next_offset);
        Ok((wal, tail))
    }

    /// Makes the name of an empty last segment durable. That it can be seen does not prove that it is: the sync of its
    /// directory may have failed, and then another one that succeeds proves nothing. So the segment is made again, as
    /// small as one may be (it takes no frames), and put in its own place.
    fn name_again(&self, last: &Segment) -> Result<Segment, Error> {
        let path = self.dir.join(NEW);
        let remade = || {
            let mut header = last.header.clone();
            header.capacity = MIN_SEGMENT;
            let (block, _) = header.encode();
            let file = self.storage.create(&path)?;
            file.zero_fill(MIN_SEGMENT)?;
            file.write_at(&block, 0)?;
            file.sync_all()?;
            self.storage.rename(&path, &last.path)?;
            self.storage.sync_dir(&self.dir)
        };
        match remade() {
            Ok(()) => {}
            // No room even for that: the best that can be had without.
            Err(error) if is_storage_full(&error) => {
                spare::clean_up(&*self.storage, &path);
                let failed = |error| Error::io("syncing", &self.dir, error);
                self.storage.sync_dir(&self.dir).map_err(failed)?;
            }
            Err(error) => return Err(Error::io("making again", &last.path, error)),
        }
        Segment::open(&*self.storage, &self.dir, last.number(), Some(&self.expected.uuid))?
            .writable(&*self.storage)
    }

    /// Finds the place where the frames of the segment before an empty last one end. Its footer will be written again: a
    /// crash may have come before it, or its sync may have failed.
    fn walk_again(&self, before: Segment, end: u64) -> Result<(Segment, Place), Error> {
        let mut cursor = Cursor::new(&before, end, self.options.max_payload_bytes);
        while let Step::Frame(_) = cursor.peek(&before.path, &*before.file)? {
            cursor.advance();
        }
        let place = cursor.place();
        if place.at != end {
            let what = "the frames do not end where the successor's header says";
            return Err(segment::damaged(&before.path, place.at, what));
        }
        Ok((before, place))
    }

    /// Makes the end of the last segment what it was found to be: on the platter, not only in the page cache.
    fn settle(&self, last: &Segment, place: Place, used: u64) -> Result<Tail, Error> {
        let quarantined = self.quarantine(last, place.at, used)?;
        let rewritten = self.rewrite(last, &place)?;
        let limit = if cfg!(mutant = "append_after_torn_tail") { place.at } else { last.frames_limit() };
        let used = used.min(limit);
        let write = |error| Error::io("rewriting", &last.path, error);
        // The header's place first: once it is zero and synced, what follows can no longer become a frame, in whatever
        // order its own zeros arrive.
        let first = (place.at + FRAME_HEADER as u64).min(limit);
        last.file.write_at(&vec![0; (first - place.at) as usize], place.at).map_err(write)?;
        last.file.sync_data().map_err(write)?;
        if used > first {
            let mut at = first;
            while at < used {
                let part = (used - at).min(CHUNK as u64);
                last.file.write_at(&vec![0; part as usize], at).map_err(write)?;
                at += part;
            }
            last.file.sync_data().map_err(write)?;
        }
        let segment = last.number();
        Ok(if used > place.at {
            Tail::Torn {
                segment,
                kept: place.at,
                dropped: used - place.at,
                last_offset: last_offset(last, &place),
                rewritten,
                quarantined,
            }
        } else {
            Tail::Unconfirmed { segment, end: place.at, rewritten }
        })
    }

    /// Writes again what no watermark covers: after a failed sync the page cache may show bytes the platter lacks.
    fn rewrite(&self, last: &Segment, end: &Place) -> Result<u64, Error> {
        let from = end.watermark;
        if from >= end.at || cfg!(mutant = "trust_page_cache") {
            return Ok(0);
        }
        let write = |error| Error::io("rewriting", &last.path, error);
        let mut cursor = Cursor::new(last, end.at, self.options.max_payload_bytes);
        let mut bytes = Vec::new();
        let mut bytes_at = from;
        while let Step::Frame(_) = cursor.peek(&last.path, &*last.file)? {
            if cursor.place().at >= from {
                bytes.extend_from_slice(cursor.frame_bytes());
            }
            cursor.advance();
            if bytes.len() >= CHUNK {
                last.file.write_at(&bytes, bytes_at).map_err(write)?;
                bytes_at += bytes.len() as u64;
                bytes.clear();
            }
        }
        if cursor.place() != *end {
            return Err(Error::Unstable { file: last.path.clone(), at: cursor.place().at });
        }
        last.file.write_at(&bytes, bytes_at).map_err(write)?;
        Ok(end.at - from)
    }

    /// Keeps a bounded copy of what is about to be cut. That there is no room for it does not keep a log closed.
    fn quarantine(&self, last: &Segment, from: u64, used: u64) -> Result<Option<PathBuf>, Error> {
        let len = (used - from).min(self.options.quarantine_bytes);
        if len == 0 {
            return Ok(None);
        }
        let dir = self.dir.join(QUARANTINE);
        let path = dir.join(format!("{:016x}-{from:016x}.torn", last.number()));
        let mut bytes = vec![0; len as usize];
        let read =
            last.file.read_at(&mut bytes, from).map_err(|error| Error::io("reading", &last.path, error))?;
        bytes.truncate(read);
        let store = || {
            self.storage.create_dir(&dir)?;
            self.storage.sync_dir(&self.dir)?;
            let names = self.storage.list(&dir)?;
            // One that is there was copied by a recovery that did not finish; by now less of the tail may be left.
            if !names.iter().any(|name| dir.join(name) == path) {
                write_atomically(&*self.storage, &path, &bytes)?;
            }
            let keep = self.options.quarantine_files.saturating_sub(1);
            let others: Vec<&String> = names.iter().filter(|name| dir.join(name) != path).collect();
            for name in others.iter().take(others.len().saturating_sub(keep)) {
                spare::clean_up(&*self.storage, &dir.join(name));
            }
            Ok(())
        };
        match store() {
            Ok(()) => Ok(Some(path)),
            Err(error) if is_storage_full(&error) => Ok(None),
            Err(error) => Err(Error::io("quarantining a torn tail in", &dir, error)),
        }
    }
}
