//! HTTP+SSE (2024-11-05) for rmcp, which has had no transport of its own for it since 0.11: messages go out as POSTs to
//! the place that the first event names, and everything comes in on the one stream.

use std::error::Error;
use std::io;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use rmcp::RoleClient;
use rmcp::service::{RxJsonRpcMessage, TxJsonRpcMessage};
use rmcp::transport::Transport;
use sse_stream::{Sse, SseStream};
use url::Url;

type Events = BoxStream<'static, Result<Sse, sse_stream::Error>>;

/// The connection of one client.
pub(crate) struct SseTransport {
    client: reqwest::Client,
    endpoint: Url,
    /// Nothing: closed.
    events: Option<Events>,
}

// === impl SseTransport ===

impl SseTransport {
    /// Opens the stream, and waits to be told where to post.
    pub(crate) async fn open(url: &str) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let url = Url::parse(url)?;
        let client = reqwest::Client::new();
        let get = client.get(url.clone()).header(ACCEPT, "text/event-stream");
        let answer = get.send().await?.error_for_status()?;
        let mut events: Events = SseStream::from_bytes_stream(answer.bytes_stream()).boxed();
        let first = events.next().await.ok_or("the stream is empty")??;
        if first.event.as_deref() != Some("endpoint") {
            return Err(format!("the first event is {first:?}").into());
        }
        let endpoint = url.join(first.data.as_deref().unwrap_or_default().trim())?;
        Ok(Self {
            client,
            endpoint,
            events: Some(events),
        })
    }
}

impl Transport<RoleClient> for SseTransport {
    type Error = io::Error;

    fn send(
        &mut self,
        message: TxJsonRpcMessage<RoleClient>,
    ) -> impl Future<Output = Result<(), io::Error>> + Send + 'static {
        let post = self.client.post(self.endpoint.clone());
        async move {
            let body = serde_json::to_vec(&message)?;
            let post = post.header(CONTENT_TYPE, "application/json").body(body);
            let answer = post.send().await.map_err(io::Error::other)?;
            answer.error_for_status().map_err(io::Error::other)?;
            Ok(())
        }
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleClient>> {
        let events = self.events.as_mut()?;
        while let Some(Ok(event)) = events.next().await {
            let data = event.data.unwrap_or_default();
            match serde_json::from_str(&data) {
                Ok(message) => return Some(message),
                Err(error) => eprintln!("not a message: {error}: {data}"),
            }
        }
        None
    }

    async fn close(&mut self) -> Result<(), io::Error> {
        self.events = None;
        Ok(())
    }
}
