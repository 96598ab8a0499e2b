//! Flags about clients: proxies, how much one address may have open, how much one request may hold, what is logged.

use std::path::PathBuf;

use clap::Args;

use crate::access_log::AccessLog;
use crate::proxies::Network;

/// What one client may take, and who the client is.
#[derive(Debug, Args)]
#[command(next_help_heading = "Clients")]
pub(crate) struct EdgeArgs {
    /// Proxies whose X-Forwarded-For or Forwarded names the client, as addresses or networks, separated by commas
    #[arg(long, env = "KYRODB_TRUSTED_PROXIES", value_name = "CIDR", value_delimiter = ',')]
    pub(crate) trusted_proxies: Vec<Network>,
    /// Connections of one address at a time
    #[arg(long, env = "KYRODB_MAX_CONNECTIONS_PER_IP", value_name = "N", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_connections_per_ip: u32,
    /// Streams of one address at a time
    #[arg(long, env = "KYRODB_MAX_STREAMS_PER_IP", value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_streams_per_ip: u32,
    /// Operations of one batch, keys of one mget
    #[arg(long, env = "KYRODB_MAX_BATCH_KEYS", value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    pub(crate) max_batch_keys: u32,
    /// Requests that get a line in the log
    #[arg(long, env = "KYRODB_ACCESS_LOG", value_name = "WHICH", default_value = "admin")]
    pub(crate) access_log: AccessLog,
    /// The one directory under which /v1/backup makes its checkpoints; without it there are none
    #[arg(long, env = "KYRODB_BACKUP_ROOT", value_name = "DIR")]
    pub(crate) backup_root: Option<PathBuf>,
    /// The one directory whose data sets /v1/push takes; without it there are none to push
    #[arg(long, env = "KYRODB_PUSH_ROOT", value_name = "DIR")]
    pub(crate) push_root: Option<PathBuf>,
    /// Threads that serve connections; 0 = one for each processor
    #[arg(long, env = "KYRODB_THREADS", value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=256))]
    pub(crate) threads: u32,
}
