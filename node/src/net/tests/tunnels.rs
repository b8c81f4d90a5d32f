//! Tunnels between live nodes.

use std::sync::atomic::Ordering::Relaxed;

use futures::AsyncWriteExt as _;
use futures::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::super::tunnel::{Duty, OpenError, PathKind, Serving, Tunnel, Tunnels};
use super::intruder::Intruder;
use super::*;

const PATIENCE: Duration = Duration::from_secs(10);

/// Serves what its header says.
pub(super) struct Echo;

impl Tunnels for Echo {
    fn serve(
        &self,
        _: Duty,
        from: NodeId,
        header: Vec<u8>,
    ) -> BoxFuture<'static, Result<Serving, String>> {
        Box::pin(async move {
            match &header[..] {
                b"no" => Err("not today\u{1b}".to_owned()),
                b"long" => Err("é".repeat(10_000)),
                b"slow" => {
                    futures::future::pending::<()>().await;
                    Err(String::new())
                }
                b"source" => Ok(Box::new(|mut tunnel: Tunnel| {
                    Box::pin(async move {
                        // Until the other end is gone.
                        let _ = tokio::io::copy(&mut tokio::io::repeat(7), &mut tunnel).await;
                    }) as BoxFuture<'static, ()>
                }) as Serving),
                _ => Ok(Box::new(move |tunnel: Tunnel| {
                    Box::pin(async move {
                        let (mut reader, mut writer) = tokio::io::split(tunnel);
                        let echo = async {
                            writer.write_all(&from.0).await?;
                            tokio::io::copy(&mut reader, &mut writer).await?;
                            // What comes back ends only now.
                            writer.write_all(&header).await?;
                            writer.shutdown().await
                        };
                        // Its opener may go away.
                        let _ = echo.await;
                    }) as BoxFuture<'static, ()>
                }) as Serving),
            }
        })
    }
}

/// A coordinator with these roles' host, both serving.
async fn pair(first: u8, second: u8) -> (Live, Live) {
    let host = plan(second);
    let first = live(first, Vec::new()).await;
    let host = Plan { bootstrap: vec![first.address()], roles: &["host"], ..host };
    let host = host.start().await;
    until_connected(&first, &format!("node{second}")).await;
    until_connected(&host, connected_name(&first).as_str()).await;
    for live in [&first, &host] {
        assert!(live.handle.serve(Duty::Http, Arc::new(Echo)));
        assert!(!live.handle.serve(Duty::Http, Arc::new(Echo)), "one serves a duty");
    }
    (first, host)
}

fn connected_name(live: &Live) -> String {
    let number = (0..=255).find(|seed| NodeKey::from_seed(&[*seed; 32]).id() == live.id);
    format!("node{}", number.unwrap())
}

