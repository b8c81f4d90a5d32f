//! The rules about what gateways told of themselves, and their lines.

use skyclaw_protocol::Assignment;

use super::{Case, Ejected, Gateway, Knows, are};
use crate::backend::PeerView;
use crate::gateway::endpoint;
use crate::why::told::{Line, count};
use crate::why::words::one_line;

/// A gateway that has not heard of its table for so long hears of no coordinator, in seconds. One whose coordinator
/// fell away finds the next one within two questions, of which each is held for 20 s and the first may take 5 s
/// more, and half a second between them (`gateway::follow` of the node).
const HEARS_S: u64 = 60;

/// An instance of the service that failed at a gateway.
type Failed<'a> = (&'a Ejected, &'a Assignment);

impl Case<'_> {
    /// The first rule about gateways: all that are known told, and each passes over all instances that it knows.
    pub(super) fn passed_over_by_all(&self) -> Option<(bool, String, Option<String>)> {
        let (gone, part) = self.all_pass_over_all().filter(|_| self.all_told())?;
        let because = format!(
            "{} reached, but every gateway that is known passes over all that it knows, as they failed lately: \
             {}, {}; calls try them all the same",
            are(self.service.assignments.iter().filter(|part| self.is_endpoint(part)).count()),
            self.instance(part),
            gone.words()
        );
        Some((false, because, Some(gone.help(&one_line(&self.service.def.name)))))
    }

    /// The rules after it, which leave the way open: one passes over an instance, knows less than there is, or hears
    /// of no coordinator. What helps against the first that holds.
    pub(super) fn told_by_gateways(&self, reached: usize, because: &mut String) -> Option<String> {
        let service = one_line(&self.service.def.name);
        let told = self.told().count();
        if let Some((gone, part)) = self.all_pass_over_all().filter(|_| told > 1) {
            because.push_str(&format!(
                "; but each of the {told} gateways that told passes over all that it knows: {}, {}",
                self.instance(part),
                gone.words()
            ));
            return Some(gone.help(&service));
        }
        let passes = self.told().find_map(|(gateway, knows)| {
            let passed = self.passed_over(knows);
            passed.first().map(|first| (gateway, passed.len(), *first))
        });
        if let Some((gateway, passed, (gone, part))) = passes {
            because.push_str(&format!(
                "; but {} passes over {passed} of {reached}: {}, {}",
                self.name_of(gateway),
                self.instance(part),
                gone.words()
            ));
            return Some(gone.help(&service));
        }
        let deaf = self.told().find(|(_, knows)| knows.table_age_s >= HEARS_S);
        let less = self
            .told()
            .find(|(_, knows)| knows.endpoints.is_some_and(|known| known < reached as u64));
        let (gateway, knows) = deaf.or(less)?;
        let name = self.name_of(gateway);
        if let Some(known) = knows.endpoints.filter(|known| *known < reached as u64) {
            because.push_str(&format!("; but {name} knows {known} of them"));
        }
        if knows.table_age_s < HEARS_S {
            return Some("look again in some seconds: changes are on their way".to_owned());
        }
        because.push_str(&format!(
            "; {name} has heard of no coordinator for {} s, and goes on with the table it has",
            knows.table_age_s
        ));
        Some(format!("see with `skyclaw peers` what {name} is connected with"))
    }

    /// Those that told what they know.
    pub(super) fn told(&self) -> impl Iterator<Item = (&Gateway, &Knows)> {
        self.gateways.iter().filter_map(|one| Some((one, one.told.as_ref().ok()?)))
    }

    /// Whether every gateway that is known was asked and told. Those that fetch their table over HTTP are not
    /// known.
    pub(super) fn all_told(&self) -> bool {
        let told = |peer: &PeerView| self.asked(peer).is_some_and(|one| one.told.is_ok());
        !self.gateways.is_empty()
            && self.gateways.iter().all(|gateway| gateway.told.is_ok())
            && self.gateway_peers().all(told)
    }

    fn asked(&self, peer: &PeerView) -> Option<&Gateway> {
        self.gateways.iter().find(|one| one.peer_id.as_ref() == Some(&peer.peer_id))
    }

    /// One of the instances, if each gateway that told passes over all that it knows.
    fn all_pass_over_all(&self) -> Option<Failed<'_>> {
        let all = |knows: &Knows| {
            let passed = self.passed_over(knows).len() as u64;
            passed > 0 && knows.endpoints.is_some_and(|all| passed >= all)
        };
        if !self.told().all(|(_, knows)| all(knows)) {
            return None;
        }
        self.told().find_map(|(_, knows)| self.passed_over(knows).first().copied())
    }

    /// Those that a gateway passes over at this moment; others that failed get the next call.
    fn passed_over<'a>(&'a self, knows: &'a Knows) -> Vec<Failed<'a>> {
        self.failed(knows).into_iter().filter(|(gone, _)| gone.for_s > 0).collect()
    }

    /// Instances of the service that failed at a gateway. Whatever else it names is none of them.
    fn failed<'a>(&'a self, knows: &'a Knows) -> Vec<Failed<'a>> {
        let of_it = |gone: &'a Ejected| {
            let is = |part: &&Assignment| {
                endpoint(&self.service.id, part).is_ok_and(|at| at.place() == gone.instance)
            };
            Some((gone, self.service.assignments.iter().find(is)?))
        };
        knows.failed.iter().filter_map(of_it).collect()
    }

    fn is_endpoint(&self, part: &Assignment) -> bool {
        endpoint(&self.service.id, part).is_ok()
    }

    fn name_of(&self, gateway: &Gateway) -> String {
        let id = gateway.peer_id.as_deref();
        if id == self.network.peer_id.as_deref() {
            return "the gateway in this very node".to_owned();
        }
        let known = self.network.peers.iter().find(|peer| Some(peer.peer_id.as_str()) == id);
        let label = known.map(|peer| peer.label.as_str()).filter(|label| !label.is_empty());
        format!("gateway {}", one_line(label.or(id).unwrap_or_default()))
    }

    fn instance(&self, part: &Assignment) -> String {
        format!("slot {} on {}", part.slot, self.named(part))
    }

    pub(super) fn gateways(&self) -> Vec<Line> {
        let line = |peer: &PeerView| {
            let words = match peer.connected {
                true => "is connected, and told of changes as they come",
                false => "is not connected: it goes on with the table it has",
            };
            let name = if peer.label.is_empty() { &peer.peer_id } else { &peer.label };
            let line = Line::new(one_line(name), words).with("peerId", peer.peer_id.as_str());
            self.with_what_it_told(line, self.asked(peer))
        };
        let own = self.gateways.iter().filter(|one| one.peer_id == self.network.peer_id);
        let own = own.map(|own| {
            let line = Line::new("this node", "is a gateway itself");
            self.with_what_it_told(line, Some(own))
        });
        own.chain(self.gateway_peers().map(line)).collect()
    }

    fn with_what_it_told(&self, mut line: Line, gateway: Option<&Gateway>) -> Line {
        let knows = match gateway.map(|gateway| &gateway.told) {
            Some(Ok(knows)) => knows,
            Some(Err(why)) => {
                line.words
                    .push_str(&format!("; what it knows is not to be had: {}", one_line(why)));
                return line;
            }
            None => {
                line.words.push_str("; it was not asked what it knows");
                return line;
            }
        };
        match knows.endpoints {
            Some(known) => {
                line.words.push_str(&format!("; knows {}", count(known, "instance")));
                line = line.with("knows", known);
            }
            None => line.words.push_str("; does not tell how many instances it knows"),
        }
        line.words.push_str(&format!(", as of {} s ago", knows.table_age_s));
        let mut gone = Vec::new();
        for (one, part) in self.failed(knows) {
            let name = self.instance(part);
            line.words.push_str(&match one.for_s {
                0 => format!("; tries {name} with the next call: {}", one.words()),
                s => format!("; passes over {name} for {s} s more: {}", one.words()),
            });
            gone.push(serde_json::json!({ "instance": one.instance, "seconds": one.for_s,
                "reason": one.reason, "slot": part.slot, "hostId": part.host.as_str() }));
        }
        if knows.may_be_more {
            line.words.push_str("; may pass over more than it tells");
        }
        line.with("tableAgeSeconds", knows.table_age_s).with("passesOver", gone)
    }
}
