//! The mixes of YCSB, as its core workloads define them: Cooper and others, "Benchmarking cloud serving systems with YCSB",
//! 2010.

use kyro_engine::Durability;
use serde::{Deserialize, Serialize};

use crate::random::Random;

/// A mix of operations. Keys are drawn by Zipf's law with theta 0.99; in D, the newest are the likeliest.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, clap::ValueEnum,
)]
#[value(rename_all = "UPPER")]
pub enum Workload {
    /// Half reads, half updates.
    A,
    /// 95 % reads, 5 % updates.
    B,
    /// Reads only.
    C,
    /// 95 % reads of what was inserted last, 5 % inserts.
    D,
    /// 95 % scans of 1 to 100 entries, 5 % inserts.
    E,
    /// Half reads, half reads that are followed by an update of the same record.
    F,
}

/// One step of a mix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Read,
    ReadNewest,
    Update,
    Insert,
    Scan,
    ReadThenUpdate,
}

impl Workload {
    /// The mix in words.
    pub fn mix(self) -> &'static str {
        match self {
            Self::A => "50 % reads, 50 % updates",
            Self::B => "95 % reads, 5 % updates",
            Self::C => "reads only",
            Self::D => "95 % reads of the newest, 5 % inserts",
            Self::E => "95 % scans of 1 to 100, 5 % inserts",
            Self::F => "50 % reads, 50 % read, then updated",
        }
    }

    /// Whether it has no writes.
    pub(super) fn only_reads(self) -> bool {
        self == Self::C
    }

    /// The next step.
    pub(super) fn step(self, random: &mut Random) -> Step {
        // The step that the mix is named for, its share in percent, and the other one.
        let (first, share, other) = match self {
            Self::A => (Step::Read, 50, Step::Update),
            Self::B => (Step::Read, 95, Step::Update),
            Self::C => (Step::Read, 100, Step::Read),
            Self::D => (Step::ReadNewest, 95, Step::Insert),
            Self::E => (Step::Scan, 95, Step::Insert),
            Self::F => (Step::Read, 50, Step::ReadThenUpdate),
        };
        if random.below(100) < share { first } else { other }
    }
}

/// What the acknowledgement of a write means.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// It will be on the disk some time: the cost of the data structure.
    Never,
    /// It is on the disk: what a database is for.
    Always,
}

impl Mode {
    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::Always => "always",
        }
    }

    pub(super) fn durability(self) -> Durability {
        match self {
            Self::Never => Durability::Never,
            Self::Always => Durability::Always,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixes_are_as_they_say() {
        let share = |workload: Workload, wanted: &[Step]| {
            let mut random = Random::new(1, "mix");
            let hits = (0..20_000).filter(|_| wanted.contains(&workload.step(&mut random))).count();
            hits as f64 / 20_000.0
        };
        for (workload, step, wanted) in [
            (Workload::A, Step::Update, 0.5),
            (Workload::B, Step::Update, 0.05),
            (Workload::C, Step::Read, 1.0),
            (Workload::D, Step::Insert, 0.05),
            (Workload::D, Step::ReadNewest, 0.95),
            (Workload::E, Step::Scan, 0.95),
            (Workload::F, Step::ReadThenUpdate, 0.5),
        ] {
            let found = share(workload, &[step]);
            assert!((found - wanted).abs() < 0.02, "{workload:?} {step:?}: {found}");
        }
    }
}
