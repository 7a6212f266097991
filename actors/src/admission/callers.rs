//! What each caller has taken: requests in flight and its rate, for itself and for the tools it calls.

use std::hash::{BuildHasher, DefaultHasher, Hash, Hasher, RandomState};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use weir_plugin_protocol::UserPrincipal;

use super::config::LimitRule;
use super::rate::{Allowance, Bucket};
use super::table::Table;
use crate::builtin::pattern::Pattern;
use crate::pipeline::LimitsConfig;

/// Callers, and pairs of a caller and a tool, that are remembered. Whoever was not seen for longest is forgotten for a
/// new one, and begins with a full burst when it comes back.
pub const MAX_ACCOUNTS: usize = 100_000;

/// What callers have used of their limits. One for all workers; the limits themselves are part of the settings, so that
/// what is counted outlives a change of them.
///
/// A request costs one look-up in a table with a lock for each part of it, one more for each rule about its tool, and an
/// atomic word each for its place and its rate. `examples/admission_cost.rs` prints what that is in nanoseconds.
#[derive(Debug)]
pub struct Callers {
    accounts: Table<Account>,
    /// Secret, so that nobody can choose names that meet in the table. Two of 100,000 callers share an account by
    /// chance with a probability of less than 10^-9.
    spread: RandomState,
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// Who it was found to be.
    pub principal: &'a UserPrincipal,
    /// Where it comes from, if it showed no credentials: then it is told from others by that.
    pub peer: Option<IpAddr>,
}

/// What is called.
#[derive(Clone, Copy, Debug)]
pub struct Called<'a> {
    /// The server.
    pub server: &'a str,
    /// The tool, by its own name at its server, if it is one.
    pub tool: Option<&'a str>,
}

/// A place among the requests in flight of a caller. Dropping it gives it back.
#[derive(Debug)]
pub struct Place(Arc<Account>);

/// The caller has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limited {
    /// Which limit.
    pub limit: Limit,
    /// When there is something left again, if that can be told.
    pub retry_after: Option<Duration>,
}

/// Which limit of a caller was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Its requests in flight.
    InFlight,
    /// Its rate.
    Rate,
    /// The requests in flight of a rule about servers or tools.
    ToolInFlight,
    /// The rate of such a rule.
    ToolRate,
    /// There is no room to count it.
    Table,
}

/// What one caller has taken.
#[derive(Debug, Default)]
pub(super) struct Account {
    in_flight: AtomicU32,
    bucket: ArcSwapOption<Bucket>,
}

// === impl Callers ===

impl Default for Callers {
    /// Nobody was seen yet.
    fn default() -> Self {
        Self {
            accounts: Table::new(MAX_ACCOUNTS),
            spread: RandomState::new(),
        }
    }
}

impl Callers {
    /// Admits `weight` messages of a caller. With `in_flight` it takes a place.
    ///
    /// # Errors
    /// The caller has to wait; nothing was taken but, perhaps, from its rate.
    pub fn admit(
        &self,
        limits: &LimitsConfig,
        caller: &Caller<'_>,
        weight: NonZeroU32,
        in_flight: bool,
    ) -> Result<Option<Place>, Limited> {
        let (account, rule) = self.own(limits, caller)?;
        let place = match in_flight {
            true => {
                let place = account.place(in_flight_of(limits, rule));
                Some(place.ok_or(Limited::now(Limit::InFlight))?)
            }
            false => None,
        };
        let allowance = rule.and_then(LimitRule::allowance);
        if let Some(allowance) = allowance.or_else(|| limits.principal.allowance()) {
            account.take(allowance, weight, Limit::Rate)?;
        }
        Ok(place)
    }

    /// One more place for a caller, if it has one left. Its rate was charged before.
    pub fn another_place(&self, limits: &LimitsConfig, caller: &Caller<'_>) -> Option<Place> {
        let (account, rule) = self.own(limits, caller).ok()?;
        account.place(in_flight_of(limits, rule))
    }

