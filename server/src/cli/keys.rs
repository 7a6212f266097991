//! `weir keys`: API keys, of which the configuration keeps only hashes, and sealing keys.

use std::fmt::Write;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use weir_actors::builtin::api_keys::generate_key;
use weir_actors::seal::SealKey;

use super::{complain, print};

#[derive(Debug, Subcommand)]
pub(super) enum KeysCommand {
    /// Make an API key: prints it once, with the entry that goes into the configuration.
    New(NewArguments),
    /// Make a sealing key, for `sealing.keys`: prints nothing else.
    Seal,
}

#[derive(Debug, Args)]
pub(super) struct NewArguments {
    /// The user that the key stands for
    user: String,
    /// The name of the key in logs [default: the user]
    #[arg(long)]
    id: Option<String>,
    /// The tenant of the user
    #[arg(long)]
    tenant: Option<String>,
    /// A role of the user; may be repeated
    #[arg(long = "role")]
    roles: Vec<String>,
    /// A group of the user; may be repeated
    #[arg(long = "group")]
    groups: Vec<String>,
    /// When the key ends to be valid, such as 2027-01-01T00:00:00Z [default: never]
    #[arg(long)]
    expires: Option<String>,
}

pub(super) fn keys(command: KeysCommand) -> ExitCode {
    match command {
        KeysCommand::New(arguments) => new(arguments),
        KeysCommand::Seal => seal(),
    }
}

fn seal() -> ExitCode {
    match SealKey::random() {
        Ok(key) => print(&format!("{}\n", key.encode())),
        Err(error) => complain(&format!("{error}; try again")),
    }
}

fn new(arguments: NewArguments) -> ExitCode {
    let NewArguments {
        user,
        id,
        tenant,
        roles,
        groups,
        expires,
    } = arguments;
    let Some(mut new) = generate_key(id.as_deref().unwrap_or(&user), &user) else {
        return complain("the operating system has no random numbers to make a key of; try again");
    };
    new.entry.tenant = tenant;
    new.entry.roles = roles;
    new.entry.groups = groups;
    new.entry.expires = expires;
    // A map of JSON on one line is also YAML.
    let entry = serde_json::to_string(&new.entry)
        .unwrap_or_default()
        .replace("${", "$${");
    let mut text = String::new();
    let _ = writeln!(text, "key: {}", new.key.expose());
    let _ = writeln!(
        text,
        "\nGive the key to {user}: it is not stored and cannot be shown again. Put this into weir.yaml:\n"
    );
    let _ = writeln!(
        text,
        "auth:\n  providers:\n    - type: api-keys\n      keys:\n        - {entry}"
    );
    print(&text)
}
