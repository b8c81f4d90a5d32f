//! The way out on real sockets: lists, names that lead where they should not, bounds, the end.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use skyclaw_protocol::egress::HostRule;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixStream};
use tokio::time::timeout;

use super::dial::Resolve;
use super::limits::CONNECTIONS;
use super::{Door, Egress, Rules};

/// Names of the test, and which were looked for.
#[derive(Debug, Default)]
struct Names {
    known: HashMap<&'static str, Vec<IpAddr>>,
    asked: Mutex<Vec<String>>,
}

impl Resolve for Names {
    fn find(&self, name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        self.asked.lock().unwrap().push(name.to_owned());
        let found = self.known.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(found.iter().map(|address| SocketAddr::new(*address, port)).collect())
    }
}

struct World {
    names: Arc<Names>,
    egress: Egress,
    folder: tempfile::TempDir,
    /// Where a server of the test answers whoever calls.
    port: u16,
}

async fn world(known: &[(&'static str, &[&str])]) -> World {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut piece = [0; 1024];
                while let Ok(read @ 1..) = stream.read(&mut piece).await {
                    let _ = stream.write_all(&piece[..read]).await;
                }
            });
        }
    });
    let parsed = |list: &[&str]| list.iter().map(|text| text.parse().unwrap()).collect();
    let known = known.iter().map(|(name, list)| (*name, parsed(list))).collect();
    let names = Arc::new(Names { known, asked: Mutex::default() });
    let egress = Egress::with(Arc::clone(&names) as Arc<dyn Resolve>);
    World { names, egress, folder: tempfile::tempdir().unwrap(), port }
}

fn list(entries: &[String]) -> Vec<HostRule> {
    entries.iter().map(|entry| HostRule::parse(entry).unwrap()).collect()
}

impl World {
    /// A door with what a job asks for and its owner grants; PORT stands for the server's.
    fn open(&self, hosts: &[&str], owner: &[&str], private: bool) -> Door {
        let with = |list: &[&str]| -> Vec<String> {
            list.iter().map(|text| text.replace("PORT", &self.port.to_string())).collect()
        };
        let (hosts, owner) = (list(&with(hosts)), list(&with(owner)));
        let rules = Rules { hosts, owner, private, list: "the list" };
        self.egress.open(rules, self.folder.path()).unwrap()
    }

    fn counted(&self) -> (u64, u64, u64) {
        let numbers = &self.egress.numbers;
        let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Relaxed);
        (read(&numbers.connected), read(&numbers.refused), read(&numbers.failed))
    }

    fn asked(&self) -> Vec<String> {
        self.names.asked.lock().unwrap().clone()
    }
}

