//! The closed loop: each connection sends the next call when the last was answered.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::tally::{SharedTally, Tally};
use super::{Plan, Progress, RECONNECT_AFTER};
use crate::failure::Failure;
use crate::line::{Caller, Line};

/// Keeps so many connections busy until the run is over.
pub(super) async fn work(
    plan: Arc<Plan>,
    progress: Arc<Progress>,
    connections: usize,
) -> Result<Tally, String> {
    let tally = SharedTally::new()?;
    let mut callers = JoinSet::new();
    for _ in 0..connections {
        let number = progress.opened.fetch_add(1, Ordering::Relaxed);
        let caller = caller(&plan, number);
        callers.spawn(keep_calling(
            Arc::clone(&plan),
            Arc::clone(&progress),
            caller,
            tally.clone(),
        ));
    }
    callers.join_all().await;
    tally.take()
}

/// Who calls on the connection with this number.
pub(super) fn caller(plan: &Plan, number: usize) -> Caller {
    let turn = number % plan.callers.len().max(1);
    plan.callers.get(turn).cloned().unwrap_or_default()
}

/// One connection: calls, waits, calls again; connects anew when it broke.
async fn keep_calling(
    plan: Arc<Plan>,
    progress: Arc<Progress>,
    caller: Caller,
    tally: SharedTally,
) {
    while !progress.is_over(Instant::now()) && progress.left.load(Ordering::Relaxed) > 0 {
        let opening = Line::open(
            &plan.targets,
            &plan.text,
            plan.sessions,
            &caller,
            plan.answer_limit,
        );
        match opening.await {
            Ok(line) => call_until_broken(&plan, &progress, &tally, line).await,
            Err(_) => {
                tally.write(|tally| tally.bad(Failure::Connect, Duration::ZERO));
                tokio::time::sleep(RECONNECT_AFTER).await;
            }
        }
    }
}

async fn call_until_broken(plan: &Plan, progress: &Progress, tally: &SharedTally, mut line: Line) {
    loop {
        let sent = Instant::now();
        if progress.is_over(sent) || !progress.take() {
            return;
        }
        let verdict = line.call(plan.answer_limit).await;
        let answered = Instant::now();
        match verdict {
            Ok(()) if progress.counts(answered) => {
                tally.write(|tally| tally.good(answered - sent));
            }
            Ok(()) => {}
            Err(failure) => {
                tally.write(|tally| tally.bad(failure, answered - sent));
                if failure.ends_connection() {
                    return tokio::time::sleep(RECONNECT_AFTER).await;
                }
            }
        }
        if line.is_closing() {
            return;
        }
    }
}
