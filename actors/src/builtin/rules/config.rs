//! What an operator writes under `policy`.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use weir_plugin_protocol::role::PolicyEvaluator;

use super::Rules;
use crate::builtin::Misconfigured;
use crate::builtin::always_allow::AlwaysAllow;
use crate::builtin::pattern::Pattern;

/// Who may do what.
///
/// Without `rules` everybody who is authenticated may do everything. With `rules`, what no `allow` rule matches is
/// denied, and what a `deny` rule matches is denied whatever else allows it; the order of rules does not matter.
/// Lists (`tools/list` and the like) show exactly what may be called. Handshakes, lists, notifications and streams
/// are open to everybody for whom at least one `allow` rule could match.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PolicyConfig {
    /// The rules; absent: everything is allowed. An empty list denies everything.
    pub rules: Option<Vec<RuleConfig>>,
}

/// One rule. A key that is absent restricts nothing; a rule matches if all of its keys match, and a key matches if
/// one of its patterns does. In patterns `*` stands for any text and `?` for any one character.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleConfig {
    /// The name that refusals and the log give; unique.
    pub name: String,
    /// What a match means.
    pub effect: Effect,
    /// Users, by their id.
    #[serde(default)]
    pub principals: Option<Vec<Pattern>>,
    /// Tenants. A user without a tenant matches no pattern, not even `*`.
    #[serde(default)]
    pub tenants: Option<Vec<Pattern>>,
    /// Roles: one of the user's roles matches one of the patterns.
    #[serde(default)]
    pub roles: Option<Vec<Pattern>>,
    /// Groups: one of the user's groups matches one of the patterns.
    #[serde(default)]
    pub groups: Option<Vec<Pattern>>,
    /// Servers, by the name in the configuration.
    #[serde(default)]
    pub servers: Option<Vec<Pattern>>,
    /// Methods: `tools/call`, `prompts/get`, `resources/read`, `resources/subscribe`, `resources/unsubscribe`,
    /// `completion/complete`. Lists need no rule.
    #[serde(default)]
    pub methods: Option<Vec<Pattern>>,
    /// Tools, by their own name at their server. If any of `tools`, `prompts`, `resources` is given, the rule is only
    /// about those kinds that are given.
    #[serde(default)]
    pub tools: Option<Vec<Pattern>>,
    /// Prompts, by their own name at their server.
    #[serde(default)]
    pub prompts: Option<Vec<Pattern>>,
    /// Resources, by URI; for resource templates, by the URI template as it is listed.
    #[serde(default)]
    pub resources: Option<Vec<Pattern>>,
    /// Conditions on the arguments of `tools/call` and `prompts/get`: the name of an argument, or a JSON pointer that
    /// begins with `/`, and a pattern for its value. An `allow` rule needs every text, number and truth value below
    /// that name to match; a `deny` rule needs one. Conditions are judged when a call is made: lists show what an
    /// `allow` rule with conditions could allow, and a `deny` rule with conditions hides nothing.
    #[serde(default)]
    pub arguments: Option<BTreeMap<String, Pattern>>,
}

/// What a matching rule means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// Allowed, unless a `deny` rule matches too.
    Allow,
    /// Denied.
    Deny,
}

// === impl PolicyConfig ===

impl PolicyConfig {
    /// Makes the evaluator. Refuses rules that could never match.
    pub fn build(&self) -> Result<Arc<dyn PolicyEvaluator>, Misconfigured> {
        match &self.rules {
            None => Ok(Arc::new(AlwaysAllow)),
            Some(rules) => Ok(Arc::new(Rules::new(rules)?)),
        }
    }
}
