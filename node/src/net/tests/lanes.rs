//! Connections that are as good as gone: what goes over them is let go of, however long they stay open.

use futures::AsyncReadExt;

use super::super::streams::Incoming;
use super::intruder::Intruder;
use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn frames_let_go_of_a_connection_over_which_nothing_comes() {
    let node = live(90, Vec::new()).await;
    let intruder = Intruder::join(node.address()).await;
    let mut incoming = Incoming::new(&intruder.private, frames::FRAMES).unwrap();
    until_connected(&node, "intruder").await;
    // All the places that a peer has are taken, and the node sends on a stream of its own.
    let open = || streams::open(&intruder.private, intruder.target, frames::FRAMES);
    let mut kept = Vec::new();
    for _ in 0..limits::MAX_FRAME_STREAMS {
        kept.push(open().await.unwrap());
    }
    assert!(open().await.is_none(), "one more is refused");
    let (peer, mut sent) = tokio::time::timeout(PATIENCE, incoming.next()).await.unwrap().unwrap();
    assert_eq!(peer, intruder.target);
    assert!(streams::take(&mut sent).await);

    let own = node.handle.view().peers.iter().find(|it| it.label == "intruder").unwrap().clone();
    let control = node.handle.0.opener.control().unwrap();
    control.end_all(&own.peer_id.parse().unwrap());
    // It gives up its own stream, and the places of the others, which a new connection needs.
    for stream in kept.iter_mut().chain([&mut sent]) {
        let mut rest = Vec::new();
        let end = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
        assert!(end.is_ok(), "the stream is held on to");
    }
    drop(intruder);
    node.net.stop().await;
}
