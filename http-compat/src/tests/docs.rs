//! The description and its page: who gets them, and what the page may do. What it shows is tried in a browser.

use super::rig::{rig, rig_with};
use crate::{ApiConfig, Secret};

#[tokio::test]
async fn everybody_gets_the_description_and_a_page_that_loads_nothing_from_elsewhere() {
    let rig = rig_with(ApiConfig { token: Secret::new("S3cret"), ..ApiConfig::default() });
    for path in ["/openapi.json", "/openapi/public.json"] {
        let got = rig.get(path).await;
        assert_eq!(got.header("content-type"), Some("application/json; charset=utf-8"));
        assert_eq!(got.ok()["openapi"], "3.1.0");
        let tag = got.header("etag").unwrap().to_owned();
        let again = rig.call("GET", path, &[("if-none-match", &tag)], "").await;
        assert_eq!((again.status, again.text.as_str()), (304, ""));
    }
    let page = rig.get("/docs").await;
    assert_eq!(page.status, 200);
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; ") && !policy.contains("unsafe"), "{policy}");
    assert!(!page.text.contains("://") && !page.text.contains("<style"), "{}", page.text);
    for mark in ["href=\"docs/", "src=\"docs/"] {
        for rest in page.text.split(mark).skip(1) {
            let name = rest.split('"').next().unwrap();
            let file = rig.bytes(&format!("/docs/{name}")).await;
            assert_eq!(file.0, 200, "{name}");
            // What is packed is gzip's.
            assert!(!name.starts_with("swagger") || file.1.starts_with(&[0x1f, 0x8b, 8]), "{name}");
        }
    }
}

/// As with the original: what is no route is unknown, and without the token not even that is told.
#[tokio::test]
async fn whatever_else_lies_there_is_as_unknown_as_ever() {
    let locked = rig_with(ApiConfig { token: Secret::new("S3cret"), ..ApiConfig::default() });
    let open = rig();
    for (method, path) in [
        ("POST", "/docs"),
        ("HEAD", "/docs"),
        ("GET", "/docs/"),
        ("GET", "/docs/none.js"),
        ("GET", "/docs/%2e%2e"),
        ("POST", "/openapi.json"),
        ("GET", "/openapi"),
        ("GET", "/openapi/private.json"),
        ("GET", "/openapi.yaml"),
    ] {
        assert_eq!(open.call(method, path, &[], "").await.status, 404, "{method} {path}");
        assert_eq!(locked.call(method, path, &[], "").await.status, 401, "{method} {path}");
    }
    open.get("/docs/none.js").await.refused(404, "not found");
    locked.get("/docs/none.js").await.refused(401, "unauthorized");
}
