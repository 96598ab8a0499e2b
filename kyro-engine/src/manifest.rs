//! The manifest: the one mutable pointer of a data directory.
//!
//! `MANIFEST` is JSON, one object: `{"kyrodb_manifest":1,"crc32":"xxxxxxxx","body":{…}}`. The checksum is the CRC-32
//! (IEEE) of the exact bytes of `body` as they stand in the file. It is replaced whole: temporary file, sync, rename,
//! sync of the directory. Whatever it does not name is not part of the database.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kyro_snapshot::Run;
use kyro_wal::CleanMark;
use kyro_wal::storage::{Storage, write_atomically};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::error::OpenError;
use crate::range_tombstones::RangeEntry;
use crate::versions::Versions;

/// The newest version of the manifest's format, and the newest this build reads. A manifest is written in the oldest
/// version that can say what it says: 1 without deleted ranges, 2 without versions of the content.
pub const MANIFEST_FORMAT: u32 = 3;

const FIRST_FORMAT: u32 = 1;
const RANGES_FORMAT: u32 = 2;

/// The manifest's file name.
pub(crate) const FILE_NAME: &str = "MANIFEST";

/// What the manifest says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    /// The database's UUID, in every file of it.
    pub(crate) uuid: Uuid,
    /// Counts the manifests written: the newest has the highest.
    pub(crate) generation: u64,
    /// Counts the openings for writing; stamped on what each of them writes.
    pub(crate) epoch: u64,
    /// The log.
    pub(crate) wal: WalState,
    /// Number the next run file gets.
    pub(crate) next_run: u64,
    /// The runs, newest first.
    pub(crate) runs: Vec<RunEntry>,
    /// Deleted ranges that runs still need. Where there are any, the manifest has format 2.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) ranges: Vec<RangeEntry>,
    /// Versions of the whole content. Where there ever was one, the manifest has format 3.
    #[serde(default, skip_serializing_if = "Versions::is_empty")]
    pub(crate) versions: Versions,
    /// Where a clean close left the log; cleared, durably, before the next write.
    pub(crate) clean: Option<Clean>,
}

/// What must be there of the log, and from where it is replayed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WalState {
    /// The oldest segment that must be there; none while the log has not been made.
    pub(crate) first_segment: Option<u64>,
    /// Operations below this offset are in the runs.
    pub(crate) replay_from: u64,
    /// The oldest event without a key: the log is its only home, so it is kept from there.
    pub(crate) oldest_event: Option<u64>,
}

impl WalState {
    /// The log may be let go of below this offset.
    pub(crate) fn keep_from(&self) -> u64 {
        self.oldest_event.map_or(self.replay_from, |event| event.min(self.replay_from))
    }
}

/// One run, as the manifest names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RunEntry {
    /// Its number: `runs/{number:016x}.run`, its index `.idx`.
    pub(crate) number: u64,
    /// The run file's own UUID.
    pub(crate) uuid: Uuid,
    /// Entries in it, tombstones included.
    pub(crate) entries: u64,
    /// The file's size in bytes.
    pub(crate) bytes: u64,
    /// The offset of all its entries, where they were brought in by one operation; the file has others then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) offset: Option<u64>,
}

impl RunEntry {
    /// Whether `run` is the one named here.
    pub(crate) fn is<B: AsRef<[u8]>>(&self, run: &Run<B>) -> bool {
        run.uuid() == self.uuid.0 && run.len() as u64 == self.entries && run.file_bytes() == self.bytes
    }
}

/// A clean close: the log's end, as [`kyro_wal::CleanMark`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Clean {
    pub(crate) segment: u64,
    pub(crate) end: u64,
    pub(crate) next_offset: u64,
    pub(crate) checksum: u32,
}

impl From<Clean> for CleanMark {
    fn from(clean: Clean) -> Self {
        let Clean { segment, end, next_offset, checksum } = clean;
        Self { segment, end, next_offset, checksum }
    }
}

impl From<CleanMark> for Clean {
    fn from(mark: CleanMark) -> Self {
        let CleanMark { segment, end, next_offset, checksum } = mark;
        Self { segment, end, next_offset, checksum }
    }
}

/// Sixteen random bytes, in JSON as 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Uuid(pub(crate) [u8; 16]);

impl Serialize for Uuid {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{:032x}", u128::from_be_bytes(self.0)))
    }
}

