//! What is counted: by the names that OpenTelemetry gives it, on both sides, down to the microseconds of a stage, and
//! within its bounds whatever clients send.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};
use support::gateway::Gateway;
use support::mcp::{LegacyClient, ModernClient};
use support::process::Process;
use support::upstream::{demo_entry, http_entry};
use support::wire;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The upper bounds that the conventions ask for, as Prometheus writes them.
const SEMANTIC_BOUNDS: [&str; 15] = [
    "0.01", "0.02", "0.05", "0.1", "0.2", "0.5", "1", "2", "5", "10", "30", "60", "120", "300",
    "+Inf",
];

#[tokio::test]
async fn operations_have_their_semantic_names_on_both_sides() {
    let behind = Gateway::start(&format!("servers:\n  demo: {}\n", demo_entry()))
        .connected()
        .await;
    let gateway = Gateway::start(&format!(
        "servers:\n  web: {}\n  child: {}\n",
        http_entry(&behind.endpoint()),
        demo_entry()
    ))
    .connected()
    .await;
    let modern = ModernClient::new(gateway.endpoint_of("web"));
    for _ in 0..3 {
        modern.call("echo", json!({ "text": "a" })).await.text();
    }
    let failed = modern.call("echo", json!({})).await.result();
    assert_eq!(failed["isError"], true);
    let greeting = json!({ "name": "greeting", "arguments": { "name": "you" } });
    modern.request("prompts/get", greeting).await.result();
    let everywhere = ModernClient::new(gateway.endpoint());
    for client in [&modern, &everywhere] {
        assert_eq!(client.call("nobody", json!({})).await.code(), Some(-32602));
    }
    let legacy = LegacyClient::connect(gateway.endpoint_of("child"), &[])
        .await
        .unwrap();
    legacy.call("echo", json!({ "text": "b" })).await.text();

    let samples = Samples::of(&gateway).await;
    let modern_call = [
        ("mcp_method_name", "tools/call"),
        ("gen_ai_operation_name", "execute_tool"),
        ("gen_ai_tool_name", "echo"),
        ("mcp_protocol_version", "2026-07-28"),
        ("network_transport", "tcp"),
        ("network_protocol_name", "http"),
        ("network_protocol_version", "1.1"),
        ("server", "web"),
    ];
    let server = "mcp_server_operation_duration_seconds";
    let client = "mcp_client_operation_duration_seconds";
    let port = behind.base.rsplit(':').next().unwrap().to_owned();
    let there = [("server_address", "127.0.0.1"), ("server_port", &*port)];
    let error = [("error_type", "tool_error")];
    assert_eq!(
        samples.exactly(&format!("{server}_count"), &[&modern_call]),
        3.0
    );
    assert_eq!(
        samples.exactly(&format!("{server}_count"), &[&modern_call, &error]),
        1.0
    );
    assert_eq!(
        samples.exactly(&format!("{client}_count"), &[&modern_call, &there]),
        3.0
    );
    assert_eq!(
        samples.exactly(&format!("{client}_count"), &[&modern_call, &there, &error]),
        1.0
    );
    let prompt = [
        ("mcp_method_name", "prompts/get"),
        ("gen_ai_prompt_name", "greeting"),
        ("server", "web"),
    ];
    assert_eq!(samples.sum(&format!("{server}_count"), &prompt), 1.0);
    assert_eq!(samples.sum(&format!("{client}_count"), &prompt), 1.0);
    // What a server does not list has no name of its own.
    let unlisted = [
        ("gen_ai_tool_name", "other"),
        ("error_type", "-32602"),
        ("rpc_response_status_code", "-32602"),
    ];
    for side in [server, client] {
        assert_eq!(
            samples.sum(&format!("{side}_count"), &unlisted),
            1.0,
            "{side}"
        );
    }
    // A tool that nobody has is an error without a name, and no server hears of it.
    let unknown = [
        ("mcp_method_name", "tools/call"),
        ("gen_ai_operation_name", "execute_tool"),
        ("error_type", "-32602"),
        ("rpc_response_status_code", "-32602"),
        ("mcp_protocol_version", "2026-07-28"),
        ("network_transport", "tcp"),
        ("network_protocol_name", "http"),
        ("network_protocol_version", "1.1"),
    ];
    assert_eq!(
        samples.exactly(&format!("{server}_count"), &[&unknown]),
        1.0
    );
    let refused = [("reason", "unknown_name")];
    assert_eq!(samples.exactly("weir_refusals_total", &[&refused]), 1.0);
    let child = [
        ("mcp_method_name", "tools/call"),
        ("mcp_protocol_version", "2025-11-25"),
        ("server", "child"),
    ];
    assert_eq!(samples.sum(&format!("{server}_count"), &child), 1.0);
    let pipe = [&child[..], &[("network_transport", "pipe")]].concat();
    assert_eq!(samples.sum(&format!("{client}_count"), &pipe), 1.0);

    for name in [server, client] {
        let bounds = samples.values_of(&format!("{name}_bucket"), "le");
        assert_eq!(bounds.len(), SEMANTIC_BOUNDS.len(), "{bounds:?}");
        assert!(
            SEMANTIC_BOUNDS.iter().all(|bound| bounds.contains(*bound)),
            "{bounds:?}"
        );
    }
}

