//! TLS of the API and the gateway: certificates in files, replaced under way, and from an ACME server.

mod acme;
mod caller;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;
use skyclaw_tests::{PATIENCE, Process, Setup, Shell, binary, eventually};

use caller::{Caller, Trust};

/// A certificate for `localhost`, and its key, in files.
struct Pair {
    certificate: PathBuf,
    key: PathBuf,
}

impl Pair {
    fn new(folder: &Path) -> Self {
        let it = Self { certificate: folder.join("cert.pem"), key: folder.join("key.pem") };
        it.renew();
        it
    }

    /// Another certificate in the same files, as renewals put them in place.
    fn renew(&self) {
        let made =
            rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("it is made");
        for (path, text) in
            [(&self.key, made.key_pair.serialize_pem()), (&self.certificate, made.cert.pem())]
        {
            let fresh = path.with_extension("new");
            fs::write(&fresh, text).expect("the folder is writable");
            fs::rename(fresh, path).expect("the folder is writable");
        }
    }
}

/// Where `what` says it listens, with which scheme.
#[track_caller]
fn listens(process: &mut Process, what: &str) -> (String, SocketAddr) {
    let word = format!(" {what} ");
    let line = eventually("it listens", || {
        let stdout = process.stdout();
        assert!(process.is_running(), "it ended: {stdout}{}", process.log());
        let line = stdout.lines().find(|line| {
            line.replace("] ", "]  ").contains(&word) && line.contains(" listening on ")
        });
        line.map(str::to_owned).ok_or(stdout)
    });
    let (_, url) = line.rsplit_once(' ').expect("a url is last");
    let (scheme, rest) = url.split_once("://").expect("it is a url");
    (scheme.to_owned(), rest.parse().expect("it is an address"))
}

#[test]
fn api_and_gateway_speak_tls_and_a_certificate_is_replaced_without_dropping_anybody() {
    let folder = tempfile::tempdir().expect("a folder");
    let pair = Pair::new(folder.path());
    let setup = Setup::new("coordinator,host,gateway")
        .env("SKYCLAW_ALLOWED_COMMANDS", "sh")
        .env("SKYCLAW_TLS_CERT", pair.certificate.display())
        .env("SKYCLAW_TLS_KEY", pair.key.display());
    let mut node = setup.spawn(folder.path());
    let (scheme, api) = listens(&mut node, "coordinator");
    assert_eq!(scheme, "https");
    let (scheme, gateway) = listens(&mut node, "gateway");
    assert_eq!(scheme, "https");

    // The command line, which trusts what the system trusts.
    let shell = || Shell::at(&format!("https://localhost:{}", api.port()));
    let said = shell()
        .with("SSL_CERT_FILE", &pair.certificate)
        .ok(&["submit", "--wait", "--", "sh", "-c", "echo hi"]);
    assert!(said.contains("hi"), "{said}");
    let stranger = shell().run(&["jobs"]);
    assert_ne!(stranger.code, Some(0), "a certificate nobody vouches for was taken");

    // Its own programs know it by that certificate, whatever its name is and whoever vouches for it; and no other one.
    let backup = |file: &str, pair: &Pair| {
        Command::new(binary("skyclaw-node"))
            .args(["backup", folder.path().join(file).to_str().expect("text")])
            .current_dir(folder.path().join("cwd"))
            .env("SKYCLAW_COORDINATOR_HOST", "127.0.0.1")
            .env("SKYCLAW_COORDINATOR_PORT", api.port().to_string())
            .env("SKYCLAW_TLS_CERT", &pair.certificate)
            .env("SKYCLAW_TLS_KEY", &pair.key)
            .output()
            .expect("it starts")
    };
    let made = backup("copy", &pair);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let elsewhere = tempfile::tempdir().expect("a folder");
    let refused = backup("other", &Pair::new(elsewhere.path()));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("another certificate"), "{said}");

    let old = Trust::only(&pair.certificate);
    let mut open = Caller::connect(api, "localhost", &old).expect("it is trusted");
    assert_eq!(open.get("/healthz").0, 200);
    let mut through = Caller::connect(gateway, "localhost", &old).expect("it is trusted");
    assert_eq!(through.get("/v1/gateway/nothing/").0, 503);
    pair.renew();
    let new = Trust::only(&pair.certificate);
    for address in [api, gateway] {
        eventually("the new certificate is shown", || {
            Caller::connect(address, "localhost", &new).map(drop).map_err(|error| error.to_string())
        });
        assert!(Caller::connect(address, "localhost", &old).is_err(), "the old one is shown too");
    }
    assert_eq!(open.get("/healthz").0, 200);
    assert_eq!(through.get("/v1/gateway/nothing/").0, 503);

    // A slip in the files is said, and what was shown is shown on.
    fs::write(&pair.certificate, "no certificate").expect("the folder is writable");
    eventually("the slip is said", || {
        let log = node.log();
        if log.contains("the certificate before stays in use") { Ok(()) } else { Err(log) }
    });
    assert!(Caller::connect(api, "localhost", &new).is_ok());
    // A reload is no end, whether there is something to read or not.
    node.signal(rustix::process::Signal::HUP);
    eventually("a reload is heard", || {
        let log = node.log();
        if log.contains("asked to read again") { Ok(()) } else { Err(log) }
    });
    assert!(Caller::connect(api, "localhost", &new).is_ok());
    node.signal(rustix::process::Signal::TERM);
    assert_eq!(node.wait(PATIENCE).code, Some(0));
}

