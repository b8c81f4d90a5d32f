//! Each view: that it shows what is there, is for everybody, and does what it offers.

use serde_json::json;
use skyclaw_tests::{Node, Setup, can, capabilities, eventually, shell};

use crate::page::{self, Page};
use crate::{NEEDS, VIEWS};

/// Complaints that no browser makes.
const NONE: &str = "none of it";

/// Where other nodes find this one.
fn tcp(node: &Node) -> String {
    let network = node.api.get("/v1/network").ok();
    let addresses = network["addresses"].as_array().cloned().unwrap_or_default();
    let tcp = addresses.iter().filter_map(|it| it.as_str()).find(|it| it.contains("/tcp/"));
    tcp.expect("it listens on TCP").to_owned()
}

/// A node with something to see in each view, and a peer.
fn busy() -> (Node, Node) {
    let node = Setup::both()
        .env("SKYCLAW_ROLE", "coordinator,host,gateway")
        .env("SKYCLAW_COORDINATOR_NODE_ID", "north")
        .start();
    node.api.until_hosts(1);
    let peer = Setup::new("host")
        .env("SKYCLAW_BOOTSTRAP", tcp(&node))
        .env("SKYCLAW_HOST_NAME", "south")
        .env("SKYCLAW_SERVICE_HOST_ENABLED", 0)
        .start();
    node.api.until_hosts(2);
    let service = json!({ "serviceId": "web", "name": "web", "command": "sleep", "args": ["600"],
                          "requiredCapabilities": ["elsewhere"] });
    node.api.post("/v1/services", &service).ok();
    (node, peer)
}

#[test]
fn a_token_is_asked_for_and_a_job_is_submitted_and_seen_to_its_end() {
    if !can(&NEEDS) {
        return;
    }
    let node = Setup::both().env("SKYCLAW_TOKEN", "s3cret-canary").start();
    page::with(&node.url(), async |page| {
        page.until_text("main h2", "This node asks for a token").await;
        page.is_for_everybody("the question for a token").await;
        page.fill("#token", "wrong").await;
        page.click("main form button").await;
        page.until_text("main h2", "This node asks for a token").await;
        page.fill("#token", "s3cret-canary").await;
        page.click("main form button").await;
        page.until_text("#live", "live").await;

        page.follow("Jobs").await;
        page.click("details summary").await;
        page.fill("#command", "sh -c 'echo from the page'").await;
        page.keep("submit").await;
        page.click("details form button").await;
        page.until_text("main table", "sh -c echo from the page").await;
        page.until_text("main table .state", "completed").await;
        page.click("main table a").await;
        page.until_text("pre[aria-label=Output]", "from the page").await;
        page.until_text("section[data-key=Timeline]", "Attempt 1").await;
        page.keep("job").await;
        page.is_for_everybody("a job").await;
        page.all_is_reached_by_keyboard("a job").await;

        // The same once more.
        page.click("button[data-key=replay]").await;
        page.until_text("[role=status]", "Submitted again as").await;
        page.click("main > div > [role=status] a").await;
        page.until_text("dl", "completed").await;
        page.until_text("pre[aria-label=Output]", "from the page").await;

        // The token stays in the tab, and out of every address.
        let kept = page.run("return sessionStorage.getItem('skyclaw-token')", vec![]).await;
        assert_eq!(kept, json!("s3cret-canary"));
        let asked = page
            .run("return [location.href, ...performance.getEntries().map(it => it.name)]", vec![])
            .await;
        assert!(!asked.to_string().contains("canary"), "{asked}");
        assert_eq!(page.run("return localStorage.length", vec![]).await, json!(0));
        // The browser itself says that it got a 401 for the wrong token and for none.
        page.nothing_is_wrong("401").await;
    });
}

#[test]
fn each_view_is_for_everybody_and_fits_a_phone() {
    if !can(&NEEDS) {
        return;
    }
    let (node, _peer) = busy();
    node.api.until_job_is(&node.api.submit_shell("echo seen"), "completed");
    node.api.submit(&capabilities(shell("true"), &["gpu"]));
    page::with(&node.url(), async |page| {
        page.until_text("#live", "live").await;
        for view in VIEWS {
            page.tab_to(view).await;
            assert!(page.title().await.starts_with(view));
            if view == "Jobs" {
                page.click("details summary").await;
            }
            check(page, view).await;
        }
        shows(page).await;
        // On a phone nothing is wider than the page.
        page.resize(390, 800).await;
        for view in VIEWS {
            page.follow(view).await;
            let wide = page.number("document.documentElement.scrollWidth").await;
            assert!(wide <= 390.0, "{view} is {wide} wide");
            page.keep(&format!("phone-{}", view.to_lowercase())).await;
        }
        page.nothing_is_wrong(NONE).await;
    });
}

