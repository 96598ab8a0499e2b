//! Faults: which operation fails, how, and for how long.

use std::io;

/// A fault at an operation of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The operation at which it is armed. It fires at the first operation from there on that can fail in this way.
    pub at: u64,
    /// How the operation fails.
    pub kind: FaultKind,
    /// Whether every later operation that can fail in this way does too.
    pub sticky: bool,
}

/// How an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FaultKind {
    /// `EIO`. A write may have stored a part; a sync may have stored a part of what it covered.
    Eio,
    /// `ENOSPC`, with nothing stored.
    NoSpace,
    /// A write stores a part and then runs out of space.
    ShortWrite,
    /// `EIO` of a sync, of a file or a directory.
    SyncError,
    /// `EIO` of a read.
    ReadError,
    /// The machine is off: this operation and every later one fails and does nothing, sticky or not.
    PowerCut,
}

/// What an operation does, as far as faults are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Changes names or attributes, or allocates.
    Change,
    /// Writes bytes.
    Write,
    /// Makes durable.
    Sync,
    /// Reads names, attributes or bytes.
    Read,
    /// Changes something, and never needs space.
    Remove,
}

impl FaultKind {
    pub(super) fn applies_to(self, kind: Kind) -> bool {
        match self {
            Self::Eio | Self::PowerCut => true,
            Self::NoSpace => matches!(kind, Kind::Change | Kind::Write),
            Self::ShortWrite => kind == Kind::Write,
            Self::SyncError => kind == Kind::Sync,
            Self::ReadError => kind == Kind::Read,
        }
    }

    pub(super) fn error(self) -> io::Error {
        const EIO: i32 = 5;
        const ENOSPC: i32 = 28;
        match self {
            Self::Eio | Self::SyncError | Self::ReadError => io::Error::from_raw_os_error(EIO),
            Self::NoSpace | Self::ShortWrite => io::Error::from_raw_os_error(ENOSPC),
            Self::PowerCut => io::Error::other("the simulated machine is off"),
        }
    }
}
