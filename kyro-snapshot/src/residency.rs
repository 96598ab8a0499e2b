//! Which bytes of a mapped file are in memory, as the kernel sees it, and how often a thread had to wait for some that
//! were not. Where the kernel does not tell, everything counts as being in memory.
#![cfg_attr(target_os = "linux", expect(unsafe_code, reason = "no safe interface asks the kernel for this"))]

use std::hint::black_box;

/// The smallest page of the machines this runs on: touching one byte of each brings all of it in.
const PAGE_BYTES: usize = 4096;
/// Pages asked for at a time.
#[cfg(target_os = "linux")]
const PAGES_AT_ONCE: usize = 1024;

/// Reads one byte of every page of `bytes`: afterwards they were in memory. Waits for the disk as long as it takes.
pub fn touch_pages(bytes: &[u8]) {
    for page in bytes.chunks(PAGE_BYTES) {
        black_box(page[0]);
    }
    // Where the bytes begin inside a page, the last byte may be in one page more.
    black_box(bytes.last());
}

/// Whether every page of `bytes` is in memory now. Does not read them, so does not wait for the disk. Costs a system
/// call for each 4 MiB.
#[cfg(target_os = "linux")]
pub fn is_resident(bytes: &[u8]) -> bool {
    if bytes.is_empty() {
        return true;
    }
    // SAFETY: The call takes a number and gives one.
    let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(PAGE_BYTES);
    let before = bytes.as_ptr().addr() % page;
    let mut at = bytes.as_ptr().wrapping_sub(before).cast_mut();
    let mut pages = (before + bytes.len()).div_ceil(page);
    while pages > 0 {
        let mut present = [1_u8; PAGES_AT_ONCE];
        let some = pages.min(PAGES_AT_ONCE);
        // SAFETY: `at` is the start of a page, and the call reads none of the pages: it only says of each of `some`
        // pages whether it is there, in one byte of `present`, which has room for as many. Pages that are not mapped
        // make it fail.
        let asked = unsafe { libc::mincore(at.cast(), some * page, present.as_mut_ptr()) };
        if asked == 0 && present.iter().take(some).any(|page| page & 1 == 0) {
            return false;
        }
        at = at.wrapping_add(some * page);
        pages -= some;
    }
    true
}

/// See the function for Linux.
#[cfg(not(target_os = "linux"))]
pub fn is_resident(_bytes: &[u8]) -> bool {
    true
}

/// How often this thread has waited for a page to come from disk, since it began. Costs one short system call.
#[cfg(target_os = "linux")]
pub fn major_faults() -> u64 {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: `usage` has room for what the call writes.
    let asked = unsafe { libc::getrusage(libc::RUSAGE_THREAD, usage.as_mut_ptr()) };
    // SAFETY: All of it was set to zero, which is a value of every field, whatever the call wrote over it.
    let usage = unsafe { usage.assume_init() };
    if asked == 0 { u64::try_from(usage.ru_majflt).unwrap_or(0) } else { 0 }
}

/// See the function for Linux.
#[cfg(not(target_os = "linux"))]
pub fn major_faults() -> u64 {
    0
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::Mapping;
    use std::io::Write;

    #[test]
    fn pages_are_in_memory_once_they_were_touched_and_not_before() {
        // Pages of the heap are there or not by themselves; those that were never touched are not.
        let map = memmap2::MmapOptions::new().len(64 * PAGE_BYTES).map_anon().unwrap();
        // Nor because a neighbour was, with which the kernel joins it: another thread's memory, in pages of 2 MiB.
        map.advise(memmap2::Advice::NoHugePage).ok();
        assert!(is_resident(&[]));
        assert!(!is_resident(&map[..1]));
        black_box(map[PAGE_BYTES]);
        assert!(is_resident(&map[PAGE_BYTES..2 * PAGE_BYTES]));
        assert!(is_resident(&map[PAGE_BYTES + 7..PAGE_BYTES + 8]));
        assert!(!is_resident(&map[PAGE_BYTES..=2 * PAGE_BYTES]), "one byte of the next page");
        touch_pages(&map[100..60 * PAGE_BYTES + 101]);
        assert!(is_resident(&map[..61 * PAGE_BYTES]));
        assert!(!is_resident(&map));
    }

    #[test]
    fn a_file_that_was_just_written_is_in_memory_and_faults_are_counted_up() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![7; 5_000_000]).unwrap();
        let before = major_faults();
        let mapping = Mapping::map(&file).unwrap();
        assert!(is_resident(mapping.as_ref()), "more pages than are asked for at a time");
        touch_pages(mapping.as_ref());
        assert!(major_faults() >= before);
    }
}