impl<'de> Deserialize<'de> for Uuid {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let plain = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = plain.then(|| u128::from_str_radix(&text, 16).ok()).flatten();
        let number = number.ok_or_else(|| serde::de::Error::custom("a UUID is 32 hexadecimal digits"))?;
        Ok(Self(number.to_be_bytes()))
    }
}

/// The file's outer object; the body is kept as it stands, for its checksum.
#[derive(Serialize, Deserialize)]
struct Envelope<'a> {
    kyrodb_manifest: u32,
    crc32: String,
    #[serde(borrow)]
    body: &'a RawValue,
}

/// Just enough to read the version of a manifest whose other fields may be unknown.
#[derive(Deserialize)]
struct Version {
    kyrodb_manifest: u32,
}

/// Why bytes are not a manifest.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum DecodeError {
    NewerFormat(u32),
    Corrupt(String),
}

impl Manifest {
    pub(crate) fn encode(&self) -> io::Result<Vec<u8>> {
        let format = match self {
            _ if !self.versions.is_empty() => MANIFEST_FORMAT,
            _ if !self.ranges.is_empty() => RANGES_FORMAT,
            _ => FIRST_FORMAT,
        };
        let body = serde_json::value::to_raw_value(self)?;
        let envelope = Envelope { kyrodb_manifest: format, crc32: checksum(body.get()), body: &body };
        let mut bytes = serde_json::to_vec(&envelope)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let corrupt = |error: serde_json::Error| DecodeError::Corrupt(error.to_string());
        let version: Version = serde_json::from_slice(bytes).map_err(corrupt)?;
        match version.kyrodb_manifest {
            FIRST_FORMAT..=MANIFEST_FORMAT => {}
            newer if newer > MANIFEST_FORMAT => return Err(DecodeError::NewerFormat(newer)),
            other => return Err(DecodeError::Corrupt(format!("there is no manifest format {other}"))),
        }
        let envelope: Envelope<'_> = serde_json::from_slice(bytes).map_err(corrupt)?;
        let found = checksum(envelope.body.get());
        if found != envelope.crc32 {
            let expected = envelope.crc32;
            return Err(DecodeError::Corrupt(format!("its checksum is {found}, it says {expected}")));
        }
        serde_json::from_str(envelope.body.get()).map_err(corrupt)
    }
}

fn checksum(body: &str) -> String {
    format!("{:08x}", crc32fast::hash(body.as_bytes()))
}

/// The manifest in force and the only way to replace it.
#[derive(Debug)]
pub(crate) struct ManifestFile {
    storage: Arc<dyn Storage>,
    path: PathBuf,
    current: Mutex<Manifest>,
}

/// Largest manifest that is read: a thousand times what a few runs need.
pub(crate) const MAX_BYTES: u64 = 16 << 20;

impl ManifestFile {
    /// Writes the first manifest of a new database.
    pub(crate) fn create(
        storage: Arc<dyn Storage>,
        dir: &Path,
        manifest: Manifest,
    ) -> Result<Self, (PathBuf, io::Error)> {
        let file = Self::hold(storage, dir, manifest);
        let first = file.lock().clone();
        file.write(&first).map_err(|error| (file.path.clone(), error))?;
        Ok(file)
    }