/// Looks at one view in light and dark.
async fn check(page: &Page, view: &str) {
    page.until_text("main", "").await;
    page.is_for_everybody(view).await;
    page.all_is_reached_by_keyboard(view).await;
    page.keep(&view.to_lowercase()).await;
    page.prefer("dark").await;
    page.keep(&format!("{}-dark", view.to_lowercase())).await;
    page.prefer("light").await;
}

/// What each view is there for.
async fn shows(page: &Page) {
    page.follow("Overview").await;
    page.until_text(".tiles", "1\njobs queued").await;
    page.until_text(".tiles", "2/2\nhosts heard of").await;
    page.follow("Hosts").await;
    page.until_text("main table", "south").await;
    page.until_text("main table", "has no gpu").await;
    page.click("main table a").await;
    page.until_text("dl", "Sandbox").await;
    page.until_text("section[data-key='What waits']", "has no gpu").await;
    check(page, "host").await;
    page.follow("Network").await;
    page.until_text("main table", "direct").await;
    page.until_text("svg.map", "north").await;
    page.until_text("section[data-key=replication]", "1 of 1").await;
    page.until_text("section[data-key=replication]", "north 2").await;
    page.follow("Gateways").await;
    page.until_text("main table", "web").await;
    // A job that waits says why, and can be cancelled.
    page.follow("Jobs").await;
    page.click("main tbody tr:first-child a").await;
    page.until_text("dl", "no host has gpu").await;
    page.until_text("section[data-key=Hosts]", "has no gpu").await;
    page.click("button[data-key=cancel]").await;
    page.until_text("[role=status]", "It was cancelled").await;
    page.until_text("section[data-key=Timeline]", "cancelled").await;
    page.until_text("section[data-key='Kept by']", "north").await;
}

#[test]
fn a_service_is_scaled_watched_and_removed() {
    if !can(&NEEDS) {
        return;
    }
    let node = Setup::new("coordinator,host,gateway")
        .env("SKYCLAW_ALLOWED_COMMANDS", "sh,node")
        .env("SKYCLAW_SERVICE_HOST_ENABLED", 1)
        .start();
    let script = "console.log('hello from ' + process.env.PORT); \
                  require('http').createServer((q, a) => a.end('hi')).listen(process.env.PORT, '127.0.0.1')";
    let service =
        json!({ "serviceId": "web", "name": "web", "command": "node", "args": ["-e", script] });
    node.api.post("/v1/services", &service).ok();
    let gateway = node.gateway();
    page::with(&node.url(), async |page| {
        page.until_text("#live", "live").await;
        page.follow("Services").await;
        page.until_text("main table", "running").await;
        page.click("main table a").await;
        page.until_text("pre[role=log]", "hello from").await;
        page.until_text("main table", "running").await;
        page.fill("#replicas", "2").await;
        page.click("form.row button").await;
        page.until_text("[role=status]", "2 instances are wanted now.").await;
        assert_eq!(node.api.get("/v1/services/web").ok()["service"]["replicas"], 2);
        let rows = async || match page.count("main tbody tr").await {
            2 => Ok(()),
            rows => Err(rows.to_string()),
        };
        page::patiently("two instances", rows).await;
        let through = skyclaw_tests::Api::new(gateway, None);
        for _ in 0..20 {
            assert_eq!(through.get("/v1/gateway/web/").text(), "hi");
        }
        page.until_text("dl", "20 answers so far, 0 of them failed").await;
        check(page, "service").await;
        page.follow("Gateways").await;
        page.until_text("main table", "web").await;
        page.until_text("main table", "20").await;
        check(page, "gateway").await;
        page.follow("Services").await;
        page.click("main table a").await;
        page.click("form.row button.plain").await;
        page.press(thirtyfour::Key::Enter + "").await;
        page.until_text("[role=status]", "It was removed.").await;
        page.until_text("main", "There is no such service.").await;
        page.nothing_is_wrong(NONE).await;
    });
}

