//! Requests that must happen once: a key is reserved before the work and remembered with it.

use std::collections::BTreeMap;

use super::Machine;
use super::awaiting::Fate;
use super::effect::{Effect, KeyInUse, ReplyTo, Target};
use super::output::Held;
use crate::batch::{KeyAnswer, KeyRow, Shelf, ShelfError, Write};
use crate::clock::{Now, Wall};
use crate::command::{Idempotency, Refusal};
use crate::id::Hash;
use crate::limits::{KEY_SWEEP, MAX_KEY_WAITERS};
use crate::record::spec::Subject;

/// Keys in memory.
#[derive(Debug, Default)]
pub(super) struct Keys {
    /// Those whose requests are being carried out.
    in_flight: BTreeMap<Hash, InFlight>,
    /// Rows that are not on disk yet. Bounded by what one batch holds.
    unwritten: BTreeMap<Hash, Unwritten>,
}

#[derive(Debug)]
struct InFlight {
    fingerprint: Hash,
    route: String,
    waiters: Vec<Target>,
}

#[derive(Debug)]
struct Unwritten {
    /// The newest; `None` if it is to be forgotten.
    row: Option<KeyRow>,
    /// Writes under way.
    writes: usize,
}

/// What became of the write that a remembered answer rests on.
enum Basis {
    /// It is chosen.
    Stands,
    /// It is not chosen yet.
    Open,
    /// It was given up: the request never happened.
    Gone,
}

impl Keys {
    pub(super) fn len(&self) -> usize {
        self.in_flight.len()
    }

    /// The route of a request that is being carried out.
    pub(super) fn route(&self, scope: &Hash) -> String {
        self.in_flight.get(scope).map_or_else(String::new, |twin| twin.route.clone())
    }

    #[cfg(test)]
    pub(super) fn waiters(&self) -> impl Iterator<Item = super::Token> {
        let callers = |target: &Target| match target {
            Target::Caller(token) => Some(*token),
            Target::Peer { .. } | Target::Nobody => None,
        };
        self.in_flight.values().flat_map(move |twin| twin.waiters.iter().filter_map(callers))
    }
}

impl Machine {
    /// Reserves the key. `None` if the request is answered already or waits for its twin.
    pub(super) fn begin(
        &mut self,
        now: Now,
        shelf: &dyn Shelf,
        to: Target,
        idempotency: Option<Idempotency>,
    ) -> Option<ReplyTo> {
        let plain = ReplyTo::plain(to);
        let Some(Idempotency { scope, fingerprint, route }) = idempotency else {
            return Some(plain);
        };
        if let Some(twin) = self.keys.in_flight.get_mut(&scope) {
            if twin.fingerprint != fingerprint {
                self.refuse(plain, Refusal::KeyReuse { route });
            } else if twin.waiters.len() < MAX_KEY_WAITERS {
                twin.waiters.push(to);
            } else {
                self.refuse(
                    plain,
                    Refusal::Busy("too many requests wait for this idempotency key".into()),
                );
            }
            return None;
        }
        let found = self.live_key(now, shelf, &scope).and_then(|row| {
            let Some(row) = row else { return Ok(None) };
            Ok(Some((self.standing(shelf, &row.answer)?, row)))
        });
        match found {
            Err(error) => self.refuse(plain, Refusal::Store(error.0)),
            Ok(None | Some((Basis::Gone, _))) => {
                return Some(self.reserve(to, scope, fingerprint, route));
            }
            Ok(Some((_, row))) if row.fingerprint != fingerprint => {
                self.refuse(plain, Refusal::KeyReuse { route });
            }
            Ok(Some((Basis::Stands, row))) => {
                self.out.hold(Held::Reply { reply: plain, answer: Ok(row.answer), grant: false });
            }
            Ok(Some((Basis::Open, row))) => self.await_answer(now, shelf, plain, &row.answer),
        }
        None
    }

    /// The request was begun, maybe by a coordinator that is gone: its job may be decided soon.
    fn await_answer(&mut self, now: Now, shelf: &dyn Shelf, reply: ReplyTo, answer: &KeyAnswer) {
        if let KeyAnswer::Job(at) = answer
            && let Ok(Some(key)) = self.register_key(shelf, &Subject::Job(at.job.clone()))
        {
            let until = now.mono.plus_ms(self.config.quorum_timeout_ms);
            return self.await_job(now, shelf, reply, key, None, until);
        }
        self.refuse(reply, Refusal::Busy("this request is not decided yet".into()));
    }

    fn reserve(&mut self, to: Target, scope: Hash, fingerprint: Hash, route: String) -> ReplyTo {
        self.keys.in_flight.insert(scope, InFlight { fingerprint, route, waiters: Vec::new() });
        ReplyTo { to, key: Some(KeyInUse { scope, fingerprint }), wish: None }
    }

    /// Writes the answer beside what it answers, in the same batch.
    /// Returns the expiry of its row.
    pub(super) fn remember(
        &mut self,
        now: Now,
        reply: &ReplyTo,
        answer: &KeyAnswer,
    ) -> Option<Wall> {
        let KeyInUse { scope, fingerprint } = reply.key?;
        let expires_at = now.wall.plus_ms(self.config.key_ttl_ms);
        let row = KeyRow { fingerprint, expires_at, answer: answer.clone() };
        self.write_key(scope, row);
        Some(expires_at)
    }

