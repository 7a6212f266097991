//! Plugins as text: a line each, or a block each.

use std::fmt::Write;

use serde_json::Value;

use super::{advice, plain};

/// The most letters of a cell in a line; a block has all of them.
const WIDEST: usize = 72;

/// A column: its title, and what it shows of a plugin.
type Column = (&'static str, fn(&Value) -> String);

/// Columns that are always there.
const ALWAYS: [Column; 7] = [
    ("NAME", |plugin| text(plugin, "name")),
    ("ROLE", |plugin| text(plugin, "role")),
    ("TRANSPORT", |plugin| text(plugin, "transport")),
    ("VERSION", |plugin| text(plugin, "version")),
    ("STATE", state),
    ("GENERATION", |plugin| text(plugin, "generation")),
    ("RESTARTS", |plugin| text(plugin, "restarts")),
];

/// Columns that are there if a plugin has something to show in them.
const SOMETIMES: [Column; 3] = [
    ("CATEGORY", |plugin| text(plugin, "category")),
    ("TIER", |plugin| text(plugin, "tier")),
    ("LAST AUTH", |plugin| text(plugin, "last_auth")),
];

/// A line for each plugin, under titles.
pub(super) fn lines(plugins: &[Value]) -> String {
    let has = |column: &&Column| plugins.iter().any(|plugin| (column.1)(plugin) != "-");
    let mut columns: Vec<Column> = ALWAYS.to_vec();
    columns.extend(SOMETIMES.iter().filter(has));
    columns.push(("LAST ERROR", |plugin| text(plugin, "error")));
    let titles = columns.iter().map(|(title, _)| (*title).to_owned());
    let mut rows: Vec<Vec<String>> = vec![titles.collect()];
    for plugin in plugins {
        rows.push(
            columns
                .iter()
                .map(|(_, show)| short(show(plugin)))
                .collect(),
        );
    }
    let mut widths = vec![0; columns.len()];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths);
        let line: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        let _ = writeln!(text, "{}", line.join("  ").trim_end());
    }
    text
}

/// Everything about one plugin, a line each, and what to do about it.
pub(super) fn block(plugin: &Value) -> String {
    let mut lines = format!("{}: {}\n", text(plugin, "name"), state(plugin));
    let members = plugin.as_object().into_iter().flatten();
    for (key, value) in members {
        if matches!(key.as_str(), "name" | "state" | "quarantined") || value.is_null() {
            continue;
        }
        let label = key.replace('_', " ");
        let _ = writeln!(lines, "  {label:<14} {}", shown(value));
    }
    if let Some(advice) = advice::of(plugin) {
        let _ = writeln!(lines, "  {:<14} {advice}", "next step");
    }
    lines
}

fn state(plugin: &Value) -> String {
    if plugin["quarantined"] == true {
        return "quarantined".to_owned();
    }
    if plugin["waits_for"].is_string() {
        return "waiting".to_owned();
    }
    match plugin["degraded"].is_string() {
        true => format!("{} (degraded)", text(plugin, "state")),
        false => text(plugin, "state"),
    }
}

fn text(plugin: &Value, key: &str) -> String {
    match plugin.get(key) {
        None | Some(Value::Null) => "-".to_owned(),
        Some(value) => shown(value),
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => plain(text),
        Value::Object(members) if members.is_empty() => "-".to_owned(),
        Value::Object(members) => {
            let members = members.iter();
            let members: Vec<String> = members
                .map(|(key, value)| format!("{} {}", plain(key), shown(value)))
                .collect();
            members.join(", ")
        }
        Value::Array(values) => {
            let values: Vec<String> = values.iter().map(shown).collect();
            values.join(", ")
        }
        other => other.to_string(),
    }
}

fn short(cell: String) -> String {
    if cell.chars().count() <= WIDEST {
        return cell;
    }
    let kept: String = cell.chars().take(WIDEST - 1).collect();
    format!("{kept}…")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_each_under_titles_that_are_needed() {
        let audit = json!({ "name": "audit", "role": "audit_sink", "transport": "in-memory", "version": "0.1.0",
            "state": "active", "generation": 1, "restarts": 0, "quarantined": false });
        let broken = json!({ "name": "log", "transport": "subprocess", "version": "unknown", "state": "error",
            "generation": 12, "restarts": 11, "quarantined": true, "error": format!("it\u{1b}[2J died {}", "x".repeat(100)) });
        assert_eq!(
            lines(&[audit.clone(), broken]),
            format!(
                "NAME   ROLE        TRANSPORT   VERSION  STATE        GENERATION  RESTARTS  LAST ERROR\n\
                 audit  audit_sink  in-memory   0.1.0    active       1           0         -\n\
                 log    -           subprocess  unknown  quarantined  12          11        it\\u{{1b}}[2J died {}…\n",
                "x".repeat(54)
            )
        );
        let mut licensed = audit;
        licensed["tier"] = "pro".into();
        licensed["degraded"] = "plugin auth does not serve".into();
        assert_eq!(
            lines(&[licensed]),
            "NAME   ROLE        TRANSPORT  VERSION  STATE              GENERATION  RESTARTS  TIER  LAST ERROR\n\
             audit  audit_sink  in-memory  0.1.0    active (degraded)  1           0         pro   -\n"
        );
    }

    #[test]
    fn a_block_says_everything_and_the_next_step() {
        let plugin = json!({ "name": "log", "transport": "sidecar", "state": "error", "restarts": 2, "quarantined": false,
            "calls": { "ok": 3 }, "error": "no connection" });
        assert_eq!(
            block(&plugin),
            "log: error\n  transport      sidecar\n  restarts       2\n  calls          ok 3\n  error          no connection\n  next step      is it running, at this address? Try it with `weir plugins test URL`\n"
        );
    }
}