#[tokio::test]
async fn sessions_are_timed_on_both_sides() {
    let behind = Gateway::start(&format!("servers:\n  demo: {}\n", demo_entry()))
        .connected()
        .await;
    let web = http_entry(&behind.endpoint());
    let gateway = Gateway::start(&format!("servers:\n  web: {web}\n"))
        .connected()
        .await;
    let client = LegacyClient::connect(gateway.endpoint(), &[])
        .await
        .unwrap();
    client.call("echo", json!({ "text": "b" })).await.text();
    let session = [("mcp-session-id", client.session.as_str())];
    let ended = wire::send(Method::DELETE, &gateway.endpoint(), &session, "").await;
    assert_eq!(ended.unwrap().status, 204);

    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let samples = Samples::of(&gateway).await;
        let ours = samples.sum(
            "mcp_server_session_duration_seconds_count",
            &[("mcp_protocol_version", "2025-11-25")],
        );
        let theirs = samples.sum(
            "mcp_client_session_duration_seconds_count",
            &[
                ("mcp_protocol_version", "2025-11-25"),
                ("network_transport", "tcp"),
                ("server", "web"),
                ("server_address", "127.0.0.1"),
            ],
        );
        if (ours, theirs) == (1.0, 1.0) {
            break;
        }
        assert!(Instant::now() < deadline, "{ours} {theirs}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn the_parts_of_requests_add_up() {
    const CALLS: f64 = 20.0;
    let gateway = Gateway::start(&format!(
        "servers:\n  demo: {}\nmetrics: {{ stage_sample: 1 }}\n",
        demo_entry()
    ))
    .connected()
    .await;
    let client = ModernClient::new(gateway.endpoint());
    let arguments = json!({ "to": 1, "delay_ms": 50 });
    for _ in 0..CALLS as usize {
        client.call("slow_count", arguments.clone()).await.text();
    }

    let samples = Samples::of(&gateway).await;
    let total = samples.sum(
        "weir_request_duration_seconds_sum",
        &[("method", "tools/call")],
    );
    let upstream = samples.sum("weir_upstream_duration_seconds_sum", &[("server", "demo")]);
    let overhead = samples.sum("weir_overhead_seconds_sum", &[]);
    assert!(upstream >= CALLS * 0.05, "{upstream}");
    // What is missing is waiting for bodies, which come at once.
    let waiting = total - upstream - overhead;
    assert!(
        (-1e-6..CALLS * 0.01).contains(&waiting),
        "{total} {upstream} {overhead}"
    );
    assert!(overhead < upstream / 2.0, "{overhead} of {total}");

    let mut parts = samples.sum("weir_stage_duration_seconds_sum", &[("stage", "door")]);
    for stage in [
        "auth",
        "policy",
        "credential",
        "dispatch",
        "telemetry",
        "audit",
    ] {
        for name in ["weir_stage_duration_seconds", "weir_stage_wait_seconds"] {
            let label = [("stage", stage)];
            assert_eq!(
                samples.exactly(&format!("{name}_count"), &[&label]),
                CALLS,
                "{stage}"
            );
            let after_measuring =
                stage == "audit" || (stage, name.contains("wait")) == ("telemetry", false);
            if !after_measuring {
                parts += samples.sum(&format!("{name}_sum"), &label);
            }
        }
    }
    // Every nanosecond of the gateway's own is in one of its parts, except the reading of clocks.
    assert!(
        (parts - overhead).abs() < overhead / 4.0,
        "{parts} of {overhead}"
    );
}

#[tokio::test]
async fn answers_say_where_their_time_went_to_who_may_know() {
    let start = |mode: &str| {
        Gateway::start(&format!(
            "servers:\n  demo: {}\nmetrics: {{ server_timing: {mode} }}\n",
            demo_entry()
        ))
    };
    let slow = json!({ "name": "slow_count", "arguments": { "to": 1, "delay_ms": 20 } });
    for (mode, asked, told) in [
        ("on_request", true, true),
        ("on_request", false, false),
        ("always", false, true),
        ("never", true, false),
    ] {
        let gateway = start(mode).connected().await;
        let mut client = ModernClient::new(gateway.endpoint());
        if asked {
            client = client.header("weir-timing", "1");
        }
        let answer = client.answer("tools/call", slow.clone()).await.unwrap();
        let header = answer.header("server-timing");
        if !told {
            assert_eq!(header, "", "{mode}");
            continue;
        }
        let parts = timing(header);
        let names: Vec<&str> = parts.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names,
            ["auth", "policy", "credential", "upstream", "total"],
            "{header}"
        );
        let of = |name: &str| parts.iter().find(|(part, _)| part == name).unwrap().1;
        assert!(of("upstream") >= 20.0, "{header}");
        assert!(
            of("total") >= of("auth") + of("policy") + of("upstream"),
            "{header}"
        );

        // In the head of a stream: what is known by then.
        let mut streamed = slow.clone();
        streamed["_meta"] = json!({ "progressToken": "p" });
        let answer = client.answer("tools/call", streamed).await.unwrap();
        assert!(
            answer
                .header("content-type")
                .starts_with("text/event-stream"),
            "{answer:?}"
        );
        let parts = timing(answer.header("server-timing"));
        let names: Vec<&str> = parts.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["auth", "policy", "credential"], "{answer:?}");
    }
}

