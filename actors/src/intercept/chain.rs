//! All interceptors of a gateway, in their order.

use std::cmp::Ordering;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde_json::Value;
use tokio::task::JoinHandle;
use weir_plugin_protocol::audit::Interception;

use super::config::InterceptorKind;
use super::event::Phase;
use super::interceptor::{Asked, Interceptor, Said};
use super::refused::{Fault, Intercepted};
use super::wire::Answer;
use crate::plugin::CallError;

/// The interceptors that one reading of the configuration names. Immutable.
#[derive(Debug, Default)]
pub struct Interceptors(Vec<Arc<Interceptor>>);

/// What the interceptors made of a message.
#[derive(Debug)]
pub struct Ruling {
    /// What each of them said, in the order in which they answered.
    pub verdicts: Vec<Interception>,
    /// The payload that is to be sent instead, if it is another one; or why the message goes no further.
    pub outcome: Result<Option<Bytes>, Intercepted>,
}

/// A message on its way through the interceptors.
struct Passing<'a> {
    asked: &'a Asked,
    payload: Bytes,
    modified: bool,
    verdicts: Vec<Interception>,
}

// === impl Interceptors ===

impl Interceptors {
    /// Interceptors in any order.
    pub fn new(interceptors: impl IntoIterator<Item = Interceptor>) -> Self {
        Self(interceptors.into_iter().map(Arc::new).collect())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether any of them is asked about this.
    pub fn want(&self, event: &str, phase: Phase) -> bool {
        self.0.iter().any(|one| one.wants(event, phase))
    }

    /// Whether what a caller gets for this request may depend on an interceptor, so that nobody else may have it too.
    pub fn decide(&self, event: &str) -> bool {
        self.0.iter().any(|one| {
            one.is_enforced()
                && (one.wants(event, Phase::Request) || one.wants(event, Phase::Response))
        })
    }

    /// Asks them all. A request is changed and then judged; an answer is judged and then changed.
    pub async fn apply(&self, asked: &Asked, payload: Bytes) -> Ruling {
        let mut passing = Passing {
            asked,
            payload,
            modified: false,
            verdicts: Vec::new(),
        };
        let outcome = match asked.phase {
            Phase::Request => match self.mutate(&mut passing).await {
                Ok(()) => self.judge(&mut passing).await,
                refused => refused,
            },
            Phase::Response => match self.judge(&mut passing).await {
                Ok(()) => self.mutate(&mut passing).await,
                refused => refused,
            },
        };
        let Passing {
            payload,
            modified,
            verdicts,
            ..
        } = passing;
        Ruling {
            verdicts,
            outcome: outcome.map(|()| modified.then_some(payload)),
        }
    }

    /// One mutation after the other, each on what the last one made.
    async fn mutate(&self, passing: &mut Passing<'_>) -> Result<(), Intercepted> {
        let phase = passing.asked.phase;
        let mut mutations: Vec<_> = self
            .wanting(passing.asked, InterceptorKind::Mutation)
            .filter(|one| one.is_enforced())
            .collect();
        mutations.sort_by(|one, other| by_place(one, other, phase));
        for one in mutations {
            let payload = match passing.parsed() {
                Ok(payload) => payload,
                Err(fault) if one.fails_closed() => return Err(one.faulted(phase, fault)),
                Err(_) => continue,
            };
            let Said { answer, verdict } = one.ask(passing.asked, payload).await;
            passing.verdicts.push(verdict);
            match answer {
                Ok(Answer::Modified(payload)) => {
                    passing.payload = payload;
                    passing.modified = true;
                }
                Ok(_) => {}
                Err(fault) if one.fails_closed() => return Err(one.faulted(phase, fault)),
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// All validations at once, and beside them whatever is only recorded. The first that refuses ends the waiting.
    async fn judge(&self, passing: &mut Passing<'_>) -> Result<(), Intercepted> {
        let asked = passing.asked;
        let judges: Vec<_> = self
            .wanting(asked, InterceptorKind::Validation)
            .filter(|one| one.is_enforced())
            .collect();
        let watchers: Vec<_> = self
            .0
            .iter()
            .filter(|one| !one.is_enforced() && one.wants(&asked.event, asked.phase))
            .collect();
        if judges.is_empty() && watchers.is_empty() {
            return Ok(());
        }
        let payload = match passing.parsed() {
            Ok(payload) => payload,
            Err(fault) => {
                let closed = judges.into_iter().find(|one| one.fails_closed());
                return closed.map_or(Ok(()), |one| Err(one.faulted(asked.phase, fault)));
            }
        };
        // Who watches is told also of what is refused meanwhile.
        let watching: Vec<JoinHandle<Said>> = watchers
            .into_iter()
            .map(|one| {
                let (one, asked, payload) = (one.clone(), asked.clone(), payload.clone());
                tokio::spawn(async move { one.ask(&asked, payload).await })
            })
            .collect();
        let mut judging: FuturesUnordered<_> = judges
            .into_iter()
            .map(|one| {
                let payload = payload.clone();
                async move { (one, one.ask(asked, payload).await) }
            })
            .collect();
        while let Some((one, Said { answer, verdict })) = judging.next().await {
            passing.verdicts.push(verdict);
            match answer {
                Ok(Answer::Denied(told)) => return Err(one.denied(asked.phase, told)),
                Err(fault) if one.fails_closed() => return Err(one.faulted(asked.phase, fault)),
                _ => {}
            }
        }
        for watched in watching {
            if let Ok(said) = watched.await {
                passing.verdicts.push(said.verdict);
            }
        }
        Ok(())
    }

    fn wanting<'a>(
        &'a self,
        asked: &'a Asked,
        kind: InterceptorKind,
    ) -> impl Iterator<Item = &'a Arc<Interceptor>> {
        self.0
            .iter()
            .filter(move |one| one.kind() == kind && one.wants(&asked.event, asked.phase))
    }
}

fn by_place(one: &Interceptor, other: &Interceptor, phase: Phase) -> Ordering {
    one.place(phase).cmp(&other.place(phase))
}

// === impl Passing ===

impl Passing<'_> {
    fn parsed(&self) -> Result<Value, Fault> {
        serde_json::from_slice(&self.payload)
            .map_err(|error| Fault::Failed(CallError::Malformed(error.to_string())))
    }
}
