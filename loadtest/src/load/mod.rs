//! Keeps connections busy for a while and measures.
//!
//! | loop | sends | latency counts from | tells |
//! |---|---|---|---|
//! | [`closed`] | when the last answer is there | the sending | what the server can do at most |
//! | [`open`] | at a fixed rate, whatever the answers do | when it should have been sent | what callers feel at that rate |
//!
//! A closed loop stops asking while the server stalls, so it hides stalls (coordinated omission). The open loop cannot: a call
//! that had to wait for a free connection has waited since its time came.

mod closed;
mod open;
mod pacer;
mod tally;

use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::call::CallText;
use crate::line::Caller;
use crate::measurement::{Cost, Measurement};
use crate::process::Usage;
use crate::target::Target;

use self::tally::Tally;

/// Longest wait for one answer, unless a plan says otherwise.
pub(crate) const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// Wait before a broken connection is made anew.
const RECONNECT_AFTER: Duration = Duration::from_millis(20);

/// How often it is asked whether a run is over.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// How calls follow each other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Pace {
    /// Each connection waits for its answer.
    Closed,
    /// So many calls a second, together.
    Open {
        /// Calls a second.
        rate: f64,
        /// When all connections wait for an answer, more are opened, up to this.
        max_connections: usize,
    },
}

/// What to do.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// What is called, in turns. All have one address.
    pub(crate) targets: Vec<Target>,
    pub(crate) pace: Pace,
    pub(crate) connections: usize,
    /// Legacy sessions of each connection at each target.
    pub(crate) sessions: usize,
    pub(crate) threads: usize,
    pub(crate) warmup: Duration,
    pub(crate) measured: Duration,
    /// Ends when so many calls were sent, if that is earlier. Closed loop only.
    pub(crate) calls: Option<u64>,
    pub(crate) answer_limit: Duration,
    pub(crate) text: CallText,
    /// Who calls: connection by connection in turns. Never empty.
    pub(crate) callers: Vec<Caller>,
    /// The process under load, with everything below it.
    pub(crate) pid: Option<u32>,
    /// More processes whose cost is of interest, each alone.
    pub(crate) others: Vec<u32>,
}

/// A load that runs on threads of its own.
pub(crate) struct Running {
    progress: Arc<Progress>,
    thread: JoinHandle<Result<Measurement, String>>,
}

/// When a run begins to count and when it ends.
struct Progress {
    begun: Instant,
    from: Instant,
    until: Instant,
    /// When it was ended early.
    stopped: OnceLock<Instant>,
    /// Calls that may still be sent.
    left: AtomicI64,
    /// Connections so far: numbers them.
    opened: AtomicUsize,
}

// === impl Plan ===

impl Plan {
    /// Runs to the end. Takes its warm-up and measured time and at most the answer limit more.
    pub(crate) fn run(self) -> Result<Measurement, String> {
        self.start().finish()
    }

    /// Starts, for who does something else at the same time.
    pub(crate) fn start(self) -> Running {
        let begun = Instant::now();
        let from = begun + self.warmup;
        let calls = self.calls.unwrap_or(u64::MAX);
        let progress = Arc::new(Progress {
            begun,
            from,
            until: from + self.measured,
            stopped: OnceLock::new(),
            left: AtomicI64::new(i64::try_from(calls).unwrap_or(i64::MAX)),
            opened: AtomicUsize::new(0),
        });
        let shared = Arc::clone(&progress);
        let thread = std::thread::spawn(move || run(&Arc::new(self), &shared));
        Running { progress, thread }
    }
}

// === impl Running ===

impl Running {
    /// Ends it now and waits for the answers that are due.
    pub(crate) fn stop(self) -> Result<Measurement, String> {
        self.progress.stop();
        self.finish()
    }

    /// Waits for its end.
    pub(crate) fn finish(self) -> Result<Measurement, String> {
        self.thread
            .join()
            .map_err(|_| "the load generator panicked")?
    }
}

// === impl Progress ===

impl Progress {
    fn stop(&self) {
        let _ = self.stopped.set(Instant::now());
    }

    /// Whether no more calls are sent.
    fn is_over(&self, now: Instant) -> bool {
        now >= self.until || self.stopped.get().is_some()
    }

    fn counts(&self, at: Instant) -> bool {
        at >= self.from && at < self.until
    }

    /// Whether one more call may be sent.
    fn take(&self) -> bool {
        self.left.load(Ordering::Relaxed) > 0 && self.left.fetch_sub(1, Ordering::Relaxed) > 0
    }

    /// How long was measured.
    fn elapsed(&self) -> Duration {
        let end = self.stopped.get().copied().unwrap_or(self.until);
        end.min(self.until).saturating_duration_since(self.from)
    }
}

fn run(plan: &Arc<Plan>, progress: &Arc<Progress>) -> Result<Measurement, String> {
    let threads = plan.threads.clamp(1, plan.connections.max(1));
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|thread| scope.spawn(move || work(plan, progress, thread, threads)))
            .collect();
        let before = wait_and_look(plan, progress, progress.from);
        while !workers
            .iter()
            .all(std::thread::ScopedJoinHandle::is_finished)
            && !progress.is_over(Instant::now())
        {
            std::thread::sleep(LOOK_EVERY);
        }
        // Ended by its number of calls, or because nothing could be sent: what was measured ends here too.
        if Instant::now() < progress.until {
            progress.stop();
        }
        let after = look(plan);
        let mut total = Tally::new()?;
        for worker in workers {
            total.add(worker.join().map_err(|_| "a generator thread panicked")??)?;
        }
        let (before, after) = (before?, after?);
        let mut costs = before
            .into_iter()
            .zip(after)
            .map(|(before, after)| Cost::between(before, after));
        let cost = plan.pid.and_then(|_| costs.next());
        Ok(Measurement {
            pace: plan.pace,
            connections: progress.opened.load(Ordering::Relaxed),
            elapsed: progress.elapsed(),
            latency: total.latency,
            lateness: total.lateness,
            refusals: total.refusals,
            failures: total.failures,
            cost,
            others: costs.collect(),
        })
    })
}

fn wait_and_look(plan: &Plan, progress: &Progress, until: Instant) -> Result<Vec<Usage>, String> {
    while Instant::now() < until && !progress.is_over(Instant::now()) {
        let left = until.saturating_duration_since(Instant::now());
        std::thread::sleep(left.min(LOOK_EVERY));
    }
    look(plan)
}

/// The process under load, if there is one, and then the others.
fn look(plan: &Plan) -> Result<Vec<Usage>, String> {
    let tree = plan.pid.map(Usage::of_tree);
    let others = plan.others.iter().copied().map(Usage::of);
    tree.into_iter().chain(others).collect()
}

/// One thread's share.
fn work(
    plan: &Arc<Plan>,
    progress: &Arc<Progress>,
    thread: usize,
    threads: usize,
) -> Result<Tally, String> {
    let share = |whole: usize| whole / threads + usize::from(thread < whole % threads);
    let connections = share(plan.connections);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    let (plan, progress) = (Arc::clone(plan), Arc::clone(progress));
    match plan.pace {
        Pace::Closed => runtime.block_on(closed::work(plan, progress, connections)),
        Pace::Open {
            rate,
            max_connections,
        } => {
            let share = open::Share {
                connections,
                max_connections: share(max_connections).max(connections),
                rate: rate / threads as f64,
                // The threads take turns.
                first: Duration::from_secs_f64(thread as f64 / rate),
            };
            runtime.block_on(open::work(plan, progress, share))
        }
    }
}
