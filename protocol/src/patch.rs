//! A change to a part of a service's definition.
//!
//! Always: what a patch does not name stays as it is, so two changes to different parts both hold,
//! whichever comes first. The result is checked like a definition that came whole.

use serde::{Deserialize, Serialize};

use crate::egress::NetworkAsk;
use crate::id::Hash;
use crate::limits::{MAX_REPLICAS, MAX_SERVICE_BYTES, MAX_TEXT_BYTES};
use crate::seal::MASK;
use crate::view::{HealthCheck, OnPartition, ServiceDef};

/// What is to become of a member that a definition may lack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change<T> {
    /// It goes.
    Clear,
    /// It is this from now on.
    Set(T),
}

impl<T: Clone> Change<T> {
    fn apply(change: Option<&Self>, to: &mut Option<T>) {
        match change {
            None => {}
            Some(Self::Clear) => *to = None,
            Some(Self::Set(value)) => *to = Some(value.clone()),
        }
    }
}

/// Variables by name; without a value one goes.
pub type Variables = Vec<(String, Option<String>)>;

/// A change to a part of a service's definition: each member is left alone, cleared or set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServicePatch {
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// All its arguments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub args: Option<Vec<String>>,
    /// Instances wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u32>,
    /// All capabilities a host must have; sorted, unique.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub required: Option<Vec<String>>,
    /// Working directory on the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cwd: Option<Change<String>>,
    /// Variables: those with a value are set, those without one go, others stay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env: Option<Change<Variables>>,
    /// The code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bundle: Option<Change<Hash>>,
    /// How an instance is asked whether it can serve.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<Change<HealthCheck>>,
    /// First pause before an instance that ended is started again, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backoff_ms: Option<Change<u64>>,
    /// What an instance does whose host reaches no coordinator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_partition: Option<OnPartition>,
    /// What it asks to reach.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<Change<NetworkAsk>>,
}

impl ServicePatch {
    /// A patch that changes nothing but the number of instances.
    #[must_use]
    pub fn replicas(count: u32) -> Self {
        Self { replicas: Some(count), ..Self::default() }
    }

    /// `def` with the change made.
    #[must_use]
    pub fn apply(&self, def: &ServiceDef) -> ServiceDef {
        let mut new = def.clone();
        let set = |from: &Option<String>, to: &mut String| {
            if let Some(text) = from {
                to.clone_from(text);
            }
        };
        set(&self.name, &mut new.name);
        set(&self.command, &mut new.command);
        if let Some(args) = &self.args {
            new.args.clone_from(args);
        }
        if let Some(required) = &self.required {
            new.required.clone_from(required);
        }
        new.replicas = self.replicas.unwrap_or(new.replicas);
        new.on_partition = self.on_partition.unwrap_or(new.on_partition);
        Change::apply(self.cwd.as_ref(), &mut new.cwd);
        Change::apply(self.bundle.as_ref(), &mut new.bundle);
        Change::apply(self.health.as_ref(), &mut new.health);
        Change::apply(self.backoff_ms.as_ref(), &mut new.backoff_ms);
        Change::apply(self.network.as_ref(), &mut new.network);
        match &self.env {
            None => {}
            Some(Change::Clear) => new.env = None,
            Some(Change::Set(changes)) => merge(new.env.get_or_insert_default(), changes),
        }
        new
    }
}

/// Variables keep their places; new ones follow in the order given.
fn merge(env: &mut Vec<(String, String)>, changes: &[(String, Option<String>)]) {
    for (name, value) in changes {
        match (env.iter().position(|(known, _)| known == name), value) {
            // What is masked stays.
            (Some(_), Some(value)) if value == MASK => {}
            (Some(at), Some(value)) => env[at].1.clone_from(value),
            (None, Some(value)) => env.push((name.clone(), value.clone())),
            (Some(at), None) => drop(env.remove(at)),
            (None, None) => {}
        }
    }
}

impl ServiceDef {
    /// Whether instances of `other` do for this one too: at most the number wanted differs.
    #[must_use]
    pub fn runs_the_same(&self, other: &Self) -> bool {
        Self { replicas: self.replicas, ..other.clone() } == *self
    }

    /// Puts the values of `old` where this one has a mask instead: who read a service sends back what was
    /// shown.
    ///
    /// # Errors
    /// The name of a variable that has no value to keep.
    pub fn unmask(&mut self, old: Option<&Self>) -> Result<(), String> {
        let old = old.and_then(|old| old.env.as_deref()).unwrap_or_default();
        for (name, value) in self.env.iter_mut().flatten().filter(|(_, value)| value == MASK) {
            let kept = old.iter().find(|(known, kept)| known == name && kept != MASK);
            let (_, kept) = kept.ok_or_else(|| name.clone())?;
            value.clone_from(kept);
        }
        Ok(())
    }

