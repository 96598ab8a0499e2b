//! One file of a database as facts: a segment of the log, a run, an index or a manifest, whatever state it is in.
//!
//! Which of them it is, its first bytes say. The facts come from the crate that owns the format; here they become
//! tables, which print as text and are easily written as JSON.

mod index;
mod manifest;
mod run;
mod segment;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use kyro_wal::storage::{RealStorage, Storage};

/// What is shown of long files.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct InspectOptions {
    /// Whether to list what a file is full of: the frames of a segment, the entries of a run. Default false.
    pub items: bool,
    /// Rows of a list at most; counting goes on. Default 100.
    pub limit: usize,
}

impl Default for InspectOptions {
    fn default() -> Self {
        Self { items: false, limit: 100 }
    }
}

/// The facts of a file. Its text is meant for people.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Inspection {
    /// What kind of file it is: `segment`, `run`, `index` or `manifest`.
    pub kind: &'static str,
    /// The file.
    pub file: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// What it says.
    pub tables: Vec<Table>,
    /// What is wrong with it, each with its place where it has one. Empty when every checksum holds.
    pub damage: Vec<String>,
}

/// Facts of one sort.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Table {
    /// What they are about.
    pub name: &'static str,
    /// Names of the columns.
    pub columns: &'static [&'static str],
    /// The rows, each with a fact for every column.
    pub rows: Vec<Vec<Fact>>,
    /// How many rows there are; more than are given where the limit was reached.
    pub total: u64,
}

/// One fact. It prints as a person reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fact {
    /// Nothing to be said.
    None,
    /// A number.
    Number(u64),
    /// A CRC-32.
    Checksum(u32),
    /// A UUID.
    Uuid([u8; 16]),
    /// Words.
    Text(String),
}

/// Why a file could not be inspected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InspectError {
    /// It is nothing of ours, or its first bytes are damaged and its name does not say what it was.
    #[error(
        "{} is no segment, run, index or manifest: it begins with {:?}", .file.display(), String::from_utf8_lossy(.begin)
    )]
    Unknown {
        /// The file.
        file: PathBuf,
        /// Its first bytes.
        begin: Vec<u8>,
    },
    /// The file system refused.
    #[error("cannot read {}", .file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// The reason given.
        #[source]
        source: io::Error,
    },
}

/// Reads a file and gives what it says, also where it is damaged. Reads all of it; nothing is changed and no lock taken,
/// so the file may be that of a running engine (whose live segment then ends wherever it is).
///
/// # Errors
/// [`InspectError`]. Damage is no error.
pub fn inspect(file: impl AsRef<Path>, options: &InspectOptions) -> Result<Inspection, InspectError> {
    inspect_on(&RealStorage, file.as_ref(), options)
}

/// As [`inspect`], on any storage.
///
/// # Errors
/// As [`inspect`].
pub fn inspect_on(
    storage: &dyn Storage,
    file: &Path,
    options: &InspectOptions,
) -> Result<Inspection, InspectError> {
    let io = |source| InspectError::Io { file: file.to_owned(), source };
    let opened = storage.open_read(file).map_err(io)?;
    let bytes = opened.len().map_err(io)?;
    let mut begin = vec![0; 16];
    let read = opened.read_at(&mut begin, 0).map_err(io)?;
    begin.truncate(read);
    let Some(kind) = kind(&begin, file) else {
        return Err(InspectError::Unknown { file: file.to_owned(), begin });
    };
    let mut inspection =
        Inspection { kind, file: file.to_owned(), bytes, tables: Vec::new(), damage: Vec::new() };
    match kind {
        segment::KIND => segment::inspect(storage, options, &mut inspection),
        run::KIND => run::inspect(storage, options, &mut inspection).map_err(io)?,
        index::KIND => index::inspect(storage, &mut inspection).map_err(io)?,
        _ => manifest::inspect(storage, &mut inspection).map_err(io)?,
    }
    Ok(inspection)
}

/// What a file is, by its first bytes, or where these are damaged by its name.
fn kind(begin: &[u8], file: &Path) -> Option<&'static str> {
    let magics: [(&[u8], _); 4] = [
        (b"KYROWAL\0", segment::KIND),
        (b"kyro-run", run::KIND),
        (b"KYRORMI\0", index::KIND),
        (b"{\"kyrodb_manife", manifest::KIND),
    ];
    let by_magic = magics.iter().find(|(magic, _)| begin.starts_with(magic)).map(|(_, kind)| *kind);
    by_magic.or_else(|| match file.extension().and_then(|ending| ending.to_str()) {
        Some("wal") => Some(segment::KIND),
        Some("run") => Some(run::KIND),
        Some("idx" | "rmi") => Some(index::KIND),
        None if file.file_name().is_some_and(|name| name == crate::manifest::FILE_NAME) => {
            Some(manifest::KIND)
        }
        _ => None,
    })
}

impl Table {
    fn new(name: &'static str, columns: &'static [&'static str]) -> Self {
        Self { name, columns, rows: Vec::new(), total: 0 }
    }

    /// A table of names and values.
    fn fields(name: &'static str, fields: impl IntoIterator<Item = (&'static str, Fact)>) -> Self {
        let rows: Vec<_> = fields.into_iter().map(|(field, value)| vec![field.into(), value]).collect();
        Self { name, columns: &["field", "value"], total: rows.len() as u64, rows }
    }

    /// Counts a row, and takes it while they are not more than `limit`.
    fn push(&mut self, limit: usize, row: impl FnOnce() -> Vec<Fact>) {
        self.total += 1;
        if self.rows.len() < limit {
            self.rows.push(row());
        }
    }
}

impl From<u64> for Fact {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<&str> for Fact {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl<T: Into<Fact>> From<Option<T>> for Fact {
    fn from(fact: Option<T>) -> Self {
        fact.map_or(Self::None, Into::into)
    }
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.pad("-"),
            Self::Number(number) => f.pad(&number.to_string()),
            Self::Checksum(sum) => f.pad(&format!("{sum:08x}")),
            Self::Uuid(uuid) => f.pad(&format!("{:032x}", u128::from_be_bytes(*uuid))),
            Self::Text(text) => f.pad(text),
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.name)?;
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column)).map(|fact| fact.to_string().len());
            cells.chain(self.columns.get(column).map(|name| name.len())).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let header = self.columns.iter().map(|name| Fact::from(*name)).collect::<Vec<_>>();
        let header = (self.columns != ["field", "value"]).then_some(&header);
        for row in header.into_iter().chain(&self.rows) {
            // Numbers stand to the right, but for those at the end of a line.
            let right = |column: usize, fact: &Fact| {
                column + 1 < self.columns.len() && matches!(fact, Fact::Number(_))
            };
            let cell = |(column, (fact, &width)): (usize, (&Fact, &usize))| {
                if right(column, fact) { format!("  {fact:>width$}") } else { format!("  {fact:<width$}") }
            };
            let cells: Vec<String> = row.iter().zip(&widths).enumerate().map(cell).collect();
            writeln!(f, "{}", cells.concat().trim_end())?;
        }
        let left = self.total - self.rows.len() as u64;
        if left > 0 {
            writeln!(f, "  and {left} more")?;
        }
        Ok(())
    }
}

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}, {} bytes", self.file.display(), self.kind, self.bytes)?;
        self.tables.iter().try_for_each(|table| write!(f, "\n{table}"))?;
        writeln!(f)?;
        for damage in &self.damage {
            writeln!(f, "damaged: {damage}")?;
        }
        f.write_str(if self.damage.is_empty() { "every checksum holds" } else { "the file is damaged" })
    }
}
