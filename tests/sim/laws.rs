//! What must hold, each by its name; looked at when something happens that it is about.
//!
//! The history of what was seen from outside is kept here: what was answered, what was chosen, who
//! runs what until when. A law that is broken ends the run.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use skyclaw_protocol::register::{Phase, Val};
use skyclaw_protocol::verify::Told;
use skyclaw_protocol::{Completion, Hash, HostId, JobId};

use crate::clock::At;

/// A law, and how it was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Broken {
    pub(crate) law: &'static str,
    pub(crate) how: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\": {}", self.law, self.how)
    }
}

/// I1.
pub(crate) const ON_A_QUORUM: &str = "I1 an acked job is on a quorum of its voters' disks";
/// I2.
pub(crate) const ONE_LEASE: &str = "I2 one valid lease of an attached host per job";
/// I2, the host's part.
pub(crate) const ENDS_IN_TIME: &str = "I2 an attached host ends a run with its lease";
/// I2b.
pub(crate) const ONE_HOST: &str = "I2b one host per attempt";
/// I3.
pub(crate) const ONE_OUTCOME: &str = "I3 one outcome per job";
/// I3, as hosts and users are told.
pub(crate) const STAYS_SETTLED: &str = "I3 what was answered as settled stays";
/// A job of which a run is not repeated blindly.
pub(crate) const BEGINS_ONCE: &str = "a job whose run may have begun does not begin again";
/// A job that several hosts run to be verified.
pub(crate) const VERIFIED: &str =
    "a verified job succeeds by enough equal results of distinct hosts";
/// I4.
pub(crate) const ENDS: &str = "I4 an acked job ends";
/// I5.
pub(crate) const NOT_ABORTED: &str = "I5 an acked job is not aborted";

/// What is sent and answered is durable.
pub(crate) const RESTS_ON_DISK: &str = "what leaves a coordinator rests on its disk";
/// No answer twice.
pub(crate) const ONE_ANSWER: &str = "one answer per command";
/// No command is forgotten.
pub(crate) const ANSWERED: &str = "every command is answered";
/// Convergence.
pub(crate) const SAME: &str = "all coordinators show the same";
/// A coordinator's counter.
pub(crate) const ONE_NUMBER: &str = "one display version per change";
/// Disks that lose nothing accuse nobody.
pub(crate) const NOT_FENCED: &str = "no honest coordinator is fenced";
/// What is sworn by who keeps what it says never contradicts itself.
pub(crate) const NOT_CONVICTED: &str = "no honest coordinator is proven to have lied";

type Outcome = (Phase, u32, Option<HostId>);

/// A run on an attached host, as far as its lease is concerned.
#[derive(Clone, Debug)]
pub(crate) struct Holder {
    pub(crate) host: usize,
    pub(crate) attempt: u32,
    /// When its lease ends on its own clock, in true time.
    pub(crate) until: At,
}

/// What is known of one job.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub(crate) acked: bool,
    granted: BTreeMap<u32, HostId>,
    /// Attempts that failed and were followed by another one, as the job asks.
    failed: BTreeSet<(u32, HostId)>,
    /// The attempt that began last, on whatever host.
    begun: Option<u32>,
    /// How many hosts must agree, as its client meant it; 0 for none. Not looked up yet if absent.
    pub(crate) must_agree: Option<usize>,
    /// What hosts said of it: whether it went well, and what it wrote.
    said: BTreeMap<HostId, BTreeSet<(bool, Hash)>>,
    pub(crate) ended: Option<Outcome>,
    pub(crate) holders: Vec<Holder>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Laws {
    pub(crate) jobs: BTreeMap<JobId, Facts>,
    shown: BTreeMap<(String, u64), Val>,
    pub(crate) broken: Option<Broken>,
}

impl Laws {
    pub(crate) fn break_law(&mut self, law: &'static str, how: String) {
        if self.broken.is_none() {
            self.broken = Some(Broken { law, how });
        }
    }

    pub(crate) fn acked(&self) -> usize {
        self.jobs.values().filter(|facts| facts.acked).count()
    }

    pub(crate) fn ended(&self) -> usize {
        self.jobs.values().filter(|facts| facts.ended.is_some()).count()
    }

    /// Jobs that ended well since enough hosts agreed.
    pub(crate) fn verified_well(&self) -> usize {
        let well = |facts: &&Facts| {
            let succeeded = facts.ended.as_ref().is_some_and(|end| end.0 == Phase::Succeeded);
            facts.must_agree.is_some_and(|agree| agree > 0) && succeeded
        };
        self.jobs.values().filter(well).count()
    }

    /// A value that somebody holds to be chosen.
    pub(crate) fn chosen(&mut self, job: &JobId, val: &Val) {
        self.one_number_per_change(val);
        let Some(state) = val.job() else { return };
        let facts = self.jobs.entry(job.clone()).or_default();
        if let (Phase::Leased, Some(host)) = (state.phase, &state.host) {
            let known = facts.granted.entry(state.attempt).or_insert_with(|| host.clone());
            if known != host {
                let how = format!("{job} attempt {}: {known} and {host}", state.attempt);
                return self.break_law(ONE_HOST, how);
            }
        }
        if let (false, Some((attempt, _))) = (state.phase.is_terminal(), state.named_result())
            && let Some(host) = facts.granted.get(&attempt).or(state.host.as_ref())
        {
            facts.failed.insert((attempt, host.clone()));
        }
        if state.phase.is_terminal() {
            let outcome = (state.phase, state.attempt, state.host.clone());
            let known = facts.ended.get_or_insert_with(|| outcome.clone());
            if *known != outcome {
                let how = format!("{job}: {known:?} and {outcome:?}");
                return self.break_law(ONE_OUTCOME, how);
            }
            if facts.acked && state.phase == Phase::Aborted {
                self.break_law(NOT_ABORTED, job.to_string());
            }
        }
    }

