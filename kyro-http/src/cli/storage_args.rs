//! Flags about the storage: what an acknowledgement promises, what memory and disk it may take, what starts by itself.

use clap::{ArgAction, Args};
use kyro_engine::Durability;

use super::{CompressionArgs, durability, ratio};

/// How the engine stores, and when it tidies up.
#[derive(Debug, Args)]
#[command(next_help_heading = "Storage")]
pub(crate) struct StorageArgs {
    /// When a write is acknowledged: `always` (on stable storage), `interval:MS` (synced within that time), `never`
    #[arg(long, env = "KYRODB_DURABILITY", value_name = "MODE", default_value = "always", value_parser = durability)]
    pub(crate) durability: Durability,
    /// Size of a log segment in bytes
    #[arg(long, env = "KYRODB_WAL_SEGMENT_BYTES", value_name = "BYTES", default_value_t = 16 << 20,
        value_parser = clap::value_parser!(u64).range(65_536..=4_294_967_296))]
    pub(crate) wal_segment_bytes: u64,
    /// Take a snapshot when the log has grown to this size; 0 = never for this reason
    #[arg(long, env = "KYRODB_WAL_MAX_BYTES", value_name = "BYTES", default_value_t = 0)]
    pub(crate) wal_max_bytes: u64,
    /// Take a snapshot when the log has this many segments; 0 = never for this reason
    #[arg(long, env = "KYRODB_WAL_MAX_SEGMENTS", value_name = "N", default_value_t = 0)]
    pub(crate) wal_max_segments: u64,
    /// Take a snapshot after this many writes; 0 = never for this reason
    #[arg(long, env = "KYRODB_SNAPSHOT_EVERY_N_APPENDS", value_name = "N", default_value_t = 0)]
    pub(crate) snapshot_every_n_appends: u64,
    /// Take a snapshot this often, when something was written; 0 = never for this reason
    #[arg(long, env = "KYRODB_AUTO_SNAPSHOT_SECS", value_name = "SECS", default_value_t = 0)]
    pub(crate) auto_snapshot_secs: u64,
    /// Build the index over all keys after this many writes; 0 = never for this reason
    #[arg(long, env = "KYRODB_RMI_REBUILD_APPENDS", value_name = "N", default_value_t = 0)]
    pub(crate) rmi_rebuild_appends: u64,
    /// Build the index over all keys when this share of the keys was written since; 0 = never for this reason
    #[arg(long, env = "KYRODB_RMI_REBUILD_RATIO", value_name = "RATIO", default_value_t = 0.0, value_parser = ratio)]
    pub(crate) rmi_rebuild_ratio: f64,
    /// Compact this often; 0 = never for this reason
    #[arg(long, env = "KYRODB_COMPACT_INTERVAL_SECS", value_name = "SECS", default_value_t = 0)]
    pub(crate) compact_interval_secs: u64,
    /// Compact when the log has this size (with --compact-interval-secs: look only that often); 0 = whatever its size
    #[arg(long, env = "KYRODB_COMPACT_WHEN_WAL_BYTES", value_name = "BYTES", default_value_t = 0)]
    pub(crate) compact_when_wal_bytes: u64,
    /// Bytes a second that compactions may write; 0 = no limit
    #[arg(long, env = "KYRODB_COMPACTION_IO_BYTES_PER_SEC", value_name = "BYTES", default_value_t = 0)]
    pub(crate) compaction_io_bytes_per_sec: u64,
    /// Memory for everything that grows with writes, at least 16 MiB; mapped files are not counted; 0 = no budget
    #[arg(long, env = "KYRODB_MEMORY_BUDGET_BYTES", value_name = "BYTES", default_value_t = 0, value_parser = memory_budget)]
    pub(crate) memory_budget_bytes: u64,
    #[command(flatten)]
    pub(crate) compression: CompressionArgs,
    /// Bytes kept back on disk for deletes, flushes and compactions on a full disk; 0 = none
    #[arg(long, env = "KYRODB_BALLAST_BYTES", value_name = "BYTES", default_value_t = 4 << 20)]
    pub(crate) ballast_bytes: u64,
    /// Bring index and data into memory before serving
    #[arg(long, env = "KYRODB_WARM_ON_START", value_name = "BOOL", default_value = "false", num_args = 0..=1, require_equals = true, default_missing_value = "true",
        action = ArgAction::Set, value_parser = clap::builder::FalseyValueParser::new())]
    pub(crate) warm_on_start: bool,
}

fn memory_budget(text: &str) -> Result<u64, String> {
    let bytes: u64 = text.parse().map_err(|_| "must be a number of bytes".to_owned())?;
    if bytes > 0 && bytes < 16 << 20 {
        return Err("must be 0, or at least 16777216 (16 MiB)".to_owned());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_that_is_too_small_is_refused() {
        assert_eq!(memory_budget("0"), Ok(0));
        assert_eq!(memory_budget("16777216"), Ok(16 << 20));
        for wrong in ["", "-1", "1", "16777215", "16M"] {
            assert!(memory_budget(wrong).is_err(), "{wrong:?}");
        }
    }
}
