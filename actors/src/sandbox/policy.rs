//! What is put in force for a child, and whether that is enough to start it.

use std::path::PathBuf;

use rustix::process::{Resource, getuid};

use super::config::{Kind, SandboxRules};
use super::filter::{self, Level};
use super::paths::{self, Parts};
use super::probe::Probe;
use super::{Confinement, Entry, Mode, SandboxError, SandboxUser, Size, account};
use crate::process::Program;

/// What one process of a plugin may allocate: three times what an interpreter with a web framework does.
const MEMORY: Size = Size(1 << 30);
/// What a plugin may have open: what Linux gives everybody.
const OPEN_FILES: u64 = 1024;
/// How many processes and threads a plugin may have: a runtime starts two for each processor.
const PROCESSES: u64 = 256;
/// How large a file of a plugin may become: enough for a database of decisions, too little to fill a disk at once.
const FILE_SIZE: Size = Size(64 << 20);

/// The part of a sandbox that Landlock keeps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds<'a> {
    pub(super) files: bool,
    pub(super) read: &'a [PathBuf],
    pub(super) write: &'a [PathBuf],
    pub(super) connect: Option<&'a [u16]>,
    pub(super) bind: Option<&'a [u16]>,
    pub(super) signals: bool,
}

/// Prepares everything for a child that can be prepared before there is one.
///
/// # Errors
/// Something is missing here and the mode is `strict`, or the configuration names what is not there.
pub(crate) fn prepare(
    program: &Program,
    probe: Probe,
) -> Result<(Entry, Confinement), SandboxError> {
    let sandbox = &program.sandbox;
    let rules = &sandbox.rules;
    let mode = sandbox.mode();
    let mut confinement = Confinement {
        mode,
        ..Confinement::default()
    };
    if mode == Mode::Off {
        return Ok((Entry::default(), confinement));
    }
    let plugin = sandbox.kind == Kind::Plugin;
    let confined = plugin || rules.confine();
    let parts = if confined {
        Parts::of(program)
    } else {
        Parts::default()
    };
    let user = user(program, &parts, probe, &mut confinement)?;
    let bounds = bounds(rules, plugin, confined);
    require(&bounds, user.is_some(), probe, &mut confinement)?;

    let landlock = paths::ruleset(&parts, &bounds, probe)?;
    let level = if confined {
        Level::Full {
            udp: rules.udp.unwrap_or(!plugin),
            unix: rules.unix.unwrap_or(!plugin),
        }
    } else {
        Level::Basic
    };
    let filters = if probe.seccomp {
        filter::filters(level).map_err(|error| SandboxError::Prepare(error.to_string()))?
    } else {
        Vec::new()
    };

    confinement.user = user;
    confinement.no_new_privileges = true;
    confinement.no_capabilities = confined || user.is_some() || !probe.root;
    confinement.files = bounds.files && probe.files();
    confinement.ports = (bounds.connect.is_some() || bounds.bind.is_some()) && probe.ports();
    confinement.signals = user.is_some() || (bounds.signals && probe.signals());
    confinement.system_calls = probe.seccomp;
    confinement.memory = rules.memory.or(plugin.then_some(MEMORY));
    confinement.processes = rules.processes.or(plugin.then_some(PROCESSES));

    let entry = Entry {
        restricted: true,
        limits: limits(rules, plugin, user.is_some(), &confinement),
        no_capabilities: probe.root && confined,
        user,
        landlock,
        filters,
        ..Entry::default()
    };
    Ok((entry, confinement))
}

fn bounds(rules: &SandboxRules, plugin: bool, confined: bool) -> Bounds<'_> {
    Bounds {
        files: plugin || rules.read.is_some() || rules.write.is_some(),
        read: rules.read.as_deref().unwrap_or_default(),
        write: rules.write.as_deref().unwrap_or_default(),
        connect: rules.connect.as_deref().or(plugin.then_some(&[])),
        bind: rules.bind.as_deref(),
        signals: confined,
    }
}

/// The account to give the child, if it is another one than the gateway's.
fn user(
    program: &Program,
    parts: &Parts,
    probe: Probe,
    confinement: &mut Confinement,
) -> Result<Option<u32>, SandboxError> {
    let rules = &program.sandbox.rules;
    let closed = || account::unreachable(&parts.own).map(|path| path.display().to_string());
    let wanted = match rules.user {
        Some(SandboxUser::Keep) => return Ok(None),
        Some(SandboxUser::Id(id)) if id == getuid().as_raw() => return Ok(None),
        Some(SandboxUser::Id(id)) => id,
        Some(SandboxUser::Own) => match closed() {
            Some(path) => return Err(SandboxError::Unreachable(path)),
            None => account::own(&program.name),
        },
        None if program.sandbox.kind == Kind::Server || !probe.root => return Ok(None),
        None => match closed() {
            Some(path) => {
                let note = format!("runs as root: another account cannot read {path}");
                confinement.notes.push(note);
                return Ok(None);
            }
            None => account::own(&program.name),
        },
    };
    if probe.root {
        return Ok(Some(wanted));
    }
    if program.sandbox.mode() == Mode::Strict {
        let written = match rules.user {
            Some(SandboxUser::Id(id)) => id.to_string(),
            _ => "own".to_owned(),
        };
        return Err(SandboxError::NotRoot(written));
    }
    confinement.missing.push("another account");
    Ok(None)
}

