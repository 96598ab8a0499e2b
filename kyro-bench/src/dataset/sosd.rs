//! The binary files of SOSD ("Search On Sorted Data"): a `u64` count, then that many sorted `u64` keys, little-endian.
//!
//! Their names end in `_uint64`: `books_200M_uint64`, `fb_200M_uint64`, `osm_cellids_200M_uint64`, `wiki_ts_200M_uint64`.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

const COUNT_BYTES: u64 = size_of::<u64>() as u64;

/// Keys read from a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The keys, strictly increasing.
    pub keys: Vec<u64>,
    /// How many were dropped because they repeated the one before: the index is over distinct keys.
    pub duplicates: u64,
}

/// Why a file is not a SOSD file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SosdError {
    /// The operating system said no.
    #[error("cannot use {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The count at the start does not fit the length of the file.
    #[error("{} says {count} keys but has {bytes} bytes, not {expected}: truncated, or not a SOSD uint64 file", path.display())]
    Length {
        /// The file.
        path: PathBuf,
        /// The count in its first eight bytes; 0 when it has fewer than those.
        count: u64,
        /// Its length.
        bytes: u64,
        /// The length that the count asks for; `u64::MAX` when that is beyond 64 bits.
        expected: u64,
    },
    /// A key is smaller than the one before.
    #[error("{} is not sorted: key {index} is {key}, after {previous}", path.display())]
    Unsorted {
        /// The file.
        path: PathBuf,
        /// Which key, from 0.
        index: u64,
        /// The key before.
        previous: u64,
        /// The key.
        key: u64,
    },
}

/// Reads a SOSD file. `limit` keys at most are kept, evenly spread over the file, so that the shape stays; all of them
/// are read and checked. Memory: the keys kept.
///
/// # Errors
/// [`SosdError`] for a length that does not fit the count, keys out of order, and what the operating system says.
pub fn read(path: &Path, limit: Option<usize>) -> Result<Loaded, SosdError> {
    let io_error = |source| SosdError::Io { path: path.to_owned(), source };
    let file = File::open(path).map_err(io_error)?;
    let bytes = file.metadata().map_err(io_error)?.len();
    let mut input = BufReader::with_capacity(1 << 20, file);
    let mut word = [0; 8];
    let mut count = 0;
    if bytes >= COUNT_BYTES {
        input.read_exact(&mut word).map_err(io_error)?;
        count = u64::from_le_bytes(word);
    }
    let expected = count.checked_mul(8).and_then(|keys| keys.checked_add(COUNT_BYTES)).unwrap_or(u64::MAX);
    if expected != bytes {
        return Err(SosdError::Length { path: path.to_owned(), count, bytes, expected });
    }
    // The file is that long, so the count is not a lie.
    let kept = limit.map_or(count, |limit| count.min(limit as u64));
    let mut keys: Vec<u64> = Vec::with_capacity(kept as usize);
    let mut duplicates = 0;
    let mut previous = 0;
    for index in 0..count {
        input.read_exact(&mut word).map_err(io_error)?;
        let key = u64::from_le_bytes(word);
        if key < previous {
            return Err(SosdError::Unsorted { path: path.to_owned(), index, previous, key });
        }
        previous = key;
        // Key `index` is kept when it is the first at which another of the `kept` is due.
        let due = u128::from(index) * u128::from(kept) / u128::from(count);
        let due_before =
            u128::from(index).checked_sub(1).map(|index| index * u128::from(kept) / u128::from(count));
        if kept == 0 || Some(due) == due_before {
            continue;
        }
        if keys.last() == Some(&key) {
            duplicates += 1;
        } else {
            keys.push(key);
        }
    }
    Ok(Loaded { keys, duplicates })
}

/// Writes keys as a SOSD file, so that other benchmarks can run the sets generated here. Not synced.
///
/// # Errors
/// What the operating system says.
pub fn write(path: &Path, keys: &[u64]) -> Result<(), SosdError> {
    let attempt = || {
        let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
        out.write_all(&(keys.len() as u64).to_le_bytes())?;
        for key in keys {
            out.write_all(&key.to_le_bytes())?;
        }
        out.flush()
    };
    attempt().map_err(|source| SosdError::Io { path: path.to_owned(), source })
}
