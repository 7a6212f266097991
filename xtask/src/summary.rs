//! What ran and how it ended, added up.

use std::process::ExitCode;
use std::time::{Duration, Instant};

/// The account of one run: each gate counts as one, and each test of the test gate as one.
#[derive(Default)]
pub(crate) struct Summary {
    gates: Vec<Gate>,
    tests: Counts,
    skips: Vec<String>,
}

struct Gate {
    name: &'static str,
    outcome: Result<(), String>,
    took: Duration,
}

/// Passed, failed and skipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

// === impl Summary ===

impl Summary {
    /// Runs one gate and keeps how it ended.
    pub(crate) fn run(&mut self, name: &'static str, gate: impl FnOnce() -> Result<(), String>) {
        println!("\n=== {name}");
        let start = Instant::now();
        let outcome = gate();
        if let Err(error) = &outcome {
            eprintln!("{name} failed: {error}");
        }
        self.gates.push(Gate {
            name,
            outcome,
            took: start.elapsed(),
        });
    }

    /// Adds what the tests counted themselves and the reasons of those that could not run. A test that could not run
    /// returns early, so that cargo counts it as passed: it is moved.
    pub(crate) fn add_tests(&mut self, counts: Counts, skips: Vec<String>) {
        let early = skips.len() as u64;
        self.tests = Counts {
            passed: counts.passed.saturating_sub(early),
            failed: counts.failed,
            skipped: counts.skipped + early,
        };
        self.skips = skips;
    }

    fn total(&self) -> Counts {
        let failed_gates = self
            .gates
            .iter()
            .filter(|gate| gate.outcome.is_err())
            .count() as u64;
        Counts {
            passed: self.tests.passed + self.gates.len() as u64 - failed_gates,
            failed: self.tests.failed + failed_gates,
            skipped: self.tests.skipped,
        }
    }

    /// Prints the account; its last line is `N passed, N failed, N skipped`.
    pub(crate) fn print(&self) {
        println!("\n=== summary");
        for gate in &self.gates {
            let verdict = if gate.outcome.is_ok() { "ok" } else { "FAILED" };
            println!(
                "{:<10} {verdict:<7} {:>6.1} s",
                gate.name,
                gate.took.as_secs_f64()
            );
        }
        for skip in &self.skips {
            println!("skipped: {skip}");
        }
        let total = self.total();
        println!(
            "{} passed, {} failed, {} skipped",
            total.passed, total.failed, total.skipped
        );
    }

    /// Success if nothing failed.
    pub(crate) fn exit_code(&self) -> ExitCode {
        if self.total().failed == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

// === impl Counts ===

impl Counts {
    /// Adds one line of `cargo test` if it is a `test result:` line.
    pub(crate) fn add_line(&mut self, line: &str) {
        let Some(result) = line.trim().strip_prefix("test result: ") else {
            return;
        };
        for part in result.split(['.', ';']) {
            let mut words = part.split_whitespace();
            let (Some(number), Some(what)) = (
                words.next().and_then(|word| word.parse::<u64>().ok()),
                words.next(),
            ) else {
                continue;
            };
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.skipped += number,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines_are_added_up() {
        let mut counts = Counts::default();
        counts.add_line("test tests::a ... ok");
        counts.add_line("test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.42s");
        counts.add_line("test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s");
        assert_eq!(
            counts,
            Counts {
                passed: 14,
                failed: 1,
                skipped: 1
            }
        );
    }

    #[test]
    fn a_test_that_returned_early_is_not_called_passed() {
        let mut summary = Summary::default();
        summary.add_tests(
            Counts {
                passed: 5,
                failed: 0,
                skipped: 1,
            },
            vec!["no kit".to_owned()],
        );
        assert_eq!(
            summary.total(),
            Counts {
                passed: 4,
                failed: 0,
                skipped: 2
            }
        );
    }

    #[test]
    fn a_failed_gate_counts_as_a_failure() {
        let mut summary = Summary::default();
        summary.run("one", || Ok(()));
        summary.run("two", || Err("broken".to_owned()));
        assert_eq!(
            summary.total(),
            Counts {
                passed: 1,
                failed: 1,
                skipped: 0
            }
        );
    }
}