#[tokio::test]
async fn strangers_are_told_nothing_of_time() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command.args(["keys", "new", "alice"]);
    let made = Process::run("weir keys new", command, Duration::from_secs(10));
    let find = |prefix: &str| {
        let mut lines = made.stdout.lines();
        lines
            .find_map(|line| line.trim().strip_prefix(prefix))
            .unwrap()
    };
    let (key, entry) = (find("key: "), find("- {"));
    let gateway = Gateway::start(&format!(
        "servers:\n  demo: {}\nauth: {{ providers: [{{ type: api-keys, keys: [{{{entry}] }}] }}\nmetrics: {{ server_timing: always }}\n",
        demo_entry(),
    ))
    .connected()
    .await;
    let client = ModernClient::new(gateway.endpoint()).header("weir-timing", "1");
    let answer = client.answer("tools/list", json!({})).await.unwrap();
    assert_eq!(answer.status, 401);
    assert_eq!(answer.header("server-timing"), "");
    let answer = wire::send(
        Method::PUT,
        &gateway.endpoint(),
        &[("weir-timing", "1")],
        "",
    )
    .await
    .unwrap();
    assert_eq!(answer.status, 405);
    assert_eq!(answer.header("server-timing"), "");
    let answer = client
        .bearer(key)
        .answer("tools/list", json!({}))
        .await
        .unwrap();
    assert!(
        answer.header("server-timing").starts_with("auth;dur="),
        "{answer:?}"
    );
}

