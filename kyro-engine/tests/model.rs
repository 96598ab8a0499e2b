//! The engine against a map, over random steps with reopenings and power cuts. `KYRO_MODEL_CASES` sets how many
//! sequences of steps.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod workload;

use std::sync::atomic::{AtomicUsize, Ordering};

use kyro_engine::storage::SimDisk;
use kyro_engine::{Engine, View};
use proptest::collection;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use workload::{Model, Random, burst, check, check_view, open};

/// Cases that run at once.
const RUNNERS: u32 = 8;

#[derive(Debug, Clone)]
enum Step {
    Burst { seed: u64 },
    Flush,
    Compact,
    BuildIndex,
    Reopen,
    Kill,
    PowerCut { seed: u64 },
    HoldView,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => any::<u64>().prop_map(|seed| Step::Burst { seed }),
        2 => Just(Step::Flush),
        1 => Just(Step::Compact),
        1 => Just(Step::BuildIndex),
        1 => Just(Step::Reopen),
        1 => Just(Step::Kill),
        1 => any::<u64>().prop_map(|seed| Step::PowerCut { seed }),
        2 => Just(Step::HoldView),
    ]
}

/// A fresh start on what `disk` holds after its process is gone; the old engine goes on on the old disk.
fn restart(disk: &mut SimDisk, next: SimDisk, model: &mut Model) -> Engine {
    *disk = next;
    // Operations are counted from the new disk on; everything so far was acknowledged.
    for attempt in &mut model.attempts {
        (attempt.submitted, attempt.acked) = (0, Some(0));
    }
    open(disk).expect("opens")
}

/// Runs the steps of one case; gives how many operations its batches held.
fn run(steps: Vec<Step>) -> Result<usize, TestCaseError> {
    let mut disk = SimDisk::new();
    let mut model = Model::default();
    let mut engine = open(&disk).expect("opens");
    let mut held: Vec<(View, usize)> = Vec::new();
    for step in steps {
        match step {
            Step::Burst { seed } => burst(&disk, &engine, &mut model, &mut Random(seed)),
            Step::Flush => drop(engine.flush().expect("flushes")),
            Step::Compact => {
                let report = engine.compact().expect("compacts");
                let live = model.state(model.attempts.len()).values.len() as u64;
                prop_assert_eq!(report.keys_retained, live);
                prop_assert_eq!(engine.stats().keys_at_most, live);
            }
            Step::BuildIndex => {
                let live = model.state(model.attempts.len()).values.len() as u64;
                prop_assert_eq!(engine.build_index().expect("builds").keys, live);
            }
            Step::Reopen => {
                engine.close().expect("closes");
                engine = open(&disk).expect("reopens");
            }
            Step::Kill => {
                let next = disk.restart();
                engine = restart(&mut disk, next, &mut model);
            }
            Step::PowerCut { seed } => {
                let next = disk.crash(seed);
                engine = restart(&mut disk, next, &mut model);
            }
            Step::HoldView => held.push((engine.view().expect("a view"), model.attempts.len())),
        }
        let all = model.attempts.len();
        check(&engine, &model, all, all);
        prop_assert_eq!(engine.stats().mispredicts, 0);
        for (view, batches) in &held {
            check_view(view, &model, *batches);
        }
    }
    Ok(model.attempts.iter().map(|attempt| attempt.ops.len()).sum())
}

#[test]
fn every_step_leaves_what_the_model_says() {
    let variable = std::env::var("KYRO_MODEL_CASES").ok();
    let cases: u32 = variable.and_then(|text| text.parse().ok()).unwrap_or(2000);
    let operations = AtomicUsize::new(0);
    // An engine mostly waits for its own threads: more cases at once than there are processors.
    std::thread::scope(|scope| {
        for _ in 0..RUNNERS {
            scope.spawn(|| {
                let cases = cases.div_ceil(RUNNERS);
                let config = Config { cases, failure_persistence: None, ..Config::default() };
                let done = TestRunner::new(config).run(&collection::vec(step(), 48..104), |steps| {
                    operations.fetch_add(run(steps)?, Ordering::Relaxed);
                    Ok(())
                });
                done.unwrap_or_else(|error| panic!("{error}"));
            });
        }
    });
    let operations = operations.into_inner();
    println!("{cases} cases, {operations} operations");
    assert!(operations as u64 > u64::from(cases) * 180, "{operations} operations in {cases} cases");
}
