//! A host's signed word about a run of its own, for the coordinator that leads the job: whoever passes
//! it on can neither make one up nor alter it.
//!
//! Always: it is about one act and one attempt. Its time is the host's own clock, of which only
//! differences mean something: they tell how long a word was on its way.

use serde::{Deserialize, Serialize};

use crate::clock::{Hlc, Mono};
use crate::id::{HostId, JobId, NetworkId, NodeId};
use crate::limits::MAX_WORD_LATE_MS;
use crate::record::{Raw, Record, Reject, Signed};

/// What a host wants of a run of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Act {
    /// It goes on.
    Renew,
    /// It is not started here.
    HandBack,
}

/// What it says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Word {
    /// Which host.
    pub host: HostId,
    /// The node that it is; signs this.
    pub node: NodeId,
    /// Which job.
    pub job: JobId,
    /// Which attempt.
    pub attempt: u32,
    /// What is wanted.
    pub act: Act,
    /// When it was said, on a clock of the host that counts sleep and that nobody sets, in milliseconds.
    pub at_ms: u64,
}

impl Word {
    /// Reads a word and checks that it was said in this network.
    ///
    /// # Errors
    /// [`Reject`].
    pub fn open(raw: Raw, network: NetworkId) -> Result<Signed<Self>, Reject> {
        if raw.body.len() > Self::MAX_BYTES {
            return Err(Reject::Invalid("too long"));
        }
        if !raw.is_signed(network, Self::KIND) {
            return Err(Reject::BadSignature);
        }
        raw.reopen()
    }
}

impl Record for Word {
    const KIND: &'static str = "host-word";
    const MAX_BYTES: usize = 2 << 10;

    /// It bears no time that others could compare with theirs.
    fn stamp(&self) -> Hlc {
        Hlc::default()
    }

    fn check(&self, signer: NodeId) -> Result<(), Reject> {
        if signer != self.node {
            return Err(Reject::Invalid("a word is signed by the node that it names"));
        }
        Ok(())
    }
}

/// The freshest word of a run that was heard: by it the age of others is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freshest {
    heard: Mono,
    said_ms: u64,
}

impl Freshest {
    /// The freshest word after one that was said at `said_ms` and is heard now; none if that one was on
    /// its way for too long.
    ///
    /// Clocks may differ in rate by a part in 64, which is far more than they do.
    #[must_use]
    pub fn follow(before: Option<Self>, now: Mono, said_ms: u64) -> Option<Self> {
        let this = Self { heard: now, said_ms };
        let Some(before) = before else { return Some(this) };
        let passed = before.heard.ms_until(now);
        let said = said_ms.saturating_sub(before.said_ms);
        let older = before.said_ms.saturating_sub(said_ms);
        let late = (passed - passed / 64).saturating_sub(said).saturating_add(older);
        match late {
            0 => Some(this),
            late if late <= MAX_WORD_LATE_MS => Some(before),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::NodeKey;
    use crate::record::tests::samples::{host_id, job, network, signer};

    fn word() -> Word {
        let node = signer().id();
        Word { host: host_id(), node, job: job(), attempt: 2, act: Act::Renew, at_ms: 7 }
    }

    #[test]
    fn a_word_holds_in_its_network_and_of_its_own_signer_alone() {
        let raw = Signed::seal(&signer(), network(), word()).raw().clone();
        assert_eq!(Word::open(raw.clone(), network()).unwrap().body(), &word());
        let elsewhere = NetworkId::of_name("x");
        assert!(matches!(Word::open(raw.clone(), elsewhere), Err(Reject::BadSignature)));
        let body = crate::codec::encode(&Word { act: Act::HandBack, ..word() });
        assert!(matches!(
            Word::open(Raw { body, ..raw.clone() }, network()),
            Err(Reject::BadSignature)
        ));
        let foreign = Signed::seal(&NodeKey::from_seed(&[9; 32]), network(), word()).raw().clone();
        assert!(matches!(Word::open(foreign, network()), Err(Reject::Invalid(_))));
        let body = vec![0; Word::MAX_BYTES + 1];
        assert!(matches!(Word::open(Raw { body, ..raw }, network()), Err(Reject::Invalid(_))));
    }

    #[test]
    fn a_word_that_was_kept_back_is_told_by_those_that_were_not() {
        let at = |ms: u64| Mono(ms * 1_000_000);
        let first = Freshest::follow(None, at(50_000), 1000).expect("nothing is known before");
        // Those of every ten seconds, an hour long, on a clock that is half a percent slow.
        let mut last = first;
        for n in 1..360 {
            last = Freshest::follow(Some(last), at(50_000 + n * 10_050), 1000 + n * 10_000)
                .expect("it came at once");
        }
        let (now, said) = (50_000 + 359 * 10_050, 1000 + 359 * 10_000);
        assert_eq!(Freshest::follow(Some(last), at(now + 9000), said), Some(last), "a little late");
        assert_eq!(Freshest::follow(Some(last), at(now + 12_000), said), None, "again");
        assert_eq!(Freshest::follow(Some(last), at(now + 20_000), said + 5000), None, "kept back");
        assert_eq!(Freshest::follow(Some(last), at(now), said - 11_000), None, "from before");
        // However many were kept, they serve for one moment together.
        for n in 0..100 {
            let kept = Freshest::follow(Some(last), at(now + 13_000 + n * 1000), said + n * 1000);
            assert_eq!(kept, None);
        }
        assert!(Freshest::follow(Some(last), at(now + 60_000), said + 60_000).is_some());
        assert!(Freshest::follow(Some(last), at(0), u64::MAX).is_some(), "nothing overflows");
    }
}