/// A gateway without an HTTP API of its own for the page: its coordinator asks it.
#[test]
fn of_more_hosts_than_are_explained_it_is_said_how_many_are_not() {
    if !can(&NEEDS) {
        return;
    }
    let node = Setup::coordinator().env("SKYCLAW_HOST_TTL_MS", 600_000).start();
    for n in 0..503 {
        node.api.register(&format!("h{n}"), &["shell"], 1);
    }
    page::with(&node.url(), async |page| {
        page.until_text("#live", "live").await;
        page.follow("Hosts").await;
        page.until_text("main p", "0 of 503 slots taken; the coordinator explains all but 3").await;
        page.nothing_is_wrong(NONE).await;
    });
}

#[test]
fn what_goes_through_a_gateway_on_another_node_is_shown() {
    if !can(&NEEDS) {
        return;
    }
    let node = Setup::both()
        .env("SKYCLAW_ALLOWED_COMMANDS", "node")
        .env("SKYCLAW_SERVICE_HOST_ENABLED", 1)
        .start();
    let script = "require('http').createServer((q, a) => { \
                  a.statusCode = q.url === '/bad' ? 500 : 200; a.end('hi') \
                  }).listen(process.env.PORT, '127.0.0.1')";
    let service =
        json!({ "serviceId": "web", "name": "web", "command": "node", "args": ["-e", script] });
    node.api.post("/v1/services", &service).ok();
    let gateway = Setup::new("gateway").env("SKYCLAW_BOOTSTRAP", tcp(&node)).start();
    let through = skyclaw_tests::Api::new(gateway.gateway(), None);
    eventually("it leads to the service", || match through.get("/v1/gateway/web/").status {
        200 => Ok(()),
        other => Err(other.to_string()),
    });
    for _ in 0..20 {
        assert_eq!(through.get("/v1/gateway/web/").status, 200);
    }
    for _ in 0..3 {
        assert_eq!(through.post("/v1/gateway/web/bad", &json!({})).status, 500);
        assert_eq!(through.get("/v1/gateway/none/").status, 503);
    }
    page::with(&node.url(), async |page| {
        page.until_text("#live", "live").await;
        page.follow("Gateways").await;
        let its = "section[data-key^=through-12D3]";
        page.until_text(its, "Through ").await;
        page.until_text(its, "no_endpoints").await;
        let cells = format!("{its} tbody tr[data-key=web] td:nth-child");
        page.until_text(&format!("{cells}(4)"), "3").await;
        let answers = page.text(&format!("{cells}(3)")).await.parse::<u64>();
        assert!(answers.as_ref().is_ok_and(|answers| *answers >= 24), "{answers:?}");
        assert!(page.text(&format!("{cells}(5)")).await.ends_with('s'), "half came within a time");
        // The node that is asked has led nobody anywhere.
        let own = page.text("section[data-key=through-]").await;
        assert!(own.contains("Nothing has come through it."), "{own}");
        page.until_text("[data-key='Other nodes that are gateways'] tbody", "connected").await;
        check(page, "gateway-elsewhere").await;
        // What comes later is seen without another look.
        for _ in 0..5 {
            assert_eq!(through.get("/v1/gateway/web/").status, 200);
        }
        let more = answers.unwrap_or_default() + 5;
        page.until_text(&format!("{cells}(3)"), &more.to_string()).await;
        page.nothing_is_wrong(NONE).await;
    });
}

#[test]
fn text_of_others_is_never_markup() {
    if !can(&NEEDS) {
        return;
    }
    let node = Setup::coordinator().start();
    let evil = "<img src=x onerror=document.title='taken'>";
    node.api.register("h1", &[evil], 1);
    let mut job = capabilities(shell(evil), &[evil]);
    job["submittedBy"] = json!(evil);
    let id = node.api.submit(&job)["id"].as_str().unwrap_or_default().to_owned();
    page::with(&node.url(), async |page| {
        page.until_text("#live", "live").await;
        for view in VIEWS {
            page.follow(view).await;
        }
        page.follow("Jobs").await;
        page.until_text("main table", evil).await;
        page.open(&format!("{}/#/jobs/{id}", node.url())).await;
        page.until_text("dl", evil).await;
        assert_eq!(page.count("img").await, 0);
        assert!(page.title().await.starts_with("Job"));
        page.nothing_is_wrong(NONE).await;
    });
}
