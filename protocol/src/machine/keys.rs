//! Requests that must happen once: a key is reserved before the work and remembered with it.

use std::collections::BTreeMap;

use super::Machine;
use super::effect::{Effect, KeyInUse, ReplyTo, Target};
use super::output::Held;
use crate::batch::{KeyAnswer, KeyRow, Shelf, ShelfError, Write};
use crate::clock::{Now, Wall};
use crate::command::{Idempotency, Refusal};
use crate::id::Hash;
use crate::limits::{KEY_SWEEP, MAX_KEY_WAITERS};
use crate::record::spec::Subject;
use crate::register::Phase;

/// Keys whose requests are being carried out.
#[derive(Debug, Default)]
pub(super) struct Keys(BTreeMap<Hash, InFlight>);

#[derive(Debug)]
struct InFlight {
    fingerprint: Hash,
    waiters: Vec<Target>,
}

/// What became of the write that a remembered answer rests on.
enum Standing {
    /// It is chosen.
    Stands,
    /// It is not chosen yet.
    Open,
    /// It was given up: the request never happened.
    Gone,
}

impl Keys {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    #[cfg(test)]
    pub(super) fn waiters(&self) -> impl Iterator<Item = super::Token> {
        let callers = |target: &Target| match target {
            Target::Caller(token) => Some(*token),
            Target::Peer { .. } | Target::Nobody => None,
        };
        self.0.values().flat_map(move |twin| twin.waiters.iter().filter_map(callers))
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
        if let Some(twin) = self.keys.0.get_mut(&scope) {
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
        match shelf.key(&scope) {
            Err(error) => self.refuse(plain, Refusal::Store(error.0)),
            Ok(Some(row)) if row.expires_at > now.wall => {
                if row.fingerprint != fingerprint {
                    self.refuse(plain, Refusal::KeyReuse { route });
                    return None;
                }
                match self.standing(shelf, &row.answer) {
                    Err(error) => self.refuse(plain, Refusal::Store(error.0)),
                    Ok(Standing::Open) => {
                        self.refuse(plain, Refusal::Busy("this request is not decided yet".into()));
                    }
                    Ok(Standing::Gone) => return Some(self.reserve(to, scope, fingerprint)),
                    Ok(Standing::Stands) => {
                        let answer = Ok(row.answer);
                        self.out.hold(Held::Reply { reply: plain, answer, grant: false });
                    }
                }
            }
            Ok(_) => return Some(self.reserve(to, scope, fingerprint)),
        }
        None
    }

    fn reserve(&mut self, to: Target, scope: Hash, fingerprint: Hash) -> ReplyTo {
        self.keys.0.insert(scope, InFlight { fingerprint, waiters: Vec::new() });
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
        self.out.write(Write::Key { scope, row: Box::new(row) });
        Some(expires_at)
    }

    /// Whether an answer that was remembered with a write stands: the write may still be in
    /// flight, or have been given up since.
    fn standing(&self, shelf: &dyn Shelf, answer: &KeyAnswer) -> Result<Standing, ShelfError> {
        let (subject, ver) = match answer {
            KeyAnswer::Job(at) => (Subject::Job(at.job.clone()), at.val.ver),
            KeyAnswer::Service(view) => (Subject::Service(view.id.clone()), 0),
            _ => return Ok(Standing::Stands),
        };
        let chosen = match self.registers.get(&subject) {
            Some(entry) => entry.chosen.clone(),
            None => match shelf.register(&subject)? {
                Some(stored) => stored.chosen().cloned(),
                None => return Ok(Standing::Stands),
            },
        };
        Ok(match chosen {
            Some(val) if val.job().is_some_and(|job| job.phase == Phase::Aborted) => Standing::Gone,
            Some(val) if val.ver >= ver => Standing::Stands,
            _ => Standing::Open,
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
            .and_then(|key| self.keys.0.remove(&key.scope))
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

    /// True if a request of this key is being carried out here, or was.
    pub(super) fn holds_key(&self, now: Now, shelf: &dyn Shelf, scope: &Hash) -> bool {
        let remembered =
            || shelf.key(scope).is_ok_and(|row| row.is_some_and(|r| r.expires_at > now.wall));
        self.keys.0.contains_key(scope) || remembered()
    }

    /// True if none is left.
    pub(super) fn sweep_keys(&mut self, now: Now, shelf: &dyn Shelf) -> bool {
        // A failing disk shows in the next write; the sweep comes again.
        let expired = shelf.expired_keys(now.wall, KEY_SWEEP).unwrap_or_default();
        let all = expired.len() < KEY_SWEEP;
        for (scope, expires_at) in expired {
            self.out.write(Write::ForgetKey { scope, expires_at });
        }
        all
    }
}