#[test]
fn services_hear_that_their_callers_came_by_tls() {
    let folder = tempfile::tempdir().expect("a folder");
    let pair = Pair::new(folder.path());
    let setup = Setup::new("coordinator,gateway")
        .env("SKYCLAW_TLS_CERT", pair.certificate.display())
        .env("SKYCLAW_TLS_KEY", pair.key.display())
        .env("SKYCLAW_TLS_LISTENERS", "gateway");
    let node = setup.start();
    let process = &node.process;
    let address: SocketAddr = eventually("the gateway listens", || {
        let stdout = process.stdout();
        let line = stdout.lines().find_map(|line| line.split_once("gateway listening on https://"));
        line.map(|(_, rest)| rest.trim().to_owned()).ok_or(stdout)
    })
    .parse()
    .expect("it is an address");
    let echo = caller::Echo::start();
    node.api.register("h1", &["service-host"], 1);
    let service = json!({ "serviceId": "echo", "name": "echo", "command": "node" });
    node.api.post("/v1/services", &service).ok();
    node.api.post("/v1/hosts/h1/services/claim", &json!({})).ok();
    let running = json!({ "hostId": "h1", "status": "running", "endpoint": echo.url() });
    node.api.post("/v1/services/echo/report", &running).ok();
    let trust = Trust::only(&pair.certificate);
    let mut caller = Caller::connect(address, "localhost", &trust).expect("it is trusted");
    let head = eventually("the service answers", || {
        let (status, body) = caller.get("/v1/gateway/echo/x");
        if status == 200 { Ok(body) } else { Err(format!("{status} {body}")) }
    });
    assert!(head.to_lowercase().contains("x-forwarded-proto: https"), "{head}");
}

#[test]
fn half_a_certificate_and_two_sources_end_the_start_with_what_to_set() {
    let folder = tempfile::tempdir().expect("a folder");
    let pair = Pair::new(folder.path());
    let coordinator = Setup::coordinator;
    for (setup, word) in [
        (coordinator().env("SKYCLAW_TLS_CERT", pair.certificate.display()), "set SKYCLAW_TLS_KEY"),
        (coordinator().env("SKYCLAW_TLS_KEY", pair.key.display()), "set SKYCLAW_TLS_CERT"),
        (
            coordinator()
                .env("SKYCLAW_TLS_CERT", pair.certificate.display())
                .env("SKYCLAW_TLS_KEY", pair.key.display())
                .env("SKYCLAW_ACME_DOMAINS", "example.org"),
            "exclude each other",
        ),
        (
            coordinator()
                .env("SKYCLAW_TLS_CERT", pair.key.display())
                .env("SKYCLAW_TLS_KEY", pair.key.display()),
            "holds no certificate",
        ),
        (
            coordinator()
                .env("SKYCLAW_TLS_CERT", pair.certificate.display())
                .env("SKYCLAW_TLS_KEY", folder.path().join("missing").display()),
            "SKYCLAW_TLS_KEY: cannot read",
        ),
    ] {
        let place = tempfile::tempdir().expect("a folder");
        let ended = setup.run(place.path());
        assert_eq!(ended.code, Some(1), "{}", ended.stderr);
        assert!(ended.stderr.contains(word), "no `{word}` in {}", ended.stderr);
    }
}
