//! Tunnels between nodes behind routers that nobody calls into, with coordinators outside.
//!
//! The network parts of nodes run in threads of this process, each in the namespace of its machine.

mod program;

use std::future::Future;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use skyclaw_node::net::{
    Description, Duty, Listen, Membership, Net, NetConfig, NetHandle, OpenError, PathKind, Service,
    Serving, Sink, Tunnel, Tunnels,
};
use skyclaw_protocol::NodeId;
use skyclaw_protocol::key::NodeKey;
use skyclaw_protocol::learned::Learned;
use skyclaw_protocol::wire::Message;
use skyclaw_tests::nat::{Internet, Place, Router, address};
use skyclaw_tests::within;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Handle;

/// Longest wait for nodes to meet, for places at relays and for holes to be punched.
const SOON: Duration = Duration::from_secs(40);

/// Size of the large download.
const LARGE: u64 = 64 << 20;

/// Reads to the end; how much came, and whether it is what the source sends.
async fn pump(tunnel: &mut Tunnel) -> std::io::Result<(u64, bool)> {
    let (mut count, mut good) = (0_u64, true);
    let mut block = vec![0; 64 << 10];
    loop {
        let read = tunnel.read(&mut block).await?;
        if read == 0 {
            return Ok((count, good));
        }
        good &= (count..).zip(&block[..read]).all(|(at, byte)| *byte == (at % 251) as u8);
        count += read as u64;
    }
}

/// Takes nothing.
struct Deaf;

impl Sink for Deaf {
    fn frame(&self, _: NodeId, _: Message) -> bool {
        true
    }

    fn learned(&self, _: NodeId, _: Vec<Learned>) -> bool {
        true
    }

    fn gone(&self, _: NodeId) {}

    fn answer(&self, _: Service, _: NodeId, _: Vec<u8>) -> BoxFuture<'static, Option<Vec<u8>>> {
        Box::pin(async { None })
    }
}

/// Sends as many bytes as the header says, and holds the tunnel open after the first if it says none.
struct Source;

impl Tunnels for Source {
    fn serve(
        &self,
        _: Duty,
        _: NodeId,
        header: Vec<u8>,
    ) -> BoxFuture<'static, Result<Serving, String>> {
        Box::pin(async move {
            let size = header.try_into().map(u64::from_be_bytes).map_err(|_| "no size")?;
            let serve = move |mut tunnel: Tunnel| -> BoxFuture<'static, ()> {
                Box::pin(async move {
                    // Its opener may go away.
                    let _ = send(&mut tunnel, size).await;
                })
            };
            Ok(Box::new(serve) as Serving)
        })
    }
}

async fn send(tunnel: &mut Tunnel, size: u64) -> std::io::Result<()> {
    if size == 0 {
        tunnel.write_all(&[0]).await?;
        tunnel.flush().await?;
        tunnel.read_exact(&mut [0]).await?;
    }
    let mut at = 0;
    while at < size {
        let end = size.min(at + (251 << 8));
        let block: Vec<u8> = (at..end).map(|at| (at % 251) as u8).collect();
        tunnel.write_all(&block).await?;
        at = end;
    }
    tunnel.shutdown().await
}

/// A node's network part, which ends when dropped.
struct Node {
    id: NodeId,
    handle: NetHandle,
    runtime: Handle,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    _folder: tempfile::TempDir,
}

/// Where a node among those that all reach is.
fn ways(at: usize) -> [String; 2] {
    let ip = address(at);
    [format!("/ip4/{ip}/udp/4787/quic-v1"), format!("/ip4/{ip}/tcp/4787")]
}

