//! A certificate ordered from pebble, Let's Encrypt's server for tests, which asks the node whether the
//! name is its own, as the real one does.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde_json::json;
use skyclaw_tests::{Need, Process, Setup, can, eventually, free_port, within};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::caller::{Caller, Trust};

/// Seconds a certificate of the test's authority is good for: it is renewed after two thirds.
const LIFE: u64 = 15;

/// Longest wait for a certificate.
const ISSUED: Duration = Duration::from_secs(60);

fn program(name: &str) -> std::path::PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join(name)).find(|path| path.is_file());
    found.expect("the test looked for it before")
}

/// The authority with a name server by which every name is this machine.
struct Authority {
    directory: String,
    roots: std::path::PathBuf,
    _pebble: Process,
    _names: Process,
}

impl Authority {
    /// It will ask at `port`.
    fn start(folder: &Path, port: u16) -> Self {
        let pair = super::Pair::new(folder);
        let (listens, manages, names, names_manages) =
            (free_port(), free_port(), free_port(), free_port());
        let config = folder.join("pebble.json");
        let text = json!({ "pebble": {
            "listenAddress": format!("127.0.0.1:{listens}"),
            "managementListenAddress": format!("127.0.0.1:{manages}"),
            "certificate": pair.certificate, "privateKey": pair.key,
            "httpPort": 1, "tlsPort": port, "ocspResponderURL": "",
            "externalAccountBindingRequired": false, "certificateValidityPeriod": LIFE,
        }});
        fs::write(&config, text.to_string()).expect("the folder is writable");
        let start = |name: &str, args: &[String]| {
            let logs = folder.join(name);
            fs::create_dir(&logs).expect("the folder is writable");
            // Not to wait as a real one has to; nor to refuse one nonce in twenty, after which an
            // order is begun anew.
            let env = ["PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=0"];
            let env = env.map(|it| it.split_once('=').expect("it is a pair"));
            let env = env.map(|(name, value)| (name.to_owned(), value.into()));
            Process::start(&program(name), args, &env, folder, &logs)
        };
        let off = |flag: &str| format!("-{flag}=");
        let names_process = start(
            "pebble-challtestsrv",
            &[
                format!("-dns01=127.0.0.1:{names}"),
                format!("-management=127.0.0.1:{names_manages}"),
                "-defaultIPv4=127.0.0.1".into(),
                off("defaultIPv6"),
                off("http01"),
                off("https01"),
                off("tlsalpn01"),
            ],
        );
        let pebble = start(
            "pebble",
            &[format!("-config={}", config.display()), format!("-dnsserver=127.0.0.1:{names}")],
        );
        let address = SocketAddr::from(([127, 0, 0, 1], listens));
        eventually("pebble listens", || {
            std::net::TcpStream::connect(address).map(drop).map_err(|error| error.to_string())
        });
        Self {
            directory: format!("https://localhost:{listens}/dir"),
            roots: pair.certificate,
            _pebble: pebble,
            _names: names_process,
        }
    }
}

/// Who signed what is shown for `name`, and its bytes.
fn shown(address: SocketAddr, name: &str) -> Result<(String, Vec<u8>), String> {
    let caller = Caller::connect(address, name, &Trust::anything());
    let der = caller.map_err(|error| error.to_string())?.shown();
    let (_, certificate) = X509Certificate::from_der(&der).map_err(|error| error.to_string())?;
    let names = certificate.subject_alternative_name().ok().flatten();
    let names = names.map(|it| format!("{:?}", it.value.general_names)).unwrap_or_default();
    assert!(names.contains(name), "it is for {names}");
    Ok((certificate.issuer().to_string(), der))
}

/// The order, its renewal under open connections, and what was kept, after a restart without the
/// authority.
#[test]
fn a_gateway_orders_its_certificate_renews_it_in_time_and_keeps_it() {
    if !can(&[Need::Tool("pebble"), Need::Tool("pebble-challtestsrv")]) {
        return;
    }
    let port = free_port();
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::start(folder.path(), port);
    let mut node = Setup::new("coordinator,gateway")
        .env("SKYCLAW_GATEWAY_PORT", port)
        .env("SKYCLAW_TLS_LISTENERS", "gateway")
        .env("SKYCLAW_ACME_DOMAINS", "node.test,api.node.test")
        .env("SKYCLAW_ACME_CONTACT", "owner@node.test")
        .env("SKYCLAW_ACME_DIRECTORY", &authority.directory)
        .env("SKYCLAW_ACME_CA_FILE", authority.roots.display())
        .start();
    let gateway = SocketAddr::from(([127, 0, 0, 1], port));
    let (issuer, first) = within(ISSUED, "a certificate is issued", || {
        shown(gateway, "node.test").map_err(|error| format!("{error}: {}", node.process.log()))
    });
    assert!(issuer.contains("Pebble"), "{issuer}");
    assert_eq!(shown(gateway, "api.node.test").map(|(_, der)| der), Ok(first.clone()));

    let mut open = Caller::connect(gateway, "node.test", &Trust::anything()).expect("it is open");
    assert_eq!(open.get("/v1/gateway/nothing/").0, 503);
    let renewed = within(ISSUED, "it is renewed", || {
        // The connection is used all the while: it may not be idle for half a minute.
        assert_eq!(open.get("/v1/gateway/nothing/").0, 503);
        match shown(gateway, "node.test")? {
            (_, der) if der == first => Err("the first one is shown".to_owned()),
            (_, der) => Ok(der),
        }
    });
    assert_eq!(open.get("/v1/gateway/nothing/").0, 503);
    let log = node.process.log();
    assert!(!log.contains("PRIVATE KEY"), "{log}");

    // Nobody is there to order from: what was kept is shown, the last one or one ordered since.
    drop(authority);
    node.stop();
    node.start_again();
    let (_, kept) = within(ISSUED, "the kept one is shown", || shown(gateway, "node.test"));
    assert_ne!(kept, first);
    assert!(!renewed.is_empty());
}
