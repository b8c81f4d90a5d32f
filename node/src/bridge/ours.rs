//! An index of what this network holds, as far as originals are to be shown it.
//!
//! Always: it follows the store by the items of repair; a record is read only when it is new or has
//! changed, so that looking costs next to nothing while nothing happens.

use std::collections::{HashMap, HashSet};

use serde_json::Value;
use skyclaw_http_compat::snapshot::{Exporter, Kind};
use skyclaw_protocol::batch::Shelf;
use skyclaw_protocol::clock::{Hlc, Wall};
use skyclaw_protocol::record::Signed;
use skyclaw_protocol::record::host::HostDesc;
use skyclaw_protocol::record::result::JobResult;
use skyclaw_protocol::record::spec::{Spec, Subject};
use skyclaw_protocol::register::Val;
use skyclaw_protocol::repair::{Inventory, Item, Range, Sum};
use skyclaw_protocol::{HostView, JobId, Milli, ServiceId, ServiceStatus, ServiceView, fold};
use skyclaw_store::{Held, ReadError, Reader};

use super::diff::{Entry, State, Table, Want};

/// What a record takes beside its texts.
const FRAME: usize = 512;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Ours {
    /// Of what it was made.
    sum: Option<Sum>,
    /// Counts its changes.
    changes: u64,
    items: HashMap<Item, (Kind, String)>,
    /// Which item each record stands by.
    places: Table<Item>,
    entries: Table<Entry>,
}

impl Ours {
    /// How often it has changed.
    pub(super) const fn changes(&self) -> u64 {
        self.changes
    }

    /// All records.
    pub(super) const fn entries(&self) -> &Table<Entry> {
        &self.entries
    }

    /// Catches up with the store. A record that does not check out is left out.
    pub(super) fn refresh(&mut self, reader: &Reader) -> Result<(), ReadError> {
        let sum = reader.sum(Range::ALL)?;
        if self.sum == Some(sum) {
            return Ok(());
        }
        let items = reader.items(Range::ALL, usize::MAX)?;
        let here: HashSet<Item> = items.iter().copied().collect();
        let gone: Vec<Item> =
            self.items.keys().filter(|item| !here.contains(item)).copied().collect();
        for item in items {
            if self.items.contains_key(&item) {
                continue;
            }
            // What has been superseded meanwhile is found the next time.
            let Some(held) = reader.held(&item)? else { continue };
            let Some((kind, id, entry)) = entry(&held) else { continue };
            self.entries.of_mut(kind).insert(id.clone(), entry);
            self.places.of_mut(kind).insert(id.clone(), item);
            self.items.insert(item, (kind, id));
        }
        for item in gone {
            let Some((kind, id)) = self.items.remove(&item) else { continue };
            if self.places.of(kind).get(&id) == Some(&item) {
                self.places.of_mut(kind).remove(&id);
                self.entries.of_mut(kind).remove(&id);
            }
        }
        self.sum = Some(sum);
        self.changes += 1;
        Ok(())
    }

    /// The record as an original is to get it, and roughly how long it is; none if it is gone.
    pub(super) fn export(
        &self,
        reader: &Reader,
        exporter: &Exporter,
        want: &Want,
        now: Wall,
    ) -> Option<(Value, usize)> {
        match want.kind {
            Kind::Host => {
                let item = self.places.of(Kind::Host).get(&want.id)?;
                let Ok(Some(Held::Host(desc))) = reader.held(item) else { return None };
                let mut host = host_view(desc.body());
                host.version = want.version;
                Some((exporter.host(&host), FRAME))
            }
            Kind::Job => {
                let id = JobId::new(&want.id).ok()?;
                let Some(job) = reader.job(&id).ok()? else {
                    let stub = reader.stub(&Subject::Job(id)).ok()??;
                    let mut view = fold::stub_view(&stub)?;
                    view.version = want.version;
                    return Some((exporter.job(&view), FRAME));
                };
                let (spec, val) = (job.register.spec.body(), job.register.chosen()?);
                record(
                    exporter,
                    spec,
                    val,
                    job.result.as_ref().map(Signed::body),
                    want.version,
                    now,
                )
            }
            Kind::Service => {
                let subject = Subject::Service(ServiceId::new(&want.id).ok()?);
                let stored = reader.register(&subject).ok()??;
                record(exporter, stored.spec.body(), stored.chosen()?, None, want.version, now)
            }
        }
    }
}

