//! That the nodes have found each other, and that a job goes through all of them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{COORDINATORS, COPIES, GLANCE, STEP, Testnet, TestnetError, say};
use crate::client::{ClientError, segment};

impl Testnet {
    /// Waits until each coordinator is connected with all others.
    pub(super) async fn until_coordinators_meet(&mut self) -> Result<(), TestnetError> {
        let others = usize::from(COORDINATORS) - 1;
        let begun = Instant::now();
        for at in 0..self.coordinators.len() {
            loop {
                let network = self.ask(at, "/v1/network").await?;
                let peers = network["peers"].as_array().into_iter().flatten();
                let coordinator = Value::from("coordinator");
                let met = peers
                    .filter(|peer| peer["connected"] == Value::Bool(true))
                    .filter_map(|peer| peer["roles"].as_array())
                    .filter(|roles| roles.contains(&coordinator))
                    .count();
                if met >= others {
                    break;
                }
                let missing = || format!("coordinator-{} is connected with no other one", at + 1);
                self.look_again(begun, missing).await?;
            }
        }
        let ms = begun.elapsed().as_millis();
        say(&format!("the coordinators are connected with each other ({ms} ms)"));
        Ok(())
    }

    /// Waits until each coordinator knows all hosts.
    pub(super) async fn until_hosts_are_known(&mut self) -> Result<(), TestnetError> {
        let count = self.hosts.len();
        let begun = Instant::now();
        for at in 0..self.coordinators.len() {
            loop {
                let known = self.host_names(at).await?.len();
                if known >= count {
                    break;
                }
                let name = at + 1;
                let missing = || format!("coordinator-{name} knows {known} of {count} hosts");
                self.look_again(begun, missing).await?;
            }
        }
        let ms = begun.elapsed().as_millis();
        say(&format!("all coordinators know all {count} hosts ({ms} ms)"));
        Ok(())
    }

    /// Names of the hosts that coordinator `at` knows, by id.
    pub(super) async fn host_names(
        &mut self,
        at: usize,
    ) -> Result<BTreeMap<String, String>, TestnetError> {
        let known = self.ask(at, "/v1/hosts").await?;
        let hosts = known["hosts"].as_array().into_iter().flatten();
        Ok(hosts.map(|host| (text(&host["id"]), text(&host["name"]))).collect())
    }

    /// Submits a job to the first coordinator and follows it at all of them.
    pub(super) async fn run_a_job(&mut self) -> Result<(), TestnetError> {
        let script = "echo \"hello from $(uname -sm), process $$\"";
        say(&format!("submitting a job to coordinator-1: sh -c '{script}'"));
        let begun = Instant::now();
        let body = json!({
            "payload": { "kind": "shell", "command": "sh", "args": ["-c", script] },
            "requirement": { "requiredCapabilities": ["shell"] },
            "submittedBy": "testnet",
        });
        let submitted = match self.coordinators[0].client.post("/v1/jobs", &body).await {
            Ok(answer) => text(&answer["job"]["id"]),
            Err(error) => return Err(self.blame(error).await),
        };
        let ms = begun.elapsed().as_millis();
        say(&format!("{submitted} is safe on {COPIES} coordinators ({ms} ms)"));

        let job = self.follow(0, &submitted, begun).await?;
        let took = begun.elapsed().as_millis();
        let host = text(&job["assignedHostId"]);
        let output = text(&job["result"]["stdout"]);
        if job["status"] != "completed" || !output.starts_with("hello from ") {
            return Err(TestnetError::Check(format!("the job ended as {job:#}")));
        }
        let name = self.host_names(0).await?.remove(&host).unwrap_or(host);
        say(&format!("it ran on {name} in {took} ms and said: {}", output.trim_end()));

        for at in 1..self.coordinators.len() {
            let there = self.follow(at, &submitted, begun).await?;
            if there["result"]["stdout"] != job["result"]["stdout"] {
                let (name, there) = (at + 1, format!("{there:#}"));
                return Err(TestnetError::Check(format!("coordinator-{name} has it as {there}")));
            }
            let ms = begun.elapsed().as_millis();
            say(&format!("coordinator-{} has it too, with its output ({ms} ms)", at + 1));
        }
        Ok(())
    }

    /// The job at coordinator `at` once it has ended there.
    async fn follow(&mut self, at: usize, id: &str, begun: Instant) -> Result<Value, TestnetError> {
        let path = format!("/v1/jobs/{}", segment(id));
        loop {
            let status = match self.ask(at, &path).await {
                Ok(mut answer) => match answer["job"]["status"].as_str() {
                    Some(status @ ("queued" | "leased")) => status.to_owned(),
                    _ => return Ok(answer["job"].take()),
                },
                // One that voted hears of the outcome a moment after the one who asked for it.
                Err(TestnetError::Client(ClientError::Status { status: 404, .. })) => {
                    "unknown".to_owned()
                }
                Err(error) => return Err(error),
            };
            if begun.elapsed() > STEP {
                let what = format!("job {id} is still {status} at coordinator-{}", at + 1);
                return Err(TestnetError::Check(what));
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// A pause, or the end of the patience with those who look for each other.
    pub(super) async fn look_again(
        &self,
        begun: Instant,
        missing: impl FnOnce() -> String,
    ) -> Result<(), TestnetError> {
        if begun.elapsed() < STEP {
            tokio::time::sleep(GLANCE).await;
            return Ok(());
        }
        let mut what = format!("{} after {} s", missing(), STEP.as_secs());
        if self.options.mdns {
            what.push_str(": mDNS needs a network interface, other than loopback, with multicast");
        }
        Err(TestnetError::Check(what))
    }
}

pub(super) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
