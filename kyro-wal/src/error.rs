//! What can go wrong with a log: one error type, which names the place.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why an operation of the log failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Bytes that were durable are not what was written. Nothing on disk was changed.
    #[error("{0}")]
    Corrupt(Box<Corruption>),

    /// The file was written by a newer version. Nothing on disk was changed.
    #[error(
        "{} has format version {found}; this program reads up to {supported}: use a newer program",
        file.display()
    )]
    NewerFormat {
        /// The segment.
        file: PathBuf,
        /// Its format version.
        found: u32,
        /// The newest version read here.
        supported: u32,
    },

    /// The file uses a checksum algorithm that is not known here.
    #[error(
        "{} uses checksum algorithm {found}; this program knows {supported}: use a newer program",
        file.display()
    )]
    UnknownChecksum {
        /// The segment.
        file: PathBuf,
        /// The algorithm's id.
        found: u32,
        /// The id known here.
        supported: u32,
    },

    /// The segment belongs to another database.
    #[error(
        "{} belongs to database {}, not to {}: it was copied here by mistake, or the manifest was",
        file.display(), hex(found), hex(expected)
    )]
    WrongDatabase {
        /// The segment.
        file: PathBuf,
        /// The UUID in its header.
        found: [u8; 16],
        /// The UUID asked for.
        expected: [u8; 16],
    },

    /// A segment that must be there is not. Nothing on disk was changed.
    #[error(
        "segment {segment} is missing from {}: {why}; restore the file, or salvage what is left with `kyro-http repair DIR --into NEW`",
        dir.display()
    )]
    MissingSegment {
        /// The log's directory.
        dir: PathBuf,
        /// The segment's number.
        segment: u64,
        /// What says that it must be there.
        why: &'static str,
    },

    /// A newer writer has taken the log over.
    #[error("epoch {ours} may not write {}: it was written by epoch {found}", dir.display())]
    Fenced {
        /// The log's directory.
        dir: PathBuf,
        /// The epoch asked for.
        ours: u64,
        /// The epoch of the newest segment.
        found: u64,
    },

    /// [`Wal::create`](crate::Wal::create) found a log in the directory.
    #[error("{} already holds a log: open it, or choose another directory", dir.display())]
    NotEmpty {
        /// The directory.
        dir: PathBuf,
    },

    /// A frame larger than the log takes. Nothing was written.
    #[error(
        "a frame of {bytes} bytes and {count} offsets cannot be: at most {max_bytes} bytes, and 1 to {max_count} offsets"
    )]
    TooLarge {
        /// Bytes of the payload.
        bytes: u64,
        /// Offsets the frame would cover.
        count: u32,
        /// The most bytes a payload may have: [`Options::max_payload_bytes`](crate::Options::max_payload_bytes).
        max_bytes: u64,
        /// The most offsets a frame may cover.
        max_count: u32,
    },

    /// The metadata of a segment is over its slot. Nothing was changed.
    #[error("segment metadata of {bytes} bytes is over the limit of {max_bytes}")]
    MetadataTooLarge {
        /// Bytes given.
        bytes: usize,
        /// Bytes that fit.
        max_bytes: usize,
    },

    /// There was no room for the group. The log is as it was before the group, and goes on when there is room again.
    #[error("no room to write {needed} bytes to {}: free space; writing resumes by itself", file.display())]
    StorageFull {
        /// The file that could not grow or be written.
        file: PathBuf,
        /// Bytes that were to be written.
        needed: u64,
        /// Whether it is certain that nothing of the group will be there after a crash. When false, the group is
        /// indeterminate: a part of it reached the file and could not be taken back.
        certain: bool,
        /// What the file system said.
        #[source]
        source: io::Error,
    },

    /// An earlier write or sync failed, and the log takes nothing more: what the disk holds is not known. Opening it
    /// again recovers what is there.
    #[error("the log takes no more writes since {reason}; restart to recover what is on disk")]
    Poisoned {
        /// The first failure.
        reason: Arc<str>,
    },

    /// An operation of the file system failed in a way that says nothing about the log's contents.
    #[error("{action} {} failed", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// To which file or directory.
        path: PathBuf,
        /// What the file system said.
        #[source]
        source: io::Error,
    },

    /// The history asked for has been purged.
    #[error("offset {from} is no longer in the log; the oldest kept is {oldest}")]
    HistoryGone {
        /// The offset asked for.
        from: u64,
        /// The oldest offset there is.
        oldest: u64,
    },

    /// [`Wal::truncate_after`](crate::Wal::truncate_after) would cut a frame in two. Nothing was changed.
    #[error("offset {offset} is inside the frame of offsets {first} to {last}: frames are cut only between")]
    InsideFrame {
        /// The offset asked for.
        offset: u64,
        /// First offset of the frame.
        first: u64,
        /// Last offset of the frame.
        last: u64,
    },

    /// The tail read differently a second time, which a device does after a failed write. Open the log again.
    #[error(
        "{} read differently at byte {at} the second time: the device gave back bytes it had not stored; open the log again",
        file.display()
    )]
    Unstable {
        /// The segment.
        file: PathBuf,
        /// The byte where reading differed.
        at: u64,
    },
}

/// What is known about damaged bytes; the contents of [`Error::Corrupt`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Corruption {
    /// The damaged file.
    pub file: PathBuf,
    /// First byte that is not as it must be.
    pub at: u64,
    /// What is wrong.
    pub what: &'static str,
    /// The checksum the file says, where it is a checksum that is wrong.
    pub expected: Option<u32>,
    /// The checksum of the bytes that are there.
    pub found: Option<u32>,
    /// The last offset before the damage, if there is one.
    pub last_good_offset: Option<u64>,
    /// How many valid frames follow the damage, in this segment and the later ones.
    pub frames_after: u64,
}

impl Corruption {
    /// Damage at a place, with nothing more known.
    pub(crate) fn new(file: &Path, at: u64, what: &'static str) -> Self {
        Self {
            file: file.to_owned(),
            at,
            what,
            expected: None,
            found: None,
            last_good_offset: None,
            frames_after: 0,
        }
    }

    /// What is wrong and how far the log is good, without the place: for a message that names it already.
    pub fn reason(&self) -> String {
        let sums = match (self.expected, self.found) {
            (Some(expected), Some(found)) => {
                format!(" (checksum {expected:08x} expected, {found:08x} found)")
            }
            _ => String::new(),
        };
        let good = match self.last_good_offset {
            Some(offset) => format!("the last good offset is {offset}"),
            None => "no offset before it is good".to_owned(),
        };
        let frames = if self.frames_after == 1 { "frame follows" } else { "frames follow" };
        format!("{}{sums}; {good}, and {} valid {frames}", self.what, self.frames_after)
    }
}

impl std::fmt::Display for Corruption {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (file, at) = (self.file.display(), self.at);
        write!(f, "{file} is damaged at byte {at}: {}; nothing was changed; ", self.reason())?;
        write!(f, "salvage with `kyro-http repair DIR --into NEW`")
    }
}

impl Error {
    /// An error of the file system that says nothing about the contents.
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { action, path: path.to_owned(), source }
    }
}

fn hex(bytes: &[u8; 16]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(32), |mut text, byte| {
        // Writing to a string cannot fail.
        write!(text, "{byte:02x}").ok();
        text
    })
}
