//! The server's configuration, checked once: what the flags say becomes what the parts of the server need.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use kyro_engine::Options;

use crate::access_log::AccessLog;
use crate::cli::{RateArgs, ServeArgs};
use crate::connection_watch::Deadlines;
use crate::proxies::Proxies;
use crate::rate_limit::{Class, Rate};
use crate::tokens::{Role, TokenError, Tokens};

/// Where a database is when nothing else is said.
pub(crate) const DEFAULT_DATA_DIR: &str = "./data";

/// Why the configuration makes no sense. The server does not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error("cannot resolve {host}")]
    Resolve {
        host: String,
        #[source]
        source: std::io::Error,
    },
    #[error("{host} has no address")]
    NoAddress { host: String },
    #[error(
        "{address} can be reached over the network, and no token is configured: set KYRODB_AUTH_TOKEN or \
         --auth-token-file, listen on 127.0.0.1, or say --insecure"
    )]
    OpenToTheNetwork { address: SocketAddr },
    #[error("{name} is set, but this version cannot honour it yet; unset it")]
    NotSupported { name: &'static str },
    #[error("--max-body-bytes {body} is smaller than --max-value-bytes {value}: no such value could be sent")]
    BodyBelowValue { body: u64, value: u32 },
}

/// Everything `serve` needs.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) data_dir: PathBuf,
    pub(crate) options: Options,
    pub(crate) warm_on_start: bool,
    pub(crate) access: AccessConfig,
    pub(crate) limits: Limits,
    /// In the order of [`Class::ALL`].
    pub(crate) rates: [Rate; Class::ALL.len()],
    /// Threads that serve connections.
    pub(crate) threads: usize,
    pub(crate) roots: Roots,
}

/// The directories that names in requests are looked up in.
#[derive(Debug, Clone, Default)]
pub(crate) struct Roots {
    /// Where checkpoints may be made.
    pub(crate) backups: Option<PathBuf>,
    /// Where the data sets are that may be pushed.
    pub(crate) data_sets: Option<PathBuf>,
}

/// Who may do what.
#[derive(Debug)]
pub(crate) struct AccessConfig {
    pub(crate) tokens: Tokens,
    pub(crate) protect_metrics: bool,
    /// On a loopback address without a token: only requests that name this machine are answered.
    pub(crate) check_host: bool,
    /// Whose word is taken for a client's address.
    pub(crate) proxies: Proxies,
    /// Which requests are logged.
    pub(crate) log: AccessLog,
}

/// What a client may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) max_body_bytes: u64,
    pub(crate) body_memory_bytes: u64,
    pub(crate) body_timeout: Duration,
    pub(crate) max_connections: u32,
    pub(crate) max_connections_per_client: u32,
    pub(crate) max_streams: u32,
    pub(crate) max_streams_per_client: u32,
    /// Operations of one batch, keys of one mget.
    pub(crate) max_batch_keys: usize,
    pub(crate) max_value_bytes: u32,
    pub(crate) deadlines: Deadlines,
    pub(crate) drain_timeout: Duration,
}

/// Tuning of the seed that this version does not have; being set and without effect would mislead.
const NOT_SUPPORTED: [&str; 2] = ["KYRODB_RMI_TARGET_LEAF", "KYRODB_RMI_MAX_EPS"];

impl Config {
    /// Checks the arguments; reads token files and resolves the host.
    pub(crate) fn new(data_dir: Option<PathBuf>, arguments: &ServeArgs) -> Result<Self, ConfigError> {
        if let Some(name) = NOT_SUPPORTED.into_iter().find(|name| std::env::var_os(name).is_some()) {
            return Err(ConfigError::NotSupported { name });
        }
        let addresses = resolve(&arguments.host, arguments.port)?;
        let tokens = tokens(arguments)?;
        let outside = addresses.iter().find(|address| !address.ip().is_loopback());
        if let (Some(address), true, false) = (outside, tokens.is_empty(), arguments.insecure) {
            return Err(ConfigError::OpenToTheNetwork { address: *address });
        }
        let check_host = outside.is_none() && tokens.is_empty();
        Ok(Self {
            addresses,
            data_dir: data_dir.unwrap_or_else(|| PathBuf::from(DEFAULT_DATA_DIR)),
            options: options(arguments),
            warm_on_start: arguments.storage.warm_on_start,
            access: AccessConfig {
                tokens,
                protect_metrics: arguments.roles.protect_metrics,
                check_host,
                proxies: Proxies(arguments.edge.trusted_proxies.clone()),
                log: arguments.edge.access_log,
            },
            roots: Roots {
                backups: arguments.edge.backup_root.clone(),
                data_sets: arguments.edge.push_root.clone(),
            },
            threads: threads(arguments.edge.threads),
            limits: limits(arguments)?,
            rates: rates(&arguments.rates),
        })
    }
}

