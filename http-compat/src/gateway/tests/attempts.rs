//! Turns, retries, ejection, checks.

use std::sync::Arc;
use std::time::Duration;

use super::rig::{Origin, SOON, gate, gate_with, nowhere, quiet, table, text};
use crate::gateway::GatewayConfig;

#[tokio::test]
async fn g13_g29_endpoints_take_turns() {
    let (a, b, c) = (Origin::named("a").await, Origin::named("b").await, Origin::named("c").await);
    let gate = gate(&[a.addr, b.addr, c.addr]).await;
    let mut all = Vec::new();
    for _ in 0..9 {
        all.push(gate.get("/v1/gateway/api").await.text().to_owned());
    }
    assert_eq!(all[..3], all[3..6], "{all:?}");
    assert_eq!(all[..3], all[6..], "{all:?}");
    assert_eq!([a.count(), b.count(), c.count()], [3, 3, 3]);
}

#[tokio::test]
async fn g14_a_get_that_fails_is_tried_at_another_endpoint() {
    let (bad, good) = (Origin::status(500).await, Origin::named("good").await);
    for endpoints in [[bad.addr, good.addr], [nowhere().await, good.addr]] {
        for method in ["GET", "HEAD", "OPTIONS"] {
            let gate = gate(&endpoints).await;
            for _ in 0..2 {
                let reply = gate.call(method, "/v1/gateway/api", &[], "").await;
                assert_eq!(reply.status, 200, "{method} {endpoints:?} {reply:?}");
            }
            let route = gate.get("/v1/gateway/api").await.header("x-skyclaw-route").to_owned();
            assert!(
                route.contains("attempts=1; path=tcp"),
                "the failed one is passed over: {route}"
            );
        }
    }
}

#[tokio::test]
async fn g15_other_methods_have_one_attempt() {
    let (one, two) = (Origin::status(500).await, Origin::status(503).await);
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        let gate = gate(&[one.addr, two.addr]).await;
        let before = one.count() + two.count();
        let reply = gate.call(method, "/v1/gateway/api", &[], "body").await;
        assert!(reply.status == 500 || reply.status == 503, "{method} {reply:?}");
        assert_eq!(one.count() + two.count(), before + 1, "{method}");
    }
    let gate = gate(&[nowhere().await, nowhere().await]).await;
    let reply = gate.call("POST", "/v1/gateway/api", &[], "body").await;
    assert_eq!((reply.status, reply.header("x-skyclaw-route")), (502, "attempts=1"));
}

#[tokio::test]
async fn g16_attempts_go_to_different_endpoints_and_are_counted() {
    let all = [Origin::status(500).await, Origin::status(500).await, Origin::status(500).await];
    let config = GatewayConfig { retry_attempts: 9, ..quiet() };
    let table = table(&[("svc_api", "api", &[all[0].addr, all[1].addr, all[2].addr])]);
    let gate = gate_with(config, table).await;
    let reply = gate.get("/v1/gateway/api").await;
    assert_eq!((reply.status, reply.text()), (500, "failed"));
    assert!(reply.header("x-skyclaw-route").contains("attempts=3"), "{reply:?}");
    assert_eq!(all.each_ref().map(Origin::count), [1, 1, 1]);
}

#[tokio::test]
async fn g17_without_retries_there_is_one_attempt() {
    let (a, b) = (Origin::status(500).await, Origin::status(500).await);
    let config = GatewayConfig { retry_attempts: 0, ..quiet() };
    let gate = gate_with(config, table(&[("svc_api", "api", &[a.addr, b.addr])])).await;
    assert_eq!(gate.get("/v1/gateway/api").await.status, 500);
    assert_eq!(a.count() + b.count(), 1);
}

#[tokio::test]
async fn g18_an_earlier_5xx_is_better_than_no_answer() {
    let bad = Origin::status(503).await;
    // Whichever comes first.
    for _ in 0..2 {
        let gate = gate(&[bad.addr, nowhere().await]).await;
        for _ in 0..2 {
            let reply = gate.get("/v1/gateway/api").await;
            assert_eq!((reply.status, reply.text()), (503, "failed"));
        }
    }
}

