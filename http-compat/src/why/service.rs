//! Why fewer instances of a service run than are wanted.

use std::collections::{BTreeMap, BTreeSet};

use skyclaw_protocol::clock::Wall;
use skyclaw_protocol::why::{NoInstance, ServiceWhy};
use skyclaw_protocol::{Assignment, HostId, HostView, SandboxLevel, ServiceStatus, ServiceView};

use super::LISTED;
use super::told::{Line, Told, count, lasting};
use super::undecided::Undecided;
use super::words::one_line;

/// What is known of a service and of hosts.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// The service.
    pub service: &'a ServiceView,
    /// All hosts.
    pub hosts: &'a [HostView],
    /// What its rules say of each; none where it is decided by an original.
    pub judged: Option<&'a ServiceWhy>,
    /// The name of the coordinator that decides, if that is another one.
    pub leader: Option<&'a str>,
    /// Too few of those who decide are there.
    pub undecided: Option<&'a Undecided>,
    /// Now.
    pub now: Wall,
}

/// The same, by the ids of hosts: each is looked for many times.
struct Looked<'a> {
    service: &'a ServiceView,
    judged: Option<&'a ServiceWhy>,
    leader: Option<&'a str>,
    now: Wall,
    names: BTreeMap<&'a HostId, &'a str>,
    rejections: BTreeMap<&'a HostId, &'a NoInstance>,
}

/// Explains from that alone.
#[must_use]
pub fn explain(case: &Case<'_>) -> Told {
    let service = case.service;
    let looked = Looked::of(case);
    let wanted = service.def.replicas as usize;
    let running = running(service).len();
    let (mut because, mut then) = match () {
        () if running >= wanted => looked.enough(wanted),
        () => looked.short(wanted, running),
    };
    if let Some(undecided) = case.undecided {
        because = format!("{because}; {}", undecided.words("service"));
        then = Some(undecided.help());
    }
    let status = match running {
        0 => "down",
        few if few < wanted => "short",
        _ => "well",
    };
    let (hosts, rules) = looked.judge();
    let judged = case.judged.map_or(0, |judged| judged.hosts.len());
    Told {
        kind: "service",
        id: service.id.to_string(),
        name: service.def.name.clone(),
        status: status.to_owned(),
        because,
        then,
        more_hosts: (judged - hosts.len()) as u64,
        lists: vec![("instances", looked.instances()), ("hosts", hosts)],
        rules,
    }
}

/// The slots of which an instance runs.
fn running(service: &ServiceView) -> BTreeSet<u32> {
    let runs = |part: &&Assignment| {
        part.status == ServiceStatus::Running && part.slot < service.def.replicas
    };
    service.assignments.iter().filter(runs).map(|part| part.slot).collect()
}

impl<'a> Looked<'a> {
    fn of(case: &Case<'a>) -> Self {
        let named = case.hosts.iter().filter(|host| !host.name.is_empty());
        let judged = case.judged.iter().flat_map(|judged| &judged.hosts);
        Self {
            service: case.service,
            judged: case.judged,
            leader: case.leader,
            now: case.now,
            names: named.map(|host| (&host.id, host.name.as_str())).collect(),
            rejections: judged.filter_map(|(host, no)| Some((host, no.as_ref()?))).collect(),
        }
    }

    fn named(&self, host: &HostId) -> String {
        one_line(self.names.get(host).copied().unwrap_or(host.as_str()))
    }

