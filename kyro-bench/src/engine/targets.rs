//! The targets that the engine is held to, and the cells that it loses.

use crate::engine::measure::Measure;
use crate::engine::results::{DELTA, FLOOR, KYRO, Results, Row, Size, advantage};
use crate::engine::results::{RUNS, VIEW};
use crate::limit::Limit;
use crate::report::Table;

/// The records from which a reopening counts.
const MANY: u64 = 10_000_000;

/// Each target with the worst figure against it.
#[expect(clippy::too_many_lines, reason = "a list")]
pub(super) fn targets(results: &Results) -> Table {
    let mut table = Table::new(["target", "limit", "worst", "of", "met"]);
    let mut held = |what: &str, limit: Limit, figures: Vec<(f64, String)>| {
        if let Some((worst, place)) = limit.worst(figures.into_iter()) {
            let met = if limit.is_met(worst) { "yes" } else { "NO" };
            table.row([what, &limit.to_string(), &format!("{worst:.2}"), &place, met]);
        }
    };
    let of_sizes = |figure: &dyn Fn(Size) -> Option<(f64, String)>| -> Vec<(f64, String)> {
        results.sizes().into_iter().filter_map(figure).collect()
    };
    // How many times better than the best rival, in every size.
    let beside = |measure: Measure| {
        of_sizes(&|size| {
            let (ours, best) = (results.row(size, measure, KYRO)?, results.best_rival(size, measure)?);
            Some((advantage(ours, best)?.median, format!("{size}, {}, {}", best.store, measure.title())))
        })
    };
    // One row of the engine over another, in every size; times are of the same repeats.
    let over = |measure: Measure, this: &str, that: &str| {
        of_sizes(&|size| {
            let (ours, base) = (results.row(size, measure, this)?, results.row(size, measure, that)?);
            Some((1.0 / advantage(ours, base)?.median, format!("{size}, {}", measure.title())))
        })
    };
    let gets = [Measure::HitSerial, Measure::Hit, Measure::ZipfSerial, Measure::Zipf];
    held(
        "warm get / fastest rival: times faster",
        Limit::AtLeast(3.0),
        gets.into_iter().flat_map(beside).collect(),
    );
    for (who, name) in [(KYRO, "warm get / floor"), (VIEW, "warm get through one view / floor")] {
        held(
            name,
            Limit::AtMost(1.6),
            [Measure::HitSerial, Measure::ZipfSerial]
                .into_iter()
                .flat_map(|measure| over(measure, who, FLOOR))
                .collect(),
        );
    }
    held(
        "get with as many entries again in the delta / compacted",
        Limit::AtMost(1.3),
        [Measure::HitSerial, Measure::Hit]
            .into_iter()
            .flat_map(|measure| over(measure, DELTA, KYRO))
            .collect(),
    );
    held(
        "get with 4 runs / compacted",
        Limit::AtMost(2.0),
        [Measure::HitSerial, Measure::Hit]
            .into_iter()
            .flat_map(|measure| over(measure, RUNS, KYRO))
            .collect(),
    );
    held("miss / fastest rival: times faster", Limit::AtLeast(2.0), beside(Measure::Miss));
    held(
        "get of 1,000 keys at once / single gets: times the throughput",
        Limit::AtLeast(3.0),
        of_sizes(&|size| {
            let (single, many) =
                (results.row(size, Measure::Hit, KYRO)?, results.row(size, Measure::Many, KYRO)?);
            Some((advantage(many, &as_measure(single, Measure::Many))?.median, size.to_string()))
        }),
    );
    held("scan of 100 / best rival: times", Limit::AtLeast(1.0), beside(Measure::Scan100));
    held("scan of everything / best rival: times", Limit::AtLeast(2.0), beside(Measure::ScanAll));
    held("bulk load of sorted keys / best rival: times", Limit::AtLeast(1.0), beside(Measure::LoadSorted));
    held(
        "load in random order until compacted / best rival: times",
        Limit::AtLeast(1.5),
        beside(Measure::LoadRandom),
    );
    for (measure, name) in [
        (Measure::DiskRuns, "runs and indexes / (8 + value + 8) bytes a record"),
        (Measure::DiskRandom, "all files, the log's too / (8 + value + 8) bytes a record"),
    ] {
        held(
            name,
            Limit::AtMost(1.1),
            of_sizes(&|size| {
                let row = results.row(size, measure, KYRO).filter(|_| size.value_bytes <= 64)?;
                Some((row.figure.median / (16 + size.value_bytes) as f64, size.to_string()))
            }),
        );
    }
    held(
        "reopen to first get with 10 M records, ms",
        Limit::AtMost(10.0),
        of_sizes(&|size| {
            let row = results.row(size, Measure::Reopen, KYRO).filter(|_| size.records >= MANY)?;
            Some((row.figure.median, size.to_string()))
        }),
    );
    held(
        "2 threads / 1 thread",
        Limit::AtLeast(1.8),
        of_sizes(&|size| Some((results.row(size, Measure::Speedup, KYRO)?.figure.median, size.to_string()))),
    );
    held(
        "reads under load: ms of the worst stall that the thread did not wait for a processor",
        Limit::AtMost(10.0),
        results
            .busy
            .iter()
            .map(|row| (row.unexplained_ms, format!("{}, {} puts/s", row.size, row.puts_per_second)))
            .collect(),
    );
    table
}