/// The first bytes of the answer to a CONNECT request.
async fn connect(door: &Path, target: &str) -> String {
    let mut stream = UnixStream::connect(door).await.unwrap();
    let request = format!("CONNECT {target} HTTP/1.1\r\nhost: {target}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut heard = Vec::new();
    let mut piece = [0; 1024];
    while !heard.ends_with(b"\n") {
        let read = timeout(Duration::from_secs(20), stream.read(&mut piece)).await;
        let read = read.expect("an answer in time").unwrap();
        assert!(read > 0, "the connection ended");
        heard.extend_from_slice(&piece[..read]);
        if heard.starts_with(b"HTTP/1.1 200") && heard.ends_with(b"\r\n\r\n") {
            stream.write_all(b"echo\n").await.unwrap();
            let mut echoed = [0; 5];
            stream.read_exact(&mut echoed).await.unwrap();
            return "open".to_owned();
        }
    }
    String::from_utf8(heard).unwrap()
}

#[track_caller]
fn refused(said: &str, word: &str) {
    assert!(said.starts_with("HTTP/1.1 403 ") && said.contains(word), "{said}");
}

#[tokio::test]
async fn what_the_list_names_is_reached_and_nothing_else_is_even_looked_up() {
    let world = world(&[("allowed.test", &["127.0.0.1"]), ("other.test", &["127.0.0.1"])]).await;
    let door = world.open(&["allowed.test:PORT"], &[], true);
    let target = format!("allowed.test:{}", world.port);
    assert_eq!(connect(door.path(), &target).await, "open");
    assert_eq!(connect(door.path(), &target.to_uppercase()).await, "open");
    for target in [
        format!("other.test:{}", world.port),
        format!("127.0.0.1:{}", world.port),
        format!("[::ffff:127.0.0.1]:{}", world.port),
        "allowed.test:443".to_owned(),
        "secret-in-a-name.evil.test:443".to_owned(),
    ] {
        refused(&connect(door.path(), &target).await, "the list does not name it");
    }
    assert_eq!(world.asked(), ["allowed.test", "allowed.test"]);
    assert_eq!(world.counted(), (2, 5, 0));
}

#[tokio::test]
async fn a_name_that_leads_inwards_is_refused_unless_the_owner_means_it() {
    let inwards: &[&str] = &["127.0.0.1", "::1", "169.254.169.254", "10.0.0.1", "::ffff:127.0.0.1"];
    for address in inwards {
        let world = world(&[("rebound.test", &[address])]).await;
        let door = world.open(&["rebound.test:PORT"], &["*"], false);
        let said = connect(door.path(), &format!("rebound.test:{}", world.port)).await;
        refused(&said, "leads to");
    }
    // An entry for one address opens that one, on that port.
    let world =
        world(&[("near.test", &["127.0.0.1"]), ("metadata.test", &["169.254.169.254"])]).await;
    let hosts = ["near.test:PORT", "metadata.test:PORT", "near.test:1"];
    let door = world.open(&hosts, &["127.0.0.1:PORT"], false);
    assert_eq!(connect(door.path(), &format!("near.test:{}", world.port)).await, "open");
    refused(&connect(door.path(), "near.test:1").await, "127.0.0.1");
    let said = connect(door.path(), &format!("metadata.test:{}", world.port)).await;
    refused(&said, "169.254.169.254");
    // What the job itself asks for is no word of the owner's.
    let door = world.open(&["127.0.0.1:PORT"], &[], false);
    refused(&connect(door.path(), &format!("127.0.0.1:{}", world.port)).await, "leads to");
}

#[tokio::test]
async fn of_several_addresses_only_those_that_may_be_are_tried() {
    let both: &[&str] = &["169.254.169.254", "127.0.0.1"];
    let world = world(&[("both.test", both)]).await;
    let door = world.open(&["both.test:PORT"], &["127.0.0.1:PORT"], false);
    assert_eq!(connect(door.path(), &format!("both.test:{}", world.port)).await, "open");
}

#[tokio::test]
async fn what_is_allowed_and_does_not_work_is_told_apart_from_what_is_refused() {
    let world = world(&[("closed.test", &["127.0.0.1"])]).await;
    let door = world.open(&["closed.test:1", "unknown.test"], &[], true);
    let said = connect(door.path(), "closed.test:1").await;
    assert!(said.starts_with("HTTP/1.1 502 ") && said.contains("closed.test:1"), "{said}");
    let said = connect(door.path(), "unknown.test:443").await;
    assert!(said.starts_with("HTTP/1.1 502 ") && said.contains("not known"), "{said}");
    assert_eq!(world.counted(), (0, 0, 2));
}

#[tokio::test]
async fn a_door_that_is_closed_ends_what_went_through_it() {
    let world = world(&[("allowed.test", &["127.0.0.1"])]).await;
    let door = world.open(&["allowed.test:PORT"], &[], true);
    let path = door.path().to_owned();
    let mut stream = UnixStream::connect(&path).await.unwrap();
    let request = format!("CONNECT allowed.test:{} HTTP/1.1\r\n\r\n", world.port);
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
    drop(door);
    let rest = timeout(Duration::from_secs(10), stream.read_to_end(&mut Vec::new())).await;
    assert!(rest.is_ok(), "the tunnel ended");
    assert!(!path.exists() && UnixStream::connect(&path).await.is_err());
}

#[tokio::test]
async fn more_connections_than_a_run_may_have_wait_for_a_place() {
    let world = world(&[("allowed.test", &["127.0.0.1"])]).await;
    let door = world.open(&["allowed.test:PORT"], &[], true);
    let mut held = Vec::new();
    for _ in 0..CONNECTIONS {
        held.push(UnixStream::connect(door.path()).await.unwrap());
    }
    let target = format!("allowed.test:{}", world.port);
    let mut one_more = std::pin::pin!(connect(door.path(), &target));
    let early = timeout(Duration::from_millis(300), &mut one_more).await;
    assert!(early.is_err(), "it waits: {early:?}");
    assert_eq!(world.counted().0, 0);
    drop(held.pop());
    let late = timeout(Duration::from_secs(10), &mut one_more).await;
    assert_eq!(late.expect("a place came free"), "open");
}
