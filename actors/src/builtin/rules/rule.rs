//! One rule, checked and ready to match.

use serde_json::Value;
use weir_plugin_protocol::UserPrincipal;
use weir_plugin_protocol::role::{Access, TargetKind};

use super::arguments::{Condition, Unclear};
use super::config::{Effect, RuleConfig};
use super::method::{self, JUDGED};
use crate::builtin::Misconfigured;
use crate::builtin::pattern::Pattern;

/// A rule that can match something.
#[derive(Debug)]
pub(super) struct Rule {
    /// Its name.
    pub(super) name: String,
    /// What a match means.
    pub(super) effect: Effect,
    principals: Patterns,
    tenants: Patterns,
    roles: Patterns,
    groups: Patterns,
    servers: Patterns,
    methods: Patterns,
    targets: Option<Targets>,
    conditions: Vec<Condition>,
}

/// Patterns of one key; `None` restricts nothing.
#[derive(Debug)]
struct Patterns(Option<Vec<Pattern>>);

/// The kinds that a rule is about; a kind without patterns is not among them.
#[derive(Debug)]
struct Targets {
    tools: Vec<Pattern>,
    prompts: Vec<Pattern>,
    resources: Vec<Pattern>,
}

// === impl Rule ===

impl Rule {
    /// Checks a rule of the configuration. What can never match is refused: it would only look like a rule.
    pub(super) fn new(config: &RuleConfig) -> Result<Self, Misconfigured> {
        if config.name.is_empty() {
            return Err(Misconfigured::new("name", "empty; give the rule a name"));
        }
        let mut conditions = Vec::new();
        for (name, pattern) in config.arguments.iter().flatten() {
            let condition = Condition::new(name, pattern)
                .map_err(|problem| Misconfigured::new(format!("arguments.{name}"), problem))?;
            conditions.push(condition);
        }
        if config.arguments.is_some() && conditions.is_empty() {
            return Err(Misconfigured::new("arguments", EMPTY));
        }
        let rule = Self {
            name: config.name.clone(),
            effect: config.effect,
            principals: Patterns::new("principals", config.principals.as_ref())?,
            tenants: Patterns::existing("tenants", config.tenants.as_ref())?,
            roles: Patterns::existing("roles", config.roles.as_ref())?,
            groups: Patterns::existing("groups", config.groups.as_ref())?,
            servers: Patterns::new("servers", config.servers.as_ref())?,
            methods: Patterns::new("methods", config.methods.as_ref())?,
            targets: Targets::new(config)?,
            conditions,
        };
        rule.check_methods(config)?;
        rule.check_targets()?;
        rule.check_conditions()?;
        Ok(rule)
    }

    /// Returns true if the rule is about this principal.
    pub(super) fn concerns(&self, principal: &UserPrincipal) -> bool {
        self.principals.matches(&principal.user_id)
            && self.tenants.matches_one(principal.tenant_id.as_ref())
            && self.roles.matches_one(&principal.roles)
            && self.groups.matches_one(&principal.groups)
    }

    /// Returns true if the rule is about this request, leaving out its conditions. What is not known counts as a
    /// match for `deny` and as none for `allow`.
    pub(super) fn covers(&self, access: &Access<'_>) -> bool {
        let unknown = self.effect == Effect::Deny;
        let in_call = self.conditions.is_empty() || method::has_arguments(access.method);
        in_call
            && self.servers.matches_known(access.server, unknown)
            && self.methods.matches(access.method)
            && self
                .targets
                .as_ref()
                .is_none_or(|targets| targets.match_known(access.kind, access.name, unknown))
    }

    /// Returns true if the rule could match something of this server, or of any server.
    pub(super) fn reaches(&self, server: Option<&str>) -> bool {
        self.servers.matches_known(server, true)
    }

    /// Returns true if the rule is about everything of this server, or of every server.
    pub(super) fn is_total(&self, server: Option<&str>) -> bool {
        self.methods.is_open()
            && self.targets.is_none()
            && self.conditions.is_empty()
            && self.servers.matches_known(server, false)
    }

    /// Returns true if the rule looks into the arguments.
    pub(super) fn has_conditions(&self) -> bool {
        !self.conditions.is_empty()
    }

