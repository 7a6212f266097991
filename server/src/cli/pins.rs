//! `weir pins`: what servers offer, compared with what was approved.

use std::fmt::Write;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use weir_actors::builtin::Outside;
use weir_actors::builtin::outside::NoFetch;
use weir_actors::upstream::ServerName;
use weir_actors::upstream::pins::{Digest, PinFile, Records, kind_of};

use super::gateway::{Asked, PlaceArguments, plain};
use super::{complain, print};
use crate::run::pin_files;

/// The exit code of something that was refused.
const REFUSED: u8 = 1;

#[derive(Debug, Subcommand)]
pub(super) enum PinsCommand {
    /// List what is pinned, and what is not as it was pinned.
    List(ListArguments),
    /// Show what changed, member by member; the exit code is 1 if anything did.
    Diff(SelectArguments),
    /// Approve what is offered now; without a running gateway, what is offered next.
    Accept(SelectArguments),
}

#[derive(Debug, Args)]
pub(super) struct ListArguments {
    #[command(flatten)]
    place: PlaceArguments,
    /// Only this server
    server: Option<String>,
    /// Print the whole state as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct SelectArguments {
    #[command(flatten)]
    place: PlaceArguments,
    /// Only this server
    server: Option<String>,
    /// tool, prompt, resource or template
    #[arg(requires = "name", value_parser = ["tool", "prompt", "resource", "template"])]
    kind: Option<String>,
    /// The object's own name at its server, or its URI
    name: Option<String>,
}

pub(super) fn pins(command: PinsCommand) -> ExitCode {
    match command {
        PinsCommand::List(arguments) => list(&arguments),
        PinsCommand::Diff(arguments) => diff(&arguments),
        PinsCommand::Accept(arguments) => accept(&arguments),
    }
}

fn list(arguments: &ListArguments) -> ExitCode {
    let page = match page(&arguments.place) {
        Ok(page) => page,
        Err(code) => return code,
    };
    if arguments.json {
        return print(&format!("{page:#}\n"));
    }
    let mut text = String::new();
    for object in objects(&page, arguments.server.as_deref(), None, None) {
        let hash = |key: &str| object[key].as_str().map_or("-".to_owned(), short);
        let _ = writeln!(
            text,
            "{:<8} {:<12} {:<9} {:<32} {} {}",
            object["state"].as_str().unwrap_or_default(),
            object["server"].as_str().unwrap_or_default(),
            object["kind"].as_str().unwrap_or_default(),
            object["name"].as_str().map(plain).unwrap_or_default(),
            hash("pinned"),
            if object["current"] == object["pinned"] {
                String::new()
            } else {
                hash("current")
            },
        );
    }
    let left_off = page.get("left_off").and_then(Value::as_u64);
    if let Some(left_off) = left_off.filter(|count| *count > 0) {
        let _ = writeln!(text, "and {left_off} more");
    }
    if text.is_empty() {
        text.push_str("nothing is pinned\n");
    }
    print(&text)
}

fn diff(arguments: &SelectArguments) -> ExitCode {
    let page = match page(&arguments.place) {
        Ok(page) => page,
        Err(code) => return code,
    };
    let (server, kind, name) = arguments.selected();
    let changed: Vec<&Value> = objects(&page, server, kind, name)
        .filter(|object| object["state"] != "pinned")
        .collect();
    let mut text = String::new();
    for object in &changed {
        describe(object, &mut text);
    }
    if changed.is_empty() {
        return print("everything is as it was pinned\n");
    }
    let _ = print(&text);
    ExitCode::from(REFUSED)
}

/// Writes what is different about one object.
fn describe(object: &Value, text: &mut String) {
    let word = |key: &str| object[key].as_str().map(plain).unwrap_or_default();
    let fate = match object["withheld"].as_bool() {
        Some(true) => "clients do not get it",
        _ => "clients get it",
    };
    let _ = writeln!(
        text,
        "{} {} {}: {}, {fate}",
        word("server"),
        word("kind"),
        word("name"),
        word("state"),
    );
    if let Some(with) = object["clashes_with"].as_str() {
        let _ = writeln!(text, "    it looks like {}", plain(with));
    }
    for key in ["pinned", "current"] {
        if object[key].is_string() {
            let _ = writeln!(text, "    {key:<8} {}", word(key));
        }
    }
    for change in object["changes"].as_array().into_iter().flatten() {
        let path = change["path"].as_str().map(plain).unwrap_or_default();
        for (sign, key) in [('-', "pinned"), ('+', "current")] {
            if let Some(value) = change[key].as_str() {
                let _ = writeln!(text, "  {sign} {path} {}", plain(value));
            }
        }
    }
}