    /// A coordinator's counter is shown for one change alone.
    fn one_number_per_change(&mut self, val: &Val) {
        // An adopted value is rewritten with another `ver` only.
        let mut shown = val.clone();
        shown.ver = 0;
        let key = (val.by.clone(), val.display_version);
        let known = self.shown.entry(key).or_insert_with(|| shown.clone());
        if *known != shown {
            let how = format!("{known:?} and {shown:?}");
            self.break_law(ONE_NUMBER, how);
        }
    }

    /// A submission was answered with 200.
    pub(crate) fn ack(&mut self, job: &JobId) {
        let facts = self.jobs.entry(job.clone()).or_default();
        facts.acked = true;
        if facts.ended.as_ref().is_some_and(|(phase, ..)| *phase == Phase::Aborted) {
            self.break_law(NOT_ABORTED, format!("{job} was aborted, then acked"));
        }
    }

    /// A caller was told that a job ended so.
    pub(crate) fn settled(&mut self, job: &JobId, val: &Val) {
        let Some(state) = val.job().filter(|state| state.phase.is_terminal()) else { return };
        let outcome = (state.phase, state.attempt, state.host.clone());
        let known = self.jobs.get(job).and_then(|facts| facts.ended.clone());
        if known.as_ref() != Some(&outcome) {
            self.break_law(STAYS_SETTLED, format!("{job}: told {outcome:?}, it is {known:?}"));
        }
    }

    /// An attached host was told that its result was taken.
    pub(crate) fn taken(&mut self, job: &JobId, attempt: u32, host: &HostId) {
        let facts = self.jobs.get(job);
        let known = facts.and_then(|facts| facts.ended.clone());
        let retried = facts.is_some_and(|f| f.failed.contains(&(attempt, host.clone())));
        let holds = retried
            || known.as_ref().is_some_and(|(phase, of, by)| {
                let done = matches!(phase, Phase::Succeeded | Phase::Failed);
                done && *of == attempt && by.as_ref() == Some(host)
            });
        if !holds {
            let how = format!("{job} attempt {attempt} of {host} was taken, it is {known:?}");
            self.break_law(STAYS_SETTLED, how);
        }
    }

    /// A host begins a run of a job that must not be repeated blindly: nobody did before, unless that
    /// run was reported as failed and the job asked for another one.
    pub(crate) fn begins_once(&mut self, job: &JobId, attempt: u32) {
        let facts = self.jobs.entry(job.clone()).or_default();
        let before = facts.begun.replace(attempt).filter(|before| *before != attempt);
        let failed = |before: &u32| facts.failed.iter().any(|(failed, _)| failed == before);
        if let Some(before) = before.filter(|before| !failed(before)) {
            self.break_law(BEGINS_ONCE, format!("{job} attempt {attempt}, after {before}"));
        }
    }

    /// A run of a job is over on a host, which will say this.
    pub(crate) fn said(&mut self, report: &Completion) {
        let facts = self.jobs.entry(report.job.clone()).or_default();
        let stdout = Hash::of(report.stdout.as_deref().unwrap_or_default().as_bytes());
        facts.said.entry(report.host.clone()).or_default().insert((report.success, stdout));
    }

    /// A value of a job of which `agree` hosts must say the same.
    pub(crate) fn verified(&mut self, job: &JobId, val: &Val, agree: usize) {
        let Some(state) = val.job() else { return };
        let hosts: BTreeSet<&HostId> = state.told.iter().map(|told| &told.host).collect();
        let keys: BTreeSet<_> = state.told.iter().map(|told| told.node).collect();
        let twice = hosts.len() != state.told.len() || keys.len() != state.told.len();
        let facts = self.jobs.get(job);
        // Whatever stands there: who said so, as it was heard on the hosts themselves.
        let backed = |told: &Told| {
            let word = (told.said.ok, told.said.stdout);
            let by = |said: &BTreeSet<_>| said.contains(&word);
            let all = facts.map(|facts| facts.said.values().filter(|said| by(said)).count());
            let told = state.told.iter().filter(|other| other.said == told.said).count();
            all.unwrap_or(0).min(told)
        };
        let good = state.told.iter().filter(|told| told.said.ok);
        let most = good.map(backed).max().unwrap_or(0);
        if twice || (state.phase == Phase::Succeeded && most < agree) {
            self.break_law(VERIFIED, format!("{job}: {:?}", state.told));
        }
    }

    /// A run is over, and with it what its host makes of its lease.
    pub(crate) fn run_is_over(&mut self, host: usize, job: &JobId, attempt: u32) {
        if let Some(facts) = self.jobs.get_mut(job) {
            facts.holders.retain(|held| held.host != host || held.attempt != attempt);
        }
    }

    /// All runs of a host are over.
    pub(crate) fn host_is_down(&mut self, host: usize) {
        for facts in self.jobs.values_mut() {
            facts.holders.retain(|held| held.host != host);
        }
    }
}
