//! Streams of frames: what goes over connections that are as good as gone is let go of, however long they
//! stay open, and who sends much does not stand before the others.

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

/// Frames that came from this node.
fn frames_of(sink: &Desk, node: NodeId) -> usize {
    sink.frames.lock().unwrap().iter().filter(|(from, _)| *from == node).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sends_much_is_read_on_only_once_that_is_handled_and_others_come_in_between() {
    const SENT: usize = 2000;
    // Two portions, of frames that count as two each: themselves, and an operation.
    let most = limits::FRAMES_AHEAD as usize;
    let sink = Desk::silent();
    let node = Plan { sink: Arc::clone(&sink), ..plan(97) }.start().await;
    let greedy = live(98, vec![node.address()]).await;
    let other = live(99, vec![node.address()]).await;
    for live in [&greedy, &other] {
        until_connected(live, "node97").await;
    }
    sink.busy.send_replace(true);
    for _ in 0..SENT {
        assert!(greedy.handle.send(node.id, Message::List(None)));
    }
    let came = || frames_of(&sink, greedy.id);
    until(|| came() >= most, || format!("{} frames", came())).await;
    assert!(other.handle.send(node.id, Message::List(None)));
    until(|| frames_of(&sink, other.id) == 1, || "the other's frame".into()).await;
    assert_eq!(came(), most, "of {SENT}");
    sink.busy.send_replace(false);
    until(|| came() == SENT, || format!("{} frames", came())).await;
    for live in [greedy, other, node] {
        live.net.stop().await;
    }
}
