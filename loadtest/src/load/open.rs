//! The open loop: calls have times of their own, and no answer that is late moves them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::closed::caller;
use super::pacer::Pacer;
use super::tally::{SharedTally, Tally};
use super::{Plan, Progress, RECONNECT_AFTER};
use crate::failure::Failure;
use crate::line::{Caller, Line};

/// How many calls may be late. Past this they are counted as never sent: nobody will catch up with them.
const MAX_DUE: usize = 1_000_000;

/// One thread's share of the load.
pub(super) struct Share {
    pub(super) connections: usize,
    pub(super) max_connections: usize,
    /// Calls a second.
    pub(super) rate: f64,
    /// When the first is due after the start.
    pub(super) first: Duration,
}

/// Calls whose time has come.
struct Due {
    /// When each was to be sent, the oldest first.
    times: Mutex<VecDeque<Instant>>,
    /// One permit for each; closed when no more will come.
    waiting: Semaphore,
    /// Connections that were started and do not wait for a call yet.
    starting: AtomicUsize,
}

/// Sends at its rate until the run is over, then waits for the answers that are due.
pub(super) async fn work(
    plan: Arc<Plan>,
    progress: Arc<Progress>,
    share: Share,
) -> Result<Tally, String> {
    let tally = SharedTally::new()?;
    let due = Arc::new(Due::new());
    let mut connections = JoinSet::new();
    let connect = |connections: &mut JoinSet<()>| {
        let number = progress.opened.fetch_add(1, Ordering::Relaxed);
        due.starting.fetch_add(1, Ordering::Relaxed);
        connections.spawn(serve(
            Arc::clone(&plan),
            Arc::clone(&progress),
            caller(&plan, number),
            Arc::clone(&due),
            tally.clone(),
        ));
    };
    for _ in 0..share.connections {
        connect(&mut connections);
    }
    let pacer = Pacer::new().map_err(|error| error.to_string())?;
    let start = progress.begun + share.first;
    for number in 0_u64.. {
        let intended = start + Duration::from_secs_f64(number as f64 / share.rate);
        if progress.is_over(intended) {
            break;
        }
        pacer
            .sleep_until(intended)
            .await
            .map_err(|error| error.to_string())?;
        if !due.push(intended) {
            tally.write(|tally| tally.bad(Failure::Unsent, Duration::ZERO));
        }
        if due.lacks_connections() && connections.len() < share.max_connections {
            connect(&mut connections);
        }
        // Who is late does not sleep, and the connections have to run too.
        if number % 16 == 0 {
            tokio::task::yield_now().await;
        }
    }
    due.waiting.close();
    // Longest a call can take: waiting for its turn until then, then one answer.
    let _ = tokio::time::timeout(plan.answer_limit, async {
        while connections.join_next().await.is_some() {}
    })
    .await;
    let unsent = due.close();
    let _ = tokio::time::timeout(plan.answer_limit, async {
        while connections.join_next().await.is_some() {}
    })
    .await;
    let mut total = tally.take()?;
    total.bad_times(Failure::Unsent, unsent);
    total.bad_times(Failure::Silent, connections.len() as u64);
    Ok(total)
}

/// One connection: takes the oldest call that is due, again and again.
async fn serve(
    plan: Arc<Plan>,
    progress: Arc<Progress>,
    caller: Caller,
    due: Arc<Due>,
    tally: SharedTally,
) {
    let mut line: Option<Line> = None;
    due.starting.fetch_sub(1, Ordering::Relaxed);
    while let Some(intended) = due.next().await {
        let counts = progress.counts(intended);
        let idle = line.take_if(|line| !line.is_closed());
        let mut open = match idle {
            Some(line) => line,
            None => {
                let opening = Line::open(
                    &plan.targets,
                    &plan.text,
                    plan.sessions,
                    &caller,
                    plan.answer_limit,
                );
                match opening.await {
                    Ok(line) => line,
                    Err(_) => {
                        tally.write(|tally| tally.bad(Failure::Connect, Duration::ZERO));
                        tokio::time::sleep(RECONNECT_AFTER).await;
                        continue;
                    }
                }
            }
        };
        let sent = Instant::now();
        let verdict = open.call(plan.answer_limit).await;
        let answered = Instant::now();
        tally.write(|tally| {
            if counts {
                tally.late(sent - intended);
            }
            match verdict {
                Ok(()) if counts => tally.good(answered - intended),
                Ok(()) => {}
                Err(failure) => tally.bad(failure, answered - sent),
            }
        });
        let broken = verdict.is_err_and(Failure::ends_connection);
        if !broken && !open.is_closing() {
            line = Some(open);
        }
    }
}

// === impl Due ===

impl Due {
    fn new() -> Self {
        Self {
            times: Mutex::new(VecDeque::new()),
            waiting: Semaphore::new(0),
            starting: AtomicUsize::new(0),
        }
    }

    /// False if too many wait already.
    fn push(&self, intended: Instant) -> bool {
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        if times.len() >= MAX_DUE {
            return false;
        }
        times.push_back(intended);
        self.waiting.add_permits(1);
        true
    }

    /// The oldest; waits for one. `None` when no more will come.
    async fn next(&self) -> Option<Instant> {
        if let Ok(permit) = self.waiting.acquire().await {
            permit.forget();
        }
        self.times
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front()
    }

    /// Whether calls are due that no connection, free or starting, will take now.
    fn lacks_connections(&self) -> bool {
        self.waiting.available_permits() > self.starting.load(Ordering::Relaxed)
    }

    /// How many were never taken; none is given out any more.
    fn close(&self) -> u64 {
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        let left = times.len() as u64;
        times.clear();
        left
    }
}
