//! How fast the log is read after an unclean stop: by the log alone, and by opening a whole database.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kyro_wal::storage::{RealStorage, Storage};
use kyro_wal::{Expected, Identity, Options, Recovery, Wal};

use crate::random::mix;
use crate::wal::raw::forget_cached;
use crate::wal::run::WalBenchError;
use crate::wal::tail::{Opened, TailedDatabase};

/// The hidden subcommand of kyro-bench that works on a [`TailedDatabase`] and waits to be killed.
pub const CHILD: &str = "wal-child";

const UUID: [u8; 16] = *b"kyro-bench a log";

/// Has another process make the database and kills it.
pub(super) fn fill(program: &Path, database: &TailedDatabase) -> Result<(), WalBenchError> {
    let _made: serde_json::Value = in_child(program, "fill", database, &[])?;
    Ok(())
}

/// Has another process open the database and kills it. `all`: everything is read back, not only the tail and a sample.
pub(super) fn open(program: &Path, database: &TailedDatabase, all: bool) -> Result<Opened, WalBenchError> {
    in_child(program, "open", database, if all { &["--all"] } else { &[] })
}

/// Starts `kyro-bench wal-child VERB …`, waits for the line that says it is done, and kills it (SIGKILL).
fn in_child<T: serde::de::DeserializeOwned>(
    program: &Path,
    verb: &'static str,
    database: &TailedDatabase,
    flags: &[&str],
) -> Result<T, WalBenchError> {
    let failed = |reason: String| WalBenchError::Child { verb, reason };
    let mut child = Command::new(program)
        .args([CHILD, verb])
        .args(database.arguments())
        .args(flags)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| failed(format!("{} cannot be started: {error}", program.display())))?;
    let mut line = String::new();
    let read = match child.stdout.take() {
        Some(out) => BufReader::new(out).read_line(&mut line),
        None => Ok(0),
    };
    // Its standard input is still open, so it is alive unless it failed.
    child.kill()?;
    let status = child.wait()?;
    read?;
    if line.is_empty() {
        return Err(failed(format!("it ended with {status}; what it said is above")));
    }
    serde_json::from_str(&line).map_err(|error| failed(format!("it said {line:?}: {error}")))
}

/// Makes sure that nothing below `dir` is in the page cache. Everything there must have been synced.
pub(super) fn forget_all(dir: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            forget_all(&path)?;
        } else {
            forget_cached(&File::open(path)?)?;
        }
    }
    Ok(())
}

/// Writes a log of at least `bytes` in frames of `frame` bytes, and leaves it as a kill would. Gives the number of frames.
pub(super) fn write_log(dir: &Path, frame: usize, bytes: u64) -> Result<u64, WalBenchError> {
    let storage: Arc<dyn Storage> = Arc::new(RealStorage);
    storage.create_dir(dir)?;
    let mut wal = Wal::create(storage, dir, Identity { uuid: UUID, epoch: 1 }, Options::default())?;
    let mut payload: Vec<u8> = (0..frame).map(|at| mix(at as u64) as u8).collect();
    let frames = bytes.div_ceil(frame as u64);
    let mut grouped = 0;
    for number in 0..frames {
        payload[..8].copy_from_slice(&number.to_le_bytes());
        wal.append(1, &payload)?;
        grouped += frame;
        if grouped >= 1 << 20 || number + 1 == frames {
            wal.write_group()?;
            grouped = 0;
        }
    }
    wal.sync()?;
    Ok(frames)
}

/// Reads the whole log back, as recovery does. Gives the time from opening to the last frame.
pub(super) fn read_log(dir: &Path, frame: usize, frames: u64) -> Result<Duration, WalBenchError> {
    let expected = Expected { uuid: UUID, first_segment: 1, replay_from: 0, clean: None };
    let started = Instant::now();
    let mut recovery = Recovery::open(Arc::new(RealStorage), dir, expected, Options::default())?;
    let (mut read, mut sum, mut bytes) = (0_u64, 0_u64, 0_u64);
    while let Some(found) = recovery.next_frame()? {
        let Some(number) = found.payload.first_chunk() else { continue };
        read += 1;
        bytes += found.payload.len() as u64;
        sum = sum.wrapping_add(u64::from_le_bytes(*number));
    }
    let elapsed = started.elapsed();
    let expected = (frames, frames * frame as u64, frames * (frames - 1) / 2);
    if (read, bytes, sum) == expected {
        Ok(elapsed)
    } else {
        Err(WalBenchError::WrongLog { found: (read, bytes, sum), expected })
    }
}
