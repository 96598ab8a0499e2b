//! Requests of the benchmarks, and what must come back.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::SocketAddr;

use crate::http::bare;
use crate::http::client::Source;
use crate::kv::Entries;
use crate::random::Random;
use crate::zipf::Zipf;

/// A route, as it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Op {
    /// `GET /v1/get_fast/{key}`: the value.
    GetFast,
    /// `GET /v1/lookup_fast/{key}`: the offset, eight bytes.
    LookupFast,
    /// `GET /v1/kv/{key}`: the value, with its `ETag`.
    Kv,
    /// `POST /v1/put` with JSON: a value that is text.
    Put,
    /// `PUT /v1/kv/{key}`: any bytes.
    KvPut,
    /// `POST /v1/mget`: many keys in one binary request, their values in one binary answer.
    Mget,
    /// 95 in 100 `get_fast`, 5 puts of what is there already.
    Mixed,
}

impl Op {
    /// The route.
    pub fn title(self) -> &'static str {
        match self {
            Self::GetFast => "GET /v1/get_fast",
            Self::LookupFast => "GET /v1/lookup_fast",
            Self::Kv => "GET /v1/kv",
            Self::Put => "POST /v1/put",
            Self::KvPut => "PUT /v1/kv",
            Self::Mget => "POST /v1/mget",
            Self::Mixed => "95 % GET /v1/get_fast, 5 % POST /v1/put",
        }
    }

    /// Whether it writes and nothing else.
    pub fn writes(self) -> bool {
        matches!(self, Self::Put | Self::KvPut)
    }
}

/// How values look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// Any bytes, as the engine is filled with them.
    Bytes,
    /// Letters from a to p, which fit into JSON as they are.
    Letters,
}

impl Values {
    /// Makes `value` the value of `key`.
    pub fn fill(self, entries: Entries, key: u64, value: &mut Vec<u8>) {
        entries.fill(key, value);
        if self == Self::Letters {
            for byte in value {
                *byte = b'a' + (*byte & 15);
            }
        }
    }
}

/// Which entry is next.
#[derive(Clone, Debug)]
pub enum Pick {
    /// Each as likely.
    Uniform,
    /// By Zipf's law.
    Zipf(Box<Zipf>),
    /// One after the other, from this one on.
    Next(u64),
}

/// Headers that every request has, beside its own.
#[derive(Clone, Debug)]
pub struct Target {
    headers: Vec<u8>,
}

impl Target {
    /// A server at `address`, with a bearer token if it wants one.
    pub fn new(address: SocketAddr, token: Option<&str>) -> Self {
        let token = token.map(|token| format!("authorization: Bearer {token}\r\n")).unwrap_or_default();
        Self { headers: format!(" HTTP/1.1\r\nhost: {address}\r\n{token}").into_bytes() }
    }

    /// Appends a request's first line and the headers that all have; its own and a blank line come next.
    pub(super) fn head(&self, method: &str, path: &str, out: &mut Vec<u8>) {
        for part in [method.as_bytes(), b" ", path.as_bytes(), &self.headers] {
            out.extend_from_slice(part);
        }
    }

    /// A request with JSON.
    pub(super) fn with_json(&self, method: &str, path: &str, body: &str) -> Vec<u8> {
        let mut out = Vec::new();
        self.head(method, path, &mut out);
        let kind = format!("content-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
        out.extend_from_slice(kind.as_bytes());
        out.extend_from_slice(body.as_bytes());
        out
    }

    /// A request without a body.
    pub fn get(&self, method: &str, path: &str) -> Vec<u8> {
        [method.as_bytes(), b" ", path.as_bytes(), &self.headers, b"content-length: 0\r\n\r\n"].concat()
    }
}

/// Requests about numbered entries.
#[derive(Debug)]
pub struct Requests {
    target: Target,
    op: Op,
    entries: Entries,
    values: Values,
    /// Entries that are there.
    stored: u64,
    pick: Pick,
    /// In 1,000 reads, so many of keys that are not there.
    misses: u64,
    /// Keys of an mget.
    batch: usize,
    /// What is known of the offset of an entry.
    offsets: Offsets,
    random: Random,
    body: Vec<u8>,
    value: Vec<u8>,
    /// Of writes: the offset that each was given.
    pub written: Vec<(u64, u64)>,
}

/// What is known of offsets.
#[derive(Clone, Debug)]
pub enum Offsets {
    /// Nothing but that they have eight bytes.
    Unknown,
    /// The offset of an entry is its number.
    AsNumbered,
    /// By number.
    Known(BTreeMap<u64, u64>),
}

/// Set in the number of a request that writes.
const WRITES: u64 = 1 << 63;
/// Set in the number of a request for an absent key.
const ABSENT: u64 = 1 << 62;
/// Of 1,000 requests of [`Op::Mixed`], so many write.
const MIXED_WRITES: u64 = 50;

impl Requests {
    /// Requests for `stored` entries. A source of its own for each `stream`.
    pub fn new(target: Target, op: Op, entries: Entries, values: Values, stored: u64, stream: &str) -> Self {
        Self {
            target,
            op,
            entries,
            values,
            stored: stored.max(1),
            pick: Pick::Uniform,
            misses: 0,
            batch: 1_000,
            offsets: Offsets::Unknown,
            random: Random::new(entries.seed, stream),
            body: Vec::new(),
            value: Vec::new(),
            written: Vec::new(),
        }
    }

