//! Each record by itself: its seal, its form, its key, its signature.

use redb::{ReadOnlyTable, ReadTransaction, ReadableTable, TableHandle};
use serde::Serialize;
use serde::de::DeserializeOwned;
use skyclaw_protocol::batch::KeyRow;
use skyclaw_protocol::clock::Wall;
use skyclaw_protocol::controls::ControlKey;
use skyclaw_protocol::record::control::Control;
use skyclaw_protocol::record::host::HostDesc;
use skyclaw_protocol::record::result::JobResult;
use skyclaw_protocol::record::spec::Spec;
use skyclaw_protocol::record::{Raw, Record, Reject, Signed};
use skyclaw_protocol::register::Certificate;
use skyclaw_protocol::retention::StubRaw;
use skyclaw_protocol::{JobId, NetworkId, codec};

use super::{Checked, FaultKind};
use crate::error::Fault;
use crate::index::Terms;
use crate::outbox::OutboxEntry;
use crate::seal::opened;
use crate::tables::{
    CERTIFICATES, HOSTS, Head, KEYS, LEASE_NOTES, META, META_BACKUP, META_FORMAT, META_HEAD,
    META_JOURNAL, META_MIGRATIONS, META_SEED, OUTBOX, RESULTS, ROWS, SPECS, STUBS, Sealed,
    StoredRow, control_key, result_key, subject_key, subject_of,
};

type Rows = ReadOnlyTable<&'static [u8], &'static [u8]>;

/// What is wrong with a record.
type Wrong = (FaultKind, String);

/// After every clock: whether a stamp was from the future is asked when it comes.
const LATEST: Wall = Wall(u64::MAX);

/// Looks at every record of a table. Returns how many there are.
pub(super) fn all(
    txn: &ReadTransaction,
    rows: &Rows,
    (table, name): (&Sealed, &'static str),
    network: NetworkId,
    checked: &mut Checked,
) -> Result<u64, Fault> {
    // A row repeats what its spec says.
    let specs = if table.name() == ROWS.name() { Some(txn.open_table(SPECS)?) } else { None };
    let mut count = 0;
    for entry in rows.iter()? {
        let (key, stored) = entry?;
        count += 1;
        let (key, stored) = (key.value(), stored.value());
        let mut looked = one(table, key, stored, network);
        if let (Ok(()), Some(specs)) = (&looked, &specs) {
            looked = match specs.get(key)? {
                Some(spec) => row_and_spec(key, stored, spec.value()),
                None => Ok(()),
            };
        }
        if let Err((fault, what)) = looked {
            checked.find(fault, name, words(table, key), what);
        }
    }
    Ok(count)
}

fn one(table: &Sealed, key: &[u8], stored: &[u8], network: NetworkId) -> Result<(), Wrong> {
    let is = |other: &Sealed| table.name() == other.name();
    let own = if is(&META) {
        meta(key, stored)?;
        return Ok(());
    } else if is(&SPECS) {
        subject_key(&signed::<Spec>(table, key, stored, network)?.body().subject)
    } else if is(&ROWS) {
        value::<StoredRow>(table, key, stored)?;
        let subject = subject_of(key);
        subject.map(|subject| subject_key(&subject)).unwrap_or_default()
    } else if is(&RESULTS) {
        let result = signed::<JobResult>(table, key, stored, network)?;
        result_key(&result.body().job, result.body().attempt)
    } else if is(&CERTIFICATES) {
        subject_key(&signed::<Certificate>(table, key, stored, network)?.body().key.subject)
    } else if is(&HOSTS) {
        signed::<HostDesc>(table, key, stored, network)?.body().id.as_str().as_bytes().to_vec()
    } else if is(&KEYS) {
        value::<KeyRow>(table, key, stored)?;
        // A hash: it stands for itself.
        if key.len() == 32 { key.to_vec() } else { Vec::new() }
    } else if is(&LEASE_NOTES) {
        value::<Wall>(table, key, stored)?;
        let id = std::str::from_utf8(key).ok().and_then(|id| JobId::new(id).ok());
        id.map(|id| id.as_str().as_bytes().to_vec()).unwrap_or_default()
    } else if is(&OUTBOX) {
        let entry = value::<OutboxEntry>(table, key, stored)?;
        result_key(&entry.completion.job, entry.attempt)
    } else if is(&STUBS) {
        let raw = value::<StubRaw>(table, key, stored)?;
        subject_key(raw.verify(network, LATEST).map_err(rejected)?.subject())
    } else {
        control_key(&ControlKey::of(signed::<Control>(table, key, stored, network)?.body()))
    };
    if own == key {
        return Ok(());
    }
    Err((FaultKind::Record, "it does not belong under this key".to_owned()))
}

fn meta(key: &[u8], stored: &[u8]) -> Result<(), Wrong> {
    match key {
        META_FORMAT | META_MIGRATIONS => value::<u64>(&META, key, stored).map(drop),
        META_SEED => {
            let seed: Vec<u8> = value(&META, key, stored)?;
            let wrong = (FaultKind::Record, "it is not of 32 bytes".to_owned());
            if seed.len() == 32 { Ok(()) } else { Err(wrong) }
        }
        META_JOURNAL => {
            let epoch: Vec<u8> = value(&META, key, stored)?;
            let whole = epoch.len() == 16;
            let wrong = || (FaultKind::Record, "it is no name of a journal".to_owned());
            whole.then_some(()).ok_or_else(wrong)
        }
        META_BACKUP => value::<bool>(&META, key, stored).map(drop),
        META_HEAD => value::<Head>(&META, key, stored).map(drop),
        _ => Err((FaultKind::Record, "nobody knows what it is".to_owned())),
    }
}

fn bytes<'s>(table: &Sealed, key: &[u8], stored: &'s [u8]) -> Result<&'s [u8], Wrong> {
    let wrong = || (FaultKind::Record, "its checksum does not hold".to_owned());
    opened(table, key, stored).ok_or_else(wrong)
}

