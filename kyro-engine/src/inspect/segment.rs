//! A segment of the log: header, footer, and what lies between them.

use bytes::Bytes;
use kyro_wal::inspect::{self, FooterFacts, FrameFacts, Item, SegmentFacts};
use kyro_wal::storage::Storage;

use super::{Fact, InspectOptions, Inspection, Table};
use crate::batch::{Operation, Operations, PayloadError, Switch};

pub(super) const KIND: &str = "segment";

const FRAMES: &[&str] = &[
    "byte",
    "length",
    "first offset",
    "count",
    "watermark",
    "attempt",
    "checksum",
    "previous",
    "state",
    "holds",
];

/// What the frames come to.
#[derive(Default)]
struct Sums {
    frames: u64,
    confirming: u64,
    operations: u64,
    payload_bytes: u64,
    last_offset: Option<u64>,
    zeros: u64,
}

pub(super) fn inspect(storage: &dyn Storage, options: &InspectOptions, inspection: &mut Inspection) {
    let mut sums = Sums::default();
    let mut frames = Table::new("frames", FRAMES);
    let mut damage = Vec::new();
    let limit = if options.items { options.limit } else { 0 };
    let path = inspection.file.clone();
    let walked = inspect::walk(storage, &path, &mut |item| match item {
        Item::Frame { facts, payload } => {
            sums.add(&facts);
            frames.push(limit, || row(&facts, holds(&facts, payload)));
        }
        Item::Damage { from, to, what } => damage.push(format!("bytes {from} to {}: {what}", to - 1)),
        Item::Zeros { from, to } => sums.zeros += to - from,
        _ => {}
    });
    match walked {
        Ok(facts) => {
            inspection.tables.push(header(&facts));
            inspection.tables.push(footer(&facts));
            if let FooterFacts::Damaged { .. } = facts.footer {
                damage.push(format!(
                    "byte {}: the footer's checksum is wrong",
                    facts.bytes.saturating_sub(4096)
                ));
            } else if facts.footer == FooterFacts::Unsealed && facts.bytes != facts.capacity {
                damage.push(format!("byte {}: the file's length is not the one in its header", facts.bytes));
            }
            inspection.tables.push(sums.table());
            if options.items {
                inspection.tables.push(frames);
            }
        }
        Err(kyro_wal::Error::Corrupt(error)) => {
            damage.insert(0, format!("byte {}: {}", error.at, error.what));
        }
        Err(error) => damage.insert(0, crate::describe(&error)),
    }
    inspection.damage = damage;
}

impl Sums {
    fn add(&mut self, facts: &FrameFacts) {
        self.frames += 1;
        self.confirming += u64::from(facts.confirming);
        self.operations += u64::from(facts.count);
        self.payload_bytes += u64::from(facts.length);
        if facts.count > 0 {
            self.last_offset = Some(facts.first_offset + u64::from(facts.count) - 1);
        }
    }

    fn table(&self) -> Table {
        Table::fields(
            "contents",
            [
                ("frames that validate", self.frames.into()),
                ("of them confirming", self.confirming.into()),
                ("operations", self.operations.into()),
                ("bytes of payload", self.payload_bytes.into()),
                ("last offset", self.last_offset.into()),
                ("zeros outside frames", self.zeros.into()),
            ],
        )
    }
}

fn header(facts: &SegmentFacts) -> Table {
    let before = facts.predecessor;
    Table::fields(
        "header",
        [
            ("format version", u64::from(facts.version).into()),
            ("checksum algorithm (1 = CRC-32)", u64::from(facts.checksum_algorithm).into()),
            ("database", Fact::Uuid(facts.uuid)),
            ("number", facts.number.into()),
            ("epoch of the writer", facts.epoch.into()),
            ("first offset", facts.first_offset.into()),
            ("offset limit", facts.offset_limit.into()),
            ("capacity", facts.capacity.into()),
            ("predecessor", before.map(|before| before.number).into()),
            ("predecessor: end of its frames", before.map(|before| before.end).into()),
            ("predecessor: next offset", before.map(|before| before.next_offset).into()),
            (
                "predecessor: checksum of its last frame",
                before.map_or(Fact::None, |before| Fact::Checksum(before.checksum)),
            ),
            ("truncates its predecessor", if facts.truncates { "yes" } else { "no" }.into()),
            ("bytes of metadata", (facts.metadata.len() as u64).into()),
            ("checksum", Fact::Checksum(facts.checksum)),
        ],
    )
}

fn footer(facts: &SegmentFacts) -> Table {
    let fields = match facts.footer {
        FooterFacts::Sealed { frames, next_offset, end, checksum } => vec![
            ("state", Fact::from("sealed")),
            ("frames", frames.into()),
            ("next offset", next_offset.into()),
            ("end of the frames", end.into()),
            ("checksum of the last frame", Fact::Checksum(checksum)),
        ],
        FooterFacts::Unsealed => vec![("state", "none: not sealed".into())],
        FooterFacts::Damaged { expected, found } => vec![
            ("state", "damaged".into()),
            ("checksum expected", Fact::Checksum(expected)),
            ("checksum found", Fact::Checksum(found)),
        ],
        _ => Vec::new(),
    };
    Table::fields("footer", fields)
}

fn row(facts: &FrameFacts, holds: String) -> Vec<Fact> {
    vec![
        facts.at.into(),
        u64::from(facts.length).into(),
        facts.first_offset.into(),
        u64::from(facts.count).into(),
        facts.watermark.into(),
        u64::from(facts.attempt).into(),
        Fact::Checksum(facts.checksum),
        Fact::Checksum(facts.previous),
        if facts.follows { "right" } else { "right, does not follow" }.into(),
        Fact::Text(holds),
    ]
}

/// What the payload says, when it is the engine's: a log can be used by others too.
fn holds(facts: &FrameFacts, payload: &[u8]) -> String {
    if facts.confirming {
        return "confirms".to_owned();
    }
    let operations: Result<Vec<Operation>, _> =
        Operations::new(Bytes::copy_from_slice(payload)).and_then(Iterator::collect);
    let operations = match operations {
        Ok(operations) if operations.len() as u64 == u64::from(facts.count) => operations,
        Ok(operations) => return format!("no batch: it holds {} operations", operations.len()),
        // Without what this build reads: that is no fact of the file.
        Err(PayloadError::NewerFormat { found }) => {
            return format!("no batch: payload format {found} is not known");
        }
        Err(error) => return format!("no batch: {error}"),
    };
    let mut texts: Vec<String> = operations.iter().take(3).map(text).collect();
    if operations.len() > 3 {
        texts.push(format!("{} more", operations.len() - 3));
    }
    texts.join(", ")
}

fn text(operation: &Operation) -> String {
    match operation {
        Operation::Put { key, value } => format!("put {key} ({} bytes)", value.len()),
        Operation::Delete { key } => format!("delete {key}"),
        Operation::DeleteRange { from, to } => format!("delete {from} to {to}"),
        Operation::Append { payload } => format!("append ({} bytes)", payload.len()),
        Operation::Switch(Switch { version, is_layer, label }) => {
            let what = if *is_layer { "layer" } else { "version" };
            format!("switch to {what} {version} {:?}", String::from_utf8_lossy(label))
        }
    }
}