    /// Picks entries otherwise than uniformly.
    #[must_use]
    pub fn picking(self, pick: Pick) -> Self {
        Self { pick, ..self }
    }

    /// Has `misses` of 1,000 reads miss.
    #[must_use]
    pub fn missing(self, misses: u64) -> Self {
        Self { misses, ..self }
    }

    /// What lookups must give.
    #[must_use]
    pub fn with_offsets(self, offsets: Offsets) -> Self {
        Self { offsets, ..self }
    }

    /// Keys of an mget; 1,000 unless set.
    #[must_use]
    pub fn in_batches_of(self, batch: usize) -> Self {
        Self { batch, ..self }
    }

    fn pick(&mut self) -> u64 {
        match &mut self.pick {
            Pick::Uniform => self.random.below(self.stored),
            Pick::Zipf(zipf) => zipf.draw(&mut self.random),
            Pick::Next(next) => {
                *next += 1;
                *next - 1
            }
        }
    }

    fn read(&mut self, out: &mut Vec<u8>, path: &str) -> u64 {
        let misses = self.misses > 0 && self.random.below(1_000) < self.misses;
        let number = self.pick() | if misses { ABSENT } else { 0 };
        out.extend_from_slice(b"GET ");
        out.extend_from_slice(path.as_bytes());
        push_decimal(out, self.entries.key(number));
        out.extend_from_slice(&self.target.headers);
        out.extend_from_slice(b"\r\n");
        number
    }

    fn put(&mut self, out: &mut Vec<u8>, number: u64) -> u64 {
        let key = self.entries.key(number);
        self.values.fill(self.entries, key, &mut self.value);
        self.body.clear();
        self.body.extend_from_slice(b"{\"key\":");
        push_decimal(&mut self.body, key);
        self.body.extend_from_slice(b",\"value\":\"");
        self.body.extend_from_slice(&self.value);
        self.body.extend_from_slice(b"\"}");
        out.extend_from_slice(b"POST /v1/put");
        self.push_body(out, "application/json");
        number | WRITES
    }

    /// Headers and body.
    fn push_body(&self, out: &mut Vec<u8>, kind: &str) {
        out.extend_from_slice(&self.target.headers);
        let length = self.body.len();
        // Writing to memory cannot fail.
        write!(out, "content-type: {kind}\r\ncontent-length: {length}\r\n\r\n").ok();
        out.extend_from_slice(&self.body);
    }

