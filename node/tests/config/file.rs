//! `skyclaw.toml`, and what the command line takes from it.

use std::path::Path;

use skyclaw_node::config::{
    ClientConfig, Config, DEFAULT_COORDINATOR_URL, EnvVars, Layer, Layers, Role, parse_file,
};

use super::{env, file, flags};

#[test]
fn unknown_keys_of_the_file_are_errors_that_name_the_line() {
    let parse = |text: &str| {
        parse_file(text, Path::new("dir/skyclaw.toml")).expect_err("refused").to_string()
    };
    assert_eq!(
        parse("# a comment\nlease_ms = 1\nleese_ms = 2\n"),
        "dir/skyclaw.toml:3: unknown setting `leese_ms`; did you mean `lease_ms`?"
    );
    assert!(parse("http-port = 1").ends_with("did you mean `coordinator_port`?"));
    assert!(parse("SKYCLAW_TOKEN = 'x'").ends_with("did you mean `token`?"));
    assert!(parse("config = 'x'").contains("unknown setting `config`"));
    assert!(parse("\n[coordinator]\nport = 1").starts_with("dir/skyclaw.toml:2: unknown setting"));
    assert!(parse("\n\nlease_ms = = 2").starts_with("dir/skyclaw.toml:3: "));
    assert_eq!(
        parse("lease_ms = '5'"),
        "SKYCLAW_LEASE_MS (dir/skyclaw.toml:1) is `\"5\"`, allowed is a whole number of ms from 10 to 8640000000"
    );
    assert!(parse("peer_discovery = 'off'").contains("allowed is true or false"));
    assert!(parse("capabilities = 5").contains("array of texts"));
    assert!(parse("lease_ms = 1.5").contains("`1.5`"));
}

#[test]
fn a_file_with_a_token_that_all_can_read_is_warned_about() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("skyclaw.toml");
    std::fs::write(&path, "token = 'geheim'\nrole = 'coordinator'").expect("written");
    for (mode, warned) in [(0o644, true), (0o600, false)] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("set");
        let layers = Layers::load(Layer::default(), &EnvVars::default(), &path).expect("read");
        let resolved = Config::resolve(&layers).expect("right");
        assert_eq!(resolved.config.roles, [Role::Coordinator]);
        assert_eq!(resolved.warnings.iter().any(|w| w.contains("chmod 600")), warned);
    }
}

#[test]
fn the_file_is_the_one_named_or_the_one_that_lies_there() {
    let dir = tempfile::tempdir().expect("a folder");
    let lying = dir.path().join("skyclaw.toml");
    let named = dir.path().join("other.toml");
    std::fs::write(&lying, "network = 'lying'").expect("written");
    std::fs::write(&named, "network = 'named'").expect("written");
    let network = |flags: Layer, env: &EnvVars, default: &Path| {
        let layers = Layers::load(flags, env, default)?;
        Config::resolve(&layers).map(|resolved| resolved.config.network)
    };
    let variable = EnvVars::new([("SKYCLAW_CONFIG", named.to_str().expect("text"))]);
    let none = EnvVars::default();
    assert_eq!(network(Layer::default(), &none, &lying).as_deref(), Ok("lying"));
    assert_eq!(network(Layer::default(), &variable, &lying).as_deref(), Ok("named"));
    let args = flags(&["--config", lying.to_str().expect("text")]);
    assert_eq!(network(args, &variable, &named).as_deref(), Ok("lying"));
    assert_eq!(network(Layer::default(), &none, Path::new("/no/such")).as_deref(), Ok("local"));
    let missing = flags(&["--config", "/no/such/file.toml"]);
    let error = network(missing, &none, &lying).expect_err("a named file must be there");
    assert!(error.to_string().starts_with("cannot read /no/such/file.toml: "), "{error}");
}

#[test]
fn the_command_line_finds_its_coordinators() {
    let urls = |vars: &[(&str, &str)]| {
        let layers = Layers::new(Layer::default(), env(vars), Layer::default());
        ClientConfig::resolve(&layers, false).expect("right").0.urls
    };
    assert_eq!(urls(&[]), [DEFAULT_COORDINATOR_URL]);
    assert_eq!(urls(&[("SKYCLAW_COORDINATOR_URLS", " ")]), [DEFAULT_COORDINATOR_URL]);
    assert_eq!(urls(&[("SKYCLAW_COORDINATOR_URLS", ",")]), Vec::<String>::new());
    assert_eq!(urls(&[("SKYCLAW_COORDINATOR_URL", "")]), Vec::<String>::new());
    assert_eq!(urls(&[("SKYCLAW_COORDINATOR_URL", "http://a")]), ["http://a"]);
}

#[test]
fn a_file_that_only_lies_there_does_not_get_the_token_of_the_environment() {
    let resolve = |vars: &[(&str, &str)], named: bool| {
        let layers =
            Layers::new(Layer::default(), env(vars), file("coordinator_url = 'http://elsewhere'"));
        ClientConfig::resolve(&layers, named).expect("right")
    };
    let token = ("SKYCLAW_TOKEN", "geheim");
    let (config, warnings) = resolve(&[token], false);
    assert_eq!(config.urls, [DEFAULT_COORDINATOR_URL]);
    assert_eq!(warnings.len(), 1);
    assert_eq!(resolve(&[token], true).0.urls, ["http://elsewhere"]);
    assert_eq!(resolve(&[], false).0.urls, ["http://elsewhere"]);
}
