//! The API's description, as people read it.

use serde_json::json;
use skyclaw_tests::{Setup, can};

use crate::NEEDS;
use crate::page;

/// Complaints that no browser makes.
const NONE: &str = "none of it";

/// A click on the first line that names this path.
const UNFOLD: &str = "[...document.querySelectorAll('.opblock-summary-control')]\
    .find(it => it.textContent.includes(arguments[0])).click()";

#[test]
fn the_description_is_reached_from_the_dashboard_and_tries_out_what_it_describes() {
    if !can(&NEEDS) {
        return;
    }
    let node = Setup::coordinator().start();
    page::with(&node.url(), async |page| {
        page.until_text("#live", "live").await;
        page.click("header > a").await;
        page.until_text("#api .info", "Jobs and services on many people").await;
        // Areas are folded; each shows its operations when it is asked to.
        page.click("#operations-tag-jobs").await;
        page.until_text("#api", "/v1/jobs/{id}/why").await;
        page.keep("docs").await;
        page.click("#operations-tag-node").await;
        page.until_text("#api", "/healthz").await;
        page.run(UNFOLD, vec![json!("/healthz")]).await;
        page.click("#operations-node-alive .try-out__btn").await;
        page.click("#operations-node-alive .execute").await;
        page.until_text("#operations-node-alive .live-responses-table", "\"ok\": true").await;
        page.keep("docs-tried").await;
        page.nothing_is_wrong(NONE).await;

        // Customers have a page that shows nothing else.
        page.open(&format!("{}/docs?of=public", node.url())).await;
        page.until_text("#api", "/v1/public/jobs/{id}").await;
        assert!(!page.text("#api").await.contains("/v1/hosts"));
        page.run(UNFOLD, vec![json!("/v1/public/jobs")]).await;
        page.until_text("#api .opblock-body", "x-idempotency-key").await;
        page.keep("docs-public").await;
        page.nothing_is_wrong(NONE).await;
    });
}
