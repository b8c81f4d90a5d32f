//! The shared token.

use crate::tests::rig::{Rig, rig, rig_with};
use crate::{ApiConfig, PublicKey, Secret};

fn guarded() -> Rig {
    rig_with(ApiConfig {
        token: Secret::new("S3cret"),
        public_keys: PublicKey::parse_list("k1"),
        ..ApiConfig::default()
    })
}

#[tokio::test]
async fn a1_private_routes_need_the_exact_token_health_included() {
    let rig = guarded();
    for path in ["/health", "/v1/state", "/v1/jobs", "/v1/network/peers"] {
        rig.get(path).await.refused(401, "unauthorized");
        assert_eq!(rig.call("GET", path, &[("x-skyclaw-token", "S3cret")], "").await.status, 200);
        for wrong in ["s3cret", "S3cret2", "", "S3cre"] {
            rig.call("GET", path, &[("x-skyclaw-token", wrong)], "")
                .await
                .refused(401, "unauthorized");
        }
    }
    assert_eq!(rig.metrics.refusals("unauthorized"), 20);
}

#[tokio::test]
async fn a3_the_token_is_checked_before_route_and_body() {
    let rig = guarded();
    rig.get("/nowhere").await.refused(401, "unauthorized");
    rig.post("/v1/jobs", "{broken").await.refused(401, "unauthorized");
    rig.get("/v1/hosts/%zz/claim").await.refused(401, "unauthorized");
    rig.get("/v1/public/jobsX").await.refused(401, "unauthorized"); // P18
    assert_eq!(rig.fake.asked(), 0);
}

#[tokio::test]
async fn a5_bearer_tokens_and_api_keys_open_no_private_route() {
    let rig = guarded();
    for header in [("authorization", "Bearer S3cret"), ("x-api-key", "k1")] {
        rig.call("GET", "/v1/state", &[header], "").await.refused(401, "unauthorized");
    }
    let twice = [("x-skyclaw-token", "S3cret"), ("x-skyclaw-token", "S3cret")];
    rig.call("GET", "/v1/state", &twice, "").await.refused(401, "unauthorized");
}

#[tokio::test]
async fn a4_without_a_token_nothing_is_checked() {
    assert_eq!(Secret::new(""), None);
    assert_eq!(rig().get("/v1/state").await.status, 200);
}

#[tokio::test]
async fn a_token_beyond_ascii_is_known_in_both_encodings() {
    let rig = rig_with(ApiConfig { token: Secret::new("clé"), ..ApiConfig::default() });
    for bytes in ["clé".as_bytes(), b"cl\xe9"] {
        let request = axum::http::Request::get("/health").header("x-skyclaw-token", bytes);
        assert_eq!(rig.send(request.body("".into()).unwrap()).await.status, 200);
    }
}

#[tokio::test]
async fn open_routes_need_no_token() {
    let rig = guarded();
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(rig.get(path).await.status, 200, "{path}");
    }
    rig.post("/healthz", "").await.refused(404, "not found");
}

#[test]
fn f43_secrets_never_show_in_debug_output() {
    let config = ApiConfig {
        token: Secret::new("tok-3n"),
        public_keys: PublicKey::parse_list("pub-k3y:label"),
        ..ApiConfig::default()
    };
    let text = format!("{config:?}");
    assert!(!text.contains("tok-3n") && !text.contains("pub-k3y") && text.contains("label"));
}
