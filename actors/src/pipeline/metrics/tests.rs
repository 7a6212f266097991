//! A hundred thousand names, from clients and from servers, and a bounded number of series.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::time::Instant;
use weir_plugin_protocol::jsonrpc::{Limits, Message};
use weir_plugin_protocol::mcp::{Era, Version};

use super::{Ledger, Meter, Metrics, MetricsConfig};
use crate::pipeline::{Arrival, ClientRequest, Facts, Outcome, Transport};
use crate::upstream::http::HttpTarget;
use crate::upstream::{Catalog, Endpoint, Hello, Item, Link, LinkView, List, ServerName};

/// Names that somebody thinks up.
const JUNK: usize = 100_000;

/// Names that may be labels here.
const MAX_NAMES: usize = 50;

/// Series that a metric may have here.
const MAX_SERIES: usize = 200;

#[tokio::test]
async fn names_of_clients_make_no_series() {
    let (metrics, meter) = counting();
    let mut ledger = Ledger::default();
    let link = face(&["echo".to_owned()]);
    for number in 0..JUNK {
        let name = format!("junk-{number}");
        // A method, a tool that its server does not know, and a prompt, each of which is thought up.
        for (method, code) in [
            (name.as_str(), -32601),
            ("tools/call", -32602),
            ("prompts/get", -32602),
        ] {
            let arrival = arrival(method);
            let facts = facts(&link, &name);
            let outcome = Outcome::upstream_error(400, code, Bytes::new());
            let ledger = (number % 2 == 0).then_some(&mut ledger);
            meter.settled(ledger, &arrival, &facts, &outcome);
        }
    }
    let text = metrics.text();
    assert!(!text.contains("junk"), "a client's name is a label");
    assert_eq!(series(&text, "mcp_server_operation_duration_seconds"), 3);
    let counted =
        format!("weir_requests_total{{method=\"other\",verdict=\"upstream_error\"}} {JUNK}\n");
    assert!(text.contains(&counted), "{counted} is not there");
}

#[tokio::test]
async fn names_of_servers_make_so_many_series_and_no_more() {
    let (metrics, meter) = counting();
    let mut ledger = Ledger::default();
    // A server that changes its tools all the time, and answers with codes of its own.
    for batch in 0..JUNK / 100 {
        let tools: Vec<String> = (0..100)
            .map(|number| format!("tool-{batch}-{number}"))
            .collect();
        let link = face(&tools);
        for (number, tool) in tools.iter().enumerate() {
            let code = -32_000 - i64::try_from(batch * 100 + number).unwrap_or_default();
            let outcome = match number % 2 {
                0 => Outcome::ok(Bytes::new()),
                _ => Outcome::upstream_error(200, code, Bytes::new()),
            };
            meter.settled(
                Some(&mut ledger),
                &arrival("tools/call"),
                &facts(&link, tool),
                &outcome,
            );
        }
    }
    let text = metrics.text();
    for side in [
        "mcp_server_operation_duration_seconds",
        "mcp_client_operation_duration_seconds",
    ] {
        let series = series(&text, side);
        assert!(
            (MAX_NAMES..=MAX_SERIES + 20).contains(&series),
            "{side}: {series}"
        );
        assert_eq!(total(&text, &format!("{side}_count")), JUNK, "{side}");
    }
    assert!(text.contains("gen_ai_tool_name=\"other\""));
    assert!(text.len() < 1_000_000, "{}", text.len());
    assert!(ledger.len() < 200, "{} names are kept", ledger.len());
}

#[tokio::test]
async fn workers_are_added_up() {
    let (metrics, one) = counting();
    let other = metrics.meter(1);
    let link = face(&["echo".to_owned()]);
    for meter in [&one, &other, &other] {
        let outcome = Outcome::ok(Bytes::new());
        meter.settled(
            None,
            &arrival("tools/call"),
            &facts(&link, "echo"),
            &outcome,
        );
    }
    let text = metrics.text();
    assert_eq!(
        total(&text, "mcp_client_operation_duration_seconds_count"),
        3
    );
    assert_eq!(total(&text, "weir_upstream_requests_total"), 3);
    assert_eq!(series(&text, "mcp_client_operation_duration_seconds"), 1);
}

fn counting() -> (Arc<Metrics>, Arc<Meter>) {
    let config = MetricsConfig {
        max_names: MAX_NAMES,
        max_series: MAX_SERIES,
        stage_sample: NonZeroU32::MIN,
        ..MetricsConfig::default()
    };
    let metrics = Metrics::new(config).unwrap();
    let meter = metrics.meter(0);
    (metrics, meter)
}

fn face(tools: &[String]) -> Arc<LinkView> {
    let items = tools.iter().map(|tool| Item {
        key: tool.clone(),
        raw: Bytes::new(),
    });
    let tools = List {
        items: items.collect(),
        ..List::default()
    };
    Arc::new(LinkView {
        era: Era::Legacy,
        link: Link::Http(Arc::new(
            HttpTarget::parse("http://127.0.0.1:9/mcp").unwrap(),
        )),
        hello: Arc::new(Hello {
            version: Version::V2025_11_25,
            capabilities: Bytes::from_static(b"{}"),
            server_info: None,
            instructions: None,
        }),
        catalog: Arc::new(Catalog {
            tools,
            ..Catalog::default()
        }),
    })
}

fn arrival(method: &str) -> Arrival {
    let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}"}}"#);
    let message = Message::parse(Bytes::from(text), &Limits::default()).unwrap();
    let now = Instant::now();
    Arrival {
        snapshot: Arc::default(),
        at: now,
        wall: SystemTime::UNIX_EPOCH,
        upload: Duration::ZERO,
        deadline: now + Duration::from_secs(60),
        endpoint: Endpoint::All,
        request: ClientRequest::Legacy(message),
        credentials: None,
        peer: None,
        transport: Transport::Http,
        session_id: None,
        legacy_version: None,
        last_event_id: None,
        in_batch: false,
        parameters: Vec::new(),
        request_bytes: 0,
        tell_timing: false,
    }
}

fn facts(link: &Arc<LinkView>, target: &str) -> Facts {
    Facts {
        server: Some(ServerName::new("up").unwrap()),
        link: Some(link.clone()),
        target: Some(target.to_owned()),
        dispatched: true,
        ..Facts::default()
    }
}

/// Combinations of labels that a histogram has.
fn series(text: &str, name: &str) -> usize {
    let count = format!("{name}_count");
    text.lines().filter(|line| line.starts_with(&count)).count()
}

/// The sum of all samples of a name.
fn total(text: &str, name: &str) -> usize {
    let samples = text.lines().filter(|line| line.starts_with(name));
    let values = samples.map(|line| line.rsplit(' ').next().unwrap().parse::<usize>().unwrap());
    values.sum()
}
