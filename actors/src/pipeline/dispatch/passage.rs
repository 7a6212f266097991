//! A request passes the gate of its server, and tells it how the server did.

use std::time::Duration;

use crate::admission::{Failure, Passage, Refused};
use crate::pipeline::metrics::timed;
use crate::pipeline::{Exchange, Outcome, Refusal, Verdict};
use crate::upstream::{Link, Route};

use super::upcall::link_refusal;
use super::wait::within;
use super::{Desk, Grant};

/// Has a request carried as soon as its server has a place for it. The place is held until the answer is there.
pub(super) async fn through<C>(
    desk: &Desk,
    mut exchange: Exchange,
    route: Route,
    grant: Grant,
    carry: C,
) -> (Exchange, Outcome)
where
    C: AsyncFnOnce(Exchange, Route, Grant) -> (Exchange, Outcome),
{
    let server = route.server.name.clone();
    let over_http = matches!(route.link.link, Link::Http(_));
    let places = grant.settings.servers.of(&server).max_in_flight;
    let at_once = over_http.then(|| desk.gates.try_enter(&server, places));
    let passage = match at_once.flatten() {
        Some(passage) => Ok(passage),
        None => {
            let mut waited = Duration::ZERO;
            let entering = within(&mut exchange, &server, enter(desk, &route, &grant));
            let passage = timed(entering, &mut waited).await;
            if !waited.is_zero() {
                exchange.facts_mut().place_time = waited;
                desk.metrics.upstreams.waited(&server, waited);
            }
            passage
        }
    };
    let passage = match passage {
        Ok(passage) => passage,
        Err(refusal) => {
            let outcome = exchange.refusal(refusal);
            return (exchange, outcome);
        }
    };
    let (exchange, outcome) = carry(exchange, route, grant).await;
    let switched = match judge(&outcome, over_http) {
        Some(Ok(())) => passage.succeeded(),
        Some(Err(failure)) => passage.failed(failure),
        None => None,
    };
    if let Some(switched) = switched {
        desk.gates.tell(&server, switched);
    }
    (exchange, outcome)
}

/// Waits for a place at the server.
async fn enter(desk: &Desk, route: &Route, grant: &Grant) -> Result<Passage, Refusal> {
    let server = &route.server.name;
    if let Link::Stdio(link) = &route.link.link {
        // Whoever waits for a process to be started again has no place at it yet.
        let opened = link.opened().await;
        opened.map_err(|error| link_refusal(server, &error))?;
    }
    let limits = grant.settings.servers.of(server);
    let entering = desk
        .gates
        .enter(server, limits.max_in_flight, limits.max_wait);
    entering.await.map_err(|refused| refusal(refused, route))
}

fn refusal(refused: Refused, route: &Route) -> Refusal {
    match refused {
        Refused::Queue => Refusal::Overloaded("upstream_queue"),
        Refused::Open(retry_after) => Refusal::CircuitOpen {
            server: route.server.name.to_string(),
            retry_after,
        },
    }
}

/// What an outcome says of the server; nothing, if it is not the server's. An error that it answers is an answer. That a
/// child process ended is its supervisor's affair, who starts it again sooner than anybody would try.
fn judge(outcome: &Outcome, over_http: bool) -> Option<Result<(), Failure>> {
    match (outcome.verdict, outcome.reason.as_deref()) {
        (Verdict::Ok | Verdict::ToolError, _) => Some(Ok(())),
        (Verdict::UpstreamError, Some("upstream_error")) => Some(Ok(())),
        (Verdict::Timeout, _) => Some(Err(Failure::Unreachable)),
        (Verdict::UpstreamError, Some("upstream_down")) if over_http => {
            Some(Err(Failure::Unreachable))
        }
        (Verdict::UpstreamError, Some("upstream_restarting")) if !over_http => None,
        (Verdict::UpstreamError, Some("upstream_restarting" | "upstream_broken")) => {
            Some(Err(Failure::Broken))
        }
        _ => None,
    }
}
