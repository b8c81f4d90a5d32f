//! Settings, as `skyclaw-node` and `skyclaw` resolve them. No test touches the real environment.

#[path = "config/file.rs"]
mod file;
#[path = "config/p2p.rs"]
mod p2p;
#[path = "config/report.rs"]
mod report;
#[path = "config/traces.rs"]
mod traces;

use std::path::Path;
use std::time::Duration;

use skyclaw_node::config::{
    Config, ConfigErrors, CoordinatorConfig, EnvVars, HostConfig, Key, Layer, Layers, Link,
    LogFormat, NodeArgs, NodeCommand, Resolved, Role, SETTINGS, Secrecy, Value, integer, list,
    parse_file,
};

fn env(vars: &[(&str, &str)]) -> Layer {
    EnvVars::new(vars.iter().copied()).layer()
}

fn file(text: &str) -> Layer {
    parse_file(text, Path::new("skyclaw.toml")).expect("the file is right")
}

fn flags(args: &[&str]) -> Layer {
    let args = ["skyclaw-node"].iter().chain(args).copied();
    NodeArgs::parse(args).expect("the flags are right").flags
}

fn resolve(flags: Layer, env: Layer, file: Layer) -> Result<Resolved, ConfigErrors> {
    Config::resolve(&Layers::new(flags, env, file))
}

#[track_caller]
fn from_env(vars: &[(&str, &str)]) -> Resolved {
    resolve(Layer::default(), env(vars), Layer::default()).expect("the settings are right")
}

#[track_caller]
fn error_of(vars: &[(&str, &str)]) -> String {
    let resolved = resolve(Layer::default(), env(vars), Layer::default());
    resolved.expect_err("these settings are refused").to_string()
}

fn coordinator(resolved: &Resolved) -> CoordinatorConfig {
    resolved.config.coordinator.clone().expect("a coordinator")
}

fn host(resolved: &Resolved) -> HostConfig {
    resolved.config.host.clone().expect("a host")
}

/// X4 X5.
#[test]
fn integers_follow_the_rule_of_the_original() {
    for (text, expected) in [
        ("", None),
        ("abc", None),
        ("-", None),
        (" 7", Some(7)),
        ("7", Some(7)),
        ("+7", Some(7)),
        ("-7", Some(-7)),
        ("- 7", None),
        ("1x", Some(1)),
        ("1e3", Some(1)),
        ("2.9", Some(2)),
        ("0x10", Some(0)),
        ("\t12 34", Some(12)),
        ("99999999999999999999", Some(i64::MAX)),
        ("-99999999999999999999", Some(i64::MIN)),
        ("１", None),
    ] {
        assert_eq!(integer(text), expected, "{text:?}");
    }
}

/// X4.
#[test]
fn a_number_that_is_unset_empty_or_no_number_is_the_default() {
    for vars in [&[][..], &[("SKYCLAW_LEASE_MS", "")], &[("SKYCLAW_LEASE_MS", "abc")]] {
        assert_eq!(coordinator(&from_env(vars)).lease, Duration::from_secs(60), "{vars:?}");
    }
    let odd = from_env(&[("SKYCLAW_LEASE_MS", "9e9")]);
    assert_eq!(coordinator(&odd).lease, Duration::from_millis(10));
    assert!(odd.warnings.iter().any(|w| w.contains("`9e9` is read as 9")), "{:?}", odd.warnings);
}

/// D43.
#[test]
fn lists_are_split_trimmed_and_lose_their_empties() {
    assert_eq!(list(" a , ,b,, c d "), ["a", "b", "c d"]);
    let resolved = from_env(&[("SKYCLAW_CAPABILITIES", "z, a ,z")]);
    assert_eq!(host(&resolved).capabilities, ["z", "a", "z"], "order is kept");
}

