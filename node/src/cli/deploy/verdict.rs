//! Where a deployment stands, told from one look at its service.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::cli::show::service::instances;
use crate::cli::show::text;

/// Failed instances after which a first deployment is given up by who waits for it: a host tries
/// each several times before it reports it as failed.
const ENOUGH: usize = 3;

/// Where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// All instances of it run, and none of another.
    Runs,
    /// Some instances do not run yet.
    Starting {
        /// Those that do.
        running: usize,
    },
    /// All that is left of it has failed, for now. Another host may be found.
    Failing(String),
    /// It is over with it, and why.
    Over(String),
}

/// What was seen of a deployment so far.
#[derive(Debug)]
pub(super) struct Watch {
    generation: u64,
    replicas: usize,
    /// Instances that were seen to have failed, with their errors.
    failed: BTreeMap<u64, String>,
}

impl Watch {
    pub(super) const fn new(generation: u64, replicas: usize) -> Self {
        Self { generation, replicas, failed: BTreeMap::new() }
    }

    /// What a look at the service says.
    pub(super) fn look(&mut self, service: &Value) -> Verdict {
        let back = &service["reverted"];
        if back["generation"].as_u64() == Some(self.generation) {
            let error = text(back, "error");
            return Verdict::Over(format!("was taken back to the deployment before: {error}"));
        }
        let now = service["generation"].as_u64().unwrap_or(0);
        if now > self.generation {
            let why = format!("was deployed again meanwhile, as generation {now}");
            return Verdict::Over(why);
        }
        let (mine, others): (Vec<&Value>, Vec<&Value>) = instances(service)
            .iter()
            .partition(|part| part["generation"].as_u64() == Some(self.generation));
        for part in mine.iter().filter(|part| part["status"] == "failed") {
            let epoch = part["epoch"].as_u64().unwrap_or(0);
            self.failed.insert(epoch, text(part, "error"));
        }
        let running = mine.iter().filter(|part| part["status"] == "running").count();
        if now < self.generation {
            // This coordinator has not heard of it yet.
            return Verdict::Starting { running: 0 };
        }
        if running >= self.replicas && others.is_empty() {
            return Verdict::Runs;
        }
        let all_failed = !mine.is_empty() && mine.iter().all(|part| part["status"] == "failed");
        // A deployment that replaces one is taken back by the service's home, which says why.
        let first = service["previousGeneration"].is_null() && others.is_empty();
        match self.failed.values().next_back() {
            Some(error) if running == 0 && first && self.failed.len() >= ENOUGH => {
                Verdict::Over(format!("does not start: {error}"))
            }
            Some(error) if all_failed && first => Verdict::Failing(error.clone()),
            _ => Verdict::Starting { running },
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn part(epoch: u64, generation: u64, status: &str) -> Value {
        json!({ "hostId": "h", "slot": 0, "epoch": epoch, "generation": generation,
            "status": status, "error": format!("e{epoch}") })
    }

    fn service(generation: u64, parts: Vec<Value>) -> Value {
        json!({ "id": "api", "generation": generation, "replicas": 2, "assignments": parts })
    }

    #[test]
    fn it_runs_once_all_of_it_do_and_nothing_else_does() {
        let mut watch = Watch::new(2, 2);
        let (old, new) = (|e| part(e, 1, "running"), |e| part(e, 2, "running"));
        for (parts, want) in [
            (vec![], Verdict::Starting { running: 0 }),
            (vec![old(1), old(2), part(3, 2, "pending")], Verdict::Starting { running: 0 }),
            (vec![old(1), new(3)], Verdict::Starting { running: 1 }),
            (vec![old(1), new(3), new(4)], Verdict::Starting { running: 2 }),
            (vec![new(3), new(4)], Verdict::Runs),
        ] {
            assert_eq!(watch.look(&service(2, parts)), want);
        }
        let stale = service(1, vec![old(1), old(2)]);
        assert_eq!(watch.look(&stale), Verdict::Starting { running: 0 });
    }

    #[test]
    fn it_is_over_when_it_was_taken_back_or_followed_by_another() {
        let mut watch = Watch::new(2, 1);
        let mut back = service(1, vec![part(1, 1, "running")]);
        back["reverted"] = json!({ "generation": 2, "error": "exit code 1" });
        let Verdict::Over(why) = watch.look(&back) else { panic!() };
        assert!(why.ends_with("the deployment before: exit code 1"), "{why}");
        let Verdict::Over(why) = watch.look(&service(3, vec![])) else { panic!() };
        assert!(why.contains("generation 3"), "{why}");
        back["reverted"]["generation"] = json!(1);
        assert_eq!(Watch::new(2, 1).look(&back), Verdict::Starting { running: 0 });
    }

    #[test]
    fn a_first_deployment_that_fails_again_and_again_is_over() {
        let mut watch = Watch::new(1, 1);
        let failed = |e| service(1, vec![part(e, 1, "failed")]);
        assert_eq!(watch.look(&failed(1)), Verdict::Failing("e1".into()));
        assert_eq!(watch.look(&failed(1)), Verdict::Failing("e1".into()), "still the same one");
        let pending = service(1, vec![part(2, 1, "pending")]);
        assert_eq!(watch.look(&pending), Verdict::Starting { running: 0 });
        assert_eq!(watch.look(&failed(2)), Verdict::Failing("e2".into()));
        assert_eq!(watch.look(&failed(3)), Verdict::Over("does not start: e3".into()));
    }

    #[test]
    fn one_that_replaces_another_is_judged_by_its_home() {
        let mut watch = Watch::new(2, 1);
        for epoch in 1..9 {
            let both = vec![part(0, 1, "running"), part(epoch, 2, "failed")];
            assert_eq!(watch.look(&service(2, both)), Verdict::Starting { running: 0 });
        }
    }
}
