//! Services: deployed, claimed and reported by hosts. Each is one register.

use std::collections::BTreeSet;

use super::Machine;
use super::effect::ReplyTo;
use super::entry::{Entry, Waiting};
use crate::batch::KeyAnswer;
use crate::clock::{Hlc, Now};
use crate::command::{Command, Refusal, ServiceReport};
use crate::fold::service_state_view;
use crate::id::{Hash, HostId, ServiceId};
use crate::limits::{MAX_SERVICES, MAX_TEXT_BYTES, MAX_TIMEOUT_MS};
use crate::patch::ServicePatch;
use crate::placement::meets;
use crate::record::spec::{Spec, Subject};
use crate::register::{ServiceState, State, Val};
use crate::slots;
use crate::view::{ServiceDef, ServiceStatus, ServiceView};

/// A service lives until it is removed; its register's expiry is as good as never.
const SERVICE_TTL_MS: u64 = 100 * 365 * 86_400_000;
const _: () = assert!(SERVICE_TTL_MS > MAX_TIMEOUT_MS);

impl Machine {
    pub(super) fn put_service(
        &mut self,
        now: Now,
        reply: ReplyTo,
        id: Option<ServiceId>,
        mut def: ServiceDef,
        owner: Option<String>,
    ) {
        if let Some(fault) = def.fault() {
            return self.refuse(reply, Refusal::TooLarge(fault.into()));
        }
        let at = self.stamp(now);
        let chance = self.chance();
        let named = id.is_some();
        let id = id.unwrap_or_else(|| ServiceId::mint(at, chance));
        let subject = Subject::Service(id.clone());
        // One that was just removed is replaced once its removal is on disk.
        let held = self.registers.get(&subject).filter(|entry| !entry.is_given_up());
        if held.is_some_and(|entry| entry.in_flight() || entry.is_leaving()) {
            return self.wait_behind(
                &subject,
                reply,
                Command::PutService { id: Some(id), def, owner },
            );
        }
        if held.is_some_and(|entry| entry.lead.is_none()) {
            return self
                .refuse(reply, Refusal::Busy("another coordinator leads this service".into()));
        }
        let known = self.service_value(&id).and_then(|val| Some((val.ver, val.service()?.clone())));
        let others = |entry: &Entry| owner.is_some() && entry.head.owner != owner;
        if known.is_some() && self.registers.get(&subject).is_some_and(others) {
            return self.refuse(reply, Refusal::NotOwner(id));
        }
        if let Err(name) = def.unmask(known.as_ref().map(|(_, state)| &state.def)) {
            return self.refuse(reply, Refusal::NothingToKeep(name));
        }
        if let Some((ver, state)) = known {
            return self.advance_service(now, &id, ver, slots::redeploy(&state, def), reply);
        }
        let state = ServiceState::first(def, at);
        if self.registers.len() - self.jobs_live >= MAX_SERVICES {
            return self
                .refuse(reply, Refusal::Full { what: "services".into(), limit: MAX_SERVICES });
        }
        let drawn = match named {
            true => self.draw_key_voters(&name_scope(&id)),
            false => self.draw_voters(id.as_str()),
        };
        let (voters, quorum) = match drawn {
            Ok(drawn) => drawn,
            Err(refusal) => return self.refuse(reply, refusal),
        };
        let spec = Spec {
            subject,
            home: self.me,
            voters,
            quorum: u8::try_from(quorum).unwrap_or(u8::MAX),
            created: at,
            expires_at: at.wall().plus_ms(SERVICE_TTL_MS),
            job: None,
            mark: None,
            owner,
        };
        let spec = match self.seal(spec) {
            Ok(spec) => spec,
            Err(refusal) => return self.refuse(reply, refusal),
        };
        let val = self.value(now, 0, State::Service(Box::new(state)));
        let answer = service_answer(&id, &val, spec.body().owner.as_ref());
        self.create(now, spec, val, None, (reply, answer));
    }

