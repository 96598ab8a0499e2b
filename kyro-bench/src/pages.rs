//! The size of the pages that a benchmark's memory lies in.
//!
//! Page walks are up to a third of a lookup, so every figure states its pages, and every contender gets the same. The
//! key column asks for huge pages itself ([`crate::column`]). What the contenders allocate comes from malloc, and glibc's
//! asks for huge pages when `GLIBC_TUNABLES=glibc.malloc.hugetlb=1` is set at start: so a benchmark that wants them
//! starts itself again with that.

use std::fmt;
use std::io;
use std::process::{Command, ExitStatus};

const TUNABLES: &str = "GLIBC_TUNABLES";
const MALLOC_HUGE_PAGES: &str = "glibc.malloc.hugetlb=1";

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

impl Pages {
    /// True when malloc in this process gives pages of this size.
    pub fn are_in_effect(self) -> bool {
        let asked = std::env::var(TUNABLES).is_ok_and(|tunables| tunables.contains(MALLOC_HUGE_PAGES));
        asked == (self == Self::Huge)
    }
}

/// Starts this program again with the same arguments, so that malloc gives `pages`, and waits for it.
///
/// # Errors
/// When it cannot be started.
pub fn start_again(pages: Pages) -> io::Result<ExitStatus> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(std::env::args_os().skip(1));
    match pages {
        Pages::Small => command.env_remove(TUNABLES),
        Pages::Huge => command.env(TUNABLES, MALLOC_HUGE_PAGES),
    };
    command.status()
}

/// How much of this process's memory lies in huge pages, and how much it has, in bytes. `None` where the system does
/// not say (other than Linux).
pub fn huge_and_resident_bytes() -> Option<(u64, u64)> {
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").ok()?;
    let field = |name: &str| {
        let line = rollup.lines().find(|line| line.starts_with(name))?;
        line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
    };
    Some((field("AnonHugePages:")?, field("Rss:")?))
}