#[tokio::test]
async fn g19_g20_without_any_answer_it_is_502_and_says_who_failed_and_how() {
    let gate = gate(&[nowhere().await, nowhere().await]).await;
    let reply = gate.get("/v1/gateway/api").await;
    assert_eq!(reply.status, 502);
    let said = reply.json()["error"].as_str().unwrap().to_owned();
    assert!(said.starts_with("fetch failed: "), "{said}");
    for part in ["h1: connection refused", "h2: connection refused", "skyclaw service api"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(!said.contains("127.0.0.1"), "addresses are nobody's business: {said}");
    assert_eq!(reply.header("x-skyclaw-route"), "attempts=2");
    // Both are ejected, so both are candidates.
    assert_eq!(gate.get("/v1/gateway/api").await.header("x-skyclaw-route"), "attempts=2");
    assert_eq!(gate.metrics.failures("connect"), 4);
}

#[tokio::test]
async fn g21_an_answer_below_500_clears_an_endpoint() {
    let flaky = Origin::new(|seen| {
        let mut response = text("x");
        if seen.uri.path() == "/fail" {
            *response.status_mut() = hyper::StatusCode::INTERNAL_SERVER_ERROR;
        } else {
            *response.status_mut() = hyper::StatusCode::NOT_FOUND;
        }
        response
    })
    .await;
    let good = Origin::named("good").await;
    let gate = gate_with(
        GatewayConfig { cooldown: Duration::from_millis(300), ..quiet() },
        table(&[("svc_api", "api", &[flaky.addr, good.addr])]),
    )
    .await;
    while flaky.count() == 0 {
        gate.get("/v1/gateway/api/fail").await;
    }
    // Passed over while the cooldown lasts, tried once after it, and then used as before.
    gate.get("/v1/gateway/api/fine").await;
    assert_eq!(flaky.count(), 1);
    let back = async {
        while flaky.count() < 4 {
            gate.get("/v1/gateway/api/fine").await;
        }
    };
    tokio::time::timeout(SOON, back).await.unwrap();
}

#[tokio::test]
async fn a_trial_after_the_cooldown_is_one_request_only() {
    let (bad, good) = (Origin::status(500).await, Origin::named("good").await);
    let cooldown = Duration::from_millis(200);
    let config = GatewayConfig { cooldown, retry_attempts: 1, ..quiet() };
    let gate = gate_with(config, table(&[("svc_api", "api", &[bad.addr, good.addr])])).await;
    let began = std::time::Instant::now();
    while began.elapsed() < 5 * cooldown {
        assert_eq!(gate.get("/v1/gateway/api").await.text(), "good");
    }
    // One at the beginning, then one each cooldown.
    assert!((2..=6).contains(&bad.count()), "{}", bad.count());
    assert!(good.count() > 6, "{}", good.count());
}

#[tokio::test]
async fn g23_checks_eject_what_fails_them_and_bring_back_what_passes() {
    let ill = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let state = Arc::clone(&ill);
    let a = Origin::new(move |seen| {
        let mut response = text("a");
        if seen.uri.path() == "/up" && state.load(std::sync::atomic::Ordering::SeqCst) {
            *response.status_mut() = hyper::StatusCode::SERVICE_UNAVAILABLE;
        }
        response
    })
    .await;
    let b = Origin::named("b").await;
    let config = GatewayConfig {
        probe_every: Duration::from_millis(50),
        probe_path: "up".to_owned(),
        cooldown: Duration::from_secs(600),
        ..GatewayConfig::default()
    };
    let gate = gate_with(config, table(&[("svc_api", "api", &[a.addr, b.addr])])).await;
    let answers = async |want: &[&str]| {
        let mut got = std::collections::BTreeSet::new();
        for _ in 0..4 {
            got.insert(gate.get("/v1/gateway/api").await.text().to_owned());
        }
        got.iter().map(String::as_str).eq(want.iter().copied())
    };
    let until = async |want: &[&str]| {
        while !answers(want).await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(SOON, until(&["b"])).await.expect("a should be passed over");
    ill.store(false, std::sync::atomic::Ordering::SeqCst);
    tokio::time::timeout(SOON, until(&["a", "b"])).await.expect("a should be back");
    assert!(gate.metrics.failures("probe_status") > 0);
}

#[tokio::test]
async fn a_service_without_the_path_of_checks_is_not_held_to_be_ill() {
    let a = Origin::new(|seen| {
        let mut response = text("a");
        if seen.uri.path() == "/health" {
            *response.status_mut() = hyper::StatusCode::NOT_FOUND;
        }
        response
    })
    .await;
    let b = Origin::named("b").await;
    let config =
        GatewayConfig { probe_every: Duration::from_millis(50), ..GatewayConfig::default() };
    let gate = gate_with(config, table(&[("svc_api", "api", &[a.addr, b.addr])])).await;
    let checked = async {
        while a.count() < 3 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(SOON, checked).await.unwrap();
    let mut texts: Vec<String> = Vec::new();
    for _ in 0..4 {
        texts.push(gate.get("/v1/gateway/api").await.text().to_owned());
    }
    texts.sort();
    assert_eq!(texts, ["a", "a", "b", "b"]);
}

#[tokio::test]
async fn health_is_kept_over_changes_of_the_table_and_forgotten_with_the_endpoint() {
    let (bad, good) = (Origin::status(500).await, Origin::named("good").await);
    let endpoints = [bad.addr, good.addr];
    let gate = gate(&endpoints).await;
    while bad.count() == 0 {
        gate.get("/v1/gateway/api").await;
    }
    let change = async |services: &[(&str, &str, &[_])], marker: &str| {
        gate.table.send(Arc::new(table(services))).unwrap();
        let seen = async {
            while !gate.get("/health").await.text().contains(marker) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(SOON, seen).await.unwrap();
    };
    change(&[("svc_api", "api", &endpoints), ("svc_1", "m1", &endpoints)], "m1").await;
    for _ in 0..4 {
        gate.get("/v1/gateway/api").await;
    }
    assert_eq!(bad.count(), 1, "still passed over");
    change(&[("svc_api", "api", &[good.addr]), ("svc_2", "m2", &endpoints)], "m2").await;
    change(&[("svc_api", "api", &endpoints), ("svc_3", "m3", &endpoints)], "m3").await;
    for _ in 0..2 {
        gate.get("/v1/gateway/api").await;
    }
    assert_eq!(bad.count(), 2, "forgotten, so asked again");
}

#[tokio::test]
async fn retries_have_a_budget() {
    let (a, b) = (Origin::status(500).await, Origin::status(500).await);
    let gate = gate(&[a.addr, b.addr]).await;
    let began = std::time::Instant::now();
    let requests = 200;
    for _ in 0..requests {
        assert_eq!(gate.get("/v1/gateway/api").await.status, 500);
    }
    let retries = a.count() + b.count() - requests;
    let seconds = began.elapsed().as_secs_f64();
    // Ten to begin with, ten a second, a fifth of the requests.
    let most = 10.0 + 10.0 * seconds + 0.2 * requests as f64 + 1.0;
    assert!(retries >= 10 && (retries as f64) <= most, "{retries} in {seconds} s");
}

#[tokio::test]
async fn no_get_fails_when_an_endpoint_dies_and_tables_change() {
    let (a, b, c) = (Origin::named("x").await, Origin::named("x").await, Origin::named("x").await);
    let endpoints = [a.addr, b.addr, c.addr];
    let gate = Arc::new(gate(&endpoints).await);
    let enough = tokio_util::sync::CancellationToken::new();
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let (gate, enough) = (Arc::clone(&gate), enough.clone());
            tokio::spawn(async move {
                let mut asked = 0;
                while !enough.is_cancelled() {
                    let reply = gate.get("/v1/gateway/api").await;
                    assert_eq!((reply.status, reply.text()), (200, "x"), "after {asked}");
                    asked += 1;
                }
                asked
            })
        })
        .collect();
    let busy = async |origins: &[&Origin]| {
        let before: usize = origins.iter().map(|it| it.count()).sum();
        let more = async {
            while origins.iter().map(|it| it.count()).sum::<usize>() < before + 200 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(SOON, more).await.unwrap();
    };
    busy(&[&a, &b, &c]).await;
    // Gone with its listener and all its connections.
    drop(a);
    busy(&[&b, &c]).await;
    for endpoints in [&endpoints[1..], &endpoints[2..], &endpoints[1..]] {
        gate.table.send(Arc::new(table(&[("svc_api", "api", endpoints)]))).unwrap();
        busy(&[&c]).await;
    }
    enough.cancel();
    let mut asked = 0;
    for caller in callers {
        asked += tokio::time::timeout(SOON, caller).await.unwrap().expect("no GET should fail");
    }
    assert!(asked > 200, "{asked}");
}
