//! What changes while it is looked at.

use serde_json::json;
use skyclaw_tests::{Setup, can, capabilities, shell};

use crate::NEEDS;
use crate::page;

#[test]
fn a_host_that_dies_while_looked_at_is_seen_to_and_its_job_goes_on_elsewhere() {
    if !can(&NEEDS) {
        return;
    }
    let node = Setup::coordinator().env("SKYCLAW_LEASE_MS", 3000).start();
    let url = node.url();
    let host = |name: &str| {
        let setup = Setup::host(&[&url]).env("SKYCLAW_HOST_NAME", name).env("SKYCLAW_POLL_MS", 100);
        setup.env("SKYCLAW_CAPABILITIES", "shell,long")
    };
    let mut first = host("first").start();
    // It waits for ever on the first host, and ends at once on the second.
    let mark = node.folder().join("begun");
    let script =
        format!("if [ -e {0} ]; then echo done; else touch {0}; sleep 600; fi", mark.display());
    let id = node.api.submit(&capabilities(shell(&script), &["long"]))["id"].clone();
    let id = id.as_str().unwrap_or_default().to_owned();
    node.api.until_job_is(&id, "leased");
    page::with(&node.url(), async |page| {
        page.until_text("#live", "live").await;
        page.follow("Hosts").await;
        page.until_text("main tbody", "first").await;
        page.until_text("main tbody .state", "busy").await;
        // Whoever is at a link stays there while the page goes on.
        page.run("document.querySelector('main tbody a').focus()", vec![]).await;
        first.kill();
        page.until_text("main tbody .state", "silent").await;
        let at = page.run("return document.activeElement.textContent", vec![]).await;
        assert_eq!(at, json!("first"));
        page.keep("host-died").await;
        let _second = host("second").start();
        page.open(&format!("{}/#/jobs/{id}", node.url())).await;
        page.until_text("dl", "completed").await;
        page.until_text("section[data-key=Timeline]", "Attempt 1: no report").await;
        page.until_text("section[data-key=Timeline]", "Attempt 2 on second: ended well").await;
        page.until_text("pre[aria-label=Output]", "done").await;
        page.keep("timeline").await;
        page.is_for_everybody("a job with a timeline").await;
        page.nothing_is_wrong("none of it").await;
    });
}

#[test]
fn a_node_that_comes_back_is_followed_again() {
    if !can(&NEEDS) {
        return;
    }
    let mut node = Setup::coordinator().start();
    page::with(&node.url(), async |page| {
        page.until_text("#live", "live").await;
        page.follow("Hosts").await;
        page.until_text("main", "No host has registered").await;
        node.stop();
        page.until_text("#live", "trying again").await;
        node.start_again();
        node.api.register("h1", &["shell"], 1);
        page.until_text("#live", "live").await;
        page.until_text("main table", "h1").await;
        node.api.delete("/v1/hosts/h1").ok();
        page.until_text("main", "No host has registered").await;
        // That nobody answered meanwhile the browser says itself.
        page.nothing_is_wrong("ERR_").await;
    });
}

#[test]
fn what_a_job_writes_is_seen_while_it_runs() {
    if !can(&NEEDS) {
        return;
    }
    let node = Setup::both().start();
    let go = node.folder().join("go");
    let script = format!(
        "echo one; echo oops >&2; until [ -e {} ]; do sleep 0.02; done; echo '<b>two</b>'",
        go.display()
    );
    let id = node.api.submit_shell(&script);
    page::with(&node.url(), async |page| {
        page.open(&format!("{}/#/jobs/{id}", node.url())).await;
        page.until_text("pre[aria-label=Output]", "one").await;
        page.until_text("pre[aria-label=Errors]", "oops").await;
        page.until_text("dl", "leased").await;
        page.keep("running").await;
        page.is_for_everybody("a job that runs").await;
        std::fs::write(&go, "").expect("it is written");
        page.until_text("pre[aria-label=Output]", "one\n<b>two</b>").await;
        page.until_text("dl", "completed").await;
        page.nothing_is_wrong("none of it").await;
    });
}
