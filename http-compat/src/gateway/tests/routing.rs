//! Which request goes where.

use std::time::Duration;

use serde_json::json;

use super::rig::{Origin, gate, gate_with, nowhere, quiet, route, table, text};
use crate::gateway::{GatewayConfig, Table};

#[tokio::test]
async fn g1_health_lists_names_and_ids_of_what_is_served() {
    let addr = nowhere().await;
    let table =
        table(&[("svc_b", "web", &[addr]), ("svc_a", "api", &[addr]), ("svc_c", "off", &[])]);
    let gate = gate_with(quiet(), table).await;
    let reply = gate.get("/health").await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.json(), json!({ "ok": true, "services": ["api", "svc_a", "svc_b", "web"] }));
    assert_eq!(reply.header("content-type"), "application/json; charset=utf-8");
    assert!(reply.text().starts_with("{\n  \"ok\": true,"), "indented: {}", reply.text());
    assert_eq!(gate.get("/healthz").await.json(), json!({ "ok": true }));
}

#[tokio::test]
async fn g2_everything_else_is_not_found_and_no_token_is_asked_for() {
    let gate = gate(&[nowhere().await]).await;
    for path in
        ["/", "/v1/gateway", "/v1/gateway/", "/v1/gateway//x", "/v1/services", "/v1/gatewayX/api"]
    {
        gate.get(path).await.refused(404, "not found");
    }
    gate.call("POST", "/health", &[], "").await.refused(404, "not found");
}

/// G3-G8.
#[tokio::test]
async fn g3_g8_the_rest_of_the_path_and_the_query_are_passed_as_they_came() {
    let origin = Origin::named("x").await;
    let gate = gate(&[origin.addr]).await;
    for (asked, got) in [
        ("/v1/gateway/api", "/"),
        ("/v1/gateway/api/", "/"),
        ("/v1/gateway/api?", "/"),
        ("/v1/gateway/api?a=1&b=%20", "/?a=1&b=%20"),
        ("/v1/gateway/api/x", "/x"),
        ("/v1/gateway/svc_api/x/", "/x/"),
        ("/v1/gateway/%61pi//x%2Fy//%zz", "//x%2Fy//%zz"),
        ("/v1/gateway/api/v1/gateway/api?x=/../y", "/v1/gateway/api?x=/../y"),
    ] {
        assert_eq!(gate.get(asked).await.status, 200, "{asked}");
        assert_eq!(origin.last().uri.to_string(), got, "{asked}");
    }
}

#[tokio::test]
async fn g9_any_method_is_passed() {
    let origin = Origin::named("x").await;
    let gate = gate(&[origin.addr]).await;
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PURGE"] {
        assert_eq!(gate.call(method, "/v1/gateway/api", &[], "").await.status, 200, "{method}");
        assert_eq!(origin.last().method.as_str(), method);
    }
}

#[tokio::test]
async fn g7_an_endpoints_path_stays_and_loses_one_slash() {
    let origin = Origin::named("x").await;
    let urls = |path: &str| [format!("http://{}{path}", origin.addr)];
    let table = Table::of_routes(vec![
        route("svc_1", "one", &urls("/base/")),
        route("svc_2", "two", &urls("/base//")),
        route("svc_3", "three", &urls("")),
    ]);
    let gate = gate_with(quiet(), table).await;
    for (asked, got) in
        [("one/x", "/base/x"), ("one", "/base/"), ("two/x", "/base//x"), ("three/x", "/x")]
    {
        gate.get(&format!("/v1/gateway/{asked}")).await;
        assert_eq!(origin.last().uri.to_string(), got, "{asked}");
    }
}

#[tokio::test]
async fn f27_dots_lead_out_of_no_service_and_no_path() {
    let origin = Origin::named("x").await;
    let urls = [format!("http://{}/base", origin.addr)];
    let gate = gate_with(quiet(), Table::of_routes(vec![route("svc_1", "api", &urls)])).await;
    for (asked, got) in [
        ("/v1/gateway/api/a/../b", "/base/b"),
        ("/v1/gateway/api/../../../admin", "/base/admin"),
        ("/v1/gateway/api/%2e%2E/.%2e/admin", "/base/admin"),
        ("/v1/gateway/api/a/./b/.", "/base/a/b/"),
        ("/v1/gateway/api/a/..", "/base/"),
        ("/v1/gateway/api/...", "/base/..."),
        // What many take for a slash.
        (r"/v1/gateway/api/..\..\admin", "/base/..%5C..%5Cadmin"),
        (r"/v1/gateway/api/a/../b\c?d\e", r"/base/b%5Cc?d\e"),
    ] {
        gate.get(asked).await;
        assert_eq!(origin.last().uri.to_string(), got, "{asked}");
    }
    let count = origin.count();
    gate.get("/v1/gateway/x/../api").await.refused(503, "no healthy endpoints for service x");
    gate.get("/v1/../v1/gateway/api").await.refused(404, "not found");
    assert_eq!(origin.count(), count);
}