fn open_now(live: &Live) -> u64 {
    live.handle.0.counts.tunnels(PathKind::Direct).open.load(Relaxed)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_direction_ends_by_itself_and_nothing_is_lost() {
    let (first, host) = pair(60, 61).await;
    for (one, other) in [(&first, &host), (&host, &first)] {
        let opened = one.handle.open(other.id, Duty::Http, b"name".to_vec(), PATIENCE).await;
        let tunnel = opened.unwrap();
        assert_eq!(tunnel.path(), PathKind::Direct);
        let (mut reader, mut writer) = tokio::io::split(tunnel);
        let sent: Vec<u8> = (0..64_u32 << 20).map(|at| (at % 251) as u8).collect();
        let begun = Instant::now();
        let write = async {
            writer.write_all(&sent).await.unwrap();
            writer.shutdown().await.unwrap();
        };
        let mut got = Vec::new();
        let read = async { reader.read_to_end(&mut got).await.unwrap() };
        tokio::join!(write, read);
        println!("64 MiB there and back in {:?}", begun.elapsed());
        assert_eq!(got.len(), sent.len() + 32 + 4);
        assert!(got[..32] == one.id.0 && got[32..got.len() - 4] == sent, "what comes is other");
        assert!(got.ends_with(b"name"), "the end of our direction is no end of the other");
    }
    until(|| open_now(&first) + open_now(&host) == 0, || "tunnels stay open".into()).await;
    for live in [first, host] {
        live.net.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_of_tunnels_opens_to_the_last_one() {
    let (first, host) = pair(62, 63).await;
    let begun = Instant::now();
    let all = join_all((0..200_u32).map(|at| {
        let (handle, to) = (first.handle.clone(), host.id);
        async move {
            let header = at.to_be_bytes().to_vec();
            let mut tunnel = handle.open(to, Duty::Http, header.clone(), PATIENCE).await.unwrap();
            tunnel.write_all(&header).await.unwrap();
            tunnel.shutdown().await.unwrap();
            let mut got = Vec::new();
            tunnel.read_to_end(&mut got).await.unwrap();
            assert_eq!(got[32..], [header.clone(), header].concat());
        }
    }));
    all.await;
    println!("200 tunnels in {:?}", begun.elapsed());
    assert!(host.handle.0.counts.tunnels(PathKind::Direct).opened.load(Relaxed) >= 200);
    until(|| open_now(&first) + open_now(&host) == 0, || "tunnels stay open".into()).await;
    for live in [first, host] {
        live.net.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_refuses_says_why() {
    let (first, host) = pair(64, 65).await;
    let open = |to, duty, header: &[u8], patience| {
        let (handle, header) = (first.handle.clone(), header.to_vec());
        async move { handle.open(to, duty, header, patience).await.map(|_| ()) }
    };
    let refused = |why: &str| Err(OpenError::Refused(why.to_owned()));
    assert_eq!(open(host.id, Duty::Http, b"no", PATIENCE).await, refused("not today "));
    assert_eq!(open(host.id, Duty::Http, b"long", PATIENCE).await, refused(&"é".repeat(256)));
    let nothing = refused("this node serves nothing of the kind");
    assert_eq!(open(host.id, Duty::Logs, b"", PATIENCE).await, nothing);
    let long = vec![0; limits::MAX_TUNNEL_HEADER + 1];
    assert_eq!(open(host.id, Duty::Http, &long, PATIENCE).await, refused("its header is too long"));
    let short = Duration::from_millis(200);
    assert_eq!(open(host.id, Duty::Http, b"slow", short).await, Err(OpenError::Late));
    for live in [first, host] {
        live.net.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_and_headers_out_of_bounds_get_nothing() {
    let host = live(66, Vec::new()).await;
    assert!(host.handle.serve(Duty::Http, Arc::new(Echo)));
    let (stranger, _) = Intruder::connect(host.address());
    drop(stranger.knock().await);
    let opened = streams::begin(&stranger.private, stranger.target, Duty::Http.protocol()).await;
    assert!(opened.is_none(), "the door is closed");
    let member = Intruder::join(host.address()).await;
    // A header that is promised longer than may be, and one that never comes.
    let mut answers = Vec::new();
    for (bytes, end) in [(u32::MAX.to_be_bytes().to_vec(), false), (vec![0, 0], true)] {
        let opened = async {
            loop {
                let opened = streams::open(&member.private, member.target, Duty::Http.protocol());
                if let Some(stream) = opened.await {
                    return stream;
                }
            }
        };
        let mut stream = tokio::time::timeout(PATIENCE, opened).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        stream.flush().await.unwrap();
        if end {
            stream.close().await.unwrap();
        }
        let mut got = Vec::new();
        let read = futures::AsyncReadExt::read_to_end(&mut stream, &mut got);
        tokio::time::timeout(PATIENCE, read).await.unwrap().unwrap();
        answers.push(String::from_utf8_lossy(&got).into_owned());
    }
    assert!(answers[0].ends_with("its header is too long"), "{answers:?}");
    let refused = || host.handle.0.counts.tunnels_refused.load(Relaxed);
    until(|| refused() == 2, || format!("{} refused", refused())).await;
    assert_eq!(open_now(&host), 0);
    host.net.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_has_so_many_tunnels_and_more_once_it_closes_some() {
    let (first, host) = pair(67, 68).await;
    let open = || first.handle.open(host.id, Duty::Http, b"x".to_vec(), PATIENCE);
    let mut held = Vec::new();
    for _ in 0..limits::MAX_TUNNELS_PER_PEER {
        held.push(open().await.unwrap());
    }
    let why = open().await.map(|_| ()).unwrap_err();
    assert_eq!(why, OpenError::Refused("too many tunnels of this node".into()));
    assert_eq!(host.handle.0.counts.tunnels_refused.load(Relaxed), 1);
    // Questions and frames have room beside them.
    assert!(first.handle.open(host.id, Duty::Logs, Vec::new(), PATIENCE).await.is_err());
    held.truncate(held.len() / 2);
    let left = held.len() as u64;
    until(|| open_now(&host) == left, || format!("{} open", open_now(&host))).await;
    assert!(open().await.is_ok());
    for live in [first, host] {
        live.net.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_goes_breaks_its_tunnels_at_once() {
    let (first, host) = pair(69, 70).await;
    let opened = first.handle.open(host.id, Duty::Http, b"source".to_vec(), PATIENCE).await;
    let mut tunnel = opened.unwrap();
    let mut some = vec![0; 1 << 20];
    tunnel.read_exact(&mut some).await.unwrap();
    let opened = first.handle.open(host.id, Duty::Http, b"idle".to_vec(), PATIENCE).await;
    let mut idle = opened.unwrap();
    idle.read_exact(&mut some[..32]).await.unwrap();
    host.net.stop().await;
    let begun = Instant::now();
    let ends = async {
        while matches!(tunnel.read(&mut some).await, Ok(read) if read > 0) {}
        // That is no end in order.
        [tunnel.read(&mut some).await.is_err(), idle.read(&mut some).await.is_err()]
    };
    let ends = tokio::time::timeout(Duration::from_secs(5), ends).await;
    assert_eq!(ends.expect("they end"), [true, true]);
    println!("ended after {:?}", begun.elapsed());
    let open = first.handle.open(host.id, Duty::Http, b"x".to_vec(), Duration::from_secs(5)).await;
    assert!(open.is_err());
    first.net.stop().await;
}

/// The other end reads nothing: what is sent waits, and no memory grows.
#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_holds_the_sender_back() {
    let (first, host) = pair(71, 72).await;
    let opened = first.handle.open(host.id, Duty::Http, b"echo".to_vec(), PATIENCE).await;
    let mut tunnel = opened.unwrap();
    let mut sent = 0;
    let block = vec![1; 1 << 20];
    // It echoes into a tunnel that is not read.
    let all = async {
        for _ in 0..256 {
            tunnel.write_all(&block).await.unwrap();
            sent += block.len();
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(3), all).await.is_err(), "it never waits");
    println!("{} MiB are under way", sent >> 20);
    assert!(sent < 64 << 20, "{sent}");
    for live in [first, host] {
        live.net.stop().await;
    }
}
