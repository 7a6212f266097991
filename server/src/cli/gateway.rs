//! Questions to the admin listener of a running gateway.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http::{HeaderMap, HeaderValue, Method, header};
use serde_json::Value;
use weir_actors::upstream::http::{AddressRule, HttpClient, HttpClientConfig, HttpTarget};

use super::{ConfigArguments, complain, loopback};

/// The largest answer that is read, in bytes.
const MAX_ANSWER: usize = 256 * 1024 * 1024;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Which gateway is asked.
#[derive(Clone, Debug, Args)]
pub(super) struct PlaceArguments {
    /// Where the gateway's admin listener is [default: the `admin.listen` of the configuration]
    #[arg(long, value_name = "URL")]
    pub(super) admin: Option<String>,
    /// The configuration that names the address
    #[arg(long, short, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
}

/// An admin listener.
pub(super) struct Admin {
    url: String,
}

/// What came of a question.
pub(super) enum Asked {
    /// An answer: its status, and its body if that is JSON.
    Answered(u16, Value),
    /// Nobody is there, or does not answer; why.
    Unreachable(String),
}

// === impl PlaceArguments ===

impl PlaceArguments {
    /// The listener that is named, or says on standard error why there is none.
    pub(super) fn admin(&self) -> Result<Admin, ExitCode> {
        let url = match &self.admin {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => {
                let source = self.config_arguments().source();
                let address = self.config_arguments().load(&source)?.admin.listen.0;
                format!("http://{}", loopback(address))
            }
        };
        Admin::new(&url).map_err(|error| complain(&error))
    }

    pub(super) fn config_arguments(&self) -> ConfigArguments {
        ConfigArguments {
            config: self.config.clone(),
        }
    }
}

// === impl Admin ===

impl Admin {
    pub(super) fn new(url: &str) -> Result<Self, String> {
        let target = HttpTarget::parse(url).map_err(|error| format!("{url}: {error}"))?;
        if target.tls() {
            return Err(format!("{url}: the admin listener speaks http"));
        }
        Ok(Self {
            url: url.to_owned(),
        })
    }

    /// Gets a page, or posts a body to it.
    pub(super) fn ask(&self, path: &str, body: Option<&Value>) -> Asked {
        let asked = async {
            tokio::time::timeout(PATIENCE, self.exchange(path, body))
                .await
                .unwrap_or_else(|_| Err("no answer in time".to_owned()))
        };
        match actix::System::new().block_on(asked) {
            Ok((status, body)) => Asked::Answered(status, body),
            Err(error) => Asked::Unreachable(format!("{}{path}: {error}", self.url)),
        }
    }

    async fn exchange(&self, path: &str, body: Option<&Value>) -> Result<(u16, Value), String> {
        let target = HttpTarget::parse(&format!("{}{path}", self.url));
        // Whoever types a URL means it.
        let target = target
            .map_err(|error| error.to_string())?
            .under(AddressRule::Any);
        let mut headers = HeaderMap::new();
        let (method, body) = match body {
            None => (Method::GET, Bytes::new()),
            Some(body) => {
                let json = HeaderValue::from_static("application/json");
                headers.insert(header::CONTENT_TYPE, json);
                (Method::POST, Bytes::from(body.to_string()))
            }
        };
        let client = HttpClient::new(HttpClientConfig::default());
        let answer = client.send(&target, method, headers, body).await;
        let answer = answer.map_err(|error| error.to_string())?;
        let status = answer.status.as_u16();
        let text = answer.bytes(MAX_ANSWER).await;
        let text = text.map_err(|error| error.to_string())?;
        Ok((status, serde_json::from_slice(&text).unwrap_or(Value::Null)))
    }
}

/// A text of somebody else as a terminal may show it.
pub(super) fn plain(text: &str) -> String {
    let is_plain =
        |letter: char| !letter.is_control() && !weir_actors::builtin::is_deceptive(letter);
    let letters = text.chars().map(|letter| match is_plain(letter) {
        true => letter.to_string(),
        false => letter.escape_unicode().to_string(),
    });
    letters.collect()
}