#[tokio::test]
async fn g4_g30_a_service_without_endpoints_is_said_to_have_none() {
    let gate = gate_with(quiet(), table(&[("svc_api", "api", &[])])).await;
    let reply = gate.get("/v1/gateway/api/x").await;
    reply.refused(503, "no healthy endpoints for service api");
    assert!(reply.header("x-skyclaw-hint").contains("skyclaw service NAME"), "{reply:?}");
    assert_eq!(reply.header("retry-after"), "1");
    gate.get("/v1/gateway/n%20o").await.refused(503, "no healthy endpoints for service n o");
    assert_eq!(gate.metrics.refusals("no_endpoints"), 2);
}

#[tokio::test]
async fn g22_a_key_that_does_not_decode_is_the_callers_fault() {
    let gate = gate(&[nowhere().await]).await;
    gate.get("/v1/gateway/%ff").await.refused(400, "URI malformed");
}

#[tokio::test]
async fn hosts_lead_to_services_where_a_domain_is_set() {
    let origin = Origin::new(|_| text("x")).await;
    let config = GatewayConfig { domain: Some(".Apps.Test.".to_owned()), ..quiet() };
    let gate = gate_with(config, table(&[("svc_1", "Api", &[origin.addr])])).await;
    let at = async |host: &str, path: &str| gate.call("GET", path, &[("host", host)], "").await;
    for host in ["api.apps.test", "API.apps.test:8790", "api.APPS.test."] {
        assert_eq!(at(host, "/health?x").await.text(), "x", "{host}");
        assert_eq!(origin.last().uri.to_string(), "/health?x");
        assert_eq!(origin.last().header("x-forwarded-host"), Some(host));
    }
    at("b.apps.test", "/").await.refused(503, "no healthy endpoints for service b");
    for host in ["apps.test", "notapps.test", ".apps.test", "apps.test.evil"] {
        at(host, "/").await.refused(404, "not found");
    }
    assert_eq!(at("apps.test", "/v1/gateway/Api").await.text(), "x");
}

#[tokio::test]
async fn f33_a_name_belongs_to_the_service_that_was_first_and_an_id_to_its_own() {
    let [first, second, third] =
        [Origin::named("first").await, Origin::named("second").await, Origin::named("third").await];
    let services: [(&str, &str, &[_]); 3] = [
        ("svc_1", "api", &[first.addr]),
        ("svc_2", "api", &[second.addr]),
        // Named as another's id.
        ("svc_3", "svc_1", &[third.addr]),
    ];
    let gate = gate_with(quiet(), table(&services)).await;
    for (key, who) in
        [("api", "first"), ("svc_1", "first"), ("svc_2", "second"), ("svc_3", "third")]
    {
        assert_eq!(gate.get(&format!("/v1/gateway/{key}")).await.text(), who, "{key}");
    }
    // The owner keeps its name while it has no endpoint.
    let services: [(&str, &str, &[_]); 2] =
        [("svc_1", "api", &[]), ("svc_2", "api", &[second.addr])];
    gate.table.send(std::sync::Arc::new(table(&services))).unwrap();
    let gone = async {
        while gate.get("/v1/gateway/api").await.status != 503 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(super::rig::SOON, gone).await.unwrap();
    assert_eq!(gate.get("/v1/gateway/svc_2").await.text(), "second");
}

#[tokio::test]
async fn requests_go_by_one_host_only() {
    let gate = gate(&[nowhere().await]).await;
    let head = "GET /v1/gateway/api HTTP/1.1\r\nconnection: close\r\n";
    for hosts in ["", "host: a\r\nhost: b\r\n"] {
        let answer = gate.raw(&format!("{head}{hosts}\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
}
