//! What can go wrong, by verb.

use thiserror::Error;

/// Why an index could not be built.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BuildError {
    /// The keys are not strictly increasing. Sort them and drop duplicates first.
    #[error(
        "key {key} at position {position} is not greater than the key before it, {previous}: keys must be sorted and distinct"
    )]
    NotIncreasing {
        /// The position of the offending key.
        position: usize,
        /// The key before it.
        previous: u64,
        /// The offending key.
        key: u64,
    },
    /// There are more keys than one index can number.
    #[error("{keys} keys are more than one index holds, {most}: split the column")]
    TooManyKeys {
        /// How many keys there are.
        keys: u64,
        /// How many there may be.
        most: u64,
    },
    /// The window asked for is none of those that there are.
    #[error("a window of {window} keys is not a multiple of 8 from 16 to 64: leave it out to have it chosen")]
    Window {
        /// The window asked for, in keys.
        window: usize,
    },
    /// The finished index failed its own verification: a defect of this crate. Nothing was returned.
    #[error("the finished index does not verify, which is a defect of kyro-rmi; please report it")]
    Verify(#[from] VerifyError),
}

/// Why encoded bytes could not be opened as an index.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum OpenError {
    /// The bytes do not begin with the magic of an index.
    #[error("not a kyro-rmi index: the first bytes are {found:02x?}")]
    NotAnIndex {
        /// The first bytes, as many as there are, at most 8.
        found: [u8; 8],
    },
    /// A newer version of this crate wrote the index.
    #[error(
        "the index has format version {found}, and this kyro-rmi reads up to version {supported}: upgrade it, or rebuild the index from the keys"
    )]
    NewerFormat {
        /// The version of the bytes.
        found: u32,
        /// The newest version that this code reads.
        supported: u32,
    },
    /// The checksum algorithm is not one that this code knows.
    #[error(
        "the index uses checksum algorithm {found}, unknown to this kyro-rmi: rebuild the index from the keys"
    )]
    Checksum {
        /// The algorithm's id in the header.
        found: u32,
    },
    /// The index was built over another column.
    #[error(
        "the index belongs to another key column (has {found:?}, wanted {wanted:?}): rebuild it from the keys"
    )]
    OtherColumn {
        /// The column in the header.
        found: crate::Column,
        /// The column the caller has.
        wanted: crate::Column,
    },
    /// The bytes are damaged.
    #[error("the index is damaged at byte {offset}: {reason}; rebuild it from the keys")]
    Corrupt {
        /// Where, from the start of the encoded bytes.
        offset: u64,
        /// What is wrong there.
        reason: &'static str,
    },
}

/// Which key an index answers wrongly.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum VerifyError {
    /// The number of keys is not that of the column the index was built over.
    #[error("the index is over {expected} keys, and {found} were given")]
    Keys {
        /// How many keys the index is over.
        expected: u64,
        /// How many were given.
        found: u64,
    },
    /// The lower bound of a key is outside the window predicted for it.
    #[error("the lower bound of key {key} is {position}, outside its window {start}..={end}")]
    OutsideWindow {
        /// The key.
        key: u64,
        /// Its lower bound.
        position: usize,
        /// Where its window starts.
        start: usize,
        /// Where its window ends.
        end: usize,
    },
    /// The models' records do not cover the positions from the first to the last without gap or overlap.
    #[error("the records cover positions up to {covered}, and the next one starts at {start}")]
    Gap {
        /// Where the records so far end.
        covered: u64,
        /// Where the next record starts.
        start: u64,
    },
}
