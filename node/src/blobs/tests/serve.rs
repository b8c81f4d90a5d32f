//! Nodes that ask, and nodes that bring, over real sockets.

use std::io;
use std::time::Duration;

use skyclaw_protocol::blob::{Ask, Reply, Want};
use skyclaw_protocol::{Hash, codec};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{GROUP, Place, content, read};
use crate::blobs::frame;

async fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dialled = TcpStream::connect(listener.local_addr().unwrap());
    let (one, two) = tokio::join!(dialled, listener.accept());
    (one.unwrap(), two.unwrap().0)
}

#[tokio::test]
async fn a_blob_is_brought_to_another_node() {
    let (has, gets) = (Place::new(), Place::new());
    for len in [0, 10, GROUP, 4 * GROUP + 9] {
        let bytes = content(len, 1);
        let hash = has.put(&bytes).await.unwrap();
        for _again in 0..2 {
            let (mut ours, mut theirs) = sockets().await;
            let answer = gets.blobs.answer(&codec::encode(&Ask::Offer(hash))).await.unwrap();
            let (pushed, taken) =
                tokio::join!(has.blobs.push(hash, &mut ours), answer.run(&mut theirs));
            pushed.unwrap();
            taken.unwrap();
            assert_eq!(read(&gets.blobs, hash).await.unwrap().as_ref(), Some(&bytes));
        }
    }
}

#[tokio::test]
async fn what_is_brought_wrong_is_not_taken() {
    let gets = Place::new();
    let (hash, other) = (Hash::of(b"right"), b"wrong");
    let (mut ours, mut theirs) = sockets().await;
    let answer = gets.blobs.answer(&codec::encode(&Ask::Offer(hash))).await.unwrap();
    let liar = async {
        assert_eq!(frame::read::<Reply>(&mut ours, 512).await.unwrap(), Reply::Send);
        let head = skyclaw_protocol::blob::Head { size: 5, groups: Vec::new() };
        ours.write_all(&[&frame::framed(&head)[..], other].concat()).await.unwrap();
        frame::read::<Reply>(&mut ours, 512).await.unwrap()
    };
    let (reply, taken) = tokio::join!(liar, answer.run(&mut theirs));
    assert!(matches!(reply, Reply::No(_)), "{reply:?}");
    taken.unwrap_err();
    gets.settled().await;
    assert!(gets.files().is_empty());
}

#[tokio::test]
async fn questions_that_make_no_sense_are_refused() {
    let place = Place::new();
    for header in [&b""[..], b"\xff", &[0; 4096], &codec::encode(&7_u64)] {
        assert!(place.blobs.answer(header).await.unwrap_err().contains("no question"));
    }
    let want = Want { hash: Hash([1; 32]), from: 0 };
    let refusal = place.blobs.answer(&codec::encode(&Ask::Get(want))).await.unwrap_err();
    assert_eq!(refusal, "that blob is not here");
}

#[tokio::test]
async fn readers_beyond_the_bound_are_told_so() {
    let place = Place::new();
    let hash = place.put(&content(GROUP, 1)).await.unwrap();
    let ask = codec::encode(&Ask::Get(Want { hash, from: 0 }));
    let mut held = Vec::new();
    for _ in 0..super::super::MAX_READS {
        held.push(place.blobs.answer(&ask).await.unwrap());
    }
    assert!(place.blobs.answer(&ask).await.unwrap_err().contains("too many"));
    held.pop();
    place.blobs.answer(&ask).await.unwrap();
}

/// One that asks and then reads nothing does not hold its place for ever.
#[tokio::test(start_paused = true)]
async fn a_reader_that_stopped_reading_is_left() {
    let place = Place::new();
    let hash = place.put(&content(8 * GROUP, 1)).await.unwrap();
    let (mut ours, mut theirs) = tokio::io::duplex(1024);
    let answer = place.blobs.answer(&codec::encode(&Ask::Get(Want { hash, from: 0 }))).await;
    let run = answer.unwrap().run(&mut theirs);
    let error = tokio::time::timeout(Duration::from_secs(60), run).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    let mut some = [0; 16];
    ours.read_exact(&mut some).await.unwrap();
}