/// Refuses, or notes, what is wanted and not there.
fn require(
    bounds: &Bounds<'_>,
    apart: bool,
    probe: Probe,
    confinement: &mut Confinement,
) -> Result<(), SandboxError> {
    let ports = bounds.connect.is_some() || bounds.bind.is_some();
    let mut missing = Vec::new();
    for (wanted, there, name) in [
        (
            bounds.files,
            probe.files(),
            "Landlock for files (Linux 6.2)",
        ),
        (ports, probe.ports(), "Landlock for TCP ports (Linux 6.7)"),
        // The kernel keeps signals of one account from the processes of another.
        (
            bounds.signals && !apart,
            probe.signals(),
            "Landlock for signals (Linux 6.12)",
        ),
        (true, probe.seccomp, "seccomp filters"),
    ] {
        if wanted && !there {
            missing.push(name);
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    if confinement.mode == Mode::Strict {
        return Err(SandboxError::Missing(missing));
    }
    confinement.missing.extend(missing);
    Ok(())
}

fn limits(
    rules: &SandboxRules,
    plugin: bool,
    apart: bool,
    confinement: &Confinement,
) -> Vec<(Resource, u64)> {
    let open_files = rules.open_files.or(plugin.then_some(OPEN_FILES));
    let file_size = rules.file_size.or(plugin.then_some(FILE_SIZE));
    // The system counts the processes of an account, and none of root's: only an account of its own can be limited.
    let processes = confinement.processes.filter(|_| apart);
    let limits = [
        (Resource::Core, Some(0)),
        (Resource::Data, confinement.memory.map(|size| size.0)),
        (Resource::Nofile, open_files),
        (Resource::Fsize, file_size.map(|size| size.0)),
        (Resource::Nproc, processes),
    ];
    let given = limits.into_iter();
    given
        .filter_map(|(resource, limit)| Some((resource, limit?)))
        .collect()
}

// === impl SandboxRules ===

impl SandboxRules {
    /// Whether anything is said that a process without a sandbox of its own would not obey.
    fn confine(&self) -> bool {
        let lists = self.read.is_some() || self.write.is_some();
        let ports = self.connect.is_some() || self.bind.is_some();
        lists || ports || self.udp.is_some() || self.unix.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Sandbox, SandboxConfig};
    use super::*;

    const ALL: Probe = Probe {
        landlock: 7,
        seccomp: true,
        root: false,
    };

    fn program(mode: Mode) -> Program {
        Program::new("test", "/usr/bin/env", Sandbox::plugin(mode.into()))
    }

    #[test]
    fn what_is_missing_is_refused_by_name() {
        for (probe, name) in [
            (Probe { landlock: 0, ..ALL }, "Landlock for files"),
            (Probe { landlock: 2, ..ALL }, "Landlock for files"),
            (Probe { landlock: 3, ..ALL }, "Landlock for TCP ports"),
            (Probe { landlock: 5, ..ALL }, "Landlock for signals"),
            (
                Probe {
                    seccomp: false,
                    ..ALL
                },
                "seccomp",
            ),
        ] {
            let refused = prepare(&program(Mode::Strict), probe)
                .err()
                .unwrap()
                .to_string();
            assert!(refused.contains(name), "{refused}");
            assert!(refused.contains("best_effort"), "{refused}");
            let (_, confinement) = prepare(&program(Mode::BestEffort), probe).unwrap();
            assert!(
                confinement
                    .missing
                    .iter()
                    .any(|missing| missing.contains(name))
            );
        }
    }

    #[test]
    fn nothing_is_missing_where_nothing_is_asked_for() {
        let none = Probe {
            landlock: 0,
            seccomp: false,
            root: false,
        };
        let (_, confinement) = prepare(&program(Mode::Off), none).unwrap();
        assert_eq!(confinement.mode, Mode::Off);
        assert!(!confinement.no_new_privileges && confinement.missing.is_empty());
        let server = Sandbox::server(SandboxConfig::default());
        let server = Program::new("test", "/usr/bin/env", server);
        let old = Probe { landlock: 0, ..ALL };
        let (_, confinement) = prepare(&server, old).unwrap();
        assert!(confinement.no_new_privileges && confinement.missing.is_empty());
    }

    #[test]
    fn only_root_gives_other_accounts() {
        let mut rules = SandboxRules {
            user: Some(SandboxUser::Id(12_345)),
            ..SandboxRules::default()
        };
        let with = |rules: &SandboxRules| {
            let sandbox = Sandbox::plugin(SandboxConfig(rules.clone()));
            Program::new("test", "/usr/bin/env", sandbox)
        };
        let refused = prepare(&with(&rules), ALL).err().unwrap().to_string();
        assert!(refused.contains("12345"), "{refused}");
        let root = Probe { root: true, ..ALL };
        assert_eq!(prepare(&with(&rules), root).unwrap().1.user, Some(12_345));
        rules.mode = Some(Mode::BestEffort);
        let (_, confinement) = prepare(&with(&rules), ALL).unwrap();
        assert_eq!(confinement.missing, ["another account"]);
    }
}