    /// What is wrong with it, whoever made it; its texts are checked for more where they arrive.
    #[must_use]
    pub fn fault(&self) -> Option<&'static str> {
        let path = self.health.as_ref().map(|health| health.path.as_str());
        if self.replicas > MAX_REPLICAS {
            Some("too many replicas")
        } else if self.bytes() > MAX_SERVICE_BYTES
            || path.is_some_and(|path| path.len() > MAX_TEXT_BYTES)
        {
            Some("the service is too large")
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec;

    fn def() -> ServiceDef {
        ServiceDef {
            name: "api".into(),
            command: "node".into(),
            args: vec!["a.js".into()],
            cwd: Some("dist".into()),
            env: Some(vec![("A".into(), "1".into()), ("B".into(), "2".into())]),
            replicas: 2,
            required: vec!["service-host".into()],
            bundle: Some(Hash([7; 32])),
            health: Some(HealthCheck { path: "/health".into(), interval_ms: 500 }),
            backoff_ms: Some(100),
            on_partition: OnPartition::Stop,
            network: Some(NetworkAsk::Any),
        }
    }

    #[test]
    fn an_empty_patch_changes_nothing() {
        assert_eq!(ServicePatch::default().apply(&def()), def());
        assert_eq!(ServicePatch::default().apply(&ServiceDef::default()), ServiceDef::default());
    }

    #[test]
    fn only_the_number_of_instances_makes_no_other_program() {
        let scaled = ServicePatch::replicas(9).apply(&def());
        assert_eq!(scaled, ServiceDef { replicas: 9, ..def() });
        assert!(scaled.runs_the_same(&def()) && def().runs_the_same(&scaled));
        let text = |text: &str| Some(text.to_owned());
        for patch in [
            ServicePatch { name: text("x"), ..ServicePatch::default() },
            ServicePatch { command: text("sh"), ..ServicePatch::default() },
            ServicePatch { args: Some(vec![]), ..ServicePatch::default() },
            ServicePatch { required: Some(vec![]), ..ServicePatch::default() },
            ServicePatch { cwd: Some(Change::Clear), ..ServicePatch::default() },
            ServicePatch { env: Some(Change::Clear), ..ServicePatch::default() },
            ServicePatch { bundle: Some(Change::Set(Hash([8; 32]))), ..ServicePatch::replicas(9) },
            ServicePatch { health: Some(Change::Clear), ..ServicePatch::default() },
            ServicePatch { backoff_ms: Some(Change::Set(7)), ..ServicePatch::default() },
            ServicePatch { on_partition: Some(OnPartition::Keep), ..ServicePatch::default() },
            ServicePatch { network: Some(Change::Clear), ..ServicePatch::default() },
        ] {
            let new = patch.apply(&def());
            assert!(!new.runs_the_same(&def()), "{patch:?}");
            assert_eq!(patch.apply(&new), new, "made twice it does no more: {patch:?}");
        }
    }

    #[test]
    fn variables_are_set_and_removed_one_by_one() {
        let pair = |name: &str, value: Option<&str>| (name.to_owned(), value.map(str::to_owned));
        let changes =
            vec![pair("A", None), pair("C", Some("3")), pair("B", Some("9")), pair("D", None)];
        let patch = ServicePatch { env: Some(Change::Set(changes)), ..ServicePatch::default() };
        let env = patch.apply(&def()).env.unwrap();
        assert_eq!(env, [("B".to_owned(), "9".to_owned()), ("C".to_owned(), "3".to_owned())]);
        let none = ServiceDef { env: None, ..def() };
        assert_eq!(patch.apply(&none).env.unwrap().len(), 2);
    }

    #[test]
    fn a_mask_keeps_what_is_there_and_nothing_else() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let set = |name: &str| Change::Set(vec![(name.to_owned(), Some(MASK.to_owned()))]);
        let patch = |name| ServicePatch { env: Some(set(name)), ..ServicePatch::default() };
        let old = def();
        let mut kept = patch("A").apply(&old);
        assert_eq!(kept.unmask(Some(&old)), Ok(()));
        assert_eq!(kept, old);
        assert_eq!(patch("NEW").apply(&old).unmask(Some(&old)), Err("NEW".to_owned()));
        let shown = vec![pair("B", MASK), pair("A", "7")];
        let mut whole = ServiceDef { env: Some(shown), ..old.clone() };
        let b = old.env.as_ref().unwrap().iter().find(|(name, _)| name == "B").unwrap().clone();
        assert_eq!(whole.unmask(Some(&old)), Ok(()));
        assert_eq!(whole.env.unwrap(), [b, pair("A", "7")]);
        let mut first = ServiceDef { env: Some(vec![pair("A", MASK)]), ..def() };
        assert_eq!(first.unmask(None), Err("A".to_owned()));
    }

    #[test]
    fn changes_to_different_parts_hold_in_either_order() {
        let scale = ServicePatch::replicas(5);
        let code = ServicePatch { bundle: Some(Change::Clear), ..ServicePatch::default() };
        assert_eq!(scale.apply(&code.apply(&def())), code.apply(&scale.apply(&def())));
    }

    #[test]
    fn a_patch_survives_the_wire_and_unknown_members_do_not() {
        let patch = ServicePatch {
            cwd: Some(Change::Clear),
            env: Some(Change::Set(vec![("A".into(), None)])),
            health: Some(Change::Set(HealthCheck { path: "/".into(), interval_ms: 1 })),
            ..ServicePatch::replicas(3)
        };
        let bytes = codec::encode(&patch);
        assert_eq!(codec::decode::<ServicePatch>(&bytes, 4096).unwrap(), patch);
        let other = codec::encode(&std::collections::BTreeMap::from([("port", 80)]));
        assert!(codec::decode::<ServicePatch>(&other, 4096).is_err());
    }

    #[test]
    fn what_is_too_large_is_told() {
        assert_eq!(def().fault(), None);
        let many = ServiceDef { replicas: MAX_REPLICAS + 1, ..def() };
        assert_eq!(many.fault(), Some("too many replicas"));
        let path = "/".repeat(MAX_TEXT_BYTES + 1);
        let health = Some(HealthCheck { path, interval_ms: 1 });
        assert!(ServiceDef { health, ..def() }.fault().is_some());
        let args = vec!["x".repeat(MAX_SERVICE_BYTES)];
        assert!(ServiceDef { args, ..def() }.fault().is_some());
    }
}
