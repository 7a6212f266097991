//! The files that a child may read and write.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, NetPort, PathBeneath,
    PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, Scope, path_beneath_rules,
};

use super::SandboxError;
use super::policy::Bounds;
use super::probe::Probe;
use crate::process::Program;

/// Programs, libraries and what they look up: there are no secrets in any of it.
const SYSTEM: &[&str] = &[
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/opt",
    "/nix/store",
    "/gnu/store",
    "/etc/alternatives",
    "/etc/ca-certificates",
    "/etc/ca-certificates.conf",
    "/etc/crypto-policies",
    "/etc/debian_version",
    "/etc/fonts",
    "/etc/gai.conf",
    "/etc/group",
    "/etc/host.conf",
    "/etc/hostname",
    "/etc/hosts",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/locale.alias",
    "/etc/localtime",
    "/etc/mime.types",
    "/etc/nsswitch.conf",
    "/etc/os-release",
    "/etc/passwd",
    "/etc/pki/ca-trust",
    "/etc/pki/tls/cert.pem",
    "/etc/pki/tls/certs",
    "/etc/protocols",
    "/etc/resolv.conf",
    "/etc/services",
    "/etc/ssl/cert.pem",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/timezone",
    "/dev/full",
    "/dev/null",
    "/dev/random",
    "/dev/urandom",
    "/dev/zero",
    "/proc",
    "/sys/devices/system/cpu",
    "/sys/devices/system/node",
    "/sys/fs/cgroup",
    "/sys/kernel/mm",
];

/// What everybody may write to.
const SINKS: &[&str] = &["/dev/full", "/dev/null", "/dev/zero"];

/// Directories that hold too much to be given away because a program is in them.
const BROAD: &[&str] = &[
    "/", "/etc", "/home", "/mnt", "/root", "/run", "/srv", "/tmp", "/var", "/var/tmp",
];

/// How many links are followed from a program's name to the program.
const LINKS: usize = 16;

/// The rights known when this was written; a later kernel adds none to it by itself.
const RIGHTS: ABI = ABI::V6;

// === finding a program ===

/// Everything that the child is made of: what it may read without being told.
#[derive(Debug, Default)]
pub(super) struct Parts {
    /// The program under all its names, its interpreter, its scripts and its working directory.
    pub(super) own: Vec<PathBuf>,
    /// What is given besides: the directories of all these, and those of `PATH`.
    around: Vec<PathBuf>,
}

impl Parts {
    pub(super) fn of(program: &Program) -> Self {
        let directory = program.workdir.clone().or_else(|| env::current_dir().ok());
        let directory = directory.unwrap_or_else(|| PathBuf::from("/"));
        let path = variable(program, "PATH");
        let mut parts = Self::default();
        parts
            .around
            .extend(env::split_paths(&path).filter(|entry| entry.is_absolute()));
        if let Some(workdir) = &program.workdir {
            parts.own.push(workdir.clone());
        }
        if let Some(found) = find(&program.exec, &directory, &path) {
            parts.program(found, &path);
        }
        for argument in &program.args {
            let named = directory.join(argument);
            if !argument.is_empty() && named.exists() {
                parts.script(named);
            }
        }
        parts
    }

    /// A program: all the links to it, what lies around each, and who interprets it.
    fn program(&mut self, found: PathBuf, path: &OsStr) {
        let mut next = Some(found);
        for _ in 0..LINKS {
            let Some(hop) = next else { break };
            self.around_program(&hop);
            next = fs::read_link(&hop)
                .ok()
                .and_then(|target| Some(hop.parent()?.join(target)));
            if next.is_none() {
                for interpreter in interpreters(&hop) {
                    let directory = Path::new("/");
                    if let Some(found) = find(&interpreter, directory, path) {
                        self.around_program(&found);
                        self.around_program(&fs::canonicalize(&found).unwrap_or(found));
                    }
                }
            }
            self.own.push(hop);
        }
    }

    /// `PREFIX/bin/program` comes with the libraries in `PREFIX`.
    fn around_program(&mut self, program: &Path) {
        let Some(directory) = program.parent() else {
            return;
        };
        self.give(directory);
        let installed = directory.ends_with("bin") || directory.ends_with("shims");
        let Some(prefix) = directory.parent().filter(|_| installed) else {
            return;
        };
        if prefix.ends_with(".local") || is_broad(prefix) {
            self.around
                .extend(["lib", "lib64"].map(|name| prefix.join(name)));
        } else {
            self.give(prefix);
        }
    }

    /// A file or directory that an argument names, with its neighbours, which it may import.
    fn script(&mut self, named: PathBuf) {
        if named.is_dir() {
            self.give(&named);
        } else if let Some(directory) = named.parent() {
            self.give(directory);
        }
        if !is_broad(&named) {
            self.own.push(named);
        }
    }

    fn give(&mut self, directory: &Path) {
        if !is_broad(directory) {
            self.around.push(directory.to_owned());
        }
    }

