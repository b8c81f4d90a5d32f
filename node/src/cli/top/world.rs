//! What is known of the network, and how fast it works.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Jobs asked for at once, by each list.
pub(super) const JOBS: usize = 100;

/// Most jobs remembered: more than anybody scrolls through. Those that ended longest ago go first.
const MOST_JOBS: usize = 500;

/// Over how long rates are taken.
const SPAN: Duration = Duration::from_secs(10);

/// What was heard.
#[derive(Debug)]
pub(super) enum News {
    /// All that there is.
    Lists {
        status: Value,
        jobs: Vec<Value>,
        hosts: Vec<Value>,
        services: Vec<Value>,
        gateways: Vec<String>,
    },
    /// How many jobs stand where.
    Status(Value),
    /// All hosts: that they were heard of, and how busy they are, comes with no event. And gateways, if
    /// anything was said of them.
    Around { hosts: Vec<Value>, gateways: Option<Vec<String>> },
    /// A record is new, another than before, or gone.
    Event { kind: String, value: Value },
    /// Nobody tells anything for now.
    Lost(String),
}

/// How many jobs stand where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) queued: u64,
    pub(super) leased: u64,
    pub(super) completed: u64,
    pub(super) failed: u64,
}

impl Counts {
    fn of(status: &Value) -> Self {
        let count = |name: &str| status["jobs"][name].as_u64().unwrap_or(0);
        let (queued, leased) = (count("queued"), count("leased"));
        Self { queued, leased, completed: count("completed"), failed: count("failed") }
    }

    const fn ended(self) -> u64 {
        self.completed + self.failed
    }

    const fn all(self) -> u64 {
        self.queued + self.leased + self.ended()
    }
}

/// All that is known.
#[derive(Debug, Default)]
pub(super) struct World {
    pub(super) node: String,
    pub(super) ready: bool,
    pub(super) counts: Counts,
    pub(super) gateways: Vec<String>,
    /// Why nothing new is heard.
    pub(super) lost: Option<String>,
    jobs: BTreeMap<String, Value>,
    hosts: BTreeMap<String, Value>,
    services: BTreeMap<String, Value>,
    samples: VecDeque<(Instant, Counts)>,
}

impl World {
    /// Takes what was heard.
    pub(super) fn take(&mut self, news: News) {
        match news {
            News::Lists { status, jobs, hosts, services, gateways } => {
                self.jobs = by_id(jobs);
                self.hosts = by_id(hosts);
                self.services = by_id(services);
                self.gateways = gateways;
                self.count(&status, Instant::now());
                self.lost = None;
            }
            News::Status(status) => self.count(&status, Instant::now()),
            News::Around { hosts, gateways } => {
                self.hosts = by_id(hosts);
                if let Some(gateways) = gateways {
                    self.gateways = gateways;
                }
            }
            News::Lost(why) => {
                // What happens until something is heard again is no rate of the seconds before.
                self.samples.clear();
                self.lost = Some(why);
            }
            News::Event { kind, value } => match kind.as_str() {
                "job" => {
                    put(&mut self.jobs, value);
                    self.forget_jobs();
                }
                "host" => put(&mut self.hosts, value),
                "service" => put(&mut self.services, value),
                "gone" => {
                    let id = value["id"].as_str().unwrap_or_default();
                    match value["kind"].as_str() {
                        Some("job") => drop(self.jobs.remove(id)),
                        Some("host") => drop(self.hosts.remove(id)),
                        Some("service") => drop(self.services.remove(id)),
                        _ => {}
                    }
                }
                _ => {}
            },
        }
    }

    fn count(&mut self, status: &Value, now: Instant) {
        let node = status["nodeId"].as_str().unwrap_or_default();
        if node != self.node {
            // Another node may know of other jobs.
            self.samples.clear();
            node.clone_into(&mut self.node);
        }
        self.ready = status["ready"] == true;
        self.counts = Counts::of(status);
        self.samples.push_back((now, self.counts));
        while self.samples.front().is_some_and(|(at, _)| now - *at > SPAN) {
            self.samples.pop_front();
        }
    }

    fn forget_jobs(&mut self) {
        while self.jobs.len() > MOST_JOBS {
            let oldest = self.jobs.iter().min_by_key(|(_, job)| rank(job));
            let Some(id) = oldest.map(|(id, _)| id.clone()) else { return };
            self.jobs.remove(&id);
        }
    }

    /// Jobs that came, and that ended, in a second. What is deleted meanwhile counts as nothing.
    pub(super) fn rates(&self) -> (f64, f64) {
        let (Some((first, then)), Some((last, now))) = (self.samples.front(), self.samples.back())
        else {
            return (0.0, 0.0);
        };
        let seconds = (*last - *first).as_secs_f64();
        if seconds < 0.1 {
            return (0.0, 0.0);
        }
        let rate = |now: u64, then: u64| now.saturating_sub(then) as f64 / seconds;
        (rate(now.all(), then.all()), rate(now.ended(), then.ended()))
    }

