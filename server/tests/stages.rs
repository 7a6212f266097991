//! Every stage of the pipeline is crashed under load: each call gets one answer, the stage serves again at once, and
//! the other workers do not notice.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may"
)]

mod support;

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use support::scratch::Scratch;
use weir::config;
use weir::run::{Gateway, Sockets};
use weir_actors::builtin::Outside;
use weir_actors::builtin::outside::NoFetch;
use weir_actors::pipeline::{Pipeline, Stage};
use weir_actors::upstream::http::{HttpClient, HttpClientConfig, HttpTarget};

/// Connections that call without a pause.
const CALLERS: usize = 16;

/// From the crash of a stage to the next good answer of its worker.
const SERVES_AGAIN_WITHIN: Duration = Duration::from_millis(200);

/// What the callers of one run have seen.
#[derive(Default)]
struct Seen {
    good: Cell<u64>,
    /// Callers that were told 503.
    told: RefCell<HashSet<usize>>,
    /// Anything that is no defined answer.
    wrong: RefCell<Vec<String>>,
    /// When each caller last had a good answer.
    last_good: RefCell<Vec<Option<Instant>>>,
}

/// A gateway in this process, with a hand on the pipelines of its workers.
struct House {
    gateway: Gateway,
    pipelines: Arc<Mutex<Vec<Pipeline>>>,
    target: HttpTarget,
    scratch: Scratch,
}

impl House {
    async fn open(workers: usize) -> Self {
        let scratch = Scratch::new("stages");
        let clients = TcpListener::bind("127.0.0.1:0").unwrap();
        let admin = TcpListener::bind("127.0.0.1:0").unwrap();
        clients.set_nonblocking(true).unwrap();
        admin.set_nonblocking(true).unwrap();
        let target =
            HttpTarget::parse(&format!("http://{}/mcp", clients.local_addr().unwrap())).unwrap();
        let yaml = format!(
            "workers: {workers}\naudit: {{ sink: file, path: {:?} }}\nservers:\n  demo: {{ type: stdio, command: {:?}, args: [demo] }}\n",
            scratch.path().join("audit.jsonl"),
            env!("CARGO_BIN_EXE_weir"),
        );
        let config = config::load_text(&yaml, "weir.yaml", &|_| None).unwrap();
        let pipelines = Arc::new(Mutex::new(Vec::new()));
        let made = pipelines.clone();
        let on_pipeline =
            Arc::new(move |_, pipeline: &Pipeline| made.lock().unwrap().push(pipeline.clone()));
        let outside = Outside::real("", Arc::new(NoFetch));
        let gateway =
            Gateway::start(&config, &outside, Sockets { clients, admin }, on_pipeline).unwrap();
        tokio::time::timeout(Duration::from_secs(20), gateway.ready())
            .await
            .unwrap()
            .unwrap();
        Self {
            gateway,
            pipelines,
            target,
            scratch,
        }
    }

    /// Calls without a pause on connections of their own until `load` is dropped.
    fn callers(&self) -> (Rc<Seen>, Vec<tokio::task::JoinHandle<()>>) {
        let seen = Rc::new(Seen::default());
        seen.last_good.borrow_mut().resize(CALLERS, None);
        let tasks = (0..CALLERS).map(|caller| {
            let (seen, target) = (seen.clone(), self.target.clone());
            actix_rt::spawn(async move {
                let client = HttpClient::new(HttpClientConfig::default());
                for number in 0_u64.. {
                    call(&client, &target, caller, number, &seen).await;
                }
            })
        });
        let tasks = tasks.collect();
        (seen, tasks)
    }
}

