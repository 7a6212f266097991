//! A plugin over HTTP that answers what a test says, and writes down what it was asked.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What is done with a request.
#[derive(Clone)]
pub(super) enum Reply {
    /// These bytes are the answer; the connection stays.
    Bytes(Vec<u8>),
    /// These bytes, and then the connection ends.
    Last(Vec<u8>),
    /// The head, and then a body that never ends.
    Flood(Vec<u8>),
    /// Nothing.
    Silence,
}

type Script = dyn Fn(&str) -> Reply + Send + Sync;

/// A plugin that runs until it is dropped.
pub(super) struct Scripted {
    pub(super) url: String,
    /// The requests, head and body, as they came.
    pub(super) asked: Arc<Mutex<Vec<String>>>,
    /// How many connections were made.
    pub(super) connections: Arc<Mutex<usize>>,
    /// How much was written of floods.
    pub(super) flooded: Arc<Mutex<usize>>,
    task: tokio::task::JoinHandle<()>,
}

impl Scripted {
    pub(super) async fn start(script: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let script: Arc<Script> = Arc::new(script);
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let connections = Arc::<Mutex<usize>>::default();
        let flooded = Arc::<Mutex<usize>>::default();
        let (log, count, flood) = (asked.clone(), connections.clone(), flooded.clone());
        let task = tokio::spawn(async move {
            let mut served = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                *count.lock().unwrap() += 1;
                served.spawn(serve(stream, script.clone(), log.clone(), flood.clone()));
            }
        });
        Self {
            url,
            asked,
            connections,
            flooded,
            task,
        }
    }

    pub(super) fn last(&self) -> String {
        self.asked.lock().unwrap().last().unwrap().clone()
    }

    /// Ends the listener and all connections.
    pub(super) async fn stop(&mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    mut stream: TcpStream,
    script: Arc<Script>,
    asked: Arc<Mutex<Vec<String>>>,
    flooded: Arc<Mutex<usize>>,
) {
    while let Some(request) = request(&mut stream).await {
        asked.lock().unwrap().push(request.clone());
        match script(&request) {
            Reply::Bytes(bytes) => stream.write_all(&bytes).await.unwrap(),
            Reply::Last(bytes) => {
                let _ = stream.write_all(&bytes).await;
                return;
            }
            Reply::Flood(head) => {
                stream.write_all(&head).await.unwrap();
                let piece = [b'x'; 64 * 1024];
                while stream.write_all(&piece).await.is_ok() {
                    *flooded.lock().unwrap() += piece.len();
                }
                return;
            }
            Reply::Silence => std::future::pending().await,
        }
    }
}

async fn request(stream: &mut TcpStream) -> Option<String> {
    let mut text = String::new();
    loop {
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .map_or(0, |length| length.parse().unwrap());
            if body.len() == length {
                return Some(text);
            }
        }
        let mut piece = [0; 4096];
        match stream.read(&mut piece).await {
            Ok(0) | Err(_) => return None,
            Ok(length) => text.push_str(std::str::from_utf8(&piece[..length]).unwrap()),
        }
    }
}

/// An answer with this status and body.
pub(super) fn answer(status: &str, body: &str) -> Reply {
    let length = body.len();
    Reply::Bytes(format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}").into())
}

pub(super) fn ok(body: &str) -> Reply {
    answer("200 OK", body)
}