/// CONTRACT 11, with its defaults but for the minimum of copies, which is found out.
const CONTRACT: &[(&str, Option<&str>)] = &[
    ("SKYCLAW_TOKEN", None),
    ("SKYCLAW_COORDINATOR_URLS", None),
    ("SKYCLAW_COORDINATOR_URL", None),
    ("SKYCLAW_COORDINATOR_HOST", Some("0.0.0.0")),
    ("SKYCLAW_COORDINATOR_PORT", Some("8787")),
    ("SKYCLAW_COORDINATOR_NODE_ID", None),
    ("SKYCLAW_COORDINATOR_PUBLIC_URL", None),
    ("SKYCLAW_DB_PATH", Some(".skyclaw/coordinator.db")),
    ("SKYCLAW_LEASE_MS", Some("60000")),
    ("SKYCLAW_PEER_URLS", None),
    ("SKYCLAW_PEER_SYNC_MS", Some("3000")),
    ("SKYCLAW_PEER_DISCOVERY", Some("1")),
    ("SKYCLAW_MIN_REPLICATIONS", Some("auto")),
    ("SKYCLAW_IDEMPOTENCY_TTL_MS", Some("86400000")),
    ("SKYCLAW_PUBLIC_API_KEYS", None),
    ("SKYCLAW_PUBLIC_CORS_ORIGIN", Some("*")),
    ("SKYCLAW_HOST_ID", None),
    ("SKYCLAW_HOST_NAME", None),
    ("SKYCLAW_CAPABILITIES", Some("shell,openclaw,service-host")),
    ("SKYCLAW_ALLOWED_COMMANDS", Some("openclaw,node,bash,sh,npm,pnpm")),
    ("SKYCLAW_OPENCLAW_COMMAND", Some("openclaw")),
    ("SKYCLAW_MAX_PARALLEL", Some("1")),
    ("SKYCLAW_POLL_MS", Some("2000")),
    ("SKYCLAW_HEARTBEAT_MS", Some("5000")),
    ("SKYCLAW_TIMEOUT_MS", Some("300000")),
    ("SKYCLAW_MAX_OUTPUT_BYTES", Some("128000")),
    ("SKYCLAW_SERVICE_HOST_ENABLED", Some("1")),
    ("SKYCLAW_SERVICE_BASE_PORT", Some("3100")),
    ("SKYCLAW_SERVICE_HOST_PUBLIC_BASE_URL", None),
    ("SKYCLAW_GATEWAY_HOST", Some("0.0.0.0")),
    ("SKYCLAW_GATEWAY_PORT", Some("8790")),
    ("SKYCLAW_GATEWAY_REFRESH_MS", Some("3000")),
    ("SKYCLAW_GATEWAY_HEALTH_PROBE_MS", Some("5000")),
    ("SKYCLAW_GATEWAY_HEALTH_PATH", Some("/health")),
    ("SKYCLAW_GATEWAY_HEALTH_TIMEOUT_MS", Some("1500")),
    ("SKYCLAW_GATEWAY_RETRY_ATTEMPTS", Some("1")),
    ("SKYCLAW_GATEWAY_UNHEALTHY_COOLDOWN_MS", Some("10000")),
];

#[test]
fn every_variable_of_the_contract_has_a_row_with_its_default() {
    for (name, default) in CONTRACT {
        let setting = SETTINGS.iter().find(|setting| setting.env == *name);
        let setting = setting.unwrap_or_else(|| panic!("{name} has no row"));
        assert_eq!(setting.fallback.constant().as_deref(), *default, "{name}");
    }
}

#[test]
fn rows_keys_flags_and_defaults_fit_together() {
    let resolved = from_env(&[]);
    assert_eq!(resolved.report.rows().len(), SETTINGS.len());
    assert_eq!(resolved.warnings, Vec::<String>::new(), "defaults need no correction");
    let mut flags = std::collections::BTreeSet::new();
    for (at, setting) in SETTINGS.iter().enumerate() {
        assert_eq!(setting.key as usize, at, "{}", setting.env);
        assert_eq!(setting.key.setting().env, setting.env);
        assert!(setting.flag.is_none_or(|flag| flags.insert(flag)), "{} twice", setting.env);
        let hidden = matches!(setting.secrecy, Secrecy::Hidden | Secrecy::ApiKeys);
        assert!(!hidden || setting.flag.is_none(), "{} is a secret with a flag", setting.env);
        if let Some(text) = setting.fallback.constant() {
            let layer = env(&[(setting.env, &text)]);
            assert!(layer.get(setting.key).is_some(), "{}'s default is unreadable", setting.env);
        }
    }
}

