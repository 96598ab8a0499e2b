//! Power cuts on a real file system: `cargo xtask powerloss`.
//!
//! A file whose every write and flush is recorded (FUSE) is the block device (loop) of a real file system, on which a
//! workload runs. For many points of the record the device is made anew as a cut there may leave it: everything before
//! the last flush, and of what followed any part, sector by sector. It is mounted, the engine opens it, and what was
//! acknowledged before that point has to be there.

mod cut;
mod full;
mod mounted;
mod recorder;
#[path = "../../../kyro-engine/tests/workload/mod.rs"]
mod workload;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use kyro_engine::Engine;
use mounted::{Loop, Mount};
use recorder::{Record, Recorder};
use workload::{Attempt, Model, Random, batch, check, options};

/// Bytes of the device: room for a file system, its journal and a small database.
const DEVICE_BYTES: u64 = 32 << 20;

type Outcome<T> = Result<T, Box<dyn Error>>;

struct Arguments {
    points: u64,
    per_round: u64,
    seed: u64,
    fs: String,
    /// Instead of cuts: how often the file system fills.
    full_cycles: u64,
}

fn main() -> ExitCode {
    let arguments = match read_arguments() {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("powerloss: {error}; there are --points, --per-round, --seed, --fs and --full-cycles");
            return ExitCode::from(2);
        }
    };
    if let Some(missing) = missing(&arguments.fs) {
        println!("powerloss: skipped: {missing}");
        return ExitCode::SUCCESS;
    }
    match campaign(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("powerloss: {error}");
            ExitCode::FAILURE
        }
    }
}

fn read_arguments() -> Result<Arguments, String> {
    let mut arguments =
        Arguments { points: 200, per_round: 100, seed: 1, fs: "ext4".to_owned(), full_cycles: 0 };
    let words: Vec<String> = std::env::args().skip(1).collect();
    for pair in words.chunks(2) {
        let value = pair.get(1).ok_or(format!("{} takes a value", pair[0]))?;
        let number = || value.parse().map_err(|_| format!("{} takes a number", pair[0]));
        match pair[0].as_str() {
            "--points" => arguments.points = number()?,
            "--per-round" => arguments.per_round = number()?,
            "--seed" => arguments.seed = number()?,
            "--full-cycles" => arguments.full_cycles = number()?,
            "--fs" => arguments.fs.clone_from(value),
            other => return Err(format!("unknown option {other:?}")),
        }
    }
    Ok(arguments)
}

/// What this machine lacks, if anything.
fn missing(fs: &str) -> Option<String> {
    if std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) != 0) {
        return Some("mounting needs root".to_owned());
    }
    if let Err(error) = std::fs::OpenOptions::new().read(true).write(true).open("/dev/fuse") {
        return Some(format!("/dev/fuse: {error}"));
    }
    let mkfs = format!("mkfs.{fs}");
    for tool in ["losetup", "mount", "umount", mkfs.as_str()] {
        let there =
            ["/usr/sbin", "/usr/bin", "/sbin", "/bin"].iter().any(|dir| Path::new(dir).join(tool).exists());
        if !there {
            return Some(format!("{tool} is not installed"));
        }
    }
    None
}

fn campaign(arguments: &Arguments) -> Outcome<()> {
    let shm = Path::new("/dev/shm");
    let base = if shm.is_dir() { shm.to_owned() } else { std::env::temp_dir() };
    let work = base.join(format!("kyro-powerloss-{}", std::process::id()));
    std::fs::create_dir_all(&work)?;
    if arguments.full_cycles > 0 {
        let outcome = full::campaign(&work, &arguments.fs, arguments.full_cycles);
        std::fs::remove_dir_all(&work).ok();
        return outcome;
    }
    let began = Instant::now();
    let (mut points, mut round, mut batches) = (0, 0, 0);
    let mut failures = Vec::new();
    while points < arguments.points && failures.is_empty() {
        let seed = arguments.seed + round;
        let told = tell_story(&work, &arguments.fs, seed)?;
        let wanted = arguments.per_round.min(arguments.points - points);
        let mut random = Random(seed ^ 0x0F0F);
        for _ in 0..wanted {
            let position = random.below(told.record.events.len() as u64 + 1) as usize;
            let manner = random.next();
            points += 1;
            let context = format!(
                "round {seed}, cut before event {position} of {}, manner {manner}",
                told.record.events.len()
            );
            if let Err(error) = examine(&work, arguments, &told, position, manner) {
                failures.push(format!("{context}: {error}"));
                break;
            }
        }
        batches += told.model.attempts.len();
        round += 1;
        println!(
            "powerloss: {points} points on {}, {round} rounds of {} events at last, {batches} batches, {} s",
            arguments.fs,
            told.record.events.len(),
            began.elapsed().as_secs()
        );
    }
    std::fs::remove_dir_all(&work).ok();
    match failures.first() {
        None => {
            println!("powerloss: {points} cuts on {}, nothing acknowledged lost", arguments.fs);
            Ok(())
        }
        Some(first) => Err(first.clone().into()),
    }
}