    fn readable(&self) -> impl Iterator<Item = &Path> {
        let own = self.own.iter().chain(&self.around).map(PathBuf::as_path);
        own.chain(SYSTEM.iter().map(Path::new))
    }
}

/// Also our home and our own working directory, where the configuration may lie.
fn is_broad(directory: &Path) -> bool {
    let directory = fs::canonicalize(directory).unwrap_or_else(|_| directory.to_owned());
    let home = env::var_os("HOME").map(PathBuf::from);
    BROAD.iter().any(|broad| directory == Path::new(broad))
        || home.is_some_and(|home| home.starts_with(&directory))
        || env::current_dir().is_ok_and(|here| here.starts_with(&directory))
}

fn variable(program: &Program, name: &str) -> OsString {
    let mut declared = program.env.iter().rev();
    let declared = declared.find(|(key, _)| key == name);
    let value = declared.map(|(_, value)| value.clone());
    value.or_else(|| env::var_os(name)).unwrap_or_default()
}

/// The first program of this name, as the system would find it.
fn find(name: &OsStr, directory: &Path, path: &OsStr) -> Option<PathBuf> {
    let named = Path::new(name);
    if named.components().count() > 1 || named.is_absolute() {
        return Some(directory.join(named)).filter(|found| found.is_file());
    }
    let mut places = env::split_paths(path).map(|entry| directory.join(entry).join(named));
    places.find(|place| place.is_file())
}

/// The program of a script's first line, and with `env` the one that it looks for.
fn interpreters(script: &Path) -> Vec<OsString> {
    let mut start = [0; 256];
    let read = fs::File::open(script).and_then(|mut file| file.read(&mut start));
    let line = start.get(..read.unwrap_or(0)).unwrap_or_default();
    let Some(line) = line.strip_prefix(b"#!") else {
        return Vec::new();
    };
    let line = String::from_utf8_lossy(line);
    let words = line.lines().next().unwrap_or_default().split_whitespace();
    let words = words.filter(|word| !word.starts_with('-'));
    words.take(2).map(OsString::from).collect()
}

// === rules ===

/// The rules, ready to be put in force by the child: `None` if none of it is asked for and there.
pub(super) fn ruleset(
    parts: &Parts,
    bounds: &Bounds<'_>,
    probe: Probe,
) -> Result<Option<OwnedFd>, SandboxError> {
    let refused = |error: RulesetError| SandboxError::Prepare(error.to_string());
    let files = bounds.files && probe.files();
    let ports = probe.ports();
    let connect = bounds.connect.filter(|_| ports);
    let bind = bounds.bind.filter(|_| ports);
    let scoped = bounds.signals && probe.signals();
    if !files && connect.is_none() && bind.is_none() && !scoped {
        return Ok(None);
    }
    let mut rules = Ruleset::default().set_compatibility(CompatLevel::BestEffort);
    if files {
        rules = rules
            .handle_access(AccessFs::from_all(RIGHTS))
            .map_err(refused)?;
    }
    if connect.is_some() {
        rules = rules
            .handle_access(AccessNet::ConnectTcp)
            .map_err(refused)?;
    }
    if bind.is_some() {
        rules = rules.handle_access(AccessNet::BindTcp).map_err(refused)?;
    }
    if scoped {
        rules = rules.scope(Scope::from_all(RIGHTS)).map_err(refused)?;
    }
    let mut rules = rules.create().map_err(refused)?;
    if files {
        let read = AccessFs::Execute | AccessFs::ReadFile | AccessFs::ReadDir;
        let write = AccessFs::from_all(RIGHTS) & !BitFlags::from(AccessFs::Execute);
        rules = rules
            .add_rules(path_beneath_rules(parts.readable(), read))
            .and_then(|rules| {
                let sink = AccessFs::ReadFile | AccessFs::WriteFile;
                rules.add_rules(path_beneath_rules(SINKS, sink))
            })
            .map_err(refused)?;
        for (key, paths, access) in [("read", bounds.read, read), ("write", bounds.write, write)] {
            for path in paths {
                let opened = opened(key, path, access)?;
                rules = rules.add_rule(opened).map_err(refused)?;
            }
        }
    }
    for (ports, access) in [(connect, AccessNet::ConnectTcp), (bind, AccessNet::BindTcp)] {
        for port in ports.unwrap_or_default() {
            rules = rules
                .add_rule(NetPort::new(*port, access))
                .map_err(refused)?;
        }
    }
    Ok(rules.into())
}

fn opened(
    key: &'static str,
    path: &Path,
    access: BitFlags<AccessFs>,
) -> Result<PathBeneath<PathFd>, SandboxError> {
    let refused = |error: String| SandboxError::Path {
        key,
        path: path.display().to_string(),
        error,
    };
    let found = fs::metadata(path).map_err(|error| refused(error.to_string()))?;
    let opened = PathFd::new(path).map_err(|error| refused(error.to_string()))?;
    let access = if found.is_dir() {
        access
    } else {
        access & AccessFs::from_file(RIGHTS)
    };
    Ok(PathBeneath::new(opened, access))
}