/// W5 D43 L2.
#[test]
fn the_defaults_are_those_of_the_original() {
    let resolved = from_env(&[]);
    assert_eq!(resolved.config.roles, [Role::Coordinator, Role::Host]);
    assert_eq!(resolved.config.network, "local");
    assert_eq!(resolved.config.token, None);
    assert_eq!(resolved.config.log.filter, "info");
    assert_eq!(resolved.config.log.format, LogFormat::Text);
    let coordinator = coordinator(&resolved);
    assert_eq!(coordinator.listen_host, "0.0.0.0");
    assert_eq!(coordinator.listen_port, 8787);
    assert!(coordinator.node_id.starts_with("node_") && coordinator.node_id.len() == 41);
    assert_eq!(coordinator.db_path, Path::new(".skyclaw/coordinator.db"));
    assert_eq!(coordinator.db_min_free_bytes, 64 << 20);
    assert_eq!(coordinator.host_ttl, Duration::from_secs(15));
    assert_eq!(coordinator.job_ttl, Duration::from_secs(7 * 86_400));
    assert!(coordinator.peer_discovery);
    let host = host(&resolved);
    assert_eq!(host.link, Link::Embedded);
    assert_eq!(host.id, None);
    assert_eq!(host.name, format!("openclaw-node-{}", std::process::id()));
    assert_eq!(host.allowed_commands, ["openclaw", "node", "bash", "sh", "npm", "pnpm"]);
    assert_eq!(host.max_parallel, 1);
    assert_eq!(host.max_output_bytes, 128_000);
    assert_eq!(host.stop_grace, Duration::from_secs(10));
    assert!(host.services);
}

#[test]
fn empty_text_is_the_default_and_a_switch_is_off_for_zero_alone() {
    let resolved = from_env(&[
        ("SKYCLAW_DB_PATH", ""),
        ("SKYCLAW_TOKEN", ""),
        ("SKYCLAW_COORDINATOR_HOST", " "),
        ("SKYCLAW_PEER_DISCOVERY", "0"),
        ("SKYCLAW_SERVICE_HOST_ENABLED", "false"),
    ]);
    let coordinator = coordinator(&resolved);
    assert_eq!(coordinator.db_path, Path::new(".skyclaw/coordinator.db"));
    assert_eq!(coordinator.listen_host, "0.0.0.0");
    assert_eq!(resolved.config.token, None);
    assert!(!coordinator.peer_discovery);
    assert!(host(&resolved).services, "as in the original");
    assert!(resolved.warnings.iter().any(|w| w.contains("only 0 turns it off")));
}

#[test]
fn flags_go_before_environment_before_file_before_defaults() {
    type Show = fn(&Resolved) -> String;
    type Case = (
        &'static [&'static str],
        (&'static str, &'static str),
        &'static str,
        [&'static str; 4],
        Show,
    );
    let cases: &[Case] = &[
        (
            &["--http-port", "1"],
            ("SKYCLAW_COORDINATOR_PORT", "2"),
            "coordinator_port = 3",
            ["1", "2", "3", "8787"],
            |r| coordinator(r).listen_port.to_string(),
        ),
        (
            &["--lease-ms=100"],
            ("SKYCLAW_LEASE_MS", "200"),
            "lease_ms = 300",
            ["100", "200", "300", "60000"],
            |r| coordinator(r).lease.as_millis().to_string(),
        ),
        (
            &["--capabilities", "a", "--capabilities", "b,c"],
            ("SKYCLAW_CAPABILITIES", "d"),
            "capabilities = ['e', 'f']",
            ["a,b,c", "d", "e,f", "shell,openclaw,service-host"],
            |r| host(r).capabilities.join(","),
        ),
        (
            &["--db", "x"],
            ("SKYCLAW_DB_PATH", "y"),
            "db_path = 'z'",
            ["x", "y", "z", ".skyclaw/coordinator.db"],
            |r| coordinator(r).db_path.display().to_string(),
        ),
        (
            &["--peer-discovery", "0"],
            ("SKYCLAW_PEER_DISCOVERY", "1"),
            "peer_discovery = false",
            ["false", "true", "false", "true"],
            |r| coordinator(r).peer_discovery.to_string(),
        ),
        (
            &["--min-replications", "4"],
            ("SKYCLAW_MIN_REPLICATIONS", "3"),
            "min_replications = 5",
            ["4", "3", "5", "1"],
            |r| coordinator(r).min_replications.to_string(),
        ),
    ];
    for (flag, var, line, expected, show) in cases {
        for (strongest, expected) in expected.iter().enumerate() {
            let given = |from: usize, layer: Layer| {
                if strongest <= from { layer } else { Layer::default() }
            };
            let layers =
                Layers::new(given(0, flags(flag)), given(1, env(&[*var])), given(2, file(line)));
            let resolved = Config::resolve(&layers).expect("right");
            assert_eq!(show(&resolved), *expected, "{var:?} from layer {strongest}");
        }
    }
}

