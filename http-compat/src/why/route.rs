//! Why a call to a service comes through a gateway, or does not: by the table that gateways make of what
//! coordinators tell them.

mod gateways;
mod knows;

use skyclaw_protocol::clock::Wall;
use skyclaw_protocol::{Assignment, HostView, ServiceView};

use super::told::{Line, Told, count, lasting};
use super::words::one_line;
use crate::backend::{NetworkView, PeerView};
use crate::gateway::{Table, endpoint};
use crate::receipt::peer_id;
pub use knows::{Ejected, Gateway, Knows};

/// A change is told to gateways as it comes; one over HTTP, or one that is just being let in, may be so
/// far behind, in milliseconds.
const BEHIND_MS: u64 = 3000;

/// What is known of a service, and of the ways to it.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// The service.
    pub service: &'a ServiceView,
    /// All services: a name leads to the oldest of that name.
    pub services: &'a [ServiceView],
    /// Whether whoever asks sees all services; else only those of the owner of this one.
    pub sees_all: bool,
    /// All hosts.
    pub hosts: &'a [HostView],
    /// The network, as the coordinator sees it.
    pub network: &'a NetworkView,
    /// What gateways told when they were asked; those that were not are missing.
    pub gateways: &'a [Gateway],
    /// Now.
    pub now: Wall,
}

/// Explains from that alone.
#[must_use]
pub fn explain(case: &Case<'_>) -> Told {
    let service = case.service;
    let (open, because, then) = case.reason();
    Told {
        kind: "route",
        id: service.id.to_string(),
        name: one_line(&service.def.name),
        status: if open { "open" } else { "closed" }.to_owned(),
        because,
        then,
        lists: vec![("instances", case.instances()), ("gateways", case.gateways())],
        more_hosts: 0,
        rules: Vec::new(),
    }
}

impl Case<'_> {
    fn peer(&self, part: &Assignment) -> Option<&PeerView> {
        let id = peer_id(part.node?);
        self.network.peers.iter().find(|peer| peer.peer_id == id)
    }

    /// Whether a node is known to be away: its tunnels may fail.
    fn is_away(&self, part: &Assignment) -> bool {
        let own = part.node.map(peer_id) == self.network.peer_id;
        !own && part.endpoint.is_none() && self.peer(part).is_none_or(|peer| !peer.connected)
    }

    fn reason(&self) -> (bool, String, Option<String>) {
        let service = self.service;
        let (id, name) = (&service.id, one_line(&service.def.name));
        let table = Table::of_views(self.services);
        if let Some(older) = table.find(&service.def.name).filter(|found| found.id != *id) {
            let one = self.services.iter().find(|one| one.id == older.id);
            let sees = self.sees_all || one.is_some_and(|one| one.owner == service.owner);
            let which =
                if sees { format!("the service {}", older.id) } else { "another service".into() };
            let because = format!("the name {name} leads to {which}, which is older");
            let then = format!("call it by its id, /v1/gateway/{id}/, or remove the other one");
            return (false, because, Some(then));
        }
        let why = format!("`skyclaw why service {id}` says what keeps instances from running");
        let all = &service.assignments;
        let reached: Vec<&Assignment> =
            all.iter().filter(|part| endpoint(id, part).is_ok()).collect();
        let Some(first) = reached.first() else {
            let refused = all.iter().find_map(|part| match endpoint(id, part) {
                Err(crate::gateway::Unreached::NotRunning(_)) | Ok(_) => None,
                Err(why) => Some(why),
            });
            return match refused {
                Some(no) => {
                    let then = "set SKYCLAW_SERVICE_HOST_PUBLIC_BASE_URL on that host, or attach it \
                                over libp2p";
                    (false, format!("instances run, but none is reached: {no}"), Some(then.into()))
                }
                None => (false, "no instance runs: gateways answer 503".into(), Some(why)),
            };
        };
        let away = reached.iter().filter(|part| self.is_away(part)).count();
        if away == reached.len() {
            let host = self.named(first);
            let because = format!(
                "{} reached through nodes alone, and none of these is connected here: calls end with \
                 502 or 504 unless the gateway itself finds a way",
                are(reached.len())
            );
            return (
                false,
                because,
                Some(format!("start {host} again, or see `skyclaw doctor` there")),
            );
        }
        if let Some(closed) = self.passed_over_by_all() {
            return closed;
        }
        let gateways: Vec<&PeerView> = self.gateway_peers().collect();
        let here = gateways.iter().filter(|peer| peer.connected).count();
        let mut because = format!("{} reached", are(reached.len() - away));
        let mut then = self.told_by_gateways(reached.len(), &mut because);
        if !gateways.is_empty() && here == 0 {
            because.push_str("; but no gateway is connected here, so what they know may be old");
            then = then.or_else(|| Some("see with `skyclaw peers` why they are not".to_owned()));
        }
        let age = self.now.ms_since(service.updated);
        if age < BEHIND_MS {
            because.push_str(&format!(
                "; it changed {} ago: a gateway that fetches its table over HTTP may not know it yet",
                lasting(age)
            ));
        }
        // Where all told what they pass over, nothing is left to be looked up.
        let all_told = self.all_told();
        then = then.or_else(|| {
            let then = "if calls fail all the same, the gateway passes over instances that failed \
                        lately: its answer and skyclaw_gateway_ejected_seconds of its /metrics say so";
            (!all_told).then(|| then.to_owned())
        });
        (true, because, then)
    }

    fn named(&self, part: &Assignment) -> String {
        let known = self.hosts.iter().find(|host| host.id == part.host);
        let name = known.map(|host| host.name.as_str()).filter(|name| !name.is_empty());
        one_line(name.unwrap_or(part.host.as_str()))
    }

    fn instances(&self) -> Vec<Line> {
        let line = |part: &Assignment| {
            let host = self.named(part);
            let words = match endpoint(&self.service.id, part) {
                Err(no) => format!("on {host}, is passed over: {no}"),
                Ok(place) if place.http.is_some() => {
                    format!("on {host}, reached at its own address")
                }
                Ok(_) if part.node.map(peer_id) == self.network.peer_id => {
                    format!("on {host}, reached through this very node")
                }
                Ok(_) => match self.peer(part) {
                    Some(peer) if peer.connected => {
                        let path = peer
                            .path
                            .as_deref()
                            .map_or_else(String::new, |path| format!(", {path}"));
                        format!("on {host}, reached through its node, which is connected{path}")
                    }
                    _ => {
                        format!("on {host}, reached through its node, which is not connected here")
                    }
                },
            };
            Line::new(format!("slot {}", part.slot), words)
                .with("slot", part.slot)
                .with("hostId", part.host.as_str())
                .with("reached", endpoint(&self.service.id, part).is_ok() && !self.is_away(part))
        };
        self.service.assignments.iter().map(line).collect()
    }

    fn gateway_peers(&self) -> impl Iterator<Item = &PeerView> {
        self.network.peers.iter().filter(|peer| peer.roles.iter().any(|role| role == "gateway"))
    }
}

