//! The way from a run's own network to the proxy outside: a port of its loopback, led to a Unix socket.
//!
//! Always: bound in number, and knows nothing of what passes.

use std::io;
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use super::fault::{Fault, Step};

/// The port on which a run finds its proxy. It is alone in its network, so any will do.
const PORT: u16 = 3128;

/// Connections at once: what package managers open to one proxy, twice.
const MOST: usize = 64;

/// What programs call the address of a proxy.
const VARIABLES: [&str; 6] =
    ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"];

/// What a run with a proxy finds in its environment.
pub(crate) fn variables() -> Vec<(String, String)> {
    let url = format!("http://127.0.0.1:{PORT}");
    let proxy = VARIABLES.map(|name| (name.to_owned(), url.clone()));
    // What is on its own loopback needs no proxy, and Node's own client asks for being told.
    let more = [("NO_PROXY", "localhost,127.0.0.1,::1"), ("no_proxy", "localhost,127.0.0.1,::1")];
    let node = [("NODE_USE_ENV_PROXY", "1")];
    let more =
        more.into_iter().chain(node).map(|(name, value)| (name.to_owned(), value.to_owned()));
    proxy.into_iter().chain(more).collect()
}

/// Takes the port, and leads what comes there to `socket` from then on.
pub(crate) fn start(socket: &'static str) -> Result<(), Fault> {
    let step = || "the way to the proxy";
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, PORT)).step(step)?;
    let room = Arc::new(());
    let accept = move || {
        for connection in listener.incoming() {
            let Ok(connection) = connection else { continue };
            if Arc::strong_count(&room) > MOST {
                continue;
            }
            let place = Arc::clone(&room);
            // One that cannot be led anywhere is closed.
            let _ = small().spawn(move || {
                let _ = lead(connection, Path::new(socket));
                drop(place);
            });
        }
    };
    small().spawn(accept).step(step)?;
    Ok(())
}

fn small() -> thread::Builder {
    thread::Builder::new().name("proxy".into()).stack_size(128 << 10)
}

/// Both ways until both have ended.
fn lead(inside: TcpStream, socket: &Path) -> io::Result<()> {
    let outside = UnixStream::connect(socket)?;
    let (mut from, mut to) = (inside.try_clone()?, outside.try_clone()?);
    let there = small().spawn(move || {
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    })?;
    let (mut from, mut to) = (outside, inside);
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
    let _ = there.join();
    Ok(())
}
