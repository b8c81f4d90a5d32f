//! The page itself: what it may do, and that it is whole. What it shows is tried in a browser.

use std::collections::BTreeSet;

use super::rig::{rig, rig_with};
use crate::{ApiConfig, Secret};

/// As browsers ask for a page.
const PAGE: (&str, &str) = ("accept", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8");

#[tokio::test]
async fn everybody_gets_the_page_which_may_load_nothing_from_elsewhere() {
    let rig = rig_with(ApiConfig { token: Secret::new("S3cret"), ..ApiConfig::default() });
    let page = rig.call("GET", "/", &[PAGE], "").await;
    assert_eq!((page.status, page.header("vary")), (200, Some("accept")));
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; ") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    // What it shows is asked for with the token.
    rig.get("/v1/jobs?view=brief").await.refused(401, "unauthorized");

    let tag = page.header("etag").unwrap().to_owned();
    let again = rig.call("GET", "/", &[PAGE, ("if-none-match", &tag)], "").await;
    assert_eq!((again.status, again.text.as_str()), (304, ""));
}

/// As the original has it: nothing is there, and without the token not even that is told.
#[tokio::test]
async fn programs_find_nothing_at_the_place_of_the_page() {
    let locked = rig_with(ApiConfig { token: Secret::new("S3cret"), ..ApiConfig::default() });
    let open = rig();
    for (method, path, accept) in [
        ("GET", "/", "*/*"),
        ("GET", "/", "application/json"),
        ("HEAD", "/", "text/html"),
        ("POST", "/", "text/html"),
        ("GET", "/dashboard/none.js", "text/html"),
        ("POST", "/dashboard/main.js", "*/*"),
    ] {
        let accept = [("accept", accept)];
        assert_eq!(open.call(method, path, &accept, "").await.status, 404, "{method} {path}");
        assert_eq!(locked.call(method, path, &accept, "").await.status, 401, "{method} {path}");
    }
    open.get("/").await.refused(404, "not found");
}

/// The files that one names, by their places.
fn named(place: &str, text: &str) -> BTreeSet<String> {
    let folder = place.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut all = BTreeSet::new();
    for mark in ["href=\"dashboard/", "src=\"dashboard/"] {
        let parts = text.split(mark).skip(1).filter_map(|rest| rest.split('"').next());
        all.extend(parts.map(|name| format!("/dashboard/{name}")));
    }
    for rest in text.split(" from \"").skip(1) {
        let name = rest.split('"').next().unwrap();
        let (up, name) = match name.strip_prefix("../") {
            Some(name) => (folder.rsplit_once('/').unwrap().0, name),
            None => (folder, name.strip_prefix("./").expect("imports are relative")),
        };
        all.insert(format!("{up}/{name}"));
    }
    all
}

#[tokio::test]
async fn each_file_that_the_page_names_is_there_and_none_is_elsewhere() {
    let rig = rig();
    let (mut seen, mut open) = (BTreeSet::new(), BTreeSet::from(["/".to_owned()]));
    while let Some(place) = open.pop_first() {
        let file = rig.call("GET", &place, &[PAGE], "").await;
        assert_eq!(file.status, 200, "{place}");
        let kind = file.header("content-type").unwrap();
        assert!(!kind.starts_with("application"), "{place} is {kind}");
        let elsewhere = file.text.replace("http://www.w3.org/2000/svg", "");
        assert!(!elsewhere.contains("http://") && !elsewhere.contains("https://"), "{place}");
        let all = named(&place, &file.text);
        seen.insert(place);
        open.extend(all.into_iter().filter(|name| !seen.contains(name)));
    }
    assert!(seen.len() >= 12, "{seen:?}");
}
