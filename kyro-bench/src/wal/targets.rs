//! The targets that the write path is held to, and the cells that it loses.

use crate::limit::Limit;
use crate::report::Table;
use crate::spread::Spread;
use crate::wal::raw::Transfer;
use crate::wal::results::{Mode, PutsRow, Results};

/// Bytes a second that reading the log is held to, where the disk is as fast.
const REPLAY: f64 = 1e9;

const KYRO: &str = "kyro-engine";

/// Each target with the worst figure against it.
pub(super) fn targets(results: &Results) -> Table {
    let mut table = Table::new(["target", "limit", "worst", "of", "met"]);
    let mut held = |what: &str, limit: Limit, figures: Vec<(f64, String)>| {
        if let Some((worst, place)) = limit.worst(figures.into_iter()) {
            let met = if limit.is_met(worst) { "yes" } else { "NO" };
            let digits = if worst < 100.0 { 2 } else { 0 };
            table.row([what, &limit.to_string(), &format!("{worst:.digits$}"), &place, met]);
        }
    };
    let always = |writers: usize, figure: fn(&PutsRow) -> Option<Spread>| {
        let rows = kyro(results).filter(move |row| row.mode == Mode::Always && row.writers == writers);
        rows.filter_map(|row| Some((figure(row)?.median, format!("{} B values", row.value_bytes)))).collect()
    };
    held("always, 1 writer: puts / best raw rate", Limit::AtLeast(0.9), always(1, |row| row.puts_over_raw));
    held("always, 64 writers: mean group", Limit::AtLeast(48.0), always(64, |row| row.mean_group));
    held(
        "always, 64 writers: groups / best raw rate",
        Limit::AtLeast(0.8),
        always(64, |row| row.groups_over_raw),
    );
    held(
        "always, 64 writers: puts / puts of the rivals present that sync",
        Limit::AtLeast(2.0),
        rivals(results)
            .filter(|row| row.mode == Mode::Always && row.writers == 64 && row.keeps_mode)
            .filter_map(|row| Some((row.kyro_over_this?.median, place(row))))
            .collect(),
    );
    held(
        "never, batches of 1,000: M puts/s",
        Limit::AtLeast(1.0),
        kyro(results)
            .filter(|row| row.mode == Mode::Never)
            .map(|row| (row.puts.median / 1e6, format!("{} B values", row.value_bytes)))
            .collect(),
    );

    let log = |cold: bool| {
        let figure = move |warm: Spread, when_cold: Option<Spread>| if cold { when_cold } else { Some(warm) };
        let alone = results.replays.iter().filter_map(move |row| {
            Some((figure(row.warm, row.cold)?.median, format!("log alone, frames of {} B", row.frame_bytes)))
        });
        let open = results.opens.iter().filter_map(move |row| {
            let place = format!("open, {} B values over {} stored", row.value_bytes, row.stored);
            Some((figure(row.warm, row.cold)?.median, place))
        });
        alone.chain(open)
    };
    held(
        "replay, warm / 1 GB/s",
        Limit::AtLeast(1.0),
        log(false).map(|(speed, place)| (speed / REPLAY, place)).collect(),
    );
    let disk = [Transfer::Read, Transfer::ReadDirect].map(Transfer::title);
    let disk = results.transfers.iter().filter(|row| disk.contains(&row.name.as_str()));
    if let Some(disk) = disk.map(|row| row.per_second.median).max_by(f64::total_cmp) {
        held(
            "replay, cold / (1 GB/s or the disk's read rate, whichever is less)",
            Limit::AtLeast(1.0),
            log(true).map(|(speed, place)| (speed / disk.min(REPLAY), place)).collect(),
        );
    }
    held("open after an unclean stop, same tail: most stored / least stored, warm", Limit::AtMost(1.25), {
        let same = |row: &&crate::wal::OpenRow| {
            results
                .opens
                .first()
                .is_some_and(|first| (first.tail, first.value_bytes) == (row.tail, row.value_bytes))
        };
        let least = results.opens.iter().filter(same).min_by_key(|row| row.stored);
        let most = results.opens.iter().filter(same).max_by_key(|row| row.stored);
        least
            .zip(most)
            .filter(|(least, most)| least.stored < most.stored)
            .map(|(least, most)| {
                let ratio = most.warm_seconds.median / least.warm_seconds.median;
                (ratio, format!("{} and {} stored", most.stored, least.stored))
            })
            .into_iter()
            .collect()
    });
    table
}

/// Every cell in which a rival is faster.
pub(super) fn lost(results: &Results) -> Table {
    let mut table = Table::new(["mode", "faster", "its puts/s", "kyro-engine / it"]);
    for row in rivals(results) {
        if let Some(ratio) = row.kyro_over_this.filter(|ratio| ratio.median < 1.0) {
            let store = if row.keeps_mode { place(row) } else { format!("{} (does not sync)", place(row)) };
            table.row([
                row.mode.title().to_owned(),
                store,
                row.puts.to_string(),
                format!("{:.2}", ratio.median),
            ]);
        }
    }
    table
}

fn kyro(results: &Results) -> impl Iterator<Item = &PutsRow> {
    results.puts.iter().filter(|row| row.store == KYRO)
}

fn rivals(results: &Results) -> impl Iterator<Item = &PutsRow> {
    results.puts.iter().filter(|row| row.store != KYRO)
}

fn place(row: &PutsRow) -> String {
    format!("{}, {} writers, {} B values", row.store, row.writers, row.value_bytes)
}