    /// Another number of instances leaves those there are in place; all else is a deployment.
    pub(super) fn patch_service(
        &mut self,
        now: Now,
        reply: ReplyTo,
        id: ServiceId,
        patch: Box<ServicePatch>,
    ) {
        let subject = Subject::Service(id.clone());
        if self.registers.get(&subject).is_some_and(|entry| entry.in_flight()) {
            return self.wait_behind(&subject, reply, Command::PatchService { id, patch });
        }
        let Some(val) = self.service_value(&id) else {
            return self.refuse(reply, Refusal::UnknownService(id.to_string()));
        };
        let Some(state) = val.service().cloned() else {
            return self.refuse(reply, Refusal::UnknownService(id.to_string()));
        };
        let (ver, mut def) = (val.ver, patch.apply(&state.def));
        if let Err(name) = def.unmask(Some(&state.def)) {
            return self.refuse(reply, Refusal::NothingToKeep(name));
        }
        if let Some(fault) = def.fault() {
            return self.refuse(reply, Refusal::TooLarge(fault.into()));
        }
        self.advance_service(now, &id, ver, slots::redeploy(&state, def), reply);
    }

    fn owner_of(&self, id: &ServiceId) -> Option<&String> {
        self.registers.get(&Subject::Service(id.clone()))?.head.owner.as_ref()
    }

    fn service_value(&self, id: &ServiceId) -> Option<&Val> {
        let chosen = self.registers.get(&Subject::Service(id.clone()))?.chosen.as_ref();
        chosen.filter(|val| !val.is_terminal())
    }

    pub(super) fn advance_service(
        &mut self,
        now: Now,
        id: &ServiceId,
        ver: u64,
        state: ServiceState,
        reply: ReplyTo,
    ) {
        let removed = state.deleted;
        if !removed && !state.fits() {
            let what = "the service, with all its instances and what they say, is too long";
            return self.refuse(reply, Refusal::TooLarge(what.into()));
        }
        let val = self.value(now, ver + 1, State::Service(Box::new(state)));
        let answer = match removed {
            true => KeyAnswer::Removed,
            false => service_answer(id, &val, self.owner_of(id)),
        };
        let waiting = Waiting { reply: reply.clone(), answer, grant: false, remembered: None };
        if !self.propose(now, &Subject::Service(id.clone()), val, None, Some(waiting)) {
            self.refuse(
                reply,
                Refusal::Busy("another coordinator leads this service, try again".into()),
            );
        }
    }

    pub(super) fn remove_service(&mut self, now: Now, reply: ReplyTo, id: ServiceId) {
        let subject = Subject::Service(id.clone());
        if self.registers.get(&subject).is_some_and(|entry| entry.in_flight()) {
            return self.wait_behind(&subject, reply, Command::RemoveService { id });
        }
        let Some((ver, state)) =
            self.service_value(&id).and_then(|val| Some((val.ver, val.service()?.clone())))
        else {
            return self.refuse(reply, Refusal::UnknownService(id.to_string()));
        };
        self.advance_service(now, &id, ver, ServiceState { deleted: true, ..state }, reply);
    }

