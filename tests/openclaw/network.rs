//! Coordinators and hosts of agents, and what must be left of a job: nothing.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use skyclaw_tests::cluster::address;
use skyclaw_tests::{Ended, Model, Node, Setup, Shell, eventually, processes_with, within};
use tempfile::TempDir;

/// Longest wait for one turn of a real agent: some ten seconds of one core, most of them to start.
pub(crate) const TURN: Duration = Duration::from_secs(180);

/// Longest wait until a host knows what its OpenClaw can do.
const PROBE: Duration = Duration::from_secs(90);

/// The secret of these networks.
pub(crate) const TOKEN: &str = "secret-of-the-network";

/// Which OpenClaw hosts use, and where it finds its Node.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) launcher: PathBuf,
    pub(crate) path: OsString,
}

/// Two coordinators, hosts that know nothing but a bootstrap address, and a model.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) hosts: Vec<Node>,
    pub(crate) coordinators: Vec<Node>,
    pub(crate) model: Model,
    folder: TempDir,
}

/// What agents may do on all hosts.
pub(crate) fn policy(agents: &Value) -> Value {
    json!({ "version": 1, "jobs": { "security": "full" }, "agents": agents })
}

impl Network {
    /// As many hosts, all with this policy for agents; `change` changes their settings.
    #[track_caller]
    pub(crate) fn start(
        program: &Program,
        hosts: usize,
        agents: &Value,
        change: impl Fn(Setup) -> Setup,
    ) -> Self {
        let coordinator = || {
            Setup::coordinator()
                .env("SKYCLAW_TOKEN", TOKEN)
                .env("SKYCLAW_MIN_REPLICATIONS", 2)
                .env("SKYCLAW_LEASE_MS", 5000)
                .env("SKYCLAW_P2P_LEASE_MS", 15_000)
        };
        let first = coordinator().env("SKYCLAW_MIN_REPLICATIONS", 1).start();
        let bootstrap = address(&first);
        let second = coordinator().env("SKYCLAW_BOOTSTRAP", &bootstrap).start();
        let network = Self {
            hosts: Vec::new(),
            coordinators: vec![first, second],
            model: Model::start(),
            folder: tempfile::tempdir().expect("a folder can be made"),
        };
        eventually("the coordinators know each other", || {
            let peers = network.first().metric("skyclaw_p2p_peers ");
            if peers >= 1.0 { Ok(()) } else { Err(format!("{peers} peers")) }
        });
        let rules = network.folder.path().join("policy.json");
        fs::write(&rules, policy(agents).to_string()).expect("the test's folder is writable");
        let hosts: Vec<_> = (0..hosts)
            .map(|n| {
                let config = network.folder.path().join(format!("openclaw-{n}.json"));
                network.model.configure(&config, &place(n), &json!({}));
                let setup = Setup::new("host")
                    .env("SKYCLAW_TOKEN", TOKEN)
                    .env("SKYCLAW_BOOTSTRAP", &bootstrap)
                    .env("SKYCLAW_HOST_NAME", place(n))
                    .env("SKYCLAW_SERVICE_HOST_ENABLED", 0)
                    .env("SKYCLAW_STOP_GRACE_MS", 500)
                    .env("SKYCLAW_POLICY", rules.display());
                change(agent_host(setup, program, &config)).start()
            })
            .collect();
        let network = Self { hosts, ..network };
        within(PROBE, "all hosts can run agents", || {
            let all = network.host_records();
            let able = all.iter().filter(|host| has(host, "openclaw.exec")).count();
            if able == network.hosts.len() { Ok(()) } else { Err(json!(all).to_string()) }
        });
        network
    }

    /// The API of the first coordinator.
    pub(crate) fn first(&self) -> &skyclaw_tests::Api {
        &self.coordinators[0].api
    }

    /// What the first coordinator shows of hosts.
    #[track_caller]
    pub(crate) fn host_records(&self) -> Vec<Value> {
        let hosts = self.first().get("/v1/hosts").ok();
        hosts["hosts"].as_array().cloned().unwrap_or_default()
    }

    /// Submits an agent's job to the second coordinator; its id.
    #[track_caller]
    pub(crate) fn submit(&self, message: &str, more: &Value) -> String {
        submit(&self.coordinators[1].api, &agent(message, more))
    }

    /// What the first coordinator says of a job, for messages: it may not have heard of it yet.
    pub(crate) fn shows(&self, id: &str) -> String {
        self.first().get(&format!("/v1/jobs/{id}")).text()
    }

    /// Waits for a job's end, at the first coordinator.
    #[track_caller]
    pub(crate) fn until_ended(&self, id: &str, patience: Duration) -> Value {
        until_ended(self.first(), id, patience)
    }

