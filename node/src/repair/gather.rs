//! From items to records that others can check.

use skyclaw_protocol::NetworkId;
use skyclaw_protocol::batch::StoredRegister;
use skyclaw_protocol::clock::Wall;
use skyclaw_protocol::key::NodeKey;
use skyclaw_protocol::record::result::JobResult;
use skyclaw_protocol::record::spec::RegisterKey;
use skyclaw_protocol::record::{Raw, Signed};
use skyclaw_protocol::register::{Certificate, Val};
use skyclaw_protocol::repair::{BATCH_BYTES, Item, MAX_MESSAGE, Records};
use skyclaw_protocol::retention::StubRaw;
use skyclaw_protocol::wire::Known;
use skyclaw_store::{Held, ReadError, Reader};

/// What CBOR, signatures and ids add to the bodies of one record: three times 64 and 32 bytes, a way of
/// four hashes, and the names of the fields.
pub(super) const SLACK: usize = 1024;

/// What was gathered.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    /// Items looked at, from the first on; at least one, if there is one.
    pub(super) done: usize,
    /// Their records, one batch.
    pub(super) records: Records,
    /// Records that cannot be sent.
    pub(super) left_out: usize,
}

/// The records of `items`, as many as make a batch. What has expired by `now` is not sent: nobody
/// takes it any more.
///
/// # Errors
/// The store's.
pub(super) fn gather(
    reader: &Reader,
    key: &NodeKey,
    network: NetworkId,
    items: &[Item],
    now: Wall,
) -> Result<Gathered, ReadError> {
    let mut gathered = Gathered::default();
    let mut bytes = 0;
    for item in items {
        let Some(held) = reader.held(item)? else {
            gathered.done += 1;
            continue;
        };
        let expires_at = match &held {
            Held::Register(held) => held.register.spec.body().expires_at,
            Held::Stub(stub) => stub.expires_at,
            Held::Host(_) => Wall(u64::MAX),
        };
        if expires_at <= now {
            gathered.done += 1;
            continue;
        }
        let record = match held {
            Held::Stub(stub) => Some(Record::Stub(Box::new(stub.raw()))),
            Held::Host(host) => Some(Record::Host(host.raw().clone())),
            Held::Register(held) => known(key, network, &held.register, held.result.as_ref())
                .map(|known| Record::Register(Box::new(known))),
        };
        let Some(record) = record.filter(|record| record.bytes() <= MAX_MESSAGE) else {
            gathered.done += 1;
            gathered.left_out += 1;
            continue;
        };
        if bytes > 0 && bytes + record.bytes() > BATCH_BYTES {
            break;
        }
        bytes += record.bytes();
        gathered.done += 1;
        match record {
            Record::Stub(raw) => gathered.records.stubs.push(*raw),
            Record::Host(raw) => gathered.records.hosts.push(raw),
            Record::Register(known) => gathered.records.registers.push(*known),
        }
    }
    Ok(gathered)
}

enum Record {
    Host(Raw),
    Stub(Box<StubRaw>),
    Register(Box<Known>),
}

impl Record {
    fn bytes(&self) -> usize {
        let body = |raw: &Option<Raw>| raw.as_ref().map_or(0, |raw| raw.body.len());
        SLACK
            + match self {
                Self::Host(raw) => raw.body.len(),
                Self::Stub(raw) => raw.certificate.body.len(),
                Self::Register(known) => {
                    known.certificate.body.len() + body(&known.spec) + body(&known.result)
                }
            }
    }
}

/// What others need to know of a register; `None` if a part is missing here.
fn known(
    key: &NodeKey,
    network: NetworkId,
    register: &StoredRegister,
    result: Option<&Signed<JobResult>>,
) -> Option<Known> {
    let (ballot, val) = register.decided()?;
    if val.job().is_some_and(|state| state.result.is_some()) && result.is_none() {
        return None;
    }
    let stored = register.certificate.as_ref().filter(|certificate| {
        let body = certificate.body();
        body.key.spec == register.spec.hash() && (body.ballot, &body.val) == (ballot, val)
    });
    let certificate = match stored {
        Some(certificate) => certificate.raw().clone(),
        // The only voter needs no certificate, so none is on disk. It is that of the ballot, too.
        None if ballot.proposer == key.id() => mint(key, network, register, val)?,
        None => return None,
    };
    Some(Known {
        certificate,
        spec: Some(register.spec.raw().clone()),
        result: result.map(|result| result.raw().clone()),
    })
}

/// This node's word on a register in which it votes alone.
fn mint(key: &NodeKey, network: NetworkId, register: &StoredRegister, val: &Val) -> Option<Raw> {
    let spec = register.spec.body();
    let accepted = register.row.accepted.as_ref()?;
    if spec.voters != [key.id()] || accepted.val != *val {
        return None;
    }
    let body = Certificate {
        key: RegisterKey { subject: spec.subject.clone(), spec: register.spec.hash() },
        ballot: accepted.ballot,
        val: val.clone(),
        voters: spec.voters.clone(),
        sworn: Vec::new(),
    };
    Some(Signed::seal(key, network, body).raw().clone())
}
