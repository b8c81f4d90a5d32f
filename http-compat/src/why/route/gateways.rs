//! The rules about what gateways told of themselves, and their lines.

use skyclaw_protocol::Assignment;

use super::{Case, Ejected, Gateway, Knows, are};
use crate::backend::PeerView;
use crate::gateway::endpoint;
use crate::why::told::{Line, count};
use crate::why::words::one_line;

/// A gateway hears at least so often that its table is as it was, in seconds, unless it hears nothing.
const HEARS_S: u64 = 40;

impl Case<'_> {
    /// The first rule about gateways: each of them that told passes over all instances that it knows.
    pub(super) fn passed_over_by_all(&self) -> Option<(bool, String, Option<String>)> {
        let told: Vec<(&Gateway, &Knows)> = self.told().collect();
        let all = |knows: &Knows| {
            !knows.passes_over.is_empty()
                && knows.endpoints.is_some_and(|all| knows.passes_over.len() as u64 >= all)
        };
        let (_, first) = told.first()?;
        if !told.iter().all(|(_, knows)| all(knows)) {
            return None;
        }
        let gone = first.passes_over.first()?;
        let because = format!(
            "{} reached, but every gateway passes over all that it knows, as they failed lately: {}, {}; \
             calls try them all the same",
            are(self.service.assignments.iter().filter(|part| self.is_endpoint(part)).count()),
            self.instance(gone).0,
            gone.words()
        );
        Some((false, because, Some(gone.help(&one_line(&self.service.def.name)))))
    }

    /// The rules after it, which leave the way open: one passes over an instance, knows less than there is, or hears
    /// of no coordinator. What helps against the first that holds.
    pub(super) fn told_by_gateways(&self, reached: usize, because: &mut String) -> Option<String> {
        let passes = self.told().find_map(|(gateway, knows)| {
            knows.passes_over.first().map(|gone| (gateway, knows, gone))
        });
        if let Some((gateway, knows, gone)) = passes {
            because.push_str(&format!(
                "; but {} passes over {} of {reached}: {}, {}",
                self.name_of(gateway),
                knows.passes_over.len(),
                self.instance(gone).0,
                gone.words()
            ));
            return Some(gone.help(&one_line(&self.service.def.name)));
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

    /// An instance that a gateway names, for people, and its slot and host as far as it is one of the service's.
    fn instance(&self, gone: &Ejected) -> (String, Option<&Assignment>) {
        let is = |part: &&Assignment| {
            endpoint(&self.service.id, part).is_ok_and(|at| at.replica() == gone.instance)
        };
        match self.service.assignments.iter().find(is) {
            Some(part) => (format!("slot {} on {}", part.slot, self.named(part)), Some(part)),
            None => (format!("instance {}", gone.instance), None),
        }
    }

    pub(super) fn gateways(&self) -> Vec<Line> {
        let line = |peer: &PeerView| {
            let words = match peer.connected {
                true => "is connected, and told of changes as they come",
                false => "is not connected: it goes on with the table it has",
            };
            let name = if peer.label.is_empty() { &peer.peer_id } else { &peer.label };
            let told = self.gateways.iter().find(|one| one.peer_id.as_ref() == Some(&peer.peer_id));
            let line = Line::new(one_line(name), words).with("peerId", peer.peer_id.as_str());
            match told {
                Some(gateway) => self.with_what_it_told(line, gateway),
                None => line,
            }
        };
        let own = self.gateways.iter().filter(|one| one.peer_id == self.network.peer_id);
        let own = own.map(|own| {
            let line = Line::new("this node", "is a gateway itself");
            self.with_what_it_told(line, own)
        });
        own.chain(self.gateway_peers().map(line)).collect()
    }

    fn with_what_it_told(&self, mut line: Line, gateway: &Gateway) -> Line {
        let knows = match &gateway.told {
            Ok(knows) => knows,
            Err(why) => {
                line.words
                    .push_str(&format!("; what it knows is not to be had: {}", one_line(why)));
                return line;
            }
        };
        if let Some(known) = knows.endpoints {
            line.words.push_str(&format!("; knows {}", count(known, "instance")));
            line = line.with("knows", known);
        }
        line.words.push_str(&format!(", as of {} s ago", knows.table_age_s));
        let gone: Vec<serde_json::Value> = knows.passes_over.iter().map(|gone| {
            let (name, part) = self.instance(gone);
            let until = match gone.for_s {
                0 => "until a call or a check gets through".to_owned(),
                s => format!("for {s} s more"),
            };
            line.words.push_str(&format!("; passes over {name} {until}: {}", gone.words()));
            let mut shown = serde_json::json!({ "instance": gone.instance, "seconds": gone.for_s,
                "reason": gone.reason });
            if let Some(part) = part {
                shown["slot"] = part.slot.into();
                shown["hostId"] = part.host.as_str().into();
            }
            shown
        }).collect();
        line.with("tableAgeSeconds", knows.table_age_s).with("passesOver", gone)
    }
}
