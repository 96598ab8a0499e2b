//! The log, open for writing.
//!
//! Frames are gathered into a group by [`Wal::append`], written with one contiguous write by [`Wal::write_group`], and
//! made durable by [`Wal::sync`]; the caller chooses when. A group lies in one segment: when it does not fit into what
//! is left of the live one, [`Wal::write_group`] goes on in a new segment (see the `seal` module for the order in which
//! that happens), of the group's own size if need be.

mod failure;
mod give_back;
mod group;
mod housekeeping;
mod live;
mod rotate;
mod stats;
mod truncate;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::format::{MAX_FRAME_OFFSETS, MAX_METADATA, Predecessor};
use crate::segment::{self, Segment};
use crate::storage::{Storage, is_storage_full};
use crate::{CleanMark, Error, Identity, Options};

pub use crate::spare::{Spare, SpareJob, remove_spare};
pub use group::Payload;
pub(crate) use live::Live;
pub use stats::{LogStats, Purged, Synced, Written};

use group::Group;
use live::Sealed;

/// A log, open for writing.
///
/// One thread owns it. It must have the directory to itself among writers: take a lock ([`Storage::lock`]) first.
/// Dropping it does nothing: what was not synced may be lost, as in a crash.
pub struct Wal {
    storage: Arc<dyn Storage>,
    dir: PathBuf,
    options: Options,
    identity: Identity,
    metadata: Vec<u8>,
    live: Live,
    /// The segment before the live one, while its footer is still to be written. No frame is written before it is.
    unsealed: Option<Unsealed>,
    sealed: VecDeque<Sealed>,
    /// The offset after the last one written.
    next_offset: u64,
    group: Group,
    spare: Option<Spare>,
    spare_ticket: Arc<()>,
    poisoned: Option<Arc<str>>,
    on_sync: Option<Box<dyn FnMut(Synced) + Send>>,
    counters: Counters,
}

/// A segment that has a durable successor and no footer yet.
#[derive(Debug)]
struct Unsealed {
    live: Live,
    /// Whether bytes behind its end are to go whatever that saves.
    exact: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counters {
    groups: u64,
    bytes: u64,
    syncs: u64,
    rotations: u64,
}

impl std::fmt::Debug for Wal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wal").field("dir", &self.dir).field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl Wal {
    /// Makes a log in an existing directory that holds none, and its first segment, durably. It starts at offset 0.
    ///
    /// A directory in which an earlier call was interrupted (an empty first segment at most) is taken over.
    ///
    /// # Errors
    /// [`Error::NotEmpty`], [`Error::StorageFull`], [`Error::Io`], and [`Error::Poisoned`] when a write or sync failed;
    /// after any of them the call can be repeated.
    pub fn create(
        storage: Arc<dyn Storage>,
        dir: &Path,
        identity: Identity,
        options: Options,
    ) -> Result<Self, Error> {
        Self::create_at(storage, dir, identity, options, 0)
    }