fn are(n: usize) -> String {
    format!("{} {}", count(n as u64, "instance"), if n == 1 { "is" } else { "are" })
}

#[cfg(test)]
mod tests {
    use skyclaw_protocol::{HostId, NodeId, ServiceDef, ServiceId, ServiceStatus};

    use super::*;

    const NOW: Wall = Wall(1_800_000_100_000);

    fn service(id: &str, name: &str, made: u64, assignments: Vec<Assignment>) -> ServiceView {
        ServiceView {
            id: ServiceId::new(id.to_owned()).unwrap(),
            def: ServiceDef { name: name.into(), replicas: 1, ..ServiceDef::default() },
            status: ServiceStatus::Pending,
            created: Wall(made),
            updated: Wall(1),
            updated_by: "node".into(),
            version: 1,
            assignments,
            ver: 1,
            generation: 1,
            past: Vec::new(),
            reverted: None,
            owner: None,
        }
    }

    fn part(status: ServiceStatus, url: Option<&str>, node: Option<u8>) -> Assignment {
        let host = HostId::new("host_1".to_owned()).unwrap();
        Assignment {
            status,
            endpoint: url.map(str::to_owned),
            node: node.map(|n| NodeId([n; 32])),
            ..Assignment::pending(host, NOW)
        }
    }

    fn peer(n: u8, roles: &[&str], connected: bool) -> PeerView {
        PeerView {
            peer_id: peer_id(NodeId([n; 32])),
            label: format!("node-{n}"),
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
            connected,
            path: connected.then(|| "relayed".to_owned()),
            ..PeerView::default()
        }
    }

    fn asked(services: &[ServiceView], peers: Vec<PeerView>) -> Told {
        asked_by(true, services, peers)
    }

    fn asked_by(sees_all: bool, services: &[ServiceView], peers: Vec<PeerView>) -> Told {
        told_by(sees_all, services, peers, &[])
    }

