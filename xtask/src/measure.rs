//! Measuring what was just built.

use std::process::{Command, ExitCode};

use crate::Place;
use crate::process;

/// Builds weir and its load generator for release, then runs the generator with these arguments. Its exit code is ours.
pub(crate) fn run(place: &Place, arguments: &[String]) -> ExitCode {
    let packages = ["-p", "weir", "-p", "weir-loadtest"];
    let mut build = process::cargo(&["build", "--release", "--locked"]);
    build.args(packages).current_dir(&place.root);
    if let Err(error) = process::run(build) {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    let program = place.target.join("release/weir-loadtest");
    let mut command = Command::new(&program);
    command.args(arguments).current_dir(&place.root);
    match command.status() {
        Ok(status) => {
            let code = status.code().and_then(|code| u8::try_from(code).ok());
            code.map_or(ExitCode::FAILURE, ExitCode::from)
        }
        Err(error) => {
            eprintln!("{}: {error}", program.display());
            ExitCode::FAILURE
        }
    }
}