    /// The account of a caller, and the rule that is about it.
    fn own<'a>(
        &self,
        limits: &'a LimitsConfig,
        caller: &Caller<'_>,
    ) -> Result<(Arc<Account>, Option<&'a LimitRule>), Limited> {
        let mut rules = limits.rules.iter();
        let rule = rules.find(|rule| !rule.has_targets() && rule.concerns(caller));
        let key = self.key(|hasher| {
            rule.map(|rule| &rule.name).hash(hasher);
            caller.hash(hasher);
        });
        Ok((self.account(key)?, rule))
    }

    /// Counts somebody whose credentials are no good, by its address: guessing is no faster than calling.
    ///
    /// # Errors
    /// It has to wait.
    pub fn stranger(&self, limits: &LimitsConfig, peer: IpAddr) -> Result<(), Limited> {
        let Some(allowance) = limits.principal.allowance() else {
            return Ok(());
        };
        let key = self.key(|hasher| ("stranger", peer).hash(hasher));
        self.account(key)?
            .take(allowance, NonZeroU32::MIN, Limit::Rate)
    }

    /// Admits one request to what is called, and adds the places it takes. Returns the deadline that a rule sets.
    ///
    /// # Errors
    /// The caller has to wait. Places that were added stay until they are dropped.
    pub fn call(
        &self,
        limits: &LimitsConfig,
        caller: &Caller<'_>,
        called: &Called<'_>,
        places: &mut Vec<Place>,
    ) -> Result<Option<Duration>, Limited> {
        let mut deadline = None;
        for rule in &limits.rules {
            if !rule.covers(caller, called) {
                continue;
            }
            deadline = deadline.or(rule.deadline);
            if !rule.has_targets() || (rule.rate.is_none() && rule.in_flight.is_none()) {
                continue;
            }
            let tool = called.tool.filter(|_| rule.tools.is_some());
            let key = self.key(|hasher| {
                ("rule", &rule.name, called.server, tool).hash(hasher);
                if !rule.shared {
                    caller.hash(hasher);
                }
            });
            let account = self.account(key)?;
            if let Some(bound) = rule.in_flight {
                let place = account.place(bound);
                places.push(place.ok_or(Limited::now(Limit::ToolInFlight))?);
            }
            if let Some(allowance) = rule.allowance() {
                account.take(allowance, NonZeroU32::MIN, Limit::ToolRate)?;
            }
        }
        Ok(deadline.map(|deadline| deadline.0))
    }

    /// How many accounts are kept.
    pub fn accounts(&self) -> usize {
        self.accounts.len()
    }

    fn key(&self, write: impl FnOnce(&mut DefaultHasher)) -> u64 {
        let mut hasher = self.spread.build_hasher();
        write(&mut hasher);
        hasher.finish()
    }

    fn account(&self, key: u64) -> Result<Arc<Account>, Limited> {
        let account = self.accounts.get(key, Account::default);
        account.ok_or(Limited::now(Limit::Table))
    }
}

/// How much a caller may have in flight.
fn in_flight_of(limits: &LimitsConfig, rule: Option<&LimitRule>) -> NonZeroU32 {
    let bound = rule.and_then(|rule| rule.in_flight);
    bound.unwrap_or(limits.principal.in_flight)
}

// === impl Caller ===

impl Caller<'_> {
    fn hash(&self, hasher: &mut DefaultHasher) {
        let Self { principal, peer } = self;
        (&principal.tenant_id, &principal.user_id, peer).hash(hasher);
    }
}

// === impl Limited ===

impl Limited {
    fn now(limit: Limit) -> Self {
        Self {
            limit,
            retry_after: None,
        }
    }
}

// === impl Limit ===

impl Limit {
    /// Every limit.
    pub const ALL: [Self; 5] = [
        Self::InFlight,
        Self::Rate,
        Self::ToolInFlight,
        Self::ToolRate,
        Self::Table,
    ];

    /// The word of answers, audit records and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InFlight => "principal_in_flight",
            Self::Rate => "principal_rate",
            Self::ToolInFlight => "tool_in_flight",
            Self::ToolRate => "tool_rate",
            Self::Table => "principal_table",
        }
    }
}

// === impl LimitRule ===

impl LimitRule {
    fn concerns(&self, caller: &Caller<'_>) -> bool {
        let principal = caller.principal;
        one_matches(self.principals.as_deref(), [&principal.user_id])
            && one_matches(self.tenants.as_deref(), &principal.tenant_id)
            && one_matches(self.roles.as_deref(), &principal.roles)
            && one_matches(self.groups.as_deref(), &principal.groups)
    }

    fn covers(&self, caller: &Caller<'_>, called: &Called<'_>) -> bool {
        let matches =
            |patterns: &[Pattern], text: &str| patterns.iter().any(|pattern| pattern.matches(text));
        let of_server = self.servers.as_deref();
        let of_tool = self.tools.as_deref();
        of_server.is_none_or(|patterns| matches(patterns, called.server))
            && of_tool
                .is_none_or(|patterns| called.tool.is_some_and(|tool| matches(patterns, tool)))
            && self.concerns(caller)
    }
}

fn one_matches<'a>(
    patterns: Option<&[Pattern]>,
    texts: impl IntoIterator<Item = &'a String>,
) -> bool {
    patterns.is_none_or(|patterns| {
        texts
            .into_iter()
            .any(|text| patterns.iter().any(|pattern| pattern.matches(text)))
    })
}

// === impl Account ===

impl Account {
    fn place(self: &Arc<Self>, bound: NonZeroU32) -> Option<Place> {
        let more = |taken| (taken < bound.get()).then_some(taken + 1);
        let taken = &self.in_flight;
        taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .ok()?;
        Some(Place(self.clone()))
    }

    fn take(&self, allowance: Allowance, weight: NonZeroU32, limit: Limit) -> Result<(), Limited> {
        let refused = |retry_after| Limited {
            limit,
            retry_after: Some(retry_after),
        };
        let fits = |bucket: &Arc<Bucket>| bucket.allowance == allowance;
        if let Some(bucket) = self.bucket.load().as_ref().filter(|bucket| fits(bucket)) {
            return bucket.take(weight).map_err(refused);
        }
        let new = Arc::new(Bucket::new(allowance));
        // Whoever is first makes it; all others take from the same.
        self.bucket.rcu(|known| match known {
            Some(known) if fits(known) => Some(known.clone()),
            _ => Some(new.clone()),
        });
        let bucket = self.bucket.load_full().unwrap_or(new);
        bucket.take(weight).map_err(refused)
    }
}

// === impl Place ===

impl Drop for Place {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