    fn check_write(&mut self, number: u64, status: u16, body: &[u8]) -> Result<(), String> {
        let offset = |body: &[u8]| {
            let at = body.windows(9).position(|window| window == b"\"offset\":")? + 9;
            let digits = body[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
            str::from_utf8(&body[at..at + digits]).ok()?.parse().ok()
        };
        let offset = offset(body).filter(|_| matches!(status, 200 | 201));
        let offset = offset.ok_or_else(|| format!("no offset in {}", shown(body)))?;
        self.written.push((number, offset));
        Ok(())
    }

    fn check_value(&mut self, number: u64, body: &[u8]) -> Result<(), String> {
        self.values.fill(self.entries, self.entries.key(number), &mut self.value);
        if body == self.value {
            return Ok(());
        }
        Err(format!("entry {number} has {} bytes, which are not its value: {}", body.len(), shown(body)))
    }
}

impl Source for Requests {
    fn request(&mut self, out: &mut Vec<u8>) -> u64 {
        match self.op {
            Op::LookupFast => self.read(out, "/v1/lookup_fast/"),
            Op::Kv => self.read(out, "/v1/kv/"),
            Op::Put => {
                let number = self.pick();
                self.put(out, number)
            }
            Op::KvPut => {
                let number = self.pick();
                let key = self.entries.key(number);
                let mut body = std::mem::take(&mut self.body);
                self.values.fill(self.entries, key, &mut body);
                self.body = body;
                out.extend_from_slice(b"PUT /v1/kv/");
                push_decimal(out, key);
                self.push_body(out, "application/octet-stream");
                number | WRITES
            }
            Op::Mixed if self.random.below(1_000) < MIXED_WRITES => {
                let number = self.random.below(self.stored);
                self.put(out, number)
            }
            Op::GetFast | Op::Mixed => self.read(out, "/v1/get_fast/"),
            Op::Mget => {
                // Consecutive numbers: their keys have nothing to do with each other.
                let number = self.random.below(self.stored);
                self.body.clear();
                for step in 0..self.batch as u64 {
                    let key = self.entries.key((number + step) % self.stored);
                    self.body.extend_from_slice(&key.to_le_bytes());
                }
                out.extend_from_slice(b"POST /v1/mget");
                out.extend_from_slice(&self.target.headers);
                write!(
                    out,
                    "accept: {BINARY}\r\ncontent-type: application/octet-stream\r\ncontent-length: {}\r\n\r\n",
                    self.body.len()
                )
                .ok();
                out.extend_from_slice(&self.body);
                number
            }
        }
    }

    fn check(&mut self, number: u64, status: u16, body: &[u8]) -> Result<(), String> {
        if number & WRITES != 0 {
            return self.check_write(number & !WRITES, status, body);
        }
        if number & ABSENT != 0 {
            let right = status == 404;
            return if right {
                Ok(())
            } else {
                Err(format!("an absent key was answered with {}", shown(body)))
            };
        }
        if status != 200 {
            return Err(format!("entry {number} was answered with {}", shown(body)));
        }
        match self.op {
            Op::LookupFast => {
                let found = body.try_into().map(u64::from_le_bytes).ok();
                let found = found.ok_or_else(|| format!("an offset of {} bytes", body.len()))?;
                let known = match &self.offsets {
                    Offsets::Unknown => None,
                    Offsets::AsNumbered => Some(number),
                    Offsets::Known(offsets) => offsets.get(&number).copied(),
                };
                match known {
                    Some(known) if known != found => {
                        Err(format!("entry {number} has offset {found}, and {known} was acknowledged"))
                    }
                    _ => Ok(()),
                }
            }
            Op::Mget => self.check_values(number, body),
            _ => self.check_value(number, body),
        }
    }
}

/// Most bytes of a frame between two values, before the first and after the last.
const BETWEEN: usize = 64;
/// The media type of binary frames.
const BINARY: &str = "application/vnd.kyro.v1+binary";

impl Requests {
    /// The values of a batch: each must be there, in order, whole, with no more between two of them than a frame needs.
    /// That holds for any frame, so a frame's own fields are not looked at.
    fn check_values(&mut self, number: u64, body: &[u8]) -> Result<(), String> {
        let mut at = 0;
        for step in 0..self.batch as u64 {
            let entry = (number + step) % self.stored;
            self.values.fill(self.entries, self.entries.key(entry), &mut self.value);
            let rest = &body[at..];
            let reach = rest.len().min(BETWEEN + self.value.len());
            let Some(before) =
                rest[..reach].windows(self.value.len()).position(|window| window == self.value)
            else {
                return Err(format!(
                    "the value of entry {entry}, the {step}th of the batch, is not in its place"
                ));
            };
            at += before + self.value.len();
        }
        let left = body.len() - at;
        if left <= BETWEEN { Ok(()) } else { Err(format!("{left} bytes follow the last value")) }
    }
}

/// Requests to the bare twin.
#[derive(Debug)]
pub struct Bare(Vec<u8>);

impl Bare {
    /// To the twin behind `target`: the path is as long as that of a get.
    pub fn new(target: &Target) -> Self {
        let path = b"GET /v1/get_fast/12345678901234567890";
        Self([path, &target.headers[..], b"\r\n"].concat())
    }
}

impl Source for Bare {
    fn request(&mut self, out: &mut Vec<u8>) -> u64 {
        out.extend_from_slice(&self.0);
        0
    }

    fn check(&mut self, _: u64, status: u16, body: &[u8]) -> Result<(), String> {
        if status == 200 && body == bare::BODY { Ok(()) } else { Err(shown(body)) }
    }
}

/// Some request, whose answer needs a status and nothing else.
#[derive(Debug)]
pub struct Once {
    /// The request.
    pub request: Vec<u8>,
    /// The status it should have.
    pub status: u16,
}

impl Source for Once {
    fn request(&mut self, out: &mut Vec<u8>) -> u64 {
        out.extend_from_slice(&self.request);
        0
    }

