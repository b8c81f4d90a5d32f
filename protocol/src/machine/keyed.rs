//! Jobs that must exist once: who votes on them, and what a voter holds of their keys.
//!
//! A voter that accepts a value of a marked register writes a key row for it in the same batch, and
//! refuses other registers of that scope while it stands.
//!
//! Always: while this node's row of a marked register says something else than that it was given
//! up, no other register of its scope is accepted here, unless the first one is known to have lost:
//! its time is over, or another one is known to be chosen. Quorums of one scope meet in a voter,
//! so at most one of them is chosen.

use super::Machine;
use super::awaiting::Fate;
use super::services::name_scope;
use super::voting::may_write;
use crate::batch::{JobAt, KeyAnswer, KeyRow, Shelf, ShelfError};
use crate::clock::{Now, Wall};
use crate::command::{Command, Refusal};
use crate::id::{Hash, JobId, NodeId};
use crate::placement::{quorum, rendezvous};
use crate::record::spec::{Mark, RegisterKey, Subject};
use crate::register::{Ballot, Val};
use crate::wire::Verdict;

impl Machine {
    /// The voters of a key: the best of all coordinators known, connected or not, so that all who
    /// know the same draw the same. With one copy nobody else is asked, and it is whoever takes it.
    fn key_voters(&self, scope: &Hash) -> (Vec<NodeId>, usize) {
        let mut known: Vec<_> = self.acquaintance.nodes().collect();
        let (count, quorum) = quorum(self.config.replicas, known.len());
        known.push(self.me);
        let mut ranked = rendezvous(&scope.0, &known);
        if count == 1 {
            ranked.retain(|node| self.reaches(node));
        }
        ranked.truncate(count);
        (ranked, quorum)
    }

    fn reaches(&self, node: &NodeId) -> bool {
        *node == self.me || self.peers.contains(node)
    }

    /// Who votes on a new register of this key.
    ///
    /// # Errors
    /// [`Refusal::InsufficientPeers`] as for any register; [`Refusal::Busy`] if this node is none of
    /// the voters: who sent this here knows other coordinators.
    pub(super) fn draw_key_voters(&self, scope: &Hash) -> Result<(Vec<NodeId>, usize), Refusal> {
        self.enough_for_copies()?;
        self.voters_with_this(scope)
    }

    /// The voters of a key, if this node is one of them.
    ///
    /// # Errors
    /// [`Refusal::Busy`]: who sent this here knows other coordinators.
    pub(super) fn voters_with_this(&self, scope: &Hash) -> Result<(Vec<NodeId>, usize), Refusal> {
        let (mut voters, quorum) = self.key_voters(scope);
        if voters.len() == 1 {
            voters = vec![self.me];
        }
        if !voters.contains(&self.me) {
            let why = "coordinators do not know the same neighbours yet, try again";
            return Err(Refusal::Busy(why.into()));
        }
        Ok((voters, quorum))
    }

    /// Who carries out a submission with this key, if somebody else does: the first of its voters
    /// that can be reached.
    pub(super) fn key_home(&self, now: Now, shelf: &dyn Shelf, scope: &Hash) -> Option<NodeId> {
        if self.holds_key(now, shelf, scope) {
            return None;
        }
        self.scope_home(now, scope)
    }

    /// Who makes a service of this name, if it is made and somebody else does.
    pub(super) fn name_home(&self, now: Now, command: &Command) -> Option<NodeId> {
        let Command::PutService { id: Some(id), .. } = command else { return None };
        self.scope_home(now, &name_scope(id))
    }

    fn scope_home(&self, now: Now, scope: &Hash) -> Option<NodeId> {
        self.enough_for_copies().ok()?;
        self.first_of(now, scope)
    }

    /// The first of the voters of a key that can be reached and answers, if it is another node.
    pub(super) fn first_of(&self, now: Now, scope: &Hash) -> Option<NodeId> {
        let (voters, _) = self.key_voters(scope);
        let answers = |node: &&NodeId| !self.asks.unheard.is_deaf(now.mono, **node);
        let mut reached = voters.iter().filter(|node| self.reaches(node));
        // It may have made something all the same: that there is one of it, the voters see to.
        let home = reached.clone().find(answers).or_else(|| reached.next());
        let home = home.or_else(|| voters.first())?;
        (*home != self.me).then_some(*home)
    }

    /// The row of a key that counts now, written or about to be.
    pub(super) fn live_key(
        &self,
        now: Now,
        shelf: &dyn Shelf,
        scope: &Hash,
    ) -> Result<Option<KeyRow>, ShelfError> {
        Ok(self.key_row(shelf, scope)?.filter(|row| row.expires_at > now.wall))
    }

