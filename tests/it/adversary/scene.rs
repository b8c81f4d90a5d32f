//! What Mallory attacks: three coordinators, a host, and jobs in all states.

use std::path::PathBuf;

use serde_json::{Value, json};
use skyclaw_protocol::record::Signed;
use skyclaw_protocol::record::host::HostDesc;
use skyclaw_protocol::record::spec::{RegisterKey, Spec};
use skyclaw_protocol::register::Certificate;
use skyclaw_protocol::wire::Known;
use skyclaw_protocol::{HostId, JobId, NodeId};
use skyclaw_tests::mallory::Mallory;
use skyclaw_tests::{Node, Setup, capabilities, eventually, shell};

use crate::{cluster, text};

pub(super) struct Scene {
    pub(super) nodes: Vec<Node>,
    pub(super) host: Node,
    /// Ended, and it said `honest`.
    pub(super) done: String,
    /// For hosts that there are none of.
    pub(super) queued: String,
    /// Runs until the file is there, and says `honest`.
    pub(super) running: String,
    go: PathBuf,
}

/// A job as it is known, taken apart.
pub(super) struct Job {
    pub(super) known: Known,
    pub(super) spec: Signed<Spec>,
    pub(super) certificate: Signed<Certificate>,
}

impl Job {
    pub(super) fn key(&self) -> RegisterKey {
        self.certificate.body().key.clone()
    }

    pub(super) fn home(&self) -> NodeId {
        self.spec.body().home
    }
}

impl Scene {
    /// All of it was there before Mallory came: she votes on none of these jobs.
    #[track_caller]
    pub(super) fn set() -> Self {
        let nodes = cluster::nodes(3, 2);
        let host = Setup::new("host")
            .env("SKYCLAW_TOKEN", "secret")
            .env("SKYCLAW_BOOTSTRAP", cluster::address(&nodes[0]))
            .env("SKYCLAW_ALLOWED_COMMANDS", "sh")
            .env("SKYCLAW_HOST_ID", "honest-host")
            .env("SKYCLAW_SERVICE_HOST_ENABLED", 0)
            .env("SKYCLAW_STOP_GRACE_MS", 500)
            .start();
        for node in &nodes {
            node.api.until_hosts(1);
        }
        let go = host.folder().join("go");
        let done = nodes[0].api.submit_shell("echo honest");
        nodes[0].api.until_job_is(&done, "completed");
        let script = format!("while [ ! -e {} ]; do sleep 0.1; done; echo honest", go.display());
        let running = nodes[0].api.submit_shell(&script);
        nodes[0].api.until_job_is(&running, "leased");
        let queued = nodes[0].api.submit(&capabilities(shell("echo never"), &["nobody"]));
        let queued = text(&queued, "id").to_owned();
        let this = Self { nodes, host, done, queued, running, go };
        this.until_agreed();
        this
    }

    pub(super) fn addresses(&self) -> Vec<String> {
        self.nodes.iter().map(cluster::address).collect()
    }

    /// What all coordinators show of jobs, once they show the same.
    #[track_caller]
    pub(super) fn until_agreed(&self) -> Vec<Value> {
        eventually("all show the same", || {
            let shown: Vec<Vec<Value>> = self.nodes.iter().map(jobs).collect();
            if shown.iter().all(|jobs| *jobs == shown[0]) {
                return Ok(shown[0].clone());
            }
            Err(format!("{shown:?}"))
        })
    }

    /// The home of the jobs, as a node.
    #[track_caller]
    pub(super) fn job(&self, mallory: &Mallory, id: &str) -> Job {
        let known = mallory.find_job(id);
        let spec = known.spec.clone().expect("it came along").reopen().expect("it reads");
        let certificate = known.certificate.clone().reopen().expect("it reads");
        Job { known, spec, certificate }
    }

    #[track_caller]
    pub(super) fn host_desc(&self, mallory: &Mallory) -> Signed<HostDesc> {
        mallory.find_host("honest-host").reopen().expect("it reads")
    }

