//! A crash-safe event log: appends the lines it is given, and prints every line it has ever been given.
//!
//! ```text
//! cargo run --example event_log -- /tmp/events "something happened" "something else"
//! ```
//!
//! Beside the log lies a small file of its own, `mark`, that says where a clean close left the log. It is removed
//! before the first write: a log that is opened without it recovers.
#![expect(clippy::print_stdout, reason = "an example prints")]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kyro_wal::storage::{RealStorage, Storage, write_atomically};
use kyro_wal::{CleanMark, Expected, Identity, Options, Recovery, Wal};

const UUID: [u8; 16] = *b"kyro-wal example";

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().map_or_else(|| std::env::temp_dir().join("kyro-wal-events"), PathBuf::from);
    let lines: Vec<String> = arguments.collect();
    let storage: Arc<dyn Storage> = Arc::new(RealStorage);
    storage.create_dir(&dir)?;
    let lock = storage.lock(&dir.join("LOCK"))?;
    let log_dir = dir.join("log");
    let mark_file = dir.join("mark");

    let mut wal = if storage.list(&dir)?.iter().any(|name| name == "log") {
        let expected =
            Expected { uuid: UUID, first_segment: 1, replay_from: 0, clean: read_mark(&mark_file) };
        let mut recovery = Recovery::open(Arc::clone(&storage), &log_dir, expected, Options::default())?;
        while let Some(frame) = recovery.next_frame()? {
            println!("{:>8}  {}", frame.first_offset, String::from_utf8_lossy(frame.payload));
        }
        let epoch = recovery.epoch() + 1;
        let (wal, tail) = recovery.finish(epoch)?;
        println!("the log ended: {tail:?}");
        wal
    } else {
        storage.create_dir(&log_dir)?;
        storage.sync_dir(&dir)?;
        Wal::create(Arc::clone(&storage), &log_dir, Identity { uuid: UUID, epoch: 1 }, Options::default())?
    };

    if !lines.is_empty() {
        // From here on the mark would not be true: gone, durably, before the first write.
        storage.remove(&mark_file).or_else(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        })?;
        storage.sync_dir(&dir)?;
        for line in &lines {
            let offset = wal.append(1, line.as_bytes())?;
            println!("{offset:>8}  {line}");
        }
        wal.write_group()?;
        wal.sync()?;
        // Now, and not earlier, the lines are safe.
    }
    let mark = wal.close()?;
    write_atomically(&*storage, &mark_file, &encode(&mark))?;
    drop(lock);
    Ok(())
}

fn encode(mark: &CleanMark) -> Vec<u8> {
    format!("{} {} {} {}", mark.segment, mark.end, mark.next_offset, mark.checksum).into_bytes()
}

/// The mark, if there is a whole one; a log is never harmed by opening it without.
fn read_mark(path: &Path) -> Option<CleanMark> {
    let text = std::fs::read_to_string(path).ok()?;
    let mut numbers = text.split(' ').map(str::parse::<u64>);
    let mut next = || numbers.next()?.ok();
    Some(CleanMark {
        segment: next()?,
        end: next()?,
        next_offset: next()?,
        checksum: u32::try_from(next()?).ok()?,
    })
}