    fn rejection(&self, host: &HostId) -> Option<&'a NoInstance> {
        self.rejections.get(host).copied()
    }

    /// As many run as are wanted; what is wrong all the same.
    fn enough(&self, wanted: usize) -> (String, Option<String>) {
        let service = self.service;
        if let Some(back) = &service.reverted {
            let error = one_line(&back.error);
            let because = format!(
                "{} of what was deployed before; deployment {} never became healthy and was taken \
                 back: {error}",
                runs(wanted),
                back.generation
            );
            return (because, Some(help(&service.def.name, &error)));
        }
        let silent = |part: &&Assignment| {
            part.status == ServiceStatus::Running
                && matches!(
                    self.rejection(&part.host),
                    Some(
                        NoInstance::Gone { .. } | NoInstance::Doubtful { .. } | NoInstance::Revoked
                    )
                )
        };
        let silent: Vec<String> =
            service.assignments.iter().filter(silent).map(|part| self.named(&part.host)).collect();
        if !silent.is_empty() {
            let because =
                format!("{}, as last told; but {} fell silent", runs(wanted), silent.join(", "));
            let then = "if it stays silent another host gets the instance within a minute; few are \
                        given up at once";
            return (because, Some(then.to_owned()));
        }
        let old = |part: &&Assignment| part.generation != service.generation;
        let old = service.assignments.iter().filter(old).count();
        if old > 0 {
            let because = format!(
                "{}; {} of what was deployed before, until its successor runs",
                runs(wanted),
                count(old as u64, "instance")
            );
            return (because, None);
        }
        (runs(wanted), None)
    }

    /// Fewer run.
    fn short(&self, wanted: usize, running: usize) -> (String, Option<String>) {
        let service = self.service;
        let head = format!("{running} of {wanted} wanted instances run");
        let parts = |status: ServiceStatus| {
            let all = service.assignments.iter();
            all.filter(move |part| part.status == status && part.slot < service.def.replicas)
        };
        let latest = |status: ServiceStatus| parts(status).max_by_key(|part| part.updated);
        let name = &service.def.name;
        if let Some(part) = latest(ServiceStatus::Failed) {
            let error =
                part.error.as_deref().map_or_else(|| "it was not said why".into(), one_line);
            let because = format!("{head}; on {} it failed: {error}", self.named(&part.host));
            return (because, Some(help(name, &error)));
        }
        let given: BTreeSet<u32> = service.assignments.iter().map(|part| part.slot).collect();
        let empty = (0..service.def.replicas).filter(|slot| !given.contains(slot)).count();
        if empty > 0 {
            let (why, then) = self.no_host();
            return (format!("{head}; {why}"), Some(then));
        }
        if let Some(part) = latest(ServiceStatus::Pending) {
            let host = self.named(&part.host);
            let since = lasting(self.now.ms_since(part.updated));
            return match &part.error {
                Some(error) => {
                    let error = one_line(error);
                    let because = format!(
                        "{head}; on {host} it is begun again after a growing pause: {error}"
                    );
                    (because, Some(help(name, &error)))
                }
                None => (
                    format!("{head}; on {host} one is being started, for {since}"),
                    Some(format!(
                        "hosts fetch the code first, then give it a minute to answer; `skyclaw logs \
                         {name}` shows what it writes"
                    )),
                ),
            };
        }
        (head, None)
    }

    /// Why nobody is given the missing instances.
    fn no_host(&self) -> (String, String) {
        let Some(judged) = self.judged else {
            let then = "ask the coordinator that took it".to_owned();
            return ("its hosts are chosen by an original coordinator".to_owned(), then);
        };
        if judged.hosts.iter().any(|(_, rejected)| rejected.is_none()) {
            let then = match self.leader {
                Some(leader) => format!("look again in some seconds; {leader} decides about it"),
                None => "look again in some seconds".to_owned(),
            };
            return ("a host may run one more, and is about to be given it".to_owned(), then);
        }
        let nearest =
            judged.hosts.iter().filter_map(|(host, rejected)| Some((host, rejected.as_ref()?)));
        let Some((host, rejected)) = nearest.min_by_key(|(_, rejected)| distance(rejected)) else {
            let then = "start one: `skyclaw-node`, or `skyclaw-node --role host`".to_owned();
            return ("there are no hosts".to_owned(), then);
        };
        let host = self.named(host);
        match rejected {
            NoInstance::Failed { for_ms } => (
                "what is wanted failed on every host that may run it".to_owned(),
                format!(
                    "it is tried on {host} again in {}; deploy what was put right, or start another \
                     host",
                    lasting(*for_ms)
                ),
            ),
            NoInstance::Lacks(lacks) => {
                (format!("no host has {}", lacks.join(", ")), lacking(&host, lacks))
            }
            NoInstance::Doubtful { .. } | NoInstance::Gone { .. } => (
                "the hosts that run services have fallen silent".to_owned(),
                format!("start {host} again, or see why it reaches no coordinator"),
            ),
            NoInstance::TakesNoOrders => (
                "no host asks for services".to_owned(),
                "start one of this version: `skyclaw-node --role host`".to_owned(),
            ),
            NoInstance::Revoked => (
                "the only hosts belong to nodes that were revoked".to_owned(),
                "invite another machine: `skyclaw invite --role host`".to_owned(),
            ),
        }
    }

    fn instances(&self) -> Vec<Line> {
        let mut parts: Vec<&Assignment> = self.service.assignments.iter().collect();
        parts.sort_by_key(|part| (part.slot, part.epoch));
        let line = |part: &Assignment| {
            let host = self.named(&part.host);
            let mut words = format!("{} on {host}", part.status.as_str());
            if part.generation != self.service.generation {
                words.push_str(&format!(", of deployment {}", part.generation));
            }
            if part.status != ServiceStatus::Running {
                words.push_str(&format!(", for {}", lasting(self.now.ms_since(part.updated))));
            }
            let spared = self.judged.is_some_and(|judged| judged.spared.contains(&part.host));
            match self.rejection(&part.host) {
                _ if spared => words.push_str(
                    "; its host is gone, and is given up within a minute: others just were",
                ),
                Some(no @ (NoInstance::Gone { .. } | NoInstance::Doubtful { .. })) => {
                    words.push_str(&format!("; its host {}", rejection(no)));
                }
                _ => {}
            }
            if let Some(error) = &part.error {
                words.push_str(&format!(": {}", one_line(error)));
            }
            Line::new(format!("slot {}", part.slot), words)
                .with("slot", part.slot)
                .with("hostId", part.host.as_str())
                .with("status", part.status.as_str())
        };
        parts.into_iter().map(line).collect()
    }

    /// The nearest hosts, those first to which the least is lacking; and each rule, with those it rejects.
    fn judge(&self) -> (Vec<Line>, Vec<(&'static str, Vec<String>)>) {
        let Some(judged) = self.judged else { return (Vec::new(), Vec::new()) };
        let mut all: Vec<_> = judged.hosts.iter().collect();
        all.sort_by_key(|(_, rejected)| rejected.as_ref().map(distance));
        all.truncate(LISTED);
        let line = |(host, rejected): &&(HostId, Option<NoInstance>)| {
            let runs = self.service.assignments.iter().filter(|part| part.host == *host).count();
            let words = match (rejected, runs) {
                (Some(rejected), _) => rejection(rejected),
                (None, 0) => "may run one".to_owned(),
                (None, runs) => format!("has {}, and may run more", count(runs as u64, "instance")),
            };
            let line = Line::new(self.named(host), words).with("id", host.as_str());
            match rejected {
                Some(rejected) => line.with("rule", rejected.rule()),
                None => line,
            }
        };
        let rejects = |rule: &'static str| {
            let by = judged
                .hosts
                .iter()
                .filter(|(_, no)| no.as_ref().is_some_and(|rejected| rejected.rule() == rule));
            (rule, by.map(|(host, _)| self.named(host)).collect())
        };
        (all.iter().map(line).collect(), NoInstance::RULES.map(rejects).into())
    }
}

