//! Keeps connections busy for a while and measures.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::call::{self, Call, Era, Failure};
use crate::measurement::{self, Cost, Measurement};
use crate::process::Usage;
use crate::target::Target;
use crate::wire::{Connection, Received};

/// Longest wait for one answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// Wait before a broken connection is made anew.
const RECONNECT_AFTER: Duration = Duration::from_millis(20);

/// What to do.
pub(crate) struct Plan {
    pub(crate) target: Target,
    pub(crate) connections: usize,
    pub(crate) threads: usize,
    pub(crate) warmup: Duration,
    pub(crate) measured: Duration,
    pub(crate) tool: String,
    pub(crate) message_bytes: usize,
    pub(crate) era: Era,
    /// As `Name: value`.
    pub(crate) headers: Vec<String>,
    /// The process under load.
    pub(crate) pid: Option<u32>,
}

/// When a run begins to count and when it ends.
#[derive(Clone, Copy)]
struct Window {
    from: Instant,
    until: Instant,
}

/// What one connection, or one thread's connections, saw.
struct Tally {
    latency: Histogram<u64>,
    failures: BTreeMap<Failure, u64>,
}

/// Runs a plan. Takes its warm-up and measured time and at most [`ANSWER_LIMIT`] more.
pub(crate) fn run(plan: &Arc<Plan>) -> Result<Measurement, String> {
    let from = Instant::now() + plan.warmup;
    let window = Window {
        from,
        until: from + plan.measured,
    };
    let threads = plan.threads.min(plan.connections);
    std::thread::scope(|scope| {
        let share = |thread: usize| {
            plan.connections / threads + usize::from(thread < plan.connections % threads)
        };
        let workers: Vec<_> = (0..threads)
            .map(|thread| scope.spawn(move || work(plan, window, share(thread))))
            .collect();
        let cost = plan.pid.map(|pid| cost(pid, window)).transpose();
        let mut total = Tally::new()?;
        for worker in workers {
            total.add(worker.join().map_err(|_| "a generator thread panicked")??)?;
        }
        Ok(Measurement {
            connections: plan.connections,
            elapsed: plan.measured,
            latency: total.latency,
            failures: total.failures,
            cost: cost?,
        })
    })
}

/// What the process uses within the window. Sleeps through it.
fn cost(pid: u32, window: Window) -> Result<Cost, String> {
    std::thread::sleep(window.from.saturating_duration_since(Instant::now()));
    let before = Usage::of(pid)?;
    std::thread::sleep(window.until.saturating_duration_since(Instant::now()));
    let after = Usage::of(pid)?;
    Ok(Cost {
        cpu: after.cpu.saturating_sub(before.cpu),
        resident_kib: after.resident_kib,
        peak_kib: after.peak_kib,
    })
}

/// One thread's share of the connections.
fn work(plan: &Arc<Plan>, window: Window, connections: usize) -> Result<Tally, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let mut callers = JoinSet::new();
        for _ in 0..connections {
            callers.spawn(keep_calling(Arc::clone(plan), window));
        }
        let mut total = Tally::new()?;
        for tally in callers.join_all().await {
            total.add(tally?)?;
        }
        Ok(total)
    })
}

/// One connection: calls, waits, calls again; connects anew when it broke.
async fn keep_calling(plan: Arc<Plan>, window: Window) -> Result<Tally, String> {
    let mut tally = Tally::new()?;
    while Instant::now() < window.until {
        if call_until_broken(&plan, window, &mut tally).await.is_err() {
            tally.fail(Failure::Transport);
            tokio::time::sleep(RECONNECT_AFTER).await;
        }
    }
    Ok(tally)
}

async fn call_until_broken(plan: &Plan, window: Window, tally: &mut Tally) -> io::Result<()> {
    let mut connection = Connection::new(TcpStream::connect(plan.target.address).await?)?;
    let mut headers = plan.headers.clone();
    if plan.era == Era::Legacy {
        headers.extend(shake_hands(plan, &mut connection).await?);
    }
    let mut call = Call::new(
        &plan.target,
        plan.era,
        &plan.tool,
        plan.message_bytes,
        &headers,
    );
    loop {
        let sent = Instant::now();
        if sent >= window.until {
            return Ok(());
        }
        connection.send(call.next()).await?;
        let received = answer(&mut connection).await?;
        let verdict = call.check(&received);
        let answered = Instant::now();
        match verdict {
            Err(failure) => tally.fail(failure),
            Ok(()) if answered >= window.from && answered < window.until => tally
                .latency
                .saturating_record(measurement::nanoseconds(answered - sent)),
            Ok(()) => {}
        }
        if received
            .header("connection")
            .is_some_and(|option| option.eq_ignore_ascii_case("close"))
        {
            return Ok(());
        }
    }
}

/// Starts a legacy session; returns the header that names it, if the server gave one.
async fn shake_hands(plan: &Plan, connection: &mut Connection) -> io::Result<Option<String>> {
    connection
        .send(&call::handshake(&plan.target, &plan.headers))
        .await?;
    let hello = answer(connection).await?;
    if hello.status() != Some(200) {
        return Err(io::Error::other(format!(
            "initialize: {}",
            hello.start_line()
        )));
    }
    let session = hello
        .header("mcp-session-id")
        .map(|session| format!("Mcp-Session-Id: {session}"));
    let headers: Vec<String> = plan.headers.iter().chain(&session).cloned().collect();
    connection
        .send(&call::initialized(&plan.target, &headers))
        .await?;
    answer(connection).await?;
    Ok(session)
}

async fn answer(connection: &mut Connection) -> io::Result<Received> {
    let received = tokio::time::timeout(ANSWER_LIMIT, connection.receive()).await??;
    received.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

// === impl Tally ===

impl Tally {
    fn new() -> Result<Self, String> {
        Ok(Self {
            latency: measurement::histogram()?,
            failures: BTreeMap::new(),
        })
    }

    fn fail(&mut self, failure: Failure) {
        *self.failures.entry(failure).or_default() += 1;
    }

    fn add(&mut self, other: Self) -> Result<(), String> {
        self.latency
            .add(&other.latency)
            .map_err(|error| error.to_string())?;
        for (failure, count) in other.failures {
            *self.failures.entry(failure).or_default() += count;
        }
        Ok(())
    }
}
