//! The peers, each as its users would run it for this work, on loopback and in a folder of its own.

use std::ffi::OsString;
use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use skyclaw_tests::{Process, eventually, free_port};
use tempfile::TempDir;

use crate::machine;

/// How long a server may take to end before it is killed.
const GRACE: Duration = Duration::from_secs(5);

/// A peer that runs.
pub(crate) struct Server {
    process: Process,
    pub(crate) address: String,
    _folder: TempDir,
}

impl Server {
    /// Starts `program` with what `args` makes of a folder and a port; waits until it listens.
    fn start(program: &Path, args: impl FnOnce(&Path, u16) -> Vec<String>) -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let port = free_port();
        let args: Vec<OsString> = args(folder.path(), port).into_iter().map(Into::into).collect();
        let process = Process::start(program, &args, &[], folder.path(), folder.path());
        let address = format!("127.0.0.1:{port}");
        eventually("it listens", || {
            TcpStream::connect(&address).map(drop).map_err(|_| process.log_tail())
        });
        Self { process, address, _folder: folder }
    }

    /// It, and what it started.
    pub(crate) fn pids(&self) -> Vec<u32> {
        machine::family(self.process.pid())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Killed at once it would leave its workers behind.
        self.process.signal(Signal::TERM);
        let begun = Instant::now();
        while self.process.is_running() && begun.elapsed() < GRACE {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Where a peer is, if it is installed.
fn program(name: &str) -> Option<PathBuf> {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let folders =
        std::env::split_paths(&paths).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    folders.map(|folder| folder.join(name)).find(|path| path.is_file())
}

fn config(folder: &Path, text: &str) -> String {
    let path = folder.join("config");
    fs::write(&path, text).expect("the folder is writable");
    path.display().to_string()
}

/// beanstalkd with its log synced before each answer.
pub(crate) fn beanstalkd() -> Option<Server> {
    Some(Server::start(&program("beanstalkd")?, |folder, port| {
        let folder = folder.display().to_string();
        ["-l", "127.0.0.1", "-p", &port.to_string(), "-b", &folder, "-f", "0"]
            .map(Into::into)
            .into()
    }))
}

/// Redis with its log synced before answers; it gathers what waits, as Skyclaw does.
pub(crate) fn redis() -> Option<Server> {
    Some(Server::start(&program("redis-server")?, |folder, port| {
        let folder_name = folder.display();
        let text = format!(
            "bind 127.0.0.1\nport {port}\ndir {folder_name}\nappendonly yes\nappendfsync always\n\
             save \"\"\ndaemonize no\n"
        );
        vec![config(folder, &text)]
    }))
}

/// NATS with JetStream in files that are synced before answers. `SKYCLAW_BENCH_NATS` names another program.
pub(crate) fn nats() -> Option<Server> {
    let named = std::env::var_os("SKYCLAW_BENCH_NATS").map(PathBuf::from);
    let program = named.or_else(|| program("nats-server"))?;
    let said = Command::new(&program).arg("--version").output().ok()?.stdout;
    let said = String::from_utf8_lossy(&said).into_owned();
    let minor = said.rsplit_once("v2.").and_then(|(_, rest)| rest.split('.').next()?.parse().ok());
    if minor.is_none_or(|minor: u32| minor < 10) {
        eprintln!("   {} cannot sync before it answers", said.trim());
        return None;
    }
    Some(Server::start(&program, |folder, port| {
        let store = folder.join("store");
        let store = store.display();
        let text = format!(
            "host: \"127.0.0.1\"\nport: {port}\njetstream {{\n store_dir: \"{store}\"\n sync_interval: always\n}}\n"
        );
        vec!["-c".into(), config(folder, &text)]
    }))
}

fn nginx_config(folder: &Path, servers: &str) -> String {
    let name = folder.display();
    let places = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {name}/{kind};"))
        .concat();
    let cores = machine::cores();
    let text = format!(
        "daemon off; pid {name}/pid; error_log stderr crit; worker_processes {cores};\n\
         worker_rlimit_nofile 8192; events {{ worker_connections 4096; }}\n\
         http {{ access_log off; {places} keepalive_requests 1000000000; sendfile on; tcp_nopush on;\n\
         open_file_cache max=100; {servers} }}\n"
    );
    config(folder, &text)
}

/// The pages behind every gateway: `/small` of 100 bytes, `/large` of 64 KiB.
pub(crate) const PAGES: [(&str, usize); 2] = [("small", 100), ("large", 64 << 10)];

/// A site that serves [`PAGES`] as fast as anything can.
pub(crate) fn site() -> Option<Server> {
    Some(Server::start(&program("nginx")?, |folder, port| {
        for (name, bytes) in PAGES {
            fs::write(folder.join(name), vec![b'x'; bytes]).expect("the folder is writable");
        }
        // Gateways ask for it now and then.
        fs::write(folder.join("health"), "").expect("the folder is writable");
        let root = folder.display();
        let server = format!("server {{ listen 127.0.0.1:{port} reuseport; root {root}; }}");
        vec!["-c".into(), nginx_config(folder, &server), "-p".into(), root.to_string()]
    }))
}

/// nginx as the gateway to `site`.
pub(crate) fn nginx(site: &str) -> Option<Server> {
    Some(Server::start(&program("nginx")?, |folder, port| {
        let servers = format!(
            "upstream site {{ server {site}; keepalive 256; keepalive_requests 1000000000; }}\n\
             server {{ listen 127.0.0.1:{port} reuseport; location / {{ proxy_pass http://site; \
             proxy_http_version 1.1; proxy_set_header Connection \"\"; }} }}"
        );
        let root = folder.display().to_string();
        vec!["-c".into(), nginx_config(folder, &servers), "-p".into(), root]
    }))
}

/// HAProxy as the gateway to `site`.
pub(crate) fn haproxy(site: &str) -> Option<Server> {
    Some(Server::start(&program("haproxy")?, |folder, port| {
        let cores = machine::cores();
        let text = format!(
            "global\n maxconn 4096\n nbthread {cores}\ndefaults\n mode http\n timeout connect 5s\n \
             timeout client 60s\n timeout server 60s\nfrontend all\n bind 127.0.0.1:{port}\n \
             default_backend site\nbackend site\n http-reuse always\n server one {site} pool-max-conn 256\n"
        );
        vec!["-f".into(), config(folder, &text)]
    }))
}
