//! Taking over what an original kept in its database, page by page.
//!
//! Always: what is known here is left as it is, so that a page may come any number of times. While
//! originals are known to this node what they hold stays theirs: it is merged into the copy of it,
//! and becomes ours when the last of them is forgotten. Else jobs become ours under their ids, those
//! under a lease once that has run out: until then their hosts may report them here.

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, stream};
use skyclaw_http_compat::import::{self, RefusedRecord};
use skyclaw_http_compat::snapshot::Kind;
use skyclaw_http_compat::{ImportRefusal, Imported, Request};
use skyclaw_protocol::batch::Shelf;
use skyclaw_protocol::clock::Wall;
use skyclaw_protocol::record::spec::Subject;
use skyclaw_protocol::{
    Adopted, AdoptedEnd, Command, HostId, HostView, ImportedKey, JobId, JobStatus, JobView,
    Refusal, ServiceView,
};

use super::originals::has_ended;
use super::{NodeHandle, adopted, store_refusal};
use crate::bridge::adopted as fit;
use crate::imports::Imports;
use crate::time;

/// Records carried out side by side: they share commits, and leave room for other callers.
const SIDE_BY_SIDE: usize = 64;

/// How long a record is tried while the node is busy.
const PATIENCE: Duration = Duration::from_secs(5);

/// Between two tries.
const AGAIN: Duration = Duration::from_millis(50);

/// The host of a job that ended without one.
const NO_HOST: &str = "unknown";

/// A record, its JSON as it came, and whether a node of ours wrote it.
struct Record<V> {
    view: V,
    raw: Bytes,
    ours: bool,
}

/// A page, owned.
struct Page {
    dry_run: bool,
    running: bool,
    hosts: Vec<HostView>,
    jobs: Vec<Record<JobView>>,
    services: Vec<Record<ServiceView>>,
    keys: Vec<ImportedKey>,
    done: Imported,
}

/// What is to become of a record.
enum Fate {
    Known,
    /// Known at originals, whose own it stays.
    Theirs,
    Old,
    Left,
    Waits(u64),
    Do(Box<Command>),
    Refused(String),
}

impl NodeHandle {
    /// Where what was taken over from originals is kept. Only the first call counts.
    pub fn set_imports(&self, imports: Imports) {
        if self.0.imports.set(imports).is_err() {
            tracing::error!("the node has a place for imports already");
        }
    }

    pub(super) fn imports(&self) -> Option<&Imports> {
        self.0.imports.get()
    }

    /// Takes a page over.
    pub(super) async fn import_page(&self, body: Bytes) -> Result<Imported, ImportRefusal> {
        let read = tokio::task::spawn_blocking(move || read(&body)).await;
        let page = read.map_err(|_| Refusal::Stopping)?.map_err(ImportRefusal::Malformed)?;
        let Page { dry_run, running, hosts, jobs, services, keys, mut done } = page;
        let mut run = Run { handle: self, dry_run, running, theirs: Vec::new() };
        run.hosts(hosts, &mut done).await?;
        run.jobs(jobs, &mut done).await?;
        run.services(services, &mut done).await?;
        run.merge().await?;
        run.keys(keys, &mut done).await?;
        Ok(done)
    }

    /// Whether a job is one of this network, whole or not.
    fn has_job(&self, id: &JobId) -> Result<bool, Refusal> {
        let (reader, subject) = (self.reader()?, Subject::Job(id.clone()));
        Ok(reader.register(&subject).map_err(store_refusal)?.is_some()
            || reader.stub(&subject).map_err(store_refusal)?.is_some())
    }

    /// What becomes of something unfinished that originals hold, or did: it is theirs while they are
    /// known, and left alone while one may be there that was not reached since the start. It might
    /// give it to somebody. None where nobody can.
    fn fate_with_originals(&self) -> Option<Fate> {
        let kinds = self.0.net.kinds();
        if !kinds.originals().borrow().is_empty() {
            return Some(Fate::Theirs);
        }
        kinds.first_not_ours(&self.peer_urls()).map(|_| Fate::Left)
    }
}

fn read(body: &Bytes) -> Result<Page, String> {
    let page = import::read(body, time::wall())?;
    let mut done = Imported { refused: page.refused, ..Imported::default() };
    done.old.keys = page.old_keys;
    let raw = |raw: &str| body.slice_ref(raw.as_bytes());
    // A host that we exported is registered here or gone.
    let (exported, hosts): (Vec<_>, Vec<_>) =
        page.hosts.into_iter().partition(|host| host.exported.is_some());
    done.known.hosts = exported.len() as u64;
    let jobs = page.jobs.into_iter().map(|job| Record {
        raw: raw(job.raw),
        ours: job.exported.is_some(),
        view: job.view,
    });
    let services = page.services.into_iter().map(|service| Record {
        raw: raw(service.raw),
        ours: service.exported.is_some(),
        view: service.view,
    });
    Ok(Page {
        dry_run: page.dry_run,
        running: page.running,
        hosts: hosts.into_iter().map(|host| host.view).collect(),
        jobs: jobs.collect(),
        services: services.collect(),
        keys: page.keys,
        done,
    })
}

