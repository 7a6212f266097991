//! The counts of one worker: every handle that the hot path needs, found when the worker starts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use http::header::{HeaderName, HeaderValue};

use super::cell::{Count, Timing, nanoseconds};
use super::family::Shard;
use super::ledger::{Ledger, Search};
use super::method::{self, MethodLabel};
use super::operation::{Ended, Handles, Network};
use super::server_timing::{self, Whole};
use super::stamps::Stamps;
use super::{Metrics, Stage};
use crate::pipeline::{Arrival, ClientRequest, Facts, Outcome, Transport, Verdict};
use crate::plugged::telemetry::Book;
use crate::upstream::ServerName;

/// The counts of one worker. Its requests carry it with them.
#[derive(Debug)]
pub struct Meter {
    metrics: Arc<Metrics>,
    shard: Shard,
    /// Requests so far, for choosing those that are timed stage by stage.
    turn: AtomicU32,
    stages: [StageCells; Stage::ALL.len()],
    door: Arc<Timing>,
    /// By the place of the method's label.
    methods: Vec<MethodCells>,
    overhead: Arc<Timing>,
    /// What the telemetry plugin will be told.
    book: Arc<Book>,
}

#[derive(Debug)]
struct StageCells {
    messages: Arc<Count>,
    spent: Arc<Timing>,
    waited: Arc<Timing>,
}

#[derive(Debug)]
struct MethodCells {
    verdicts: [Arc<Count>; Verdict::ALL.len()],
    duration: Arc<Timing>,
}

// === impl Meter ===

impl Meter {
    pub(super) fn new(metrics: Arc<Metrics>, shard: Shard) -> Self {
        let stages = &metrics.stages;
        let requests = &metrics.requests;
        Self {
            shard,
            turn: AtomicU32::new(0),
            stages: Stage::ALL.map(|stage| StageCells {
                messages: stages.messages.cell(&[stage.as_str()], shard),
                spent: stages.spent.cell(&[stage.as_str()], shard),
                waited: stages.waited.cell(&[stage.as_str()], shard),
            }),
            door: stages.spent.cell(&["door"], shard),
            methods: method::all()
                .map(|method| MethodCells {
                    verdicts: Verdict::ALL
                        .map(|verdict| requests.verdicts.cell(&[method, verdict.as_str()], shard)),
                    duration: requests.duration.cell(&[method], shard),
                })
                .collect(),
            overhead: requests.overhead.cell(&[], shard),
            book: metrics.roles.books.open(),
            metrics,
        }
    }

    /// Everything else that is counted.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Whether a request's answer is to say where its time went; `asked` says whether its client asked for that.
    pub fn tells_timing(&self, asked: impl FnOnce() -> bool) -> bool {
        self.metrics.config.server_timing.applies(asked)
    }

    /// Starts the clock of a request, if it is timed.
    pub(in crate::pipeline) fn start(&self, arrival: &Arrival) -> Stamps {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        if arrival.tell_timing || turn.is_multiple_of(self.metrics.config.stage_sample.get()) {
            Stamps::start(arrival.at + arrival.upload)
        } else {
            Stamps::default()
        }
    }

    /// Counts a message at a stage.
    pub(in crate::pipeline) fn enter(&self, stage: Stage, stamps: &mut Stamps) {
        if let Some(cells) = self.stages.get(stage as usize) {
            cells.messages.inc();
        }
        stamps.enter(stage);
    }