fn threads(asked: u32) -> usize {
    let processors = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    if asked == 0 { processors() } else { asked as usize }
}

fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, ConfigError> {
    let plain = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    let resolved = (plain, port).to_socket_addrs();
    let addresses: Vec<SocketAddr> =
        resolved.map_err(|source| ConfigError::Resolve { host: host.to_owned(), source })?.collect();
    if addresses.is_empty() {
        return Err(ConfigError::NoAddress { host: host.to_owned() });
    }
    Ok(addresses)
}

fn tokens(arguments: &ServeArgs) -> Result<Tokens, TokenError> {
    let mut tokens = Tokens::default();
    if let Some(token) = &arguments.tokens.auth_token {
        tokens.add(token, Role::Admin, "--auth-token (KYRODB_AUTH_TOKEN)")?;
    }
    if let Some(path) = &arguments.tokens.auth_token_file {
        tokens.add_file(path, Role::Admin)?;
    }
    let roles = &arguments.roles;
    if let Some(token) = &roles.write_token {
        tokens.add(token, Role::Write, "--write-token (KYRODB_WRITE_TOKEN)")?;
    }
    if let Some(path) = &roles.write_token_file {
        tokens.add_file(path, Role::Write)?;
    }
    if let Some(token) = &roles.read_token {
        tokens.add(token, Role::Read, "--read-token (KYRODB_READ_TOKEN)")?;
    }
    if let Some(path) = &roles.read_token_file {
        tokens.add_file(path, Role::Read)?;
    }
    Ok(tokens)
}

fn options(arguments: &ServeArgs) -> Options {
    // Zero is never, and no limit.
    let some = |limit: u64| (limit > 0).then_some(limit);
    let every = |seconds| some(seconds).map(Duration::from_secs);
    let storage = &arguments.storage;
    let mut options = Options::default();
    options.durability = storage.durability;
    options.wal_segment_bytes = storage.wal_segment_bytes;
    options.wal_max_bytes = some(storage.wal_max_bytes);
    options.wal_max_segments = some(storage.wal_max_segments);
    options.flush_every_operations = some(storage.snapshot_every_n_appends);
    options.auto_snapshot = every(storage.auto_snapshot_secs);
    options.rmi_rebuild_appends = some(storage.rmi_rebuild_appends);
    options.rmi_rebuild_ratio = Some(storage.rmi_rebuild_ratio).filter(|ratio| *ratio > 0.0);
    options.compact_interval = every(storage.compact_interval_secs);
    options.compact_when_wal_bytes = some(storage.compact_when_wal_bytes);
    options.memory_budget = some(storage.memory_budget_bytes);
    options.compaction_io_bytes_per_sec = some(storage.compaction_io_bytes_per_sec);
    options.compression = storage.compression.compression;
    options.ballast_bytes = storage.ballast_bytes;
    options.max_value_bytes = arguments.limits.max_value_bytes;
    options
}

fn rates(arguments: &RateArgs) -> [Rate; Class::ALL.len()] {
    Class::ALL.map(|class| match class {
        Class::Admin => Rate { per_second: arguments.admin_rps, burst: arguments.admin_burst },
        Class::Data => Rate { per_second: arguments.data_rps, burst: arguments.data_burst },
        Class::AuthFailure => {
            Rate { per_second: arguments.auth_failure_rps, burst: arguments.auth_failure_burst }
        }
    })
}

fn limits(arguments: &ServeArgs) -> Result<Limits, ConfigError> {
    let limits = &arguments.limits;
    if limits.max_body_bytes < u64::from(limits.max_value_bytes) {
        return Err(ConfigError::BodyBelowValue {
            body: limits.max_body_bytes,
            value: limits.max_value_bytes,
        });
    }
    Ok(Limits {
        max_body_bytes: limits.max_body_bytes,
        body_memory_bytes: limits.body_memory_bytes,
        body_timeout: limits.body_timeout,
        max_connections: limits.max_connections,
        max_connections_per_client: arguments.edge.max_connections_per_ip,
        max_streams: limits.max_streams,
        max_streams_per_client: arguments.edge.max_streams_per_ip,
        max_batch_keys: arguments.edge.max_batch_keys as usize,
        max_value_bytes: limits.max_value_bytes,
        deadlines: Deadlines {
            head: limits.header_timeout,
            idle: limits.idle_timeout,
            write: limits.write_timeout,
        },
        drain_timeout: limits.drain_timeout,
    })
}