struct Run<'h> {
    handle: &'h NodeHandle,
    dry_run: bool,
    running: bool,
    /// Records that belong into the copy of what originals hold.
    theirs: Vec<(Kind, Bytes)>,
}

impl Run<'_> {
    async fn hosts(&self, hosts: Vec<HostView>, done: &mut Imported) -> Result<(), Refusal> {
        if hosts.is_empty() {
            return Ok(());
        }
        let known: HashSet<HostId> =
            self.handle.host_list().await?.into_iter().map(|host| host.id).collect();
        let fate = |host: HostView| {
            if known.contains(&host.id) {
                return (host.id.to_string(), Fate::Known);
            }
            let command = Command::RegisterHost {
                id: Some(host.id.clone()),
                name: host.name,
                capabilities: host.capabilities,
                max_parallel: host.max_parallel,
                node: None,
                openclaw: host.openclaw,
            };
            (host.id.to_string(), Fate::Do(Box::new(command)))
        };
        let fates = hosts.into_iter().map(fate).collect();
        self.carry_out("host", fates, done, |tally| &mut tally.hosts).await
    }

    async fn jobs(
        &mut self,
        jobs: Vec<Record<JobView>>,
        done: &mut Imported,
    ) -> Result<(), Refusal> {
        let mut fates = Vec::with_capacity(jobs.len());
        for Record { view, raw, ours } in jobs {
            let fate = if ours { Fate::Known } else { self.job(&view).await? };
            if let Fate::Theirs | Fate::Waits(_) = fate {
                self.theirs.push((Kind::Job, raw));
            }
            if let Fate::Waits(ms) = fate {
                done.waiting.push((view.id.clone(), ms));
            }
            fates.push((view.id.to_string(), fate));
        }
        self.carry_out("job", fates, done, |tally| &mut tally.jobs).await
    }

    async fn job(&self, job: &JobView) -> Result<Fate, Refusal> {
        if self.handle.has_job(&job.id)? {
            return Ok(Fate::Known);
        }
        let now = time::wall();
        let ended = has_ended(job.status);
        if ended && self.is_old(job, now) {
            return Ok(Fate::Old);
        }
        if !ended && self.running {
            return Ok(Fate::Left);
        }
        let with_originals = self.handle.fate_with_originals();
        if let (Some(fate), Some(originals)) = (with_originals, self.handle.originals())
            && originals.job(job.id.clone()).await?.is_some()
            && !(ended && matches!(fate, Fate::Left))
        {
            return Ok(fate);
        }
        if ended {
            return Ok(Fate::Do(Box::new(Command::Adopt(Box::new(as_ended(job.clone()))))));
        }
        let lease = job.lease_expires.filter(|_| job.status == JobStatus::Leased);
        if let Some(ends) = lease.filter(|ends| *ends > now) {
            return Ok(Fate::Waits(ends.0 - now.0));
        }
        Ok(match fit(job) {
            Ok(adopted) => Fate::Do(Box::new(Command::Adopt(Box::new(adopted)))),
            Err(why) => Fate::Refused(why),
        })
    }

    fn is_old(&self, job: &JobView, now: Wall) -> bool {
        let Some(imports) = self.handle.imports() else { return false };
        let retention = u64::try_from(imports.retention().as_millis()).unwrap_or(u64::MAX);
        ended_at(job).plus_ms(retention) <= now
    }

    async fn services(
        &mut self,
        services: Vec<Record<ServiceView>>,
        done: &mut Imported,
    ) -> Result<(), Refusal> {
        let mut fates = Vec::with_capacity(services.len());
        for Record { view, raw, ours } in services {
            let name = view.id.to_string();
            let fate = if ours || self.handle.has_service(&view.id)? {
                Fate::Known
            } else if self.running {
                Fate::Left
            } else if let (Some(fate), Some(originals)) =
                (self.handle.fate_with_originals(), self.handle.originals())
                && originals.service(view.id.clone()).await?.is_some()
            {
                if matches!(fate, Fate::Theirs) {
                    self.theirs.push((Kind::Service, raw));
                }
                fate
            } else {
                let command = Command::PutService { id: Some(view.id), def: view.def, owner: None };
                Fate::Do(Box::new(command))
            };
            fates.push((name, fate));
        }
        self.carry_out("service", fates, done, |tally| &mut tally.services).await
    }

    async fn keys(&self, keys: Vec<ImportedKey>, done: &mut Imported) -> Result<(), Refusal> {
        let Some(imports) = self.handle.imports().cloned() else { return Ok(()) };
        let (count, dry_run) = (keys.len() as u64, self.dry_run);
        let put = move || {
            if dry_run {
                let known = imports.known(&keys)?;
                return Ok((count - known, known, 0));
            }
            imports.put(&keys).map(|put| (put.taken, put.known, put.full))
        };
        let put = tokio::task::spawn_blocking(put).await;
        let (taken, known, full) = put.map_err(|_| Refusal::Stopping)??;
        done.taken.keys += taken;
        done.known.keys += known;
        done.refused.extend((0..full).map(|_| RefusedRecord {
            kind: "key",
            id: None,
            why: "there is no room for more remembered answers".to_owned(),
        }));
        Ok(())
    }

    /// Originals' own records go where those of originals are kept.
    async fn merge(&mut self) -> Result<(), Refusal> {
        let theirs = std::mem::take(&mut self.theirs);
        let Some(originals) = self.handle.originals().filter(|_| !theirs.is_empty()) else {
            return Ok(());
        };
        if self.dry_run {
            return Ok(());
        }
        let mut body = Vec::new();
        for (kind, name) in [(Kind::Job, "jobs"), (Kind::Service, "services")] {
            body.extend_from_slice(if body.is_empty() { b"{\"" } else { b",\"" });
            body.extend_from_slice(name.as_bytes());
            body.extend_from_slice(b"\":[");
            let of_kind = theirs.iter().filter(|(of, _)| *of == kind);
            for (at, (_, raw)) in of_kind.enumerate() {
                if at > 0 {
                    body.push(b',');
                }
                body.extend_from_slice(raw);
            }
            body.push(b']');
        }
        body.push(b'}');
        let merged = originals.merge(body.into()).await;
        merged.map(drop).map_err(|error| Refusal::Store(crate::engine::chain(&error)))
    }

    async fn carry_out(
        &self,
        kind: &'static str,
        fates: Vec<(String, Fate)>,
        done: &mut Imported,
        of: fn(&mut skyclaw_http_compat::Tally) -> &mut u64,
    ) -> Result<(), Refusal> {
        let refused = |id, why| RefusedRecord { kind, id: Some(id), why };
        let mut to_do = Vec::new();
        for (id, fate) in fates {
            match fate {
                Fate::Known | Fate::Theirs => *of(&mut done.known) += 1,
                Fate::Old => *of(&mut done.old) += 1,
                Fate::Left => *of(&mut done.left) += 1,
                Fate::Waits(_) => {}
                Fate::Refused(why) => done.refused.push(refused(id, why)),
                Fate::Do(_) if self.dry_run => *of(&mut done.taken) += 1,
                Fate::Do(command) => to_do.push((id, command)),
            }
        }
        let each =
            |(id, command): (String, Box<Command>)| async move { (id, self.one(*command).await) };
        let mut all = stream::iter(to_do).map(each).buffer_unordered(SIDE_BY_SIDE);
        while let Some((id, result)) = all.next().await {
            match result {
                Ok(()) => *of(&mut done.taken) += 1,
                Err(refusal) if concerns_all(&refusal) => return Err(refusal),
                Err(refusal) => done.refused.push(refused(id, refusal.to_string())),
            }
        }
        Ok(())
    }

    async fn one(&self, command: Command) -> Result<(), Refusal> {
        let until = tokio::time::Instant::now() + PATIENCE;
        loop {
            let request = Request { command: command.clone(), idempotency: None };
            match self.handle.command(request).await {
                Err(Refusal::Busy(_)) if tokio::time::Instant::now() < until => {
                    tokio::time::sleep(AGAIN).await;
                }
                done => return done.map(drop),
            }
        }
    }
}

