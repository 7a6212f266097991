//! `weir serve` and `weir demo`.

use std::process::ExitCode;

use super::{ServeArguments, complain};
use crate::{demo, observe, run};

pub(super) fn serve(arguments: &ServeArguments) -> ExitCode {
    let source = arguments.config.source();
    let reading = match arguments.load(source) {
        Ok(reading) => reading,
        Err(code) => return code,
    };
    observe::start(&reading.loaded.config.log);
    actix::System::new().block_on(run::run(reading))
}

pub(super) fn demo() -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return complain(&format!("the demo cannot start: {error}")),
    };
    let served = runtime.block_on(demo::serve(tokio::io::stdin(), tokio::io::stdout()));
    // Standard input is read on a thread that cannot be interrupted: do not wait for it.
    runtime.shutdown_background();
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