    /// As [`create`](Self::create), for a log that starts at `first_offset`: what is before it is kept elsewhere.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn create_at(
        storage: Arc<dyn Storage>,
        dir: &Path,
        identity: Identity,
        options: Options,
        first_offset: u64,
    ) -> Result<Self, Error> {
        for number in segment::numbers(&*storage, dir)? {
            let empty = number == 1 && rotate::holds_nothing(&*storage, dir, number)?;
            if !empty {
                return Err(Error::NotEmpty { dir: dir.to_owned() });
            }
            let path = dir.join(segment::name(number));
            storage.remove(&path).map_err(|error| Error::io("removing", &path, error))?;
        }
        let options = options.normalized();
        let plan = rotate::Plan {
            identity,
            segment_bytes: rotate::first_segment(&options),
            number: 1,
            first_offset,
            offsets: 0,
            group_bytes: 0,
            predecessor: Predecessor::default(),
            truncates: false,
            metadata: &[],
        };
        let made = rotate::make(&*storage, dir, &options, &plan, None, true);
        let live = made.map_err(rotate::Failure::into_error)?;
        Ok(Self::assemble(storage, dir.to_owned(), identity, options, VecDeque::new(), live, first_offset))
    }

    /// The log that [`Recovery::finish`](crate::Recovery::finish) found.
    pub(crate) fn resume(
        storage: Arc<dyn Storage>,
        dir: PathBuf,
        epoch: u64,
        options: Options,
        sealed: &[Segment],
        live: Live,
        next_offset: u64,
    ) -> Self {
        let identity = Identity { uuid: live.segment.header.uuid, epoch };
        let mut pins = sealed.iter().skip(1).map(|segment| segment.header.predecessor.next_offset);
        let mut list = VecDeque::with_capacity(sealed.len());
        for segment in sealed {
            let next_offset = pins.next().unwrap_or(live.segment.header.predecessor.next_offset);
            list.push_back(Sealed::of(segment, next_offset));
        }
        Self::assemble(storage, dir, identity, options, list, live, next_offset)
    }

    fn assemble(
        storage: Arc<dyn Storage>,
        dir: PathBuf,
        identity: Identity,
        options: Options,
        sealed: VecDeque<Sealed>,
        live: Live,
        next_offset: u64,
    ) -> Self {
        Self {
            storage,
            dir,
            options,
            identity,
            metadata: live.segment.header.metadata.clone(),
            live,
            unsealed: None,
            sealed,
            next_offset,
            group: Group::default(),
            spare: None,
            spare_ticket: Arc::new(()),
            poisoned: None,
            on_sync: None,
            counters: Counters::default(),
        }
    }

    /// The offset the next appended frame starts at; it counts what was appended and not yet written.
    pub fn next_offset(&self) -> u64 {
        self.next_offset + self.group.offsets()
    }

    /// The identity this log writes with.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// Adds a frame of `count` offsets to the group, and gives its first offset. Writes nothing.
    ///
    /// Cost: one copy of the payload; no allocation once the group buffer has grown to its usual size.
    ///
    /// # Errors
    /// [`Error::TooLarge`] (also when `count` is 0), [`Error::Poisoned`]. The group stays as it was.
    pub fn append(&mut self, count: u32, payload: &[u8]) -> Result<u64, Error> {
        self.append_with(count, payload.len(), |out| out.extend_from_slice(payload))
    }

    /// As [`append`](Self::append), with the payload written straight into the group buffer. `bytes_hint` is how large
    /// it will be, about.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub fn append_with(
        &mut self,
        count: u32,
        bytes_hint: usize,
        fill: impl FnOnce(&mut Payload<'_>),
    ) -> Result<u64, Error> {
        self.check_poison()?;
        let first_offset = self.next_offset();
        let max_bytes = u64::from(self.options.max_payload_bytes);
        let too_large = |bytes| Error::TooLarge { bytes, count, max_bytes, max_count: MAX_FRAME_OFFSETS };
        if count == 0 || count > MAX_FRAME_OFFSETS || first_offset.checked_add(u64::from(count)).is_none() {
            return Err(too_large(0));
        }
        if bytes_hint as u64 > max_bytes {
            return Err(too_large(bytes_hint as u64));
        }
        let bytes = self.group.push(first_offset, count, bytes_hint, fill);
        if bytes > max_bytes {
            self.group.pop();
            return Err(too_large(bytes));
        }
        Ok(first_offset)
    }

    /// Bytes the group has so far, headers and padding included.
    pub fn group_bytes(&self) -> usize {
        self.group.bytes()
    }

    /// Writes the group with one write. It is not durable before the next [`sync`](Self::sync) that succeeds.
    ///
    /// Rotates first when the group does not fit into the live segment (or after an opening), which costs up to three
    /// syncs, and the writing of a segment's worth of zeros unless a spare was accepted.
    ///
    /// # Errors
    /// The group is dropped and its offsets are free again, whatever the error. With [`Error::StorageFull`] and
    /// [`Error::Io`] the log goes on; with [`Error::Poisoned`] it does not, and whether the group is there after a
    /// restart is not known.
    pub fn write_group(&mut self) -> Result<Written, Error> {
        let written = self.try_write_group();
        self.group.clear();
        written
    }

    /// Forgets what was appended since the last [`write_group`](Self::write_group). Nothing of it reached the file.
    pub fn abort_group(&mut self) {
        self.group.clear();
    }

    /// Makes every written frame durable with one fdatasync; none when there is nothing to sync.
    ///
    /// # Errors
    /// [`Error::Poisoned`]: after the first failure the log takes nothing more, because a second sync that succeeds
    /// would prove nothing.
    pub fn sync(&mut self) -> Result<(), Error> {
        self.check_poison()?;
        if self.live.synced == self.live.place.at {
            return Ok(());
        }
        self.sync_live()
    }

    /// Gives the last synced group a witness, if it has none: empty frames whose watermark covers it, so that damage to it
    /// can be told from a torn write. To be called when nothing was written for a while. Syncs first what is not
    /// synced. Says whether anything was written.
    ///
    /// Cost when there is something to do: one small write and one or two syncs. Right after an unclean opening the
    /// witness is a new segment.
    ///
    /// # Errors
    /// [`Error::StorageFull`], [`Error::Io`], [`Error::Poisoned`]. The group that is being gathered is not touched.
    pub fn confirm(&mut self) -> Result<bool, Error> {
        self.check_poison()?;
        if self.live.place.data_end <= self.live.place.watermark {
            return Ok(false);
        }
        if self.live.closed {
            self.rotate_for(0, 0)?;
            return Ok(true);
        }
        self.complete_seal()?;
        self.sync()?;
        let (frames, place) = self.live.confirming_frames();
        self.write_at_end(&frames, &place)?;
        self.sync()?;
        Ok(true)
    }

    /// Writes what is left of the group, syncs, gives the last group its witness, gives preallocated space back where it
    /// is worth it ([`Options::close_slack_bytes`]), and says where the log ends.
    ///
    /// The caller stores the mark durably and gives it to [`Recovery::open`](crate::Recovery::open). A log that was
    /// opened and not written to is closed without touching the disk.
    ///
    /// # Errors
    /// [`Error::StorageFull`], [`Error::Io`], [`Error::Poisoned`]: there is no mark, and the next opening recovers.
    pub fn close(mut self) -> Result<CleanMark, Error> {
        self.check_poison()?;
        self.write_group()?;
        self.complete_seal()?;
        self.give_back()?;
        if !self.live.closed {
            self.confirm()?;
        }
        self.wipe_end()?;
        self.sync()?;
        Ok(CleanMark {
            segment: self.live.segment.number(),
            end: self.live.place.at,
            next_offset: self.next_offset,
            checksum: self.live.place.chain,
        })
    }

    /// Sets [`Options::segment_bytes`] for the segments to come, within the format's limits: smaller ones where space is
    /// short. A spare of another size is kept, and not used.
    pub fn set_segment_bytes(&mut self, bytes: u64) {
        self.options = Options { segment_bytes: bytes, ..self.options.clone() }.normalized();
    }

    /// The opaque metadata that the next segment will carry.
    pub fn metadata(&self) -> &[u8] {
        &self.metadata
    }

    /// Sets the opaque metadata of the segments to come. It is durable with the next rotation, not before; use
    /// [`rotate`](Self::rotate) to have one.
    ///
    /// # Errors
    /// [`Error::MetadataTooLarge`] above 1,024 bytes.
    pub fn set_metadata(&mut self, metadata: &[u8]) -> Result<(), Error> {
        if metadata.len() > MAX_METADATA {
            return Err(Error::MetadataTooLarge { bytes: metadata.len(), max_bytes: MAX_METADATA });
        }
        metadata.clone_into(&mut self.metadata);
        Ok(())
    }

    /// Has a function called after each sync that made frames durable, with how far the log is durable now. It runs
    /// on the thread that syncs, before [`sync`](Self::sync) returns.
    pub fn on_sync(&mut self, notify: Box<dyn FnMut(Synced) + Send>) {
        self.on_sync = Some(notify);
    }

    fn try_write_group(&mut self) -> Result<Written, Error> {
        self.check_poison()?;
        if self.group.is_empty() {
            return Ok(Written { next_offset: self.next_offset, ..Written::default() });
        }
        let offsets = self.group.offsets();
        let rotated = !self.live.takes(self.group.bytes() as u64, self.next_offset + offsets);
        if rotated {
            self.rotate_for(self.group.bytes() as u64, offsets)?;
        }
        self.complete_seal()?;
        let place = self.group.encode(&self.live);
        let bytes = std::mem::take(&mut self.group.buffer);
        let outcome = self.write_at_end(&bytes, &place);
        self.group.buffer = bytes;
        outcome?;
        self.next_offset += offsets;
        self.counters.groups += 1;
        Ok(Written {
            frames: self.group.frames(),
            bytes: self.group.bytes() as u64,
            next_offset: self.next_offset,
            rotated,
        })
    }

    /// Writes encoded frames at the end of the live segment. `after` is the place behind them.
    fn write_at_end(&mut self, bytes: &[u8], after: &crate::cursor::Place) -> Result<(), Error> {
        let at = self.live.place.at;
        match self.live.segment.file.write_at(bytes, at) {
            Ok(()) => {
                self.live.place = *after;
                self.live.residue = false;
                self.counters.bytes += bytes.len() as u64;
                Ok(())
            }
            Err(error) if is_storage_full(&error) => Err(self.take_back(bytes.len() as u64, error)),
            Err(error) => Err(self.poison("a write to", &self.live.segment.path.clone(), &error)),
        }
    }
}
