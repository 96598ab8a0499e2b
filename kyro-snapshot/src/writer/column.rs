//! A growing column that never moves what it holds: a list of equal chunks, the older of which may lie outside memory.

use std::io;

use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::Scratch;

const CHUNK_BYTES: usize = 256 << 10;

/// Append-only values in chunks of 256 KiB, so that growing never copies and never holds twice the size.
#[derive(Debug)]
pub(super) struct Column<T> {
    /// What is before the chunks.
    spilled: Option<Box<dyn Scratch>>,
    spilled_len: u64,
    chunks: Vec<Vec<T>>,
    len: u64,
    first: Option<T>,
}

impl<T> Default for Column<T> {
    fn default() -> Self {
        Self { spilled: None, spilled_len: 0, chunks: Vec::new(), len: 0, first: None }
    }
}

impl<T: Copy + FromBytes + IntoBytes + Immutable> Column<T> {
    const CHUNK_LEN: usize = CHUNK_BYTES / size_of::<T>();

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    #[inline]
    pub(super) fn push(&mut self, value: T) {
        self.len += 1;
        match self.chunks.last_mut() {
            Some(chunk) if chunk.len() < Self::CHUNK_LEN => chunk.push(value),
            _ => self.push_chunk(value),
        }
    }

    #[cold]
    fn push_chunk(&mut self, value: T) {
        self.first.get_or_insert(value);
        // The first chunk grows as it fills, so that a small run stays small in memory.
        let room = if self.chunks.is_empty() { 0 } else { Self::CHUNK_LEN };
        let mut chunk = Vec::with_capacity(room);
        chunk.push(value);
        self.chunks.push(chunk);
    }

    pub(super) fn first(&self) -> Option<T> {
        self.first
    }

    pub(super) fn last(&self) -> Option<T> {
        self.chunks.last().and_then(|chunk| chunk.last()).copied()
    }

    pub(super) fn last_mut(&mut self) -> Option<&mut T> {
        self.chunks.last_mut().and_then(|chunk| chunk.last_mut())
    }

    /// Memory taken, in bytes.
    pub(super) fn memory_bytes(&self) -> usize {
        self.chunks.len() * CHUNK_BYTES
    }

    /// Moves all chunks but the last out of memory.
    pub(super) fn spill(&mut self, make: &mut dyn FnMut() -> io::Result<Box<dyn Scratch>>) -> io::Result<()> {
        let full = self.chunks.len().saturating_sub(1);
        if full == 0 {
            return Ok(());
        }
        let scratch = match &mut self.spilled {
            Some(scratch) => scratch,
            none => none.insert(make()?),
        };
        for chunk in self.chunks.drain(..full) {
            scratch.append(chunk.as_bytes())?;
            self.spilled_len += chunk.len() as u64;
        }
        Ok(())
    }

    /// Visits all values from the first on, in pieces, as bytes.
    pub(super) fn visit<E: From<io::Error>>(
        mut self,
        mut visit: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        if let Some(mut scratch) = self.spilled.take() {
            let mut buffer = vec![0; CHUNK_BYTES];
            let total = self.spilled_len * size_of::<T>() as u64;
            let mut at = 0;
            while at < total {
                let len = buffer.len().min(usize::try_from(total - at).unwrap_or(usize::MAX));
                scratch.read(&mut buffer[..len], at)?;
                visit(&buffer[..len])?;
                at += len as u64;
            }
        }
        self.chunks.iter().try_for_each(|chunk| visit(chunk.as_bytes()))
    }
}