    fn check(&mut self, _: u64, status: u16, body: &[u8]) -> Result<(), String> {
        if status == self.status { Ok(()) } else { Err(shown(body)) }
    }
}

fn shown(body: &[u8]) -> String {
    let more = if body.len() > 200 { "…" } else { "" };
    format!("“{}{more}”", body[..body.len().min(200)].escape_ascii())
}

fn push_decimal(out: &mut Vec<u8>, number: u64) {
    // Writing to memory cannot fail.
    write!(out, "{number}").ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRIES: Entries = Entries { seed: 1, value_bytes: 10 };

    fn requests(op: Op) -> Requests {
        let target = Target::new(([127, 0, 0, 1], 80).into(), Some("secret"));
        Requests::new(target, op, ENTRIES, Values::Letters, 100, "test")
    }

    fn text(requests: &mut Requests) -> (u64, String) {
        let mut out = Vec::new();
        let number = requests.request(&mut out);
        (number, String::from_utf8(out).unwrap())
    }

    #[test]
    fn wrong_answers_are_noticed() {
        let mut gets = requests(Op::GetFast);
        let (number, text_) = text(&mut gets);
        let key = ENTRIES.key(number);
        assert!(text_.starts_with(&format!("GET /v1/get_fast/{key} HTTP/1.1\r\nhost: 127.0.0.1:80\r\n")));
        assert!(text_.ends_with("authorization: Bearer secret\r\n\r\n"));
        let mut value = Vec::new();
        Values::Letters.fill(ENTRIES, key, &mut value);
        assert_eq!(gets.check(number, 200, &value), Ok(()));
        assert!(gets.check(number, 404, b"").is_err());
        assert!(gets.check(number, 200, &value[1..]).is_err());
        value[3] ^= 1;
        assert!(gets.check(number, 200, &value).is_err());

        let mut lookups = requests(Op::LookupFast).with_offsets(Offsets::AsNumbered);
        assert_eq!(lookups.check(7, 200, &7_u64.to_le_bytes()), Ok(()));
        assert!(lookups.check(7, 200, &8_u64.to_le_bytes()).is_err());
        assert!(lookups.check(7, 200, b"7").is_err());

        let mut misses = requests(Op::Kv).missing(1_000);
        let (number, _) = text(&mut misses);
        assert_eq!(misses.check(number, 404, b""), Ok(()));
        assert!(misses.check(number, 200, b"x").is_err());
    }

    #[test]
    fn a_batch_has_its_values_in_order() {
        let mut batches = requests(Op::Mget).in_batches_of(3);
        let (number, text) = {
            let mut out = Vec::new();
            (batches.request(&mut out), out)
        };
        assert!(text.ends_with(&ENTRIES.key((number + 2) % 100).to_le_bytes()));
        let values: Vec<Vec<u8>> = (0..3)
            .map(|step| {
                let mut value = Vec::new();
                Values::Letters.fill(ENTRIES, ENTRIES.key((number + step) % 100), &mut value);
                value
            })
            .collect();
        let frame = |order: [usize; 3]| order.map(|at| [&b"12345678"[..], &values[at]].concat()).concat();
        assert_eq!(batches.check(number, 200, &frame([0, 1, 2])), Ok(()));
        assert!(batches.check(number, 200, &frame([0, 2, 1])).is_err());
        assert!(batches.check(number, 200, &frame([0, 1, 2])[..50]).is_err());
        assert!(batches.check(number, 200, &[frame([0, 1, 2]), vec![0; 65]].concat()).is_err());
    }

    #[test]
    fn writes_tell_their_offsets() {
        let mut puts = requests(Op::Put).picking(Pick::Next(5));
        let (number, text) = text(&mut puts);
        let (_, body) = text.split_once("\r\n\r\n").unwrap();
        let json: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(json["key"], ENTRIES.key(5));
        assert_eq!(json["value"].as_str().unwrap().len(), 10);
        assert!(text.contains(&format!("content-length: {}\r\n", body.len())));
        assert_eq!(puts.check(number, 200, b"{\"offset\":77}"), Ok(()));
        assert_eq!(puts.written, [(5, 77)]);
        assert!(puts.check(number, 200, b"{}").is_err());
        assert!(puts.check(number, 503, b"{\"offset\":1}").is_err());
    }
}
