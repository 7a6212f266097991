//! What this system has of what a sandbox needs.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use super::kernel;

/// What this system has of what a sandbox needs. Looked at once; tests make their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The version of [Landlock](https://docs.kernel.org/userspace-api/landlock.html); 0: there is none.
    pub landlock: u32,
    /// Whether [seccomp filters](https://docs.kernel.org/userspace-api/seccomp_filter.html) are there for this processor.
    pub seccomp: bool,
    /// Whether the gateway runs as root, and may give its children other accounts.
    pub root: bool,
}

/// The first version of Landlock that keeps files from being shortened.
const FILES: u32 = 3;
/// The first that knows TCP ports.
const PORTS: u32 = 4;
/// The first that knows signals.
const SIGNALS: u32 = 6;

// === impl Probe ===

impl Probe {
    /// What this system has.
    pub fn system() -> Self {
        static SYSTEM: OnceLock<Probe> = OnceLock::new();
        *SYSTEM.get_or_init(|| Self {
            landlock: kernel::landlock_version(),
            seccomp: seccomp(),
            root: rustix::process::geteuid().is_root(),
        })
    }

    pub(super) fn files(self) -> bool {
        self.landlock >= FILES
    }

    pub(super) fn ports(self) -> bool {
        self.landlock >= PORTS
    }

    pub(super) fn signals(self) -> bool {
        self.landlock >= SIGNALS
    }
}

fn seccomp() -> bool {
    let known = seccompiler::TargetArch::try_from(std::env::consts::ARCH).is_ok();
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let here = Path::new("/proc/sys/kernel/seccomp/actions_avail").exists()
        || status.lines().any(|line| line.starts_with("Seccomp:"));
    known && here
}
