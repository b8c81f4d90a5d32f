//! Honest sources, broken ones, and those that lie.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use skyclaw_protocol::blob::{Ask, GROUP_BYTES, Want};
use skyclaw_protocol::{Hash, codec};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::{GROUP, Place, content, read};
use crate::blobs::{Blobs, FetchError, Source, Sources, Stream};

/// What one source does with its stream.
type Behaviour = dyn Fn(Want, DuplexStream) -> BoxFuture<'static, ()> + Send + Sync;

struct Peer {
    name: &'static str,
    asked: AtomicUsize,
    /// The first group of each question.
    from: Mutex<Vec<u64>>,
    does: Box<Behaviour>,
}

impl Source for Peer {
    fn name(&self) -> String {
        self.name.to_owned()
    }

    fn open(&self, want: Want) -> BoxFuture<'_, io::Result<Stream>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.from.lock().unwrap().push(want.from);
        let (ours, theirs) = duplex(1 << 16);
        tokio::spawn((self.does)(want, theirs));
        async move { Ok(Box::new(ours) as Stream) }.boxed()
    }
}

impl Peer {
    fn new(
        name: &'static str,
        does: impl Fn(Want, DuplexStream) -> BoxFuture<'static, ()> + Send + Sync + 'static,
    ) -> Arc<Self> {
        let does = Box::new(does);
        Arc::new(Self { name, asked: AtomicUsize::new(0), from: Mutex::default(), does })
    }

    /// Answers as a node does.
    fn honest(name: &'static str, blobs: &Blobs) -> Arc<Self> {
        let blobs = blobs.clone();
        Self::new(name, move |want, mut stream| {
            let blobs = blobs.clone();
            async move { answer(&blobs, want, &mut stream).await }.boxed()
        })
    }

