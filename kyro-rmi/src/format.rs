//! The bytes of an index, versions 1 and 2. All integers little-endian; every section starts at a multiple of 64.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 8 | magic `KYRORMI` and a zero |
//! | 8 | 4 | format version: 1, or 2 where the root is separators |
//! | 12 | 4 | checksum algorithm: 1 = CRC-32 (ISO-HDLC) |
//! | 16 | 16 | UUID of the key column |
//! | 32 | 4 | checksum of the key column |
//! | 36 | 4 | bytes to each checksum of the body: 16,384 |
//! | 40 | 8 | number of keys |
//! | 48 | 8 | root: smallest key on the grid |
//! | 56 | 8 | root: largest key on the grid, less the smallest |
//! | 64 | 8 | root: number of cells |
//! | 72 | 8 | root: multiplier (linear), or bits (logarithmic), or 0 |
//! | 80 | 4 | root: 0 = linear, 1 = logarithmic, 2 = separators: the number of cells is that of leaves, the keys are 0 |
//! | 84 | 4 | window in keys |
//! | 88 | 8 | number of words, a multiple of 8 |
//! | 96 | 8 | number of blocks |
//! | 104 | 8 × 4 | statistics: outliers, leaves, fallback keys, further keys |
//! | 136 | 4 × 4 | statistics: epsilon p50, p99, max, most steps |
//! | 152 | 100 | zeros |
//! | 252 | 4 | checksum of bytes 0 to 251 |
//! | 256 | 8 × words | records: first one for each cell of the root and two for its outliers, then the others; none under separators |
//! | … | 64 × blocks | lines and fence nodes, or the tree of separators |
//! | … | 4 × ⌈body / 16,384⌉ | checksum of each 16 KiB of the body, which is words and blocks |
//! | … | 4 | checksum of those checksums |

use crate::column::Column;
use crate::error::OpenError;
use crate::model::{Model, Window};
use crate::root::{Root, Spread};
use crate::stats::{RootKind, Stats};
use crate::tree::{Tree, WINDOW};
use alloc::vec::Vec;

pub(crate) const MAGIC: [u8; 8] = *b"KYRORMI\0";
/// The newest format version that this code reads. It writes the oldest that can say what there is to say.
pub(crate) const VERSION: u32 = 2;
/// The version of every root but separators.
const GRIDS: u32 = 1;
/// The number for separators in the field for the root's kind.
const SEPARATORS: u32 = 2;
pub(crate) const HEADER: usize = 256;
const CRC32: u32 = 1;
const CHECKED: usize = 16 * 1024;
const HEADER_CHECKSUM: usize = HEADER - 4;

/// What a header says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub(crate) column: Column,
    pub(crate) model: Model,
    pub(crate) stats: Stats,
    /// Where the body ends.
    pub(crate) body_end: usize,
}

