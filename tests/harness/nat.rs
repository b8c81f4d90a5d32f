//! Machines on an internet of their own, some of them behind routers that translate addresses.
//!
//! ```text
//!   203.0.113.1, .2, ...     machines that all reach
//!   203.0.113.101 | 192.168.1.2     router 1, and the machine behind it that nobody reaches
//! ```
//!
//! Always: nobody but the test reaches them, and two tests at a time have some at most, as with a
//! [`crate::lan`].

use std::io::Write;
use std::process::{Command, Stdio};

use crate::lan::{Turn, enter, ip};
use crate::skip::{Need, can};

/// How a router translates the addresses of what goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Router {
    /// The same port outside whomever it goes to: others can be told of it.
    Steady,
    /// Another port for each address it goes to: nobody can be told of the next.
    Random,
}

impl Router {
    const fn rule(self) -> &'static str {
        match self {
            Self::Steady => "masquerade",
            Self::Random => "masquerade random,fully-random",
        }
    }
}

/// The machines.
#[derive(Debug)]
pub struct Internet {
    prefix: String,
    names: Vec<String>,
    _turn: Turn,
}

impl Internet {
    /// So many machines that all reach, and one behind each of these routers. None where this cannot
    /// be had.
    #[track_caller]
    pub fn make(open: usize, routers: &[Router]) -> Option<Self> {
        if !can(&[Need::Root, Need::Tool("ip"), Need::Tool("nft")]) {
            return None;
        }
        let (prefix, turn) = Turn::take();
        let mut net = Self { prefix, names: Vec::new(), _turn: turn };
        let switch = net.add("sw");
        ip(&["-n", &switch, "link", "add", "br0", "type", "bridge"]);
        ip(&["-n", &switch, "link", "set", "br0", "up"]);
        for at in 1..=open {
            let machine = net.add(&format!("o{at}"));
            plug(&switch, &format!("o{at}"), &machine, "eth0", &format!("{}/24", address(at)));
        }
        for (at, router) in (1..).zip(routers) {
            let gate = net.add(&format!("r{at}"));
            let outside = format!("{}/24", outside(at));
            plug(&switch, &format!("r{at}"), &gate, "wan", &outside);
            let machine = net.add(&format!("b{at}"));
            let pair = ["link", "add", "lan", "type", "veth", "peer", "name", "eth0", "netns"];
            ip(&[&["-n", &gate], &pair[..], &[&machine]].concat());
            let (near, far) = (format!("192.168.{at}.1"), format!("192.168.{at}.2/24"));
            ip(&["-n", &gate, "addr", "add", &format!("{near}/24"), "dev", "lan"]);
            ip(&["-n", &gate, "link", "set", "lan", "up"]);
            ip(&["-n", &machine, "addr", "add", &far, "dev", "eth0"]);
            ip(&["-n", &machine, "link", "set", "eth0", "up"]);
            ip(&["-n", &machine, "route", "add", "default", "via", &near]);
            translate(&gate, *router);
        }
        Some(net)
    }

    /// Makes a namespace.
    fn add(&mut self, name: &str) -> String {
        let name = format!("{}-{name}", self.prefix);
        ip(&["netns", "add", &name]);
        self.names.push(name.clone());
        ip(&["-n", &name, "link", "set", "lo", "up"]);
        name
    }

    /// The name of a machine that all reach.
    #[must_use]
    pub fn open(&self, at: usize) -> Place {
        Place(format!("{}-o{at}", self.prefix))
    }

    /// The name of the machine behind a router.
    #[must_use]
    pub fn behind(&self, at: usize) -> Place {
        Place(format!("{}-b{at}", self.prefix))
    }

    /// Pulls the cable of a machine that all reach.
    #[track_caller]
    pub fn cut(&self, at: usize) {
        ip(&["-n", &format!("{}-sw", self.prefix), "link", "set", &format!("o{at}"), "down"]);
    }
}

impl Drop for Internet {
    fn drop(&mut self) {
        for name in &self.names {
            // What was not made need not go.
            let _ = Command::new("ip").args(["netns", "del", name]).status();
        }
    }
}

/// A machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place(String);

impl Place {
    /// Moves the calling thread there for good; threads that it starts are there, too.
    #[track_caller]
    pub fn enter(&self) {
        enter(&self.0);
    }

    /// What comes of `work` there.
    #[track_caller]
    pub fn here<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let done = std::thread::scope(|scope| {
            let worker = scope.spawn(|| {
                self.enter();
                work()
            });
            worker.join()
        });
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// What starts a program there.
    #[must_use]
    pub fn on(&self) -> [String; 4] {
        ["ip", "netns", "exec", &self.0].map(str::to_owned)
    }
}

/// Where a machine is that all reach.
#[must_use]
pub fn address(at: usize) -> String {
    format!("203.0.113.{at}")
}

/// Where a router is for others.
#[must_use]
pub fn outside(at: usize) -> String {
    format!("203.0.113.{}", 100 + at)
}

#[track_caller]
fn plug(switch: &str, port: &str, machine: &str, card: &str, address: &str) {
    let pair = ["link", "add", port, "type", "veth", "peer", "name", card, "netns", machine];
    ip(&[&["-n", switch], &pair[..]].concat());
    ip(&["-n", switch, "link", "set", port, "master", "br0", "up"]);
    ip(&["-n", machine, "addr", "add", address, "dev", card]);
    ip(&["-n", machine, "link", "set", card, "up"]);
}

/// Makes a router of a machine with a `wan` and a `lan`. What nobody inside asked for is dropped, on
/// its way in and at the router itself: a stray packet that the router answered would keep the port
/// that the machine inside is about to use.
#[track_caller]
fn translate(gate: &str, router: Router) {
    let rules = format!(
        "table ip nat {{\n\
         chain post {{ type nat hook postrouting priority 100; oifname wan {}; }}\n\
         chain fw {{ type filter hook forward priority 0; iifname wan ct state new drop; }}\n\
         chain inp {{ type filter hook input priority 0; iifname wan ct state new drop; }}\n\
         }}\n",
        router.rule()
    );
    let mut nft = Command::new("ip")
        .args(["netns", "exec", gate, "sh", "-c"])
        .arg("echo 1 > /proc/sys/net/ipv4/ip_forward && exec nft -f -")
        .stdin(Stdio::piped())
        .spawn()
        .expect("nft starts");
    let mut stdin = nft.stdin.take().expect("it has one");
    stdin.write_all(rules.as_bytes()).expect("nft reads");
    drop(stdin);
    assert!(nft.wait().expect("nft ends").success(), "nft takes the rules");
}
