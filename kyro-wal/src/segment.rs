//! The files of a log's directory: their names, and what their first and last block say.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::Error;
use crate::error::Corruption;
use crate::format::header::BadSegmentHeader;
use crate::format::{
    BLOCK, CHECKSUM_CRC32, FIRST_FRAME, FORMAT_VERSION, Footer, Predecessor, SegmentHeader, footer::NoFooter,
};
use crate::storage::{Storage, StorageFile};

/// A segment that is being made and has no number yet.
pub(crate) const NEW: &str = "segment.tmp";
/// A spare that is being filled with zeros.
pub(crate) const SPARE_NEW: &str = "spare.tmp";
/// A file of zeros that was synced before it got this name: the next segment.
pub(crate) const SPARE: &str = "spare.ready";
/// The directory of cut tails.
pub(crate) const QUARANTINE: &str = "quarantine";

/// The file name of a segment.
pub(crate) fn name(number: u64) -> String {
    format!("{number:016x}.wal")
}

/// The number of a segment, from its file name.
pub(crate) fn number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".wal")?;
    let canonical =
        digits.len() == 16 && digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    if canonical { u64::from_str_radix(digits, 16).ok() } else { None }
}

/// Numbers of the segments in a directory, ascending.
pub(crate) fn numbers(storage: &dyn Storage, dir: &Path) -> Result<Vec<u64>, Error> {
    let names = storage.list(dir).map_err(|error| Error::io("listing", dir, error))?;
    let mut numbers: Vec<u64> =
        names.iter().filter_map(|name| number(name)).filter(|&number| number > 0).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Where a segment ends, on the word of its successor's header or of its own footer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pin {
    pub(crate) end: u64,
    pub(crate) next_offset: u64,
    pub(crate) checksum: u32,
}

impl From<&Predecessor> for Pin {
    fn from(predecessor: &Predecessor) -> Self {
        Self { end: predecessor.end, next_offset: predecessor.next_offset, checksum: predecessor.checksum }
    }
}

impl From<&Footer> for Pin {
    fn from(footer: &Footer) -> Self {
        Self { end: footer.end, next_offset: footer.next_offset, checksum: footer.checksum }
    }
}

/// A segment whose header was read and found right.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) path: PathBuf,
    pub(crate) file: Box<dyn StorageFile>,
    pub(crate) len: u64,
    pub(crate) header: SegmentHeader,
    pub(crate) header_checksum: u32,
    pub(crate) footer: Result<Footer, NoFooter>,
}

impl Segment {
    /// Opens a segment for reading and reads its first and last block. Its database is checked when `uuid` is given.
    pub(crate) fn open(
        storage: &dyn Storage,
        dir: &Path,
        number: u64,
        uuid: Option<&[u8; 16]>,
    ) -> Result<Self, Error> {
        Self::open_file(storage, dir.join(name(number)), Some(number), uuid)
    }

    /// As [`open`](Self::open), for a file of any name; without a number its header says which segment it is.
    pub(crate) fn open_file(
        storage: &dyn Storage,
        path: PathBuf,
        number: Option<u64>,
        uuid: Option<&[u8; 16]>,
    ) -> Result<Self, Error> {
        let file = storage.open_read(&path).map_err(|error| Error::io("opening", &path, error))?;
        let io = |error| Error::io("reading", &path, error);
        let len = file.len().map_err(io)?;
        let mut block = vec![0; BLOCK];
        let read = file.read_at(&mut block, 0).map_err(io)?;
        let (header, header_checksum) =
            SegmentHeader::decode(&block[..read]).map_err(|bad| bad_header(&path, bad, read))?;
        if let Some(&expected) = uuid
            && header.uuid != expected
        {
            return Err(Error::WrongDatabase { file: path, found: header.uuid, expected });
        }
        let number = number.unwrap_or(header.number);
        if header.number != number {
            return Err(damaged(&path, 32, "the header is that of another segment"));
        }
        let footer = if len >= FIRST_FRAME + BLOCK as u64 {
            let read = file.read_at(&mut block, len - BLOCK as u64).map_err(io)?;
            Footer::decode(header.seed(), &block[..read], len)
        } else {
            Err(NoFooter::Unsealed)
        };
        let footer = match footer {
            Ok(footer) if footer.number != number => Err(NoFooter::Unsealed),
            other => other,
        };
        Ok(Self { path, file, len, header, header_checksum, footer })
    }