/// A workload, and what its device recorded.
struct Told {
    record: Record,
    model: Model,
}

/// Makes a file system on a recorded device and runs a workload on it.
fn tell_story(work: &Path, fs: &str, seed: u64) -> Outcome<Told> {
    let image = work.join("fresh");
    make_file_system(&image, fs)?;
    let recorder = Recorder::mount(&work.join("device"), std::fs::read(&image)?)?;
    let device = Loop::attach(&recorder.file())?;
    let mount = Mount::new(device.path(), &work.join("live"), fs)?;
    let model = run(&mount.path().join("db"), &recorder, seed)?;
    mount.unmount()?;
    device.detach()?;
    Ok(Told { record: recorder.finish(), model })
}

/// An empty file system in a file.
fn make_file_system(image: &Path, fs: &str) -> Outcome<()> {
    let file = std::fs::File::create(image)?;
    file.set_len(DEVICE_BYTES)?;
    drop(file);
    let mut mkfs = Command::new(format!("mkfs.{fs}"));
    if fs == "ext4" {
        mkfs.args(["-q", "-F", "-b", "4096", "-J", "size=4", "-E", "lazy_itable_init=0,lazy_journal_init=0"]);
    } else {
        mkfs.args(["-q", "-f"]);
    }
    mounted::run(mkfs.arg(image))?;
    Ok(())
}

/// Batches in bursts, with flushes, compactions and reopenings between them; each with the place in the record at which
/// it was handed over and acknowledged.
fn run(dir: &Path, recorder: &Recorder, seed: u64) -> Outcome<Model> {
    let mut random = Random(seed);
    let mut model = Model::default();
    let mut engine = Engine::open(dir, options())?;
    while model.attempts.len() < 40 {
        match random.below(12) {
            0 => drop(engine.flush()?),
            1 => drop(engine.compact()?),
            2 => {
                engine.close()?;
                drop(engine);
                engine = Engine::open(dir, options())?;
            }
            _ => {
                let first = model.attempts.len();
                let mut commits = Vec::new();
                for _ in 0..=random.below(3) {
                    let ops = model.next_batch(&mut random);
                    let submitted = recorder.position();
                    commits.push(engine.write(batch(&ops))?);
                    model.attempts.push(Attempt { submitted, acked: None, first_offset: None, ops });
                }
                for (index, commit) in commits.into_iter().enumerate() {
                    let committed = commit.wait()?;
                    let attempt = &mut model.attempts[first + index];
                    attempt.acked = Some(recorder.position());
                    attempt.first_offset = Some(committed.first_offset);
                }
            }
        }
    }
    engine.close()?;
    Ok(model)
}

/// Cuts, mounts, opens, checks, writes on.
fn examine(work: &Path, arguments: &Arguments, told: &Told, position: usize, manner: u64) -> Outcome<()> {
    let image: PathBuf = work.join("cut");
    std::fs::write(&image, cut::after(&told.record, position, manner))?;
    let device = Loop::attach(&image)?;
    let mount = Mount::new(device.path(), &work.join("cut-mount"), &arguments.fs)?;
    let at = position as u64;
    let (acked, submitted) = (told.model.acked_before(at), told.model.submitted_before(at));
    let checked = std::panic::catch_unwind(|| -> Result<(), String> {
        let open =
            || Engine::open(mount.path().join("db"), options()).map_err(|error| format!("refused: {error}"));
        let engine = open()?;
        let there = check(&engine, &told.model, acked, submitted);
        let next = engine.put(7, "and on").map_err(|error| error.to_string())?;
        if next < told.model.next_offset(there) {
            return Err(format!("offset {next} again"));
        }
        engine.close().map_err(|error| error.to_string())?;
        drop(engine);
        let engine = open()?;
        match engine.get(7) {
            Ok(Some(value)) if &*value == b"and on" => {}
            other => return Err(format!("after a clean close: {other:?}")),
        }
        engine.close().map_err(|error| error.to_string())
    });
    let outcome = match checked {
        Ok(outcome) => outcome,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            Err(text
                .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
                .unwrap_or_default())
        }
    };
    mount.unmount()?;
    device.detach()?;
    Ok(outcome?)
}
