//! The page left open for long: what the browser holds is bounded, however much goes by.

// What is held is for whoever runs it.
#![allow(clippy::print_stderr)]

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use skyclaw_tests::{Api, Setup, can, processes_with, resident_kib};

use crate::page::{self, Page};
use crate::size::{HOSTS, JOBS, submit};
use crate::{NEEDS, VIEWS};

/// How long the page is open.
const LONG: Duration = Duration::from_secs(1800);
/// Between two things that happen: forty jobs a second begin and end, ten hosts speak.
const EVERY: Duration = Duration::from_millis(100);
/// How long each view is looked at.
const LOOK: Duration = Duration::from_secs(4);
/// What the page itself may hold, rubbish aside, in bytes.
const HEAP_BYTES: f64 = 20e6;
/// By how much all of the browser may grow from the first rounds to the last: what V8 keeps of rubbish varies
/// by tens of megabytes from one moment to another.
const GROWTH_MIB: u64 = 100;
/// Parts of pages (nodes of the DOM, listeners) that are still held, rubbish aside: one view has some thousands.
const PARTS: u64 = 30_000;

/// What the browser holds at one time.
#[derive(Debug)]
struct Held {
    heap: f64,
    parts: u64,
    listeners: u64,
    resident_mib: u64,
}

#[test]
#[ignore = "takes half an hour: cargo test --workspace --test browser half_an_hour -- --ignored --nocapture"]
fn what_the_browser_holds_is_bounded_over_half_an_hour() {
    if !can(&NEEDS) {
        return;
    }
    let node = Setup::coordinator().start();
    submit(&node.api, JOBS, "first");
    for n in 0..HOSTS {
        node.api.register(&format!("host-{n:03}"), &["shell"], 4);
    }
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| change(&node.api, &over));
        // Also if a look fails, the changes end.
        let looked = std::panic::catch_unwind(|| {
            page::with(&node.url(), async |page| look(page, &node.url()).await);
        });
        over.store(true, Relaxed);
        looked.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

/// Lets jobs begin, end and be given up, and hosts speak, until it is over.
fn change(api: &Api, over: &AtomicBool) {
    let mut round = 0_usize;
    let mut next = Instant::now();
    while !over.load(Relaxed) {
        for n in 0..4 {
            let host = format!("host-{:03}", (round * 4 + n) % HOSTS);
            let args = json!(["soak", round.to_string()]);
            let payload = json!({ "kind": "shell", "command": "echo", "args": args });
            let id = api.submit(&json!({ "payload": payload }))["id"].clone();
            let id = id.as_str().unwrap_or_default();
            if n == 3 {
                api.post(&format!("/v1/jobs/{id}/cancel"), &json!({})).ok();
            } else if let Some(id) = api.claim(&host)["job"]["id"].as_str() {
                api.complete(id, &host).ok();
            }
        }
        for n in 0..10 {
            let host = format!("host-{:03}", (round * 10 + n) % HOSTS);
            api.heartbeat(&host, &json!({}));
        }
        round += 1;
        next += EVERY;
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    eprintln!("{} jobs came and went", round * 4);
}

/// Goes from view to view, and after each round looks at what is held.
async fn look(page: &Page, url: &str) {
    let begun = Instant::now();
    let mut all = Vec::new();
    while all.len() < 2 || begun.elapsed() < LONG {
        for view in VIEWS {
            page.follow(view).await;
            tokio::time::sleep(LOOK).await;
        }
        page.follow("Jobs").await;
        page.until_text("main table", "echo soak").await;
        // By a script: what WebDriver found it holds, and with a row the whole view it was in.
        page.run("document.querySelector('main tbody a').click()", vec![]).await;
        page.until_text("section[data-key=Timeline]", "Timeline").await;
        all.push(held(page).await);
        eprintln!("{:>5.0?} {:.1?}", begun.elapsed(), all.last());
    }
    let (first, last) = (&all[1.min(all.len() - 2)], &all[all.len() - 1]);
    for held in &all {
        assert!(held.heap < HEAP_BYTES, "the page holds {held:?}");
        assert!(held.parts < PARTS && held.listeners < PARTS, "the page holds {held:?}");
    }
    let growth = last.resident_mib.saturating_sub(first.resident_mib);
    assert!(growth < GROWTH_MIB, "the browser grew from {first:?} to {last:?}");
    page.until_text("#live", "live").await;
    assert!(
        page.run("return location.href", vec![])
            .await
            .as_str()
            .is_some_and(|at| at.starts_with(url))
    );
    page.nothing_is_wrong("none of it").await;
}

async fn held(page: &Page) -> Held {
    page.devtools("HeapProfiler.collectGarbage", json!({})).await;
    let parts = page.devtools("Memory.getDOMCounters", json!({})).await;
    let of = |name: &str| parts.get(name).and_then(Value::as_u64).unwrap_or(u64::MAX);
    let processes = processes_with(page.profile());
    Held {
        heap: page.number("performance.memory.usedJSHeapSize").await,
        parts: of("nodes"),
        listeners: of("jsEventListeners"),
        resident_mib: processes.into_iter().map(resident_kib).sum::<u64>() / 1024,
    }
}