#[test]
fn a_number_that_is_none_leaves_the_word_to_the_next_source() {
    let layers =
        Layers::new(Layer::default(), env(&[("SKYCLAW_LEASE_MS", "soon")]), file("lease_ms = 300"));
    let resolved = Config::resolve(&layers).expect("right");
    assert_eq!(coordinator(&resolved).lease, Duration::from_millis(300));
    assert!(resolved.warnings.iter().any(|w| w.contains("`soon`")), "{:?}", resolved.warnings);
}

/// F39.
#[test]
fn intervals_out_of_sense_are_held_and_said() {
    let longest = Duration::from_millis(100 * 86_400_000);
    for (text, expected) in [
        ("0", Duration::from_millis(10)),
        ("-5", Duration::from_millis(10)),
        ("3000000000", Duration::from_millis(3_000_000_000)),
        ("99999999999999999999", longest),
    ] {
        for name in ["SKYCLAW_HEARTBEAT_MS", "SKYCLAW_POLL_MS", "SKYCLAW_PEER_SYNC_MS"] {
            let resolved = from_env(&[(name, text)]);
            let got = match name {
                "SKYCLAW_HEARTBEAT_MS" => host(&resolved).heartbeat,
                "SKYCLAW_POLL_MS" => host(&resolved).poll,
                _ => coordinator(&resolved).peer_sync,
            };
            assert_eq!(got, expected, "{name}={text}");
            let said = resolved.warnings.iter().any(|w| w.contains(name) && w.contains("is used"));
            assert_eq!(said, text != "3000000000", "{:?}", resolved.warnings);
        }
    }
    let resolved = from_env(&[
        ("SKYCLAW_MAX_PARALLEL", "0"),
        ("SKYCLAW_TIMEOUT_MS", "5"),
        ("SKYCLAW_MAX_OUTPUT_BYTES", "-1"),
        ("SKYCLAW_MIN_REPLICATIONS", "0"),
        ("SKYCLAW_STOP_GRACE_MS", "0"),
    ]);
    assert_eq!(host(&resolved).max_parallel, 1);
    assert_eq!(host(&resolved).timeout, Duration::from_secs(1));
    assert_eq!(host(&resolved).max_output_bytes, 0);
    assert_eq!(host(&resolved).stop_grace, Duration::ZERO);
    assert_eq!(coordinator(&resolved).min_replications, 1);
    assert_eq!(resolved.warnings.len(), 4, "{:?}", resolved.warnings);
}

#[test]
fn replication_is_two_with_a_peer_and_one_without_unless_said() {
    let with_peer = ("SKYCLAW_PEER_URLS", "http://b:8787");
    for (vars, expected, auto) in [
        (vec![], 1, true),
        (vec![with_peer], 2, true),
        (vec![with_peer, ("SKYCLAW_MIN_REPLICATIONS", "auto")], 2, true),
        (vec![with_peer, ("SKYCLAW_MIN_REPLICATIONS", "")], 2, true),
        (vec![with_peer, ("SKYCLAW_MIN_REPLICATIONS", "1")], 1, false),
        (vec![("SKYCLAW_MIN_REPLICATIONS", "2")], 2, false),
    ] {
        let coordinator = coordinator(&from_env(&vars));
        let got = (coordinator.min_replications, coordinator.min_replications_auto);
        assert_eq!(got, (expected, auto), "{vars:?}");
    }
}

