//! Ports that are named before somebody listens there.
//!
//! Always: from a range of which the system gives nobody one by itself, so that neither another test's node that
//! leaves the choice to the system nor a caller's end gets it meanwhile; and none twice in one process.

use std::net::{TcpListener, UdpSocket};
use std::ops::Range;
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};

/// Below what Linux draws from (`net.ipv4.ip_local_port_range`, 32768 on), and above what tests' services have,
/// which begin between 3,100 and 27,200.
const PORTS: Range<u16> = 28_000..32_700;

/// A port of 127.0.0.1 that nobody has, over TCP and UDP.
#[must_use]
pub fn free_port() -> u16 {
    static COUNT: AtomicU16 = AtomicU16::new(0);
    let span = PORTS.end - PORTS.start;
    // Tests in another process begin elsewhere.
    let first = (std::process::id() % u32::from(span)) as u16;
    let ports = (0..span).map(|_| {
        let at = u32::from(first) + u32::from(COUNT.fetch_add(1, Relaxed)) * STEP;
        PORTS.start + (at % u32::from(span)) as u16
    });
    let free = |port: &u16| {
        TcpListener::bind(("127.0.0.1", *port)).is_ok()
            && UdpSocket::bind(("127.0.0.1", *port)).is_ok()
    };
    ports.into_iter().find(free).expect("there is a free port")
}

/// Processes have numbers in a row: so far apart are two ports of one of them.
const STEP: u32 = 37;
