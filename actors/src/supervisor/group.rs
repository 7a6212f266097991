//! What a group of children promises, and which promises contradict each other.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::child::{ChildPolicy, OnExhausted, Restart};

/// What a failed child means for its siblings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// Nothing: only it is restarted.
    #[default]
    OneForOne,
    /// All are stopped, in reverse order, and started again, in order.
    OneForAll,
    /// Those started after it are stopped, in reverse order, and started again with it, in order.
    RestForOne,
}

/// Whether a group ends when significant children end by themselves: a transient one normally, a temporary one in
/// whatever way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AutoShutdown {
    /// Not; then no child may be significant.
    #[default]
    Never,
    /// When one does.
    AnySignificant,
    /// When the last one does.
    AllSignificant,
}

/// A child that contradicts itself or its group.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// A permanent child never ends by itself.
    #[error(
        "child {0} is significant and permanent: a significant child must be transient or temporary"
    )]
    SignificantPermanent(Arc<str>),
    /// Nothing would look at it.
    #[error("child {0} is significant, but the group's auto_shutdown is never")]
    SignificantForNothing(Arc<str>),
    /// The siblings would wait for the quarantined child for ever.
    #[error("child {0} cannot be quarantined: only children of a one_for_one group can")]
    QuarantineOfMany(Arc<str>),
    /// Escalation counts all children of the group together.
    #[error(
        "child {0} has an intensity or period of its own, but restarts are counted for the whole group unless on_exhausted is quarantine"
    )]
    CountedTogether(Arc<str>),
    /// It would be restarted without ever giving way to others.
    #[error("child {0} has no delay between restarts: backoff min must be longer than 0")]
    NoDelay(Arc<str>),
    /// Two children of a group have this name.
    #[error("two children are named {0}")]
    Duplicate(Arc<str>),
}

/// Checks a child against itself and its group.
pub(crate) fn check(
    name: &Arc<str>,
    policy: &ChildPolicy,
    strategy: Strategy,
    auto_shutdown: AutoShutdown,
) -> Result<(), SpecError> {
    if policy.significant && policy.restart == Restart::Permanent {
        return Err(SpecError::SignificantPermanent(Arc::clone(name)));
    }
    if policy.significant && auto_shutdown == AutoShutdown::Never {
        return Err(SpecError::SignificantForNothing(Arc::clone(name)));
    }
    if policy.on_exhausted == OnExhausted::Quarantine && strategy != Strategy::OneForOne {
        return Err(SpecError::QuarantineOfMany(Arc::clone(name)));
    }
    if policy.backoff.min.is_zero() {
        return Err(SpecError::NoDelay(Arc::clone(name)));
    }
    Ok(())
}
