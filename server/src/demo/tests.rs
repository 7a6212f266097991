use serde_json::{Value, json};
use tokio::io::{
    AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, Lines, ReadHalf, WriteHalf,
};

use super::serve;

struct Peer {
    input: WriteHalf<DuplexStream>,
    output: Lines<BufReader<ReadHalf<DuplexStream>>>,
}

impl Peer {
    fn start() -> Self {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let (input, output) = tokio::io::split(theirs);
        tokio::spawn(serve(input, output));
        let (output, input) = tokio::io::split(ours);
        Self {
            input,
            output: BufReader::new(output).lines(),
        }
    }

    async fn send(&mut self, message: Value) {
        self.input
            .write_all(format!("{message}\n").as_bytes())
            .await
            .unwrap();
    }

    async fn receive(&mut self) -> Value {
        let line = self.output.next_line().await.unwrap().expect("a line");
        serde_json::from_str(&line).unwrap()
    }

    async fn ask(&mut self, method: &str, params: Value) -> Value {
        self.send(json!({ "jsonrpc": "2.0", "id": method, "method": method, "params": params }))
            .await;
        let answer = self.receive().await;
        assert_eq!(answer["id"], method);
        answer
    }
}

fn modern(mut params: Value) -> Value {
    params["_meta"]["io.modelcontextprotocol/protocolVersion"] = "2026-07-28".into();
    params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({});
    params
}

#[tokio::test]
async fn a_legacy_client_is_served() {
    let mut peer = Peer::start();
    let hello = peer.ask("initialize", json!({ "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": { "name": "t", "version": "1" } })).await;
    assert_eq!(hello["result"]["protocolVersion"], "2025-06-18");
    peer.send(json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }))
        .await;
    let tools = peer.ask("tools/list", json!({})).await;
    let names: Vec<_> = tools["result"]["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| tool["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["echo", "add", "slow_count", "now"]);
    assert!(tools["result"].get("resultType").is_none());
    let sum = peer
        .ask(
            "tools/call",
            json!({ "name": "add", "arguments": { "a": 1, "b": 2.5 } }),
        )
        .await;
    assert_eq!(sum["result"]["structuredContent"]["sum"], 3.5);
    let wrong = peer
        .ask(
            "tools/call",
            json!({ "name": "add", "arguments": { "a": 1 } }),
        )
        .await;
    assert_eq!(wrong["result"]["isError"], true);
    assert_eq!(
        peer.ask("tools/call", json!({ "name": "sub" })).await["error"]["code"],
        -32602
    );
    assert_eq!(
        peer.ask("resources/read", json!({ "uri": "demo://square/12" }))
            .await["result"]["contents"][0]["text"],
        "144"
    );
    assert_eq!(
        peer.ask("resources/read", json!({ "uri": "demo://x" }))
            .await["error"]["code"],
        -32002
    );
    assert_eq!(
        peer.ask("server/discover", json!({})).await["error"]["code"],
        -32601
    );
    assert_eq!(peer.ask("ping", json!({})).await["result"], json!({}));
}

#[tokio::test]
async fn a_modern_client_is_served() {
    let mut peer = Peer::start();
    let hello = peer.ask("server/discover", modern(json!({}))).await;
    assert_eq!(hello["result"]["supportedVersions"], json!(["2026-07-28"]));
    assert_eq!(hello["result"]["resultType"], "complete");
    let prompts = peer.ask("prompts/list", modern(json!({}))).await;
    assert_eq!(prompts["result"]["cacheScope"], "public");
    let echo = peer
        .ask(
            "tools/call",
            modern(json!({ "name": "echo", "arguments": { "text": "hé" } })),
        )
        .await;
    assert_eq!(echo["result"]["content"][0]["text"], "hé");
    assert_eq!(
        echo["result"]["_meta"]["io.modelcontextprotocol/serverInfo"]["name"],
        "weir-demo"
    );
    assert_eq!(
        peer.ask(
            "initialize",
            modern(json!({ "protocolVersion": "2026-07-28" }))
        )
        .await["error"]["code"],
        -32601
    );
    assert_eq!(
        peer.ask("resources/read", modern(json!({ "uri": "demo://x" })))
            .await["error"]["data"]["uri"],
        "demo://x"
    );
    let old = json!({ "_meta": { "io.modelcontextprotocol/protocolVersion": "1999-01-01", "io.modelcontextprotocol/clientCapabilities": {} } });
    assert_eq!(peer.ask("tools/list", old).await["error"]["code"], -32022);
    let bare = json!({ "_meta": { "io.modelcontextprotocol/protocolVersion": "2026-07-28" } });
    assert_eq!(peer.ask("tools/list", bare).await["error"]["code"], -32602);
}

#[tokio::test(start_paused = true)]
async fn counting_reports_progress_and_stops_when_cancelled() {
    let mut peer = Peer::start();
    let count = |id: u64| {
        json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call",
                "params": { "name": "slow_count", "arguments": { "to": 3 }, "_meta": { "progressToken": "p" } } })
    };
    peer.send(count(1)).await;
    for step in 1..=3 {
        let progress = peer.receive().await;
        assert_eq!(
            (
                &progress["params"]["progress"],
                &progress["params"]["progressToken"]
            ),
            (&json!(step), &json!("p"))
        );
    }
    assert_eq!(
        peer.receive().await["result"]["content"][0]["text"],
        "counted to 3"
    );

    peer.send(count(2)).await;
    assert_eq!(peer.receive().await["method"], "notifications/progress");
    peer.send(json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 2 } })).await;
    assert_eq!(peer.ask("ping", json!({})).await["result"], json!({}));
}
