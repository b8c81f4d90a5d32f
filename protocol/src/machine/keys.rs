//! Requests that must happen once: a key is reserved before the work and remembered with it.

use std::collections::BTreeMap;

use super::Machine;
use super::effect::{Effect, KeyInUse, ReplyTo, Token};
use super::output::Held;
use crate::batch::{KeyAnswer, KeyRow, Shelf, Write};
use crate::clock::Now;
use crate::command::{Idempotency, Refusal};
use crate::id::Hash;
use crate::limits::{KEY_SWEEP, MAX_KEY_WAITERS};

/// Keys whose requests are being carried out.
#[derive(Debug, Default)]
pub(super) struct Keys(BTreeMap<Hash, InFlight>);

#[derive(Debug)]
struct InFlight {
    fingerprint: Hash,
    waiters: Vec<Token>,
}

impl Keys {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    #[cfg(test)]
    pub(super) fn waiters(&self) -> impl Iterator<Item = Token> {
        self.0.values().flat_map(|twin| twin.waiters.iter().copied())
    }
}

impl Machine {
    /// Reserves the key. `None` if the request is answered already or waits for its twin.
    pub(super) fn begin(
        &mut self,
        now: Now,
        shelf: &dyn Shelf,
        token: Token,
        idempotency: Option<Idempotency>,
    ) -> Option<ReplyTo> {
        let plain = ReplyTo { token, key: None };
        let Some(Idempotency { scope, fingerprint, route }) = idempotency else {
            return Some(plain);
        };
        if let Some(twin) = self.keys.0.get_mut(&scope) {
            if twin.fingerprint != fingerprint {
                self.refuse(plain, Refusal::KeyReuse { route });
            } else if twin.waiters.len() < MAX_KEY_WAITERS {
                twin.waiters.push(token);
            } else {
                self.refuse(
                    plain,
                    Refusal::Busy("too many requests wait for this idempotency key"),
                );
            }
            return None;
        }
        match shelf.key(&scope) {
            Err(error) => self.refuse(plain, Refusal::Store(error.0)),
            Ok(Some(row)) if row.expires_at > now.wall => {
                let answer = if row.fingerprint == fingerprint {
                    Ok(row.answer)
                } else {
                    Err(Refusal::KeyReuse { route })
                };
                self.out.hold(Held::Reply { reply: plain, answer, grant: false });
            }
            Ok(_) => {
                self.keys.0.insert(scope, InFlight { fingerprint, waiters: Vec::new() });
                return Some(ReplyTo { token, key: Some(KeyInUse { scope, fingerprint }) });
            }
        }
        None
    }

    /// Writes the answer beside what it answers, in the same batch.
    pub(super) fn remember(&mut self, now: Now, reply: &ReplyTo, answer: &KeyAnswer) {
        if let Some(KeyInUse { scope, fingerprint }) = reply.key {
            let expires_at = now.wall.plus_ms(self.config.key_ttl_ms);
            let row = KeyRow { fingerprint, expires_at, answer: answer.clone() };
            self.out.write(Write::Key { scope, row: Box::new(row) });
        }
    }

    /// Answers a request that changed no register: remembered and held with this batch.
    pub(super) fn answer(&mut self, now: Now, reply: ReplyTo, answer: KeyAnswer) {
        self.remember(now, &reply, &answer);
        self.out.hold(Held::Reply { reply, answer: Ok(answer), grant: false });
    }

    /// The answer may leave: it goes to the caller and to the twins that waited for it.
    pub(super) fn release_reply(
        &mut self,
        reply: &ReplyTo,
        answer: Result<KeyAnswer, Refusal>,
        grant: bool,
    ) {
        let twins = reply
            .key
            .and_then(|key| self.keys.0.remove(&key.scope))
            .map_or_else(Vec::new, |in_flight| in_flight.waiters);
        for to in twins {
            self.out.effect(Effect::Reply { to, answer: answer.clone(), grant: false });
        }
        // A lease whose grant is remembered under a key can be asked for again.
        let grant = grant && reply.key.is_none();
        self.out.effect(Effect::Reply { to: reply.token, answer, grant });
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
