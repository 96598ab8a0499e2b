//! A file system that is full, and has room again, over and over: `cargo xtask powerloss --full-cycles N`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use kyro_engine::{Engine, Options, WriteError, verify};

use crate::Outcome;
use crate::mounted::{Loop, Mount};
use crate::workload::Random;

/// Writing has to go on this soon after there is room, without a restart.
const RESUME_WITHIN: Duration = Duration::from_secs(1);

fn options() -> Options {
    let mut options = Options::default();
    options.wal_segment_bytes = 256 << 10;
    options.delta_bytes = 1 << 20;
    options
}

/// Fills the file system, writes until it is refused, reads everything, frees the space, and writes on.
pub(crate) fn campaign(work: &Path, fs: &str, cycles: u64) -> Outcome<()> {
    let image = work.join("small");
    crate::make_file_system(&image, fs)?;
    let device = Loop::attach(&image)?;
    let mount = Mount::new(device.path(), &work.join("small-mount"), fs)?;
    let outcome = fill_and_free(mount.path(), cycles);
    mount.unmount()?;
    device.detach()?;
    outcome
}

fn fill_and_free(dir: &Path, cycles: u64) -> Outcome<()> {
    let (db, filler) = (dir.join("db"), dir.join("filler"));
    let mut random = Random(17);
    let mut model: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    let mut engine = Engine::open(&db, options())?;
    let (mut refused, mut acknowledged, mut slowest) = (0_u64, 0_u64, Duration::ZERO);
    for cycle in 0..cycles {
        fill(&filler, random.below(256) << 10)?;
        let mut full = false;
        for _ in 0..40_000 {
            let key = random.below(2000);
            let value = vec![cycle as u8; 200 + random.below(1500) as usize];
            match engine.put(key, &value) {
                Ok(_) => {
                    model.insert(key, value);
                    acknowledged += 1;
                }
                Err(WriteError::StorageFull { .. }) => {
                    refused += 1;
                    full = true;
                    break;
                }
                Err(other) => return Err(format!("cycle {cycle}: {other:?} on a full disk").into()),
            }
        }
        if !full {
            return Err(format!("cycle {cycle}: the disk never filled").into());
        }
        check(&engine, &model, cycle)?;
        if cycle.is_multiple_of(5) {
            // A full disk can be opened and read; a close may find no room for its mark.
            engine.close().ok();
            drop(engine);
            engine = Engine::open(&db, options())
                .map_err(|error| format!("cycle {cycle}: full, reopened: {error}"))?;
            check(&engine, &model, cycle)?;
        }
        std::fs::remove_file(&filler)?;
        let freed = Instant::now();
        let value = b"room again".to_vec();
        while let Err(error) = engine.put(cycle, &value) {
            if freed.elapsed() > RESUME_WITHIN || !matches!(error, WriteError::StorageFull { .. }) {
                return Err(
                    format!("cycle {cycle}: {error:?} {:?} after there was room", freed.elapsed()).into()
                );
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        slowest = slowest.max(freed.elapsed());
        model.insert(cycle, value);
        if cycle % 10 == 9 {
            engine.compact()?;
            check(&engine, &model, cycle)?;
        }
    }
    engine.close()?;
    drop(engine);
    let report = verify(&db, None)?;
    if !report.damage.is_empty() {
        return Err(format!("{:?}", report.damage).into());
    }
    println!(
        "full: {cycles} cycles, {acknowledged} acknowledged, {refused} refused, writing again after {slowest:?} at most, nothing lost"
    );
    Ok(())
}

/// Takes all the room there is but `spare` bytes.
fn fill(path: &Path, spare: u64) -> Outcome<()> {
    let mut file = File::create(path)?;
    let piece = vec![0xEE; 64 << 10];
    while file.write_all(&piece).and_then(|()| file.sync_data()).is_ok() {}
    let taken = file.metadata()?.len();
    file.set_len(taken.saturating_sub(spare))?;
    file.sync_all().ok();
    Ok(())
}

fn check(engine: &Engine, model: &BTreeMap<u64, Vec<u8>>, cycle: u64) -> Outcome<()> {
    for (key, value) in model {
        let found = engine.get(*key)?;
        if found.as_deref() != Some(value.as_slice()) {
            return Err(format!("cycle {cycle}: key {key} was acknowledged and reads otherwise").into());
        }
    }
    Ok(())
}
