//! Lines of JSON over standard input and output.

use std::io::{BufRead, Write};
use std::sync::Arc;

use tokio::sync::mpsc;

use super::answer::{Answer, Request};
use super::behaviour::State;

/// Lines that were read and are not looked at yet.
const QUEUE: usize = 256;

/// Serves until its input ends. Calls are answered when they are ready, not in their order.
pub(super) fn serve(state: &Arc<State>) -> Result<(), String> {
    let (sender, mut lines) = mpsc::channel::<String>(QUEUE);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { return };
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .map_err(|error| error.to_string())?;
    runtime.block_on(async {
        while let Some(line) = lines.recv().await {
            let state = Arc::clone(state);
            drop(tokio::spawn(async move {
                if let Some(answer) = answer(&line, &state).await {
                    write(&answer.body);
                }
            }));
        }
    });
    Ok(())
}

async fn answer(line: &str, state: &State) -> Option<Answer> {
    match serde_json::from_str::<Request<'_>>(line) {
        Ok(request) => request.answer(state).await,
        Err(_) => Some(Answer::unreadable()),
    }
}

/// Who does not read its answers any more has no use for the process.
fn write(body: &str) {
    let mut output = std::io::stdout().lock();
    let written = output
        .write_all(body.as_bytes())
        .and_then(|()| output.write_all(b"\n"))
        .and_then(|()| output.flush());
    if written.is_err() {
        std::process::exit(0);
    }
}
