//! A node under fire from members, and what strangers see of it.

use std::sync::atomic::Ordering::Relaxed;

use futures::AsyncWriteExt;
use skyclaw_protocol::codec;

use super::super::gossip::Topic;
use super::super::inbox::{self, Heard};
use super::super::swarm::Word;
use super::gossip::{host, until_heard, work};
use super::intruder::{self, Intruder};
use super::*;

const SHOTS: usize = 10_000;

/// Memory that the attacks may leave behind in this process, which runs other tests meanwhile.
const GROWTH: usize = 192 << 20;

/// The same at each run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(self.0 >> 33).unwrap() % most
    }

    /// Not the bytes it was.
    fn spoil(&mut self, good: &[u8]) -> Vec<u8> {
        let mut bytes = good.to_vec();
        for _ in 0..=self.below(3) {
            let (at, byte) = (self.below(bytes.len()), self.below(256).to_le_bytes()[0]);
            match self.below(4) {
                0 => bytes[at] ^= byte.max(1),
                1 => bytes.insert(at, byte),
                2 if bytes.len() > 2 => drop(bytes.remove(at)),
                _ => bytes.truncate(at.max(1)),
            }
        }
        if bytes == good {
            bytes.push(0);
        }
        bytes
    }
}

fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

fn good() -> Vec<(Topic, Vec<u8>)> {
    vec![
        (Topic::Work, codec::encode(&work(70, 5))),
        (Topic::State, codec::encode(&Message::Hosts(vec![host(70, 1, 2000)]))),
    ]
}

/// Each is judged and counted; none is taken.
#[tokio::test(flavor = "multi_thread")]
async fn mutated_gossip_is_refused_one_by_one() {
    let sink = Desk::silent();
    let shared = Arc::new(Shared::new(members()));
    let (words, mut verdicts) = mpsc::channel(64);
    let (heard, inbox) = mpsc::channel(64);
    let check = {
        let sink = Arc::clone(&sink);
        tokio::task::spawn_blocking(move || inbox::run(inbox, &words, &shared, sink.as_ref()))
    };
    let from = members::peer_of(NodeKey::from_seed(&[70; 32]).id()).unwrap();
    let before = resident();
    let shoot = tokio::spawn(async move {
        let mut chance = Chance(1);
        for number in 0..SHOTS {
            let (topic, bytes) = &good()[number % 2];
            let bytes = chance.spoil(bytes);
            let id = libp2p::gossipsub::MessageId::from(number.to_be_bytes().to_vec());
            heard.send(Heard { from, id, topic: *topic, bytes }).await.unwrap();
        }
    });
    let mut refused = 0;
    while let Some(Word::Verdict { verdict, .. }) = verdicts.recv().await {
        refused += usize::from(verdict == libp2p::gossipsub::MessageAcceptance::Reject);
    }
    shoot.await.unwrap();
    check.await.unwrap();
    assert_eq!(refused, SHOTS);
    assert!(sink.learned.lock().unwrap().is_empty());
    assert!(resident().saturating_sub(before) < GROWTH);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_gossips_nonsense_is_heard_no_more_and_others_are() {
    let sink = Desk::silent();
    let node = Plan { sink: Arc::clone(&sink), ..plan(71) }.start().await;
    let friend = live(72, vec![node.address()]).await;
    until_connected(&node, "node72").await;
    let before = resident();
    let intruder = Intruder::join(node.address()).await;
    until_connected(&node, "intruder").await;
    let mut chance = Chance(2);
    for number in 0..SHOTS {
        let (topic, bytes) = &good()[number % 2];
        intruder.gossip(*topic, chance.spoil(bytes)).await;
    }
    let counts = &node.handle.0.counts;
    // The rest falls on deaf ears.
    until(|| counts.gossip_rejected.load(Relaxed) >= 3, || format!("{counts:?}")).await;
    until_heard(&friend, &[&sink], |ms| work(72, ms)).await;
    assert!(sink.learned.lock().unwrap().iter().all(|(from, _)| *from == friend.id));
    assert!(connected(&node).contains(&"node72".to_owned()));
    let grown = resident().saturating_sub(before);
    assert!(grown < GROWTH, "{grown}");
    drop(intruder);
    for live in [friend, node] {
        live.net.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mutated_frames_of_a_member_are_refused_and_others_pass() {
    let sink = Desk::silent();
    let node = Plan { sink: Arc::clone(&sink), ..plan(73) }.start().await;
    let friend = live(74, vec![node.address()]).await;
    until_connected(&node, "node74").await;
    until_connected(&friend, "node73").await;
    let before = resident();
    let intruder = Intruder::join(node.address()).await;
    until_connected(&node, "intruder").await;
    let mut chance = Chance(3);
    let good = good();
    let mut sent = 0;
    for number in 0..SHOTS {
        let opened = streams::open(&intruder.private, intruder.target, frames::FRAMES).await;
        let Some(mut stream) = opened else { continue };
        let bytes = chance.spoil(&good[number % 2].1);
        // Now and then the length lies.
        let length = match number % 10 {
            0 => u32::MAX,
            1 => u32::try_from(limits::MAX_FRAME).unwrap(),
            _ => u32::try_from(bytes.len()).unwrap(),
        };
        let _ = stream.write_all(&[&length.to_be_bytes()[..], &bytes].concat()).await;
        let _ = stream.close().await;
        sent += 1;
    }
    assert!(sent > SHOTS as u64 * 9 / 10, "{sent}");
    let counts = &node.handle.0.counts;
    let seen = || counts.frames_refused.load(Relaxed) + counts.frames_received.load(Relaxed);
    until(|| seen() >= sent, || format!("{} of {sent}", seen())).await;
    let passed = counts.frames_received.load(Relaxed);
    assert!(passed < sent / 4, "{passed} of {sent} mean something");
    let grown = resident().saturating_sub(before);
    assert!(grown < GROWTH, "{grown}");
    assert!(connected(&node).contains(&"node74".to_owned()));
    let had = || sink.frames.lock().unwrap().iter().any(|(from, _)| *from == friend.id);
    assert!(friend.handle.send(node.id, Message::Want(Vec::new())));
    until(had, || "the friend's frame".into()).await;
    drop(intruder);
    for live in [friend, node] {
        live.net.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_see_the_handshake_alone() {
    // It relays, too.
    let node = super::relayed::relay(75).await;
    let (stranger, _) = Intruder::connect(node.address());
    drop(stranger.knock().await);
    for protocol in intruder::private() {
        assert!(!stranger.sees(protocol.clone()).await, "{protocol}");
    }
    let member = Intruder::join(node.address()).await;
    until_connected(&node, "intruder").await;
    for protocol in intruder::private() {
        assert!(member.sees(protocol.clone()).await, "{protocol}");
    }
    node.net.stop().await;
}

/// A wrong token is put right and the node started again, with the key it had.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_put_right_comes_in_soon() {
    let node = live(76, Vec::new()).await;
    let wrong = Membership::new(Some("wrong"), "local");
    let bootstrap = vec![node.address()];
    let other = Plan { membership: wrong, bootstrap: bootstrap.clone(), ..plan(77) }.start().await;
    until(|| !node.handle.view().refused.is_empty(), || "no refusal".into()).await;
    other.net.stop().await;
    let began = Instant::now();
    let other = live(77, bootstrap).await;
    until_connected(&node, "node77").await;
    assert!(began.elapsed() < Duration::from_secs(12), "{:?}", began.elapsed());
    assert!(node.handle.view().refused.is_empty());
    for live in [other, node] {
        live.net.stop().await;
    }
}
