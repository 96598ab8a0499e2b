//! Reading logs and opening databases after an unclean stop: all of them made and read back first, then timed in turn,
//! from the page cache and from the disk.

use std::io;
use std::path::Path;

use crate::progress::Progress;
use crate::spread::Spread;
use crate::wal::recovery;
use crate::wal::results::{OpenRow, ReplayRow, Results};
use crate::wal::run::{Plan, WalBenchError};
use crate::wal::tail::{Opened, TailedDatabase};

/// Bytes of the frames of the logs that are read: a batch of 1,000 entries of 64 bytes, and a put of one.
const FRAMES: [usize; 2] = [77_001, 78];
/// Length of the values of the tails, and of those of one more tail, which is as many bytes.
const TAIL_VALUE: usize = 64;
const LONG_TAIL_VALUE: usize = 1024;

/// Steps of [`measure`].
pub(super) fn steps(plan: &Plan) -> usize {
    (FRAMES.len() + plan.stored.len() + 1) * (1 + plan.repeats)
}

/// Adds the rows of all logs and databases.
pub(super) fn measure(
    plan: &Plan,
    dir: &Path,
    results: &mut Results,
    progress: &mut Progress,
) -> Result<(), WalBenchError> {
    for frame in FRAMES {
        let dir = dir.join(format!("log-{frame}"));
        progress.say(&format!("a log of frames of {frame} bytes"));
        let frames = recovery::write_log(&dir, frame, plan.transfer_bytes)?;
        let bytes = frames * frame as u64;
        let speed = || Ok(bytes as f64 / recovery::read_log(&dir, frame, frames)?.as_secs_f64());
        speed()?;
        progress.step();
        let (mut warm, mut cold) = (Vec::new(), Vec::new());
        for _ in 0..plan.repeats {
            warm_and_cold(&dir, &mut warm, &mut cold, speed)?;
            progress.step();
        }
        std::fs::remove_dir_all(&dir)?;
        let (warm, cold) = (spread(&warm), Spread::of(&cold));
        results.replays.push(ReplayRow { frame_bytes: frame, bytes, warm, cold });
    }

    let mut databases = databases(plan, dir);
    for Measured { database, .. } in &databases {
        progress.say(&format!("{}: writing it and reading it back", described(database)));
        recovery::fill(&plan.program, database)?;
        recovery::open(&plan.program, database, true)?;
        progress.step();
    }
    for repeat in 0..plan.repeats {
        for Measured { database, warm, cold } in &mut databases {
            progress.say(&format!("repeat {}: opening {}", repeat + 1, described(database)));
            warm_and_cold(&database.dir, warm, cold, || recovery::open(&plan.program, database, false))?;
            progress.step();
        }
    }
    results.opens.extend(databases.iter().map(row));
    Ok(())
}

/// A database, and what its openings took.
struct Measured {
    database: TailedDatabase,
    warm: Vec<Opened>,
    cold: Vec<Opened>,
}

/// The same tail over every number of stored entries, and one of long values over the least.
fn databases(plan: &Plan, dir: &Path) -> Vec<Measured> {
    let long_tail = (plan.tail * TAIL_VALUE as u64 / LONG_TAIL_VALUE as u64).max(1);
    let least = plan.stored.iter().copied().min();
    let long = least.map(|stored| (stored, long_tail, LONG_TAIL_VALUE));
    let tails = plan.stored.iter().map(|&stored| (stored, plan.tail, TAIL_VALUE));
    let measured = |(stored, tail, value_bytes)| {
        let dir = dir.join(format!("tailed-{stored}-{value_bytes}"));
        let database = TailedDatabase { dir, stored, tail, value_bytes, seed: plan.seed };
        Measured { database, warm: Vec::new(), cold: Vec::new() }
    };
    tails.chain(long).map(measured).collect()
}

fn described(database: &TailedDatabase) -> String {
    let TailedDatabase { stored, tail, value_bytes, .. } = database;
    format!("{stored} stored entries and a tail of {tail}, of {value_bytes} bytes")
}

/// Runs `measure` once with what lies in `dir` in the page cache, and once with nothing of it there, where the system can be
/// told so.
fn warm_and_cold<T>(
    dir: &Path,
    warm: &mut Vec<T>,
    cold: &mut Vec<T>,
    measure: impl Fn() -> Result<T, WalBenchError>,
) -> Result<(), WalBenchError> {
    warm.push(measure()?);
    match recovery::forget_all(dir) {
        Ok(()) => cold.push(measure()?),
        Err(error) if error.kind() == io::ErrorKind::Unsupported => {}
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

fn row(Measured { database, warm, cold }: &Measured) -> OpenRow {
    let tail_bytes = database.tail_bytes();
    let figures = |opened: &[Opened], figure: &dyn Fn(&Opened) -> f64| -> Vec<f64> {
        opened.iter().map(figure).collect()
    };
    let speed = |opened: &Opened| tail_bytes as f64 / opened.seconds;
    OpenRow {
        stored: database.stored,
        tail: database.tail,
        value_bytes: database.value_bytes,
        tail_bytes,
        warm_seconds: spread(&figures(warm, &|opened| opened.seconds)),
        cold_seconds: Spread::of(&figures(cold, &|opened| opened.seconds)),
        warm: spread(&figures(warm, &speed)),
        cold: Spread::of(&figures(cold, &speed)),
        first_get_us: spread(&figures(warm, &|opened| opened.first_get_seconds * 1e6)),
    }
}

fn spread(figures: &[f64]) -> Spread {
    Spread::of(figures).unwrap_or(Spread { median: 0.0, least: 0.0, most: 0.0 })
}
