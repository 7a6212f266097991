//! `${NAME}` in values. Variables are put into scalars that are already parsed, so that a value from the environment
//! can never become YAML: no new keys, no new lists, whatever it contains.

use super::problem::Problem;
use super::tree::{Kind, Node, Path, Step};

/// Where variables come from.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A value that could not be completed.
pub(super) struct Unexpanded {
    /// Which one.
    pub(super) path: Path,
    /// Why.
    pub(super) problem: Problem,
}

/// Puts variables into every scalar below `node`; returns those that name a variable which is not set.
pub(super) fn expand(node: &mut Node, environment: Environment<'_>) -> Vec<Unexpanded> {
    let mut failures = Vec::new();
    walk(node, environment, &mut Path::default(), &mut failures);
    failures
}

fn walk(
    node: &mut Node,
    environment: Environment<'_>,
    path: &mut Path,
    failures: &mut Vec<Unexpanded>,
) {
    match &mut node.kind {
        Kind::Scalar(scalar) => {
            if !scalar.text.contains("${") {
                return;
            }
            match fill(&scalar.text, environment, &mut scalar.variables) {
                Ok(text) => scalar.template = Some(std::mem::replace(&mut scalar.text, text)),
                Err(text) => failures.push(Unexpanded {
                    path: path.clone(),
                    problem: Problem::new(node.place, path.to_string(), &text),
                }),
            }
        }
        Kind::List(entries) | Kind::Map(entries) => {
            for entry in entries {
                path.0.push(Step::clone(&entry.step));
                walk(&mut entry.value, environment, path, failures);
                path.0.pop();
            }
        }
    }
}

/// Replaces `${NAME}` by the variable and `$${` by `${`.
fn fill(
    text: &str,
    environment: Environment<'_>,
    variables: &mut Vec<(String, String)>,
) -> Result<String, String> {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(position) = rest.find("${") {
        let (before, found) = rest.split_at(position);
        if let Some(before) = before.strip_suffix('$') {
            filled.push_str(before);
            filled.push_str("${");
            rest = found.get(2..).unwrap_or_default();
            continue;
        }
        filled.push_str(before);
        let Some((name, after)) = found.get(2..).and_then(|found| found.split_once('}')) else {
            return Err(
                "a `${` is not closed; write `${NAME}`, or `$${` for the two characters themselves"
                    .to_owned(),
            );
        };
        if !is_name(name) {
            return Err(format!(
                "`${{{name}}}` does not name a variable; write `${{NAME}}` with letters, digits and `_`, or `$${{` for the two characters themselves"
            ));
        }
        let Some(value) = environment(name) else {
            return Err(format!(
                "the environment variable {name} is not set; set {name} or replace `${{{name}}}` by a value"
            ));
        };
        filled.push_str(&value);
        variables.push((format!("${{{name}}}"), value));
        rest = after;
    }
    filled.push_str(rest);
    Ok(filled)
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && !name.starts_with(|first: char| first.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(name: &str) -> Option<String> {
        match name {
            "A" => Some("alpha".to_owned()),
            "YAML" => Some("x\ny: [1] # ${A}".to_owned()),
            _ => None,
        }
    }

    #[test]
    fn variables_are_filled_in_once() {
        for (text, filled) in [
            ("${A}", "alpha"),
            ("x${A}y${A}", "xalphayalpha"),
            ("$${A}", "${A}"),
            ("$$${A}", "$${A}"),
            ("$A $ {A}", "$A $ {A}"),
            ("${YAML}", "x\ny: [1] # ${A}"),
        ] {
            assert_eq!(
                fill(text, &environment, &mut Vec::new()).as_deref(),
                Ok(filled),
                "{text}"
            );
        }
    }

    #[test]
    fn what_cannot_be_filled_is_an_error() {
        for text in ["${", "${A", "${}", "${A-b}", "${1A}", "${B}"] {
            assert!(fill(text, &environment, &mut Vec::new()).is_err(), "{text}");
        }
    }
}
