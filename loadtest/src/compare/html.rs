//! The report as one HTML file that needs nothing else.

use super::chart::{Bar, bars};
use super::environment::Environment;
use super::goals::Goal;
use super::rounds::{Load, Results, Series};
use super::table::{HEADINGS, NOTES, rows, title};

/// Both sets of colours; what the reader's system prefers is taken.
const STYLE: &str = "
:root { color-scheme: light dark; --page: #ffffff; --text: #1d2430; --dim: #5c6675; --line: #d8dde5; --one: #2f6fdb; --two: #9dbcf2; --bad: #b3261e; --good: #1a7f4b; }
@media (prefers-color-scheme: dark) {
  :root { --page: #14181f; --text: #e4e8ee; --dim: #98a2b1; --line: #323a47; --one: #6ea1ff; --two: #34528c; --bad: #ff8a80; --good: #6fd39b; }
}
body { background: var(--page); color: var(--text); font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2 { line-height: 1.2; font-weight: 600; } h2 { margin-top: 2.5rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; display: block; overflow-x: auto; }
th, td { border-bottom: 1px solid var(--line); padding: .3rem .6rem; text-align: right; vertical-align: top; }
th { color: var(--dim); font-weight: 500; } th:first-child, td:first-child { text-align: left; }
.words td { text-align: left; } .met { color: var(--good); } .missed { color: var(--bad); font-weight: 600; }
.warning { border-left: 4px solid var(--bad); padding-left: .8rem; }
figure { margin: 1.2rem 0; } figcaption { color: var(--dim); } svg { width: 100%; height: auto; } svg.key { width: .7rem; margin-left: .8rem; }
svg text { font: 13px system-ui, sans-serif; fill: var(--text); dominant-baseline: central; } svg .name { text-anchor: end; } svg .value { fill: var(--dim); }
.one { fill: var(--one); } .two { fill: var(--two); } .range { stroke: var(--text); fill: none; opacity: .55; }
";

/// The whole report.
pub(super) fn report(environment: &Environment, results: &Results, goals: &[Goal]) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\"><title>weir beside others</title>\n<style>{STYLE}</style></head>\n<body>\n<h1>weir beside others</h1>\n"
    );
    if let Some(warning) = environment.warning() {
        page += &format!("<p class=\"warning\">{}</p>\n", escape(&warning));
    }
    if !goals.is_empty() {
        page += "<table class=\"words\"><tr><th>goal</th><th>found</th><th></th><th></th></tr>\n";
        for goal in goals {
            let verdict = if goal.met { "met" } else { "missed" };
            page += &format!(
                "<tr><td>{}</td><td>{}</td><td>{}</td><td class=\"{verdict}\">{verdict}</td></tr>\n",
                escape(goal.what),
                escape(&goal.found),
                escape(goal.goal)
            );
        }
        page += "</table>\n";
    }
    for load in &results.loads {
        page += &section(results, *load);
    }
    page += "<h2>Who is who</h2>\n<table class=\"words\">\n";
    for (name, description) in &results.contestants {
        page += &pair(name, description);
    }
    page += "</table>\n<h2>Environment</h2>\n<table class=\"words\">\n";
    for (name, value) in &environment.facts {
        page += &pair(name, value);
    }
    page += "</table>\n<h2>How to read it</h2>\n<ul>\n";
    for note in NOTES {
        page += &format!("<li>{}</li>\n", escape(note));
    }
    page + "</ul>\n</body>\n</html>\n"
}

/// One load: its charts and its table.
fn section(results: &Results, load: Load) -> String {
    let mut text = format!("<h2>{}</h2>\n", escape(&title(load)));
    let series: Vec<&Series> = results
        .contestants
        .iter()
        .filter_map(|(name, _)| results.of(load, name))
        .collect();
    if matches!(load, Load::Closed(_)) {
        text += &rates(&series);
    }
    text += &cpu(&series);
    text += &latencies(&series);
    text += "<table>\n<tr>";
    for heading in HEADINGS {
        text += &format!("<th>{}</th>", escape(heading));
    }
    text += "</tr>\n";
    for row in rows(results, load) {
        let cells: String = row
            .iter()
            .map(|cell| format!("<td>{}</td>", escape(cell)))
            .collect();
        text += &format!("<tr>{cells}</tr>\n");
    }
    text + "</table>\n"
}

fn rates(series: &[&Series]) -> String {
    let bar = |series: &&Series| {
        let rate = series.median(|sample| sample.rate);
        Bar {
            name: series.name.clone(),
            parts: vec![(rate, "one")],
            label: format!("{rate:.0}"),
            range: Some(series.range(|sample| sample.rate)),
        }
    };
    let all: Vec<Bar> = series.iter().map(bar).collect();
    bars(
        "Calls a second (median; the line is from the worst to the best round)",
        &[],
        &all,
    )
}

fn cpu(series: &[&Series]) -> String {
    let bar = |series: &&Series| {
        let user = series.median_if(|sample| sample.user)?;
        let system = series.median_if(|sample| sample.system)?;
        Some(Bar {
            name: series.name.clone(),
            parts: vec![(user, "one"), (system, "two")],
            label: format!("{:.1}", user + system),
            range: None,
        })
    };
    let all: Vec<Bar> = series.iter().filter_map(bar).collect();
    let legend = [("one", "user"), ("two", "system")];
    bars("CPU for each call, in microseconds", &legend, &all)
}

/// The second part of a bar is what p99 has over p50.
fn latencies(series: &[&Series]) -> String {
    let bar = |series: &&Series| {
        let half = series.median(|sample| sample.p50);
        let most = series.median(|sample| sample.p99);
        Bar {
            name: series.name.clone(),
            parts: vec![(half, "one"), ((most - half).max(0.0), "two")],
            label: format!("{half:.0} / {most:.0}"),
            range: None,
        }
    };
    let all: Vec<Bar> = series.iter().map(bar).collect();
    let legend = [("one", "p50"), ("two", "p99")];
    bars("Latency, in microseconds", &legend, &all)
}

fn pair(name: &str, value: &str) -> String {
    format!(
        "<tr><td>{}</td><td>{}</td></tr>\n",
        escape(name),
        escape(value)
    )
}

/// Text that means itself, in elements and in quoted attributes.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            plain => escaped.push(plain),
        }
    }
    escaped
}