    /// Returns true if all conditions hold.
    pub(super) fn conditions_hold(&self, arguments: &Value) -> Result<bool, Unclear> {
        for condition in &self.conditions {
            if !condition.holds(self.effect, arguments)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn check_methods(&self, config: &RuleConfig) -> Result<(), Misconfigured> {
        for (index, pattern) in config.methods.iter().flatten().enumerate() {
            if !method::known(|name| pattern.matches(name)) {
                let problem = "matches no method of MCP; write for instance `tools/call`";
                return Err(Misconfigured::new(format!("methods[{index}]"), problem));
            }
        }
        if JUDGED
            .iter()
            .any(|judged| self.methods.matches(judged.name))
        {
            return Ok(());
        }
        let problem = "these methods need no rule, so this one would never be looked at; lists show what \
                       may be called: write a rule for `tools/call`, `prompts/get` or `resources/read`";
        Err(Misconfigured::new("methods", problem))
    }

    fn check_targets(&self) -> Result<(), Misconfigured> {
        let Some(targets) = &self.targets else {
            return Ok(());
        };
        for (key, patterns, kind) in [
            ("tools", &targets.tools, TargetKind::Tool),
            ("prompts", &targets.prompts, TargetKind::Prompt),
            ("resources", &targets.resources, TargetKind::Resource),
        ] {
            let named_by_a_method = JUDGED
                .iter()
                .any(|judged| judged.kinds.contains(&kind) && self.methods.matches(judged.name));
            if !patterns.is_empty() && !named_by_a_method {
                let problem = format!(
                    "can never match, because none of the rule's methods names {key}; change `methods`, or remove this"
                );
                return Err(Misconfigured::new(key, problem));
            }
        }
        Ok(())
    }

    fn check_conditions(&self) -> Result<(), Misconfigured> {
        let applies = JUDGED.iter().any(|judged| {
            judged.has_arguments
                && self.methods.matches(judged.name)
                && judged.kinds.iter().any(|kind| self.is_about(*kind))
        });
        if self.conditions.is_empty() || applies {
            return Ok(());
        }
        let problem = "can never match, because only `tools/call` and `prompts/get` have arguments; remove this";
        Err(Misconfigured::new("arguments", problem))
    }

    fn is_about(&self, kind: TargetKind) -> bool {
        self.targets
            .as_ref()
            .is_none_or(|targets| !targets.of(kind).is_empty())
    }
}

const EMPTY: &str = "an empty list never matches; remove the key, or write `[\"*\"]`";

// === impl Patterns ===

impl Patterns {
    /// Patterns for something that every request has: `*` restricts nothing.
    fn new(key: &str, patterns: Option<&Vec<Pattern>>) -> Result<Self, Misconfigured> {
        let patterns = Self::existing(key, patterns)?;
        if patterns.0.iter().flatten().any(Pattern::matches_everything) {
            return Ok(Self(None));
        }
        Ok(patterns)
    }

    /// Patterns for something that may be absent: `*` asks for one.
    fn existing(key: &str, patterns: Option<&Vec<Pattern>>) -> Result<Self, Misconfigured> {
        if patterns.is_some_and(Vec::is_empty) {
            return Err(Misconfigured::new(key, EMPTY));
        }
        Ok(Self(patterns.cloned()))
    }

    fn is_open(&self) -> bool {
        self.0.is_none()
    }

    fn matches(&self, text: &str) -> bool {
        self.matches_known(Some(text), false)
    }

    fn matches_known(&self, text: Option<&str>, unknown: bool) -> bool {
        match (&self.0, text) {
            (None, _) => true,
            (Some(patterns), Some(text)) => patterns.iter().any(|pattern| pattern.matches(text)),
            (Some(_), None) => unknown,
        }
    }

    fn matches_one<'a>(&self, texts: impl IntoIterator<Item = &'a String>) -> bool {
        match &self.0 {
            None => true,
            Some(patterns) => texts
                .into_iter()
                .any(|text| patterns.iter().any(|pattern| pattern.matches(text))),
        }
    }
}

// === impl Targets ===

impl Targets {
    fn new(config: &RuleConfig) -> Result<Option<Self>, Misconfigured> {
        let lists = [
            ("tools", &config.tools),
            ("prompts", &config.prompts),
            ("resources", &config.resources),
        ];
        for (key, list) in lists {
            if list.as_ref().is_some_and(Vec::is_empty) {
                return Err(Misconfigured::new(key, EMPTY));
            }
        }
        if lists.iter().all(|(_, list)| list.is_none()) {
            return Ok(None);
        }
        Ok(Some(Self {
            tools: config.tools.clone().unwrap_or_default(),
            prompts: config.prompts.clone().unwrap_or_default(),
            resources: config.resources.clone().unwrap_or_default(),
        }))
    }

    fn of(&self, kind: TargetKind) -> &[Pattern] {
        match kind {
            TargetKind::Tool => &self.tools,
            TargetKind::Prompt => &self.prompts,
            TargetKind::Resource | TargetKind::ResourceTemplate => &self.resources,
            TargetKind::None => &[],
        }
    }

    fn match_known(&self, kind: TargetKind, name: Option<&str>, unknown: bool) -> bool {
        let patterns = self.of(kind);
        match name {
            Some(name) => patterns.iter().any(|pattern| pattern.matches(name)),
            None => unknown && !patterns.is_empty(),
        }
    }
}