    /// For a host that takes no orders. What it is to begin comes first: an instance given to it
    /// that it has not reported, then a replica to spare. What it runs it is reminded of in turn,
    /// so that none is forgotten (F11).
    pub(super) fn claim_service(&mut self, now: Now, reply: ReplyTo, host: HostId) {
        let Some(known) = self.hosts.get(&host) else {
            return self.refuse(reply, Refusal::UnknownHost(host.to_string()));
        };
        let capabilities = &known.record.capabilities;
        let mut begun: Option<(Hlc, ServiceId)> = None;
        let mut open: Option<(Hlc, ServiceId)> = None;
        let mut runs = BTreeSet::new();
        let mut busy = None;
        for (id, entry) in self.registers.services() {
            let proposed = entry.lead.as_ref().and_then(|lead| lead.current());
            let suits = |state: &ServiceState| meets(capabilities, &state.def.required);
            if entry.in_flight() && proposed.and_then(Val::service).is_some_and(suits) {
                busy = Some(Subject::Service(id.clone()));
            }
            let Some(state) = entry.chosen.as_ref().and_then(Val::service) else { continue };
            if state.deleted || !suits(state) {
                continue;
            }
            let found = (state.deployed, id.clone());
            let slot = match state.assignments.iter().find(|a| a.host == host).map(|a| a.status) {
                Some(ServiceStatus::Failed) => continue,
                Some(ServiceStatus::Running) => {
                    runs.insert(found);
                    continue;
                }
                Some(ServiceStatus::Pending) => &mut begun,
                // A coordinator that passes a claim on does so for what this one leads.
                None if reply.is_passed_on() && entry.lead.is_none() => continue,
                None if slots::claim(state, &host, now.wall).is_some() => &mut open,
                None => continue,
            };
            if slot.as_ref().is_none_or(|best| found < *best) {
                *slot = Some(found);
            }
        }
        self.hosts.seen(&host, now);
        if let Some((_, id)) = begun {
            return self.answer_service(now, reply, &id);
        }
        if let Some(subject) = busy {
            // A write in flight may open or fill a replica: look again once it is chosen.
            return self.wait_behind(&subject, reply, Command::ClaimService { host });
        }
        let Some((_, id)) = open else {
            let last = self.placing.answered.get(&host);
            let after = runs.iter().find(|(at, id)| {
                last.is_some_and(|last| runs.iter().any(|(l, i)| i == last && (l, i) < (at, id)))
            });
            let Some((_, id)) = after.or_else(|| runs.first()).cloned() else {
                return self.answer(now, reply, KeyAnswer::NoService);
            };
            self.placing.answered.insert(host, id.clone());
            return self.answer_service(now, reply, &id);
        };
        let elsewhere = self
            .registers
            .get(&Subject::Service(id.clone()))
            .filter(|entry| entry.lead.is_none() && entry.owner() != self.me);
        if let Some(home) = elsewhere.map(|entry| entry.owner()) {
            return self.pass_on(now, home, reply, Command::ClaimService { host }, None);
        }
        let claimed = self
            .service_value(&id)
            .and_then(|val| Some((val.ver, slots::claim(val.service()?, &host, now.wall)?)));
        match claimed {
            Some((ver, state)) => self.advance_service(now, &id, ver, state, reply),
            None => self.answer(now, reply, KeyAnswer::NoService),
        }
    }

    fn answer_service(&mut self, now: Now, reply: ReplyTo, id: &ServiceId) {
        let answer = match self.service_value(id) {
            Some(val) => service_answer(id, val, self.owner_of(id)),
            None => KeyAnswer::NoService,
        };
        self.answer(now, reply, answer);
    }

    pub(super) fn report_service(&mut self, now: Now, reply: ReplyTo, report: ServiceReport) {
        let subject = Subject::Service(report.id.clone());
        if report.endpoint.as_ref().is_some_and(|url| url.len() > MAX_TEXT_BYTES) {
            return self.refuse(reply, Refusal::TooLarge("its endpoint is too long".into()));
        }
        if self.registers.get(&subject).is_some_and(|entry| entry.in_flight()) {
            return self.wait_behind(&subject, reply, Command::ReportService(report));
        }
        let Some((ver, state)) =
            self.service_value(&report.id).and_then(|val| Some((val.ver, val.service()?)))
        else {
            return self.refuse(reply, Refusal::UnknownService(report.id.to_string()));
        };
        let Some(next) = slots::report(state, &report, now.wall) else {
            let host = report.host.to_string();
            return self.refuse(reply, Refusal::NotAssigned { service: report.id, host });
        };
        if slots::says_the_same(state, &next) {
            // Hosts that take no orders report with every claim.
            return self.answer_service(now, reply, &report.id);
        }
        self.advance_service(now, &report.id, ver, next, reply);
    }
}

/// By what the voters and the home of a service are drawn whose id its caller chose.
pub(super) fn name_scope(id: &ServiceId) -> Hash {
    let mut hash = blake3::Hasher::new_derive_key("skyclaw/1 service name");
    hash.update(id.as_str().as_bytes());
    Hash(*hash.finalize().as_bytes())
}

fn service_answer(id: &ServiceId, val: &Val, owner: Option<&String>) -> KeyAnswer {
    match val.service() {
        Some(state) => {
            let view = service_state_view(id, state, val);
            KeyAnswer::Service(Box::new(ServiceView { owner: owner.cloned(), ..view }))
        }
        None => KeyAnswer::NoService,
    }
}
