//! Values that say which version of which key they are, so that whatever is read can be checked.

use crate::kv::Entries;
use crate::random::mix;

/// The shortest value that has room for it all.
pub(super) const SHORTEST: usize = 24;

/// Makes and checks values. Version 0 is the value that was loaded; a later version has its number in the second eight bytes
/// and a word of key and version in the last eight.
#[derive(Clone, Copy, Debug)]
pub(super) struct Values {
    entries: Entries,
}

impl Values {
    pub(super) fn new(entries: Entries) -> Self {
        Self { entries }
    }

    /// Makes `value` the version `version` of the value of `key`.
    pub(super) fn fill(self, key: u64, version: u64, value: &mut Vec<u8>) {
        self.entries.fill(key, value);
        if version > 0 {
            let end = value.len();
            value[8..16].copy_from_slice(&version.to_le_bytes());
            value[end - 8..].copy_from_slice(&seal(key, version).to_le_bytes());
        }
    }

    /// The version of a value that is one of `key`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn version(self, key: u64, value: &[u8]) -> Result<u64, String> {
        let word =
            |at: usize| -> Option<u64> { Some(u64::from_le_bytes(value.get(at..at + 8)?.try_into().ok()?)) };
        let wrong =
            || format!("the value of key {key} is {} bytes that are none of its versions", value.len());
        if value.len() != self.entries.value_bytes {
            return Err(wrong());
        }
        // As Entries::fill makes the first two words.
        let first = mix(key.wrapping_add(1));
        let second = mix(first.wrapping_add(1));
        match (word(0), word(8), word(value.len() - 8)) {
            (Some(zeroth), Some(found), _) if zeroth == first && found == second => Ok(0),
            (Some(zeroth), Some(version), Some(last)) if zeroth == first && last == seal(key, version) => {
                Ok(version)
            }
            _ => Err(wrong()),
        }
    }
}

fn seal(key: u64, version: u64) -> u64 {
    mix(key ^ mix(version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_told_apart_and_damage_is_seen() {
        let values = Values::new(Entries { seed: 3, value_bytes: 40 });
        let mut value = Vec::new();
        for version in [0, 1, 2, 77] {
            values.fill(9, version, &mut value);
            assert_eq!(values.version(9, &value), Ok(version));
            assert!(values.version(10, &value).is_err(), "another key");
            assert!(values.version(9, &value[..39]).is_err(), "cut short");
            let mut damaged = value.clone();
            damaged[10] ^= 1;
            assert!(values.version(9, &damaged).is_err(), "{version}");
        }
    }
}