/// Whether the others would be refused as well.
const fn concerns_all(refusal: &Refusal) -> bool {
    matches!(
        refusal,
        Refusal::InsufficientPeers { .. }
            | Refusal::TargetNotMet { .. }
            | Refusal::LowSpace(_)
            | Refusal::Clock(_)
            | Refusal::Store(_)
            | Refusal::Busy(_)
            | Refusal::Stopping
    )
}

fn ended_at(job: &JobView) -> Wall {
    job.result.as_ref().map_or(job.updated, |result| result.finished_at)
}

/// A job that has ended, as it is taken over with its result. Whether a host could run it does not
/// matter any more.
fn as_ended(job: JobView) -> Adopted {
    let result = job.result.as_ref();
    let nobody = || HostId::new(NO_HOST).ok();
    let host = job.assigned_host.clone().or_else(nobody);
    let end = host.map(|host| AdoptedEnd {
        at: ended_at(&job),
        host,
        success: job.status == JobStatus::Completed,
        duration: result.and_then(|result| result.duration),
        exit_code: result.and_then(|result| result.exit_code),
        stdout: result.and_then(|result| result.stdout.clone()),
        stderr: result.and_then(|result| result.stderr.clone()),
        error: job.error.clone(),
        agent: result.and_then(|result| result.agent.clone()),
    });
    adopted(job, end)
}