    /// Counts and times the end of a request. What has no ledger at hand takes locks.
    pub(in crate::pipeline) fn settled(
        &self,
        ledger: Option<&mut Ledger>,
        arrival: &Arrival,
        facts: &Facts,
        outcome: &Outcome,
    ) {
        let total = nanoseconds(arrival.at.elapsed());
        let upstream = nanoseconds(facts.upstream_time);
        let method = MethodLabel::of(&arrival.request);
        if let Some(cells) = self.methods.get(method.place()) {
            if let Some(count) = cells.verdicts.get(outcome.verdict.index()) {
                count.inc();
            }
            cells.duration.observe(total);
        }
        if !method.waits() {
            let waited = nanoseconds(arrival.upload.saturating_add(facts.place_time));
            let others = upstream.saturating_add(waited);
            self.overhead.observe(total.saturating_sub(others));
        }
        if self.metrics.roles.books.wanted()
            && let Some(known) = method.method()
        {
            let name = facts.target.as_deref().filter(|_| method.has_name());
            let server = facts.server.as_ref().map(ServerName::as_str);
            let failed = outcome.verdict != Verdict::Ok;
            let took = Duration::from_nanos(total);
            self.book.note(known, server, name, failed, took);
        }
        let count = |handles: &Handles| {
            if let Some(operation) = &handles.served {
                operation.observe(total);
            }
            if let Some(refused) = &handles.refused {
                refused.inc();
            }
            if let Some(sent) = &handles.sent {
                sent.operation.observe(upstream);
                sent.requests.inc();
                sent.duration.observe(upstream);
            }
        };
        let ended = Ended {
            method,
            verdict: outcome.verdict,
            error_code: outcome.error_code,
            refused: outcome.refusal_reason(),
            version: match &arrival.request {
                ClientRequest::Modern(request) => Some(request.version),
                _ => facts.version.or(arrival.legacy_version),
            },
            client: match &arrival.transport {
                Transport::Stdio => Network::Pipe,
                _ => Network::Http,
            },
            sent: facts.dispatched,
        };
        let name = facts.target.as_deref().filter(|_| method.has_name());
        let at = facts.server.as_ref().zip(facts.link.as_ref());
        let search = Search {
            operations: &self.metrics.operations,
            shard: self.shard,
            max_names: self.metrics.config.max_names,
        };
        match ledger {
            Some(ledger) => ledger.find(&search, &ended, at, name, count),
            None => {
                let at = at.map(|(server, link)| (server, link.as_ref()));
                count(&search.run(&ended, at, name));
            }
        }
    }

    /// The header for the head of an event stream: it says where the time went until now.
    pub(in crate::pipeline) fn early_timing(
        &self,
        stamps: &Stamps,
        arrival: &Arrival,
        facts: &Facts,
    ) -> Option<(HeaderName, HeaderValue)> {
        tells(arrival, facts).then(|| server_timing::header(stamps, None))?
    }

    /// The header for an answer that is complete.
    pub(in crate::pipeline) fn timing(
        &self,
        stamps: &Stamps,
        arrival: &Arrival,
        facts: &Facts,
    ) -> Option<(HeaderName, HeaderValue)> {
        let whole = || Whole {
            upstream: facts.upstream_time,
            total: arrival.at.elapsed(),
        };
        tells(arrival, facts).then(|| server_timing::header(stamps, Some(whole())))?
    }

    /// Counts where the time of an answered request went.
    pub(in crate::pipeline) fn timed(&self, stamps: &Stamps, facts: &Facts) {
        let Some(door) = stamps.door() else {
            return;
        };
        self.door.observe(nanoseconds(door));
        for (stage, cells) in Stage::ALL.into_iter().zip(&self.stages) {
            if let Some(waited) = stamps.waited(stage) {
                cells.waited.observe(nanoseconds(waited));
            }
            if let Some(spent) = stamps.spent(stage) {
                let own = match stage {
                    Stage::Dispatch => spent
                        .saturating_sub(facts.upstream_time)
                        .saturating_sub(facts.place_time),
                    _ => spent,
                };
                cells.spent.observe(nanoseconds(own));
            }
        }
    }
}

/// Whether the caller is told: it asked, and it is somebody who is known here.
fn tells(arrival: &Arrival, facts: &Facts) -> bool {
    arrival.tell_timing && facts.principal.is_some()
}