    /// Does something that the first coordinator must count.
    #[track_caller]
    pub(super) fn counted<T>(&self, name: &str, counter: &str, attempt: impl FnOnce() -> T) -> T {
        counted(&self.nodes[0], name, counter, attempt)
    }

    /// Does something that one of the coordinators at least must count.
    #[track_caller]
    pub(super) fn counted_by_one(&self, name: &str, counter: &str, attempt: impl FnOnce()) {
        let count = || self.nodes.iter().map(|node| node.api.metric(counter)).sum::<f64>();
        let before = count();
        attempt();
        eventually(&format!("`{name}` is counted"), || match count() {
            now if now > before => Ok(()),
            now => Err(format!("{counter} is {now} still")),
        });
    }

    /// Does something that every coordinator must count.
    #[track_caller]
    pub(super) fn counted_by_all(&self, name: &str, counter: &str, attempt: impl FnOnce()) {
        let counts = || self.nodes.iter().map(|node| node.api.metric(counter));
        let before: Vec<f64> = counts().collect();
        attempt();
        eventually(&format!("`{name}` is counted"), || {
            let now: Vec<f64> = counts().collect();
            if now.iter().zip(&before).all(|(now, before)| now > before) {
                return Ok(());
            }
            Err(format!("{counter} was {before:?} and is {now:?}"))
        });
    }

    /// The network serves: what ran ends as it should, a new job runs, and nothing else came to be.
    /// `ours` are jobs that the test made beside.
    #[track_caller]
    pub(super) fn serves(&self, before: &[Value]) {
        assert_eq!(self.until_agreed(), before, "something came of it");
        std::fs::write(&self.go, "").expect("the host's folder is writable");
        let ended = self.nodes[0].api.until_job_ended(&self.running);
        assert_eq!(ended["status"], "completed", "{ended}");
        assert_eq!(
            (&ended["result"]["stdout"], &ended["attempts"]),
            (&json!("honest\n"), &json!(1))
        );
        for node in &self.nodes {
            let fresh = node.api.submit_shell("echo fresh");
            let ended = node.api.until_job_ended(&fresh);
            assert_eq!(ended["result"]["stdout"], "fresh\n", "{ended}");
            assert_eq!(ended["assignedHostId"], "honest-host", "{ended}");
        }
        self.nodes[0].api.post(&format!("/v1/jobs/{}/cancel", self.queued), &json!({})).ok();
        for node in &self.nodes {
            node.api.until_job_is(&self.queued, "failed");
            assert!(!node.process.log().contains("panic"), "{}", node.process.log_tail());
        }
        assert!(
            self.host.process.log().find("panic").is_none(),
            "{}",
            self.host.process.log_tail()
        );
    }

    pub(super) fn job_id(&self, id: &str) -> JobId {
        JobId::new(id).expect("an id")
    }
}

/// Does something that `node` must count.
#[track_caller]
pub(super) fn counted<T>(node: &Node, name: &str, counter: &str, attempt: impl FnOnce() -> T) -> T {
    let before = node.api.metric(counter);
    let outcome = attempt();
    eventually(&format!("`{name}` is counted"), || match node.api.metric(counter) {
        now if now > before => Ok(()),
        now => Err(format!("{counter} is {now} still")),
    });
    outcome
}

pub(super) fn host_id(text: &str) -> HostId {
    HostId::new(text).expect("an id")
}

/// What matters of the jobs that a coordinator shows.
fn jobs(node: &Node) -> Vec<Value> {
    let listed = node.api.get("/v1/jobs").ok();
    let all = listed["jobs"].as_array().cloned().unwrap_or_default();
    let mut brief: Vec<Value> = all
        .iter()
        .map(|job| {
            json!({
                "id": job["id"], "status": job["status"], "attempts": job["attempts"],
                "host": job["assignedHostId"], "stdout": job["result"]["stdout"],
                "payload": job["payload"], "by": job["submittedBy"],
            })
        })
        .collect();
    brief.sort_by_key(ToString::to_string);
    brief
}