#[tokio::test]
async fn no_client_makes_a_series() {
    let gateway = Gateway::start(&format!("servers:\n  demo: {}\n", demo_entry()))
        .connected()
        .await;
    let modern = ModernClient::new(gateway.endpoint());
    let legacy = LegacyClient::connect(gateway.endpoint_of("demo"), &[])
        .await
        .unwrap();
    let junk = async |number: usize| {
        let name = format!("junk{number}\"\n{{}}\u{1F9C0}");
        modern
            .call(&format!("junk-{number}"), json!({ "text": name }))
            .await;
        modern.request(&format!("junk/{number}"), json!({})).await;
        legacy.call(&name, json!({})).await;
        legacy.request(&name, json!({})).await;
        legacy
            .request("resources/read", json!({ "uri": format!("demo://{name}") }))
            .await;
        legacy.request("prompts/get", json!({ "name": name })).await;
        legacy
            .post(&json!({ "jsonrpc": "2.0", "method": name }))
            .await;
        let headers = [
            ("mcp-method", "junk"),
            ("mcp-protocol-version", "1999-01-01"),
        ];
        let path = format!("{}/servers/junk{number}/mcp", gateway.base);
        wire::send(Method::POST, &path, &headers, "{}")
            .await
            .unwrap();
    };
    // Each kind of request once; from then on there is nothing new.
    junk(0).await;
    let before = Samples::of(&gateway).await;
    for number in 1..100 {
        junk(number).await;
    }
    let after = Samples::of(&gateway).await;
    let new: Vec<_> = after
        .series()
        .difference(&before.series())
        .cloned()
        .collect();
    assert!(new.is_empty(), "{new:#?}");
    let other = [("method", "other")];
    assert!(
        after.sum("weir_requests_total", &other) > before.sum("weir_requests_total", &other) + 90.0
    );
    assert!(
        after
            .0
            .iter()
            .all(|sample| { sample.labels.values().all(|value| !value.contains("junk")) })
    );
}

