//! The system calls that a run is refused: what it has no use for and the kernel has had holes in.
//!
//! A list of what is refused, not of what is allowed: compilers, interpreters and agents use hundreds
//! of calls, and a list that is too short breaks them in ways nobody can tell from a fault of theirs.
//! What matters is held by other means too; this one makes less of the kernel reachable.
//!
//! Always: another architecture's calls end the process, and none of the x32 numbering is answered, which
//! would be a second name for each.

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter, sock_filter,
};

use super::fault::Fault;

/// What the filter says about sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sockets {
    /// Those of this machine's processes alone.
    Unix,
    /// Also IPv4 and IPv6, and the list of interfaces.
    Internet,
    /// For a service that only answers: TCP, without a way to begin a connection that Landlock does
    /// not see. Without Landlock's rules for TCP (`false`) no connection at all, which takes those to
    /// Unix sockets too.
    Answering {
        /// Whether Landlock holds connections.
        held: bool,
    },
}

/// Refused whatever their arguments are.
const REFUSED: &[c_long] = &[
    // Other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    // Namespaces, mounts, roots.
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_open_by_handle_at,
    libc::SYS_fanotify_init,
    // The kernel itself.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_syslog,
    libc::SYS_acct,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_vhangup,
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
    libc::SYS_lookup_dcookie,
    libc::SYS_nfsservctl,
    // Keys are kept by user, not by sandbox.
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
];

/// The same, on machines that have them.
#[cfg(target_arch = "x86_64")]
const REFUSED_HERE: &[c_long] = &[
    libc::SYS_kexec_file_load,
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_modify_ldt,
    libc::SYS_uselib,
    libc::SYS__sysctl,
    libc::SYS_ustat,
    libc::SYS_sysfs,
];
#[cfg(not(target_arch = "x86_64"))]
const REFUSED_HERE: &[c_long] = &[];

/// Said to be unknown, at which programs take the older way: whose arguments can be looked at, or which
/// is no second way round this filter.
const UNKNOWN: &[c_long] = &[
    libc::SYS_clone3,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
];

/// What makes a namespace, for `clone` and `unshare`. (The one for time is for `unshare` alone: to
/// `clone` it is part of a signal's number.)
const NAMESPACES: [libc::c_int; 7] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
];
const NEW_TIME: u64 = 0x80;

/// The bit that x32 adds to numbers.
const X32: u32 = 0x4000_0000;

/// A written filter begins with a look at the architecture, and has the number of the call after these.
const HEAD: usize = 4;

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Puts the filter on this thread and what it starts. `alone` if the run sees no processes but its own.
pub(crate) fn apply(sockets: Sockets, alone: bool) -> Result<(), Fault> {
    let wrong = |error: &dyn std::fmt::Display| Fault::new("the filter of system calls", error);
    for program in programs(sockets, alone).map_err(|error| wrong(&error))? {
        apply_filter(&program).map_err(|error| wrong(&error))?;
    }
    Ok(())
}

fn programs(sockets: Sockets, alone: bool) -> Result<[BpfProgram; 2], seccompiler::BackendError> {
    let machine = TargetArch::try_from(std::env::consts::ARCH)?;
    let program = |rules: Rules, errno: libc::c_int| {
        let no = SeccompAction::Errno(errno.unsigned_abs());
        SeccompFilter::new(rules, SeccompAction::Allow, no, machine).and_then(BpfProgram::try_from)
    };
    let mut unknown = Rules::new();
    UNKNOWN.iter().for_each(|call| refuse(&mut unknown, *call, Vec::new()));
    let mut refused = program(refused(sockets, alone)?, libc::EPERM)?;
    if cfg!(target_arch = "x86_64") {
        refuse_x32(&mut refused);
    }
    Ok([refused, program(unknown, libc::ENOSYS)?])
}

/// Refuses a whole range of numbers, for which the crate has no words: "if the number has the bit, no"
/// goes where the number has just been read. Jumps are relative, and none leads over that place.
fn refuse_x32(program: &mut BpfProgram) {
    let at_least = u16::try_from(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K).unwrap_or(0);
    let answer = u16::try_from(libc::BPF_RET | libc::BPF_K).unwrap_or(0);
    let no = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs();
    let jump = sock_filter { code: at_least, jt: 0, jf: 1, k: X32 };
    let answer = sock_filter { code: answer, jt: 0, jf: 0, k: no };
    program.splice(HEAD..HEAD, [jump, answer]);
}

