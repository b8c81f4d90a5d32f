//! What was learned from others outside of voting, checked: certificates with their content,
//! descriptions of hosts, announcements of work.
//!
//! Always: a [`Learned`] exists only after every signature in it was checked and its parts belong
//! together, so it may be checked beside the engine and passed on before the engine has seen it.

use crate::clock::Wall;
use crate::id::NetworkId;
use crate::limits::MAX_BATCH_OPS;
use crate::record::control::Control;
use crate::record::host::HostDesc;
use crate::record::result::JobResult;
use crate::record::spec::Spec;
use crate::record::work::Work;
use crate::record::{Proven, Reject, Signed};
use crate::register::Certificate;
use crate::retention::Stub;
use crate::wire::{Known, Message};

/// One thing learned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Learned {
    /// How a register stands.
    Register(Box<Standing>),
    /// What is left of a job.
    Stub(Box<Stub>),
    /// A host.
    Host(Box<Signed<HostDesc>>),
    /// What every coordinator must know.
    Control(Box<Signed<Control>>),
    /// Where work waits.
    Work(Box<Signed<Work>>),
}

/// How a register stands, by the word of a ballot's owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    certificate: Signed<Certificate>,
    spec: Option<Signed<Spec>>,
    result: Option<Signed<JobResult>>,
}

impl Standing {
    /// The word itself.
    #[must_use]
    pub const fn certificate(&self) -> &Signed<Certificate> {
        &self.certificate
    }

    /// The register's head, if it came along. Its hash is the one the certificate names.
    #[must_use]
    pub const fn spec(&self) -> Option<&Signed<Spec>> {
        self.spec.as_ref()
    }

    /// The result that the value names, if it came along.
    #[must_use]
    pub const fn result(&self) -> Option<&Signed<JobResult>> {
        self.result.as_ref()
    }

    /// Its parts.
    #[must_use]
    pub fn into_parts(
        self,
    ) -> (Signed<Certificate>, Option<Signed<Spec>>, Option<Signed<JobResult>>) {
        (self.certificate, self.spec, self.result)
    }
}

/// Checks what a message holds of these. Messages that hold nothing to be learned give an empty
/// list.
///
/// # Errors
/// [`Reject`] for the first part that does not hold; nothing of the message is taken then. Only
/// [`Reject::FromTheFuture`] may come from an honest node.
pub fn check(message: Message, network: NetworkId, now: Wall) -> Result<Vec<Learned>, Reject> {
    let mut proven = Proven::default();
    let proven = &mut proven;
    match message {
        Message::Known(all) if all.len() <= MAX_BATCH_OPS => {
            all.into_iter().map(|known| standing(known, network, now, proven)).collect()
        }
        Message::Hosts(all) if all.len() <= MAX_BATCH_OPS => all
            .into_iter()
            .map(|raw| Ok(Learned::Host(Box::new(raw.verify_as(network, now, proven)?))))
            .collect(),
        Message::Stubs(all) if all.len() <= MAX_BATCH_OPS => all
            .into_iter()
            .map(|raw| Ok(Learned::Stub(Box::new(raw.verify(network, now)?))))
            .collect(),
        Message::Controls(all) if all.len() <= MAX_BATCH_OPS => all
            .into_iter()
            .map(|raw| Ok(Learned::Control(Box::new(raw.verify_as(network, now, proven)?))))
            .collect(),
        Message::Known(_) | Message::Stubs(_) | Message::Hosts(_) | Message::Controls(_) => {
            Err(Reject::Invalid("too many records"))
        }
        Message::Work(raw) => Ok(vec![Learned::Work(Box::new(raw.verify(network, now)?))]),
        _ => Ok(Vec::new()),
    }
}

fn standing(
    known: Known,
    network: NetworkId,
    now: Wall,
    proven: &mut Proven,
) -> Result<Learned, Reject> {
    let Known { certificate, spec, result } = known;
    let certificate: Signed<Certificate> = certificate.verify_as(network, now, proven)?;
    let spec = spec.map(|raw| raw.verify_as::<Spec>(network, now, proven)).transpose()?;
    let result = result.map(|raw| raw.verify_as::<JobResult>(network, now, proven)).transpose()?;
    let body = certificate.body();
    if spec
        .as_ref()
        .is_some_and(|spec| spec.hash() != body.key.spec || spec.body().subject != body.key.subject)
    {
        return Err(Reject::Invalid("the spec is another register's"));
    }
    let named = body.val.job().and_then(|state| state.result);
    if result.as_ref().is_some_and(|result| Some(result.hash()) != named) {
        return Err(Reject::Invalid("the result is not the one that the value names"));
    }
    Ok(Learned::Register(Box::new(Standing { certificate, spec, result })))
}