/// A job or service at that value as an original is to get it.
pub(super) fn record(
    exporter: &Exporter,
    spec: &Spec,
    val: &Val,
    result: Option<&JobResult>,
    version: u64,
    now: Wall,
) -> Option<(Value, usize)> {
    match &spec.subject {
        Subject::Job(_) => {
            let mut view = fold::job_view(spec, val, result, None, now)?;
            view.version = version;
            let texts = view.result.as_ref().map_or(0, |result| {
                let long = |text: &Option<String>| text.as_ref().map_or(0, String::len);
                long(&result.stdout) + long(&result.stderr) + long(&result.agent)
            });
            Some((exporter.job(&view), FRAME + view.payload.len() + texts))
        }
        Subject::Service(id) => {
            let view = fold::service_view(spec, val).or_else(|| removed(id, val));
            let mut view = view?;
            view.version = version;
            // Its definition is bounded well below what a push may hold.
            Some((exporter.service(&view), FRAME + FRAME * view.def.args.len()))
        }
    }
}

/// A service that is no more: originals cannot be told to forget it, but that nothing runs.
fn removed(id: &ServiceId, val: &Val) -> Option<ServiceView> {
    let state = val.service()?;
    Some(ServiceView {
        id: id.clone(),
        def: state.def.clone(),
        status: ServiceStatus::Failed,
        created: state.deployed.wall(),
        updated: val.at.wall(),
        updated_by: val.by.clone(),
        version: val.display_version,
        assignments: Vec::new(),
        ver: val.at.rank(),
        generation: state.generation,
        past: Vec::new(),
        reverted: None,
        owner: None,
    })
}

fn host_view(desc: &HostDesc) -> HostView {
    HostView {
        id: desc.id.clone(),
        name: desc.name.clone(),
        capabilities: desc.capabilities.clone(),
        max_parallel: desc.max_parallel,
        // An original would count what runs here against its own jobs.
        active_leases: Milli(0),
        last_seen: desc.at.wall(),
        registered: desc.registered.wall(),
        updated_by: desc.by.clone(),
        version: desc.display_version,
        openclaw: desc.openclaw.clone(),
    }
}

fn entry(held: &Held) -> Option<(Kind, String, Entry)> {
    match held {
        Held::Host(desc) => {
            let desc = desc.body();
            let state = match desc {
                HostDesc { removed: true, .. } => State::Gone,
                HostDesc { node: Some(_), .. } => State::Private,
                _ => State::Live,
            };
            let entry = Entry { version: desc.display_version, created: desc.registered, state };
            Some((Kind::Host, desc.id.as_str().to_owned(), entry))
        }
        Held::Stub(stub) => {
            let Subject::Job(id) = stub.subject() else { return None };
            let (version, created) = (stub.val().display_version, stub.created);
            let entry = Entry { version, created, state: State::Gone };
            Some((Kind::Job, id.as_str().to_owned(), entry))
        }
        Held::Register(record) => {
            let (spec, val) = (record.register.spec.body(), record.register.chosen()?);
            let entry =
                |state| Entry { version: val.display_version, created: created(spec, val), state };
            match &spec.subject {
                Subject::Job(id) => {
                    let state = if val.is_terminal() { State::Ended } else { State::Live };
                    Some((Kind::Job, id.as_str().to_owned(), entry(state)))
                }
                Subject::Service(id) => {
                    let state = if val.is_terminal() { State::Gone } else { State::Live };
                    Some((Kind::Service, id.as_str().to_owned(), entry(state)))
                }
            }
        }
    }
}

fn created(spec: &Spec, val: &Val) -> Hlc {
    val.service().map_or(spec.created, |state| state.deployed)
}
