//! What runs between fork and exec, and the process that is forked and never runs another program.
//!
//! The only file of weir with `unsafe` in it. A fork of a process with threads has one thread and the locks of all
//! others, so nothing here allocates, logs or takes a lock: everything was prepared before, and what is called are
//! [system calls](https://man7.org/linux/man-pages/man7/signal-safety.7.html) alone.
#![expect(
    unsafe_code,
    reason = "code between fork and exec, fork itself, and two system calls have no safe form"
)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::process::{
    DumpableBehavior, Gid, Pid, Resource, Rlimit, Signal, Uid, WaitOptions, getpid, getppid,
    getrlimit, set_dumpable_behavior, set_parent_process_death_signal, setrlimit, setsid, waitpid,
};
use rustix::thread::{
    CapabilitySet, CapabilitySets, clear_ambient_capability_set, set_capabilities, set_name,
    set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};
use seccompiler::BpfProgram;
use tokio::process::Command;

use super::undertaker::Notice;

/// What a child does to itself before it becomes its program.
#[derive(Debug, Default)]
pub(crate) struct Entry {
    /// Whether it gives up gaining rights; without, nothing else of this is done.
    pub(super) restricted: bool,
    pub(super) limits: Vec<(Resource, u64)>,
    pub(super) no_capabilities: bool,
    pub(super) user: Option<u32>,
    pub(super) landlock: Option<OwnedFd>,
    pub(super) filters: Vec<BpfProgram>,
    /// Tells the undertaker of the child's group.
    pub(super) notice: Option<Notice>,
}

/// The highest number of a capability that there can be.
const LAST_CAPABILITY: libc::c_ulong = 63;

/// The descriptors closed one by one where the kernel cannot close a range.
const DESCRIPTORS: i32 = 65_536;

// === impl Entry ===

impl Entry {
    /// Has the child of `command` do all this to itself. An error there is the error of the start.
    pub(crate) fn install(mut self, command: &mut Command, notice: Option<Notice>) {
        self.notice = notice;
        let parent = getpid();
        // SAFETY: `enter` makes system calls only; it neither allocates nor takes locks.
        unsafe {
            command.pre_exec(move || self.enter(parent));
        }
    }

    fn enter(&self, parent: Pid) -> io::Result<()> {
        if let Some(notice) = &self.notice {
            notice.give(getpid());
        }
        for (resource, limit) in &self.limits {
            lower(*resource, *limit)?;
        }
        if self.no_capabilities {
            (0..=LAST_CAPABILITY).for_each(drop_bounding_capability);
        }
        if let Some(user) = self.user {
            become_account(user)?;
        } else if self.no_capabilities {
            clear_ambient_capability_set()?;
            let none = CapabilitySet::empty();
            let sets = CapabilitySets {
                effective: none,
                permitted: none,
                inheritable: none,
            };
            set_capabilities(None, sets)?;
        }
        // After the change of account, which clears it.
        set_parent_process_death_signal(Some(Signal::KILL))?;
        if getppid() != Some(parent) {
            // The parent died before it was asked for.
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
        if !self.restricted {
            return Ok(());
        }
        set_no_new_privs(true)?;
        if let Some(ruleset) = &self.landlock {
            restrict(ruleset.as_fd())?;
        }
        for filter in &self.filters {
            // Its errors hold no allocation either.
            if seccompiler::apply_filter(filter).is_err() {
                return Err(io::Error::from_raw_os_error(libc::EINVAL));
            }
        }
        Ok(())
    }
}

fn lower(resource: Resource, limit: u64) -> io::Result<()> {
    let maximum = getrlimit(resource).maximum;
    let limit = maximum.map_or(limit, |maximum| maximum.min(limit));
    let limit = Rlimit {
        current: Some(limit),
        maximum: Some(limit),
    };
    Ok(setrlimit(resource, limit)?)
}

fn become_account(user: u32) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(user), Gid::from_raw(user));
    set_thread_groups(&[])?;
    set_thread_res_gid(gid, gid, gid)?;
    Ok(set_thread_res_uid(uid, uid, uid)?)
}

/// What root has after an exec is bounded by this set. An error means that there is no such capability, or that it
/// cannot be had anyway.
fn drop_bounding_capability(capability: libc::c_ulong) {
    // SAFETY: takes numbers and touches no memory of ours.
    unsafe {
        libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0);
    }
}

fn restrict(ruleset: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: takes numbers and touches no memory of ours; the descriptor is open as long as it is borrowed.
    let refused =
        unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0) };
    if refused == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// The version of Landlock that this kernel has; 0 if it has none.
pub(super) fn landlock_version() -> u32 {
    const VERSION: u32 = 1;
    let nothing = std::ptr::null::<u8>();
    // SAFETY: with this flag the pointer is not followed, and must be null.
    let version =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, nothing, 0_usize, VERSION) };
    u32::try_from(version).unwrap_or(0)
}

/// Starts a process that runs `task` and ends: not a child of this one, in a session of its own, with no descriptor but
/// `socket`, deaf to the signals that end the gateway. `task` must do as little as everything here.
pub(super) fn fork_apart(socket: &OwnedFd, task: fn(BorrowedFd<'_>)) -> io::Result<()> {
    // SAFETY: the new process goes on in `apart` or ends, and both make system calls only.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            // SAFETY: as above; with its parent gone at once the second is the first process's child, not ours.
            let second = unsafe { libc::fork() };
            if second == 0 {
                apart(socket.as_fd(), task);
            }
            // SAFETY: ends the process without running anything of ours.
            unsafe { libc::_exit(i32::from(second < 0)) }
        }
        first => {
            let first = Pid::from_raw(first);
            while let Err(rustix::io::Errno::INTR) = waitpid(first, WaitOptions::empty()) {}
            Ok(())
        }
    }
}

fn apart(socket: BorrowedFd<'_>, task: fn(BorrowedFd<'_>)) {
    for signal in [
        libc::SIGHUP,
        libc::SIGINT,
        libc::SIGQUIT,
        libc::SIGPIPE,
        libc::SIGTERM,
        libc::SIGUSR1,
        libc::SIGUSR2,
    ] {
        // SAFETY: takes no code of ours: the signal is ignored.
        unsafe {
            libc::signal(signal, libc::SIG_IGN);
        }
    }
    let _ = setsid();
    let _ = set_name(c"weir-undertaker");
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let _ = lower(Resource::Core, 0);
    let _ = rustix::process::chdir(c"/");
    close_others(socket.as_raw_fd());
    task(socket);
}

fn close_others(kept: i32) {
    let close = |first: i32, last: u32| {
        // SAFETY: nobody else in this process uses a descriptor: it has one thread, which uses the one kept.
        unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) == 0 }
    };
    let below = kept == 0 || close(0, kept.unsigned_abs() - 1);
    if below && close(kept + 1, u32::MAX) {
        return;
    }
    for descriptor in (0..DESCRIPTORS).filter(|descriptor| *descriptor != kept) {
        // SAFETY: as above.
        unsafe {
            libc::close(descriptor);
        }
    }
}