fn as_measure(row: &Row, measure: Measure) -> Row {
    Row { measure, ..row.clone() }
}

/// Every cell in which a rival is better.
pub(super) fn lost(results: &Results) -> Table {
    let mut table =
        Table::new(["size", "measure", "better", "it has", "kyro-engine has", "kyro-engine / it"]);
    for ours in results.rows.iter().filter(|row| row.store == KYRO && row.measure.is_compared()) {
        for rival in results.rivals(ours.size, ours.measure) {
            let Some(times) = advantage(ours, rival).filter(|times| times.median < 1.0) else { continue };
            table.row([
                ours.size.to_string(),
                ours.measure.to_string(),
                rival.store.clone(),
                rival.figure.to_string(),
                ours.figure.to_string(),
                format!("{:.2} ×", times.median),
            ]);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size { records: 1_000_000, value_bytes: 16 };

    #[test]
    fn worst_cells_are_held_to_the_limits() {
        let mut results = Results::default();
        results.note(SIZE, Measure::HitSerial, KYRO, vec![200.0, 220.0]);
        results.note(SIZE, Measure::HitSerial, "LMDB", vec![700.0, 500.0]);
        results.note(SIZE, Measure::HitSerial, "redb", vec![900.0, 900.0]);
        results.note(SIZE, Measure::HitSerial, FLOOR, vec![100.0, 110.0]);
        results.note(SIZE, Measure::Miss, KYRO, vec![300.0]);
        results.note(SIZE, Measure::Miss, "fjall", vec![150.0]);
        results.note(SIZE, Measure::Hit, KYRO, vec![120.0]);
        results.note(SIZE, Measure::Many, KYRO, vec![30.0]);
        let table = targets(&results).to_string();
        let line = |start: &str| {
            let line = table.lines().find(|line| line.starts_with(&format!("| {start}")));
            line.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
        };
        assert!(
            line("warm get / fastest")
                .ends_with("| ≥ 3 | 2.89 | 1 M records of 16 B, LMDB, get, uniform, serial | NO |"),
            "{table}"
        );
        assert!(
            line("warm get / floor")
                .ends_with("| ≤ 1.6 | 2.00 | 1 M records of 16 B, get, uniform, serial | NO |"),
            "{table}"
        );
        assert!(line("miss").contains("| 0.50 |"), "{table}");
        assert!(line("get of 1,000").contains("| 4.00 | 1 M records of 16 B | yes"), "{table}");
        let lost = lost(&results).to_string();
        assert!(lost.contains("fjall") && !lost.contains("LMDB"), "{lost}");
    }
}
