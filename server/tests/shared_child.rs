//! One child process serves many clients: what it says about the work of one reaches no other, and no other answers it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may"
)]

mod support;

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use support::gateway::Gateway;
use support::kit::Kit;
use support::mcp::{LEGACY, LegacyClient, outcome};
use support::scratch::Scratch;
use support::upstream::stdio_entry;
use tokio::task::JoinHandle;

/// Longest time until something has arrived.
const LIMIT: Duration = Duration::from_secs(10);

/// The id by which each client knows the first question that it is asked.
const FIRST_QUESTION: &str = "weir-1";

/// `kit/shared_child.py` behind a gateway.
struct Shared {
    gateway: Gateway,
    /// What the child has read.
    log: PathBuf,
    _scratch: Scratch,
}

#[tokio::test]
async fn work_that_was_given_up_is_not_taken_for_another_clients() {
    let Some(shared) = Shared::start().await else {
        return;
    };
    let alice = shared.client().await;
    let bob = shared.client().await;

    let hers = call(&alice, "hers", "work", "alice");
    shared.has_read(r#""name":"work""#).await;
    let params = json!({ "requestId": "hers" });
    let cancel = json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": params });
    alice.post(&cancel).await;
    shared.has_read("notifications/cancelled").await;
    hers.await.unwrap();

    let heard = call(&bob, "his", "wait", "bob").await.unwrap();
    let [answer] = heard.as_slice() else {
        panic!("bob heard more than his answer: {heard:?}")
    };
    let told = answer["result"]["content"][0]["text"].as_str().unwrap();
    assert!(
        told.contains(r#""code": -32603"#),
        "nobody is asked: {told}"
    );
}

#[tokio::test]
async fn an_answer_does_not_outlive_the_process_that_asked() {
    let Some(shared) = Shared::start().await else {
        return;
    };
    let alice = shared.client().await;
    let bob = shared.client().await;

    let his = call(&bob, "his", "ask", "bob");
    shared.has_read(r#""who":"bob""#).await;
    // The child reads this when it has asked bob; it is his, so that nobody else can be meant by the question.
    call(&bob, "end", "die", "bob").await.unwrap();
    his.await.unwrap();

    let hers = tokio::spawn({
        let alice = alice.clone();
        async move {
            loop {
                let heard = call(&alice, "hers", "ask", "alice").await.unwrap();
                let answer = heard.last().unwrap().clone();
                if answer.get("result").is_some() {
                    return answer;
                }
                // The next process is not there yet.
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    });
    shared.has_read(r#""who":"alice""#).await;
    for _ in 0..5 {
        let forged = json!({ "jsonrpc": "2.0", "id": FIRST_QUESTION, "result": { "action": "accept", "content": { "by": "bob" } } });
        assert_eq!(bob.post(&forged).await.status, 202);
    }
    // Hers is asked when the gateway has read it: until then her answer is nobody's.
    let answer =
        json!({ "jsonrpc": "2.0", "id": FIRST_QUESTION, "result": { "action": "decline" } });
    while !hers.is_finished() {
        assert_eq!(alice.post(&answer).await.status, 202);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let answer = hers.await.unwrap();
    let told = answer["result"]["content"][0]["text"].as_str().unwrap();
    assert_eq!(told, r#"{"action": "decline"}"#);
    assert!(
        !shared.read().contains(r#""by":"bob""#),
        "{}",
        shared.read()
    );
}

/// Calls a tool and returns every message that came on the way.
fn call(client: &LegacyClient, id: &str, tool: &str, who: &str) -> JoinHandle<Vec<Value>> {
    let params = json!({ "name": tool, "arguments": { "who": who } });
    let request = json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params });
    let client = client.clone();
    tokio::spawn(async move { client.post(&request).await.messages() })
}

// === impl Shared ===

impl Shared {
    async fn start() -> Option<Self> {
        let kit = Kit::find("shared_child")?;
        let scratch = Scratch::new("shared-child");
        let log = scratch.write("read.jsonl", "");
        let script = Kit::script("shared_child.py");
        let arguments = [script.to_str().unwrap(), log.to_str().unwrap()];
        let entry = stdio_entry(&kit.python_program(), &arguments, &[]);
        let gateway = Gateway::start(&format!("servers:\n  shared: {entry}\n"))
            .connected()
            .await;
        Some(Self {
            gateway,
            log,
            _scratch: scratch,
        })
    }

    /// A client that can be asked.
    async fn client(&self) -> LegacyClient {
        let mut client = LegacyClient {
            endpoint: self.gateway.endpoint_of("shared"),
            headers: Vec::new(),
            session: String::new(),
            hello: Value::Null,
        };
        let params = json!({
            "protocolVersion": LEGACY,
            "capabilities": { "elicitation": {} },
            "clientInfo": { "name": "weir-tests", "version": "1" },
        });
        let hello = json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params });
        let answer = client.post(&hello).await;
        client.hello = outcome(&answer).result();
        client.session = answer.header("mcp-session-id").to_owned();
        client
    }

    fn read(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Waits until the child has read a line with this text, blanks aside.
    async fn has_read(&self, text: &str) {
        let read = async {
            while !self.read().replace(' ', "").contains(text) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if tokio::time::timeout(LIMIT, read).await.is_err() {
            panic!("the child has not read {text}:\n{}", self.read());
        }
    }
}
