//! Where the bytes of a run live: a mapped file, aligned heap memory, or huge pages.
#![expect(unsafe_code, reason = "mapping a file is unsafe")]

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek};

use memmap2::{Mmap, MmapOptions};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// The size of a huge page on x86-64 and on AArch64 with 4 KiB pages.
const HUGE_PAGE_BYTES: usize = 2 << 20;

/// The bytes of an immutable file, aligned to 64: mapped, on the heap, or copied into huge pages.
///
/// Dereference it with [`AsRef<[u8]>`](AsRef). It is `Send` and `Sync`; put it in an `Arc` to share it.
pub struct Mapping {
    place: Place,
}

enum Place {
    File(Mmap),
    Heap { lines: Vec<Line>, len: usize },
    Given(Vec<u8>),
    Anonymous { map: Mmap, start: usize, len: usize },
}

/// One cache line, so that a vector of them is aligned to one.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
#[repr(C, align(64))]
struct Line([u8; 64]);

impl Mapping {
    /// Maps the whole of `file`, read only. Costs no reads; pages come in as they are touched, huge ones where the page
    /// cache holds the file so ([`huge_bytes`](Self::huge_bytes)).
    ///
    /// The file must not be truncated or modified while it is mapped: touching a page that is gone kills the process
    /// (SIGBUS). Published runs are never modified; where something else may cut them, use [`read`](Self::read).
    ///
    /// # Errors
    /// What the operating system says.
    pub fn map(file: &File) -> io::Result<Self> {
        // SAFETY: A run file is immutable once published, and is unlinked, never truncated, when it goes; the
        // documentation above passes that duty on. `Run::open` checks the mapped length against the footer.
        let map = unsafe { MmapOptions::new().map(file) }?;
        Ok(Self { place: Place::File(map) })
    }

    /// Reads the whole of `file` into the heap: for places where mapping is unwanted. Costs the file's size in memory.
    ///
    /// # Errors
    /// What the operating system says; [`io::ErrorKind::UnexpectedEof`] when the file shrinks while it is read.
    pub fn read(mut file: &File) -> io::Result<Self> {
        let len = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
        let mut lines = heap_lines(len);
        file.rewind()?;
        file.read_exact(&mut lines.as_mut_bytes()[..len])?;
        Ok(Self { place: Place::Heap { lines, len } })
    }

    /// Takes bytes from memory, copying them to an aligned place unless they already are in one.
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        if bytes.as_ptr().addr().is_multiple_of(align_of::<Line>()) {
            return Self { place: Place::Given(bytes) };
        }
        let len = bytes.len();
        let mut lines = heap_lines(len);
        lines.as_mut_bytes()[..len].copy_from_slice(&bytes);
        Self { place: Place::Heap { lines, len } }
    }

    /// Copies `bytes` into anonymous memory aligned to 2 MiB and asks the kernel for huge pages, which makes random
    /// access cheaper: page walks are up to a third of a lookup in a large column. Costs the size in memory, rounded up.
    ///
    /// Where the kernel has no huge pages to give, the copy is in ordinary pages and everything else is the same; see
    /// [`huge_bytes`](Self::huge_bytes) for what it gave.
    ///
    /// # Errors
    /// When the memory cannot be had.
    pub fn copy_to_huge_pages(bytes: &[u8]) -> io::Result<Self> {
        let len = bytes.len();
        let mut map = MmapOptions::new().len(len + HUGE_PAGE_BYTES).map_anon()?;
        let start = map.as_ptr().align_offset(HUGE_PAGE_BYTES);
        #[cfg(target_os = "linux")]
        if let Err(error) = map.advise(memmap2::Advice::HugePage) {
            // A kernel without huge pages: ordinary ones hold the same bytes.
            drop(error);
        }
        map[start..start + len].copy_from_slice(bytes);
        Ok(Self { place: Place::Anonymous { map: map.make_read_only()?, start, len } })
    }

    /// How many of the bytes lie in huge pages now: of a mapped file those that were touched and that the page cache
    /// holds so, which a [`Writer`](crate::Writer) sees to where the file system can. Reads `/proc/self/smaps`; `None`
    /// where there is none, and on the heap.
    pub fn huge_bytes(&self) -> Option<u64> {
        let (Place::File(map) | Place::Anonymous { map, .. }) = &self.place else { return None };
        let address = map.as_ptr().addr();
        huge_bytes_at(&std::fs::read_to_string("/proc/self/smaps").ok()?, address)
    }
}

impl AsRef<[u8]> for Mapping {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        match &self.place {
            Place::File(map) => map,
            Place::Heap { lines, len } => &lines.as_bytes()[..*len],
            Place::Given(bytes) => bytes,
            Place::Anonymous { map, start, len } => &map[*start..*start + *len],
        }
    }
}

impl fmt::Debug for Mapping {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = match &self.place {
            Place::File(_) => "file",
            Place::Heap { .. } | Place::Given(_) => "heap",
            Place::Anonymous { .. } => "anonymous",
        };
        formatter.debug_struct("Mapping").field("place", &place).field("bytes", &self.as_ref().len()).finish()
    }
}

fn heap_lines(len: usize) -> Vec<Line> {
    vec![Line([0; 64]); len.div_ceil(size_of::<Line>())]
}

/// Bytes in huge pages, anonymous or of a file, of the mapping that holds `address`. The kernel may have merged
/// neighbours into it.
fn huge_bytes_at(smaps: &str, address: usize) -> Option<u64> {
    let (mut inside, mut found) = (false, None);
    for line in smaps.lines() {
        let mut fields = line.split_ascii_whitespace();
        let first = fields.next()?;
        if let Some((low, high)) = first.split_once('-') {
            let low = usize::from_str_radix(low, 16).ok()?;
            let high = usize::from_str_radix(high, 16).ok()?;
            inside = (low..high).contains(&address);
            if found.is_some() {
                break;
            }
        } else if inside && matches!(first, "AnonHugePages:" | "FilePmdMapped:") {
            found = Some(found.unwrap_or(0) + fields.next()?.parse::<u64>().ok()? * 1024);
        }
    }
    found
}
