//! A plugin says who may use which server.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arc_swap::ArcSwap;
use weir_plugin_protocol::UserPrincipal;
use weir_plugin_protocol::role::{
    Access, Answer, Look, PolicyError, PolicyEvaluator, Sight, TargetKind,
};

use super::config::{CacheConfig, Decides};
use super::fingerprint::{Fingerprint, Fingerprinting};
use super::memory::{Kept, Memory};
use crate::pipeline::metrics::roles::CacheCounts;
use crate::plugin::{CallError, Detail, PolicyClient, Question, Registry, Role};

/// The most items of one list that are asked for at once; the others wait.
const AT_ONCE: usize = 32;

type Verdict = Result<(), PolicyError>;

/// What a list may show: a server, or one thing of it.
type Item = (String, Option<Wanted>);

type Judged = BTreeMap<Item, bool>;

/// The policy that asks a plugin, and remembers what it said.
///
/// Whatever is for no server in particular (a handshake, a ping, a list of all servers) is allowed: what such a list shows
/// is asked for, server by server.
pub struct PluginPolicy {
    inner: Arc<Inner>,
}

struct Inner {
    registry: Arc<Registry>,
    rules: ArcSwap<Rules>,
    counts: CacheCounts,
}

struct Rules {
    decides: Decides,
    memory: Arc<Memory<Fingerprint, Held>>,
}

/// A verdict, and on whom.
#[derive(Clone)]
struct Held {
    verdict: Verdict,
    principal: Arc<UserPrincipal>,
}

/// What exactly somebody wants, where the plugin is asked so closely.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Wanted {
    method: Box<str>,
    is_tool: bool,
    name: Option<Box<str>>,
}

// === impl PluginPolicy ===

impl PluginPolicy {
    /// One that asks whoever plays the role.
    pub fn new(registry: Arc<Registry>, counts: CacheCounts) -> Self {
        let rules = Rules::new(CacheConfig::default(), Decides::default());
        Self {
            inner: Arc::new(Inner {
                registry,
                rules: ArcSwap::from_pointee(rules),
                counts,
            }),
        }
    }

    /// Asks and remembers by other rules from now on. Under the same rules nothing is forgotten.
    pub fn configure(&self, config: CacheConfig, decides: Decides) {
        let rules = self.inner.rules.load();
        if *rules.memory.config() != config || rules.decides != decides {
            self.inner
                .rules
                .store(Arc::new(Rules::new(config, decides)));
        }
    }

    /// Forgets all verdicts, or those on one user. Returns how many, if they were counted.
    pub fn forget(&self, user: Option<(&str, Option<&str>)>) -> Option<usize> {
        let rules = self.inner.rules.load();
        let Some((user, tenant)) = user else {
            rules.memory.forget();
            return None;
        };
        let forgotten = rules.memory.forget_where(|_, held| {
            let principal = &held.principal;
            principal.user_id == user
                && tenant.is_none_or(|tenant| principal.tenant_id.as_deref() == Some(tenant))
        });
        Some(forgotten)
    }
}

impl PolicyEvaluator for PluginPolicy {
    fn check_access(&self, principal: &UserPrincipal, access: &Access<'_>) -> Answer<Verdict> {
        let Some(server) = access.server else {
            return Answer::Now(Ok(()));
        };
        let rules = self.inner.rules.load();
        let wanted = (rules.decides == Decides::Target).then(|| Wanted {
            method: access.method.into(),
            is_tool: access.kind == TargetKind::Tool,
            name: access.name.map(Into::into),
        });
        self.inner
            .verdict(&rules, principal, server, wanted.as_ref())
    }

    /// Nothing that is not known: who shows a list looks first.
    fn visible(
        &self,
        principal: &UserPrincipal,
        server: &str,
        kind: TargetKind,
        name: &str,
    ) -> bool {
        let rules = self.inner.rules.load();
        let wanted = rules.wanted(kind, name);
        let term = self.inner.registry.term(Role::PolicyEvaluator);
        let asked = fingerprint(principal, server, wanted.as_ref());
        let held = rules.memory.recall(&asked, term);
        held.is_some_and(|held| held.verdict.is_ok())
    }

