//! Machines on a network of their own: network namespaces on a bridge, made and removed here.
//!
//! Always: nobody but the test reaches them. One test at a time has a LAN, since some of them
//! measure how soon a node notices something.

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::panic::resume_unwind;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::Value;
use skyclaw_tests::{Api, Need, Process, Setup, binary, can, within};
use tempfile::TempDir;

/// The token of all nodes that are not told another one.
pub(crate) const TOKEN: &str = "secret";

/// Longest wait for nodes that look for each other: mDNS asks every 30 s, and the first
/// questions may be lost.
pub(crate) const FOUND: Duration = Duration::from_secs(65);

/// A port of its own in each machine.
const API: &str = "127.0.0.1:8787";

/// A bridge with machines 1, 2, ... on it: 10.77.0.1, 10.77.0.2, ...
pub(crate) struct Lan {
    prefix: String,
    machines: usize,
    _turn: MutexGuard<'static, ()>,
}

impl Lan {
    /// None where this cannot be had.
    #[track_caller]
    pub(crate) fn make(machines: usize) -> Option<Self> {
        static TURN: Mutex<()> = Mutex::new(());
        static COUNT: AtomicU32 = AtomicU32::new(0);
        if !can(&[Need::Root, Need::Tool("ip")]) {
            return None;
        }
        // A test that failed harms no other.
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("skytest-{}-{count}", std::process::id());
        let lan = Self { prefix, machines, _turn: turn };
        let switch = lan.switch();
        ip(&["netns", "add", &switch]);
        ip(&["-n", &switch, "link", "add", "br0", "type", "bridge"]);
        ip(&["-n", &switch, "link", "set", "br0", "up"]);
        for at in 1..=machines {
            let (host, port) = (lan.machine(at), port(at));
            let address = format!("10.77.0.{at}/24");
            ip(&["netns", "add", &host]);
            ip(&["-n", &host, "link", "set", "lo", "up"]);
            let pair =
                ["link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", &host];
            ip(&[&["-n", &switch], &pair[..]].concat());
            ip(&["-n", &switch, "link", "set", &port, "master", "br0", "up"]);
            ip(&["-n", &host, "addr", "add", &address, "dev", "eth0"]);
            ip(&["-n", &host, "link", "set", "eth0", "up"]);
            ip(&["-n", &host, "route", "add", "224.0.0.0/4", "dev", "eth0"]);
        }
        Some(lan)
    }

    fn switch(&self) -> String {
        format!("{}-sw", self.prefix)
    }

    fn machine(&self, at: usize) -> String {
        format!("{}-{at}", self.prefix)
    }

    /// What starts a program on a machine.
    pub(crate) fn on(&self, at: usize) -> [String; 4] {
        ["ip", "netns", "exec", &self.machine(at)].map(str::to_owned)
    }

    /// Pulls the cable of a machine out of the switch.
    pub(crate) fn cut(&self, at: usize) {
        ip(&["-n", &self.switch(), "link", "set", &port(at), "down"]);
    }

    /// Puts it in again.
    pub(crate) fn mend(&self, at: usize) {
        ip(&["-n", &self.switch(), "link", "set", &port(at), "up"]);
    }

    /// Starts a node on a machine and does not wait.
    #[track_caller]
    pub(crate) fn start(&self, at: usize, setup: Setup) -> Machine {
        self.start_with(at, setup, TOKEN)
    }

    /// The same with another token.
    #[track_caller]
    pub(crate) fn start_with(&self, at: usize, setup: Setup, token: &str) -> Machine {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let parent = std::process::id().to_string();
        let process = setup
            .env("SKYCLAW_TOKEN", token)
            .under(&self.on(at).each_ref().map(String::as_str))
            .args(&["--stop-with-parent", &parent])
            .spawn(folder.path());
        let address: SocketAddr = API.parse().expect("an address");
        let api = Api::new(address, Some(token.to_owned()));
        Machine { process, api, namespace: self.machine(at), token: token.to_owned(), folder }
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        let machines = (1..=self.machines).map(|at| self.machine(at));
        for name in machines.chain([self.switch()]) {
            // What was not made need not go.
            let _ = Command::new("ip").args(["netns", "del", &name]).status();
        }
    }
}