/// The bytes of an index: header, body and checksums.
pub(crate) fn encode(
    column: &Column,
    model: &Model,
    stats: &Stats,
    words: &[u64],
    blocks: &[[u8; 64]],
) -> Vec<u8> {
    debug_assert!(words.len().is_multiple_of(8));
    let body = words.len() * 8 + blocks.len() * 64;
    let mut bytes = Vec::with_capacity(HEADER + body + 4 * body.div_ceil(CHECKED) + 4);
    bytes.extend_from_slice(&header(column, model, stats, words.len() as u64, blocks.len() as u64));
    for word in words {
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    bytes.extend_from_slice(blocks.as_flattened());
    let checksums: Vec<u8> = bytes
        .get(HEADER..)
        .unwrap_or_default()
        .chunks(CHECKED)
        .flat_map(|chunk| crc32fast::hash(chunk).to_le_bytes())
        .collect();
    bytes.extend_from_slice(&checksums);
    bytes.extend_from_slice(&crc32fast::hash(&checksums).to_le_bytes());
    bytes
}

/// How many bytes [`encode`] makes of so many words and blocks.
pub(crate) fn encoded_len(words: u64, blocks: u64) -> u64 {
    let body = words * 8 + blocks * 64;
    HEADER as u64 + body + 4 * body.div_ceil(CHECKED as u64) + 4
}

/// The bytes of a header.
pub(crate) fn header(column: &Column, model: &Model, stats: &Stats, words: u64, blocks: u64) -> [u8; HEADER] {
    let (version, cells) =
        if model.is_tree() { (VERSION, model.tree.leaves) } else { (GRIDS, model.root.cells) };
    let (kind, parameter) = match model.root.spread {
        _ if model.is_tree() => (SEPARATORS, 0),
        Spread::Linear { multiplier } => (0u32, multiplier),
        Spread::Logarithmic { bits } => (1, u64::from(bits)),
    };
    let mut bytes = Vec::with_capacity(HEADER);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&version.to_le_bytes());
    bytes.extend_from_slice(&CRC32.to_le_bytes());
    bytes.extend_from_slice(&column.uuid);
    bytes.extend_from_slice(&column.checksum.to_le_bytes());
    bytes.extend_from_slice(&(CHECKED as u32).to_le_bytes());
    for field in [column.keys, model.root.low, model.root.range, cells, parameter] {
        bytes.extend_from_slice(&field.to_le_bytes());
    }
    for field in [kind, model.window.keys as u32] {
        bytes.extend_from_slice(&field.to_le_bytes());
    }
    let Stats { outliers, leaves, fallback_keys, further_keys, .. } = *stats;
    for field in [words, blocks, outliers, leaves, fallback_keys, further_keys] {
        bytes.extend_from_slice(&field.to_le_bytes());
    }
    for field in [stats.epsilon_p50, stats.epsilon_p99, stats.epsilon_max, stats.max_steps] {
        bytes.extend_from_slice(&field.to_le_bytes());
    }
    bytes.resize(HEADER_CHECKSUM, 0);
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
    let mut header = [0; HEADER];
    for (to, from) in header.iter_mut().zip(bytes) {
        *to = from;
    }
    header
}

/// Reads fields one after the other.
struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let field = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk()).copied();
        self.at += N;
        field.unwrap_or([0; N]) // the caller has checked that the header is whole
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }
}

fn corrupt(offset: usize, reason: &'static str) -> OpenError {
    OpenError::Corrupt { offset: offset as u64, reason }
}

/// Reads and checks a header, and that the bytes are as many as it says. O(1).
pub(crate) fn decode(bytes: &[u8]) -> Result<Header, OpenError> {
    let mut fields = Fields { bytes, at: 0 };
    let magic = fields.take::<8>();
    if magic != MAGIC || bytes.len() < MAGIC.len() {
        let mut found = [0; 8];
        for (to, from) in found.iter_mut().zip(bytes) {
            *to = *from;
        }
        return Err(OpenError::NotAnIndex { found });
    }
    if bytes.len() < MAGIC.len() + 4 {
        return Err(corrupt(bytes.len(), "it ends within its header"));
    }
    let version = fields.u32();
    if version > VERSION {
        return Err(OpenError::NewerFormat { found: version, supported: VERSION });
    }
    if version == 0 {
        return Err(corrupt(8, "its format version is 0, which no version of kyro-rmi wrote"));
    }
    if bytes.len() < HEADER {
        return Err(corrupt(bytes.len(), "it ends within its header"));
    }
    let algorithm = fields.u32();
    if algorithm != CRC32 {
        return Err(OpenError::Checksum { found: algorithm });
    }
    let mut checksum = Fields { bytes, at: HEADER_CHECKSUM };
    if crc32fast::hash(bytes.get(..HEADER_CHECKSUM).unwrap_or_default()) != checksum.u32() {
        return Err(corrupt(HEADER_CHECKSUM, "its header's checksum does not match"));
    }
    checked_header(bytes, fields, version)
}