    fn look(
        &self,
        principal: &UserPrincipal,
        items: &dyn Fn() -> Vec<(String, TargetKind, String)>,
    ) -> Look {
        let rules = self.inner.rules.load_full();
        let questions = items().into_iter();
        let questions: BTreeSet<Item> = questions
            .map(|(server, kind, name)| (server, rules.wanted(kind, &name)))
            .collect();
        let mut judged = Judged::new();
        let mut open = Vec::new();
        let term = self.inner.registry.term(Role::PolicyEvaluator);
        for item in questions {
            let (server, wanted) = &item;
            let asked = fingerprint(principal, server, wanted.as_ref());
            match rules.memory.recall(&asked, term) {
                Some(held) => {
                    self.inner.counts.hit.inc();
                    judged.insert(item, held.verdict.is_ok());
                }
                None => open.push(item),
            }
        }
        if open.is_empty() {
            return Look::Judged(Answer::Now(sight(rules, judged)));
        }
        let (inner, principal) = (self.inner.clone(), principal.clone());
        Look::Judged(Answer::Later(Box::pin(async move {
            for some in open.chunks(AT_ONCE) {
                let asked = some.iter().map(|(server, wanted)| {
                    inner
                        .verdict(&rules, &principal, server, wanted.as_ref())
                        .come()
                });
                let verdicts = futures_util::future::join_all(asked).await;
                let verdicts = verdicts.into_iter().map(|verdict| verdict.is_ok());
                judged.extend(some.iter().cloned().zip(verdicts));
            }
            sight(rules, judged)
        })))
    }
}

fn sight(rules: Arc<Rules>, judged: Judged) -> Sight {
    Arc::new(move |server, kind, name| {
        let item = (server.to_owned(), rules.wanted(kind, name));
        judged.get(&item).copied().unwrap_or(false)
    })
}

// === impl Inner ===

impl Inner {
    fn verdict(
        &self,
        rules: &Rules,
        principal: &UserPrincipal,
        server: &str,
        wanted: Option<&Wanted>,
    ) -> Answer<Verdict> {
        let term = self.registry.term(Role::PolicyEvaluator);
        let asked = fingerprint(principal, server, wanted);
        if let Some(held) = rules.memory.recall(&asked, term) {
            self.counts.hit.inc();
            return Answer::Now(held.verdict);
        }
        self.counts.miss.inc();
        let (Some(term), Some(plugin)) = (term, self.registry.policy_evaluator()) else {
            return Answer::Now(Err(unavailable(&CallError::NotRunning)));
        };
        let principal = Arc::new(principal.clone());
        let (server, wanted) = (server.to_owned(), wanted.cloned());
        let question = async move { ask(&plugin, principal, &server, wanted.as_ref()).await };
        let Some(coming) = rules.memory.ask(asked, term, question) else {
            return Answer::Now(Err(unavailable(&CallError::Busy)));
        };
        let unavailable = self.counts.unavailable.clone();
        Answer::Later(Box::pin(async move {
            let verdict = match coming.await {
                Some(held) => held.verdict,
                None => Err(self::unavailable(&CallError::Closed)),
            };
            if let Err(PolicyError::Unavailable(_)) = verdict {
                unavailable.inc();
            }
            verdict
        }))
    }
}

async fn ask(
    plugin: &PolicyClient,
    principal: Arc<UserPrincipal>,
    server: &str,
    wanted: Option<&Wanted>,
) -> Kept<Held> {
    let detail = wanted.map(|wanted| {
        let name = wanted.name.as_deref();
        Detail {
            method: &wanted.method,
            tool: name.filter(|_| wanted.is_tool),
            target: name.filter(|_| !wanted.is_tool),
        }
    });
    let question = Question {
        principal: &principal,
        mcp_server: server,
        detail,
    };
    let decision = plugin.check_access(question).await;
    let held = |verdict| Held { verdict, principal };
    match decision {
        Ok(decision) if decision.allowed => Kept::Good(held(Ok(())), None),
        Ok(decision) => Kept::Bad(held(Err(PolicyError::Denied(decision.reason)))),
        Err(error) => Kept::Not(held(Err(unavailable(&error)))),
    }
}

fn fingerprint(principal: &UserPrincipal, server: &str, wanted: Option<&Wanted>) -> Fingerprint {
    let mut fingerprint = Fingerprinting::new();
    fingerprint.principal(principal);
    fingerprint.text(server);
    if let Some(wanted) = wanted {
        fingerprint.text(&wanted.method);
        fingerprint.text(if wanted.is_tool { "tool" } else { "" });
        fingerprint.optional(wanted.name.as_deref());
    }
    fingerprint.finish()
}

fn unavailable(error: &CallError) -> PolicyError {
    PolicyError::Unavailable(error.to_string())
}

// === impl Rules ===

impl Rules {
    fn new(config: CacheConfig, decides: Decides) -> Self {
        Self {
            decides,
            memory: Arc::new(Memory::new(config)),
        }
    }

    /// What is asked of an item of a list: whether it may be used.
    fn wanted(&self, kind: TargetKind, name: &str) -> Option<Wanted> {
        let method = match kind {
            _ if self.decides == Decides::Server => return None,
            TargetKind::Tool => "tools/call",
            TargetKind::Prompt => "prompts/get",
            TargetKind::Resource => "resources/read",
            TargetKind::ResourceTemplate => "resources/templates/list",
            TargetKind::None => "",
        };
        Some(Wanted {
            method: method.into(),
            is_tool: kind == TargetKind::Tool,
            name: Some(name.into()),
        })
    }
}
