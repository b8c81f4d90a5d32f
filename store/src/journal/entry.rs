//! A batch as it stands in a frame: the same changes, records as they were signed.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use skyclaw_protocol::batch::{Batch, KeyRow, Write};
use skyclaw_protocol::clock::{Hlc, Wall};
use skyclaw_protocol::controls::ControlKey;
use skyclaw_protocol::record::spec::Subject;
use skyclaw_protocol::record::{Raw, Record, Signed};
use skyclaw_protocol::register::Voter;
use skyclaw_protocol::retention::StubRaw;
use skyclaw_protocol::{Hash, HostId, JobId, codec};

use crate::behind::Unsettled;

/// The body of a frame.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Body<'b> {
    clock: Hlc,
    version: u64,
    writes: Vec<Entry<'b>>,
    /// Where there are any it is no batch of the machine's: its clock and version say nothing.
    #[serde(default, skip_serializing_if = "nothing")]
    outbox: Cow<'b, [OutboxRow]>,
}

/// A row of the outbox as it is to stand, sealed; none if it goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OutboxRow {
    #[serde(with = "serde_bytes")]
    pub(crate) key: Vec<u8>,
    pub(crate) sealed: Option<ByteBuf>,
}

fn nothing(rows: &[OutboxRow]) -> bool {
    rows.is_empty()
}

/// The bytes of a body.
pub(crate) struct Encoded(pub(crate) Vec<u8>);

/// One [`Write`].
#[derive(Debug, Serialize, Deserialize)]
enum Entry<'b> {
    Spec(Cow<'b, Raw>),
    Row { subject: Cow<'b, Subject>, created: Hlc, row: Cow<'b, Voter> },
    Result(Cow<'b, Raw>),
    Certificate(Cow<'b, Raw>),
    Host(Cow<'b, Raw>),
    ForgetHost(Cow<'b, HostId>),
    Control(Cow<'b, Raw>),
    ForgetControl { kind: Cow<'b, str>, id: Cow<'b, str> },
    Key { scope: Hash, row: Cow<'b, KeyRow> },
    ForgetKey { scope: Hash, expires_at: Wall },
    LeaseNote { job: Cow<'b, JobId>, until: Option<Wall> },
    Shrink(StubRaw),
    Drop(Cow<'b, Subject>),
    Refile(Cow<'b, Subject>),
    NotDue { subject: Cow<'b, Subject>, due: Wall },
    GcFloor(Wall),
}

fn raw<T>(signed: &Signed<T>) -> Cow<'_, Raw> {
    Cow::Borrowed(signed.raw())
}

impl<'b> From<&'b Write> for Entry<'b> {
    fn from(write: &'b Write) -> Self {
        match write {
            Write::Spec(spec) => Self::Spec(raw(spec)),
            Write::Row { subject, created, row } => Self::Row {
                subject: Cow::Borrowed(subject),
                created: *created,
                row: Cow::Borrowed(row),
            },
            Write::Result(result) => Self::Result(raw(result)),
            Write::Certificate(certificate) => Self::Certificate(raw(certificate)),
            Write::Host(host) => Self::Host(raw(host)),
            Write::ForgetHost(id) => Self::ForgetHost(Cow::Borrowed(id)),
            Write::Control(control) => Self::Control(raw(control)),
            Write::ForgetControl(ControlKey { kind, id }) => {
                Self::ForgetControl { kind: Cow::Borrowed(kind), id: Cow::Borrowed(id) }
            }
            Write::Key { scope, row } => Self::Key { scope: *scope, row: Cow::Borrowed(row) },
            Write::ForgetKey { scope, expires_at } => {
                Self::ForgetKey { scope: *scope, expires_at: *expires_at }
            }
            Write::LeaseNote { job, until } => {
                Self::LeaseNote { job: Cow::Borrowed(job), until: *until }
            }
            Write::Shrink(stub) => Self::Shrink(stub.raw()),
            Write::Drop(subject) => Self::Drop(Cow::Borrowed(subject)),
            Write::Refile(subject) => Self::Refile(Cow::Borrowed(subject)),
            Write::NotDue { subject, due } => {
                Self::NotDue { subject: Cow::Borrowed(subject), due: *due }
            }
            Write::GcFloor(floor) => Self::GcFloor(*floor),
        }
    }
}

fn signed<T: Record>(raw: Cow<'_, Raw>) -> Result<Box<Signed<T>>, String> {
    raw.into_owned().recall().map(Box::new).map_err(|error| error.to_string())
}

impl Entry<'_> {
    fn into_write(self) -> Result<Write, String> {
        Ok(match self {
            Self::Spec(raw) => Write::Spec(signed(raw)?),
            Self::Row { subject, created, row } => Write::Row {
                subject: subject.into_owned(),
                created,
                row: Box::new(row.into_owned()),
            },
            Self::Result(raw) => Write::Result(signed(raw)?),
            Self::Certificate(raw) => Write::Certificate(signed(raw)?),
            Self::Host(raw) => Write::Host(signed(raw)?),
            Self::ForgetHost(id) => Write::ForgetHost(id.into_owned()),
            Self::Control(raw) => Write::Control(signed(raw)?),
            Self::ForgetControl { kind, id } => {
                let (kind, id) = (kind.into_owned(), id.into_owned());
                Write::ForgetControl(ControlKey { kind, id })
            }
            Self::Key { scope, row } => Write::Key { scope, row: Box::new(row.into_owned()) },
            Self::ForgetKey { scope, expires_at } => Write::ForgetKey { scope, expires_at },
            Self::LeaseNote { job, until } => Write::LeaseNote { job: job.into_owned(), until },
            Self::Shrink(raw) => {
                Write::Shrink(Box::new(raw.reopen().map_err(|error| error.to_string())?))
            }
            Self::Drop(subject) => Write::Drop(subject.into_owned()),
            Self::Refile(subject) => Write::Refile(subject.into_owned()),
            Self::NotDue { subject, due } => Write::NotDue { subject: subject.into_owned(), due },
            Self::GcFloor(floor) => Write::GcFloor(floor),
        })
    }
}

impl Encoded {
    /// The bytes of a batch.
    pub(crate) fn of(batch: &Batch) -> Self {
        let writes = batch.writes.iter().map(Entry::from).collect();
        let (clock, version, outbox) = (batch.clock, batch.version, Cow::Borrowed(&[][..]));
        Self(codec::encode(&Body { clock, version, writes, outbox }))
    }

    /// The bytes of changes of the outbox.
    pub(crate) fn of_outbox(rows: &[OutboxRow]) -> Self {
        let (clock, outbox) = (Hlc { ms: 0, count: 0 }, Cow::Borrowed(rows));
        Self(codec::encode(&Body { clock, version: 0, writes: Vec::new(), outbox }))
    }
}

impl Body<'static> {
    /// The batch of some bytes, or why they are none. The checksum of their frame held: they are what this node
    /// wrote, in the form of its version then.
    pub(crate) fn read(bytes: &[u8]) -> Result<Unsettled, String> {
        let body: Self = codec::decode_kept(bytes).map_err(|error| error.to_string())?;
        let writes = body.writes.into_iter().map(Entry::into_write).collect::<Result<_, _>>()?;
        let stamp = body.outbox.is_empty().then_some((body.clock, body.version));
        Ok(Unsettled { stamp, writes, outbox: body.outbox.into_owned(), bytes: bytes.len() })
    }
}