fn value<T: Serialize + DeserializeOwned>(
    table: &Sealed,
    key: &[u8],
    stored: &[u8],
) -> Result<T, Wrong> {
    let bytes = bytes(table, key, stored)?;
    codec::decode(bytes, bytes.len())
        .map_err(|error| (FaultKind::Record, format!("it does not decode: {error}")))
}

fn signed<T: Record>(
    table: &Sealed,
    key: &[u8],
    stored: &[u8],
    network: NetworkId,
) -> Result<Signed<T>, Wrong> {
    value::<Raw>(table, key, stored)?.verify(network, LATEST).map_err(rejected)
}

fn rejected(reject: Reject) -> Wrong {
    match reject {
        Reject::BadSignature => {
            (FaultKind::Signature, "its signature does not hold in this network".to_owned())
        }
        other => (FaultKind::Record, format!("it does not decode: {other}")),
    }
}

/// A row says of its register what the spec says. A spec that cannot be read is found as such.
fn row_and_spec(key: &[u8], row: &[u8], spec: &[u8]) -> Result<(), Wrong> {
    let row: StoredRow = value(&ROWS, key, row)?;
    let spec = value::<Raw>(&SPECS, key, spec).ok().and_then(|raw| raw.reopen::<Spec>().ok());
    let Some(spec) = spec else { return Ok(()) };
    let terms = Terms::of(spec.body());
    let differs = row.alone.is_some_and(|alone| alone != terms.alone)
        || row.expires.is_some_and(|expires| expires != terms.expires);
    if differs {
        return Err((FaultKind::Record, "it says other than the spec of its register".to_owned()));
    }
    Ok(())
}

/// A key as people know it.
pub(super) fn words(table: &Sealed, key: &[u8]) -> String {
    let of_subject = [&SPECS, &ROWS, &CERTIFICATES, &STUBS];
    let plain = match key.split_first() {
        Some((b'j' | b's', id)) if of_subject.iter().any(|other| other.name() == table.name()) => {
            id
        }
        _ => key,
    };
    plain.escape_ascii().to_string()
}
