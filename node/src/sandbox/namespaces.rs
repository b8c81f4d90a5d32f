//! Namespaces of a run: its own users where the node is no root, its own processes, mounts, names
//! and network.
//!
//! Always: called by processes of ours that have one thread, before anything of a job is there.

use std::fs;

use nix::sched::{CloneFlags, unshare};
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::process::{getegid, geteuid};
use rustix::thread::{
    CapabilitySet, capabilities, configure_capability_in_ambient_set, set_capabilities,
};

use super::fault::{Fault, Step};

/// What the first process of a sandbox needs to lay it out, and gives up before the job is there.
const NEEDED: CapabilitySet = CapabilitySet::SYS_ADMIN
    .union(CapabilitySet::NET_ADMIN)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::DAC_OVERRIDE);

/// Enters a user namespace in which this user is itself and alone, with the rights to make the others.
/// These are kept over `exec`, which would take them from a user that is not root.
pub(crate) fn own_users() -> Result<(), Fault> {
    let (user, group) = (geteuid().as_raw(), getegid().as_raw());
    unshare(CloneFlags::CLONE_NEWUSER).step(|| "a user namespace")?;
    let write = |name: &str, text: String| {
        fs::write(format!("/proc/self/{name}"), text).step(|| format!("a user namespace: {name}"))
    };
    write("setgroups", "deny".to_owned())?;
    write("uid_map", format!("{user} {user} 1"))?;
    write("gid_map", format!("{group} {group} 1"))?;
    let step = || "rights in a user namespace";
    let mut sets = capabilities(None).step(step)?;
    sets.inheritable = NEEDED;
    set_capabilities(None, sets).step(step)?;
    for one in NEEDED.iter() {
        configure_capability_in_ambient_set(one, true).step(step)?;
    }
    Ok(())
}

/// The next child of this thread is the first process of a namespace of its own.
pub(crate) fn own_processes() -> Result<(), Fault> {
    unshare(CloneFlags::CLONE_NEWPID).step(|| "a pid namespace")
}

/// Mounts, queues, names and the view of control groups; nothing of it is seen outside.
pub(crate) fn own_view() -> Result<(), Fault> {
    let flags = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWCGROUP;
    unshare(flags).step(|| "mount, ipc, uts and cgroup namespaces")?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .step(|| "private mounts")?;
    // A name that resolves everywhere; the machine's own is nobody's business.
    rustix::system::sethostname(b"localhost").step(|| "a host name of its own")
}

/// A network with nothing but loopback.
pub(crate) fn own_network() -> Result<(), Fault> {
    unshare(CloneFlags::CLONE_NEWNET).step(|| "a network namespace")?;
    loopback_up().step(|| "loopback of a network namespace")
}

/// Asks the kernel to take the first interface up: there is no other way without `unsafe`.
fn loopback_up() -> rustix::io::Result<()> {
    const RTM_NEWLINK: u16 = 16;
    const REQUEST_AND_ACK: u16 = 1 | 4;
    const IFF_UP: u32 = 1;
    const LENGTH: u32 = 32;
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        // None is number 0: that of routes and interfaces.
        None,
    )?;
    // nlmsghdr: length, type, flags, number, port; ifinfomsg: family, type, index, flags, mask.
    let mut message = Vec::with_capacity(LENGTH as usize);
    message.extend(LENGTH.to_ne_bytes());
    message.extend(RTM_NEWLINK.to_ne_bytes());
    message.extend(REQUEST_AND_ACK.to_ne_bytes());
    message.extend([0; 8]);
    message.extend([0; 4]);
    message.extend(1_i32.to_ne_bytes());
    message.extend(IFF_UP.to_ne_bytes());
    message.extend(IFF_UP.to_ne_bytes());
    rustix::net::send(&socket, &message, SendFlags::empty())?;
    let mut answer = [0_u8; 256];
    let (length, _) = rustix::net::recv(&socket, &mut answer, RecvFlags::empty())?;
    // nlmsgerr: the number follows the header, 0 for yes.
    let code = answer.get(16..20).filter(|_| length >= 20);
    match code.and_then(|code| code.try_into().ok()).map(i32::from_ne_bytes) {
        Some(0) => Ok(()),
        Some(number) => Err(rustix::io::Errno::from_raw_os_error(-number)),
        None => Err(rustix::io::Errno::PROTO),
    }
}
