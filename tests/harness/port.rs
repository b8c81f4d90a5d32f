//! Ports that are named before somebody listens there.

use std::net::TcpListener;

/// A port of 127.0.0.1 that nobody has now.
#[must_use]
pub fn free_port() -> u16 {
    let socket = TcpListener::bind(("127.0.0.1", 0)).and_then(|socket| socket.local_addr());
    socket.expect("there is a free port").port()
}
