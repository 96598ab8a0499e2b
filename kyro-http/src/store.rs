//! The database that a verb works on: a directory that this process opens, or a running server. The verbs are the same
//! for both.

mod directory;
mod entries;
mod remote;

use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use kyro_engine::{
    CheckpointError, CloseError, Compression, MaintenanceError, OpenError, ReadError, RestoreError,
    VersionError, WriteError,
};
use serde_json::Value;

use crate::cli::ReachArgs;
use crate::config::DEFAULT_DATA_DIR;
use crate::exit::{Exit, of_open_error};
use crate::load::{Target, TargetError};
use crate::tokens::TokenError;
pub(crate) use directory::Directory;
pub(crate) use remote::Server;

/// A key's value and version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) offset: u64,
    pub(crate) value: Vec<u8>,
}

/// An entry on its way through a scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen<'a> {
    pub(crate) key: u64,
    pub(crate) offset: u64,
    /// Empty in a scan of keys only.
    pub(crate) value: &'a [u8],
}

/// Which entries a scan is to give, and in which order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) keys: RangeInclusive<u64>,
    pub(crate) limit: Option<u64>,
    pub(crate) reverse: bool,
    pub(crate) keys_only: bool,
}

impl Asked {
    /// The keys from `from` to `to`, both among them.
    pub(crate) fn keys(from: u64, to: u64) -> Result<RangeInclusive<u64>, StoreError> {
        if from > to {
            Err(StoreError::Usage("--to must not be below --from".to_owned()))
        } else {
            Ok(from..=to)
        }
    }

    /// Every entry of a range, in order.
    pub(crate) fn range(keys: RangeInclusive<u64>) -> Self {
        Self { keys, limit: None, reverse: false, keys_only: false }
    }
}

/// Where a backup goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BackupPlace {
    /// The directory that holds backups; a server has its own.
    pub(crate) root: Option<PathBuf>,
    pub(crate) name: String,
    /// Whether files are copied where a second name would do.
    pub(crate) copy: bool,
}

/// One database.
pub(crate) trait Store {
    /// The value of a key.
    fn get(&mut self, key: u64) -> Result<Option<Found>, StoreError>;
    /// Sets a key; gives the offset.
    fn put(&mut self, key: u64, value: Vec<u8>) -> Result<u64, StoreError>;
    /// Removes a key; gives the offset, or `None` where the key has no value.
    fn delete(&mut self, key: u64) -> Result<Option<u64>, StoreError>;
    /// Removes every key of a range as one operation; gives its offset.
    fn delete_range(&mut self, keys: RangeInclusive<u64>) -> Result<u64, StoreError>;
    /// How many keys of a range have a value.
    fn count(&mut self, keys: RangeInclusive<u64>) -> Result<u64, StoreError>;
    /// Calls `visit` with each entry asked for, from one view, until there are no more or it fails.
    fn scan(&mut self, asked: &Asked, visit: &mut Visit<'_>) -> Result<(), StoreError>;
    /// Merges everything into one run; gives what came of it.
    fn compact(&mut self, compression: Compression) -> Result<Value, StoreError>;
    /// The database's numbers, as `/v1/stats` has them.
    fn stats(&mut self) -> Result<Value, StoreError>;
    /// Makes a backup; gives what is in it.
    fn backup(&mut self, place: &BackupPlace) -> Result<Value, StoreError>;
    /// The versions of the content.
    fn versions(&mut self) -> Result<Value, StoreError>;
    /// Replaces the content by a data set: a directory, or its name for a server.
    fn push(&mut self, data_set: &str, label: Option<&str>) -> Result<Value, StoreError>;
    /// Makes a version that is kept the content again.
    fn rollback(&mut self, version: u64) -> Result<Value, StoreError>;
    /// Forgets a version that is kept.
    fn prune(&mut self, version: u64) -> Result<Value, StoreError>;
    /// Ends the work in good order.
    fn close(self: Box<Self>) -> Result<(), StoreError>;
}

/// What is done with each entry of a scan.
pub(crate) type Visit<'a> = dyn FnMut(Seen<'_>) -> io::Result<()> + 'a;

/// Why a verb could not do its work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("there is no database in {}; name one with --data-dir, or a running server with --url", .dir.display())]
    NoDatabase { dir: PathBuf },
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("nothing was written")]
    Write(#[from] WriteError),
    #[error(transparent)]
    Maintenance(#[from] MaintenanceError),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error(transparent)]
    Version(#[from] VersionError),
    #[error(transparent)]
    Restore(#[from] RestoreError),
    #[error("the database was not closed cleanly")]
    Close(#[from] CloseError),
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error("cannot reach http://{authority}: {reason}; is the server running?")]
    Unreachable { authority: String, reason: String },
    #[error("the connection to http://{authority} broke: {reason}; try again")]
    Broken { authority: String, reason: String },
    #[error("the server refused: {status} {code}: {detail}{}", advice(.code))]
    Refused { status: u16, code: String, detail: String },
    #[error("the server's answer makes no sense: {0}; is it a kyro-http of this version?")]
    Nonsense(String),
    #[error("cannot {doing} {}", .path.display())]
    File {
        doing: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot write the output")]
    Output(#[source] io::Error),
    #[error("cannot start")]
    Start(#[source] io::Error),
    #[error("{0}")]
    Usage(String),
}

fn advice(code: &str) -> &'static str {
    match code {
        "unauthorized" => "; set KYRODB_AUTH_TOKEN, or name a file with --auth-token-file",
        "forbidden" => "; use a token with that right",
        "rate_limited" => "; wait a moment, or raise the server's KYRODB_RL_ limits",
        _ => "",
    }
}

impl StoreError {
    /// How the process ends for it.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Open(error)
            | Self::Restore(RestoreError::Backup(error))
            | Self::Version(VersionError::DataSet(error)) => of_open_error(error),
            Self::Read(ReadError::Corrupt { .. })
            | Self::Maintenance(MaintenanceError::Read(ReadError::Corrupt { .. }))
            | Self::Restore(RestoreError::Damaged { .. }) => Exit::Damage,
            Self::Version(VersionError::NoSuchVersion { .. }) => Exit::NotFound,
            Self::Refused { code, .. } if code == "data_corruption" => Exit::Damage,
            Self::Refused { code, .. } if code == "unknown_version" => Exit::NotFound,
            Self::Target(_) | Self::Token(_) | Self::Usage(_) => Exit::Usage,
            _ => Exit::Failed,
        }
    }
}

/// The store that the command line names: the server of `--url`, or a directory.
pub(crate) fn reach(data_dir: Option<PathBuf>, reach: &ReachArgs) -> Result<Box<dyn Store>, StoreError> {
    match &reach.url {
        Some(url) => Ok(Box::new(Server::connect(&Target::parse(url)?, &reach.tokens)?)),
        None => Ok(Box::new(Directory::new(&data_dir.unwrap_or_else(|| PathBuf::from(DEFAULT_DATA_DIR))))),
    }
}

/// Whether a directory is missing or empty: there is then nothing to read, and nothing wrong with it either.
fn is_blank(dir: &Path) -> bool {
    std::fs::read_dir(dir)
        .map_or_else(|error| error.kind() == io::ErrorKind::NotFound, |mut entries| entries.next().is_none())
}