    /// Reads the manifest of a directory; `None` where there is none.
    pub(crate) fn read(storage: &dyn Storage, dir: &Path) -> Result<Option<Manifest>, OpenError> {
        let path = dir.join(FILE_NAME);
        let io_error = |source| OpenError::Io { doing: "read", path: path.clone(), source };
        let file = match storage.open_read(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error(error)),
        };
        let corrupt = |reason| OpenError::Corrupt { file: path.clone(), offset: 0, reason };
        let len = file.len().map_err(io_error)?;
        if len > MAX_BYTES {
            return Err(corrupt(format!("it is {len} bytes long, a manifest is at most {MAX_BYTES}")));
        }
        let mut bytes = vec![0; len as usize];
        let read = file.read_at(&mut bytes, 0).map_err(io_error)?;
        bytes.truncate(read);
        match Manifest::decode(&bytes) {
            Ok(manifest) => Ok(Some(manifest)),
            Err(DecodeError::Corrupt(reason)) => Err(corrupt(reason)),
            Err(DecodeError::NewerFormat(found)) => {
                Err(OpenError::NewerFormat { file: path.clone(), found, supported: MANIFEST_FORMAT })
            }
        }
    }

    /// Takes charge of a manifest that was read or is about to be written.
    pub(crate) fn hold(storage: Arc<dyn Storage>, dir: &Path, manifest: Manifest) -> Self {
        Self { storage, path: dir.join(FILE_NAME), current: Mutex::new(manifest) }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The manifest in force.
    pub(crate) fn current(&self) -> Manifest {
        self.lock().clone()
    }

    /// Whether the file holds what [`current`](Self::current) says: after an update that failed, whether it had no
    /// effect at all.
    pub(crate) fn is_in_force(&self) -> bool {
        let dir = self.path.parent().unwrap_or(Path::new("."));
        matches!(Self::read(&*self.storage, dir), Ok(Some(found)) if found == *self.lock())
    }

    /// Replaces the manifest by what `change` makes of it, durably; on an error the old one stays in force.
    ///
    /// (An error of the final directory sync leaves open which of the two a crash would show. Both are whole, and
    /// the caller removes nothing that the old one names until this has returned `Ok`.)
    pub(crate) fn update(&self, change: impl FnOnce(&mut Manifest)) -> io::Result<()> {
        let mut current = self.lock();
        let mut next = current.clone();
        change(&mut next);
        next.generation += 1;
        self.write(&next)?;
        *current = next;
        Ok(())
    }

    /// Changes what the manifest says without writing it: something that the log says already, until the next update
    /// takes it along.
    pub(crate) fn amend(&self, change: impl FnOnce(&mut Manifest)) {
        change(&mut self.lock());
    }

    fn write(&self, manifest: &Manifest) -> io::Result<()> {
        let bytes = manifest.encode()?;
        if cfg!(mutant = "non_atomic_manifest")
            && let Ok(file) = self.storage.open_file(&self.path)
        {
            file.set_len(bytes.len() as u64)?;
            file.write_at(&bytes, 0)?;
            return file.sync_all();
        }
        write_atomically(&*self.storage, &self.path, &bytes)
    }

    fn lock(&self) -> MutexGuard<'_, Manifest> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Manifest {
        Manifest {
            uuid: Uuid([0xab; 16]),
            generation: 7,
            epoch: 3,
            wal: WalState { first_segment: Some(2), replay_from: 1 << 60, oldest_event: Some(5) },
            next_run: 9,
            runs: vec![RunEntry { number: 8, uuid: Uuid([1; 16]), entries: 10, bytes: 4096, offset: None }],
            ranges: Vec::new(),
            versions: Versions::default(),
            clean: Some(Clean { segment: 4, end: 4160, next_offset: u64::MAX, checksum: 1 }),
        }
    }

    #[test]
    fn encodes_and_decodes() {
        let first = example().encode().unwrap();
        assert_eq!(Manifest::decode(&first).unwrap(), example());
        assert!(
            first.starts_with(br#"{"kyrodb_manifest":1,"#) && !first.windows(6).any(|at| at == b"ranges")
        );
        let ranges = vec![RangeEntry { from: 0, to: u64::MAX, offset: 3, runs: vec![8] }];
        let second = Manifest { ranges, ..example() };
        let bytes = second.encode().unwrap();
        assert!(bytes.starts_with(br#"{"kyrodb_manifest":2,"#));
        assert_eq!(Manifest::decode(&bytes).unwrap(), second);
    }

    #[test]
    fn versions_take_the_third_format() {
        let mut third = example();
        let run = RunEntry { number: 9, ..third.runs[0].clone() };
        let id = third.stage("nightly".to_owned(), false, vec![run]);
        assert!(third.switch(id, 70));
        assert_eq!((third.runs[0].offset, third.wal.replay_from), (Some(70), 71));
        let bytes = third.encode().unwrap();
        assert!(bytes.starts_with(br#"{"kyrodb_manifest":3,"#));
        assert_eq!(Manifest::decode(&bytes).unwrap(), third);
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let bytes = example().encode().unwrap();
        for len in 0..bytes.len() - 1 {
            assert!(Manifest::decode(&bytes[..len]).is_err(), "cut at {len}");
        }
        for at in 0..bytes.len() - 1 {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << bit;
                match Manifest::decode(&damaged) {
                    Err(_) => {}
                    // A flip in the envelope's own text can at most change the case of a field nobody compares.
                    Ok(read) => assert_eq!(read, example(), "bit {bit} of byte {at}"),
                }
            }
        }
    }

    #[test]
    fn a_newer_format_is_refused_by_its_number() {
        let newer = br#"{"kyrodb_manifest":4,"something":"new"}"#;
        assert_eq!(Manifest::decode(newer), Err(DecodeError::NewerFormat(4)));
    }
}
