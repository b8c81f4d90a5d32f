//! What an owner lets runs of a kind reach, and what comes of what a run asks for.
//!
//! Always: a run that asks for more than it may have does not run; it never runs with less.

use serde::{Deserialize, Deserializer};
use skyclaw_protocol::egress::{HostRule, NetworkAsk};

use super::words::unknown;
use crate::egress::Rules;

/// Whose rules are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// Those of shell jobs.
    Jobs,
    /// Those of services.
    Services,
    /// Those of OpenClaw, by whichever kind of job.
    Agents,
}

impl Whose {
    /// All of them.
    pub(super) const ALL: [Self; 3] = [Self::Jobs, Self::Services, Self::Agents];

    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Jobs => "jobs",
            Self::Services => "services",
            Self::Agents => "agents",
        }
    }

    const fn list(self) -> &'static str {
        match self {
            Self::Jobs => "egress of jobs in its host's policy",
            Self::Services => "egress of services in its host's policy",
            Self::Agents => "egress of agents in its host's policy",
        }
    }
}

/// What a run may reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Nothing.
    None,
    /// What the machine does.
    Any,
    /// The hosts of a list, over the proxy.
    Hosts(Rules),
}

/// The word `network` of a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) enum Word {
    None,
    Allowlist,
    Any,
}

impl TryFrom<String> for Word {
    type Error = String;

    fn try_from(word: String) -> Result<Self, String> {
        match word.as_str() {
            "none" => Ok(Self::None),
            "allowlist" => Ok(Self::Allowlist),
            "any" => Ok(Self::Any),
            _ => Err(unknown(&word, &["none", "allowlist", "any"])),
        }
    }
}

/// The list `egress` of a section.
#[derive(Debug)]
pub(super) struct Egress(Vec<HostRule>);

impl<'de> Deserialize<'de> for Egress {
    fn deserialize<D: Deserializer<'de>>(text: D) -> Result<Self, D::Error> {
        let entries = Vec::<String>::deserialize(text)?;
        // The bounds are the same: each is compared for each connection.
        match NetworkAsk::hosts(entries.iter().map(String::as_str)) {
            Ok(NetworkAsk::Hosts(hosts)) => Ok(Self(hosts)),
            Ok(_) => Ok(Self(Vec::new())),
            Err(why) => Err(serde::de::Error::custom(format!("egress {why}"))),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Grant {
    None,
    Hosts { hosts: Vec<HostRule>, private: bool },
    Any,
}

/// The rules of a section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NetworkRules {
    grant: Grant,
    /// Whether what does not ask gets it too.
    unasked: bool,
    /// Whether the owner said anything.
    is_set: bool,
}

impl NetworkRules {
    /// What holds where an owner says nothing. Agents have to reach their model.
    pub(super) const fn usual(whose: Whose) -> Self {
        let agents = matches!(whose, Whose::Agents);
        let grant = if agents { Grant::Any } else { Grant::None };
        Self { grant, unasked: agents, is_set: false }
    }

    /// Reads the members of a section.
    ///
    /// # Errors
    /// They do not fit together.
    pub(super) fn of(
        whose: Whose,
        word: Option<Word>,
        egress: Option<Egress>,
        private: Option<bool>,
        unasked: Option<bool>,
    ) -> Result<Self, String> {
        let wrong = |what: &str| Err(format!("{}: {what}", whose.as_str()));
        if egress.is_some() && word != Some(Word::Allowlist) {
            return wrong("egress has a meaning only beside \"network\": \"allowlist\"");
        }
        if private.is_some() && word != Some(Word::Allowlist) {
            return wrong("private has a meaning only beside \"network\": \"allowlist\"");
        }
        if unasked.is_some() && (whose == Whose::Agents || matches!(word, None | Some(Word::None)))
        {
            return wrong(
                "networkDefault has a meaning only for jobs and services that may have a network",
            );
        }
        if whose == Whose::Services && word == Some(Word::Allowlist) {
            return wrong("network is none or any: a list of hosts is for jobs and agents");
        }
        let usual = Self::usual(whose);
        let grant = match (word, egress) {
            (None, _) => return Ok(usual),
            (Some(Word::None), _) => Grant::None,
            (Some(Word::Any), _) => Grant::Any,
            (Some(Word::Allowlist), Some(Egress(hosts))) => {
                Grant::Hosts { hosts, private: private.unwrap_or(false) }
            }
            (Some(Word::Allowlist), None) => {
                return wrong("\"network\": \"allowlist\" needs egress, the list of hosts");
            }
        };
        Ok(Self { grant, unasked: unasked.unwrap_or(usual.unasked), is_set: true })
    }

