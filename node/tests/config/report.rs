//! `skyclaw-node config`, and that nothing shows secrets.

use std::path::Path;

use skyclaw_node::config::{EnvVars, SETTINGS, Secrecy, Secret, Setting, parse_file};

use super::{env, file, flags, from_env, resolve};

#[test]
fn errors_in_the_file_do_not_show_secrets() {
    for text in [
        "token = ['geheim']",
        "token = \"geheim",
        "token = geheim",
        "public_api_keys = { geheim = 1 }",
    ] {
        let error = parse_file(text, Path::new("f")).expect_err("refused").to_string();
        assert!(!error.contains("geheim"), "{error}");
    }
}

#[test]
fn secrets_are_masked_in_report_and_debug() {
    let resolved = from_env(&[
        ("SKYCLAW_TOKEN", "geheim1"),
        ("SKYCLAW_TOKEN_OLD", "geheim5"),
        ("SKYCLAW_PUBLIC_API_KEYS", "geheim2:acme:openclaw|shell:shell, geheim3"),
        ("SKYCLAW_PEER_URLS", "http://user:geheim4@b:1/x,http://c"),
    ]);
    let text = resolved.report.to_text();
    let json = resolved.report.to_json(&resolved.warnings).to_string();
    let debug = format!("{resolved:?} {:?}", env(&[("SKYCLAW_TOKEN", "geheim1")]));
    for shown in [&text, &json, &debug] {
        for secret in ["geheim1", "geheim2", "geheim3", "geheim5"] {
            assert!(!shown.contains(secret), "{secret} in {shown}");
        }
    }
    assert!(!text.contains("geheim4") && !json.contains("geheim4"));
    for shown in [&text, &json] {
        assert!(shown.contains("***:acme:openclaw|shell:shell,***"), "{shown}");
        assert!(shown.contains("http://***@b:1/x"), "{shown}");
    }
    assert_eq!(format!("{0:?} {0}", Secret::new("geheim")), "Secret(***) ***");
    let vars = EnvVars::new([("SKYCLAW_TOKEN", "geheim1")]);
    assert_eq!(format!("{vars:?}"), "{\"SKYCLAW_TOKEN\"}");
}

#[test]
fn the_report_names_the_origin_of_each_value() {
    let resolved = resolve(
        flags(&["--http-port", "1"]),
        env(&[("SKYCLAW_LEASE_MS", "100")]),
        file("\npoll_ms = 50"),
    )
    .expect("right");
    let json = resolved.report.to_json(&resolved.warnings);
    let row = |name: &str| {
        let rows = json["settings"].as_array().expect("rows");
        rows.iter().find(|row| row["name"] == name).cloned().expect("a row")
    };
    for (name, value, origin, place) in [
        ("SKYCLAW_COORDINATOR_PORT", 1, "flag", "flag"),
        ("SKYCLAW_LEASE_MS", 100, "env", "env"),
        ("SKYCLAW_POLL_MS", 50, "file", "skyclaw.toml:2"),
        ("SKYCLAW_HEARTBEAT_MS", 5000, "default", "default"),
    ] {
        let row = row(name);
        assert_eq!(
            (&row["value"], &row["origin"], &row["place"]),
            (&value.into(), &origin.into(), &place.into())
        );
    }
    assert!(row("SKYCLAW_TOKEN")["value"].is_null());
    assert_eq!(row("SKYCLAW_ROLE")["value"][1], "host");
    let text = resolved.report.to_text();
    assert_eq!(text.lines().count(), SETTINGS.len());
    assert!(text.contains("auto (1)"), "{text}");
    // Nobody knows it before the node runs.
    let rows = resolved.report.rows();
    let openclaw = rows.iter().find(|row| row.name == "SKYCLAW_OPENCLAW_MAX").expect("a row");
    assert_eq!(openclaw.shown, "auto");
}

#[test]
fn the_help_names_every_secret_that_has_no_flag() {
    let help = skyclaw_node::config::node_command().render_help().to_string();
    let hidden = |it: &&Setting| matches!(it.secrecy, Secrecy::Hidden | Secrecy::ApiKeys);
    for secret in SETTINGS.iter().filter(hidden) {
        assert_eq!(secret.flag, None, "{}", secret.env);
        assert!(help.contains(secret.env), "{} in {help}", secret.env);
    }
}
