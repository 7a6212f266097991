//! The system calls that a child is refused.
//!
//! What is not named is allowed: programs of all languages have to run unchanged, and files, ports and signals are the
//! matter of Landlock. What is named has no use in a plugin, or goes around Landlock.

use std::collections::BTreeMap;

use libc::{c_int, c_long};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch, sock_filter,
};

/// How much is refused.
#[derive(Clone, Copy, Debug)]
pub(super) enum Level {
    /// What nobody but the system itself has use for.
    Basic,
    /// What a process without interest in others has no use for.
    Full {
        /// Whether UDP is allowed.
        udp: bool,
        /// Whether Unix sockets are.
        unix: bool,
    },
}

/// Parts of the kernel itself, and of the machine.
const BASIC: &[c_long] = &[
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_bpf,
    libc::SYS_delete_module,
    libc::SYS_finit_module,
    libc::SYS_init_module,
    libc::SYS_kexec_file_load,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_open_by_handle_at,
    libc::SYS_perf_event_open,
    libc::SYS_quotactl,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_userfaultfd,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
];

/// Other processes, other views of the file system, and ways out of the process group.
const FULL: &[c_long] = &[
    libc::SYS_chroot,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_fanotify_init,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_kcmp,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_tree,
    libc::SYS_pidfd_getfd,
    libc::SYS_pivot_root,
    libc::SYS_process_madvise,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    libc::SYS_setdomainname,
    libc::SYS_sethostname,
    libc::SYS_setns,
    libc::SYS_setpgid,
    libc::SYS_setsid,
    libc::SYS_syslog,
    libc::SYS_umount2,
    libc::SYS_unshare,
    libc::SYS_vhangup,
];

/// Calls whose arguments no filter can see. They are said not to exist, so that programs use their older forms.
const OPAQUE: &[c_long] = &[
    libc::SYS_clone3,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
];

/// The bit of numbers that mean the calls of x32, which a filter by number would not see.
const X32: u32 = 0x4000_0000;

/// The filters of a level, to be put in force one after the other.
pub(super) fn filters(level: Level) -> Result<Vec<BpfProgram>, BackendError> {
    let mut refused: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    refused.extend(BASIC.iter().map(|call| (*call, Vec::new())));
    let Level::Full { udp, unix } = level else {
        return Ok(vec![program(refused, libc::EPERM)?]);
    };
    refused.extend(FULL.iter().map(|call| (*call, Vec::new())));
    refused.insert(libc::SYS_socket, sockets(udp, unix)?);
    refused.insert(libc::SYS_clone, namespaces()?);
    let opaque = OPAQUE.iter().map(|call| (*call, Vec::new())).collect();
    Ok(vec![
        program(refused, libc::EPERM)?,
        program(opaque, libc::ENOSYS)?,
    ])
}

fn program(
    refused: BTreeMap<i64, Vec<SeccompRule>>,
    error: c_int,
) -> Result<BpfProgram, BackendError> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let refusal = SeccompAction::Errno(error.unsigned_abs());
    let filter = SeccompFilter::new(refused, SeccompAction::Allow, refusal, arch)?;
    let mut program: BpfProgram = without_x32();
    program.extend(BpfProgram::try_from(filter)?);
    Ok(program)
}

/// `ld number; jge X32 ? refuse : go on`
fn without_x32() -> BpfProgram {
    if !cfg!(target_arch = "x86_64") {
        return Vec::new();
    }
    let statement = |code: u32, jump_false: u8, k: u32| sock_filter {
        code: u16::try_from(code).unwrap_or_default(),
        jt: 0,
        jf: jump_false,
        k,
    };
    vec![
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        statement(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 1, X32),
        statement(
            libc::BPF_RET | libc::BPF_K,
            0,
            u32::from(SeccompAction::Errno(libc::ENOSYS.unsigned_abs())),
        ),
    ]
}

/// `socket(family, type, protocol)`: TCP, what may be besides it, and the questions about the network that the resolver
/// asks the kernel.
fn sockets(udp: bool, unix: bool) -> Result<Vec<SeccompRule>, BackendError> {
    const FAMILY: u8 = 0;
    const KIND: u8 = 1;
    const PROTOCOL: u8 = 2;
    /// The bits of the type that are no flags.
    const KINDS: u64 = 0xf;
    let mut rules = Vec::new();

    let mut families = vec![libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];
    if unix {
        families.push(libc::AF_UNIX);
    }
    let others = families.iter().map(|family| is_not(FAMILY, *family));
    rules.push(SeccompRule::new(others.collect::<Result<_, _>>()?)?);

    let mut kinds = vec![
        libc::SOCK_RAW,
        libc::SOCK_RDM,
        libc::SOCK_SEQPACKET,
        libc::SOCK_DCCP,
    ];
    let mut protocols = vec![0, libc::IPPROTO_TCP];
    if udp {
        protocols.push(libc::IPPROTO_UDP);
    } else {
        kinds.push(libc::SOCK_DGRAM);
    }
    for family in [libc::AF_INET, libc::AF_INET6] {
        for kind in &kinds {
            let kind = SeccompCondition::new(
                KIND,
                SeccompCmpArgLen::Dword,
                SeccompCmpOp::MaskedEq(KINDS),
                u64::from(kind.unsigned_abs()),
            )?;
            rules.push(SeccompRule::new(vec![is(FAMILY, family)?, kind])?);
        }
        // Among them MPTCP, which Landlock does not know.
        let mut others = vec![is(FAMILY, family)?];
        for protocol in &protocols {
            others.push(is_not(PROTOCOL, *protocol)?);
        }
        rules.push(SeccompRule::new(others)?);
    }
    Ok(rules)
}

/// `clone` with new namespaces.
fn namespaces() -> Result<Vec<SeccompRule>, BackendError> {
    let flags = [
        libc::CLONE_NEWCGROUP,
        libc::CLONE_NEWIPC,
        libc::CLONE_NEWNET,
        libc::CLONE_NEWNS,
        libc::CLONE_NEWPID,
        libc::CLONE_NEWUSER,
        libc::CLONE_NEWUTS,
    ];
    let rules = flags.iter().map(|flag| {
        let flag = u64::from(flag.unsigned_abs());
        let set = SeccompCmpOp::MaskedEq(flag);
        let condition = SeccompCondition::new(0, SeccompCmpArgLen::Dword, set, flag)?;
        SeccompRule::new(vec![condition])
    });
    rules.collect()
}

fn is(argument: u8, value: c_int) -> Result<SeccompCondition, BackendError> {
    let value = u64::from(value.unsigned_abs());
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)
}

fn is_not(argument: u8, value: c_int) -> Result<SeccompCondition, BackendError> {
    let value = u64::from(value.unsigned_abs());
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, value)
}
