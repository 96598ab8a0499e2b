//! Going on in a new segment.

use std::io;
use std::path::{Path, PathBuf};

use crate::cursor::Place;
use crate::format::footer::NoFooter;
use crate::format::{BLOCK, FIRST_FRAME, FRAME_HEADER, Predecessor, SEGMENT_OFFSETS, SegmentHeader};
use crate::seal::{SealStep, seal};
use crate::segment::{self, NEW, SPARE, Segment};
use crate::spare::{Spare, adopt, clean_up, zeros};
use crate::storage::{Storage, StorageFile, is_storage_full};
use crate::{Error, Identity, Options, scan};

use super::{Live, Sealed, Unsealed, Wal};

/// Bytes of the first segment of a run, at most: many runs need no more, and the first write does not wait for a whole
/// segment of zeros.
const FIRST_SEGMENT: u64 = 1 << 20;

/// What a new segment is to be.
pub(super) struct Plan<'a> {
    pub(super) identity: Identity,
    /// Its length, when the group does not need more.
    pub(super) segment_bytes: u64,
    pub(super) number: u64,
    pub(super) first_offset: u64,
    /// Offsets of the group it is made for.
    pub(super) offsets: u64,
    /// Bytes of that group.
    pub(super) group_bytes: u64,
    pub(super) predecessor: Predecessor,
    pub(super) truncates: bool,
    pub(super) metadata: &'a [u8],
}

/// Why there is no new segment.
pub(super) enum Failure {
    /// Nothing about the log has changed.
    Clean(Error),
    /// A write or sync failed: what the disk holds is not known.
    Final { what: &'static str, path: PathBuf, error: io::Error },
}

impl Failure {
    /// As an error of a log that does not exist yet.
    pub(super) fn into_error(self) -> Error {
        match self {
            Self::Clean(error) => error,
            Self::Final { what, path, error } => Error::io(what, &path, error),
        }
    }
}

impl Wal {
    /// Begins a new segment for a group of this size, and seals the live one.
    pub(super) fn rotate_for(&mut self, group_bytes: u64, offsets: u64) -> Result<(), Error> {
        let segment_bytes =
            if self.live.closed { first_segment(&self.options) } else { self.options.segment_bytes };
        self.rotate_into(segment_bytes, self.live.closed, group_bytes, offsets)
    }

    /// As [`rotate_for`](Self::rotate_for), into a segment of `segment_bytes` where the group has room in it. `exact` cuts
    /// the live segment behind its frames however little that saves.
    pub(super) fn rotate_into(
        &mut self,
        segment_bytes: u64,
        exact: bool,
        group_bytes: u64,
        offsets: u64,
    ) -> Result<(), Error> {
        self.complete_seal()?;
        self.sync()?;
        let place = self.live.place;
        let predecessor = Predecessor {
            number: self.live.segment.number(),
            end: place.at,
            next_offset: place.next_offset,
            checksum: place.chain,
        };
        let live = self.make_segment(predecessor, false, segment_bytes, group_bytes, offsets)?;
        let before = std::mem::replace(&mut self.live, live);
        self.sealed.push_back(Sealed::of(&before.segment, place.next_offset));
        self.unsealed = Some(Unsealed { live: before, exact });
        self.complete_seal()
    }

    /// Makes the segment after the live one and its name durable.
    pub(super) fn make_segment(
        &mut self,
        predecessor: Predecessor,
        truncates: bool,
        segment_bytes: u64,
        group_bytes: u64,
        offsets: u64,
    ) -> Result<Live, Error> {
        let plan = Plan {
            identity: self.identity,
            segment_bytes,
            number: self.live.segment.number() + 1,
            first_offset: self.next_offset,
            offsets,
            group_bytes,
            predecessor,
            truncates,
            metadata: &self.metadata,
        };
        let spare = if plan.capacity() == self.options.segment_bytes {
            self.spare.take_if(|spare| spare.bytes == self.options.segment_bytes)
        } else {
            None
        };
        let alone = self.no_spare_job_runs();
        match make(&*self.storage, &self.dir, &self.options, &plan, spare, alone) {
            Ok(live) => {
                self.counters.rotations += 1;
                Ok(live)
            }
            Err(Failure::Clean(error)) => Err(error),
            Err(Failure::Final { what, path, error }) => Err(self.poison(what, &path, &error)),
        }
    }

