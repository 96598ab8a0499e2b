//! A segment's bytes as facts, whatever state they are in: for showing, for checking, and for salvaging.
//!
//! Nothing is refused and nothing is believed: every frame whose own checksums are right is given, also behind damage,
//! with a word on whether it follows the frame before it.

use std::path::{Path, PathBuf};

use crate::format::footer::NoFooter;
use crate::format::frame::{CONFIRM, MAGIC};
use crate::format::{
    BLOCK, CHECKSUM_CRC32, FIRST_FRAME, FORMAT_VERSION, FRAME_HEADER, FrameHeader, checksum, seed,
};
use crate::segment::{self, Segment};
use crate::storage::{Storage, StorageFile};
use crate::{Error, Identity};

/// What the header of a segment says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SegmentFacts {
    /// The file.
    pub path: PathBuf,
    /// Its length in bytes.
    pub bytes: u64,
    /// Format version.
    pub version: u32,
    /// Id of the checksum algorithm.
    pub checksum_algorithm: u32,
    /// UUID of the database.
    pub uuid: [u8; 16],
    /// Number of the segment.
    pub number: u64,
    /// Epoch of its writer.
    pub epoch: u64,
    /// The first offset it may hold.
    pub first_offset: u64,
    /// The first offset it may not hold.
    pub offset_limit: u64,
    /// Length of the file until it is sealed.
    pub capacity: u64,
    /// What it says of the segment before it; `None` in the first.
    pub predecessor: Option<PredecessorFacts>,
    /// Whether it cut off what followed its predecessor's end.
    pub truncates: bool,
    /// Opaque metadata.
    pub metadata: Vec<u8>,
    /// Checksum of the header.
    pub checksum: u32,
    /// What the last block says.
    pub footer: FooterFacts,
}

/// What a segment says of the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PredecessorFacts {
    /// Its number.
    pub number: u64,
    /// Where its frames end.
    pub end: u64,
    /// The offset after its last one.
    pub next_offset: u64,
    /// Header checksum of its last frame.
    pub checksum: u32,
}

/// What the last block of a segment says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FooterFacts {
    /// The segment is sealed.
    Sealed {
        /// Its frames, confirming ones included.
        frames: u64,
        /// The offset after the last one.
        next_offset: u64,
        /// Where its frames end.
        end: u64,
        /// Header checksum of the last frame.
        checksum: u32,
    },
    /// The segment is not sealed.
    Unsealed,
    /// Begins like a footer and is none.
    Damaged {
        /// The checksum it says.
        expected: u32,
        /// The checksum of what is there.
        found: u32,
    },
}

/// A piece of a segment between header and footer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Item<'a> {
    /// Bytes that are a frame: both checksums are right.
    Frame {
        /// What its header says.
        facts: FrameFacts,
        /// Its payload.
        payload: &'a [u8],
    },
    /// Bytes that are no frame, and not all zeros.
    Damage {
        /// The first byte.
        from: u64,
        /// The byte after the last one.
        to: u64,
        /// What is wrong at the first byte.
        what: &'static str,
    },
    /// Zeros.
    Zeros {
        /// The first byte.
        from: u64,
        /// The byte after the last one.
        to: u64,
    },
}

/// What the header of a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FrameFacts {
    /// Byte at which it starts.
    pub at: u64,
    /// Bytes of the payload.
    pub length: u32,
    /// First offset.
    pub first_offset: u64,
    /// How many offsets it covers; 0 in a confirming frame.
    pub count: u32,
    /// End of the bytes known synced when it was built.
    pub watermark: u64,
    /// Whether it is a confirming frame.
    pub confirming: bool,
    /// Groups that had failed before it.
    pub attempt: u32,
    /// Header checksum of the frame before it.
    pub previous: u32,
    /// Checksum of its payload.
    pub payload_checksum: u32,
    /// Checksum of its header.
    pub checksum: u32,
    /// Whether it follows the frame before it (or the header) without a break.
    pub follows: bool,
}

/// The paths of the segments in a log's directory, oldest first.
///
/// # Errors
/// [`Error::Io`].
pub fn segments(storage: &dyn Storage, dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let numbers = segment::numbers(storage, dir)?;
    Ok(numbers.into_iter().map(|number| dir.join(segment::name(number))).collect())
}

