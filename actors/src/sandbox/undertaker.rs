//! The process that ends what the gateway leaves behind.
//!
//! A child is killed by the kernel when the gateway dies, even by `kill -9`; what the child has started is not. So there
//! is a process that knows all process groups, waits for the end of the gateway on a socket whose other end nobody else
//! has, and then kills them. It is forked with the first child, runs no program, and is there until the gateway ends.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair,
};
use rustix::process::{Pid, Signal, kill_process_group};
use tracing::warn;

use super::kernel;

/// How many groups it knows at most. Of more, only the children themselves end with the gateway.
const GROUPS: usize = 4096;

/// A group and its token, or, with the group 0, the end of the one with that token. One packet each.
const PACKET: usize = 12;

/// The right to be mourned: the group is known from its child's first breath until this is dropped.
#[derive(Debug)]
pub(crate) struct Registration {
    token: u64,
    socket: BorrowedFd<'static>,
}

/// What a child tells of itself between fork and exec.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Notice {
    token: u64,
    socket: BorrowedFd<'static>,
}

// === impl Registration ===

impl Registration {
    /// A place for a group to come. `None` if there is no undertaker and none can be made, which is logged once.
    pub(crate) fn new() -> Option<Self> {
        static SOCKET: OnceLock<Option<OwnedFd>> = OnceLock::new();
        static TOKENS: AtomicU64 = AtomicU64::new(1);
        let socket = SOCKET.get_or_init(|| {
            let started = start();
            if let Err(error) = &started {
                warn!(%error, "no process to end what children start; it may outlive a killed gateway");
            }
            started.ok()
        });
        let socket = rustix::fd::AsFd::as_fd(socket.as_ref()?);
        let token = TOKENS.fetch_add(1, Ordering::Relaxed);
        Some(Self { token, socket })
    }

    pub(crate) fn notice(&self) -> Notice {
        Notice {
            token: self.token,
            socket: self.socket,
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        tell(self.socket, self.token, 0);
    }
}

// === impl Notice ===

impl Notice {
    /// Runs between fork and exec.
    pub(super) fn give(&self, group: Pid) {
        tell(self.socket, self.token, group.as_raw_nonzero().get());
    }
}

/// Never waits and never fails: without an undertaker the child still ends with the gateway.
fn tell(socket: BorrowedFd<'_>, token: u64, group: i32) {
    let mut packet = [0; PACKET];
    let (first, last) = packet.split_at_mut(8);
    first.copy_from_slice(&token.to_ne_bytes());
    last.copy_from_slice(&group.to_ne_bytes());
    let _ = send(socket, &packet, SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
}

fn start() -> io::Result<OwnedFd> {
    let (ours, theirs) = socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    kernel::fork_apart(&theirs, keep_watch)?;
    Ok(ours)
}

// === in the other process, by the rules of `kernel` ===

fn keep_watch(socket: BorrowedFd<'_>) {
    let mut groups = [(0_u64, 0_i32); GROUPS];
    let mut packet = [0_u8; PACKET];
    loop {
        match recv(socket, &mut packet, RecvFlags::empty()) {
            Err(rustix::io::Errno::INTR) => continue,
            Ok((PACKET, _)) => {}
            _ => break,
        }
        let [a, b, c, d, e, f, g, h, rest @ ..] = packet;
        let token = u64::from_ne_bytes([a, b, c, d, e, f, g, h]);
        let group = i32::from_ne_bytes(rest);
        let place = if group == 0 { token } else { 0 };
        if let Some(found) = groups.iter_mut().find(|(taken, _)| *taken == place) {
            *found = if group == 0 { (0, 0) } else { (token, group) };
        }
    }
    for (_, group) in groups {
        if let Some(group) = Pid::from_raw(group) {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}
