//! The report as Markdown.

use super::environment::Environment;
use super::goals::Goal;
use super::rounds::Results;
use super::table::{HEADINGS, NOTES, rows, title};

/// The whole report.
pub(super) fn report(environment: &Environment, results: &Results, goals: &[Goal]) -> String {
    let mut text = String::from("# weir beside others\n\n");
    if let Some(warning) = environment.warning() {
        text += &format!("> {warning}\n\n");
    }
    if !goals.is_empty() {
        text += "| goal | found | | |\n|---|---|---|---|\n";
        for goal in goals {
            let verdict = if goal.met { "met" } else { "**missed**" };
            text += &line([goal.what, &goal.found, goal.goal, verdict]);
        }
        text.push('\n');
    }
    for load in &results.loads {
        text += &format!("## {}\n\n", title(*load));
        text += &line(HEADINGS);
        text += &format!("|---|{}\n", "---:|".repeat(HEADINGS.len() - 1));
        for row in rows(results, *load) {
            text += &line(row.each_ref().map(String::as_str));
        }
        text.push('\n');
    }
    text += "## Who is who\n\n";
    for (name, description) in &results.contestants {
        text += &format!("- **{name}**: {description}\n");
    }
    text += "\n## Environment\n\n| | |\n|---|---|\n";
    for (name, value) in &environment.facts {
        text += &line([*name, value]);
    }
    text += "\n## How to read it\n\n";
    for note in NOTES {
        text += &format!("- {note}\n");
    }
    text
}

fn line<const N: usize>(cells: [&str; N]) -> String {
    let cells = cells.map(|cell| cell.replace('|', "\\|").replace('\n', " "));
    format!("| {} |\n", cells.join(" | "))
}
