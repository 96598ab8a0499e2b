//! Bytes that start on a cache line.

use alloc::vec::Vec;

/// The alignment, in bytes: a cache line.
const LINE: usize = 64;

/// Owned bytes that start at a multiple of 64, so that a 64-byte record never straddles two cache lines.
#[derive(Debug)]
pub struct AlignedBytes {
    /// The bytes, after some padding.
    padded: Vec<u8>,
    /// Where the bytes start in `padded`.
    start: usize,
}

impl AlignedBytes {
    /// Copies `bytes` to a cache line's start.
    pub fn copy_of(bytes: &[u8]) -> Self {
        let mut padded = Vec::<u8>::with_capacity(bytes.len() + LINE - 1);
        // `align_offset` may decline (Miri does): then the bytes are merely unaligned, which costs time alone.
        let start = padded.as_ptr().align_offset(LINE);
        let start = if start < LINE { start } else { 0 };
        padded.resize(start, 0);
        padded.extend_from_slice(bytes);
        Self { padded, start }
    }
}

impl AsRef<[u8]> for AlignedBytes {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        self.padded.get(self.start..).unwrap_or_default()
    }
}

impl Clone for AlignedBytes {
    fn clone(&self) -> Self {
        Self::copy_of(self.as_ref())
    }
}

impl From<&[u8]> for AlignedBytes {
    fn from(bytes: &[u8]) -> Self {
        Self::copy_of(bytes)
    }
}
