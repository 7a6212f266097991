//! What a scenario found, and whether that was good enough.

use serde_json::{Value, json};

/// What a scenario found.
pub(crate) struct Findings {
    title: String,
    rows: Vec<Row>,
}

struct Row {
    what: String,
    value: f64,
    unit: &'static str,
    goal: Option<Goal>,
}

struct Goal {
    text: String,
    met: bool,
}

// === impl Findings ===

impl Findings {
    pub(crate) fn new(title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            rows: Vec::new(),
        }
    }

    /// A fact that is neither good nor bad.
    pub(crate) fn fact(&mut self, what: impl Into<String>, value: f64, unit: &'static str) {
        self.rows.push(Row {
            what: what.into(),
            value,
            unit,
            goal: None,
        });
    }

    /// A value that must not be larger.
    pub(crate) fn at_most(
        &mut self,
        what: impl Into<String>,
        value: f64,
        unit: &'static str,
        most: f64,
    ) {
        self.fact(what, value, unit);
        self.goal(format!("at most {}", number(most)), value <= most);
    }

    /// A value that must not be smaller.
    pub(crate) fn at_least(
        &mut self,
        what: impl Into<String>,
        value: f64,
        unit: &'static str,
        least: f64,
    ) {
        self.fact(what, value, unit);
        self.goal(format!("at least {}", number(least)), value >= least);
    }

    /// Something that must not happen.
    pub(crate) fn none(&mut self, what: impl Into<String>, count: u64) {
        self.fact(what, count as f64, "");
        self.goal("none".to_owned(), count == 0);
    }

    /// Prints it; true if every goal was met.
    pub(crate) fn tell(&self, as_json: bool) -> bool {
        if as_json {
            println!("{}", self.to_json());
        } else {
            println!("{}", self.to_text());
        }
        self.met()
    }

    fn met(&self) -> bool {
        self.rows
            .iter()
            .all(|row| row.goal.as_ref().is_none_or(|goal| goal.met))
    }

    fn goal(&mut self, text: String, met: bool) {
        if let Some(row) = self.rows.last_mut() {
            row.goal = Some(Goal { text, met });
        }
    }

    fn to_json(&self) -> Value {
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(|row| {
                let mut finding = json!({ "what": row.what, "value": row.value, "unit": row.unit });
                if let (Some(goal), Some(members)) = (&row.goal, finding.as_object_mut()) {
                    members.insert("goal".to_owned(), json!(goal.text));
                    members.insert("met".to_owned(), json!(goal.met));
                }
                finding
            })
            .collect();
        json!({ "title": self.title, "met": self.met(), "findings": rows })
    }

    fn to_text(&self) -> String {
        let longest = self.rows.iter().map(|row| row.what.len()).max();
        let width = longest.unwrap_or_default();
        let mut text = format!("{}\n", self.title);
        for row in &self.rows {
            let value = format!("{} {}", number(row.value), row.unit);
            text += &format!("  {:width$}  {:>16}", row.what, value.trim_end());
            if let Some(goal) = &row.goal {
                let verdict = if goal.met { "ok  " } else { "FAIL" };
                text += &format!("   {verdict} {}", goal.text);
            }
            text.push('\n');
        }
        text + if self.met() {
            "every goal was met"
        } else {
            "NOT every goal was met"
        }
    }
}

/// Whole numbers whole, others with as many digits as they are worth.
fn number(value: f64) -> String {
    if value.fract() == 0.0 || value.abs() >= 1000.0 {
        format!("{value:.0}")
    } else if value.abs() >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.3}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_goal_that_is_missed_is_enough() {
        let mut findings = Findings::new("a title");
        findings.fact("calls", 12_345.6, "");
        findings.at_most("p99", 1.5, "ms", 2.0);
        assert!(findings.met());
        findings.at_least("share", 0.89, "", 0.9);
        findings.none("lost", 0);
        assert!(!findings.met());
        let text = findings.to_text();
        assert!(text.contains("FAIL at least 0.900"), "{text}");
        assert!(
            text.contains("12346") && text.ends_with("NOT every goal was met"),
            "{text}"
        );
        assert_eq!(findings.to_json()["findings"][2]["met"], false);
    }
}
