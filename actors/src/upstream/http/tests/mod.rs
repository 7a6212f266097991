//! The client against a server that is written by hand, byte for byte.

mod exchanges;
mod forgery;
mod tls;

use std::cell::RefCell;
use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::LocalSet;

use super::*;

const CAP: usize = 1 << 20;

fn on_one_thread<T>(story: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, async {
        tokio::time::timeout(Duration::from_secs(20), story)
            .await
            .expect("the story hangs")
    })
}

/// What the server saw: the heads and bodies of the requests of each connection, and which connections ended.
#[derive(Clone, Default)]
struct Seen(Rc<RefCell<Vec<Vec<String>>>>, Rc<RefCell<Vec<usize>>>);

impl Seen {
    fn requests(&self) -> Vec<usize> {
        self.0.borrow().iter().map(Vec::len).collect()
    }

    async fn closed(&self, connection: usize) {
        while !self.1.borrow().contains(&connection) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// What to do with one request.
#[derive(Clone)]
struct Script {
    answer: Vec<u8>,
    then_close: bool,
}

fn answer(text: &str) -> Script {
    Script {
        answer: text.as_bytes().to_vec(),
        then_close: false,
    }
}

fn answer_and_close(text: &str) -> Script {
    Script {
        then_close: true,
        ..answer(text)
    }
}

fn ok(body: &str) -> Script {
    let length = body.len();
    answer(&format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}"
    ))
}

/// Serves the scripts in order, over all connections; the last one for ever.
async fn serve(scripts: Vec<Script>) -> (HttpTarget, Seen) {
    let (listener, target) = listen().await;
    let seen = Seen::default();
    let (shared, scripts) = (seen.clone(), Rc::new(RefCell::new(scripts)));
    tokio::task::spawn_local(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::task::spawn_local(converse(stream, scripts.clone(), shared.clone()));
        }
    });
    (target, seen)
}

async fn listen() -> (TcpListener, HttpTarget) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, target(address))
}

fn target(address: SocketAddr) -> HttpTarget {
    HttpTarget::parse(&format!("http://{address}/mcp?x=1")).unwrap()
}

async fn converse(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    scripts: Rc<RefCell<Vec<Script>>>,
    seen: Seen,
) {
    let number = seen.0.borrow().len();
    seen.0.borrow_mut().push(Vec::new());
    while let Some(request) = read_request(&mut stream).await {
        seen.0.borrow_mut()[number].push(request);
        let script = {
            let mut scripts = scripts.borrow_mut();
            if scripts.len() > 1 {
                scripts.remove(0)
            } else {
                scripts[0].clone()
            }
        };
        let _ = stream.write_all(&script.answer).await;
        if script.then_close {
            break;
        }
    }
    drop(stream);
    seen.1.borrow_mut().push(number);
}

async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut text = Vec::new();
    loop {
        let mut byte = [0];
        stream.read_exact(&mut byte).await.ok()?;
        text.push(byte[0]);
        if text.ends_with(b"\r\n\r\n") {
            break;
        }
    }
    let head = String::from_utf8(text).unwrap();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).await.ok()?;
    Some(head + &String::from_utf8(body).unwrap())
}

fn client() -> HttpClient {
    HttpClient::new(HttpClientConfig::default())
}

async fn post(client: &HttpClient, target: &HttpTarget) -> Result<HttpAnswer, HttpError> {
    let body = Bytes::from_static(b"{}");
    client
        .send(target, Method::POST, HeaderMap::new(), body)
        .await
}

async fn post_and_read(client: &HttpClient, target: &HttpTarget) -> Result<Bytes, HttpError> {
    post(client, target).await?.bytes(CAP).await
}

async fn fails(client: &HttpClient, target: &HttpTarget) -> (HttpErrorKind, bool) {
    let error = post_and_read(client, target).await.unwrap_err();
    (error.kind, error.written)
}
