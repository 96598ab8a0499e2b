//! An index: which key column it belongs to, what it is like, and whether its checksums hold.

use std::io;

use kyro_rmi::{Rmi, RootKind};
use kyro_wal::storage::Storage;

use super::{Fact, Inspection, Table};
use crate::run_files::map;

pub(super) const KIND: &str = "index";

pub(super) fn inspect(storage: &dyn Storage, inspection: &mut Inspection) -> io::Result<()> {
    let index = match Rmi::open_unbound(map(storage, &inspection.file)?) {
        Ok(index) => index,
        Err(error) => {
            inspection.damage.push(error.to_string());
            return Ok(());
        }
    };
    let (column, stats) = (index.column(), index.stats());
    inspection.tables.push(Table::fields(
        "belongs to",
        [
            ("run", Fact::Uuid(column.uuid)),
            ("checksum of its keys", Fact::Checksum(column.checksum)),
            ("keys", column.keys.into()),
        ],
    ));
    let root = if stats.root == RootKind::Linear { "linear" } else { "logarithmic" };
    inspection.tables.push(Table::fields(
        "statistics",
        [
            ("bytes", Fact::from(stats.bytes)),
            ("bits per key", Fact::Text(format!("{:.3}", stats.bits_per_key()))),
            ("root", root.into()),
            ("cells of the root", stats.root_cells.into()),
            ("leaves", stats.leaves.into()),
            ("epsilon, median", u64::from(stats.epsilon_p50).into()),
            ("epsilon, 99 of 100 keys", u64::from(stats.epsilon_p99).into()),
            ("epsilon, largest", u64::from(stats.epsilon_max).into()),
            ("keys in a window at most", u64::from(stats.max_window).into()),
            ("steps of a lookup at most", u64::from(stats.max_steps).into()),
            ("keys outside the root's grid", stats.outliers.into()),
            ("keys with a further stage", stats.further_keys.into()),
            ("keys found by bounded search", stats.fallback_keys.into()),
        ],
    ));
    inspection.damage.extend(index.verify_checksums().err().map(|error| error.to_string()));
    Ok(())
}
