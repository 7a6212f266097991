//! Decides: every deny rule is asked before any allow rule.

use std::collections::HashSet;

use serde_json::Value;
use weir_plugin_protocol::UserPrincipal;
use weir_plugin_protocol::role::{Access, Answer, PolicyError, PolicyEvaluator, TargetKind};

use super::arguments;
use super::config::{Effect, RuleConfig};
use super::method;
use super::rule::Rule;
use crate::builtin::Misconfigured;

/// The rules of the configuration. Immutable: a reload makes new ones. A check looks at the rules in turn and
/// allocates nothing unless it denies or a rule has conditions on arguments.
#[derive(Debug)]
pub struct Rules {
    denying: Vec<Rule>,
    allowing: Vec<Rule>,
}

/// Whether a call is made, or a list asks what could be called.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Call,
    List,
}

// === impl Rules ===

impl Rules {
    /// Checks the rules of the configuration.
    pub fn new(rules: &[RuleConfig]) -> Result<Self, Misconfigured> {
        let mut names = HashSet::new();
        let (mut denying, mut allowing) = (Vec::new(), Vec::new());
        for (index, config) in rules.iter().enumerate() {
            let place = format!("rules[{index}]");
            let rule = Rule::new(config).map_err(|error| error.within(&place))?;
            if !names.insert(config.name.clone()) {
                let problem = "this name is used twice; names must be unique";
                return Err(Misconfigured::new(format!("{place}.name"), problem));
            }
            match rule.effect {
                Effect::Deny => denying.push(rule),
                Effect::Allow => allowing.push(rule),
            }
        }
        Ok(Self { denying, allowing })
    }

    fn decide(
        &self,
        principal: &UserPrincipal,
        access: &Access<'_>,
        phase: Phase,
    ) -> Result<(), String> {
        let mut arguments = None;
        for rule in &self.denying {
            let skipped = phase == Phase::List && rule.has_conditions();
            if !skipped && applies(rule, principal, access, phase, &mut arguments)? {
                return Err(denied_by(rule));
            }
        }
        for rule in &self.allowing {
            if applies(rule, principal, access, phase, &mut arguments) == Ok(true) {
                return Ok(());
            }
        }
        Err("no rule allows it".to_owned())
    }

    /// Decides about what needs no rule of its own: open to those for whom some rule could allow something.
    fn may_enter(&self, principal: &UserPrincipal, server: Option<&str>) -> Result<(), String> {
        let ban = self
            .denying
            .iter()
            .find(|rule| rule.is_total(server) && rule.concerns(principal));
        if let Some(rule) = ban {
            return Err(denied_by(rule));
        }
        let could_allow = |rule: &Rule| rule.reaches(server) && rule.concerns(principal);
        if self.allowing.iter().any(could_allow) {
            return Ok(());
        }
        Err("no rule allows anything".to_owned())
    }
}

impl PolicyEvaluator for Rules {
    fn check_access(
        &self,
        principal: &UserPrincipal,
        access: &Access<'_>,
    ) -> Answer<Result<(), PolicyError>> {
        let verdict = if access.kind == TargetKind::None && method::is_open(access.method) {
            self.may_enter(principal, access.server)
        } else {
            self.decide(principal, access, Phase::Call)
        };
        Answer::Now(verdict.map_err(PolicyError::Denied))
    }

    fn visible(
        &self,
        principal: &UserPrincipal,
        server: &str,
        kind: TargetKind,
        name: &str,
    ) -> bool {
        let access = Access {
            method: method::method_of(kind),
            server: Some(server),
            kind,
            name: Some(name),
            arguments: None,
        };
        self.decide(principal, &access, Phase::List).is_ok()
    }
}

/// Says whether a rule matches; `arguments` are read when the first rule asks for them. An error says why that cannot
/// be told: a deny rule then denies, and an allow rule does not allow.
fn applies(
    rule: &Rule,
    principal: &UserPrincipal,
    access: &Access<'_>,
    phase: Phase,
    arguments: &mut Option<Value>,
) -> Result<bool, String> {
    if !rule.covers(access) || !rule.concerns(principal) {
        return Ok(false);
    }
    if phase == Phase::List || !rule.has_conditions() {
        return Ok(true);
    }
    let unclear = |unclear: arguments::Unclear| unclear.as_str().to_owned();
    let value = match arguments.take() {
        Some(value) => value,
        None => arguments::read(access.arguments).map_err(unclear)?,
    };
    let holds = rule.conditions_hold(&value).map_err(unclear);
    *arguments = Some(value);
    holds
}

fn denied_by(rule: &Rule) -> String {
    format!("rule {:?}", rule.name)
}
