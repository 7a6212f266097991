//! `kit/watching_plugin.py`, running beside the gateway.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::kit::Kit;
use super::process::Process;
use super::wire;

/// Longest time until something has been heard.
const LIMIT: Duration = Duration::from_secs(20);

/// A plugin that sees what passes.
pub(crate) struct Watching {
    process: Process,
    pub(crate) url: String,
}

impl Watching {
    /// Starts one that takes `pause` seconds for each message.
    pub(crate) fn start(kit: &Kit, pause: f64) -> Self {
        let mut command = kit.python("watching_plugin.py");
        command.arg(pause.to_string());
        let process = Process::start("watching plugin", command);
        let port = process.wait_line(LIMIT, |line| line.strip_prefix("PORT=").map(str::to_owned));
        Self {
            process,
            url: format!("http://127.0.0.1:{port}"),
        }
    }

    /// Its entry among the plugins, with more keys in JSON.
    pub(crate) fn entry(&self, more: Value) -> String {
        let mut entry = json!({ "type": "sidecar", "sidecar": { "url": self.url } });
        for (key, value) in more.as_object().expect("an object") {
            entry[key] = value.clone();
        }
        entry.to_string()
    }

    /// Everything that it was told.
    pub(crate) async fn heard(&self) -> Vec<Value> {
        let call = json!({ "method": "heard", "params": {} }).to_string();
        let url = format!("{}/call", self.url);
        let headers = [("content-type", "application/json")];
        let answer = wire::send(http::Method::POST, &url, &headers, call).await;
        let answer = answer.expect("the plugin answers").json();
        answer["result"].as_array().expect("a list").clone()
    }

    /// Waits until what it was told satisfies `enough`.
    pub(crate) async fn until(&self, enough: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let deadline = Instant::now() + LIMIT;
        loop {
            let heard = self.heard().await;
            if enough(&heard) {
                return heard;
            }
            assert!(Instant::now() < deadline, "not heard: {heard:#?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }
}
