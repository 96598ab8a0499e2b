//! The facts of a run file, field by field and section by section, as they are on disk: for operators, for format
//! dumps, and for learning the format from a real file.
//!
//! ```
//! let writer = kyro_snapshot::Writer::new(Vec::new(), kyro_snapshot::RunInfo::default())?;
//! let (file, _) = writer.finish()?;
//! let facts = kyro_snapshot::inspect::inspect(&file)?;
//! assert_eq!(facts.sections[0].name, "header");
//! assert!(facts.to_string().contains("format version"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::fmt;
use std::mem::offset_of;

use zerocopy::IntoBytes;

use crate::error::OpenError;
use crate::format::{FOOTER_BYTES, Footer, HEADER_BYTES, Header, NO_FIXED_WIDTH};
use crate::locator::LINE_BYTES;

/// Everything that the header and the footer say.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Facts {
    /// The sections, in file order, without gaps between them: padding counts to the section before it.
    pub sections: Vec<Section>,
    /// The fields of header and footer, in file order.
    pub fields: Vec<Field>,
}

/// One section of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Section {
    /// Its name, as in the format description.
    pub name: &'static str,
    /// Where it starts in the file.
    pub position: u64,
    /// Bytes of content, without the padding behind it.
    pub bytes: u64,
}

/// One field of header or footer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Field {
    /// What it says.
    pub name: &'static str,
    /// Where it starts in the file.
    pub position: u64,
    /// Its width in the file, in bytes.
    pub bytes: usize,
    /// Its value.
    pub value: Value,
}

/// The value of a field. It prints as a person reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Value {
    /// A number.
    Number(u64),
    /// The value width of a file that has locators instead.
    NoWidth,
    /// A CRC-32.
    Checksum(u32),
    /// A UUID.
    Uuid([u8; 16]),
    /// Letters that mark a place.
    Magic([u8; 8]),
}

/// Reads the header and the footer of `file`, with every check of [`Run::open`](crate::Run::open) except alignment.
/// Reads nothing else.
///
/// # Errors
/// As [`Run::open`](crate::Run::open).
pub fn inspect(file: &[u8]) -> Result<Facts, OpenError> {
    let header = Header::read(file)?;
    let (footer, layout) = Footer::read(file, header)?;
    let section = |name, position, bytes| Section { name, position, bytes };
    let column_bytes = 8 * footer.entries.get();
    let mut sections = vec![
        section("header", 0, HEADER_BYTES as u64),
        section(
            "values",
            layout.values_at,
            layout.packed.map_or(footer.value_bytes.get(), |packed| packed.bytes),
        ),
        section("keys", layout.keys_at, column_bytes),
        section("offsets", layout.offsets_at, column_bytes),
        section("locators", layout.locators_at, LINE_BYTES as u64 * layout.locator_lines),
        section("block checksums", layout.table_at, 4 * layout.blocks),
        section("footer", layout.footer_at, FOOTER_BYTES as u64),
    ];
    if let Some(packed) = layout.packed {
        let inserted = [
            section("value blocks", layout.value_table_at, 8 * packed.blocks),
            section("footer copy", layout.copy_at(), FOOTER_BYTES as u64),
        ];
        sections.splice(5..5, inserted);
    }
    let packed_fields: &[Spec] = if layout.is_packed() { &PACKED_FIELDS } else { &[] };
    let (most, last) = FOOTER_FIELDS.split_at(FOOTER_FIELDS.len() - 1);
    let fields = HEADER_FIELDS
        .iter()
        .map(|spec| spec.read(header.as_bytes(), 0))
        .chain(
            (most.iter().chain(packed_fields).chain(last))
                .map(|spec| spec.read(footer.as_bytes(), layout.footer_at)),
        )
        .collect();
    Ok(Facts { sections, fields })
}

impl fmt::Display for Facts {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{:>10} {:>10}  section", "position", "bytes")?;
        for Section { name, position, bytes } in &self.sections {
            writeln!(out, "{position:>10} {bytes:>10}  {name}")?;
        }
        writeln!(out, "{:>10} {:>10}  {:<34} value", "position", "bytes", "field")?;
        for Field { name, position, bytes, value } in &self.fields {
            writeln!(out, "{position:>10} {bytes:>10}  {name:<34} {value}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Value {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(out, "{number}"),
            Self::NoWidth => out.write_str("none: see the locators"),
            Self::Checksum(checksum) => write!(out, "{checksum:#010x}"),
            Self::Uuid(bytes) => {
                for (index, byte) in bytes.iter().enumerate() {
                    let dash = if matches!(index, 4 | 6 | 8 | 10) { "-" } else { "" };
                    write!(out, "{dash}{byte:02x}")?;
                }
                Ok(())
            }
            Self::Magic(letters) => write!(out, "{:?}", String::from_utf8_lossy(letters)),
        }
    }
}

