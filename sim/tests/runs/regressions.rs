//! Runs that failed once, whole or as shrinking left them, from `sim/tests/regressions/*.toml`, and the plans of `cfg/plans`. Each must pass;
//! with its bug planted, where it names one, it must fail as it did: `cargo test -p matrixkv-sim --features planted --test runs planted`.

use std::{collections::BTreeMap, path::Path, sync::Mutex};

use matrixkv_sim::{
    plan::file::PlanFile,
    run::{Options, Verdict, run},
};

/// All of a folder by name.
fn plans(folder: &str) -> BTreeMap<String, PlanFile> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let files = entries.map(|entry| {
        let path = entry.expect("the folder can be listed").path();
        let file = PlanFile::read(&path).unwrap_or_else(|error| panic!("{error}"));
        (path.file_name().expect("it has a name").to_string_lossy().into_owned(), file)
    });
    files.collect()
}

#[test]
fn what_failed_once_passes() {
    must_pass("tests/regressions");
}

#[test]
fn plans_that_come_with_the_product_pass() {
    must_pass("../cfg/plans");
}

fn must_pass(folder: &str) {
    let plans = plans(folder);
    assert!(!plans.is_empty(), "{folder} is empty");
    let left = Mutex::new(plans.into_iter());
    let work = || {
        while let Some((name, PlanFile { knobs, plan, .. })) = take(&left) {
            let report = run(Options::of_plan(knobs, plan));
            assert_eq!(report.verdict(), Verdict::Passed, "{name}: {report}");
        }
    };
    let workers = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    std::thread::scope(|scope| (0..workers).for_each(|_| drop(scope.spawn(work))));
}

/// The next one.
fn take<T>(left: &Mutex<impl Iterator<Item = T>>) -> Option<T> {
    left.lock().expect("no holder panics").next()
}

#[cfg(feature = "planted")]
#[test]
fn a_planted_bug_still_breaks_what_it_broke() {
    for (name, PlanFile { knobs, plan, bug, breaks, .. }) in plans("tests/regressions") {
        let Some(bug) = bug else { continue };
        let report = run(Options { bug: Some(bug), ..Options::of_plan(knobs, plan) });
        let broken = report.violations.first().map(|violation| violation.invariant);
        assert_eq!(broken, breaks, "{name}: {report}");
    }
}
