//! Free ports for instances.
//!
//! Always: no two instances of skyclaw hosts on this machine get one port, also not of different
//! hosts: a port is held by a name that the kernel gives to one process at a time and takes back when
//! that process dies. A port that anybody listens on is not given.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::UnixListener;

use rustix::io::Errno;

/// Ports looked at, from the base on: more than instances on a machine with several hosts.
const SPAN: u16 = 2000;

/// Where to begin if no base was chosen.
const ANY: u16 = 3100;

/// A port of our own until it is dropped.
#[derive(Debug)]
pub(super) struct Port {
    number: u16,
    _name: UnixListener,
}

impl Port {
    /// The first free one, from `base` on; not `except`, which turned out not to be free.
    pub(super) fn take(base: u16, except: Option<u16>) -> io::Result<Self> {
        // 0 means that any will do.
        let base = if base == 0 { ANY } else { base };
        let end = base.saturating_add(SPAN);
        let free = (base..=end).filter(|port| Some(*port) != except).find_map(Self::hold);
        free.ok_or_else(|| io::Error::other(format!("no port between {base} and {end} is free")))
    }

    fn hold(number: u16) -> Option<Self> {
        let name = format!("skyclaw-port-{number}");
        let name = std::os::unix::net::SocketAddr::from_abstract_name(name).ok()?;
        let name = UnixListener::bind_addr(&name).ok()?;
        is_free(number).then_some(Self { number, _name: name })
    }

    pub(super) const fn number(&self) -> u16 {
        self.number
    }
}

/// Whether nobody listens on a port, at whatever address.
pub(super) fn is_free(port: u16) -> bool {
    let all = [
        SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)),
        SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)),
        SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
    ];
    all.into_iter().all(|address| match TcpListener::bind(address) {
        Ok(_) => true,
        // A machine without one of the two families.
        Err(error) => {
            let without = [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL];
            let raw = error.raw_os_error().map(Errno::from_raw_os_error);
            raw.is_some_and(|errno| without.contains(&errno))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A port below which and above which nobody is likely to listen.
    const BASE: u16 = 21_400;

    #[test]
    fn ports_that_are_held_or_listened_on_are_passed_over() {
        let first = Port::take(BASE, None).unwrap();
        let second = Port::take(BASE, None).unwrap();
        assert!(second.number() > first.number());
        let freed = first.number();
        drop(first);
        for address in ["127.0.0.1", "0.0.0.0", "[::]"] {
            let Ok(_listener) = TcpListener::bind(format!("{address}:{freed}")) else { continue };
            assert!(Port::take(BASE, None).unwrap().number() > freed, "{address}");
        }
        assert_eq!(Port::take(BASE, None).unwrap().number(), freed);
        assert!(Port::take(BASE, Some(freed)).unwrap().number() > second.number());
    }
}
