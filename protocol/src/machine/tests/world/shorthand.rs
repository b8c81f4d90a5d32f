//! Commands and answers in few words.

use super::{Reply, World};
use crate::batch::{JobAt, KeyAnswer};
use crate::command::{Command, Completion, Idempotency, JobRequest, Refusal, ServiceReport};
use crate::id::{Hash, HostId, JobId, ServiceId};
use crate::machine::services::name_scope;
use crate::placement::rendezvous;
use crate::record::spec::Subject;
use crate::register::{Phase, Val};
use crate::view::{HostView, Milli, ServiceDef, ServiceStatus, ServiceView};

pub(crate) fn host_id(name: &str) -> HostId {
    HostId::new(name).unwrap()
}

fn words(list: &str) -> Vec<String> {
    list.split_whitespace().map(Into::into).collect()
}

/// A request for a job that needs `required`.
pub(crate) fn request(required: &str) -> JobRequest {
    JobRequest::new(br#"{"kind":"shell"}"#.to_vec(), words(required))
}

/// A job for any host.
pub(crate) fn submit() -> Command {
    Command::Submit(request(""))
}

/// Loses whatever `a` and `b` send each other from now on.
pub(crate) fn cut(world: &mut World, a: usize, b: usize) {
    world.cut.extend([(a, b), (b, a)]);
}

pub(crate) fn subject(job: &JobId) -> Subject {
    Subject::Job(job.clone())
}

pub(crate) fn key(name: &str, body: &str) -> Idempotency {
    Idempotency {
        scope: Hash::of(name.as_bytes()),
        fingerprint: Hash::of(body.as_bytes()),
        route: "/v1/jobs".into(),
    }
}

#[track_caller]
pub(crate) fn job_at(reply: Reply) -> JobAt {
    match reply {
        Ok(KeyAnswer::Job(at)) => at,
        other => panic!("not a job: {other:?}"),
    }
}

#[track_caller]
pub(crate) fn service_of(reply: Reply) -> ServiceView {
    match reply {
        Ok(KeyAnswer::Service(view)) => *view,
        other => panic!("not a service: {other:?}"),
    }
}

impl World {
    /// A key whose requests are carried out by this node, whichever is asked.
    pub(crate) fn key_at(&self, node: usize, body: &str) -> Idempotency {
        let ids: Vec<_> = self.nodes.iter().map(|node| node.machine.id()).collect();
        (0..)
            .map(|n| key(&format!("k{n}"), body))
            .find(|key| rendezvous(&key.scope.0, &ids).first() == Some(&ids[node]))
            .expect("some key is any node's")
    }

    /// Which coordinators this node is connected to, as far as it knows.
    pub(crate) fn set_view(&mut self, node: usize, others: &[usize]) {
        let peers = others.iter().map(|n| self.nodes[*n].machine.id()).collect();
        let now = self.now;
        self.nodes[node].machine.set_peers(now, peers);
    }

    /// Asks and runs everything until the answer is there.
    #[track_caller]
    pub(crate) fn call(&mut self, node: usize, command: Command) -> Reply {
        let token = self.ask(node, command);
        self.settle();
        self.reply(token).expect("answered")
    }

    #[track_caller]
    pub(crate) fn call_keyed(&mut self, node: usize, command: Command, key: Idempotency) -> Reply {
        let token = self.ask_keyed(node, command, Some(key));
        self.settle();
        self.reply(token).expect("answered")
    }

    #[track_caller]
    pub(crate) fn host(&mut self, node: usize, name: &str, max: u64) -> HostView {
        self.host_with(node, name, max, "shell")
    }

    #[track_caller]
    pub(crate) fn host_with(&mut self, node: usize, name: &str, max: u64, can: &str) -> HostView {
        let command = Command::RegisterHost {
            id: Some(host_id(name)),
            name: name.into(),
            capabilities: words(can),
            max_parallel: Milli::whole(max),
            node: None,
            openclaw: None,
        };
        match self.call(node, command) {
            Ok(KeyAnswer::Host(view)) => view,
            other => panic!("not a host: {other:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn submit(&mut self, node: usize) -> JobId {
        self.submit_with(node, request(""))
    }

    #[track_caller]
    pub(crate) fn submit_with(&mut self, node: usize, request: JobRequest) -> JobId {
        job_at(self.call(node, Command::Submit(request))).job
    }

    #[track_caller]
    pub(crate) fn try_claim(&mut self, node: usize, host: &str) -> Option<JobAt> {
        match self
            .call(node, Command::Claim { host: host_id(host), wait_ms: 0, without: Vec::new() })
        {
            Ok(KeyAnswer::NoJob) => None,
            other => Some(job_at(other)),
        }
    }

    #[track_caller]
    pub(crate) fn claim(&mut self, node: usize, host: &str) -> JobAt {
        self.try_claim(node, host).expect("a job")
    }

    pub(crate) fn completion(job: &JobId, host: &str, success: bool) -> Command {
        Command::Complete(Completion {
            job: job.clone(),
            host: host_id(host),
            attempt: None,
            success,
            duration: Some(Milli::whole(5)),
            exit_code: Some(i64::from(!success)),
            stdout: Some("out".into()),
            stderr: None,
            error: None,
            outputs: Vec::new(),
            agent: None,
            receipt: None,
        })
    }

    #[track_caller]
    pub(crate) fn complete(&mut self, node: usize, job: &JobId, host: &str) -> Reply {
        self.call(node, Self::completion(job, host, true))
    }

    #[track_caller]
    pub(crate) fn cancel(&mut self, node: usize, job: &JobId) -> Reply {
        self.call(node, Command::Cancel { job: job.clone() })
    }

    /// A heartbeat that counts only, as the original daemon's.
    #[track_caller]
    pub(crate) fn beat(&mut self, node: usize, host: &str, active: u64) -> Reply {
        let active = Some(Milli::whole(active));
        self.call(node, Command::Heartbeat { host: host_id(host), active, running: None })
    }

    #[track_caller]
    pub(crate) fn beat_naming(&mut self, node: usize, host: &str, running: &[&JobId]) -> Reply {
        let running = Some(running.iter().map(|job| (*job).clone()).collect());
        self.call(node, Command::Heartbeat { host: host_id(host), active: None, running })
    }

    /// A name of a service that this node makes, whichever is asked.
    pub(crate) fn name_at(&self, node: usize) -> String {
        let ids: Vec<_> = self.nodes.iter().map(|node| node.machine.id()).collect();
        let home = |name: &String| {
            let scope = name_scope(&ServiceId::new(name.clone()).unwrap());
            rendezvous(&scope.0, &ids).first() == Some(&ids[node])
        };
        (0..).map(|n| format!("s{n}")).find(home).expect("some name is any node's")
    }

    pub(crate) fn def(name: &str, replicas: u32, required: &str) -> ServiceDef {
        ServiceDef {
            name: name.into(),
            command: "serve".into(),
            replicas,
            required: words(required),
            ..ServiceDef::default()
        }
    }

    #[track_caller]
    pub(crate) fn deploy(&mut self, node: usize, id: &str, replicas: u32) -> ServiceView {
        let (id, def) = (Some(ServiceId::new(id).unwrap()), Self::def(id, replicas, ""));
        service_of(self.call(node, Command::PutService { id, def, owner: None }))
    }

    #[track_caller]
    pub(crate) fn claim_service(&mut self, node: usize, host: &str) -> Option<ServiceView> {
        match self.call(node, Command::ClaimService { host: host_id(host) }) {
            Ok(KeyAnswer::NoService) => None,
            other => Some(service_of(other)),
        }
    }

    #[track_caller]
    pub(crate) fn report(
        &mut self,
        node: usize,
        id: &str,
        host: &str,
        status: ServiceStatus,
    ) -> Reply {
        let report = ServiceReport {
            id: ServiceId::new(id).unwrap(),
            host: host_id(host),
            status,
            endpoint: (status == ServiceStatus::Running).then(|| "http://h:1".into()),
            error: (status == ServiceStatus::Failed).then(|| "broke".into()),
            epoch: None,
            node: None,
        };
        self.call(node, Command::ReportService(report))
    }

    /// The newest value of a job that is known to be chosen, from memory or disk.
    pub(crate) fn value(&self, node: usize, job: &JobId) -> Option<Val> {
        let subject = Subject::Job(job.clone());
        let at = &self.nodes[node];
        match at.machine.registers.get(&subject) {
            Some(entry) => entry.chosen.clone(),
            None => at.disk.stored(&subject)?.chosen().cloned(),
        }
    }

    pub(crate) fn phase(&self, node: usize, job: &JobId) -> Option<Phase> {
        self.value(node, job)?.job().map(|state| state.phase)
    }

    #[track_caller]
    pub(crate) fn refusal(reply: Reply) -> Refusal {
        reply.expect_err("refused")
    }
}
