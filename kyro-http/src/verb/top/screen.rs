//! What `top` shows: two looks at a server, as lines of text.

use std::fmt::Write as _;
use std::time::Instant;

use serde_json::Value;

/// One look at a server.
pub(super) struct Moment {
    pub(super) at: Instant,
    pub(super) stats: Value,
    pub(super) tasks: Value,
}

/// How it is shown.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    pub(super) colours: bool,
    pub(super) width: usize,
}

impl Look {
    fn paint(self, code: &str, text: &str) -> String {
        if self.colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn title(self, text: &str) -> String {
        self.paint("1", text)
    }

    /// A bar of twenty places.
    fn bar(self, share: f64) -> String {
        const PLACES: usize = 20;
        let full = (1..=PLACES).filter(|place| *place as f64 <= share * PLACES as f64 + 0.5).count();
        let colour = if share >= 0.9 { "33" } else { "34" };
        self.paint(colour, &"█".repeat(full)) + &"░".repeat(PLACES - full)
    }
}

/// A number of a document, by the names that lead to it; 0 where there is none.
fn number(document: &Value, path: &str) -> f64 {
    document.pointer(path).and_then(Value::as_f64).unwrap_or(0.0)
}

fn text<'a>(document: &'a Value, path: &str) -> &'a str {
    document.pointer(path).and_then(Value::as_str).unwrap_or("-")
}

