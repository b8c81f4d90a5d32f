//! Runs that may last so long and no longer.

use skyclaw_node::time::since_boot;

use super::*;

/// The shim does it by itself: a daemon that stands still says nothing.
#[tokio::test]
async fn a_run_is_killed_at_the_last_moment_it_was_given() {
    let bench = Bench::new();
    let mark = bench.mark("pid");
    let stubborn = format!("{}wait", detached(&mark, false));
    let run = bench.supervisor.start(Bench::order(sh(&stubborn)));
    let canceller = run.canceller();
    let start = since_boot();
    canceller.may_run_until(start + Duration::from_secs(30));
    canceller.may_run_until(start + Duration::from_millis(200));
    let last = start + Duration::from_millis(1500);
    canceller.may_run_until(last);
    failed(&run.outcome().await.unwrap(), 1, Some("lease lost: job terminated"));
    let ended = since_boot();
    assert!(ended >= last && ended < last + Duration::from_secs(2), "{:?}", ended - start);
    assert!(is_gone(pid_in(&mark).await));
    // One that ends in time is as any other.
    let run = bench.supervisor.start(Bench::order(sh("sleep 0.1; exit 3")));
    run.canceller().may_run_until(since_boot() + Duration::from_secs(30));
    failed(&run.outcome().await.unwrap(), 3, None);
}
