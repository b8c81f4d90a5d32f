//! Whether a shim may keep another run, and how it is told to.
//!
//! Always: nothing of a run is left for the one after it. Its processes are gone by the kernel's word, its
//! control groups are removed, the files it had are closed and counted, its order is wiped; the next one's
//! inner process is a new one. Whatever was not as usual ends the shim: a run that was stopped, killed or
//! not started, that left processes behind, or that took so long that it was watched.
//!
//! It is so where a run has a user of its own, who may neither signal nor trace the shim nor change its
//! limits and priority, which would pass on to the next. Elsewhere a shim keeps one run: below a user of
//! the node's, and in no sandbox at all, runs may do all of that; and at `isolated` the shim has made
//! a namespace of processes, which a process can do only once.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use super::super::wire::Command;
use super::Outputs;

/// Files that this process has open.
pub(super) fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

/// Waits until the daemon wants another run kept, and takes what that will write to. None if it does not.
pub(super) fn wait(socket: &UnixStream) -> io::Result<Option<Outputs>> {
    let mut bytes = [0; Command::LENGTH];
    let mut files: Vec<OwnedFd> = Vec::new();
    loop {
        let mut filled = 0;
        while filled < bytes.len() {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut into = [IoSliceMut::new(&mut bytes[filled..])];
            let got = match recvmsg(socket, &mut into, &mut control, RecvFlags::CMSG_CLOEXEC) {
                Ok(got) => got.bytes,
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(found) = message {
                    files.extend(found);
                }
            }
            if got == 0 {
                return Ok(None);
            }
            filled += got;
        }
        match Command::decode(bytes) {
            // It was meant for the run that is over.
            Command::Until(_) => {}
            // So was this, but then the daemon holds that run for one that did not end by itself.
            Command::Stop(_) => return Ok(None),
            Command::Again => {
                let outputs: Result<[OwnedFd; 2], _> = files.try_into();
                return Ok(outputs.ok().map(|[stdout, stderr]| (stdout, stderr)));
            }
        }
    }
}
