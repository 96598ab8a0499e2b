//! `kyro-http compact`: merges everything into one run, without what was overwritten or deleted.

use clap::Args;

use super::output;
use crate::cli::{CompressionArgs, ReachArgs};
use crate::exit::Exit;
use crate::store::{Store, StoreError};

/// `compact`
#[derive(Debug, Args)]
pub(crate) struct CompactArgs {
    /// Write the outcome as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    // A server compacts as it was told when it was started.
    #[command(flatten)]
    pub(crate) compression: CompressionArgs,
    #[command(flatten)]
    pub(crate) reach: ReachArgs,
}

pub(crate) fn run(arguments: &CompactArgs, store: &mut dyn Store) -> Result<Exit, StoreError> {
    let report = store.compact(arguments.compression.compression)?;
    output::document(&report, arguments.json)?;
    Ok(Exit::Done)
}
