//! What the admin listener can be asked.

use futures_util::future::{BoxFuture, LocalBoxFuture};
use serde_json::{Value, json};

use super::pins::{AcceptRefused, AcceptRequest};
use super::plugins::Tending;

/// The state of the gateway, as operators see it. Called from the admin listener's thread: every answer must be quick
/// and must not wait for the parts that it describes, which may be the ones that hang.
pub trait AdminState: Send + Sync + 'static {
    /// Says what is broken beyond repair; nothing, if the process should be kept.
    ///
    /// # Errors
    /// One sentence for each thing.
    fn healthy(&self) -> Result<(), Vec<String>> {
        Ok(())
    }

    /// Says what requests would still miss; nothing, if they would be served.
    ///
    /// # Errors
    /// One sentence for each thing.
    fn ready(&self) -> Result<(), Vec<String>>;

    /// The metrics in Prometheus' text format.
    fn metrics(&self) -> String;

    /// The supervision tree.
    fn tree(&self) -> Value;

    /// The mailboxes: how full, how large.
    fn mailboxes(&self) -> Value;

    /// The permits: how many, how many are taken.
    fn permits(&self) -> Value;

    /// The MCP servers behind the gateway.
    fn upstreams(&self) -> Value;

    /// The plugins.
    fn plugins(&self) -> Value;

    /// Does something to a plugin; this may take seconds.
    ///
    /// # Errors
    /// Why it does not serve as it should, for the operator.
    fn tend_plugin(
        &self,
        name: &str,
        _how: Tending,
    ) -> LocalBoxFuture<'static, Result<(), String>> {
        let error = format!("plugin {name} is not loaded");
        Box::pin(std::future::ready(Err(error)))
    }

    /// What servers offer, compared with what was approved.
    fn pins(&self) -> Value {
        Value::Null
    }

    /// Approves what servers offer now. Waits for the disk. Returns how many objects were not approved before.
    ///
    /// # Errors
    /// See [`AcceptRefused`].
    fn accept_pins(&self, _asked: &AcceptRequest) -> Result<usize, AcceptRefused> {
        Err(AcceptRefused::Impossible(
            "nothing is pinned here".to_owned(),
        ))
    }

    /// Forgets what plugins have said: of everybody, or of one user, of any tenant if none is named.
    fn forget(&self, _user: Option<(&str, Option<&str>)>) {}

    /// What came of the last reload; null if there was none.
    fn last_reload(&self) -> Value {
        Value::Null
    }

    /// Has the configuration read again. Returns the HTTP status and what came of it; this may take seconds.
    fn reload(&self) -> BoxFuture<'static, (u16, Value)> {
        let answer = json!({ "error": "nothing can be reloaded here" });
        Box::pin(std::future::ready((503, answer)))
    }
}