    /// Writes the row of a key; it counts from now on.
    pub(super) fn write_key(&mut self, scope: Hash, row: KeyRow) {
        self.out.write(Write::Key { scope, row: Box::new(row.clone()) });
        self.out.hold(Held::KeyWritten(scope));
        let unwritten =
            self.keys.unwritten.entry(scope).or_insert(Unwritten { row: None, writes: 0 });
        unwritten.row = Some(row);
        unwritten.writes += 1;
    }

    /// Forgets the row that expires then, not one that took its place.
    pub(super) fn forget_key(&mut self, scope: Hash, expires_at: Wall) {
        self.out.write(Write::ForgetKey { scope, expires_at });
        if let Some(unwritten) = self.keys.unwritten.get_mut(&scope)
            && unwritten.row.as_ref().is_some_and(|row| row.expires_at == expires_at)
        {
            unwritten.row = None;
        }
    }

    /// A write of the row of a key is on disk.
    pub(super) fn key_written(&mut self, scope: &Hash) {
        let Some(unwritten) = self.keys.unwritten.get_mut(scope) else { return };
        unwritten.writes -= 1;
        if unwritten.writes == 0 {
            self.keys.unwritten.remove(scope);
        }
    }

    /// The row of a key, on disk or on the way there.
    pub(super) fn key_row(
        &self,
        shelf: &dyn Shelf,
        scope: &Hash,
    ) -> Result<Option<KeyRow>, ShelfError> {
        match self.keys.unwritten.get(scope) {
            Some(unwritten) => Ok(unwritten.row.clone()),
            None => shelf.key(scope),
        }
    }

    /// Whether an answer that was remembered with a write stands: the write may still be in
    /// flight, or have been given up since.
    fn standing(&self, shelf: &dyn Shelf, answer: &KeyAnswer) -> Result<Basis, ShelfError> {
        let (subject, ver) = match answer {
            KeyAnswer::Job(at) => (Subject::Job(at.job.clone()), at.val.ver),
            KeyAnswer::Service(view) => (Subject::Service(view.id.clone()), 0),
            _ => return Ok(Basis::Stands),
        };
        Ok(match self.fate(shelf, &subject)? {
            Fate::GivenUp => Basis::Gone,
            Fate::Chosen(val) if val.ver >= ver => Basis::Stands,
            // It was there when this was written.
            Fate::Unknown => Basis::Stands,
            Fate::Chosen(_) | Fate::Open => Basis::Open,
        })
    }

    /// Answers a request that changed no register: remembered and held with this batch.
    pub(super) fn answer(&mut self, now: Now, reply: ReplyTo, answer: KeyAnswer) {
        self.remember(now, &reply, &answer);
        self.out.hold(Held::Reply { reply, answer: Ok(answer), grant: false });
    }

    /// The answer may leave: it goes to the caller and to the twins that waited for it.
    pub(super) fn release_reply(
        &mut self,
        shelf: &dyn Shelf,
        reply: &ReplyTo,
        answer: Result<KeyAnswer, Refusal>,
        grant: bool,
    ) {
        let twins = reply
            .key
            .and_then(|key| self.keys.in_flight.remove(&key.scope))
            .map_or_else(Vec::new, |in_flight| in_flight.waiters);
        for to in twins {
            self.deliver(shelf, to, answer.clone(), false);
        }
        // A lease whose grant is remembered under a key can be asked for again.
        let grant = grant && reply.key.is_none();
        self.deliver(shelf, reply.to, answer, grant);
    }

    fn deliver(
        &mut self,
        shelf: &dyn Shelf,
        to: Target,
        answer: Result<KeyAnswer, Refusal>,
        grant: bool,
    ) {
        match to {
            Target::Caller(to) => self.out.effect(Effect::Reply { to, answer, grant }),
            Target::Peer { node, seq } => self.tell(shelf, node, seq, answer),
            Target::Nobody => {}
        }
    }

    /// True if a request of this key is being carried out here, or was and may stand.
    pub(super) fn holds_key(&self, now: Now, shelf: &dyn Shelf, scope: &Hash) -> bool {
        self.keys.in_flight.contains_key(scope) || self.key_stands(now, shelf, scope)
    }

    fn key_stands(&self, now: Now, shelf: &dyn Shelf, scope: &Hash) -> bool {
        let row = self.live_key(now, shelf, scope).ok().flatten();
        row.is_some_and(|row| !matches!(self.standing(shelf, &row.answer), Ok(Basis::Gone)))
    }

    /// True if none is left, or none may go: by a clock that is not believed an answer would be forgotten
    /// while its key counts.
    pub(super) fn sweep_keys(&mut self, now: Now, shelf: &dyn Shelf) -> bool {
        if !self.trust.may_delete(now) {
            return true;
        }
        // A failing disk shows in the next write; the sweep comes again.
        let expired = shelf.expired_keys(now.wall, KEY_SWEEP).unwrap_or_default();
        let all = expired.len() < KEY_SWEEP;
        for (scope, expires_at) in expired {
            self.out.write(Write::ForgetKey { scope, expires_at });
        }
        all
    }
}