    /// The same in one.
    #[track_caller]
    pub(crate) fn run(&self, message: &str, more: &Value) -> Value {
        self.until_ended(&self.submit(message, more), TURN)
    }

    /// Waits until nothing is left of any job on any host that runs: no process, no folder.
    #[track_caller]
    pub(crate) fn until_clean(&mut self) {
        for host in &mut self.hosts {
            until_clean(host);
        }
    }

    /// Runs `skyclaw` with the first coordinator.
    #[track_caller]
    pub(crate) fn skyclaw(&self, args: &[&str]) -> Ended {
        Shell::of(&self.coordinators[0]).with("SKYCLAW_TOKEN", TOKEN).patience(TURN).run(args)
    }
}

/// By what name the model knows the host of this number.
pub(crate) fn place(host: usize) -> String {
    format!("host-{host}")
}

/// The settings of a host that lends this OpenClaw with this configuration.
pub(crate) fn agent_host(setup: Setup, program: &Program, config: &Path) -> Setup {
    let launcher = program.launcher.display();
    setup
        .env("SKYCLAW_OPENCLAW_COMMAND", launcher)
        .env("SKYCLAW_OPENCLAW_CONFIG", config.display())
        .env("SKYCLAW_ALLOWED_COMMANDS", format!("sh,true,{}", program.launcher.display()))
        .foreign_env("PATH", &program.path.to_string_lossy())
}

/// A job for an agent; `more` goes into its payload.
pub(crate) fn agent(message: &str, more: &Value) -> Value {
    let mut payload =
        json!({ "kind": "openclaw-agent", "message": message, "timeoutSeconds": 120 });
    for (name, value) in more.as_object().into_iter().flatten() {
        payload[name] = value.clone();
    }
    json!({ "payload": payload })
}

#[track_caller]
pub(crate) fn submit(api: &skyclaw_tests::Api, job: &Value) -> String {
    let job = api.submit(job);
    job["id"].as_str().expect("an id").to_owned()
}

/// Waits until a job has ended, in whatever way.
#[track_caller]
pub(crate) fn until_ended(api: &skyclaw_tests::Api, id: &str, patience: Duration) -> Value {
    within(patience, "the job ends", || {
        let job = api.get(&format!("/v1/jobs/{id}")).json()["job"].clone();
        let ended = job["status"] == "completed" || job["status"] == "failed";
        if ended { Ok(job) } else { Err(job.to_string()) }
    })
}

/// Whether a host's record names that capability.
pub(crate) fn has(host: &Value, capability: &str) -> bool {
    host["capabilities"].as_array().is_some_and(|all| all.iter().any(|one| one == capability))
}

/// Processes that a node started and that have not ended: all live in folders below its own.
pub(crate) fn started_by(node: &Node) -> BTreeSet<u32> {
    let all = processes_with(&node.folder().display().to_string());
    all.into_iter().filter(|pid| *pid != node.process.pid()).collect()
}

/// Agents that run on a node now, as they call themselves.
pub(crate) fn agents_of(node: &Node) -> usize {
    let is_agent = |pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.starts_with(b"openclaw-agent")
    };
    let agents: BTreeSet<u32> = started_by(node).into_iter().filter(is_agent).collect();
    // A child has its parent's name until it becomes another program.
    let parent = |pid: u32| -> Option<u32> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()
    };
    let is_child = |pid: u32| parent(pid).is_none_or(|parent| agents.contains(&parent));
    agents.iter().filter(|pid| !is_child(**pid)).count()
}

/// Folders of jobs on a node: numbered, below the one folder of each daemon.
fn job_folders(node: &Node) -> Vec<PathBuf> {
    let list = |dir: &Path| {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let name = |path: &Path| {
        path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    };
    let roots = list(&node.folder().join("tmp")).into_iter();
    let roots = roots.filter(|path| name(path).starts_with("skyclaw-"));
    let jobs = roots.flat_map(|root| list(&root));
    jobs.filter(|path| name(path).chars().all(|c| c.is_ascii_digit())).collect()
}

/// Waits until nothing is left of a node's jobs.
#[track_caller]
pub(crate) fn until_clean(node: &mut Node) {
    eventually("nothing is left of its jobs", || {
        let (processes, folders) = (started_by(node), job_folders(node));
        let stray = fs::read_dir(node.folder().join("tmp")).into_iter().flatten().flatten();
        let stray: Vec<_> = stray
            .map(|entry| entry.path())
            .filter(|path| path.to_string_lossy().contains("openclaw-agent-exec"))
            .collect();
        if processes.is_empty() && folders.is_empty() && stray.is_empty() {
            Ok(())
        } else {
            Err(format!("processes {processes:?}, folders {folders:?} {stray:?}"))
        }
    });
}