/// Reads the fields of a header whose checksum matched.
fn checked_header(bytes: &[u8], mut fields: Fields<'_>, version: u32) -> Result<Header, OpenError> {
    let (uuid, column_checksum, checked) = (fields.take::<16>(), fields.u32(), fields.u32());
    if checked != CHECKED as u32 {
        return Err(corrupt(36, "its checksums cover another number of bytes than this version's"));
    }
    let (keys, low, range) = (fields.u64(), fields.u64(), fields.u64());
    let (cells, parameter, kind, window) = (fields.u64(), fields.u64(), fields.u32(), fields.u32());
    let (words, blocks) = (fields.u64(), fields.u64());
    let [outliers, leaves, fallback_keys, further_keys] = core::array::from_fn(|_| fields.u64());
    let [epsilon_p50, epsilon_p99, epsilon_max, max_steps] = core::array::from_fn(|_| fields.u32());

    let is_tree = kind == SEPARATORS && version == VERSION;
    let spread = match kind {
        0 => Spread::Linear { multiplier: parameter },
        1 if parameter < 32 => Spread::Logarithmic { bits: parameter as u32 },
        _ if is_tree => Spread::Linear { multiplier: 0 },
        _ => return Err(corrupt(80, "its root is of a kind that this version does not have")),
    };
    if !window.is_multiple_of(8) || !(16..=64).contains(&window) {
        return Err(corrupt(84, "its window is not one that this version has"));
    }
    if keys > crate::entry::MOST_KEYS {
        return Err(corrupt(40, "it claims more keys than an index holds"));
    }
    let too_many = words > 1 << 40 || blocks > 1 << 40;
    let tree = if is_tree { Tree::new(cells).filter(|tree| tree.leaves > 0) } else { Some(Tree::NONE) };
    let fits = |tree: &Tree| {
        if is_tree {
            words == 0 && window == WINDOW as u32 && tree.len() as u64 == blocks.saturating_mul(64)
        } else {
            cells.saturating_add(2) <= words
        }
    };
    let Some(tree) = tree.filter(|tree| !too_many && words.is_multiple_of(8) && fits(tree)) else {
        return Err(corrupt(88, "it claims numbers of records that cannot be"));
    };
    let bytes_expected = encoded_len(words, blocks);
    if bytes.len() as u64 != bytes_expected {
        return Err(corrupt(bytes.len(), "it is not as long as its header says"));
    }
    let root_kind = match spread {
        _ if is_tree => RootKind::Separators,
        Spread::Linear { .. } => RootKind::Linear,
        Spread::Logarithmic { .. } => RootKind::Logarithmic,
    };
    Ok(Header {
        column: Column { uuid, checksum: column_checksum, keys },
        model: Model {
            root: Root { low, range, cells, spread },
            tree,
            window: Window { keys: window as usize, total: keys },
            blocks_at: words * 8,
        },
        stats: Stats {
            keys,
            root: root_kind,
            root_cells: cells,
            outliers,
            leaves,
            fallback_keys,
            further_keys,
            epsilon_p50,
            epsilon_p99,
            epsilon_max,
            max_window: window,
            max_steps,
            bytes: bytes_expected,
            build_nanos: 0,
        },
        body_end: HEADER + (words * 8 + blocks * 64) as usize,
    })
}

/// Checks every checksum after the header's. Reads all the bytes.
pub(crate) fn verify_checksums(bytes: &[u8], body_end: usize) -> Result<(), OpenError> {
    let (Some(body), Some(tail)) = (bytes.get(HEADER..body_end), bytes.get(body_end..)) else {
        return Err(corrupt(bytes.len(), "it is not as long as its header says"));
    };
    let (checksums, own) = tail.split_at(tail.len().saturating_sub(4));
    if crc32fast::hash(checksums).to_le_bytes() != own {
        return Err(corrupt(body_end, "the checksum of its checksums does not match"));
    }
    let (checksums, _) = checksums.as_chunks::<4>();
    for (index, (chunk, expected)) in body.chunks(CHECKED).zip(checksums).enumerate() {
        if crc32fast::hash(chunk).to_le_bytes() != *expected {
            return Err(corrupt(HEADER + index * CHECKED, "the checksum of these 16 KiB does not match"));
        }
    }
    Ok(())
}
