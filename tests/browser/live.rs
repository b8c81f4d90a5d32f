//! What changes while it is looked at.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::{Value, json};
use skyclaw_tests::{Node, Setup, can, capabilities, eventually, shell};

use crate::NEEDS;
use crate::page::{self, Page};

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

/// As if another tab were before this one, or not.
async fn hide(page: &Page, hidden: bool) {
    let script = "Object.defineProperty(document, 'visibilityState', { configurable: true, \
                  get: () => arguments[0] ? 'hidden' : 'visible' }); \
                  document.dispatchEvent(new Event('visibilitychange'))";
    // A function of its own, since the getter's `arguments` would be another's.
    let script = script.replace("arguments[0]", "window.__hidden");
    page.run("window.__hidden = arguments[0]", vec![json!(hidden)]).await;
    page.run(&script, vec![]).await;
}

/// The numbers of the lines that a service wrote, as far as they are shown.
fn ticks(text: &str) -> Vec<u64> {
    let number = |line: &str| line.rsplit_once("tick ")?.1.trim().parse().ok();
    text.lines().filter_map(number).collect()
}

/// Remembers the connections that are made for logs from now on.
async fn watch_logs(page: &Page) {
    let watch = "window.__logs = []; const ask = window.fetch; window.fetch = (path, how) => { \
                 if (String(path).includes('/logs')) window.__logs.push(how.signal); return ask(path, how); }";
    page.run(watch, vec![]).await;
}

/// Waits until of those connections each ended, or did not.
async fn until_ended(page: &Page, want: Value) {
    let ended = "return window.__logs.map(signal => signal.aborted)";
    let all = async || match page.run(ended, vec![]).await {
        all if all == want => Ok(()),
        all => Err(format!("{all}, not {want}")),
    };
    page::patiently("the connections of the log", all).await;
}

fn runs_services() -> Node {
    Setup::both()
        .env("SKYCLAW_ALLOWED_COMMANDS", "node")
        .env("SKYCLAW_SERVICE_HOST_ENABLED", 1)
        .start()
}

fn deploy(node: &Node, script: &str) {
    let script = format!(
        "{script}; require('http').createServer((q, a) => a.end()).listen(process.env.PORT, '127.0.0.1')"
    );
    let service =
        json!({ "serviceId": "web", "name": "web", "command": "node", "args": ["-e", script] });
    node.api.post("/v1/services", &service).ok();
}

/// More lines of one moment than are asked for at first; nothing else comes before the log is asked for again.
#[test]
fn of_a_burst_that_was_shown_in_part_no_line_is_shown_again() {
    if !can(&NEEDS) {
        return;
    }
    let node = runs_services();
    let more = node.folder().join("more");
    deploy(
        &node,
        &format!(
            "console.log([...Array(150).keys()].map(n => `tick ${{n}}`).join('\\n')); \
             const wait = setInterval(() => {{ if (!require('fs').existsSync('{}')) return; \
             clearInterval(wait); console.log('tick 150') }}, 50)",
            more.display()
        ),
    );
    eventually("the burst is read", || {
        let log = log_of(&node, 10)?;
        if log.contains("tick 149") { Ok(()) } else { Err(log) }
    });
    page::with(&node.url(), async |page| {
        page.until_text("#live", "live").await;
        watch_logs(page).await;
        page.follow("Services").await;
        page.click("main table a").await;
        page.until_text("pre[role=log]", "tick 149").await;
        hide(page, true).await;
        until_ended(page, json!([true])).await;
        hide(page, false).await;
        until_ended(page, json!([true, false])).await;
        fs::write(&more, "").expect("the node's folder is writable");
        page.until_text("pre[role=log]", "tick 150").await;
        let shown = ticks(&page.text("pre[role=log]").await);
        let first = shown.first().copied().unwrap_or_default();
        // What the host says of the instance may be among the first lines asked for.
        assert!((50..60).contains(&first), "{shown:?}");
        let all: Vec<u64> = (first..=150).collect();
        assert_eq!(shown, all, "a line is missing, or came twice");
        page.nothing_is_wrong("none of it").await;
    });
}

/// What the service wrote last.
fn log_of(node: &Node, tail: u32) -> Result<String, String> {
    // As HTTP/1.0, in which a stream ends with its connection.
    let mut stream = TcpStream::connect(node.api.address()).map_err(|error| error.to_string())?;
    let ask = format!("GET /v1/services/web/logs?tail={tail} HTTP/1.0\r\nhost: x\r\n\r\n");
    let mut log = String::new();
    let read = stream.write_all(ask.as_bytes()).and_then(|()| stream.read_to_string(&mut log));
    read.map_err(|error| error.to_string())?;
    Ok(log)
}

/// The connection goes while nobody looks, and no line is missing or comes twice after that.
#[test]
fn a_log_that_nobody_looks_at_holds_no_connection_and_goes_on_where_it_was() {
    if !can(&NEEDS) {
        return;
    }
    let node = runs_services();
    // Two lines of one moment each time.
    deploy(&node, "let n = 0; setInterval(() => console.log(`tick ${n++}\\ntick ${n++}`), 200)");
    let latest = || {
        let log = log_of(&node, 1)?;
        let cut = log.rsplit_once("tick ").map(|(_, rest)| rest).unwrap_or_default();
        let number = cut.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
        number.parse::<u64>().map_err(|_| log)
    };
    page::with(&node.url(), async |page| {
        page.until_text("#live", "live").await;
        watch_logs(page).await;
        page.follow("Services").await;
        page.click("main table a").await;
        page.until_text("pre[role=log]", "tick 4").await;
        until_ended(page, json!([false])).await;

        hide(page, true).await;
        until_ended(page, json!([true])).await;
        let before = page.text("pre[role=log]").await;
        let last = ticks(&before).last().copied().unwrap_or_default();
        let now = eventually("more is written meanwhile", || match latest() {
            Ok(now) if now > last + 10 => Ok(now),
            other => Err(format!("{other:?} after {last}")),
        });
        assert_eq!(page.text("pre[role=log]").await, before, "nothing comes while nobody looks");

        hide(page, false).await;
        page.until_text("pre[role=log]", &format!("tick {}", now + 4)).await;
        let shown = ticks(&page.text("pre[role=log]").await);
        let first = shown.first().copied().unwrap_or_default();
        let all: Vec<u64> = (first..).take(shown.len()).collect();
        assert_eq!(shown, all, "a line is missing, or came twice");
        until_ended(page, json!([true, false])).await;
        page.nothing_is_wrong("none of it").await;
    });
}