    /// What a run gets that asks for this, or for nothing.
    ///
    /// # Errors
    /// It asks for more than it may have: a sentence for its submitter.
    pub(super) fn judge(&self, whose: Whose, asked: Option<&NetworkAsk>) -> Result<Reach, String> {
        let refused = |what: &str, why: &str| {
            let whose = whose.as_str();
            Err(format!("network not allowed: {what} (policy {whose}: {why})"))
        };
        match (asked, &self.grant) {
            (None, _) if !self.unasked => Ok(Reach::None),
            (Some(NetworkAsk::None), _) | (None, Grant::None) => Ok(Reach::None),
            (None | Some(NetworkAsk::Any), Grant::Any) => Ok(Reach::Any),
            (None, Grant::Hosts { hosts, private }) => Ok(Reach::Hosts(Rules {
                hosts: hosts.clone(),
                owner: hosts.clone(),
                private: *private,
                list: whose.list(),
            })),
            // Whoever may have all of the network may have a part of it.
            (Some(NetworkAsk::Hosts(asked)), Grant::Any) => Ok(Reach::Hosts(Rules {
                hosts: asked.clone(),
                owner: Vec::new(),
                private: true,
                list: ASKED,
            })),
            (Some(NetworkAsk::Hosts(asked)), Grant::Hosts { hosts, private }) => {
                let covered = |rule: &&HostRule| hosts.iter().any(|own| own.covers(rule));
                match asked.iter().find(|rule| !covered(rule)) {
                    Some(rule) => refused(&rule.to_string(), "its egress does not name it"),
                    None => Ok(Reach::Hosts(Rules {
                        hosts: asked.clone(),
                        owner: hosts.clone(),
                        private: *private,
                        list: ASKED,
                    })),
                }
            }
            (Some(NetworkAsk::Any), Grant::Hosts { .. }) => {
                refused("any", "network is allowlist: ask for hosts by their names")
            }
            (Some(asked), Grant::None) => {
                let why =
                    if self.is_set { "network is none" } else { "its owner grants no network" };
                refused(&asked.to_string(), why)
            }
        }
    }

    /// Whether runs of it have to go through the proxy.
    pub(super) const fn is_list(&self) -> bool {
        matches!(self.grant, Grant::Hosts { .. })
    }

    /// For people.
    pub(super) fn summary(&self, whose: Whose) -> String {
        let when = match (whose, self.unasked) {
            (Whose::Agents, _) | (_, true) => "",
            (_, false) => ", for those that ask for it",
        };
        let what = match &self.grant {
            Grant::None => return format!("network of {}: none", whose.as_str()),
            Grant::Any => "all that this machine reaches".to_owned(),
            Grant::Hosts { hosts, private } => {
                let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
                let inward = if *private { ", also at private addresses" } else { "" };
                format!("{}{inward}", hosts.join(", "))
            }
        };
        format!("network of {}: {what}{when}", whose.as_str())
    }
}

/// What the list is called that a run itself asked for.
const ASKED: &str = "what it asked for";

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(word: Word, egress: &[&str], unasked: bool) -> NetworkRules {
        let hosts = egress.iter().map(|text| HostRule::parse(text).unwrap()).collect();
        let egress = (word == Word::Allowlist).then_some(Egress(hosts));
        let unasked = (word != Word::None).then_some(unasked);
        NetworkRules::of(Whose::Jobs, Some(word), egress, None, unasked).unwrap()
    }

