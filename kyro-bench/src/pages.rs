//! The size of the pages that a benchmark's memory lies in.
//!
//! Page walks are up to a third of a lookup, so every figure states its pages, and every contender gets the same. The
//! key column asks for huge pages itself ([`crate::column`]). What the contenders allocate comes from malloc, and glibc's
//! asks for huge pages when `GLIBC_TUNABLES=glibc.malloc.hugetlb=1` is set at start: so a benchmark that wants them
//! starts itself again with that ([`settle`]). glibc 2.36 compares the kernel's policy with a string that it forgot to
//! end, and now and then finds it different: so the new process looks whether it worked, and is started once more if not.

use std::fmt;
use std::hint::black_box;
use std::io;
use std::process::{Command, ExitCode};

const TUNABLES: &str = "GLIBC_TUNABLES";
const MALLOC_HUGE_PAGES: &str = "glibc.malloc.hugetlb=1";
/// Set for the processes started here: which attempt it is.
const ATTEMPT: &str = "KYRO_BENCH_PAGES_ATTEMPT";
const LAST: &str = "last";
const ATTEMPTS: u32 = 40;
/// Exit code of a process that did not get its huge pages.
const NO_HUGE_PAGES: u8 = 75;

/// A size of pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
pub enum Pages {
    /// What the system gives unasked: 4 KiB where huge pages are on request only (`madvise`).
    #[value(name = "4k")]
    #[serde(rename = "4 KiB")]
    Small,
    /// 2 MiB, on request.
    #[value(name = "huge")]
    #[serde(rename = "huge (2 MiB)")]
    Huge,
}

impl fmt::Display for Pages {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Small => "4 KiB",
            Self::Huge => "huge (2 MiB)",
        })
    }
}

/// Makes sure that malloc gives `pages`. `None`: it does, here; go on. Otherwise the work has been done by another process
/// of this program with the same arguments, and this is its exit code.
///
/// # Errors
/// When another process cannot be started.
pub fn settle(pages: Pages) -> io::Result<Option<ExitCode>> {
    let asked = std::env::var(TUNABLES).is_ok_and(|tunables| tunables.contains(MALLOC_HUGE_PAGES));
    let attempt = std::env::var(ATTEMPT).ok();
    match (pages, asked) {
        (Pages::Small, false) => Ok(None),
        (Pages::Small, true) => start(pages, LAST).map(|code| Some(code.into())),
        (Pages::Huge, true) => {
            let go_on = attempt.is_none_or(|attempt| attempt == LAST) || malloc_gives_huge_pages();
            Ok((!go_on).then(|| NO_HUGE_PAGES.into()))
        }
        (Pages::Huge, false) => {
            for attempt in 1..ATTEMPTS {
                let code = start(pages, &attempt.to_string())?;
                if code != NO_HUGE_PAGES {
                    return Ok(Some(code.into()));
                }
            }
            // There are none to be had. The report will say so.
            start(pages, LAST).map(|code| Some(code.into()))
        }
    }
}

fn start(pages: Pages, attempt: &str) -> io::Result<u8> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(std::env::args_os().skip(1)).env(ATTEMPT, attempt);
    match pages {
        Pages::Small => command.env_remove(TUNABLES),
        Pages::Huge => command.env(TUNABLES, MALLOC_HUGE_PAGES),
    };
    let status = command.status()?;
    // A process that a signal ended has no code: it failed.
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

fn malloc_gives_huge_pages() -> bool {
    const PROBE_BYTES: usize = 16 << 20;
    let huge = || huge_and_resident_bytes().map_or(0, |(huge, _)| huge);
    let before = huge();
    let block = black_box(vec![1_u8; PROBE_BYTES]);
    let gained = huge().saturating_sub(before);
    drop(block);
    gained >= PROBE_BYTES as u64 / 2
}

/// How much of this process's memory lies in huge pages, mapped files included, and how much it has, in bytes. `None`
/// where the system does not say (other than Linux).
pub fn huge_and_resident_bytes() -> Option<(u64, u64)> {
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").ok()?;
    let field = |name: &str| {
        let line = rollup.lines().find(|line| line.starts_with(name))?;
        line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
    };
    // Kernels before 5.4 say nothing of files.
    Some((field("AnonHugePages:")? + field("FilePmdMapped:").unwrap_or(0), field("Rss:")?))
}