#[test]
fn values_that_cannot_be_meant_name_setting_origin_and_what_is_allowed() {
    for (vars, parts) in [
        (("SKYCLAW_COORDINATOR_PORT", "70000"), ["(env)", "`70000`", "0 to 65535"]),
        (("SKYCLAW_COORDINATOR_PORT", "-1"), ["(env)", "`-1`", "0 to 65535"]),
        (("SKYCLAW_ROLE", "coordinator,boss"), ["(env)", "`boss`", "coordinator, host, gateway"]),
        (("SKYCLAW_ROLE", ","), ["(env)", "``", "coordinator, host, gateway"]),
        (("SKYCLAW_LOG_FORMAT", "xml"), ["(env)", "`xml`", "text, json"]),
    ] {
        let error = error_of(&[vars]);
        assert!(error.starts_with(vars.0), "{error}");
        for part in parts {
            assert!(error.contains(part), "{error} lacks {part}");
        }
    }
    let both = error_of(&[("SKYCLAW_COORDINATOR_PORT", "70000"), ("SKYCLAW_GATEWAY_PORT", "-2")]);
    assert_eq!(both.lines().count(), 2, "all is said at once: {both}");
    let layers = Layers::new(
        Layer::default(),
        Layer::default(),
        file("lease_ms = 5\n\ncoordinator_port = 65536"),
    );
    let error = Config::resolve(&layers).expect_err("no such port").to_string();
    assert!(error.contains("(skyclaw.toml:3) is `65536`"), "{error}");
}

#[test]
fn a_gateway_learns_of_services_from_its_process_from_urls_or_over_libp2p() {
    let gateway = |vars: &[(&str, &str)]| from_env(vars).config.gateway.expect("a gateway");
    let all = gateway(&[("SKYCLAW_ROLE", "coordinator,host,gateway")]);
    assert_eq!((all.link, all.listen_port), (Link::Embedded, 8790));
    let alone = gateway(&[("SKYCLAW_ROLE", "gateway")]);
    assert!(matches!(alone.link, Link::P2p(_)));
    let url = ("SKYCLAW_COORDINATOR_URL", "http://a");
    let legacy = gateway(&[("SKYCLAW_ROLE", "gateway"), url]);
    assert_eq!(legacy.link, Link::Http(vec!["http://a".to_owned()]));
    let error = error_of(&[("SKYCLAW_ROLE", "gateway"), ("SKYCLAW_COORDINATOR_URL", "")]);
    assert!(error.starts_with("at least one coordinator URL is required for gateway\n"), "{error}");
    let off = [("SKYCLAW_ROLE", "gateway"), ("SKYCLAW_P2P", "0")];
    assert!(error_of(&off).starts_with("a gateway without coordinator URLs"), "{}", error_of(&off));
}

#[test]
fn a_host_alone_talks_http_to_the_urls_it_was_given() {
    let role = ("SKYCLAW_ROLE", "host");
    let legacy =
        "at least one coordinator URL is required for host\nname one in SKYCLAW_COORDINATOR_URL,";
    let off = ("SKYCLAW_P2P", "0");
    assert!(error_of(&[role, off]).contains("set SKYCLAW_COORDINATOR_URLS"));
    assert!(error_of(&[role, ("SKYCLAW_COORDINATOR_URL", "")]).starts_with(legacy));
    assert!(error_of(&[role, ("SKYCLAW_COORDINATOR_URLS", " ")]).starts_with(legacy));
    assert!(error_of(&[role, ("SKYCLAW_COORDINATOR_URLS", ",")]).starts_with(legacy));

    let one = ("SKYCLAW_COORDINATOR_URL", "http://a:1/");
    for (vars, expected) in [
        (vec![role, one], vec!["http://a:1/"]),
        (
            vec![role, one, ("SKYCLAW_COORDINATOR_URLS", "http://b, http://c")],
            vec!["http://b", "http://c"],
        ),
        (vec![role, one, ("SKYCLAW_COORDINATOR_URLS", "")], vec!["http://a:1/"]),
    ] {
        let resolved = from_env(&vars);
        assert_eq!(resolved.config.coordinator, None);
        let expected = expected.into_iter().map(str::to_owned).collect();
        assert_eq!(host(&resolved).link, Link::Http(expected), "{vars:?}");
    }
    let both = from_env(&[one]);
    assert_eq!(host(&both).link, Link::Embedded, "a node with both roles serves itself");
}

#[test]
fn a_stronger_source_of_coordinators_goes_before_a_longer_list() {
    let listed = file("coordinator_urls = ['http://f1', 'http://f2']");
    let single = env(&[("SKYCLAW_COORDINATOR_URL", "http://e")]);
    let args = flags(&["--role", "host", "--coordinator-url", "http://x/"]);
    let resolved = resolve(args, single.clone(), listed.clone()).expect("right");
    assert_eq!(host(&resolved).link, Link::Http(vec!["http://x/".to_owned()]));
    let resolved = resolve(flags(&["--role", "host"]), single, listed).expect("right");
    assert_eq!(host(&resolved).link, Link::Http(vec!["http://e".to_owned()]));
}