    fn hosts(list: &[&str]) -> NetworkAsk {
        NetworkAsk::hosts(list.iter().copied()).unwrap()
    }

    #[track_caller]
    fn refused(rules: &NetworkRules, asked: &NetworkAsk, told: &str) {
        let said = rules.judge(Whose::Jobs, Some(asked)).expect_err("it is refused");
        assert_eq!(said, format!("network not allowed: {told}"));
    }

    #[test]
    fn without_a_word_of_the_owner_only_agents_have_a_network() {
        for (whose, reach) in [
            (Whose::Jobs, Reach::None),
            (Whose::Services, Reach::None),
            (Whose::Agents, Reach::Any),
        ] {
            assert_eq!(NetworkRules::usual(whose).judge(whose, None), Ok(reach));
        }
        let usual = NetworkRules::usual(Whose::Jobs);
        assert_eq!(usual.judge(Whose::Jobs, Some(&NetworkAsk::None)), Ok(Reach::None));
        let told = "(policy jobs: its owner grants no network)";
        refused(&usual, &NetworkAsk::Any, &format!("any {told}"));
        refused(&usual, &hosts(&["a.org", "b.org"]), &format!("a.org, b.org {told}"));
    }

    #[test]
    fn a_run_gets_what_it_asks_for_if_the_owner_grants_all_of_it() {
        let rules = rules(Word::Allowlist, &["a.org", "*.b.org", "10.0.0.1:9"], false);
        assert_eq!(rules.judge(Whose::Jobs, None), Ok(Reach::None));
        let asked = hosts(&["a.org:443", "x.b.org"]);
        match rules.judge(Whose::Jobs, Some(&asked)) {
            Ok(Reach::Hosts(granted)) => {
                assert_eq!(NetworkAsk::Hosts(granted.hosts), asked);
                assert_eq!((granted.owner.len(), granted.private), (3, false));
            }
            other => panic!("{other:?}"),
        }
        let told = "(policy jobs: its egress does not name it)";
        refused(&rules, &hosts(&["a.org", "a.org:22"]), &format!("a.org:22 {told}"));
        refused(&rules, &hosts(&["*"]), &format!("* {told}"));
        let told = "any (policy jobs: network is allowlist: ask for hosts by their names)";
        refused(&rules, &NetworkAsk::Any, told);
    }

    #[test]
    fn an_owner_may_give_a_network_unasked() {
        let all = rules(Word::Any, &[], true);
        assert_eq!(all.judge(Whose::Jobs, None), Ok(Reach::Any));
        assert_eq!(all.judge(Whose::Jobs, Some(&NetworkAsk::None)), Ok(Reach::None));
        let some = rules(Word::Allowlist, &["a.org"], true);
        let reach = some.judge(Whose::Jobs, None);
        assert!(matches!(reach, Ok(Reach::Hosts(rules)) if rules.hosts == rules.owner));
        refused(
            &rules(Word::None, &[], false),
            &NetworkAsk::Any,
            "any (policy jobs: network is none)",
        );
    }

    #[test]
    fn members_that_mean_nothing_together_are_a_mistake() {
        let list = || Some(Egress(vec![HostRule::parse("a.org").unwrap()]));
        let of = |word, egress, private, unasked| {
            NetworkRules::of(Whose::Jobs, word, egress, private, unasked).expect_err("a mistake")
        };
        assert!(of(Some(Word::Allowlist), None, None, None).contains("needs egress"));
        assert!(of(Some(Word::Any), list(), None, None).contains("jobs: egress has a meaning"));
        assert!(of(None, list(), None, None).contains("\"network\": \"allowlist\""));
        assert!(of(Some(Word::Any), None, Some(true), None).contains("private"));
        assert!(of(Some(Word::None), None, None, Some(true)).contains("networkDefault"));
        let services = NetworkRules::of(Whose::Services, Some(Word::Allowlist), list(), None, None);
        assert!(services.unwrap_err().contains("for jobs and agents"));
        let agents = NetworkRules::of(Whose::Agents, Some(Word::Any), None, None, Some(false));
        assert!(agents.is_err());
    }
}
