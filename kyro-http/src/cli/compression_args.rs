//! The flag about how values are written to disk, for every verb that writes runs.

use clap::Args;
use kyro_engine::Compression;

/// How runs are written.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct CompressionArgs {
    /// How values are stored in the files that flushes and compactions write: `none`, `lz4`; a file that is there stays as
    /// it is until a compaction writes it again, and both are read
    #[arg(long, env = "KYRODB_COMPRESSION", value_name = "HOW", default_value = "none", value_parser = compression)]
    pub(crate) compression: Compression,
}

fn compression(text: &str) -> Result<Compression, String> {
    match text {
        "none" => Ok(Compression::None),
        "lz4" => Ok(Compression::Lz4),
        _ => Err("must be none or lz4".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_written_is_taken() {
        assert_eq!((compression("none"), compression("lz4")), (Ok(Compression::None), Ok(Compression::Lz4)));
        for wrong in ["", "LZ4", "zstd", "true", "1"] {
            assert!(compression(wrong).is_err(), "{wrong:?}");
        }
    }
}
