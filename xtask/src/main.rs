//! The project's own chores.
//!
//! `cargo xtask test` is the one test command: it installs what the tests need, runs every check and ends with the line
//! `N passed, N failed, N skipped`. `cargo xtask check` is the same without the tests, `cargo xtask kit` only installs.
//! `cargo xtask loadtest compare` builds for release and measures.

#![expect(
    clippy::print_stdout,
    reason = "a command line tool reports on its standard output"
)]

mod gates;
mod kit;
mod licences;
mod measure;
mod process;
mod summary;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::summary::Summary;

/// The project's own chores.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Installs what the tests need and runs everything the build machine runs.
    Test {
        /// Passed on to `cargo test`, for example a test's name. The other checks are left out then.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Runs formatting, licences, clippy and documentation, but no tests.
    Check,
    /// Only installs what the tests need, into `target/test-kit`.
    Kit,
    /// Builds weir and its load generator for release and runs the generator, for example `loadtest compare`.
    Loadtest {
        /// Passed on to `weir-loadtest`; see docs/loadtest.md.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

fn main() -> ExitCode {
    let chore = Arguments::parse().chore;
    let place = match Place::find() {
        Ok(place) => place,
        Err(error) => {
            eprintln!("cannot find the workspace: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut summary = Summary::default();
    match chore {
        Chore::Loadtest { arguments } => return measure::run(&place, &arguments),
        Chore::Kit => summary.run("kit", || kit::install(&place)),
        Chore::Check => gates::check(&place, &mut summary),
        Chore::Test { arguments } => {
            if arguments.is_empty() {
                gates::check(&place, &mut summary);
            }
            summary.run("kit", || kit::install(&place));
            gates::test(&place, &arguments, &mut summary);
        }
    }
    summary.print();
    summary.exit_code()
}

/// Where the project and what it builds are.
pub(crate) struct Place {
    /// The folder of the workspace's `Cargo.toml`.
    pub(crate) root: PathBuf,
    /// Cargo's target folder.
    pub(crate) target: PathBuf,
}

impl Place {
    fn find() -> Result<Self, String> {
        let text = process::output(process::cargo(&[
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
        ]))?;
        let metadata: serde_json::Value =
            serde_json::from_str(&text).map_err(|error| error.to_string())?;
        let folder = |key: &str| {
            metadata
                .get(key)
                .and_then(|value| value.as_str())
                .map(PathBuf::from)
                .ok_or_else(|| format!("cargo metadata gave no {key}"))
        };
        Ok(Self {
            root: folder("workspace_root")?,
            target: folder("target_directory")?,
        })
    }

    /// Where the tests find their peers.
    pub(crate) fn kit(&self) -> PathBuf {
        self.target.join("test-kit")
    }
}