/// How to read one field.
struct Spec {
    name: &'static str,
    at: usize,
    kind: Kind,
}

#[derive(Clone, Copy)]
enum Kind {
    U64,
    Width,
    U32,
    Checksum,
    Uuid,
    Magic,
}

impl Spec {
    fn read(&self, part: &[u8], part_at: u64) -> Field {
        let number = || u64::from_le_bytes(array(&part[self.at..]));
        let half = || u32::from_le_bytes(array(&part[self.at..]));
        let (bytes, value) = match self.kind {
            Kind::Width if number() == NO_FIXED_WIDTH => (8, Value::NoWidth),
            Kind::U64 | Kind::Width => (8, Value::Number(number())),
            Kind::U32 => (4, Value::Number(half().into())),
            Kind::Checksum => (4, Value::Checksum(half())),
            Kind::Uuid => (16, Value::Uuid(array(&part[self.at..]))),
            Kind::Magic => (8, Value::Magic(array(&part[self.at..]))),
        };
        Field { name: self.name, position: part_at + self.at as u64, bytes, value }
    }
}

/// The first `N` of `bytes`, which has at least that many.
fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[..N]);
    array
}

macro_rules! field {
    ($part:ident, $field:ident, $kind:ident, $name:literal) => {
        Spec { name: $name, at: offset_of!($part, $field), kind: Kind::$kind }
    };
}

const HEADER_FIELDS: [Spec; 8] = [
    field!(Header, magic, Magic, "magic"),
    field!(Header, version, U32, "format version"),
    field!(Header, checksum_algorithm, U32, "checksum algorithm (1 = CRC-32)"),
    field!(Header, database, Uuid, "database"),
    field!(Header, run, Uuid, "run"),
    field!(Header, epoch, U64, "epoch of the writer"),
    field!(Header, block_bytes, U32, "bytes per checksummed block"),
    field!(Header, checksum, Checksum, "checksum of the header"),
];

const FOOTER_FIELDS: [Spec; 21] = [
    field!(Footer, magic, Magic, "magic"),
    field!(Footer, run, Uuid, "run"),
    field!(Footer, file_bytes, U64, "bytes of the file"),
    field!(Footer, entries, U64, "entries"),
    field!(Footer, tombstones, U64, "tombstones"),
    field!(Footer, values_at, U64, "position of the values"),
    field!(Footer, value_bytes, U64, "bytes of values"),
    field!(Footer, keys_at, U64, "position of the keys"),
    field!(Footer, offsets_at, U64, "position of the offsets"),
    field!(Footer, locators_at, U64, "position of the locators"),
    field!(Footer, locator_lines, U64, "locator lines"),
    field!(Footer, table_at, U64, "position of the block checksums"),
    field!(Footer, blocks, U64, "blocks"),
    field!(Footer, fixed_width, Width, "width of every value"),
    field!(Footer, min_key, U64, "smallest key"),
    field!(Footer, max_key, U64, "largest key"),
    field!(Footer, min_offset, U64, "smallest offset"),
    field!(Footer, max_offset, U64, "largest offset"),
    field!(Footer, key_checksum, Checksum, "checksum of the keys"),
    field!(Footer, table_checksum, Checksum, "checksum of the block checksums"),
    field!(Footer, checksum, Checksum, "checksum of the footer"),
];

/// What only the footer of a run with compressed values says; they come before its checksum.
const PACKED_FIELDS: [Spec; 5] = [
    field!(Footer, packed_bytes, U64, "bytes of packed values"),
    field!(Footer, value_table_at, U64, "position of the value blocks"),
    field!(Footer, value_blocks, U64, "value blocks"),
    field!(Footer, compression, U32, "compression (1 = LZ4)"),
    field!(Footer, value_block_bytes, U32, "bytes of values in a value block"),
];