    /// What an honest node would say, with something done to it, and then nothing more unless
    /// `stays`.
    fn bent(
        name: &'static str,
        blobs: &Blobs,
        stays: bool,
        bend: impl Fn(Vec<u8>) -> Vec<u8> + Send + Sync + 'static,
    ) -> Arc<Self> {
        let (blobs, bend) = (blobs.clone(), Arc::new(bend));
        Self::new(name, move |want, mut stream| {
            let (blobs, bend) = (blobs.clone(), Arc::clone(&bend));
            async move {
                let (mut ours, mut theirs) = duplex(1 << 16);
                let mut said = Vec::new();
                let all = async {
                    answer(&blobs, want, &mut ours).await;
                    drop(ours);
                };
                let (_, heard) = tokio::join!(all, theirs.read_to_end(&mut said));
                heard.unwrap();
                // The other side may leave in the middle.
                _ = stream.write_all(&bend(said)).await;
                if stays {
                    std::future::pending::<()>().await;
                }
            }
            .boxed()
        })
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

async fn answer(blobs: &Blobs, want: Want, stream: &mut DuplexStream) {
    if let Ok(answer) = blobs.answer(&codec::encode(&Ask::Get(want))).await {
        // The other side may leave in the middle.
        _ = answer.run(stream).await;
    }
}

struct All(Vec<Arc<Peer>>);

impl Sources for All {
    fn find(&self, _hash: Hash, _wide: bool) -> BoxFuture<'_, Vec<Arc<dyn Source>>> {
        let all = self.0.iter().map(|peer| Arc::clone(peer) as Arc<dyn Source>).collect();
        async move { all }.boxed()
    }
}

/// Somebody who has it, and somebody who wants it.
async fn pair(len: usize) -> (Place, Place, Vec<u8>, Hash) {
    let (has, wants) = (Place::new(), Place::new());
    let bytes = content(len, 1);
    let hash = has.put(&bytes).await.unwrap();
    (has, wants, bytes, hash)
}

const HEAD: usize = 4;

#[tokio::test]
async fn a_blob_comes_from_a_peer_and_stays() {
    for len in [0, 1, GROUP, GROUP + 1, 5 * GROUP + 3] {
        let (has, wants, bytes, hash) = pair(len).await;
        let peer = Peer::honest("peer", &has.blobs);
        wants.blobs.set_sources(Arc::new(All(vec![Arc::clone(&peer)])));
        let held = wants.blobs.fetch(hash).await.unwrap();
        assert_eq!(std::fs::read(&held.path).unwrap(), bytes);
        wants.blobs.fetch(hash).await.unwrap();
        assert_eq!(peer.asked(), 1);
        assert_eq!(wants.files().len(), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_want_the_same_share_one_fetch() {
    let (has, wants, bytes, hash) = pair(6 * GROUP).await;
    let peer = Peer::honest("peer", &has.blobs);
    wants.blobs.set_sources(Arc::new(All(vec![Arc::clone(&peer)])));
    let all = (0..20).map(|_| wants.blobs.fetch(hash));
    for held in futures::future::join_all(all).await {
        assert_eq!(held.unwrap().outline.size(), bytes.len() as u64);
    }
    assert_eq!(peer.asked(), 1);
}

#[tokio::test]
async fn a_fetch_goes_on_without_the_one_who_began_it_and_ends_without_anybody() {
    let (has, wants, bytes, hash) = pair(2 * GROUP).await;
    let blobs = has.blobs.clone();
    let (go, gone) = tokio::sync::watch::channel(false);
    let peer = Peer::new("late", move |want, mut stream| {
        let (blobs, mut gone) = (blobs.clone(), gone.clone());
        async move {
            gone.wait_for(|go| *go).await.unwrap();
            answer(&blobs, want, &mut stream).await;
        }
        .boxed()
    });
    wants.blobs.set_sources(Arc::new(All(vec![Arc::clone(&peer)])));
    let first = Box::pin(wants.blobs.fetch(hash));
    let second = wants.blobs.fetch(hash);
    let (first, second) = (&mut { first }, Box::pin(second));
    let mut second = second;
    // Both have begun.
    let begun = async {
        while peer.asked() == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        _ = first => panic!("nobody sent anything"),
        _ = &mut second => panic!("nobody sent anything"),
        () = begun => {}
    }
    // The one who began it is polled no more from here.
    go.send_replace(true);
    assert_eq!(second.await.unwrap().outline.size(), bytes.len() as u64);

    go.send_replace(false);
    let other = has.put(&content(GROUP, 7)).await.unwrap();
    let alone = tokio::time::timeout(Duration::from_millis(200), wants.blobs.fetch(other)).await;
    assert!(alone.is_err());
    wants.settled().await;
    assert!(!wants.blobs.has(other));
}

/// Each sends two groups and breaks off.
#[tokio::test]
async fn what_came_right_is_not_fetched_again() {
    let (has, wants, bytes, hash) = pair(5 * GROUP).await;
    let outline = HEAD + codec::encode(has.blobs.held(hash).unwrap().outline.head()).len();
    let cut = move |mut said: Vec<u8>| {
        said.truncate(outline + 2 * GROUP + 1000);
        said
    };
    let one = Peer::bent("one", &has.blobs, false, cut);
    let two = Peer::honest("two", &has.blobs);
    wants.blobs.set_sources(Arc::new(All(vec![Arc::clone(&one), Arc::clone(&two)])));
    assert_eq!(wants.blobs.fetch(hash).await.unwrap().outline.size(), bytes.len() as u64);
    // The first one is asked again as long as it brings something.
    assert_eq!(*one.from.lock().unwrap(), [0, 2, 4]);
    assert_eq!(two.asked(), 0);
    assert_eq!(read(&wants.blobs, hash).await.unwrap(), Some(bytes));
}

/// Nodes that send something wrong, each in its way, before an honest one is asked.
#[tokio::test]
async fn liars_are_left_after_their_first_wrong_group() {
    let len = 4 * GROUP + 5;
    let at = |has: &Place, hash| {
        HEAD + codec::encode(has.blobs.held(hash).unwrap().outline.head()).len()
    };
    type Bend = Box<dyn Fn(Vec<u8>, usize) -> Vec<u8> + Send + Sync>;
    let bends: Vec<(&'static str, Bend)> = vec![
        (
            "flipped",
            Box::new(|mut said, at| {
                said[at + 2 * GROUP + 7] ^= 1;
                said
            }),
        ),
        (
            "other content",
            Box::new(|mut said, at| {
                said[at..].fill(7);
                said
            }),
        ),
        (
            "wrong size",
            Box::new(|mut said, _| {
                said[HEAD + 7] ^= 1;
                said
            }),
        ),
        (
            "wrong outline",
            Box::new(|mut said, at| {
                said[at - 1] ^= 1;
                said
            }),
        ),
        ("endless head", Box::new(|_, _| vec![0xff; 1 << 20])),
        ("no head", Box::new(|_, _| vec![0, 0, 0, 1, 0xf6])),
        (
            "shifted",
            Box::new(|mut said, at| {
                said.insert(at, 0);
                said
            }),
        ),
    ];
    for (name, bend) in bends {
        let (has, wants, bytes, hash) = pair(len).await;
        let begins = at(&has, hash);
        let liar = Peer::bent(name, &has.blobs, true, move |said| bend(said, begins));
        let honest = Peer::honest("honest", &has.blobs);
        wants.blobs.set_sources(Arc::new(All(vec![Arc::clone(&liar), Arc::clone(&honest)])));
        wants.blobs.fetch(hash).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!((liar.asked(), honest.asked()), (1, 1), "{name}");
        assert_eq!(read(&wants.blobs, hash).await.unwrap().as_ref(), Some(&bytes), "{name}");
        assert_eq!(wants.files().len(), 2, "{name}");
    }
}

/// Said to be one group where there are more; that is known when the group is there.
#[tokio::test]
async fn a_small_lie_about_the_size_is_noticed() {
    let (has, wants, _, hash) = pair(100).await;
    let liar = Peer::new("liar", |_, mut stream| {
        async move {
            let head = skyclaw_protocol::blob::Head { size: GROUP_BYTES, groups: Vec::new() };
            let said = crate::blobs::frame::framed(&head);
            _ = stream.write_all(&[said, vec![1; 1 << 20]].concat()).await;
        }
        .boxed()
    });
    let honest = Peer::honest("honest", &has.blobs);
    wants.blobs.set_sources(Arc::new(All(vec![liar, honest])));
    assert_eq!(wants.blobs.fetch(hash).await.unwrap().outline.size(), 100);
}

#[tokio::test]
async fn alone_with_a_liar_nothing_is_had_and_nothing_stays() {
    let (has, wants, _, hash) = pair(3 * GROUP).await;
    let liar = Peer::bent("liar", &has.blobs, true, |mut said| {
        *said.last_mut().unwrap() ^= 1;
        said
    });
    wants.blobs.set_sources(Arc::new(All(vec![Arc::clone(&liar)])));
    let error = wants.blobs.fetch(hash).await.unwrap_err();
    assert!(matches!(&error, FetchError::Nowhere { why, .. } if why.contains("liar")), "{error}");
    assert_eq!(liar.asked(), 1, "a liar is not asked twice");
    wants.settled().await;
    assert!(wants.files().is_empty() && !wants.blobs.has(hash));
}

/// In paused time: a source that stands still is left for the next, and one that is slow is
/// taken if nobody else is there.
#[tokio::test(start_paused = true)]
async fn the_slow_are_left_for_others_and_taken_if_there_are_none() {
    let (has, wants, bytes, hash) = pair(3 * GROUP).await;
    let still = Peer::new("still", |_, stream| {
        async move {
            std::future::pending::<()>().await;
            drop(stream);
        }
        .boxed()
    });
    let slow = |blobs: &Blobs| {
        let blobs = blobs.clone();
        Peer::new("slow", move |want, mut stream| {
            let blobs = blobs.clone();
            async move {
                let (mut ours, mut theirs) = duplex(1 << 16);
                let all = async {
                    answer(&blobs, want, &mut ours).await;
                    drop(ours);
                };
                let trickle = async {
                    let mut part = vec![0; GROUP / 4];
                    while let Ok(read @ 1..) = theirs.read(&mut part).await {
                        tokio::time::sleep(Duration::from_millis(1500)).await;
                        if stream.write_all(&part[..read]).await.is_err() {
                            return;
                        }
                    }
                };
                tokio::join!(all, trickle);
            }
            .boxed()
        })
    };
    let (one, two) = (slow(&has.blobs), Peer::honest("quick", &has.blobs));
    wants.blobs.set_sources(Arc::new(All(vec![still, Arc::clone(&one), Arc::clone(&two)])));
    wants.blobs.fetch(hash).await.unwrap();
    assert_eq!(two.asked(), 1);

    let wants = Place::new();
    let alone = slow(&has.blobs);
    wants.blobs.set_sources(Arc::new(All(vec![Arc::clone(&alone)])));
    wants.blobs.fetch(hash).await.unwrap();
    assert_eq!(read(&wants.blobs, hash).await.unwrap(), Some(bytes));
}

#[tokio::test]
async fn what_nobody_has_is_said_to_be_nowhere() {
    let place = Place::new();
    let error = place.blobs.fetch(Hash([3; 32])).await.unwrap_err();
    assert!(error.to_string().contains(&Hash([3; 32]).hex()), "{error}");
    let peer = Peer::honest("peer", &Place::new().blobs);
    place.blobs.set_sources(Arc::new(All(vec![peer])));
    assert!(matches!(place.blobs.fetch(Hash([3; 32])).await, Err(FetchError::Nowhere { .. })));
    place.settled().await;
    assert!(place.files().is_empty());
}

/// The disk damaged it here; others have it.
#[tokio::test]
async fn a_damaged_blob_is_fetched_anew() {
    let (has, wants, bytes, hash) = pair(2 * GROUP).await;
    wants.put(&bytes).await.unwrap();
    std::fs::write(wants.file(hash), vec![0; bytes.len()]).unwrap();
    let peer = Peer::honest("peer", &has.blobs);
    wants.blobs.set_sources(Arc::new(All(vec![Arc::clone(&peer)])));
    wants.blobs.fetch(hash).await.unwrap();
    assert_eq!(peer.asked(), 1);
    assert_eq!(read(&wants.blobs, hash).await.unwrap(), Some(bytes));
}