impl Node {
    /// Starts one that calls these at first; `external` says under which addresses it is reached.
    #[track_caller]
    fn start(place: Place, seed: u8, role: &str, call: &[String], external: &[String]) -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let parse =
            |texts: &[String]| texts.iter().map(|text| text.parse().expect("one")).collect();
        let membership = Membership::new(Some("secret"), "local");
        let listen = ["/ip4/0.0.0.0/udp/4787/quic-v1", "/ip4/0.0.0.0/tcp/4787"].map(str::to_owned);
        let config = NetConfig {
            membership: membership.clone(),
            listen: Listen::Asked(parse(&listen)),
            external: parse(external),
            bootstrap: parse(call),
            mdns: false,
            gossip: true,
            book: folder.path().join("x.peers"),
            about: Description {
                label: format!("node{seed}"),
                roles: vec![role.to_owned()],
                ..Description::default()
            },
            token: None,
        };
        let handle = NetHandle::new(membership);
        assert!(handle.serve(Duty::Http, Arc::new(Source)));
        let key = NodeKey::from_seed(&[seed; 32]);
        let id = key.id();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let (tell, started) = mpsc::channel();
        let shown = handle.clone();
        let thread = std::thread::spawn(move || {
            place.enter();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.expect("a runtime can be made");
            runtime.block_on(async {
                let net = Net::start(config, &shown, &key, Vec::new, Arc::new(Deaf)).await;
                let net = net.expect("it starts");
                tell.send(Handle::current()).expect("somebody waits");
                // Its end says so, too.
                let _ = stopped.await;
                net.stop().await;
            });
        });
        let runtime = started.recv_timeout(SOON).expect("it has started");
        Self { id, handle, runtime, stop: Some(stop), thread: Some(thread), _folder: folder }
    }

    /// What comes of `work`, which runs on this machine.
    #[track_caller]
    fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        let (tell, told) = mpsc::channel();
        self.runtime.spawn(async move {
            // Whoever waited may have given up.
            let _ = tell.send(work.await);
        });
        told.recv_timeout(Duration::from_secs(90)).expect("it ends")
    }

    /// Opens a tunnel over which so many bytes come.
    #[track_caller]
    fn open(&self, to: NodeId, size: u64) -> Result<Tunnel, OpenError> {
        let handle = self.handle.clone();
        let header = size.to_be_bytes().to_vec();
        self.run(async move { handle.open(to, Duty::Http, header, SOON / 4).await })
    }

    /// Downloads so many bytes; how long it took, and over which path.
    #[track_caller]
    fn download(&self, to: NodeId, size: u64) -> (Duration, PathKind) {
        let begun = Instant::now();
        let mut tunnel = self.open(to, size).expect("it opens");
        let path = tunnel.path();
        let came = self.run(async move { pump(&mut tunnel).await });
        assert_eq!(came.expect("it comes whole"), (size, true));
        (begun.elapsed(), path)
    }

    /// How it says that others reach it.
    fn how(&self) -> String {
        self.handle.reached().map(|reach| reach.how).unwrap_or_default()
    }

    /// How the node with this label is connected.
    fn path_to(&self, seed: u8) -> Option<String> {
        let label = format!("node{seed}");
        let peers = self.handle.view().peers;
        peers.into_iter().find(|peer| peer.label == label).and_then(|peer| peer.path)
    }

    /// Waits until it is connected to these.
    #[track_caller]
    fn until_connected(&self, seeds: &[u8]) {
        within(SOON, "they are connected", || {
            match seeds.iter().all(|seed| self.path_to(*seed).is_some()) {
                true => Ok(()),
                false => Err(format!("{:?}", self.handle.view())),
            }
        });
    }

    /// Waits until it is reached through so many relays.
    #[track_caller]
    fn until_reached(&self, relays: usize) {
        within(SOON, "it has places at relays", || {
            let view = self.handle.view();
            let relay = |way: &String| {
                Some(way.split_once("/p2p-circuit")?.0.rsplit('/').next()?.to_owned())
            };
            let mut through: Vec<String> = view.addresses.iter().filter_map(relay).collect();
            through.sort_unstable();
            through.dedup();
            if through.len() == relays { Ok(()) } else { Err(format!("{view:?}")) }
        });
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // What went wrong in it was told.
            let _ = thread.join();
        }
    }
}

