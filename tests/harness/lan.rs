//! Machines on a network of their own: network namespaces on a bridge, made and removed here.
//!
//! Always: nobody but the test reaches them. No more than two tests at a time have a network, since some of
//! them measure how soon a node notices something.
//!
//! Whoever pulls a cable parts a machine from all. [`Lan::mute`] parts one machine from one other in
//! one direction only, and as silently.

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::panic::resume_unwind;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::Value;
use tempfile::TempDir;

use crate::api::Api;
use crate::binary::binary;
use crate::node::Setup;
use crate::process::Process;
use crate::skip::{Need, can};
use crate::wait::within;

/// The token of all nodes that are not told another one.
pub const TOKEN: &str = "secret";

/// Longest wait for nodes that look for each other: mDNS asks every 30 s, and the first
/// questions may be lost.
pub const FOUND: Duration = Duration::from_secs(65);

/// A port of its own in each machine.
const API: &str = "127.0.0.1:8787";

/// An address of the network card that nobody has.
const NOBODY: &str = "02:00:00:00:00:01";

/// A bridge with machines 1, 2, ... on it: 10.77.0.1, 10.77.0.2, ...
#[derive(Debug)]
pub struct Lan {
    prefix: String,
    machines: usize,
    _turn: Turn,
}

impl Lan {
    /// None where this cannot be had.
    #[track_caller]
    pub fn make(machines: usize) -> Option<Self> {
        if !can(&[Need::Root, Need::Tool("ip")]) {
            return None;
        }
        let (prefix, turn) = Turn::take();
        let lan = Self { prefix, machines, _turn: turn };
        let switch = lan.switch();
        ip(&["netns", "add", &switch]);
        ip(&["-n", &switch, "link", "add", "br0", "type", "bridge"]);
        ip(&["-n", &switch, "link", "set", "br0", "up"]);
        for at in 1..=machines {
            let (host, port) = (lan.machine(at), port(at));
            let address = format!("{}/24", address(at));
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
    pub fn on(&self, at: usize) -> [String; 4] {
        ["ip", "netns", "exec", &self.machine(at)].map(str::to_owned)
    }

    /// A machine, for who runs something there that is no program.
    #[must_use]
    pub fn place(&self, at: usize) -> Place {
        Place(self.machine(at))
    }

    /// Pulls the cable of a machine out of the switch.
    pub fn cut(&self, at: usize) {
        ip(&["-n", &self.switch(), "link", "set", &port(at), "down"]);
    }

    /// Puts it in again.
    pub fn mend(&self, at: usize) {
        ip(&["-n", &self.switch(), "link", "set", &port(at), "up"]);
    }

    /// What `from` sends to `to` gets lost from now on, and `from` is not told; the other direction
    /// stays as it is.
    #[track_caller]
    pub fn mute(&self, from: usize, to: usize) {
        let (machine, to) = (self.machine(from), address(to));
        // The frames go to the switch and to nobody from there.
        ip(&[
            "-n",
            &machine,
            "neigh",
            "replace",
            &to,
            "lladdr",
            NOBODY,
            "nud",
            "permanent",
            "dev",
            "eth0",
        ]);
    }

    /// It arrives again.
    #[track_caller]
    pub fn unmute(&self, from: usize, to: usize) {
        let (machine, to) = (self.machine(from), address(to));
        ip(&["-n", &machine, "neigh", "del", &to, "dev", "eth0"]);
    }

    /// Starts a node on a machine and does not wait.
    #[track_caller]
    pub fn start(&self, at: usize, setup: Setup) -> Machine {
        self.start_with(at, setup, TOKEN)
    }

    /// The same with another token.
    #[track_caller]
    pub fn start_with(&self, at: usize, setup: Setup, token: &str) -> Machine {
        // Its jobs, which run below it, see on which machine they are.
        let named = tempfile::Builder::new().prefix(&format!("machine{at}-")).tempdir();
        let folder = named.expect("a folder can be made");
        let parent = std::process::id().to_string();
        let setup = setup
            .env("SKYCLAW_TOKEN", token)
            .under(&self.on(at).each_ref().map(String::as_str))
            .args(&["--stop-with-parent", &parent]);
        let process = setup.spawn(folder.path());
        let address: SocketAddr = API.parse().expect("an address");
        let api = Api::new(address, Some(token.to_owned()));
        let door = Door { namespace: self.machine(at), api };
        Machine { process, door, token: token.to_owned(), setup, folder }
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

/// Tests of this process that have networks at once.
const TURNS: usize = 2;

static TAKEN: Mutex<usize> = Mutex::new(0);
static GIVEN_BACK: Condvar = Condvar::new();

/// The right to have namespaces; given back when it is dropped, however the test ends.
#[derive(Debug)]
pub(crate) struct Turn(());

impl Turn {
    /// Waits for it; with it comes a name for namespaces that no other test has.
    pub(crate) fn take() -> (String, Self) {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = GIVEN_BACK.wait_while(taken, |taken| *taken >= TURNS);
        *taken.unwrap_or_else(PoisonError::into_inner) += 1;
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        (format!("skytest-{}-{count}", std::process::id()), Self(()))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *TAKEN.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        GIVEN_BACK.notify_one();
    }
}

/// Where a machine is on the LAN.
#[must_use]
pub fn address(at: usize) -> String {
    format!("10.77.0.{at}")
}

fn port(at: usize) -> String {
    format!("p{at}")
}

#[track_caller]
pub(crate) fn ip(args: &[&str]) {
    let status = Command::new("ip").args(args).status().expect("ip starts");
    assert!(status.success(), "ip {}", args.join(" "));
}

/// A coordinator whose HTTP nobody on the LAN reaches, and whose libp2p all do.
pub fn coordinator(name: &str, copies: u32) -> Setup {
    on_lan(Setup::coordinator())
        .env("SKYCLAW_COORDINATOR_PORT", 8787)
        .env("SKYCLAW_COORDINATOR_NODE_ID", name)
        .env("SKYCLAW_MIN_REPLICATIONS", copies)
}

/// A host that is told of no coordinator.
pub fn host(name: &str) -> Setup {
    on_lan(Setup::new("host"))
        .env("SKYCLAW_HOST_NAME", name)
        .env("SKYCLAW_ALLOWED_COMMANDS", "sh")
        .env("SKYCLAW_STOP_GRACE_MS", 500)
}

fn on_lan(setup: Setup) -> Setup {
    setup.env("SKYCLAW_P2P_LISTEN", "/ip4/0.0.0.0/udp/4787/quic-v1,/ip4/0.0.0.0/tcp/4787")
}

/// The way to the API of one machine's node; it stays the same while nodes come and go there.
#[derive(Clone, Debug)]
pub struct Door {
    namespace: String,
    api: Api,
}

impl Door {
    /// The same for somebody who waits no longer than this for bytes.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { api: self.api.with_patience(patience), ..self }
    }

    /// What `ask` gets from the node's API, asked on this machine.
    #[track_caller]
    pub fn ask<T: Send>(&self, ask: impl FnOnce(&Api) -> T + Send) -> T {
        let asked = std::thread::scope(|scope| scope.spawn(|| ask(self.enter())).join());
        asked.unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// Moves the calling thread to this machine for good; the API as seen there.
    #[track_caller]
    pub fn enter(&self) -> &Api {
        enter(&self.namespace);
        &self.api
    }
}

/// A machine of a LAN.
#[derive(Clone, Debug)]
pub struct Place(pub(crate) String);

/// Moves the calling thread to a namespace for good.
#[track_caller]
pub(crate) fn enter(namespace: &str) {
    let file = std::fs::File::open(format!("/run/netns/{namespace}")).expect("it is there");
    // Of this thread alone: sockets that it makes are there.
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
        .expect("root may enter");
}

/// A machine with its node, which is killed when dropped.
#[derive(Debug)]
pub struct Machine {
    /// The node's process.
    pub process: Process,
    door: Door,
    token: String,
    setup: Setup,
    folder: TempDir,
}

impl Machine {
    /// The way to its API.
    #[must_use]
    pub fn door(&self) -> Door {
        self.door.clone()
    }

    /// What `ask` gets from the node's API, asked on this machine.
    #[track_caller]
    pub fn here<T: Send>(&self, ask: impl FnOnce(&Api) -> T + Send) -> T {
        self.door.ask(ask)
    }

    /// Starts its node again on the same files, once it has ended, and does not wait.
    #[track_caller]
    pub fn start_again(&mut self) {
        assert!(!self.process.is_running(), "stop or kill it first");
        self.process = self.setup.spawn(self.folder.path());
    }

    /// The answer to a `GET`; null until the node listens.
    pub fn get(&self, target: &str) -> Value {
        self.here(|api| match api.try_send("GET", target, &[], b"") {
            Ok(answer) if answer.status == 200 => answer.json(),
            _ => Value::Null,
        })
    }

    /// Waits until these coordinators and no others are connected, by name and in order.
    #[track_caller]
    pub fn until_connected(&self, names: &[&str]) {
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

    /// Waits until it knows as many hosts and no more; all of them.
    #[track_caller]
    pub fn until_hosts(&self, count: usize) -> Vec<Value> {
        within(FOUND, "the hosts are known", || {
            let known = self.get("/v1/hosts")["hosts"].take();
            let known = known.as_array().cloned().unwrap_or_default();
            if known.len() == count { Ok(known) } else { Err(Value::from(known).to_string()) }
        })
    }

    /// What the client prints on this machine, and whether it succeeded.
    pub fn skyclaw(&self, args: &[&str]) -> (bool, String, String) {
        let output = Command::new("ip")
            .args(["netns", "exec", &self.door.namespace])
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
    pub fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }
}
