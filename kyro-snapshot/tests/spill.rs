//! Columns in scratch space: the same bytes as from memory, bounded memory, and failures told.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use kyro_snapshot::{MakeScratch, RunInfo, Scratch, WriteError, Writer};

#[derive(Debug, Default)]
struct Memory {
    bytes: Vec<u8>,
    appended: Arc<AtomicUsize>,
    fails_after: Option<usize>,
}

impl Scratch for Memory {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.fails_after.is_some_and(|limit| self.bytes.len() >= limit) {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        self.bytes.extend_from_slice(bytes);
        self.appended.fetch_add(bytes.len(), Ordering::Relaxed);
        Ok(())
    }

    fn read(&mut self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        buffer.copy_from_slice(&self.bytes[at as usize..at as usize + buffer.len()]);
        Ok(())
    }
}

fn scratch(appended: &Arc<AtomicUsize>, fails_after: Option<usize>) -> MakeScratch {
    let appended = Arc::clone(appended);
    Box::new(move || Ok(Box::new(Memory { bytes: Vec::new(), appended: Arc::clone(&appended), fails_after })))
}

const ENTRIES: u64 = 700_000;

/// What the entry has, when one in so many is a tombstone and lengths vary from some entry on.
fn value(key: u64, varies_from: u64) -> Option<[u8; 3]> {
    (key < varies_from || !key.is_multiple_of(7)).then_some([key as u8; 3])
}

fn write(varies_from: u64, spill: Option<MakeScratch>) -> Result<Vec<u8>, WriteError> {
    let mut writer = Writer::new(Vec::new(), RunInfo { uuid: [7; 16], ..RunInfo::default() })?;
    if let Some(make) = spill {
        writer = writer.spill_beyond(1, make);
    }
    for key in 0..ENTRIES {
        writer.push(key * 3, key, value(key, varies_from).as_ref().map(<[u8; 3]>::as_slice))?;
    }
    writer.finish().map(|(bytes, _)| bytes)
}

#[test]
fn a_spilled_run_has_the_same_bytes() {
    for varies_from in [u64::MAX, 0, 500_000] {
        let appended = Arc::default();
        let spilled = write(varies_from, Some(scratch(&appended, None))).unwrap();
        assert!(spilled == write(varies_from, None).unwrap(), "lengths vary from {varies_from}");
        let appended = appended.load(Ordering::Relaxed) as u64;
        let columns = if varies_from == u64::MAX { 16 } else { 20 };
        assert!(appended >= (ENTRIES - 300_000) * columns, "only {appended} bytes left memory");
    }
}

#[test]
fn scratch_space_that_fails_fails_the_writer() {
    let appended = Arc::default();
    let error = write(0, Some(scratch(&appended, Some(2 << 20)))).unwrap_err();
    assert!(matches!(error, WriteError::Io { .. }), "{error}");
}
