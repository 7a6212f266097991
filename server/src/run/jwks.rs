//! Fetching the key sets of token issuers, on a thread of its own: the pipelines' threads wait for nobody's network.

use std::thread;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Method, StatusCode};
use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;
use weir_actors::builtin::jwt::JWKS_MAX_BYTES;
use weir_actors::builtin::outside::JwksFetch;
use weir_actors::upstream::http::{
    AddressRule, HttpClient, HttpClientConfig, HttpTarget, TlsTrust,
};

/// Fetches that may wait.
const QUEUE: usize = 32;

type Answer = Result<Bytes, String>;
type Job = (String, AddressRule, oneshot::Sender<Answer>);

/// Hands URLs to the fetching thread.
pub(super) struct Fetcher {
    jobs: mpsc::Sender<Job>,
}

// === impl Fetcher ===

impl Fetcher {
    /// Starts the thread. It ends when the fetcher is dropped.
    pub(super) fn start() -> Result<Self, String> {
        let (jobs, mut received) = mpsc::channel::<Job>(QUEUE);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime =
            runtime.map_err(|error| format!("the fetcher of key sets cannot start: {error}"))?;
        let work = move || {
            let set = LocalSet::new();
            set.block_on(&runtime, async move {
                let tls = TlsTrust::native(&[]).ok();
                let client = HttpClient::new(HttpClientConfig {
                    tls,
                    ..HttpClientConfig::default()
                });
                while let Some((url, addresses, answer)) = received.recv().await {
                    let client = client.clone();
                    tokio::task::spawn_local(async move {
                        let _nobody_waits = answer.send(fetch(&client, &url, addresses).await);
                    });
                }
            });
        };
        thread::Builder::new()
            .name("weir-jwks".to_owned())
            .spawn(work)
            .map_err(|error| format!("the fetcher of key sets cannot start: {error}"))?;
        Ok(Self { jobs })
    }
}

impl JwksFetch for Fetcher {
    fn fetch(&self, url: &str, addresses: AddressRule) -> BoxFuture<'static, Answer> {
        let (jobs, url) = (self.jobs.clone(), url.to_owned());
        Box::pin(async move {
            let (answer, fetched) = oneshot::channel();
            jobs.send((url, addresses, answer))
                .await
                .map_err(|_| "the fetcher has ended".to_owned())?;
            fetched
                .await
                .unwrap_or_else(|_| Err("the fetcher has ended".to_owned()))
        })
    }
}

async fn fetch(client: &HttpClient, url: &str, addresses: AddressRule) -> Answer {
    let target = HttpTarget::parse(url)
        .map_err(|error| error.to_string())?
        .under(addresses);
    let answer = client
        .send(&target, Method::GET, HeaderMap::new(), Bytes::new())
        .await;
    let answer = answer.map_err(|error| match error.source {
        Some(source) => format!("{}: {source}", error.kind),
        None => error.to_string(),
    })?;
    if answer.status != StatusCode::OK {
        return Err(format!("HTTP status {}", answer.status));
    }
    answer
        .bytes(JWKS_MAX_BYTES)
        .await
        .map_err(|error| error.to_string())
}