fn list<'a>(document: &'a Value, path: &str) -> &'a [Value] {
    document.pointer(path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A whole screen.
pub(super) fn frame(now: &Moment, before: Option<&Moment>, url: &str, look: Look) -> String {
    let mut out = String::new();
    head(&mut out, now, url, look);
    operations(&mut out, now, before, look);
    log_and_delta(&mut out, now, before, look);
    index(&mut out, now, look);
    stalls(&mut out, now, look);
    tasks(&mut out, now, look);
    out.truncate(out.trim_end().len());
    out
}

fn head(out: &mut String, now: &Moment, url: &str, look: Look) {
    let stats = &now.stats;
    let flag = |path: &str| stats.pointer(path).and_then(Value::as_bool) == Some(true);
    let health = if flag("/read_only") {
        look.paint("31", "READ-ONLY after a storage failure")
    } else if flag("/server/draining") {
        look.paint("33", "stopping")
    } else if flag("/maintenance/failing") {
        look.paint("33", "serving, maintenance fails")
    } else {
        look.paint("32", "serving")
    };
    let line = format!(
        "{}  {url}  version {}  up {}  ",
        look.title("KyroDB"),
        text(stats, "/server/version"),
        time(number(stats, "/server/uptime_seconds"))
    );
    put(out, &(line + &health));
    put(out, "");
}

fn operations(out: &mut String, now: &Moment, before: Option<&Moment>, look: Look) {
    let seconds = before.map(|before| (now.at - before.at).as_secs_f64());
    let rate = |path: &str| match (before, seconds) {
        (Some(before), Some(seconds)) => {
            short((number(&now.stats, path) - number(&before.stats, path)) / seconds)
        }
        _ => "-".to_owned(),
    };
    put(
        out,
        &format!(
            "keys {}   next offset {}   writes/s {}   connections {}   in flight {}",
            short(number(&now.stats, "/keys_at_most")),
            number(&now.stats, "/next_offset"),
            rate("/operations"),
            number(&now.stats, "/server/connections"),
            number(&now.stats, "/server/requests_in_flight")
        ),
    );
    put(out, "");
    let mut rows: Vec<(f64, String)> = Vec::new();
    for route in list(&now.stats, "/server/routes") {
        let name = text(route, "/route");
        let old = before.and_then(|before| {
            list(&before.stats, "/server/routes").iter().find(|other| text(other, "/route") == name)
        });
        let past = old.map_or(0.0, |old| number(old, "/requests"));
        let per_second = seconds.map(|seconds| (number(route, "/requests") - past) / seconds);
        let recent = recent(list(route, "/counts"), old.map_or(&[], |old| list(old, "/counts")));
        let bounds = list(route, "/bounds");
        let row = format!(
            "{name:<28}{:>10}{:>12}{:>12}{:>12}{:>8}",
            per_second.map_or_else(|| "-".to_owned(), short),
            quantile(bounds, &recent, 0.5, 1.0),
            quantile(bounds, &recent, 0.99, 1.0),
            short(number(route, "/requests")),
            short(number(route, "/errors"))
        );
        rows.push((per_second.unwrap_or(0.0), row));
    }
    rows.sort_by(|a, b| b.0.total_cmp(&a.0));
    put(
        out,
        &look.title(&format!(
            "{:<28}{:>10}{:>12}{:>12}{:>12}{:>8}",
            "route", "per s", "p50", "p99", "all", "5xx"
        )),
    );
    rows.truncate(10);
    for (_, row) in rows {
        put(out, &row);
    }
    put(out, "");
}

fn log_and_delta(out: &mut String, now: &Moment, before: Option<&Moment>, look: Look) {
    let stats = &now.stats;
    let path = "/wal/sync_nanoseconds";
    let counts = |moment: &Moment| list(&moment.stats, &format!("{path}/counts")).to_vec();
    let old = before.map(counts).unwrap_or_default();
    let recent = recent(&counts(now), &old);
    let bounds = list(stats, &format!("{path}/bounds"));
    let groups = number(stats, "/wal/groups");
    let mean = if groups > 0.0 { number(stats, "/wal/group_batches") / groups } else { 0.0 };
    put(
        out,
        &format!(
            "{}    sync p50 {}  p99 {}   batches a group {mean:.1}   {} in {} segments",
            look.title("log"),
            quantile(bounds, &recent, 0.5, 1e9),
            quantile(bounds, &recent, 0.99, 1e9),
            bytes(number(stats, "/wal/bytes")),
            number(stats, "/wal/segments")
        ),
    );
    let (held, limit) = (number(stats, "/delta/bytes"), number(stats, "/delta/flush_at_bytes"));
    put(
        out,
        &format!(
            "{}  {} {} of {} until the next flush   {} entries   {} flushes",
            look.title("delta"),
            look.bar(if limit > 0.0 { held / limit } else { 0.0 }),
            bytes(held),
            bytes(limit),
            short(number(stats, "/delta/entries")),
            number(stats, "/maintenance/flushes")
        ),
    );
}

fn index(out: &mut String, now: &Moment, look: Look) {
    let stats = &now.stats;
    let runs = list(stats, "/runs");
    let size: f64 = runs.iter().map(|run| number(run, "/bytes")).sum();
    put(
        out,
        &format!(
            "{}   {} of {}   all files {}   resident {}   compactions {}",
            look.title("runs"),
            runs.len(),
            bytes(size),
            bytes(number(stats, "/bytes")),
            bytes(number(stats, "/memory/resident_bytes")),
            number(stats, "/maintenance/compactions")
        ),
    );
    put(
        out,
        &format!(
            "{}  {} leaves   epsilon {} / {} / {} (median, 99 of 100, largest)   window {}   {:.2} bits a key   \
             mispredicts {}",
            look.title("index"),
            short(number(stats, "/index/leaves")),
            number(stats, "/index/epsilon_p50"),
            number(stats, "/index/epsilon_p99"),
            number(stats, "/index/epsilon_max"),
            number(stats, "/index/max_window"),
            number(stats, "/index/bits_per_key"),
            number(stats, "/reads/mispredicts")
        ),
    );
}

fn stalls(out: &mut String, now: &Moment, look: Look) {
    let rows: Vec<String> = list(&now.stats, "/stalls")
        .iter()
        .filter(|stall| number(stall, "/count") > 0.0)
        .map(|stall| {
            let (reason, count) = (text(stall, "/reason"), number(stall, "/count"));
            format!("{reason} {count} ({})", time(number(stall, "/seconds")))
        })
        .collect();
    let told = if rows.is_empty() { "none".to_owned() } else { look.paint("33", &rows.join(", ")) };
    put(out, &format!("{} {told}", look.title("stalls")));
}

fn tasks(out: &mut String, now: &Moment, look: Look) {
    let tasks = now.tasks.as_array().map_or(&[][..], Vec::as_slice);
    if tasks.is_empty() {
        return;
    }
    put(out, "");
    put(out, &look.title("tasks"));
    for task in tasks.iter().take(5) {
        let state = text(task, "/state");
        let total = number(task, "/total");
        let share = if state == "done" {
            1.0
        } else if total > 0.0 {
            number(task, "/done") / total
        } else {
            0.0
        };
        let line = format!(
            "{:>5}  {:<10} {:<11} {} {}",
            number(task, "/id"),
            text(task, "/kind"),
            state,
            look.bar(share),
            time(number(task, "/seconds"))
        );
        // Colours take no place on the screen.
        put(out, line.get(..look.width * 4).unwrap_or(&line));
    }
}

fn put(out: &mut String, line: &str) {
    let _infallible = writeln!(out, "{line}");
}

/// What was counted between two looks; everything where nothing was.
fn recent(now: &[Value], old: &[Value]) -> Vec<f64> {
    let count = |values: &[Value], at: usize| values.get(at).and_then(Value::as_f64).unwrap_or(0.0);
    let all: Vec<f64> = (0..now.len()).map(|at| count(now, at)).collect();
    let new: Vec<f64> = (0..now.len()).map(|at| count(now, at) - count(old, at)).collect();
    if new.iter().sum::<f64>() > 0.0 { new } else { all }
}

/// The smallest bound that holds this share of the counts.
fn quantile(bounds: &[Value], counts: &[f64], share: f64, per_second: f64) -> String {
    let total: f64 = counts.iter().sum();
    if total <= 0.0 {
        return "-".to_owned();
    }
    let mut seen = 0.0;
    for (at, count) in counts.iter().enumerate() {
        seen += count;
        if seen >= share * total {
            let bound = bounds.get(at).and_then(Value::as_f64);
            let largest = bounds.last().and_then(Value::as_f64).unwrap_or(0.0);
            return bound.map_or_else(
                || format!(">{}", time(largest / per_second)),
                |bound| format!("<{}", time(bound / per_second)),
            );
        }
    }
    "-".to_owned()
}

fn short(number: f64) -> String {
    match number {
        number if number >= 1e9 => format!("{:.1}G", number / 1e9),
        number if number >= 1e6 => format!("{:.1}M", number / 1e6),
        number if number >= 1e4 => format!("{:.1}k", number / 1e3),
        number => format!("{number:.0}"),
    }
}

fn bytes(number: f64) -> String {
    for (size, name) in [(1_u64 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")] {
        if number >= size as f64 {
            return format!("{:.1} {name}", number / size as f64);
        }
    }
    format!("{number:.0} B")
}

fn time(seconds: f64) -> String {
    match seconds {
        seconds if seconds >= 86_400.0 => format!("{:.1}d", seconds / 86_400.0),
        seconds if seconds >= 3600.0 => format!("{:.1}h", seconds / 3600.0),
        seconds if seconds >= 60.0 => format!("{:.1}min", seconds / 60.0),
        seconds if seconds >= 1.0 => format!("{seconds:.1}s"),
        seconds if seconds >= 1e-3 => format!("{:.1}ms", seconds * 1e3),
        seconds => format!("{:.0}us", seconds * 1e6),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use serde_json::json;

    fn moment(at: Instant, requests: u64) -> Moment {
        let stats = json!({
            "operations": requests, "keys_at_most": 12_000, "delta": {"bytes": 512, "flush_at_bytes": 1024},
            "stalls": [{"reason": "memory", "count": 3, "seconds": 0.5}],
            "wal": {"sync_nanoseconds": {"bounds": [1_000_000], "counts": [requests, 0]}},
            "server": {"version": "1", "routes": [{"route": "/v1/put", "requests": requests, "errors": 1,
                "bounds": [0.001, 0.01], "counts": [requests, 0, 1]}]},
        });
        Moment {
            at,
            stats,
            tasks: json!([{"id": 1, "kind": "compact", "state": "running", "done": 1, "total": 4}]),
        }
    }

    #[test]
    fn two_looks_give_rates_and_recent_latencies() {
        let start = Instant::now();
        let (before, now) = (moment(start, 100), moment(start + Duration::from_secs(2), 300));
        let plain = Look { colours: false, width: 100 };
        let text = frame(&now, Some(&before), "http://h", plain);
        assert!(!text.contains('\x1b'), "{text}");
        let row = text.lines().find(|line| line.starts_with("/v1/put")).unwrap();
        let cells: Vec<&str> = row.split_whitespace().collect();
        assert_eq!(cells, ["/v1/put", "100", "<1.0ms", "<1.0ms", "300", "1"]);
        assert!(text.contains("writes/s 100") && text.contains("keys 12.0k"), "{text}");
        assert!(text.contains("██████████░░░░░░░░░░ 512 B of 1.0 KiB"), "{text}");
        assert!(text.contains("memory 3 (500.0ms)"), "{text}");
        assert!(text.contains("compact    running     █████░"), "{text}");
        assert!(frame(&now, None, "http://h", Look { colours: true, ..plain }).contains("\x1b[32mserving"));
    }
}