fn refused(sockets: Sockets, alone: bool) -> Result<Rules, seccompiler::BackendError> {
    let mut rules = Rules::new();
    REFUSED.iter().chain(REFUSED_HERE).for_each(|call| refuse(&mut rules, *call, Vec::new()));
    let flags = NAMESPACES.map(|flag| u64::from(flag.unsigned_abs()));
    let making = |more: &[u64]| {
        let all = flags.iter().chain(more);
        all.map(|flag| rule(&[has(0, *flag)])).collect::<Result<Vec<_>, _>>()
    };
    refuse(&mut rules, libc::SYS_clone, making(&[])?);
    refuse(&mut rules, libc::SYS_unshare, making(&[NEW_TIME])?);
    // Typing into a terminal, and what a console can do.
    let typing = [0x5412, 0x541C].map(|request| rule(&[is(1, request)]));
    refuse(&mut rules, libc::SYS_ioctl, typing.into_iter().collect::<Result<_, _>>()?);
    if !alone {
        // "All of this user" is more than the job.
        let all = vec![rule(&[is(0, u64::from(u32::MAX))])?];
        refuse(&mut rules, libc::SYS_kill, all);
    }
    for (call, on) in of_sockets(sockets)? {
        refuse(&mut rules, call, on);
    }
    Ok(rules)
}

fn of_sockets(
    sockets: Sockets,
) -> Result<Vec<(c_long, Vec<SeccompRule>)>, seccompiler::BackendError> {
    let (unix, v4, v6) = (libc::AF_UNIX, libc::AF_INET, libc::AF_INET6);
    let not = |family: libc::c_int| isnt(0, u64::from(family.unsigned_abs()));
    let only = |families: &[libc::c_int]| {
        rule(&families.iter().map(|family| not(*family)).collect::<Vec<_>>())
    };
    Ok(match sockets {
        Sockets::Unix => vec![(libc::SYS_socket, vec![only(&[unix])?])],
        Sockets::Internet => vec![(
            libc::SYS_socket,
            vec![
                only(&[unix, v4, v6, libc::AF_NETLINK])?,
                rule(&[is(0, u64::from(libc::AF_NETLINK.unsigned_abs())), isnt(2, 0)])?,
            ],
        )],
        Sockets::Answering { held } => {
            let mut made = vec![only(&[unix, v4, v6])?];
            for family in [v4, v6].map(|family| u64::from(family.unsigned_abs())) {
                // No datagrams, nothing raw; and no protocol that Landlock takes for another than TCP.
                let stream = u64::from(libc::SOCK_STREAM.unsigned_abs());
                let kinds = (0..=6).filter(|kind| *kind != stream);
                for kind in kinds {
                    made.push(rule(&[is(0, family), masked(1, 0xf, kind)])?);
                }
                made.push(rule(&[is(0, family), isnt(2, 0), isnt(2, 6)])?);
            }
            // What connects without `connect`.
            let fast = u64::from(libc::MSG_FASTOPEN.unsigned_abs());
            let mut rules = vec![
                (libc::SYS_socket, made),
                (libc::SYS_sendto, vec![rule(&[has(3, fast)])?]),
                (libc::SYS_sendmsg, vec![rule(&[has(2, fast)])?]),
                (libc::SYS_sendmmsg, vec![rule(&[has(3, fast)])?]),
            ];
            if !held {
                rules.push((libc::SYS_connect, Vec::new()));
            }
            rules
        }
    })
}

fn refuse(rules: &mut Rules, call: c_long, on: Vec<SeccompRule>) {
    rules.insert(call, on);
}

type Condition = Result<SeccompCondition, seccompiler::BackendError>;

fn rule(conditions: &[Condition]) -> Result<SeccompRule, seccompiler::BackendError> {
    let mut all = Vec::with_capacity(conditions.len());
    for condition in conditions {
        match condition {
            Ok(condition) => all.push(condition.clone()),
            Err(_) => return Err(seccompiler::BackendError::EmptyRule),
        }
    }
    SeccompRule::new(all)
}

fn is(argument: u8, value: u64) -> Condition {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)
}

fn isnt(argument: u8, value: u64) -> Condition {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, value)
}

fn masked(argument: u8, mask: u64, value: u64) -> Condition {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(mask), value)
}

fn has(argument: u8, flag: u64) -> Condition {
    masked(argument, flag, flag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_filter_can_be_written() {
        let held = [true, false].map(|held| Sockets::Answering { held });
        for sockets in [Sockets::Unix, Sockets::Internet].into_iter().chain(held) {
            for alone in [true, false] {
                let programs = programs(sockets, alone).unwrap();
                assert!(programs.iter().all(|program| program.len() > 8), "{sockets:?}");
            }
        }
    }

    /// What is put into a filter by hand stands right behind the reading of the number.
    #[test]
    fn numbers_of_the_other_numbering_are_refused_where_the_number_was_read() {
        let [refused, _] = programs(Sockets::Unix, true).unwrap();
        let load = u16::try_from(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS).unwrap();
        // The architecture lies at 4, the number at 0.
        assert_eq!((refused[0].code, refused[0].k), (load, 4));
        assert_eq!((refused[HEAD - 1].code, refused[HEAD - 1].k), (load, 0));
        if cfg!(target_arch = "x86_64") {
            assert_eq!((refused[HEAD].k, refused[HEAD].jt, refused[HEAD].jf), (X32, 0, 1));
        }
    }

    #[test]
    fn only_runs_that_see_others_are_kept_from_ending_all() {
        let holds = |alone| refused(Sockets::Unix, alone).unwrap().contains_key(&libc::SYS_kill);
        assert_eq!([true, false].map(holds), [false, true]);
    }
}
