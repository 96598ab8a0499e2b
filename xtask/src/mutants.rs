//! `cargo xtask mutants`: each seeded fault is built and must fail the test that is named beside it.
//!
//! A fault is an expression under `cfg(mutant = "…")` in the product's own source. A wrapper around the compiler turns
//! it on for the one crate that has it, and only that crate and its test are built again for the next fault.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::{Outcome, tree};

/// A seeded fault and the test that a build with it must fail.
struct Mutant {
    name: &'static str,
    /// What the build does wrong.
    fault: &'static str,
    package: &'static str,
    /// The integration test's binary and its function.
    binary: &'static str,
    test: &'static str,
}

const fn mutant(
    name: &'static str,
    fault: &'static str,
    package: &'static str,
    binary: &'static str,
    test: &'static str,
) -> Mutant {
    Mutant { name, fault, package, binary, test }
}

const WAL: &str = "kyro-wal";
const ENGINE: &str = "kyro-engine";
const LOG_CUT: &str = "no_power_cut_loses_or_invents_a_frame";
const ONE_FLUSH: &str = "a_flush_cut_anywhere_loses_nothing";
const FAULT: &str = "no_fault_loses_or_invents_a_frame";
const RETRY: &str = "a_refused_group_does_not_come_back_with_its_retry";
const TORN: &str = "it_is_cut_at_whichever_byte_it_was_torn";
const STALE: &str = "stale_frames_behind_the_tail_prove_nothing";
const REFUSED: &str = "a_refused_frame_in_the_place_of_its_retry_is_damage";
const SYNC: &str = "after_a_failed_sync_the_tail_is_written_again";
const MODEL: &str = "every_step_leaves_what_the_model_says";
const ENGINE_CUT: &str = "nothing_acknowledged_is_lost_at_any_cut";

/// Where the faults are built, and what tells the wrapper which one.
const TARGET: &str = "target/mutants";
const FAULT_VARIABLE: &str = "KYRO_MUTANT";

/// The fourteen that the design asks for, then others.
const MUTANTS: &[Mutant] = &[
    mutant("skip_fdatasync", "a sync returns without one", WAL, "crash", LOG_CUT),
    mutant("acknowledge_early", "a write is answered before its sync", ENGINE, "crash", ENGINE_CUT),
    mutant("skip_directory_sync", "a segment's name is not made durable", WAL, "crash", LOG_CUT),
    mutant("retry_failed_sync", "a sync that failed is tried again", WAL, "faults", SYNC),
    mutant("ignore_payload_checksum", "a payload is not checked", WAL, "damage", "every_bit"),
    mutant("ignore_chain", "a frame need not follow the one before it", WAL, "faults", REFUSED),
    mutant("append_after_torn_tail", "writing goes on behind a torn frame", WAL, "torn_tail", TORN),
    mutant(
        "drop_wal_before_run",
        "segments go before the run that covers them is named",
        ENGINE,
        "publishing",
        ONE_FLUSH,
    ),
    mutant("non_atomic_manifest", "the manifest is overwritten in place", ENGINE, "publishing", ONE_FLUSH),
    mutant("reuse_offset", "offsets of a cut tail are given out again", WAL, "crash", LOG_CUT),
    mutant("split_batch", "a batch is two frames", ENGINE, "crash", ENGINE_CUT),
    mutant(
        "trust_stale_frame",
        "checksums do not depend on database, segment and epoch",
        WAL,
        "torn_tail",
        STALE,
    ),
    mutant(
        "publish_before_durable",
        "a write is visible before its sync",
        ENGINE,
        "faults",
        "a_failed_sync_ends_writing_until_a_restart_and_reads_go_on",
    ),
    mutant(
        "publish_index_unverified",
        "an index answers that no key was looked up through",
        ENGINE,
        "publishing",
        "an_index_that_answers_wrongly_is_not_published",
    ),
    mutant(
        "trust_manifest_read",
        "files go that an older manifest on the disk may name",
        ENGINE,
        "publishing",
        "a_run_goes_only_when_no_manifest_on_the_disk_can_name_it",
    ),
    mutant("same_attempt", "a group after a failed one looks like the failed one", WAL, "faults", RETRY),
    mutant("leave_residue", "what a failed write left is not overwritten", WAL, "faults", FAULT),
    mutant("trust_visible_footer", "a footer that was read is taken to be durable", WAL, "faults", FAULT),
    mutant("trust_visible_name", "a name that was read is taken to be durable", WAL, "faults", FAULT),
    mutant("trust_page_cache", "the tail is served as read, without writing it again", WAL, "faults", FAULT),
    mutant("stale_offset_is_present", "a condition on an old offset holds", ENGINE, "model", MODEL),
    mutant(
        "cut_before_successor",
        "a clean close cuts its segment before another is there",
        WAL,
        "crash",
        LOG_CUT,
    ),
];