    pub(crate) fn number(&self) -> u64 {
        self.header.number
    }

    /// Opens the file again, for writing.
    pub(crate) fn writable(mut self, storage: &dyn Storage) -> Result<Self, Error> {
        self.file = storage.open_file(&self.path).map_err(|error| Error::io("opening", &self.path, error))?;
        Ok(self)
    }

    /// Closes the file: each read opens it again.
    pub(crate) fn on_demand(mut self, storage: &Arc<dyn Storage>) -> Self {
        self.file = Box::new(OnDemand { storage: Arc::clone(storage), path: self.path.clone() });
        self
    }

    /// Where the last frame must end at the latest.
    pub(crate) fn frames_limit(&self) -> u64 {
        self.len.saturating_sub(BLOCK as u64)
    }
}

/// A file that is open only while it is read. It cannot be written.
#[derive(Debug)]
struct OnDemand {
    storage: Arc<dyn Storage>,
    path: PathBuf,
}

impl OnDemand {
    fn refuse<T>() -> io::Result<T> {
        Err(io::Error::from(io::ErrorKind::ReadOnlyFilesystem))
    }
}

impl StorageFile for OnDemand {
    fn write_at(&self, _bytes: &[u8], _offset: u64) -> io::Result<()> {
        Self::refuse()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.storage.open_read(&self.path)?.read_at(buf, offset)
    }

    fn zero_fill(&self, _len: u64) -> io::Result<()> {
        Self::refuse()
    }

    fn set_len(&self, _len: u64) -> io::Result<()> {
        Self::refuse()
    }

    fn len(&self) -> io::Result<u64> {
        self.storage.len(&self.path)
    }

    fn sync_data(&self) -> io::Result<()> {
        Self::refuse()
    }

    fn sync_all(&self) -> io::Result<()> {
        Self::refuse()
    }
}

fn bad_header(path: &Path, bad: BadSegmentHeader, read: usize) -> Error {
    let file = path.to_owned();
    match bad {
        BadSegmentHeader::Version(found) => Error::NewerFormat { file, found, supported: FORMAT_VERSION },
        BadSegmentHeader::Algorithm(found) => {
            Error::UnknownChecksum { file, found, supported: CHECKSUM_CRC32 }
        }
        BadSegmentHeader::Magic if read < BLOCK => {
            damaged(path, read as u64, "the file is shorter than its header")
        }
        BadSegmentHeader::Magic => damaged(path, 0, "the header does not begin as a segment's does"),
        BadSegmentHeader::Fields => damaged(path, 0, "the header contradicts itself"),
        BadSegmentHeader::Checksum { expected, found } => Error::Corrupt(Box::new(Corruption {
            expected: Some(expected),
            found: Some(found),
            ..Corruption::new(path, 0, "the header's checksum is wrong")
        })),
    }
}

/// Damage that no checksum told.
pub(crate) fn damaged(path: &Path, at: u64, what: &'static str) -> Error {
    Error::Corrupt(Box::new(Corruption::new(path, at, what)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_canonical_names_are_segments() {
        assert_eq!(number(&name(0x1f)), Some(0x1f));
        assert_eq!(number(&name(u64::MAX)), Some(u64::MAX));
        for other in ["1.wal", "00000000000000FF.wal", "+000000000000001.wal", "0000000000000001.tmp", SPARE]
        {
            assert_eq!(number(other), None, "{other}");
        }
    }
}