    /// The job that is known here under a key, decided or not.
    pub(super) fn job_of_key(&self, now: Now, shelf: &dyn Shelf, scope: &Hash) -> Option<JobId> {
        match self.live_key(now, shelf, scope).ok()??.answer {
            KeyAnswer::Job(at) => (self.fate(shelf, &Subject::Job(at.job.clone())).ok()?
                != Fate::GivenUp)
                .then_some(at.job),
            _ => None,
        }
    }

    /// The other register that this node holds the key of `subject` for.
    fn rival(
        &self,
        now: Now,
        shelf: &dyn Shelf,
        subject: &Subject,
        mark: &Mark,
    ) -> Result<Option<(JobId, Hash)>, ShelfError> {
        let Some(row) = self.live_key(now, shelf, &mark.scope)? else { return Ok(None) };
        let KeyAnswer::Job(JobAt { job, .. }) = row.answer else { return Ok(None) };
        let other = Subject::Job(job.clone());
        if other == *subject || self.fate(shelf, &other)? == Fate::GivenUp {
            return Ok(None);
        }
        Ok(Some((job, row.fingerprint)))
    }

    /// Whether the key of a register whose value is proposed belongs to another one here.
    ///
    /// # Errors
    /// The disk does not say.
    pub(super) fn key_taken(
        &self,
        now: Now,
        shelf: &dyn Shelf,
        from: NodeId,
        key: &RegisterKey,
        ballot: Ballot,
        val: &Val,
    ) -> Result<Option<Verdict>, ShelfError> {
        let Some(entry) = self.registers.get(&key.subject) else { return Ok(None) };
        let Some(mark) = entry.head.mark else { return Ok(None) };
        if !entry.row.needs_key(ballot, val) || !may_write(&entry.head, from, ballot) {
            return Ok(None);
        }
        let Some((job, fingerprint)) = self.rival(now, shelf, &key.subject, &mark)? else {
            return Ok(None);
        };
        let other = self.register_key(shelf, &Subject::Job(job))?;
        // One that has left the disk cannot be named.
        Ok(Some(other.map_or(Verdict::Gone, |key| Verdict::KeyTaken { key, fingerprint })))
    }

    /// Whether this node may write what it found under a new ballot: it votes for it, too.
    pub(super) fn may_adopt(
        &self,
        now: Now,
        shelf: &dyn Shelf,
        subject: &Subject,
        ballot: Ballot,
        val: &Val,
    ) -> bool {
        let Some(entry) = self.registers.get(subject) else { return false };
        matches!(self.key_taken(now, shelf, self.me, &entry.head.key, ballot, val), Ok(None))
    }

    /// This node accepted a value: the key is its register's from now on, or free.
    pub(super) fn follow_key(
        &mut self,
        now: Now,
        shelf: &dyn Shelf,
        subject: &Subject,
        held_key: bool,
        val: &Val,
    ) {
        let Some(mark) = self.registers.get(subject).and_then(|entry| entry.head.mark) else {
            return;
        };
        if val.is_aborted() {
            self.key_freed(now, shelf, &mark);
        } else if !held_key {
            self.hold_key(now, subject, &mark, val);
        }
    }

    fn hold_key(&mut self, now: Now, subject: &Subject, mark: &Mark, val: &Val) {
        let Subject::Job(job) = subject else { return };
        let Some(entry) = self.registers.get(subject) else { return };
        let expires_at = self.key_expiry(entry.head.created.wall());
        if expires_at > now.wall {
            let answer = Self::job_answer(job, val);
            let row = KeyRow { fingerprint: mark.fingerprint, expires_at, answer };
            self.write_key(mark.scope, row);
        }
    }

    fn key_expiry(&self, created: Wall) -> Wall {
        created.plus_ms(self.config.key_ttl_ms)
    }

    /// A value of a marked register is known to be chosen, for the first time here or again: no
    /// other register of its key was or will be.
    pub(super) fn key_decided(
        &mut self,
        now: Now,
        shelf: &dyn Shelf,
        subject: &Subject,
        val: &Val,
    ) {
        let Some(entry) = self.registers.get(subject) else { return };
        let Some(mark) = entry.head.mark else { return };
        if entry.chosen.is_some() {
            return;
        }
        if val.is_aborted() {
            return self.key_freed(now, shelf, &mark);
        }
        let winner = (entry.head.key.clone(), mark.fingerprint);
        let rival = self.rival(now, shelf, subject, &mark).ok().flatten();
        if rival.is_some() || !self.is_key_of(now, shelf, subject, &mark) {
            self.hold_key(now, subject, &mark, val);
        }
        if let Some((loser, _)) = rival {
            self.yield_key(now, shelf, &Subject::Job(loser), winner.0, winner.1, None);
        }
    }

    fn is_key_of(&self, now: Now, shelf: &dyn Shelf, subject: &Subject, mark: &Mark) -> bool {
        let row = self.live_key(now, shelf, &mark.scope).ok().flatten();
        matches!(row.map(|row| row.answer), Some(KeyAnswer::Job(at))
            if Subject::Job(at.job.clone()) == *subject)
    }
}
