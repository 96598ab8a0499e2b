//! Which key column an index belongs to.

/// The identity of a key column, kept in the encoded index so that it is never used over other keys.
///
/// Where the three come from is the owner's choice: a file's own UUID, a checksum of its keys, their number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Column {
    /// The UUID of the file or table that holds the keys.
    pub uuid: [u8; 16],
    /// A checksum of the keys, by any algorithm that the owner computes the same way every time.
    pub checksum: u32,
    /// How many keys there are.
    pub keys: u64,
}
