//! The fuzz bodies: what no bytes may make the decoders do. Shared by the fuzzer (`fuzz/`) and by a bounded test.
#![allow(
    missing_docs,
    clippy::missing_panics_doc,
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a fuzz body stops at the first thing it did not expect"
)]

use bytes::Bytes;

use crate::batch::{Batch, Operation, Operations};
use crate::manifest::{MANIFEST_FORMAT, Manifest};

/// Any bytes as a manifest, and any text as a manifest's body under a checksum that fits: refused, or understood and
/// written again as the same.
pub fn manifest(data: &[u8]) {
    understand(data);
    if let Ok(body) = std::str::from_utf8(data) {
        let crc32 = crc32fast::hash(body.trim().as_bytes());
        let version = MANIFEST_FORMAT;
        understand(
            format!(r#"{{"kyrodb_manifest":{version},"crc32":"{crc32:08x}","body":{body}}}"#).as_bytes(),
        );
    }
}

fn understand(bytes: &[u8]) {
    if let Ok(manifest) = Manifest::decode(bytes) {
        let again = manifest.encode().expect("memory takes it");
        assert_eq!(Manifest::decode(&again).expect("its own bytes"), manifest);
    }
}

/// Any bytes as a frame's payload: refused, or read as operations that are slices of it. The same bytes as a script for
/// a batch: what is read back is what was put in.
pub fn payload(data: &[u8]) {
    if let Ok(operations) = Operations::new(Bytes::copy_from_slice(data)) {
        let mut values = 0;
        for operation in operations {
            match operation {
                Ok(Operation::Put { value, .. }) => values += value.len(),
                Ok(Operation::Append { payload }) => values += payload.len(),
                Ok(Operation::Switch(switch)) => values += switch.label.len(),
                Ok(_) => {}
                Err(error) => assert!(!error.to_string().is_empty()),
            }
        }
        assert!(values < data.len(), "more bytes came out than went in");
    }
    let mut batch = Batch::new();
    let mut wanted = Vec::new();
    for step in data.chunks(12) {
        let (Some(&kind), Some(key)) = (step.first(), step.get(1..9)) else { break };
        let key = u64::from_le_bytes(key.try_into().expect("eight bytes"));
        let value = Bytes::copy_from_slice(&step[9..]);
        match kind % 4 {
            0 => {
                batch.put(key, &value);
                wanted.push(Operation::Put { key, value });
            }
            1 => {
                batch.delete(key);
                wanted.push(Operation::Delete { key });
            }
            2 => {
                batch.delete_range(0..=key);
                wanted.push(Operation::DeleteRange { from: 0, to: key });
            }
            _ => {
                batch.append(&value);
                wanted.push(Operation::Append { payload: value });
            }
        }
    }
    assert_eq!(batch.len(), wanted.len());
    if !batch.is_empty() {
        let read: Result<Vec<_>, _> = Operations::new(batch.into_payload()).expect("our format").collect();
        assert_eq!(read.expect("our bytes"), wanted);
    }
}

#[cfg(test)]
mod tests {
    const MANIFEST: &str = r#"{"uuid":"00000000000000000000000000000001","generation":1,"epoch":1,
        "wal":{"first_segment":1,"replay_from":0,"oldest_event":null},"next_run":1,"runs":[],"clean":null}"#;

    /// Random inputs, which a seed determines.
    fn inputs(seed: u64, count: usize, longest: u64) -> impl Iterator<Item = Vec<u8>> {
        let mut state = seed;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        (0..count).map(move |_| (0..random() % longest).map(|_| (random() >> 32) as u8).collect())
    }

    #[test]
    fn random_manifests() {
        super::manifest(MANIFEST.as_bytes());
        for data in inputs(21, 4_000, 40) {
            super::manifest(&data);
            // A sound one with a few bytes replaced.
            let mut text = MANIFEST.as_bytes().to_vec();
            for step in data.chunks_exact(2).take(3) {
                let at = usize::from(step[0]) * 7 % text.len();
                text[at] = b' ' + step[1] % 95;
            }
            super::manifest(&text);
        }
    }

    #[test]
    fn random_payloads() {
        for data in inputs(22, 20_000, 60) {
            super::payload(&data);
            super::payload(&[&[1], data.as_slice()].concat());
            super::payload(&[&[2], data.as_slice()].concat());
        }
    }
}