/// A client that takes its time is not the gateway's doing.
#[tokio::test]
async fn a_slow_upload_is_no_overhead() {
    let gateway = Gateway::start("metrics: { stage_sample: 1 }\n");
    let address = gateway.base.trim_start_matches("http://");
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /mcp HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{{"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // From when the gateway is known to wait for the rest.
    let waits = async {
        while Samples::of(&gateway).await.sum("weir_uploads", &[]) < 1.0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), waits)
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    stream.write_all(b"}").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();

    let samples = Samples::of(&gateway).await;
    let total = samples.sum("weir_request_duration_seconds_sum", &[]);
    let overhead = samples.sum("weir_overhead_seconds_sum", &[]);
    let door = samples.sum("weir_stage_duration_seconds_sum", &[("stage", "door")]);
    assert!(total >= 0.3, "{total}: {answer}");
    assert!(overhead < 0.1 && door < 0.1, "{overhead} {door} of {total}");
}

/// A server that is busy is not the gateway's doing either.
#[tokio::test]
async fn waiting_for_a_place_at_a_server_is_counted_apart() {
    let limits = "limits: { upstream: { max_in_flight: 1, max_wait: 5s } }\n";
    let gateway = Gateway::start(&format!("servers:\n  demo: {}\n{limits}", demo_entry()))
        .connected()
        .await;
    let client = ModernClient::new(gateway.endpoint());
    let call = || client.call("slow_count", json!({ "to": 1, "delay_ms": 150 }));
    let (one, other) = tokio::join!(call(), call());
    one.text();
    other.text();

    let samples = Samples::of(&gateway).await;
    let at_demo = [("server", "demo")];
    assert_eq!(
        samples.sum("weir_upstream_wait_seconds_count", &at_demo),
        1.0
    );
    assert!(samples.sum("weir_upstream_wait_seconds_sum", &at_demo) >= 0.1);
    let upstream = samples.sum("weir_upstream_duration_seconds_sum", &at_demo);
    assert!((0.3..0.4).contains(&upstream), "{upstream}");
    let overhead = samples.sum("weir_overhead_seconds_sum", &[]);
    assert!(overhead < 0.1, "{overhead}");
}

/// What `/metrics` shows.
struct Samples(Vec<Sample>);

struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

// === impl Samples ===

impl Samples {
    async fn of(gateway: &Gateway) -> Self {
        let answer = wire::get(&format!("{}/metrics", gateway.admin))
            .await
            .unwrap();
        let text = String::from_utf8(answer.body.to_vec()).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        Self(lines.map(Sample::parse).collect())
    }

    /// The only sample with exactly these labels.
    fn exactly(&self, name: &str, labels: &[&[(&str, &str)]]) -> f64 {
        let labels: BTreeMap<String, String> = labels
            .concat()
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let mut found = self
            .0
            .iter()
            .filter(|sample| sample.name == name && sample.labels == labels);
        let Some(sample) = found.next() else {
            let named = self.0.iter().filter(|sample| sample.name == name);
            let named: Vec<_> = named.map(|sample| &sample.labels).collect();
            panic!("no {name} with {labels:?}; there are {named:#?}");
        };
        assert!(
            found.next().is_none(),
            "{name} with {labels:?} is there twice"
        );
        sample.value
    }

    /// The sum of all samples that have these labels among theirs.
    fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let fits = |sample: &&Sample| {
            let has = |(name, value): &(&str, &str)| {
                sample.labels.get(*name).is_some_and(|found| found == value)
            };
            sample.name == name && labels.iter().all(has)
        };
        self.0.iter().filter(fits).map(|sample| sample.value).sum()
    }

    /// The values that a label has.
    fn values_of(&self, name: &str, label: &str) -> BTreeSet<String> {
        let named = self.0.iter().filter(|sample| sample.name == name);
        named
            .filter_map(|sample| sample.labels.get(label).cloned())
            .collect()
    }

    /// Every series that there is.
    fn series(&self) -> BTreeSet<String> {
        let samples = self.0.iter();
        samples
            .map(|sample| format!("{} {:?}", sample.name, sample.labels))
            .collect()
    }
}

// === impl Sample ===

impl Sample {
    fn parse(line: &str) -> Self {
        let (series, value) = line.rsplit_once(' ').unwrap();
        let value = value.parse().unwrap();
        let Some((name, labels)) = series.split_once('{') else {
            return Self {
                name: series.to_owned(),
                labels: BTreeMap::new(),
                value,
            };
        };
        let labels = labels.strip_suffix('}').unwrap().split(',');
        let labels = labels.map(|label| {
            let (name, value) = label.split_once('=').unwrap();
            let value: Value = serde_json::from_str(value).unwrap();
            (name.to_owned(), value.as_str().unwrap().to_owned())
        });
        Self {
            name: name.to_owned(),
            labels: labels.collect(),
            value,
        }
    }
}

/// The parts of a `Server-Timing` header, in milliseconds.
fn timing(header: &str) -> Vec<(String, f64)> {
    let parts = header.split(", ").map(|part| {
        let (name, duration) = part
            .split_once(";dur=")
            .unwrap_or_else(|| panic!("{header:?}"));
        (name.to_owned(), duration.parse().unwrap())
    });
    parts.collect()
}
