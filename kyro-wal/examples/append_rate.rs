//! Measures the log on this machine: appends in batches without syncing, durable groups, and reading it all back.
//!
//! ```text
//! cargo run --release --example append_rate -- /path/on/the/disk
//! ```
#![expect(clippy::print_stdout, reason = "an example prints")]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use kyro_wal::storage::{RealStorage, Storage};
use kyro_wal::{Expected, Identity, Options, Recovery, Wal};

const UUID: [u8; 16] = *b"kyro-wal example";

fn main() -> Result<(), Box<dyn Error>> {
    let dir =
        std::env::args().nth(1).map_or_else(|| std::env::temp_dir().join("kyro-wal-rate"), PathBuf::from);
    let storage: Arc<dyn Storage> = Arc::new(RealStorage);
    storage.create_dir(&dir)?;
    for round in 0..3 {
        batches(&storage, &dir.join(format!("batches-{round}")))?;
        raw_syncs(&storage, &dir.join(format!("raw-{round}")))?;
        durable(&storage, &dir.join(format!("durable-{round}")))?;
    }
    Ok(())
}

/// Batches of 1,000 values of 64 bytes, spares made by another thread, no syncing but at rotations.
fn batches(storage: &Arc<dyn Storage>, dir: &Path) -> Result<(), Box<dyn Error>> {
    let mut wal = new(storage, dir)?;
    let value = [7_u8; 64];
    let batches = 4_000_u64;
    let started = Instant::now();
    let mut job = None;
    for batch in 0..batches {
        wal.append_with(1_000, 1_000 * 77, |out| {
            for key in 0..1_000_u64 {
                out.extend_from_slice(&[1]);
                out.extend_from_slice(&(batch * 1_000 + key).to_le_bytes());
                out.extend_from_slice(&(value.len() as u32).to_le_bytes());
                out.extend_from_slice(&value);
            }
        })?;
        wal.write_group()?;
        if let Some(next) = wal.spare_job() {
            job = Some(std::thread::spawn(move || next.run()));
        }
        if let Some(done) = job.take_if(|job| job.is_finished())
            && let Ok(Ok(spare)) = done.join()
        {
            wal.accept_spare(spare);
        }
    }
    let elapsed = started.elapsed();
    if let Some(job) = job {
        drop(job.join());
    }
    let stats = wal.stats();
    let puts = batches as f64 * 1e3 / elapsed.as_secs_f64();
    println!(
        "batches of 1,000 x 64 B, not synced: {:.2} M puts/s, {:.0} MB/s, {} segments",
        puts / 1e6,
        stats.written_bytes as f64 / 1e6 / elapsed.as_secs_f64(),
        stats.segments
    );
    drop(wal);
    let expected = Expected { uuid: UUID, first_segment: 1, replay_from: 0, clean: None };
    let started = Instant::now();
    let mut recovery = Recovery::open(Arc::clone(storage), dir, expected, Options::default())?;
    let (mut frames, mut bytes) = (0_u64, 0_u64);
    while let Some(frame) = recovery.next_frame()? {
        frames += 1;
        bytes += frame.payload.len() as u64;
    }
    let read = started.elapsed();
    let started = Instant::now();
    recovery.finish(2)?;
    let mended = started.elapsed();
    println!(
        "recovery: {frames} frames, {:.2} GB/s, and {:.1} ms to make the tail durable",
        bytes as f64 / 1e9 / read.as_secs_f64(),
        mended.as_secs_f64() * 1e3
    );
    std::fs::remove_dir_all(dir)?;
    Ok(())
}

/// What the disk can do: one 128-byte write and one fdatasync after the other, into written zeros.
fn raw_syncs(storage: &Arc<dyn Storage>, path: &Path) -> Result<(), Box<dyn Error>> {
    let file = storage.create(path)?;
    file.zero_fill(16 << 20)?;
    file.sync_all()?;
    let syncs = 1_000_u64;
    let started = Instant::now();
    for sync in 0..syncs {
        file.write_at(&[1; 128], 4096 + sync * 128)?;
        file.sync_data()?;
    }
    println!(
        "raw: {:.0} fdatasync/s into a preallocated file",
        syncs as f64 / started.elapsed().as_secs_f64()
    );
    storage.remove(path)?;
    Ok(())
}

/// One frame of 80 bytes and one sync after the other.
fn durable(storage: &Arc<dyn Storage>, dir: &Path) -> Result<(), Box<dyn Error>> {
    let mut wal = new(storage, dir)?;
    let syncs = 1_000_u64;
    let started = Instant::now();
    for _ in 0..syncs {
        wal.append(1, &[1; 80])?;
        wal.write_group()?;
        wal.sync()?;
    }
    println!("log: {:.0} durable appends/s", syncs as f64 / started.elapsed().as_secs_f64());
    drop(wal);
    std::fs::remove_dir_all(dir)?;
    Ok(())
}

fn new(storage: &Arc<dyn Storage>, dir: &Path) -> Result<Wal, Box<dyn Error>> {
    storage.create_dir(dir)?;
    Ok(Wal::create(Arc::clone(storage), dir, Identity { uuid: UUID, epoch: 1 }, Options::default())?)
}