/// Builds and tests every mutant, or those whose name holds one of the arguments, and prints the table.
pub(crate) fn run(arguments: &[String]) -> Outcome {
    let wanted =
        |mutant: &&Mutant| arguments.is_empty() || arguments.iter().any(|part| mutant.name.contains(part));
    let chosen: Vec<&Mutant> = MUTANTS.iter().filter(wanted).collect();
    if chosen.is_empty() {
        return Err(format!("no mutant has one of {arguments:?} in its name").into());
    }
    let wrappers = tree::root().join(TARGET).join("wrappers");
    fs::create_dir_all(&wrappers)?;
    let mut survivors = Vec::new();
    for mutant in chosen {
        let began = Instant::now();
        let verdict = examine(mutant, &wrappers)?;
        println!(
            "| {} | {} | {} {}: {} | {verdict} in {} s |",
            mutant.name,
            mutant.fault,
            mutant.package,
            mutant.binary,
            mutant.test,
            began.elapsed().as_secs()
        );
        if verdict != "killed" {
            survivors.push(format!("{}: {verdict}", mutant.name));
        }
    }
    if survivors.is_empty() { Ok(()) } else { Err(survivors.join("; ").into()) }
}

/// Runs the mutant's test: it must be built, be run, and fail by its own assertion.
fn examine(mutant: &Mutant, wrappers: &Path) -> std::io::Result<&'static str> {
    forget(mutant.package)?;
    let mut cargo = test(mutant);
    cargo.env("RUSTC_WORKSPACE_WRAPPER", wrapper(mutant.package, wrappers)?).env(FAULT_VARIABLE, mutant.name);
    let output = cargo.output();
    // A crate with a fault must not be there for whoever builds next.
    forget(mutant.package)?;
    Ok(verdict(&String::from_utf8_lossy(&output?.stdout), mutant.test))
}

/// Removes what was built of a crate: Cargo does not know that its wrapper now does something else.
fn forget(package: &str) -> std::io::Result<()> {
    let status = tree::cargo().args(["clean", "-q", "-p", package, "--target-dir", TARGET]).status()?;
    if status.success() { Ok(()) } else { Err(std::io::Error::other("cargo clean failed")) }
}

/// What the test's own lines say; a build that failed prints none.
fn verdict(stdout: &str, test: &str) -> &'static str {
    let line =
        |outcome: &str| stdout.lines().any(|line| line.starts_with(&format!("test {test} ... {outcome}")));
    match (line("FAILED"), line("ok")) {
        (true, _) => "killed",
        (_, true) => "survived",
        (false, false) => "not run",
    }
}

fn test(mutant: &Mutant) -> Command {
    let mut cargo = tree::cargo();
    // Only whether the test fails is asked: no debugger will read these builds.
    cargo.env("CARGO_PROFILE_DEV_DEBUG", "0").env("CARGO_INCREMENTAL", "0");
    cargo.args(["test", "-p", mutant.package, "--test", mutant.binary, "--target-dir", TARGET]);
    cargo.args(["--", "--exact", mutant.test]);
    cargo
}

/// A program that compiles this crate with the fault turned on, and every other as it is. Cargo tells builds apart by
/// its path: faults of two crates never meet.
fn wrapper(package: &str, wrappers: &Path) -> std::io::Result<PathBuf> {
    let path = wrappers.join(package);
    let script = format!(
        "#!/bin/sh\n\
         if [ \"$CARGO_PKG_NAME\" = {package} ]; then set -- \"$@\" --cfg \"mutant=\\\"${FAULT_VARIABLE}\\\"\"; fi\n\
         exec \"$@\"\n"
    );
    fs::write(&path, script)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Tree;

    #[test]
    fn only_a_test_that_ran_and_failed_kills() {
        assert_eq!(verdict("test a ... FAILED\n", "a"), "killed");
        assert_eq!(verdict("test a ... ok\n", "a"), "survived");
        assert_eq!(verdict("test ab ... FAILED\n", "a"), "not run");
        assert_eq!(verdict("", "a"), "not run");
    }

    /// A fault without a row is never built; a row without a fault or a test is never killed.
    #[test]
    fn the_table_lists_the_faults_in_the_source_and_tests_that_are_there() {
        let tree = Tree::read(&tree::root()).unwrap();
        let source =
            |path: &str| tree.files.iter().find(|file| file.path == path).and_then(|file| file.text.clone());
        for mutant in MUTANTS {
            let path = format!("{}/tests/{}", mutant.package, mutant.binary);
            let text = [format!("{path}.rs"), format!("{path}/main.rs")].iter().find_map(|path| source(path));
            let text = text.unwrap_or_else(|| panic!("{path} is missing"));
            assert!(text.contains(&format!("fn {}(", mutant.test)), "{path} has no {}", mutant.test);
        }
        let mut seeded = Vec::new();
        for file in tree.files.iter().filter(|file| file.is_rust() && file.path.contains("/src/")) {
            if file.path.starts_with("xtask/") {
                continue;
            }
            for piece in file.text.as_deref().unwrap_or_default().split("mutant = \"").skip(1) {
                seeded.extend(piece.split('"').next().map(str::to_owned));
            }
        }
        seeded.sort();
        seeded.dedup();
        let mut listed: Vec<_> = MUTANTS.iter().map(|mutant| mutant.name.to_owned()).collect();
        listed.sort();
        assert_eq!(seeded, listed);
    }
}
