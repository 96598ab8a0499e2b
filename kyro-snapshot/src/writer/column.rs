//! A growing column that never moves what it holds: a list of equal chunks.

const CHUNK_BYTES: usize = 1 << 20;

/// Append-only values in chunks of 1 MiB, so that growing never copies and never holds twice the size.
#[derive(Debug)]
pub(super) struct Column<T> {
    chunks: Vec<Vec<T>>,
    len: u64,
}

impl<T> Default for Column<T> {
    fn default() -> Self {
        Self { chunks: Vec::new(), len: 0 }
    }
}

impl<T: Copy> Column<T> {
    const CHUNK_LEN: usize = CHUNK_BYTES / size_of::<T>();

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn push(&mut self, value: T) {
        self.len += 1;
        match self.chunks.last_mut() {
            Some(chunk) if chunk.len() < Self::CHUNK_LEN => chunk.push(value),
            _ => {
                // The first chunk grows as it fills, so that a small run stays small in memory.
                let room = if self.chunks.is_empty() { 0 } else { Self::CHUNK_LEN };
                let mut chunk = Vec::with_capacity(room);
                chunk.push(value);
                self.chunks.push(chunk);
            }
        }
    }

    pub(super) fn first(&self) -> Option<T> {
        self.chunks.first().and_then(|chunk| chunk.first()).copied()
    }

    pub(super) fn last(&self) -> Option<T> {
        self.chunks.last().and_then(|chunk| chunk.last()).copied()
    }

    pub(super) fn last_mut(&mut self) -> Option<&mut T> {
        self.chunks.last_mut().and_then(|chunk| chunk.last_mut())
    }

    pub(super) fn chunks(&self) -> impl Iterator<Item = &[T]> {
        self.chunks.iter().map(Vec::as_slice)
    }
}