fn runs(wanted: usize) -> String {
    match wanted {
        1 => "the instance that is wanted runs".to_owned(),
        all => format!("all {all} instances run"),
    }
}

/// How far a host is from being given an instance: later rules are nearer.
fn distance(rejected: &NoInstance) -> (usize, usize) {
    let at = NoInstance::RULES.iter().position(|rule| *rule == rejected.rule()).unwrap_or_default();
    let lacks = if let NoInstance::Lacks(lacks) = rejected { lacks.len() } else { 0 };
    (NoInstance::RULES.len() - at, lacks)
}

/// What keeps a host, in words.
pub(super) fn rejection(rejected: &NoInstance) -> String {
    match rejected {
        NoInstance::Revoked => "belongs to a node that was revoked".to_owned(),
        NoInstance::TakesNoOrders => {
            "asks for no services: it is of the original, or has just begun".to_owned()
        }
        NoInstance::Gone { silent_ms } => {
            format!("is gone: last heard of {} ago", lasting(*silent_ms))
        }
        NoInstance::Doubtful { silent_ms } => {
            format!("was last heard of {} ago, and is given nothing new", lasting(*silent_ms))
        }
        NoInstance::Lacks(lacks) => format!("has no {}", lacks.join(", ")),
        NoInstance::Failed { for_ms } => {
            format!("failed to run it, and is tried again in {}", lasting(*for_ms))
        }
    }
}

/// What a host would need to which these are lacking.
fn lacking(host: &str, lacks: &[String]) -> String {
    let level = lacks.iter().find_map(|word| word.strip_prefix(SandboxLevel::CAPABILITY));
    if let Some(level) = level {
        return format!(
            "{host} is nearest, and does not keep runs apart at level {level}: `skyclaw doctor` there \
             says what it lacks; or deploy with a weaker --sandbox"
        );
    }
    format!(
        "{host} is nearest: if it can do that, add {} to its SKYCLAW_CAPABILITIES; or deploy without \
         that",
        lacks.join(",")
    )
}

/// What can be done about an instance that failed so. The texts are those of hosts.
fn help(name: &str, error: &str) -> String {
    let logs = format!("`skyclaw logs {name}` shows what it wrote");
    match () {
        () if error.contains("command not allowed") => "the owner of that host allows what stands in its \
            SKYCLAW_ALLOWED_COMMANDS or `services` of its policy; or require a capability that only \
            hosts with that command have"
            .to_owned(),
        () if error.contains("network not allowed") => "the owner of that host says in its policy what \
            services may reach; deploy without --network, or require a capability of hosts that grant it"
            .to_owned(),
        () if error.contains("did not listen on port") => {
            format!("it has to listen on the port in PORT; {logs}")
        }
        () if error.contains("did not answer") => {
            format!("it started and is not healthy: is the path of --health right? {logs}")
        }
        () if error.contains("there is no directory") => {
            "deploy with a --cwd that is in the folder that is sent".to_owned()
        }
        () if error.contains("its bundle cannot be unpacked") => {
            "what was sent is no whole archive: deploy its folder again".to_owned()
        }
        () if error.contains("its bundle cannot be kept") => {
            "see to room on the disk of that host, and to who owns its data folder".to_owned()
        }
        () if error.contains("its bundle") => {
            "the code did not get to that host: is the coordinator that took it connected? deploy again \
             if it is gone"
                .to_owned()
        }
        () if error.contains("this host is not able") => {
            "see the log of that host; another host gets it as soon as there is one".to_owned()
        }
        () => logs,
    }
}

#[cfg(test)]
mod tests;
