//! The engine against a model over its whole API: random steps, with reopenings, kills and power cuts between them.
//! After each step everything is read and compared. `KYRO_MODEL_CASES` sets how many sequences of steps.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod content;
mod machine;
mod reads;
mod versions;
#[path = "../workload/mod.rs"]
mod workload;
mod writes;

use std::collections::BTreeMap;
use std::sync::Mutex;

use machine::Machine;
use proptest::collection;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

/// Cases that run at once.
const RUNNERS: u32 = 8;

/// What is done; a seed says how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Batches in flight together, some with conditions.
    Burst,
    /// One of the calls that write one operation and wait.
    Single,
    Probe,
    Flush,
    Compact,
    BuildIndex,
    Reopen,
    Kill,
    PowerCut,
    /// A kill or a power cut with batches on their way.
    CutInFlight,
    HoldView,
    HoldScan,
    LetGo,
    Subscribe,
    OpenReader,
    Checkpoint,
    Push,
    Ingest,
    Rollback,
    Prune,
}

impl Kind {
    /// Whether it ends a session: what the log still says is then looked at anew.
    fn may_lose_log(self) -> bool {
        matches!(self, Self::Reopen | Self::Kill | Self::PowerCut | Self::CutInFlight)
    }
}

/// Kinds, and how often each comes.
const KINDS: &[(u32, Kind)] = &[
    (16, Kind::Burst),
    (6, Kind::Single),
    (3, Kind::Probe),
    (4, Kind::Flush),
    (2, Kind::Compact),
    (1, Kind::BuildIndex),
    (2, Kind::Reopen),
    (1, Kind::Kill),
    (1, Kind::PowerCut),
    (3, Kind::CutInFlight),
    (3, Kind::HoldView),
    (2, Kind::HoldScan),
    (1, Kind::LetGo),
    (1, Kind::Subscribe),
    (2, Kind::OpenReader),
    (1, Kind::Checkpoint),
    (2, Kind::Push),
    (2, Kind::Ingest),
    (2, Kind::Rollback),
    (1, Kind::Prune),
];

fn step() -> impl Strategy<Value = (Kind, u64)> {
    let kinds = KINDS.iter().map(|&(weight, kind)| (weight, Just(kind).boxed()));
    (proptest::strategy::Union::new_weighted(kinds.collect()), any::<u64>())
}

/// How often each kind of step was taken, and how many operations were acknowledged.
#[derive(Debug, Default)]
struct Done {
    steps: BTreeMap<Kind, usize>,
    operations: usize,
}

#[test]
fn every_step_leaves_what_the_model_says() {
    let variable = std::env::var("KYRO_MODEL_CASES").ok();
    let cases: u32 = variable.and_then(|text| text.parse().ok()).unwrap_or(2000);
    let done = Mutex::new(Done::default());
    // An engine mostly waits for its own threads: more cases at once than there are processors.
    std::thread::scope(|scope| {
        for _ in 0..RUNNERS {
            scope.spawn(|| {
                let cases = cases.div_ceil(RUNNERS);
                let config = Config { cases, failure_persistence: None, ..Config::default() };
                let ran = TestRunner::new(config).run(&collection::vec(step(), 88..184), |steps| {
                    let mut machine = Machine::new();
                    for (number, &(kind, seed)) in steps.iter().enumerate() {
                        machine.step(kind, seed);
                        let is_last = number + 1 == steps.len();
                        machine.check(is_last || kind.may_lose_log() || number % 8 == 0);
                    }
                    let mut done = done.lock().unwrap();
                    done.operations += machine.model.operations;
                    for (kind, _) in &steps {
                        *done.steps.entry(*kind).or_default() += 1;
                    }
                    Ok(())
                });
                ran.unwrap_or_else(|error| panic!("{error}"));
            });
        }
    });
    let Done { steps, operations } = done.into_inner().unwrap();
    println!("{cases} cases, {operations} operations, {steps:?}");
    assert!(operations as u64 > u64::from(cases) * 180, "{operations} operations in {cases} cases");
    assert!(cases < 20 || steps.len() == KINDS.len(), "a kind of step never came: {steps:?}");
}