#[test]
fn unknown_variables_are_listed_with_a_guess() {
    let warnings =
        from_env(&[("SKYCLAW_LEASE_SM", "5"), ("SKYCLAW_AARDVARK", "x"), ("PATH", "/bin")])
            .warnings;
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].starts_with("SKYCLAW_AARDVARK (env)"), "{warnings:?}");
    assert!(!warnings[0].contains("did you mean"), "{warnings:?}");
    assert!(warnings[1].contains("did you mean `SKYCLAW_LEASE_MS`?"), "{warnings:?}");
}

#[test]
fn a_token_with_blanks_around_it_is_warned_about() {
    let resolved = from_env(&[("SKYCLAW_TOKEN", "abc\n")]);
    assert!(resolved.warnings.iter().any(|w| w.contains("no client can match")));
    assert_eq!(resolved.config.token.map(|t| t.expose().to_owned()), Some("abc\n".to_owned()));
}

#[test]
fn the_daemon_knows_its_subcommands() {
    let command = |args: &[&str]| {
        NodeArgs::parse(["skyclaw-node"].iter().chain(args).copied()).map(|args| args.command)
    };
    let testnet = |nodes, mdns, once| NodeCommand::Testnet { nodes, mdns, once };
    assert_eq!(command(&[]).ok(), Some(NodeCommand::Run));
    assert_eq!(command(&["run"]).ok(), Some(NodeCommand::Run));
    assert_eq!(command(&["config", "--json"]).ok(), Some(NodeCommand::Config { json: true }));
    assert_eq!(command(&["testnet"]).ok(), Some(testnet(3, false, false)));
    let five = command(&["testnet", "--nodes", "5", "--once"]);
    assert_eq!(five.ok(), Some(testnet(5, false, true)));
    assert_eq!(command(&["testnet", "--mdns"]).ok(), Some(testnet(3, true, false)));
    let policy = |services, command: &[&str]| {
        let command = command.iter().map(|word| (*word).to_owned()).collect();
        Some(NodeCommand::Policy { services, command })
    };
    let asked = command(&["policy", "--policy", "f", "--", "sh", "-c", "--services"]);
    assert_eq!(asked.ok(), policy(false, &["sh", "-c", "--services"]));
    assert_eq!(command(&["policy", "--services"]).ok(), policy(true, &[]));
    assert!(command(&["policy", "sh"]).is_err(), "a command stands behind --");
    assert!(command(&["testnet", "--nodes", "1"]).is_err());
    assert!(command(&["--lease-ms", "1x"]).is_err(), "flags are strict");
    assert!(command(&["--token", "x"]).is_err(), "secrets have no flag");
    for args in [["--http-port", "9", "config"], ["config", "--http-port", "9"]] {
        let flags = flags(&args);
        let given = flags.get(Key::CoordinatorPort).map(|given| given.value.clone());
        assert_eq!(given, Some(Value::Int(9)), "{args:?}");
    }
    skyclaw_node::config::node_command().debug_assert();
}

#[test]
fn libp2p_is_on_unless_turned_off_and_its_addresses_are_checked() {
    let p2p = |pairs: &[(&str, &str)]| from_env(pairs).config.coordinator.unwrap().p2p;
    let plain = p2p(&[]).expect("on by default");
    assert!(plain.listen.is_empty() && plain.bootstrap.is_empty() && plain.mdns.is_none());
    assert_eq!(p2p(&[("SKYCLAW_P2P", "0")]), None);
    let bootstrap = "/ip4/1.2.3.4/tcp/1, /dns4/a.example/udp/2/quic-v1";
    let named = p2p(&[("SKYCLAW_BOOTSTRAP", bootstrap), ("SKYCLAW_MDNS", "0")]).unwrap();
    assert_eq!((named.bootstrap.len(), named.mdns), (2, Some(false)));
    for name in ["SKYCLAW_BOOTSTRAP", "SKYCLAW_P2P_LISTEN", "SKYCLAW_P2P_EXTERNAL_ADDR"] {
        let error = error_of(&[(name, "1.2.3.4:5")]);
        assert!(error.contains(name) && error.contains("/ip4/192.0.2.1/tcp/4787"), "{error}");
    }
}