    fn told_by(
        sees_all: bool,
        services: &[ServiceView],
        peers: Vec<PeerView>,
        gateways: &[Gateway],
    ) -> Told {
        let network = NetworkView { peers, ..NetworkView::default() };
        explain(&Case {
            service: &services[0],
            services,
            sees_all,
            hosts: &[],
            network: &network,
            gateways,
            now: NOW,
        })
    }

    #[test]
    fn a_call_comes_through_where_an_instance_is_reached() {
        let running = part(ServiceStatus::Running, None, Some(2));
        let peers = vec![peer(2, &["host"], true), peer(3, &["gateway"], true)];
        let told = asked(&[service("a", "api", 1, vec![running])], peers);
        assert_eq!(
            (told.status.as_str(), told.because.as_str()),
            ("open", "1 instance is reached")
        );
        let document = told.document();
        assert_eq!(
            document["instances"][0]["words"],
            "on host_1, reached through its node, which is connected, relayed"
        );
        assert_eq!(
            document["gateways"][0]["words"],
            "is connected, and told of changes as they come; it was not asked what it knows"
        );
    }

    #[test]
    fn what_keeps_a_call_from_a_service_is_said() {
        let none = asked(&[service("a", "api", 1, Vec::new())], Vec::new());
        assert!(none.because.starts_with("no instance runs: gateways answer 503"), "{none:?}");
        assert!(none.then.unwrap().contains("skyclaw why service a"));
        let running = |url, node| vec![part(ServiceStatus::Running, url, node)];
        let told = asked(&[service("a", "api", 1, running(None, None))], Vec::new());
        assert!(told.because.contains("told no address"), "{told:?}");
        let told = asked(&[service("a", "api", 1, running(Some("ftp://x"), None))], Vec::new());
        assert!(told.because.contains("only http urls"), "{told:?}");
        let told =
            asked(&[service("a", "api", 1, running(None, Some(2)))], vec![peer(2, &[], false)]);
        assert_eq!(told.status, "closed");
        assert!(told.because.contains("none of these is connected here"), "{told:?}");
        let both = |owners: [Option<&str>; 2]| {
            let mut both = [
                service("a", "api", 2, running(Some("http://h:1"), None)),
                service("old", "api", 1, Vec::new()),
            ];
            for (one, owner) in both.iter_mut().zip(owners) {
                one.owner = owner.map(str::to_owned);
            }
            both
        };
        let others = both([Some("key:a"), Some("key:b")]);
        let told = asked(&others, Vec::new());
        assert!(told.because.contains("leads to the service old"), "{told:?}");
        let told = asked_by(false, &both([Some("key:a"), Some("key:a")]), Vec::new());
        assert!(told.because.contains("leads to the service old"), "{told:?}");
        let told = asked_by(false, &others, Vec::new());
        assert!(told.because.contains("leads to another service, which is older"), "{told:?}");
    }

    /// Two instances, and the gateways that told: so many more are connected and did not.
    fn told_of_two(silent: u8, told: Vec<Knows>) -> Told {
        let running = || part(ServiceStatus::Running, Some("http://h:1"), None);
        let other = Assignment { slot: 1, epoch: 7, ..part(ServiceStatus::Running, None, Some(2)) };
        let services = [service("a", "api", 1, vec![running(), other])];
        let count = u8::try_from(told.len()).unwrap();
        let gateways: Vec<Gateway> = (3..)
            .zip(told)
            .map(|(n, knows)| Gateway { peer_id: Some(peer_id(NodeId([n; 32]))), told: Ok(knows) })
            .collect();
        let mut peers = vec![peer(2, &["host"], true)];
        peers.extend((3..3 + count + silent).map(|n| peer(n, &["gateway"], true)));
        told_by(true, &services, peers, &gateways)
    }

