//! The way from a run's own network to the proxy outside: a port of its loopback, led to a Unix socket.
//!
//! Always: bound in number, and knows nothing of what passes. Connections beyond the bound wait, as they do
//! at the door: one that is closed before it was read loses the answer.

use std::io;
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::fault::{Fault, Step};
use crate::egress::CONNECTIONS;

/// The port on which a run finds its proxy. It is alone in its network, so any will do.
const PORT: u16 = 3128;

/// Pause where the run has no room for another connection.
const SCARCE: Duration = Duration::from_millis(100);

/// Longest silence of a program whose connection has ended outside.
const LINGER: Duration = Duration::from_secs(5);

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

/// Takes the port, and leads what comes there to `socket` from then on. Each connection has two threads,
/// which count among the `processes` that the run may have: it keeps most of them.
pub(crate) fn start(socket: &'static str, processes: u64) -> Result<(), Fault> {
    let step = || "the way to the proxy";
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, PORT)).step(step)?;
    let share = usize::try_from(processes / 8).unwrap_or(usize::MAX).max(1);
    let accept = move || accept(&listener, Path::new(socket), CONNECTIONS.min(share));
    small().spawn(accept).step(step)?;
    Ok(())
}

/// Leads what comes, `most` at once.
fn accept(listener: &TcpListener, socket: &Path, most: usize) {
    let room = Arc::new(Room::default());
    loop {
        let place = Room::enter(&room, most);
        let Ok((connection, _)) = listener.accept() else {
            thread::sleep(SCARCE);
            continue;
        };
        let socket: PathBuf = socket.to_owned();
        // One that cannot be led anywhere is closed.
        spawn(move || {
            let _ = lead(connection, &socket);
            drop(place);
        });
    }
}

/// Counts the connections.
#[derive(Debug, Default)]
struct Room {
    taken: Mutex<usize>,
    left: Condvar,
}

impl Room {
    /// Waits until fewer than `most` are in.
    fn enter(room: &Arc<Self>, most: usize) -> Place {
        let taken = room.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = room.left.wait_while(taken, |taken| *taken >= most);
        *taken.unwrap_or_else(PoisonError::into_inner) += 1;
        Place(Arc::clone(room))
    }
}

/// A place in the room, until it is dropped.
struct Place(Arc<Room>);

impl Drop for Place {
    fn drop(&mut self) {
        *self.0.taken.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.left.notify_one();
    }
}

fn small() -> thread::Builder {
    thread::Builder::new().name("proxy".into()).stack_size(128 << 10)
}

/// Does it on a thread of its own, once there is one: threads count among the run's processes.
fn spawn(work: impl FnOnce() + Send + 'static) -> thread::JoinHandle<()> {
    // A thread that did not come about takes along what it was to do.
    let work = Arc::new(Mutex::new(Some(work)));
    loop {
        let work = Arc::clone(&work);
        let begun = small().spawn(move || {
            let work = work.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(work) = work {
                work();
            }
        });
        match begun {
            Ok(thread) => return thread,
            Err(_) => thread::sleep(SCARCE),
        }
    }
}

/// Both ways until both have ended.
fn lead(inside: TcpStream, socket: &Path) -> io::Result<()> {
    let outside = UnixStream::connect(socket)?;
    let (mut from, mut to) = (inside.try_clone()?, outside.try_clone()?);
    let there = spawn(move || {
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
    let (mut from, mut to) = (outside, inside);
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
    // Clients that keep a connection notice its end with their next request: until then it would have a place.
    let _ = to.set_read_timeout(Some(LINGER));
    let _ = there.join();
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixListener;

    use super::*;

    /// A word there and back.
    fn echo(stream: &mut TcpStream) -> io::Result<()> {
        let mut said = [0; 4];
        stream.write_all(b"word")?;
        stream.read_exact(&mut said)?;
        assert_eq!(&said, b"word");
        Ok(())
    }

    #[test]
    fn connections_beyond_the_number_wait_for_a_place() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("door");
        let door = UnixListener::bind(&socket).unwrap();
        thread::spawn(move || {
            for stream in door.incoming() {
                let mut stream = stream.unwrap();
                let mut back = stream.try_clone().unwrap();
                thread::spawn(move || io::copy(&mut stream, &mut back));
            }
        });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || accept(&listener, &socket, 2));
        let connect = || {
            let stream = TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            stream
        };
        let mut held = [connect(), connect()];
        for stream in &mut held {
            echo(stream).unwrap();
        }
        let mut one_more = connect();
        one_more.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let early = echo(&mut one_more).unwrap_err();
        assert_eq!(early.kind(), io::ErrorKind::WouldBlock, "it is neither led nor closed");
        let [first, _second] = held;
        drop(first);
        one_more.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut said = [0; 4];
        one_more.read_exact(&mut said).unwrap();
        assert_eq!(&said, b"word", "what it said before it had a place");
    }
}
