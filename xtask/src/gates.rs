//! The checks, in the order of what they cost.

use std::time::Duration;

use crate::summary::{Counts, Summary};
use crate::{Place, licences, process};

/// Longest time of one compiling gate on a cold, slow machine.
const COMPILE_LIMIT: Duration = Duration::from_secs(20 * 60);

/// Longest time of building and running every test.
const TEST_LIMIT: Duration = Duration::from_secs(30 * 60);

/// Formatting, licences, clippy and documentation.
pub(crate) fn check(place: &Place, summary: &mut Summary) {
    summary.run("fmt", || {
        process::run(process::cargo(&["fmt", "--all", "--", "--check"]))
    });
    summary.run("licences", || licences::check(place));
    summary.run("clippy", || {
        let mut command = process::bounded(
            COMPILE_LIMIT,
            "cargo",
            &[
                "clippy",
                "--workspace",
                "--all-targets",
                "--locked",
                "--",
                "-D",
                "warnings",
            ],
        );
        command.current_dir(&place.root);
        process::run(command)
    });
    summary.run("doc", || {
        let mut command = process::bounded(
            COMPILE_LIMIT,
            "cargo",
            &["doc", "--workspace", "--no-deps", "--locked"],
        );
        command
            .current_dir(&place.root)
            .env("RUSTDOCFLAGS", "-D warnings");
        process::run(command)
    });
}

/// Every test of the workspace, or those that `arguments` choose.
pub(crate) fn test(place: &Place, arguments: &[String], summary: &mut Summary) {
    let mut counts = Counts::default();
    let skip_file = place.target.join("skipped-tests.txt");
    summary.run("test", || {
        std::fs::write(&skip_file, "")
            .map_err(|error| format!("{}: {error}", skip_file.display()))?;
        let mut command = process::bounded(
            TEST_LIMIT,
            "cargo",
            &["test", "--workspace", "--locked", "--no-fail-fast"],
        );
        command
            .args(arguments)
            .current_dir(&place.root)
            .env("WEIR_TEST_KIT", place.kit())
            .env("WEIR_TEST_SKIPS", &skip_file);
        process::lines(command, |line| {
            println!("{line}");
            counts.add_line(line);
        })
    });
    let skips = std::fs::read_to_string(&skip_file).unwrap_or_default();
    summary.add_tests(counts, skips.lines().map(str::to_owned).collect());
}
