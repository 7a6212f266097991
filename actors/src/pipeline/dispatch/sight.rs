//! What the caller may see, where nothing is asked for by name: items of lists, servers that all are told something.

use futures_util::future::join_all;
use weir_plugin_protocol::mcp::Era;
use weir_plugin_protocol::role::{Access, Answer, Look, Sight, TargetKind};

use super::Grant;
use crate::pipeline::{Exchange, Refusal};
use crate::upstream::{Endpoint, Federation, ListAnswer, ListKind, ServerName};

/// What of a list the caller may see.
pub(super) enum Visible<'a> {
    /// What the policy says at once.
    ByPolicy(&'a Grant),
    /// What it said when it was asked before.
    Judged(Sight),
}

/// Waits for a look no longer than the client does.
pub(super) async fn in_time<'a>(
    exchange: &Exchange,
    looking: Answer<Visible<'a>>,
) -> Result<Visible<'a>, Refusal> {
    let coming = match looking {
        Answer::Now(visible) => return Ok(visible),
        Answer::Later(coming) => coming,
    };
    let looked = tokio::time::timeout_at(exchange.arrival().deadline, coming).await;
    looked.map_err(|_| Refusal::PolicyUnavailable("timeout".into()))
}

// === impl Grant ===

impl Grant {
    /// What of these items the caller may see. Whoever has a policy that knows at once is not asked for the items.
    pub(super) fn look(
        &self,
        items: &dyn Fn() -> Vec<(String, TargetKind, String)>,
    ) -> Answer<Visible<'_>> {
        match self.settings.policy.look(&self.principal, items) {
            Look::Visible => Answer::Now(Visible::ByPolicy(self)),
            Look::Judged(Answer::Now(sight)) => Answer::Now(Visible::Judged(sight)),
            Look::Judged(Answer::Later(coming)) => {
                Answer::Later(Box::pin(async move { Visible::Judged(coming.await) }))
            }
        }
    }

    /// What of a list the caller may see.
    pub(super) fn look_at(
        &self,
        federation: &Federation,
        endpoint: &Endpoint,
        era: Era,
        kind: ListKind,
    ) -> Answer<Visible<'_>> {
        self.look(&|| {
            let items = std::cell::RefCell::new(Vec::new());
            let _none: ListAnswer = federation.list(endpoint, era, kind, |server, kind, name| {
                let item = (server.to_string(), kind, name.to_owned());
                items.borrow_mut().push(item);
                false
            });
            items.into_inner()
        })
    }

    /// Whether the caller may see one thing.
    pub(super) async fn sees(&self, server: &ServerName, kind: TargetKind, name: &str) -> bool {
        let item = || vec![(server.to_string(), kind, name.to_owned())];
        let visible = self.look(&item).come().await;
        visible.shows(server, kind, name)
    }

    /// Whether the caller may have anything to do with a server, so that what goes to all servers may go to it too.
    pub(super) async fn reaches(&self, server: &ServerName, method: &str) -> bool {
        let access = Access {
            method,
            server: Some(server.as_str()),
            kind: TargetKind::None,
            name: None,
            arguments: None,
        };
        let verdict = self.settings.policy.check_access(&self.principal, &access);
        verdict.come().await.is_ok()
    }

    /// Those of several servers that the caller may have anything to do with.
    pub(super) async fn reached<T>(
        &self,
        all: impl IntoIterator<Item = T>,
        name: impl Fn(&T) -> &ServerName,
        method: &str,
    ) -> Vec<T> {
        let all: Vec<T> = all.into_iter().collect();
        let asked = all.iter().map(|one| self.reaches(name(one), method));
        let verdicts = join_all(asked).await;
        let judged = all.into_iter().zip(verdicts);
        judged
            .filter_map(|(one, reached)| reached.then_some(one))
            .collect()
    }
}

// === impl Visible ===

impl Visible<'_> {
    /// Whether a list may show an item.
    pub(super) fn shows(&self, server: &ServerName, kind: TargetKind, name: &str) -> bool {
        match self {
            Self::ByPolicy(grant) => {
                let policy = &grant.settings.policy;
                policy.visible(&grant.principal, server.as_str(), kind, name)
            }
            Self::Judged(sight) => sight(server.as_str(), kind, name),
        }
    }
}