    fn knows(table_age_s: u64, endpoints: u64, failed: &[(&str, &'static str, u64)]) -> Knows {
        let failed = failed.iter().map(|(instance, reason, for_s)| Ejected {
            instance: (*instance).to_owned(),
            for_s: *for_s,
            reason,
        });
        let failed = failed.collect();
        Knows { table_age_s, endpoints: Some(endpoints), failed, may_be_more: false }
    }

    #[test]
    fn what_gateways_pass_over_is_told_before_that_their_tables_are_old() {
        let well = told_of_two(0, vec![knows(2, 2, &[])]);
        assert_eq!((well.because.as_str(), well.then), ("2 instances are reached", None));

        let one = told_of_two(0, vec![knows(2, 2, &[("host_1/1", "connect", 8)])]);
        let because = "2 instances are reached; but gateway node-3 passes over 1 of 2: slot 1 on host_1, no \
                       connection to it";
        assert_eq!((one.status.as_str(), one.because.as_str()), ("open", because));
        assert!(one.then.as_ref().unwrap().starts_with("`skyclaw logs api` shows"), "{one:?}");
        let line = &one.document()["gateways"][0];
        assert_eq!(
            line["words"],
            "is connected, and told of changes as they come; knows 2 instances, as of 2 s ago; passes over \
             slot 1 on host_1 for 8 s more: no connection to it"
        );
        assert_eq!((&line["passesOver"][0]["slot"], &line["knows"]), (&1.into(), &2.into()));

        let behind = told_of_two(0, vec![knows(2, 0, &[])]);
        assert_eq!(behind.because, "2 instances are reached; but gateway node-3 knows 0 of them");
        let deaf = told_of_two(0, vec![knows(100, 2, &[])]);
        assert!(deaf.because.contains("node-3 has heard of no coordinator for 100 s"), "{deaf:?}");
        assert_eq!(told_of_two(0, vec![knows(50, 2, &[])]).because, "2 instances are reached");
    }

    #[test]
    fn a_way_is_closed_only_where_every_known_gateway_told_that_it_passes_over_all() {
        let all = || knows(2, 2, &[("host_1/1", "status", 1), ("host_1", "lost", 3)]);
        let closed = told_of_two(0, vec![all(), all()]);
        assert_eq!(closed.status, "closed");
        let every = "every gateway that is known passes over all that it knows";
        assert!(closed.because.contains(every), "{closed:?}");
        assert!(closed.then.unwrap().contains("less than 500"));
        // It passes over all that it knows, though there is more.
        assert_eq!(told_of_two(0, vec![knows(2, 1, &[("host_1", "lost", 3)])]).status, "closed");

        let asked = told_of_two(1, vec![all(), all()]);
        assert_eq!(asked.status, "open");
        let each =
            "each of the 2 gateways that told passes over all that it knows: slot 1 on host_1";
        assert!(asked.because.contains(each), "{asked:?}");
        let words = asked.document()["gateways"][2]["words"].as_str().unwrap().to_owned();
        assert!(words.ends_with("; it was not asked what it knows"), "{words}");
        assert_eq!(told_of_two(0, vec![all(), knows(2, 2, &[])]).status, "open");
    }

    #[test]
    fn an_instance_that_the_next_call_tries_is_not_passed_over_and_no_other_counts() {
        let tried = told_of_two(0, vec![knows(2, 1, &[("host_1/1", "connect", 0)])]);
        assert_eq!(tried.because, "2 instances are reached; but gateway node-3 knows 1 of them");
        let words = tried.document()["gateways"][0]["words"].as_str().unwrap().to_owned();
        assert!(
            words.ends_with("; tries slot 1 on host_1 with the next call: no connection to it")
        );
        let others = told_of_two(0, vec![knows(2, 2, &[("x/0", "lost", 9), ("y/0", "lost", 9)])]);
        assert_eq!(others.because, "2 instances are reached");
        assert_eq!(others.document()["gateways"][0]["passesOver"], serde_json::json!([]));
    }

    #[test]
    fn where_a_gateway_does_not_tell_its_metrics_are_left_to_be_looked_up() {
        let hint = "skyclaw_gateway_ejected_seconds";
        let asked = told_of_two(1, vec![knows(2, 2, &[])]);
        assert!(asked.then.as_ref().unwrap().contains(hint), "{asked:?}");
        let running = part(ServiceStatus::Running, Some("http://h:1"), None);
        let services = [service("a", "api", 1, vec![running])];
        let mute = Gateway { peer_id: Some(peer_id(NodeId([3; 32]))), told: Err("late".into()) };
        let mute = told_by(true, &services, vec![peer(3, &["gateway"], true)], &[mute]);
        assert!(mute.then.as_ref().unwrap().contains(hint), "{mute:?}");
        assert!(mute.document()["gateways"][0]["words"].as_str().unwrap().ends_with("late"));
    }

    #[test]
    fn gateways_that_are_away_may_know_less() {
        let running = vec![part(ServiceStatus::Running, Some("http://h:1"), None)];
        let told = asked(&[service("a", "api", 1, running)], vec![peer(3, &["gateway"], false)]);
        assert_eq!(told.status, "open");
        assert!(told.because.contains("no gateway is connected here"), "{told:?}");
    }
}
