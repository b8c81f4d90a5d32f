//! Questions and answers between live nodes.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use tokio::sync::Notify;

use super::*;

const PATIENCE: Duration = Duration::from_secs(10);

/// Answers with who asked what.
fn echo() -> Arc<Desk> {
    Desk::new(|service, from, ask| {
        let mut answer = format!("{service:?} ").into_bytes();
        answer.extend_from_slice(&from.0);
        answer.extend_from_slice(&ask);
        Box::pin(async move { Some(answer) })
    })
}

/// Two coordinators that know each other.
async fn pair(first: Plan, second: Plan) -> (Live, Live) {
    let names = [&first, &second].map(|plan| format!("node{}", plan.seed));
    let first = first.start().await;
    let second = Plan { bootstrap: vec![first.address()], ..second }.start().await;
    until_connected(&first, &names[1]).await;
    until_connected(&second, &names[0]).await;
    (first, second)
}

#[tokio::test(flavor = "multi_thread")]
async fn members_answer_each_other_in_both_directions() {
    let first = Plan { sink: echo(), ..plan(20) };
    let (first, second) = pair(first, Plan { sink: echo(), ..plan(21) }).await;
    for (asker, other) in [(&first, &second), (&second, &first)] {
        for (service, name) in [(Service::Host, "Host "), (Service::Repair, "Repair ")] {
            let answer = asker.handle.ask(other.id, service, b"?".to_vec(), PATIENCE).await;
            let wanted = [name.as_bytes(), &asker.id.0, b"?"].concat();
            assert_eq!(answer, Ok(wanted));
        }
    }
    // The largest one, there and back, which takes an unoptimised program seconds. The next one waits until its
    // asker's rate allows it.
    let patience = PATIENCE * 6;
    let large = vec![7; limits::MAX_FRAME - 64];
    let answer = first.handle.ask(second.id, Service::Repair, large.clone(), patience).await;
    assert!(answer.is_ok_and(|answer| answer.ends_with(&large)));
    let mut times = Vec::new();
    for _ in 0..500 {
        let began = Instant::now();
        first.handle.ask(second.id, Service::Host, vec![1; 200], patience).await.unwrap();
        times.push(began.elapsed());
    }
    times.sort_unstable();
    println!("ask over loopback TCP: p50 {:?}, p99 {:?}", times[250], times[495]);
    for live in [first, second] {
        live.net.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_there_or_does_not_answer_is_told_apart() {
    let (first, second) = pair(plan(22), Plan { sink: Desk::silent(), ..plan(23) }).await;
    let ask = |to, patience| first.handle.ask(to, Service::Host, Vec::new(), patience);
    let nobody = NodeKey::from_seed(&[99; 32]).id();
    assert_eq!(ask(nobody, PATIENCE).await, Err(AskError::NotConnected));
    assert_eq!(ask(second.id, PATIENCE).await, Err(AskError::NoAnswer));
    assert_eq!(second.handle.0.counts.asks_given_up.load(Relaxed), 1);
    second.net.stop().await;
    until(|| connected(&first).is_empty(), || "it is gone".into()).await;
    assert_eq!(ask(second.id, PATIENCE).await, Err(AskError::NotConnected));
    first.net.stop().await;
}

/// Says when it is dropped.
struct Held(Arc<AtomicUsize>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_that_is_given_up_is_dropped_at_once_and_bounds_hold() {
    let open = Arc::new(AtomicUsize::new(0));
    let ring = Arc::new(Notify::new());
    let parked = {
        let (open, ring) = (Arc::clone(&open), Arc::clone(&ring));
        Desk::new(move |_, _, _| {
            open.fetch_add(1, Relaxed);
            let (held, ring) = (Held(Arc::clone(&open)), Arc::clone(&ring));
            Box::pin(async move {
                ring.notified().await;
                drop(held);
                Some(b"here".to_vec())
            })
        })
    };
    let (first, second) = pair(plan(24), Plan { sink: parked, ..plan(25) }).await;
    let ask = || {
        let (handle, to) = (first.handle.clone(), second.id);
        tokio::spawn(async move { handle.ask(to, Service::Host, Vec::new(), PATIENCE).await })
    };
    let count = |wanted: usize| {
        let open = Arc::clone(&open);
        async move {
            until(|| open.load(Relaxed) == wanted, || format!("{} open", open.load(Relaxed))).await;
        }
    };
    let asked = ask();
    count(1).await;
    let began = Instant::now();
    asked.abort();
    count(0).await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());

    // As many as a peer may have, and one more.
    let mut all = Vec::new();
    for wanted in 1..=limits::MAX_QUESTIONS_PER_PEER {
        all.push(ask());
        count(wanted).await;
    }
    assert!(ask().await.unwrap().is_err());
    assert!(second.handle.0.counts.asks_refused.load(Relaxed) >= 1);
    ring.notify_waiters();
    for asked in all {
        assert_eq!(asked.await.unwrap(), Ok(b"here".to_vec()));
    }
    // A connection that ends gives up what was asked over it.
    let asked = ask();
    count(1).await;
    first.net.stop().await;
    count(0).await;
    assert!(asked.await.unwrap().is_err());
    second.net.stop().await;
}
