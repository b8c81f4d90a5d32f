//! Blobs of real nodes: over real sockets, through kills, from node to node.

use std::fs;
use std::io::Read as _;
use std::path::PathBuf;
use std::time::Duration;

use skyclaw_protocol::Hash;
use skyclaw_tests::{Connection, Node, Setup, eventually, resident_kib};

use crate::cluster;

fn content(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8 ^ (at / 997) as u8 ^ seed).collect()
}

fn put(node: &Node, bytes: &[u8]) -> serde_json::Value {
    node.api.send("PUT", "/v1/blobs", &[], bytes).ok()
}

fn path(hash: Hash) -> String {
    format!("/v1/blobs/{}", hash.hex())
}

/// Names in the node's folder of blobs, without the lock.
fn files(node: &Node) -> Vec<String> {
    let folder = fs::read_dir(node.cwd().join(".skyclaw")).expect("the state's folder");
    let folders: Vec<PathBuf> = folder.map(|entry| entry.expect("an entry").path()).collect();
    let blobs = folders.iter().find(|path| path.to_string_lossy().ends_with(".blobs"));
    let names = fs::read_dir(blobs.expect("a folder of blobs")).expect("it can be read");
    let names =
        names.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
    let mut names: Vec<_> = names.filter(|name| name != ".lock").collect();
    names.sort();
    names
}

#[test]
fn a_blob_outlives_a_killed_node() {
    let mut node = Setup::coordinator().start();
    let bytes = content(3_000_000, 1);
    let hash = Hash::of(&bytes);
    let answer = put(&node, &bytes);
    assert_eq!(answer["hash"], hash.hex());
    assert_eq!((&answer["bytes"], &answer["copies"]), (&3_000_000.into(), &1.into()));
    node.kill();
    node.start_again();
    let got = node.api.get(&path(hash));
    assert_eq!((got.status, got.body == bytes), (200, true));
    assert_eq!(node.api.get(&path(Hash([1; 32]))).error(404), "blob not found");
}

/// Killed in the middle of an upload, it serves nothing of it and keeps nothing of it.
#[test]
fn half_an_upload_is_no_blob() {
    let mut node = Setup::coordinator().start();
    let bytes = content(8 << 20, 2);
    let mut connection = Connection::open(node.api.address()).expect("it listens");
    let head =
        format!("PUT /v1/blobs HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", bytes.len());
    connection.send(head.as_bytes()).expect("it reads");
    connection.send(&bytes[..6 << 20]).expect("it reads");
    eventually("half of it is on the disk", || {
        let files = files(&node);
        if files.iter().any(|name| name.starts_with(".part")) {
            Ok(())
        } else {
            Err(format!("{files:?}"))
        }
    });
    node.kill();
    node.start_again();
    assert!(files(&node).is_empty(), "{:?}", files(&node));
    for part in [&bytes[..], &bytes[..6 << 20]] {
        assert_eq!(node.api.get(&path(Hash::of(part))).status, 404);
    }
    // One whose caller goes away leaves nothing either.
    let mut connection = Connection::open(node.api.address()).expect("it listens");
    connection.send(head.as_bytes()).expect("it reads");
    connection.send(&bytes[..6 << 20]).expect("it reads");
    drop(connection);
    eventually("nothing is left", || {
        let files = files(&node);
        if files.is_empty() { Ok(()) } else { Err(format!("{files:?}")) }
    });
    put(&node, &bytes);
    assert_eq!(files(&node).len(), 2);
}

/// What is larger than all bodies may be goes through with little memory, both ways.
/// `SKYCLAW_BLOB_MIB=300` moves more.
#[test]
fn large_blobs_take_little_memory() {
    let mib: usize =
        std::env::var("SKYCLAW_BLOB_MIB").ok().and_then(|text| text.parse().ok()).unwrap_or(64);
    let node = Setup::coordinator().start();
    put(&node, &content(1 << 20, 3));
    let pid = node.process.pid();
    let before = resident_kib(pid);
    let block = content(1 << 20, 4);
    let mut most = before;
    let mut connection = Connection::open(node.api.address()).expect("it listens");
    let head =
        format!("PUT /v1/blobs HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", mib << 20);
    connection.send(head.as_bytes()).expect("it reads");
    for _ in 0..mib {
        connection.send(&block).expect("it reads");
        most = most.max(resident_kib(pid));
    }
    let answer = connection.receive().expect("an answer").ok();
    let hash = answer["hash"].as_str().expect("a hash").to_owned();
    let mut stream = std::net::TcpStream::connect(node.api.address()).expect("it listens");
    let ask = format!("GET /v1/blobs/{hash} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    std::io::Write::write_all(&mut stream, ask.as_bytes()).expect("it reads");
    let (mut read, mut part) = (0, vec![0; 1 << 20]);
    while let Ok(more @ 1..) = stream.read(&mut part) {
        if (read + more) >> 20 > read >> 20 {
            most = most.max(resident_kib(pid));
        }
        read += more;
    }
    assert!(read > mib << 20, "{read} bytes came");
    let grown = most.saturating_sub(before);
    println!("{mib} MiB up and down: {before} KiB resident before, {grown} KiB more at most");
    assert!(grown < 24 << 10, "{grown} KiB more");
}

/// With two copies of each record a bundle survives the coordinator that took it.
#[test]
fn a_blob_outlives_the_coordinator_that_took_it() {
    let mut nodes = cluster::nodes(3, 2);
    let bytes = content(2_000_000, 5);
    let hash = Hash::of(&bytes);
    assert_eq!(put(&nodes[0], &bytes)["copies"], 2);
    nodes[0].kill();
    for node in &nodes[1..] {
        let got = node.api.get(&path(hash));
        assert_eq!((got.status, got.body == bytes), (200, true), "{}", got.text().len());
    }
}

/// One that is alone when it takes a blob of a service brings it to others later: they see what
/// they lack.
#[test]
fn what_a_service_needs_is_copied_later() {
    let first = cluster::node("n0", 1).start();
    let bytes = content(300_000, 6);
    let hash = Hash::of(&bytes);
    assert_eq!(put(&first, &bytes)["copies"], 1);
    let service = serde_json::json!({ "name": "s", "command": "sh", "bundle": hash.hex() });
    first.api.post("/v1/services", &service).ok();
    let second = cluster::node("n1", 1).env("SKYCLAW_BOOTSTRAP", cluster::address(&first)).start();
    skyclaw_tests::within(Duration::from_secs(90), "a copy is kept", || {
        let files = files(&second);
        if files.contains(&hash.hex()) { Ok(()) } else { Err(format!("{files:?}")) }
    });
}