async fn call(client: &HttpClient, target: &HttpTarget, caller: usize, number: u64, seen: &Seen) {
    let id = format!("{caller}-{number}");
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":"{id}","method":"tools/call","params":{{"name":"echo","arguments":{{"text":"{id}"}},"_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{{}}}}}}}}"#
    );
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", "echo"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let sent = client.send(target, Method::POST, headers, Bytes::from(body));
    let answer = match tokio::time::timeout(Duration::from_secs(5), sent).await {
        Ok(Ok(answer)) => answer,
        other => {
            return seen
                .wrong
                .borrow_mut()
                .push(format!("{id}: no answer: {other:?}"));
        }
    };
    let status = answer.status.as_u16();
    let body = answer.bytes(1 << 20).await.unwrap();
    let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let ours = json["id"] == serde_json::Value::String(id.clone());
    if ours
        && status == 200
        && json["result"]["content"][0]["text"] == serde_json::Value::String(id.clone())
    {
        seen.good.set(seen.good.get() + 1);
        seen.last_good.borrow_mut()[caller] = Some(Instant::now());
    } else if ours && status == 503 && json["error"]["data"]["retryable"].is_boolean() {
        seen.told.borrow_mut().insert(caller);
        tokio::time::sleep(Duration::from_millis(1)).await;
    } else {
        seen.wrong
            .borrow_mut()
            .push(format!("{id}: {status} {json}"));
    }
}

#[test]
fn every_stage_may_crash_under_load() {
    actix::System::new().block_on(async {
        let house = House::open(1).await;
        let (seen, tasks) = house.callers();
        for stage in Stage::ALL {
            tokio::time::sleep(Duration::from_millis(300)).await;
            let crashed = Instant::now();
            let pipeline = house.pipelines.lock().unwrap()[0].clone();
            pipeline.drill(stage);
            // A good answer that was sent on its way after the crash, not one that had passed the stage before.
            tokio::time::sleep(Duration::from_millis(2)).await;
            let again = loop {
                let last = seen.last_good.borrow().iter().flatten().max().copied();
                let told = !seen.told.borrow().is_empty();
                match last {
                    Some(last)
                        if last > crashed + Duration::from_millis(2)
                            && (told || last > crashed + Duration::from_millis(20)) =>
                    {
                        break last - crashed;
                    }
                    _ if crashed.elapsed() > Duration::from_secs(5) => {
                        panic!("{} does not serve again", stage.as_str())
                    }
                    _ => tokio::time::sleep(Duration::from_millis(1)).await,
                }
            };
            println!("{}: serves again after {again:?}", stage.as_str());
            assert!(again < SERVES_AGAIN_WITHIN, "{}: {again:?}", stage.as_str());
            seen.told.borrow_mut().clear();
        }
        tasks.iter().for_each(tokio::task::JoinHandle::abort);
        assert_eq!(*seen.wrong.borrow(), Vec::<String>::new());
        assert!(
            seen.good.get() > 100,
            "only {} good answers",
            seen.good.get()
        );
        house.gateway.drain().await;
        house.gateway.stop().await;
        // Every request left one record, whatever became of it.
        let records = std::fs::read_to_string(house.scratch.path().join("audit.jsonl")).unwrap();
        let mut ids = HashSet::new();
        for line in records
            .lines()
            .filter(|line| line.contains(r#""method":"tools/call""#))
        {
            let record: serde_json::Value = serde_json::from_str(line).unwrap();
            assert!(
                ids.insert(record["request_id"].as_str().unwrap().to_owned()),
                "recorded twice: {line}"
            );
        }
        assert!(ids.len() as u64 >= seen.good.get());
    });
}

#[test]
fn other_workers_do_not_notice() {
    actix::System::new().block_on(async {
        let house = House::open(2).await;
        let (seen, tasks) = house.callers();
        let mut told = Vec::new();
        for worker in 0..2 {
            let pipeline = house.pipelines.lock().unwrap()[worker].clone();
            for _ in 0..5 {
                tokio::time::sleep(Duration::from_millis(100)).await;
                pipeline.drill(Stage::Dispatch);
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
            told.push(std::mem::take(&mut *seen.told.borrow_mut()));
        }
        tasks.iter().for_each(tokio::task::JoinHandle::abort);
        assert_eq!(*seen.wrong.borrow(), Vec::<String>::new());
        println!(
            "told by worker 0: {:?}, by worker 1: {:?}",
            told[0], told[1]
        );
        assert!(
            told[0].is_disjoint(&told[1]),
            "a crash of one worker reached the callers of the other: {told:?}"
        );
        house.gateway.stop().await;
    });
}
