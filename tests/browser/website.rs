//! The example `website_jobs` in a real browser.

use std::fs;

use skyclaw_tests::{Reply, Server, Setup, can, workspace_root};

use crate::NEEDS;
use crate::page;

const CORS: &str = "SKYCLAW_PUBLIC_CORS_ORIGIN";

/// The settings that its README gives the node, with this key, and the origin that is let in.
fn settings(key: &str) -> Vec<(String, String)> {
    let readme = workspace_root().join("examples/website_jobs/README.md");
    let readme = fs::read_to_string(readme).expect("it has a README");
    let line = readme.lines().find(|line| line.ends_with("skyclaw-node")).expect("the command");
    let pairs = line.split(' ').filter_map(|word| word.split_once('='));
    let value = |value: &str| value.trim_matches('"').replace("$key", key);
    pairs.map(|(name, text)| (name.to_owned(), value(text))).collect()
}

#[test]
fn the_page_of_the_example_submits_a_job_and_shows_what_came_of_it() {
    if !can(&NEEDS) {
        return;
    }
    let page = fs::read(workspace_root().join("examples/website_jobs/index.html"));
    let page = page.expect("it is there");
    let site = Server::start(move |_| {
        Reply::raw(200, page.clone()).header("content-type", "text/html; charset=utf-8")
    });
    let mut given = settings("made-for-this-test");
    let [(keys, key), (cors, origin)] = &mut given[..] else { panic!("{given:?}") };
    assert_eq!((keys.as_str(), cors.as_str()), ("SKYCLAW_PUBLIC_API_KEYS", CORS));
    assert!(key.starts_with("made-for-this-test:"), "the key is made: {key}");
    assert!(origin.starts_with("http://127.0.0.1:"), "it lets in one origin: {origin}");
    // Where the README has the page may be taken here.
    *origin = site.url();
    let node = given.iter().fold(Setup::both(), |setup, (name, value)| setup.env(name, value));
    let node = node.start();
    page::with(&site.url(), async |page| {
        page.fill("[name=node]", &node.url()).await;
        page.fill("[name=key]", "made-for-this-test").await;
        page.fill("[name=script]", "echo made at $((40 + 2))").await;
        page.click("button").await;
        page.until_text("#state", "completed").await;
        page.until_text("#result", "made at 42").await;
        page.fill("[name=script]", "echo no >&2; exit 3").await;
        page.click("button").await;
        page.until_text("#state", "failed").await;
        page.until_text("#result", "no").await;
        page.fill("[name=key]", "a-guess").await;
        page.click("button").await;
        page.until_text("#state", "refused: invalid api key").await;
    });
}