/// What header and footer of a segment say. Cost: two reads of 4 KiB. A file whose name is not that of a segment is taken
/// for the one that its header says.
///
/// # Errors
/// [`Error::Corrupt`] when the header is not right, [`Error::NewerFormat`], [`Error::UnknownChecksum`], [`Error::Io`].
pub fn segment_facts(storage: &dyn Storage, path: &Path) -> Result<SegmentFacts, Error> {
    Ok(facts(&open(storage, path)?))
}

/// Gives every piece of a segment between header and footer, in order, and then says what header and footer say.
///
/// Memory: a frame at a time.
///
/// # Errors
/// As [`segment_facts`], and [`Error::Io`] when a read fails on the way.
pub fn walk(
    storage: &dyn Storage,
    path: &Path,
    visit: &mut dyn FnMut(Item<'_>),
) -> Result<SegmentFacts, Error> {
    let segment = open(storage, path)?;
    let seed = segment.header.seed();
    // A file that was cut short has no footer: its last block may be frames.
    let cut = segment.footer.is_err() && segment.len < segment.header.capacity;
    let end = if cut { segment.len } else { segment.frames_limit() };
    walk_file(path, &*segment.file, seed, segment.header_checksum, end, visit)?;
    Ok(facts(&segment))
}

/// As [`walk`], for a segment whose header is damaged: database and epoch, which the checksums depend on, are given. The
/// number comes from the file's name.
///
/// # Errors
/// [`Error::Corrupt`] when the name is not that of a segment, [`Error::Io`].
pub fn walk_without_header(
    storage: &dyn Storage,
    path: &Path,
    identity: Identity,
    visit: &mut dyn FnMut(Item<'_>),
) -> Result<(), Error> {
    let number = number(path)?;
    let file = storage.open_read(path).map_err(|error| Error::io("opening", path, error))?;
    let len = file.len().map_err(|error| Error::io("reading", path, error))?;
    let seed = seed(&identity.uuid, number, identity.epoch);
    walk_file(path, &*file, seed, 0, len.saturating_sub(BLOCK as u64), visit)
}

fn walk_file(
    path: &Path,
    file: &dyn StorageFile,
    seed: u32,
    previous: u32,
    end: u64,
    visit: &mut dyn FnMut(Item<'_>),
) -> Result<(), Error> {
    let mut walk = Walk { path, file, seed, previous, gap: None, visit };
    let mut at = FIRST_FRAME;
    while at < end {
        at = walk.step(at, end)?;
    }
    walk.close_gap(end);
    Ok(())
}

fn number(path: &Path) -> Result<u64, Error> {
    let name = path.file_name().and_then(|name| name.to_str());
    name.and_then(segment::number)
        .ok_or_else(|| segment::damaged(path, 0, "the file's name is not that of a segment"))
}

fn open(storage: &dyn Storage, path: &Path) -> Result<Segment, Error> {
    Segment::open_file(storage, path.to_owned(), number(path).ok(), None)
}

fn facts(segment: &Segment) -> SegmentFacts {
    let header = &segment.header;
    let before = &header.predecessor;
    SegmentFacts {
        path: segment.path.clone(),
        bytes: segment.len,
        version: FORMAT_VERSION,
        checksum_algorithm: CHECKSUM_CRC32,
        uuid: header.uuid,
        number: header.number,
        epoch: header.epoch,
        first_offset: header.first_offset,
        offset_limit: header.offset_limit,
        capacity: header.capacity,
        predecessor: (before.number > 0).then_some(PredecessorFacts {
            number: before.number,
            end: before.end,
            next_offset: before.next_offset,
            checksum: before.checksum,
        }),
        truncates: header.truncates,
        metadata: header.metadata.clone(),
        checksum: segment.header_checksum,
        footer: match segment.footer {
            Ok(footer) => FooterFacts::Sealed {
                frames: footer.frames,
                next_offset: footer.next_offset,
                end: footer.end,
                checksum: footer.checksum,
            },
            Err(NoFooter::Unsealed) => FooterFacts::Unsealed,
            Err(NoFooter::Bad { expected, found }) => FooterFacts::Damaged { expected, found },
        },
    }
}

/// Bytes that are no frame, so far.
#[derive(Clone, Copy)]
struct Gap {
    from: u64,
    /// What is wrong at its first byte that is not zero, and where that is; `None` while all are zeros.
    damage: Option<(u64, &'static str)>,
    /// The byte after the last one that is not zero.
    used: u64,
}

struct Walk<'a> {
    path: &'a Path,
    file: &'a dyn StorageFile,
    seed: u32,
    /// Header checksum of the last frame, or the header's.
    previous: u32,
    gap: Option<Gap>,
    visit: &'a mut dyn FnMut(Item<'_>),
}

impl Walk<'_> {
    /// Looks at one place; gives the next one.
    fn step(&mut self, at: u64, end: u64) -> Result<u64, Error> {
        let len = (BLOCK as u64).min(end - at) as usize;
        let mut block = vec![0; len];
        let read = self.read(&mut block, at)?;
        block.truncate(read.max(1));
        if self.gap.is_none() || block.starts_with(&MAGIC) {
            let what = match self.frame(at, end, &block)? {
                Ok(next) => return Ok(next),
                Err(what) => what,
            };
            let here = &block[..block.len().min(8)];
            self.extend_gap(at, at + here.len() as u64, what, here);
            return Ok(at + 8);
        }
        // In a gap: on to the next place where a frame might begin.
        let next = (8..block.len()).step_by(8).find(|&inside| block[inside..].starts_with(&MAGIC));
        let skip = next.unwrap_or(block.len());
        self.extend_gap(at, at + skip as u64, "the bytes are no frame", &block[..skip]);
        Ok((at + skip as u64).next_multiple_of(8))
    }

    /// Gives the frame that starts here, and where it ends; or what is wrong with it.
    fn frame(&mut self, at: u64, end: u64, block: &[u8]) -> Result<Result<u64, &'static str>, Error> {
        let Some(bytes) = block.first_chunk::<FRAME_HEADER>() else {
            return Ok(Err("there is no room for a frame"));
        };
        if bytes.iter().all(|&byte| byte == 0) {
            return Ok(Err("there are zeros"));
        }
        let Ok((header, sum)) = FrameHeader::decode(self.seed, bytes) else {
            return Ok(Err("the frame header's checksum is wrong"));
        };
        if !header.is_sane(at) || header.frame_bytes() > end - at {
            return Ok(Err("the frame header contradicts itself"));
        }
        let mut payload = vec![0; header.length as usize];
        let read = self.read(&mut payload, at + FRAME_HEADER as u64)?;
        if read < payload.len() || checksum(self.seed, &payload) != header.payload_checksum {
            return Ok(Err("the payload's checksum is wrong"));
        }
        self.close_gap(at);
        let facts = FrameFacts {
            at,
            length: header.length,
            first_offset: header.first_offset,
            count: header.count,
            watermark: header.watermark,
            confirming: header.flags == CONFIRM,
            attempt: header.attempt,
            previous: header.previous,
            payload_checksum: header.payload_checksum,
            checksum: sum,
            follows: header.previous == self.previous,
        };
        self.previous = sum;
        (self.visit)(Item::Frame { facts, payload: &payload });
        Ok(Ok(at + header.frame_bytes()))
    }

    fn extend_gap(&mut self, from: u64, to: u64, what: &'static str, bytes: &[u8]) {
        let gap = self.gap.get_or_insert(Gap { from, damage: None, used: from });
        if let Some(first) = bytes.iter().position(|&byte| byte != 0) {
            let last = bytes.iter().rposition(|&byte| byte != 0).unwrap_or(first);
            gap.damage.get_or_insert((from + first as u64, what));
            gap.used = (from + last as u64 + 1).min(to);
        }
    }

    /// Gives what is no frame, up to here.
    fn close_gap(&mut self, to: u64) {
        let Some(gap) = self.gap.take() else { return };
        let Some((damage, what)) = gap.damage else {
            return (self.visit)(Item::Zeros { from: gap.from, to });
        };
        // Zeros of less than a header before the damage belong to it.
        let from = if damage - gap.from >= FRAME_HEADER as u64 { damage & !7 } else { gap.from };
        if from > gap.from {
            (self.visit)(Item::Zeros { from: gap.from, to: from });
        }
        (self.visit)(Item::Damage { from, to: gap.used, what });
        if gap.used < to {
            (self.visit)(Item::Zeros { from: gap.used, to });
        }
    }

    fn read(&self, buffer: &mut [u8], at: u64) -> Result<usize, Error> {
        self.file.read_at(buffer, at).map_err(|error| Error::io("reading", self.path, error))
    }
}
