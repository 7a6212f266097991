//! The link against real processes.

mod calls;
mod life;

use std::future::Future;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, LocalSet};
use weir_plugin_protocol::jsonrpc::Field;

use super::process::{self, ProcessEnd};
use super::*;

const SERVER: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/src/upstream/stdio/testdata/server.py"
);

fn on_one_thread<T>(story: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, async {
        tokio::time::timeout(Duration::from_secs(60), story)
            .await
            .expect("the story hangs")
    })
}

/// A link, its process and what it says of its own accord.
struct Server {
    link: StdioLink,
    unsolicited: mpsc::Receiver<Unsolicited>,
    pid: u32,
    generation: u64,
    stop: Option<oneshot::Sender<()>>,
    run: JoinHandle<Result<(), ProcessEnd>>,
}

fn python(arguments: &[&str]) -> StdioSpec {
    let mut spec = StdioSpec::new("test", "python3");
    spec.args = [SERVER].iter().chain(arguments).map(Into::into).collect();
    spec
}

fn shell(script: &str) -> StdioSpec {
    let mut spec = StdioSpec::new("test", "sh");
    spec.args = vec!["-c".into(), script.into()];
    spec
}

impl Server {
    /// Starts without opening the gate.
    async fn start_closed(spec: StdioSpec, room: usize) -> Self {
        let (sender, unsolicited) = mpsc::channel(room);
        let link = StdioLink::new(spec, sender);
        let (stop, run) = run(&link);
        let mut state = link.state();
        let running = state
            .wait_for(|state| *state != ProcessState::Stopped)
            .await;
        let ProcessState::Running { generation, pid } = *running.unwrap() else {
            unreachable!();
        };
        Self {
            link,
            unsolicited,
            pid,
            generation,
            stop: Some(stop),
            run,
        }
    }

    async fn start(spec: StdioSpec) -> Self {
        let server = Self::start_closed(spec, 1024).await;
        server.link.open_gate(server.generation);
        server
    }

    async fn begin(&self, method: &str, params: &str) -> StdioCall {
        begin(&self.link, method, params, None).await.unwrap()
    }

    async fn call(&self, method: &str, params: &str) -> Result<String, LinkError> {
        let answer = self.begin(method, params).await.next().await.unwrap()?;
        Ok(answer.field(Field::Result).unwrap().to_owned())
    }

    async fn stop(mut self) -> Duration {
        let before = Instant::now();
        self.stop.take().unwrap().send(()).unwrap();
        self.run.await.unwrap().unwrap();
        assert!(!exists(self.pid), "the process is not reaped");
        before.elapsed()
    }
}

fn run(link: &StdioLink) -> (oneshot::Sender<()>, JoinHandle<Result<(), ProcessEnd>>) {
    let (stop, stopped) = oneshot::channel();
    let run = tokio::task::spawn_local(process::run(link.0.clone(), stopped));
    (stop, run)
}

async fn begin(
    link: &StdioLink,
    method: &str,
    params: &str,
    session: Option<u128>,
) -> Result<StdioCall, LinkError> {
    let id = link.next_id();
    let frame = request(&id, method, params);
    link.call(id, frame, session.map(SessionKey)).await
}

fn request(id: &CallId, method: &str, params: &str) -> Bytes {
    let id = id.json();
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#).into()
}

/// Also true for a zombie.
fn exists(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

fn kill_9(pid: u32) {
    let pid = rustix::process::Pid::from_raw(pid.try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}
