//! The example `website_jobs` in a real browser.

use std::fs;

use skyclaw_tests::{Setup, can, workspace_root};

use crate::NEEDS;
use crate::page;

/// The settings that its README gives the node.
fn settings() -> Vec<(String, String)> {
    let readme = workspace_root().join("examples/website_jobs/README.md");
    let readme = fs::read_to_string(readme).expect("it has a README");
    let line = readme.lines().find(|line| line.ends_with("skyclaw-node")).expect("the command");
    let pairs = line.split(' ').filter_map(|word| word.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.trim_matches('\'').to_owned())).collect()
}

#[test]
fn the_page_of_the_example_submits_a_job_and_shows_what_came_of_it() {
    if !can(&NEEDS) {
        return;
    }
    let given = settings();
    assert_eq!(given.len(), 2, "{given:?}");
    let node = given.iter().fold(Setup::both(), |setup, (name, value)| setup.env(name, value));
    let node = node.start();
    let file = workspace_root().join("examples/website_jobs/index.html");
    page::with(&format!("file://{}", file.display()), async |page| {
        page.fill("[name=node]", &node.url()).await;
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
