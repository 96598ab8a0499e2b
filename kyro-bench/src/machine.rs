//! Where and of what a figure was measured.

use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

/// The machine, as far as a figure depends on it.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// Name of the processor.
    pub cpu: String,
    /// Hardware threads.
    pub threads: usize,
    /// Main memory, in bytes.
    pub memory_bytes: u64,
    /// Operating system and release of its kernel.
    pub system: String,
    /// When the kernel gives huge pages: the chosen word of `always`, `madvise`, `never`.
    pub huge_pages: String,
    /// The instruction level of kyro-simd's kernels.
    pub simd: String,
}

impl Machine {
    /// This machine. What the system does not say is `unknown`.
    pub fn here() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let cpu = read("/proc/cpuinfo");
        let policy = read("/sys/kernel/mm/transparent_hugepage/enabled");
        Self {
            cpu: field(&cpu, "model name").unwrap_or_else(unknown),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: field(&read("/proc/meminfo"), "MemTotal")
                .and_then(|total| total.split_ascii_whitespace().next()?.parse::<u64>().ok())
                .map_or(0, |kib| kib * 1024),
            system: format!("{} {}", std::env::consts::OS, read("/proc/sys/kernel/osrelease").trim()),
            huge_pages: policy
                .split_once('[')
                .and_then(|(_, rest)| rest.split_once(']'))
                .map_or_else(unknown, |(chosen, _)| chosen.to_owned()),
            simd: format!("{:?}", kyro_simd::Searcher::new().level()),
        }
    }
}

fn field(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_once(':').map(|(_, value)| value.trim().to_owned())
}

fn unknown() -> String {
    "unknown".to_owned()
}

/// Processes that were running or waiting for the disk, on average over the last minute: other load falsifies figures.
pub fn load_average() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok()?.split_ascii_whitespace().next()?.parse().ok()
}

/// The file system that `dir` lies on, as `ext4 on /dev/vda1`.
pub fn file_system(dir: &Path) -> String {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    let mounted = mounts.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let (device, place, kind) = (words.next()?, words.next()?, words.next()?);
        dir.starts_with(place).then(|| (place.len(), format!("{kind} on {device}")))
    });
    // Of several on one place, the last one mounted hides the others.
    mounted.max_by_key(|(length, _)| *length).map_or_else(unknown, |(_, described)| described)
}

/// The commit that is checked out where the program runs, with `+` when files differ from it.
pub fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else { return unknown() };
    let changed =
        git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|files| !files.is_empty());
    commit + if changed { "+" } else { "" }
}

/// The time now, as `2026-11-22 09:30 UTC`.
pub fn date() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs());
    date_of(seconds)
}

/// The civil date of a Unix time: years counted from March, in cycles of 400 years (146,097 days).
fn date_of(unix_seconds: u64) -> String {
    let days = unix_seconds / 86_400 + 719_468;
    let (cycle, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next_year) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = year + cycle * 400 + next_year;
    let minutes = unix_seconds / 60;
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02} UTC", minutes / 60 % 24, minutes % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_civil() {
        assert_eq!(date_of(0), "1970-01-01 00:00 UTC");
        assert_eq!(date_of(951_782_399), "2000-02-28 23:59 UTC");
        assert_eq!(date_of(951_782_400), "2000-02-29 00:00 UTC");
        assert_eq!(date_of(1_709_251_199), "2024-02-29 23:59 UTC");
        assert_eq!(date_of(1_795_339_800), "2026-11-22 09:30 UTC");
        assert_eq!(date_of(4_107_542_400), "2100-03-01 00:00 UTC");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn file_systems_are_named() {
        assert!(file_system(Path::new("/proc/self")).starts_with("proc on "));
        assert_ne!(file_system(Path::new("/")), unknown());
    }

    #[test]
    fn this_machine_is_described() {
        let machine = Machine::here();
        assert!(machine.threads > 0 && !machine.simd.is_empty() && !machine.system.is_empty());
    }
}
