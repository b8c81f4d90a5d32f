//! A clock that most other coordinators do not share. Needs libfaketime (Debian: faketime).

use std::fs;
use std::path::Path;

use skyclaw_tests::{Need, can, eventually, shell};

use crate::cluster::{address, node, nodes, until_peers, until_status};

/// Where Debian has it.
const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

#[test]
fn a_coordinator_whose_clock_is_ten_minutes_off_says_so_and_heals_with_it() {
    if !can(&[Need::Tool("faketime")]) || !Path::new(LIBRARY).exists() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder can be made");
    let offset = folder.path().join("offset");
    let set = |text: &str| fs::write(&offset, text).expect("it is writable");
    set("+0");
    let others = nodes(2, 2);
    let off = node("off", 2)
        .env("SKYCLAW_BOOTSTRAP", address(&others[0]))
        .foreign_env("LD_PRELOAD", LIBRARY)
        .foreign_env("FAKETIME_TIMESTAMP_FILE", &offset.display().to_string())
        .foreign_env("FAKETIME_NO_CACHE", "1")
        .foreign_env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .start();
    until_peers(&off, 2);
    let led = off.api.submit_shell("true");
    until_status(&others[0], &led, "queued");
    for (text, how) in [("-10m", "behind"), ("+10m", "ahead")] {
        set(text);
        eventually("it says what is wrong", || {
            let ready = off.api.get("/readyz");
            let said = ready.text();
            if ready.status == 503 && said.contains("clock") && said.contains(how) {
                return Ok(());
            }
            Err(said)
        });
        let answer = off.api.post("/v1/jobs", &shell("true"));
        let why = answer.error(503);
        assert!(why.contains("clock of this machine") && why.contains(how), "{why}");
        assert!(off.process.log().contains(&format!("is {how} of that")));
        // The others go on, also with what it led.
        others[0].api.submit_shell("true");
        set("+0");
        eventually("it is ready again", || {
            let ready = off.api.get("/readyz");
            if ready.status == 200 { Ok(()) } else { Err(ready.text()) }
        });
    }
    eventually("it takes jobs again", || {
        let answer = off.api.post("/v1/jobs", &shell("true"));
        if answer.status == 200 { Ok(()) } else { Err(answer.text()) }
    });
    let cancelled = others[1].api.post(&format!("/v1/jobs/{led}/cancel"), &serde_json::json!({}));
    assert!(matches!(cancelled.status, 200 | 202), "{}", cancelled.text());
    until_status(&others[0], &led, "failed");
}
