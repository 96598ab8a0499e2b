//! `kyro-http put`: sets a key.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::output;
use crate::cli::{ReachArgs, key};
use crate::exit::Exit;
use crate::store::{Store, StoreError};

/// `put`
#[derive(Debug, Args)]
pub(crate) struct PutArgs {
    /// The key
    #[arg(value_parser = key)]
    pub(crate) key: u64,
    /// The value, as text
    #[arg(required_unless_present = "file", conflicts_with = "file", allow_hyphen_values = true)]
    pub(crate) value: Option<String>,
    /// Take the value from this file, whatever its bytes; - is stdin
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Write key and offset as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) reach: ReachArgs,
}

pub(crate) fn run(arguments: &PutArgs, store: &mut dyn Store) -> Result<Exit, StoreError> {
    let value = match (&arguments.value, &arguments.file) {
        (Some(text), _) => text.clone().into_bytes(),
        (None, Some(path)) => read(path)?,
        (None, None) => Vec::new(),
    };
    let key = arguments.key;
    let offset = store.put(key, value)?;
    if arguments.json {
        output::line(json!({ "key": key, "offset": offset }))?;
    } else {
        output::line(format_args!("key {key} written at offset {offset}"))?;
    }
    Ok(Exit::Done)
}

fn read(path: &Path) -> Result<Vec<u8>, StoreError> {
    let unreadable = |source| StoreError::File { doing: "read", path: path.to_owned(), source };
    if path != Path::new("-") {
        return fs::read(path).map_err(unreadable);
    }
    let mut value = Vec::new();
    io::stdin().lock().read_to_end(&mut value).map_err(unreadable)?;
    Ok(value)
}
