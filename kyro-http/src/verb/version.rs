//! `kyro-http push`, `rollback`, `versions`, `prune`: the content as a whole.

use clap::Args;

use super::confirm::confirm;
use super::output;
use crate::cli::ReachArgs;
use crate::exit::Exit;
use crate::store::{Store, StoreError};

/// `push`
#[derive(Debug, Args)]
#[command(
    after_help = "Every byte of the data set is read and checked first. Reads see the content before or the new one, \
never a mixture. The content before is kept: kyro-http versions lists it, rollback brings it back, prune forgets it."
)]
pub(crate) struct PushArgs {
    /// The data set that `kyro-http build` made: its directory; with --url its name under the server's --push-root
    pub(crate) data_set: String,
    /// What to call the version [default: the data set's name]
    #[arg(long)]
    pub(crate) label: Option<String>,
    /// Write the outcome as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) reach: ReachArgs,
}

/// `versions`
#[derive(Debug, Args)]
pub(crate) struct VersionsArgs {
    /// Write the list as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) reach: ReachArgs,
}

/// `rollback`
#[derive(Debug, Args)]
pub(crate) struct RollbackArgs {
    /// The version, by its number
    pub(crate) version: u64,
    /// Write the outcome as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) reach: ReachArgs,
}

/// `prune`
#[derive(Debug, Args)]
pub(crate) struct PruneArgs {
    /// The version, by its number
    pub(crate) version: u64,
    /// Do it without being asked
    #[arg(long)]
    pub(crate) yes: bool,
    /// Write the outcome as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) reach: ReachArgs,
}

pub(crate) fn push(arguments: &PushArgs, store: &mut dyn Store) -> Result<Exit, StoreError> {
    let report = store.push(&arguments.data_set, arguments.label.as_deref())?;
    output::document(&report, arguments.json)?;
    Ok(Exit::Done)
}

pub(crate) fn versions(arguments: &VersionsArgs, store: &mut dyn Store) -> Result<Exit, StoreError> {
    output::document(&store.versions()?, arguments.json)?;
    Ok(Exit::Done)
}

/// Without a question: what is the content now is kept, so nothing is destroyed.
pub(crate) fn rollback(arguments: &RollbackArgs, store: &mut dyn Store) -> Result<Exit, StoreError> {
    output::document(&store.rollback(arguments.version)?, arguments.json)?;
    Ok(Exit::Done)
}

pub(crate) fn prune(arguments: &PruneArgs, store: &mut dyn Store) -> Result<Exit, StoreError> {
    let version = arguments.version;
    confirm(arguments.yes, &format!("removes version {version} for ever"))?;
    output::document(&store.prune(version)?, arguments.json)?;
    Ok(Exit::Done)
}
