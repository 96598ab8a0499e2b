//! Byte layouts (stub).
pub(crate) const FRAME_HEADER: usize = 48;
pub(crate) const MAX_METADATA: usize = 1024;
pub(crate) const MIN_SEGMENT: u64 = 16384;