fn port(at: usize) -> String {
    format!("p{at}")
}

#[track_caller]
fn ip(args: &[&str]) {
    let status = Command::new("ip").args(args).status().expect("ip starts");
    assert!(status.success(), "ip {}", args.join(" "));
}

/// A coordinator whose HTTP nobody on the LAN reaches, and whose libp2p all do.
pub(crate) fn coordinator(name: &str, copies: u32) -> Setup {
    on_lan(Setup::coordinator())
        .env("SKYCLAW_COORDINATOR_PORT", 8787)
        .env("SKYCLAW_COORDINATOR_NODE_ID", name)
        .env("SKYCLAW_MIN_REPLICATIONS", copies)
}

/// A host that is told of no coordinator.
pub(crate) fn host(name: &str) -> Setup {
    on_lan(Setup::new("host"))
        .env("SKYCLAW_HOST_NAME", name)
        .env("SKYCLAW_ALLOWED_COMMANDS", "sh")
        .env("SKYCLAW_STOP_GRACE_MS", 500)
}

fn on_lan(setup: Setup) -> Setup {
    setup.env("SKYCLAW_P2P_LISTEN", "/ip4/0.0.0.0/udp/4787/quic-v1,/ip4/0.0.0.0/tcp/4787")
}

/// A machine with its node, which is killed when dropped.
pub(crate) struct Machine {
    pub(crate) process: Process,
    api: Api,
    namespace: String,
    token: String,
    folder: TempDir,
}

impl Machine {
    /// What `ask` gets from the node's API, asked on this machine.
    #[track_caller]
    pub(crate) fn here<T: Send>(&self, ask: impl FnOnce(&Api) -> T + Send) -> T {
        let namespace = format!("/run/netns/{}", self.namespace);
        let asked = std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                let file = std::fs::File::open(&namespace).expect("the machine is there");
                // Of this thread alone: sockets that it makes are the machine's.
                move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
                    .expect("root may enter");
                ask(&self.api)
            });
            inside.join()
        });
        asked.unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// The answer to a `GET`; null until the node listens.
    pub(crate) fn get(&self, target: &str) -> Value {
        self.here(|api| match api.try_send("GET", target, &[], b"") {
            Ok(answer) if answer.status == 200 => answer.json(),
            _ => Value::Null,
        })
    }

    /// Waits until these coordinators and no others are connected, by name and in order.
    #[track_caller]
    pub(crate) fn until_connected(&self, names: &[&str]) {
        within(FOUND, "they have found each other", || {
            let network = self.get("/v1/network");
            let peers = network["peers"].as_array().into_iter().flatten();
            let coordinator = Value::from("coordinator");
            let here = peers
                .filter(|peer| peer["connected"] == Value::Bool(true))
                .filter(|peer| peer["roles"].as_array().is_some_and(|r| r.contains(&coordinator)));
            let mut met: Vec<&str> = here.filter_map(|peer| peer["label"].as_str()).collect();
            met.sort_unstable();
            if met == names { Ok(()) } else { Err(network.to_string()) }
        });
    }

    /// What the client prints on this machine, and whether it succeeded.
    pub(crate) fn skyclaw(&self, args: &[&str]) -> (bool, String, String) {
        let output = Command::new("ip")
            .args(["netns", "exec", &self.namespace])
            .arg(binary("skyclaw"))
            .args(args)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("SKYCLAW_TOKEN", &self.token)
            .env("SKYCLAW_COORDINATOR_URLS", format!("http://{API}"))
            .output()
            .expect("the client starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.success(), text(&output.stdout), text(&output.stderr))
    }

    /// A file or folder of this node's own.
    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }
}
