//! What verbs share: the database that they work on, and the file that they read.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::TokenArgs;

/// Which database: that of --data-dir, or a server's.
#[derive(Debug, Args)]
pub(crate) struct ReachArgs {
    /// Work on the running server at this address, http://HOST:PORT [default: the directory of --data-dir]
    #[arg(long, value_name = "URL", help_heading = "A running server")]
    pub(crate) url: Option<String>,
    #[command(flatten)]
    pub(crate) tokens: TokenArgs,
}

/// A file of records.
#[derive(Debug, Args)]
pub(crate) struct InputArgs {
    /// The file: NDJSON of {"key", "value" or "value_base64"}, CSV with a header, or a binary frame; .gz is unpacked; - is
    /// stdin
    pub(crate) file: PathBuf,
    /// Form of the file [default: by its name]
    #[arg(long, value_name = "FORM")]
    pub(crate) format: Option<Format>,
    /// CSV: the column that holds the key
    #[arg(long, value_name = "NAME", default_value = "key")]
    pub(crate) key_column: String,
    /// CSV: the column that is the value [default: every other column, as a JSON object]
    #[arg(long, value_name = "NAME")]
    pub(crate) value_column: Option<String>,
    /// Stop at the first bad line
    #[arg(long)]
    pub(crate) strict: bool,
    /// Largest value in bytes
    #[arg(long, env = "KYRODB_MAX_VALUE_BYTES", value_name = "BYTES", default_value_t = 16 << 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_value_bytes: u32,
}

/// The form of a file of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// One JSON object a line
    Ndjson,
    /// Comma-separated values with a header line
    Csv,
    /// A binary frame of puts, as in docs/http.md
    Binary,
}

impl Format {
    /// The form that a file's name promises, and whether it is packed.
    pub(crate) fn of_name(path: &Path) -> (Option<Self>, bool) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        let (stem, packed) = name.strip_suffix(".gz").map_or((name.as_str(), false), |stem| (stem, true));
        let extension = stem.rsplit_once('.').map_or("", |(_, extension)| extension);
        let form = match extension {
            "ndjson" | "jsonl" | "json" => Some(Self::Ndjson),
            "csv" => Some(Self::Csv),
            "kyf" | "bin" => Some(Self::Binary),
            _ => None,
        };
        (form, packed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_the_form() {
        for (name, expected) in [
            ("a.ndjson", (Some(Format::Ndjson), false)),
            ("a.b.JSONL.gz", (Some(Format::Ndjson), true)),
            ("dir.csv/a.csv", (Some(Format::Csv), false)),
            ("a.csv.gz", (Some(Format::Csv), true)),
            ("a.kyf", (Some(Format::Binary), false)),
            ("a.txt", (None, false)),
            ("a.gz", (None, true)),
            ("-", (None, false)),
        ] {
            assert_eq!(Format::of_name(Path::new(name)), expected, "{name}");
        }
    }
}
