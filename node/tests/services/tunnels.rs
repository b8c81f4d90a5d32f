//! What other members reach through tunnels: live instances of the host's own, and their logs.

use skyclaw_node::services::{HttpHeader, LogsHeader, ServiceTunnels};
use skyclaw_protocol::ServiceStatus::Running;
use skyclaw_protocol::codec;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, duplex};

use crate::world::{Bench, eventually, id, server, sh};

fn http(name: &str, epoch: u64) -> Vec<u8> {
    codec::encode(&HttpHeader { service: id(name), epoch })
}

#[tokio::test]
async fn a_tunnel_ends_at_a_live_instance_of_the_hosts_own_and_nowhere_else() {
    let bench = Bench::new();
    let tunnels = ServiceTunnels::new(bench.services.clone());
    // It runs but does not serve yet.
    bench.order("slow", 1, sh("sleep 100"));
    bench.order("a", 3, server("'it is me'"));
    bench.reported("a", Running).await;
    for (name, epoch) in [("a", 2), ("a", 4), ("b", 3), ("slow", 1)] {
        let refused = tunnels.http(&http(name, epoch)).await.unwrap_err();
        assert_eq!(refused, format!("instance {epoch} of {name} does not serve on this host"));
    }
    assert!(tunnels.http(b"\xff").await.unwrap_err().starts_with("the header does not decode"));

    let serving = tunnels.http(&http("a", 3)).await.unwrap();
    let (mut opener, acceptor) = duplex(64);
    let served = tokio::spawn(serving.run(acceptor));
    opener.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    opener.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("it is me"), "{answer}");
    drop(opener);
    served.await.unwrap();

    bench.over("a", 3);
    eventually("it is gone", || bench.services.address_of(&id("a"), 3).is_none()).await;
    assert!(tunnels.http(&http("a", 3)).await.is_err());
}

#[tokio::test]
async fn a_log_is_lines_of_json_that_end_with_the_instance_or_its_reader() {
    let bench = Bench::new();
    let tunnels = ServiceTunnels::new(bench.services.clone());
    bench.order("a", 1, sh("echo out; echo 'e\"rr' >&2; exec sleep 100"));
    let log = || bench.services.list().first().map_or(0, |entry| entry.log.bytes());
    eventually("it said something", || log() > 3 * 64).await;
    let header =
        |epoch, follow| codec::encode(&LogsHeader { service: id("a"), epoch, tail: 10, follow });
    assert!(tunnels.logs(&header(Some(2), true)).unwrap_err().contains("no such instance"));

    let (opener, acceptor) = duplex(64);
    let served = tokio::spawn(tunnels.logs(&header(None, false)).unwrap().run(acceptor));
    let mut all = String::new();
    BufReader::new(opener).read_to_string(&mut all).await.unwrap();
    served.await.unwrap();
    let lines: Vec<serde_json::Value> =
        all.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let said = |stream: &str, line: &str| {
        lines.iter().any(|told| told["stream"] == stream && told["line"] == line)
    };
    assert!(said("stdout", "out") && said("stderr", "e\"rr"), "{all}");
    assert!(lines.iter().all(|told| told["at"].is_string() && told["epoch"] == 1), "{all}");

    // Whoever follows is told the end; whoever goes away ends it, though nothing is said.
    let (opener, acceptor) = duplex(64);
    let (gone, silent) = duplex(64);
    let served = tokio::spawn(tunnels.logs(&header(Some(1), true)).unwrap().run(acceptor));
    let forgotten = tokio::spawn(tunnels.logs(&header(Some(1), true)).unwrap().run(silent));
    drop(gone);
    forgotten.await.unwrap();
    let mut lines = BufReader::new(opener).lines();
    assert!(lines.next_line().await.unwrap().is_some());
    bench.over("a", 1);
    while lines.next_line().await.unwrap().is_some() {}
    served.await.unwrap();
}