#[test]
fn nodes_behind_two_routers_talk_through_a_relay_and_then_directly() {
    let Some(net) = Internet::make(1, &[Router::Steady, Router::Steady]) else { return };
    let relay = Node::start(net.open(1), 1, "coordinator", &[], &ways(1));
    let host = Node::start(net.behind(1), 2, "host", &ways(1), &[]);
    let gateway = Node::start(net.behind(2), 3, "gateway", &ways(1), &[]);
    host.until_reached(1);
    assert_eq!((host.how().as_str(), relay.how().as_str()), ("relayed", "public"));
    gateway.until_connected(&[1]);
    let begun = Instant::now();
    let (took, path) = gateway.download(host.id, 1000);
    println!("first tunnel: {} after {took:?}", path.as_str());
    within(SOON, "tunnels are direct", || match gateway.download(host.id, 1000).1 {
        PathKind::Direct => Ok(()),
        PathKind::Relayed => Err(format!("{:?}", gateway.handle.view())),
    });
    println!("direct after {:?}", begun.elapsed());
    let (took, path) = gateway.download(host.id, LARGE);
    println!("64 MiB {} in {took:?}", path.as_str());
    assert_eq!(path, PathKind::Direct);
    assert_eq!(host.path_to(3).as_deref(), Some("direct"));
    // A relay that goes does not matter any more.
    let mut tunnel = gateway.open(host.id, 0).expect("it opens");
    drop(relay);
    net.cut(1);
    let held = gateway.run(async move {
        tokio::time::sleep(Duration::from_secs(15)).await;
        tunnel.write_all(&[1]).await?;
        let mut rest = Vec::new();
        tunnel.read_to_end(&mut rest).await
    });
    assert_eq!(held.expect("it goes on"), 1);
    assert_eq!(gateway.download(host.id, 1000).1, PathKind::Direct);
}

#[test]
fn where_no_hole_can_be_punched_the_relay_carries_it_and_another_takes_over() {
    let Some(net) = Internet::make(2, &[Router::Random, Router::Random]) else { return };
    let calls = [ways(1), ways(2)].concat();
    let first = Node::start(net.open(1), 1, "coordinator", &[], &ways(1));
    let host = Node::start(net.behind(1), 3, "host", &calls, &[]);
    let gateway = Node::start(net.behind(2), 4, "gateway", &calls, &[]);
    host.until_reached(1);
    gateway.until_connected(&[1]);
    let (took, path) = gateway.download(host.id, LARGE);
    println!("64 MiB {} in {took:?}", path.as_str());
    assert_eq!(path, PathKind::Relayed);
    // The attempts to punch are over by then, and harm nothing.
    let mut tunnel = gateway.open(host.id, 0).expect("it opens");
    let (mut tunnel, held) = gateway.run(async move {
        tokio::time::sleep(Duration::from_secs(20)).await;
        let first = tunnel.read(&mut [0]).await;
        (tunnel, first)
    });
    assert_eq!(held.expect("it goes on"), 1);
    assert_eq!(gateway.path_to(3).as_deref(), Some("relayed"));
    let _second = Node::start(net.open(2), 2, "coordinator", &ways(1), &ways(2));
    host.until_reached(2);
    gateway.until_connected(&[2]);
    net.cut(1);
    let cut = Instant::now();
    let ended = gateway.run(async move {
        let mut rest = [0];
        // The second ping without an answer ends it: 19 to 20 s were seen, see `limits::PING`.
        tokio::time::timeout(Duration::from_secs(30), tunnel.read(&mut rest)).await
    });
    println!("the tunnel: {ended:?} after {:?}", cut.elapsed());
    assert!(ended.expect("it breaks").is_err(), "a break is no end");
    within(SOON, "it works again", || match gateway.open(host.id, 1000) {
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    });
    println!("again after {:?}", cut.elapsed());
    let (took, path) = gateway.download(host.id, LARGE);
    println!("64 MiB {} in {took:?}", path.as_str());
    assert_eq!(path, PathKind::Relayed);
    drop(first);
}

/// Nobody is told under which addresses it is reached: the coordinators find out by themselves.
#[test]
fn coordinators_find_out_that_they_are_reached_and_relay_then() {
    let Some(net) = Internet::make(2, &[Router::Steady]) else { return };
    let first = Node::start(net.open(1), 1, "coordinator", &ways(2), &[]);
    let second = Node::start(net.open(2), 2, "coordinator", &ways(1), &[]);
    first.until_connected(&[2]);
    let host = Node::start(net.behind(1), 3, "host", &[ways(1), ways(2)].concat(), &[]);
    let begun = Instant::now();
    within(SOON, "it has a place at a relay", || {
        let view = host.handle.view();
        match view.addresses.iter().any(|way| way.contains("/p2p-circuit")) {
            true => Ok(()),
            false => Err(format!("{view:?}")),
        }
    });
    println!("a place after {:?}", begun.elapsed());
    for (node, at) in [(&first, 1), (&second, 2)] {
        let view = node.handle.view();
        let here = Ipv4Addr::new(203, 0, 113, at).to_string();
        assert!(view.addresses.iter().any(|known| known.contains(&here)), "{view:?}");
    }
}