fn accept(arguments: &SelectArguments) -> ExitCode {
    let admin = match arguments.place.admin() {
        Ok(admin) => admin,
        Err(code) => return code,
    };
    let (server, kind, name) = arguments.selected();
    let body = json!({ "server": server, "kind": kind, "name": name });
    match admin.ask("/pins/accept", Some(&body)) {
        Asked::Answered(200, answer) => {
            let accepted = answer.get("accepted").and_then(Value::as_u64);
            print(&format!("{} accepted\n", accepted.unwrap_or_default()))
        }
        Asked::Answered(_, answer) => {
            let reason = answer.get("error").and_then(Value::as_str);
            refused(reason.unwrap_or("no reason given"))
        }
        Asked::Unreachable(reason) if arguments.place.admin.is_some() => complain(&reason),
        Asked::Unreachable(_) => accept_in_file(arguments),
    }
}

/// Without a gateway nobody knows what is offered now: what is offered next is approved.
fn accept_in_file(arguments: &SelectArguments) -> ExitCode {
    let (file, mut records) = match file_of(&arguments.place) {
        Ok(found) => found,
        Err(code) => return code,
    };
    let (server, kind, name) = arguments.selected();
    let mut changed = Vec::new();
    let servers: Vec<ServerName> = records.keys().cloned().collect();
    for known in servers
        .into_iter()
        .filter(|known| server.is_none_or(|server| server == known.as_str()))
    {
        let Some((kind, name)) = kind.and_then(kind_of).zip(name) else {
            changed.push((known, None));
            continue;
        };
        let Some(mut record) = records.remove(&known) else {
            continue;
        };
        if record.renew(&(kind, name.to_owned())) {
            changed.push((known, Some(record)));
        }
    }
    if changed.is_empty() {
        return refused("nothing is pinned there");
    }
    match file.replace(changed) {
        Ok(()) => print("no gateway is running: what is offered next is accepted\n"),
        Err(error) => complain(&error.to_string()),
    }
}

/// The state of all pins: from the gateway, else what the file says.
fn page(place: &PlaceArguments) -> Result<Value, ExitCode> {
    match place.admin()?.ask("/pins", None) {
        Asked::Answered(200, page) => Ok(page),
        Asked::Answered(status, _) => Err(complain(&format!(
            "the admin listener answered {status}; is it a gateway's?"
        ))),
        Asked::Unreachable(reason) if place.admin.is_some() => Err(complain(&reason)),
        Asked::Unreachable(_) => {
            let (file, records) = file_of(place)?;
            Ok(of_file(&file, &records))
        }
    }
}

fn of_file(file: &PinFile, records: &Records) -> Value {
    let mut objects = Vec::new();
    for (server, record) in records {
        for ((kind, name), pins) in &record.pins {
            let pin = pins.first();
            let hash = pin
                .and_then(|pin| pin.sha256)
                .map(|hash: Digest| hash.to_string());
            objects.push(json!({
                "server": server, "kind": kind.singular(), "name": name, "state": "pinned",
                "pinned": hash, "current": null, "first_seen": pin.map(|pin| &pin.first_seen), "withheld": false,
            }));
        }
    }
    json!({ "file": file.path(), "objects": objects, "left_off": 0 })
}

fn objects<'a>(
    page: &'a Value,
    server: Option<&'a str>,
    kind: Option<&'a str>,
    name: Option<&'a str>,
) -> impl Iterator<Item = &'a Value> {
    let objects = page["objects"].as_array().into_iter().flatten();
    objects.filter(move |object| {
        let is =
            |key: &str, wanted: Option<&str>| wanted.is_none_or(|wanted| object[key] == *wanted);
        is("server", server) && is("kind", kind) && is("name", name)
    })
}

fn refused(reason: &str) -> ExitCode {
    let _ = complain(reason);
    ExitCode::from(REFUSED)
}

/// The first digits of a hash.
fn short(hash: &str) -> String {
    hash.chars().take("sha256:".len() + 12).collect()
}

// === impl SelectArguments ===

impl SelectArguments {
    fn selected(&self) -> (Option<&str>, Option<&str>, Option<&str>) {
        (
            self.server.as_deref(),
            self.kind.as_deref(),
            self.name.as_deref(),
        )
    }
}

/// The file of the configuration, which is there.
fn file_of(place: &PlaceArguments) -> Result<(PinFile, Records), ExitCode> {
    let source = place.config_arguments().source();
    let config = place.config_arguments().load(&source)?;
    let outside = Outside::real(source.directory(), Arc::new(NoFetch));
    let found = pin_files(&config, &outside)
        .into_iter()
        .find(|place| place.is_file());
    let Some(path) = found else {
        return Err(complain(
            "no gateway is running, and nothing was ever pinned",
        ));
    };
    let file = PinFile::new(&path);
    match file.read() {
        Ok(records) => Ok((file, records)),
        Err(error) => Err(complain(&error.to_string())),
    }
}