    /// Writes the footer that is still missing, if one is.
    pub(super) fn complete_seal(&mut self) -> Result<(), Error> {
        let Some(Unsealed { live, exact }) = &self.unsealed else { return Ok(()) };
        match seal(&live.segment, &live.place, *exact) {
            Ok(len) => {
                let number = live.segment.number();
                if let Some(sealed) = self.sealed.iter_mut().rfind(|sealed| sealed.number == number) {
                    sealed.bytes = len;
                }
                self.unsealed = None;
                Ok(())
            }
            Err((SealStep::Write, source)) if is_storage_full(&source) => {
                let file = live.segment.path.clone();
                Err(Error::StorageFull { file, needed: BLOCK as u64, certain: true, source })
            }
            Err((_, error)) => {
                let path = live.segment.path.clone();
                Err(self.poison("sealing", &path, &error))
            }
        }
    }
}

impl Plan<'_> {
    fn capacity(&self) -> u64 {
        let needed = 2 * BLOCK as u64 + FRAME_HEADER as u64 + self.group_bytes;
        self.segment_bytes.max(needed.next_multiple_of(BLOCK as u64))
    }
}

/// Length of the first segment of a run.
pub(super) fn first_segment(options: &Options) -> u64 {
    options.segment_bytes.min(FIRST_SEGMENT)
}

/// Makes a segment's file and its name durable. `may_adopt` says that nobody else is working on a spare.
pub(super) fn make(
    storage: &dyn Storage,
    dir: &Path,
    options: &Options,
    plan: &Plan<'_>,
    spare: Option<Spare>,
    may_adopt: bool,
) -> Result<Live, Failure> {
    let capacity = plan.capacity();
    let may_adopt = may_adopt && capacity == options.segment_bytes;
    let (file, from) = match spare {
        Some(spare) => (spare.file, spare.path),
        None => find_zeros(storage, dir, capacity, may_adopt).map_err(Failure::Clean)?,
    };
    let header = SegmentHeader {
        uuid: plan.identity.uuid,
        number: plan.number,
        epoch: plan.identity.epoch,
        first_offset: plan.first_offset,
        offset_limit: plan.first_offset.saturating_add(SEGMENT_OFFSETS.max(plan.offsets)),
        capacity,
        predecessor: plan.predecessor,
        truncates: plan.truncates,
        metadata: plan.metadata.to_vec(),
    };
    let (block, header_checksum) = header.encode();
    let final_failure = |what| {
        let path = from.clone();
        move |error| Failure::Final { what, path, error }
    };
    if let Err(source) = file.write_at(&block, 0) {
        if !is_storage_full(&source) {
            return Err(final_failure("a write to")(source));
        }
        drop(file);
        clean_up(storage, &from);
        return Err(Failure::Clean(Error::StorageFull {
            file: from,
            needed: capacity,
            certain: true,
            source,
        }));
    }
    file.sync_all().map_err(final_failure("a sync of"))?;
    let path = dir.join(segment::name(plan.number));
    storage.rename(&from, &path).map_err(final_failure("renaming"))?;
    if !cfg!(mutant = "skip_directory_sync") {
        let failed = |error| Failure::Final { what: "a sync of", path: dir.to_owned(), error };
        storage.sync_dir(dir).map_err(failed)?;
    }
    let segment =
        Segment { path, file, len: capacity, header, header_checksum, footer: Err(NoFooter::Unsealed) };
    let place = Place::start(&segment);
    Ok(Live { segment, place, synced: FIRST_FRAME, closed: false, residue: false })
}

/// A file of zeros: the spare that an earlier run left, or a new one.
fn find_zeros(
    storage: &dyn Storage,
    dir: &Path,
    capacity: u64,
    may_adopt: bool,
) -> Result<(Box<dyn StorageFile>, PathBuf), Error> {
    let spare = dir.join(SPARE);
    if may_adopt && let Some(file) = adopt(storage, &spare, capacity)? {
        return Ok((file, spare));
    }
    let path = dir.join(NEW);
    Ok((zeros(storage, &path, capacity)?, path))
}

/// Whether a segment is a valid one without anything behind its header.
pub(super) fn holds_nothing(storage: &dyn Storage, dir: &Path, number: u64) -> Result<bool, Error> {
    match Segment::open(storage, dir, number, None) {
        Ok(segment) => {
            let used = scan::used_until(&segment.path, &*segment.file, FIRST_FRAME, segment.len)?;
            Ok(used == FIRST_FRAME)
        }
        Err(Error::Corrupt(_)) => Ok(false),
        Err(error) => Err(error),
    }
}
