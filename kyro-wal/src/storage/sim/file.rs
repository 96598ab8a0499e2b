//! One file: what is on the platter, what the page cache shows, and what lies between.

use std::sync::Arc;

use super::choice::{Choice, Outcome, Random};
use super::image::{Image, SECTOR};

/// A change that no successful sync covers yet.
#[derive(Clone, Debug)]
pub(super) struct Change {
    /// Number of the operation.
    pub(super) operation: u64,
    pub(super) what: What,
}

#[derive(Clone, Debug)]
pub(super) enum What {
    Write { offset: u64, bytes: Arc<[u8]> },
    Zeros { len: u64 },
    SetLen(u64),
}

#[derive(Clone, Debug, Default)]
pub(super) struct Inode {
    /// On the platter.
    pub(super) durable: Image,
    /// The page cache when it was last believed clean. Differs from `durable` only where a failed sync lost something.
    clean: Image,
    /// What readers see: `clean` with the changes applied.
    pub(super) live: Image,
    changes: Vec<Change>,
    /// Whether a sync has failed: from then on the platter may differ from what was believed clean.
    lost_some: bool,
}

impl Inode {
    pub(super) fn change(&mut self, operation: u64, what: What) {
        apply(&mut self.live, &what);
        self.changes.push(Change { operation, what });
    }

    pub(super) fn is_synced(&self) -> bool {
        self.changes.is_empty()
    }

    /// The operations of the oldest and the newest change.
    pub(super) fn span(&self) -> Option<(u64, u64)> {
        Some((self.changes.first()?.operation, self.changes.last()?.operation))
    }

    /// A sync that succeeded: every change since the page cache was last believed clean is on the platter.
    pub(super) fn sync(&mut self) {
        if self.lost_some {
            self.store(&mut Choice::seeded(1));
        } else {
            self.durable = self.live.clone();
        }
        self.clean = self.live.clone();
        self.changes.clear();
    }

    /// A sync that failed: a part of what it covered is stored, and the rest never will be, although it can be read.
    pub(super) fn fail_sync(&mut self, seed: u64) {
        let mut some = Choice::seeded(seed);
        if let Some((first, last)) = self.span() {
            some.set_span(first, last);
        }
        self.store(&mut some);
        self.clean = self.live.clone();
        self.changes.clear();
        self.lost_some = true;
    }

    /// What a power cut leaves.
    pub(super) fn crashed(&self, choice: &mut Choice) -> Self {
        let durable = if self.changes.is_empty() {
            self.durable.clone()
        } else {
            let mut crashed = self.clone();
            crashed.store(choice);
            crashed.durable
        };
        Self { clean: durable.clone(), live: durable.clone(), durable, changes: Vec::new(), lost_some: false }
    }

    /// Bytes changed from outside, at once on the platter and in the cache.
    pub(super) fn damage(&mut self, change: impl Fn(&mut Image)) {
        change(&mut self.durable);
        change(&mut self.clean);
        change(&mut self.live);
    }

    /// Clean pages are read from the platter again.
    pub(super) fn drop_caches(&mut self) {
        let mut clean = self.durable.clone();
        for change in &self.changes {
            for sector in touched(&change.what, &self.live) {
                clean.set_sector(sector, &self.clean.sector(sector));
            }
        }
        clean.declare_len(self.clean.len());
        self.clean = clean.clone();
        self.live = clean;
        for change in &self.changes {
            apply(&mut self.live, &change.what);
        }
    }

    /// Brings to the platter what the choice lets arrive.
    fn store(&mut self, choice: &mut Choice) {
        let mut cache = self.clean.clone();
        let mut len = self.durable.len();
        for change in &self.changes {
            let before = cache.len();
            apply(&mut cache, &change.what);
            for sector in touched(&change.what, &cache) {
                let new = cache.sector(sector);
                let old = self.durable.sector(sector);
                if old != new {
                    let outcome = choice.sector(change.operation);
                    self.durable.set_sector(sector, &merged(&old, &new, outcome));
                }
            }
            if cache.len() != before && choice.arrives(change.operation) {
                len = cache.len();
                if len < before {
                    self.durable.set_len(len);
                }
            }
        }
        self.durable.set_len(len);
    }
}

fn apply(image: &mut Image, what: &What) {
    match what {
        What::Write { offset, bytes } => image.write(bytes, *offset),
        What::Zeros { len } => {
            let keep = image.len().max(*len);
            let holds = (0..len.div_ceil(SECTOR as u64)).any(|sector| image.holds(sector));
            if holds {
                image.write(&vec![0; *len as usize], 0);
            }
            image.declare_len(keep);
        }
        What::SetLen(len) => image.set_len(*len),
    }
}

/// The sectors a change may have altered. Zeros over what never held anything alter nothing but the length.
fn touched(what: &What, cache: &Image) -> Box<dyn Iterator<Item = u64>> {
    let sector = SECTOR as u64;
    match what {
        What::Write { offset, bytes } => {
            Box::new(offset / sector..(offset + bytes.len() as u64).div_ceil(sector))
        }
        What::Zeros { len } => {
            let cache = cache.clone();
            Box::new((0..len.div_ceil(sector)).filter(move |&sector| cache.holds(sector)))
        }
        What::SetLen(_) => Box::new(std::iter::empty()),
    }
}

fn merged(old: &[u8; SECTOR], new: &[u8; SECTOR], outcome: Outcome) -> [u8; SECTOR] {
    let mut sector = *old;
    match outcome {
        Outcome::Lost => {}
        Outcome::Kept => sector = *new,
        Outcome::Torn(bytes) => sector[..bytes].copy_from_slice(&new[..bytes]),
        Outcome::Garbage(seed) => {
            let mut random = Random::new(seed);
            for (byte, new) in sector.iter_mut().zip(new) {
                if byte != new {
                    *byte = random.next() as u8;
                }
            }
        }
    }
    sector
}