    /// Jobs, those that wait or run first, then the newest.
    pub(super) fn jobs(&self) -> Vec<&Value> {
        let mut all: Vec<&Value> = self.jobs.values().collect();
        all.sort_by(|one, other| rank(other).cmp(&rank(one)));
        all
    }

    /// Hosts, by name.
    pub(super) fn hosts(&self) -> Vec<&Value> {
        let mut all: Vec<&Value> = self.hosts.values().collect();
        all.sort_by_key(|host| (host["name"].as_str(), host["id"].as_str()));
        all
    }

    /// Services, by name.
    pub(super) fn services(&self) -> Vec<&Value> {
        let mut all: Vec<&Value> = self.services.values().collect();
        all.sort_by_key(|service| (service["name"].as_str(), service["id"].as_str()));
        all
    }

    /// All of it as one document.
    pub(super) fn document(&self) -> Value {
        let Counts { queued, leased, completed, failed } = self.counts;
        json!({
            "nodeId": self.node,
            "ready": self.ready,
            "counts": { "queued": queued, "leased": leased, "completed": completed, "failed": failed },
            "jobs": self.jobs(),
            "hosts": self.hosts(),
            "services": self.services(),
            "gateways": self.gateways,
        })
    }
}

/// Which job goes before another: whether it has not ended, then when it was made.
fn rank(job: &Value) -> (bool, Option<&str>, Option<&str>) {
    let lives = matches!(job["status"].as_str(), Some("queued" | "leased"));
    (lives, job["createdAt"].as_str(), job["id"].as_str())
}

fn by_id(list: Vec<Value>) -> BTreeMap<String, Value> {
    let mut map = BTreeMap::new();
    list.into_iter().for_each(|value| put(&mut map, value));
    map
}

fn put(map: &mut BTreeMap<String, Value>, value: Value) {
    if let Some(id) = value["id"].as_str() {
        map.insert(id.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(n: usize, status: &str) -> Value {
        json!({ "id": format!("job_{n}"), "status": status, "createdAt": format!("2026-01-01T00:{:02}:{:02}.000Z", n / 60, n % 60) })
    }

    fn told(world: &mut World, kind: &str, value: Value) {
        world.take(News::Event { kind: kind.to_owned(), value });
    }

    #[test]
    fn what_has_not_ended_stays_however_many_others_come() {
        let mut world = World::default();
        told(&mut world, "job", job(0, "leased"));
        for n in 1..MOST_JOBS + 50 {
            told(&mut world, "job", job(n, "completed"));
        }
        assert_eq!(world.jobs().len(), MOST_JOBS);
        assert_eq!(world.jobs()[0]["id"], "job_0");
        assert_eq!(world.jobs()[1]["id"], format!("job_{}", MOST_JOBS + 49));
        told(&mut world, "gone", json!({ "kind": "job", "id": "job_0" }));
        assert_eq!(world.jobs()[0]["id"], format!("job_{}", MOST_JOBS + 49));
    }

    #[test]
    fn rates_are_those_of_the_last_seconds() {
        let status = |queued: u64, completed: u64| json!({ "nodeId": "n", "ready": true, "jobs": { "queued": queued, "completed": completed } });
        let (mut world, begin) = (World::default(), Instant::now());
        world.count(&status(10, 0), begin);
        assert_eq!(world.rates(), (0.0, 0.0));
        world.count(&status(10, 20), begin + Duration::from_secs(10));
        assert_eq!(world.rates(), (2.0, 2.0));
        world.count(&status(0, 30), begin + Duration::from_secs(20));
        assert_eq!(world.rates(), (0.0, 1.0));
        // Those whose time was over were deleted.
        world.count(&status(0, 5), begin + Duration::from_secs(30));
        assert_eq!(world.rates(), (0.0, 0.0));
    }

    #[test]
    fn rates_begin_anew_with_another_node_and_after_a_loss_and_not_with_new_lists() {
        let status = |completed: u64| json!({ "nodeId": "n", "jobs": { "completed": completed } });
        let mut world = World::default();
        let lists = |status| News::Lists {
            status,
            jobs: Vec::new(),
            hosts: Vec::new(),
            services: Vec::new(),
            gateways: Vec::new(),
        };
        world.take(lists(status(10)));
        world.take(lists(status(10)));
        assert_eq!(world.samples.len(), 2);
        // Another node counts for itself, and so does one that was lost.
        world.take(lists(json!({ "nodeId": "other" })));
        assert_eq!(world.samples.len(), 1);
        world.take(News::Lost("gone".to_owned()));
        assert_eq!(world.rates(), (0.0, 0.0));
        assert!(world.samples.is_empty());
    }

    #[test]
    fn how_busy_hosts_are_is_known_without_an_event() {
        let mut world = World::default();
        told(&mut world, "host", json!({ "id": "h", "activeLeases": 0 }));
        told(&mut world, "host", json!({ "id": "gone" }));
        world.gateways = vec!["g".to_owned()];
        let hosts = vec![json!({ "id": "h", "activeLeases": 1 })];
        world.take(News::Around { hosts, gateways: None });
        assert_eq!(world.hosts(), [&json!({ "id": "h", "activeLeases": 1 })]);
        assert_eq!(world.gateways, ["g"]);
    }
}
