//! What connected members tell and ask each other of membership.
//!
//! ```text
//!   each member ── notices, as they come ──> each other      revocations to all, the rest to coordinators
//!   member ── renew ──> issuer ── a new capability ──> member
//! ```
//!
//! Always: whoever is let in hears all there is, then what comes; a notice that did not arrive is
//! told again while its receiver is connected.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use skyclaw_protocol::network::{MemberRole, Notice};
use skyclaw_protocol::{NodeId, codec};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::super::ask;
use super::super::frames::Service;
use super::super::limits::{
    MAX_MEMBER_QUESTION, MAX_NOTICES, MEMBER_ASK, NOTICE_AGAIN, NOTICES_WRITE, RENEW_LOOK,
};
use super::super::members::peer_of;
use super::super::pass::Grant;
use super::super::view::Shared;
use super::Tickets;

/// A question of membership.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(in super::super) enum MemberAsk {
    /// Hear these.
    Notices(Vec<Notice>),
    /// Give me my next capability.
    Renew,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(in super::super) enum MemberTell {
    /// Heard.
    Heard,
    /// This is it.
    Granted(Box<Grant>),
    /// Ask another.
    No,
}

impl Tickets {
    /// Answers a connected member; nothing to what is no question.
    pub(in super::super) async fn answer(
        self: &Arc<Self>,
        from: NodeId,
        question: Vec<u8>,
    ) -> Option<Vec<u8>> {
        let ask = codec::decode::<MemberAsk>(&question, MAX_MEMBER_QUESTION).ok()?;
        let this = Arc::clone(self);
        let tell = tokio::task::spawn_blocking(move || match ask {
            MemberAsk::Notices(notices) if notices.len() <= MAX_NOTICES => {
                this.take_notices(notices);
                Some(MemberTell::Heard)
            }
            MemberAsk::Notices(_) => None,
            MemberAsk::Renew => Some(match this.renew(from) {
                Ok(grant) => MemberTell::Granted(Box::new(grant)),
                Err(_) => MemberTell::No,
            }),
        });
        tell.await.ok().flatten().map(|tell| codec::encode(&tell))
    }

    /// The next notices for somebody who has heard all before `place`, and the place then.
    pub(super) fn to_tell(&self, place: u64, all: bool) -> (Vec<Notice>, u64) {
        let state = self.state();
        let mut next = place;
        let mut batch = Vec::new();
        for (at, notice) in state.notices.after(place) {
            next = at;
            if all || matches!(notice, Notice::Revocation(_)) {
                batch.push(notice.clone());
            }
            // One more has room.
            if batch.len() + 1 == MAX_NOTICES {
                break;
            }
        }
        (batch, next)
    }
}

/// Tells a member what there is and what comes, until it is gone.
pub(in super::super) async fn tell(
    shared: Arc<Shared>,
    tickets: Arc<Tickets>,
    to: NodeId,
    stop: CancellationToken,
) {
    let (mut place, mut shown) = (0, None);
    let mut news = tickets.news();
    loop {
        news.borrow_and_update();
        let all = tickets.roles(to).has(MemberRole::Coordinator);
        let (mut batch, next) = tickets.to_tell(place, all);
        // Our own capability is what it knows us by: a new one must be there before that is over.
        let own = tickets.capability();
        let serial = own.as_ref().map(|(capability, _)| capability.serial);
        if serial != shown
            && let Some((_, vouched)) = own
        {
            batch.push(Notice::Member(vouched));
        }
        if batch.is_empty() {
            place = next;
        } else {
            let question = codec::encode(&MemberAsk::Notices(batch));
            let told = tokio::select! {
                () = stop.cancelled() => return,
                told = put(&shared, to, &question) => told,
            };
            if told.is_none() {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(NOTICE_AGAIN) => continue,
                }
            }
            (place, shown) = (next, serial);
            continue;
        }
        tokio::select! {
            () = stop.cancelled() => return,
            // The sender lives as long as the tickets.
            _ = news.changed() => {}
        }
    }
}

async fn put(shared: &Shared, to: NodeId, question: &[u8]) -> Option<MemberTell> {
    let (peer, control) = (peer_of(to)?, shared.opener.control()?);
    let answer = ask::ask(control, peer, Service::Member, question, MEMBER_ASK).await.ok()?;
    codec::decode(&answer, MAX_MEMBER_QUESTION).ok()
}

/// Writes what was taken and could wait, until the node stops, and then what is left.
/// What the disk did not take is written again until it does. `news` counts from before anything was taken.
pub(in super::super) async fn keep(
    tickets: Arc<Tickets>,
    mut news: watch::Receiver<u64>,
    stop: CancellationToken,
) {
    let mut owed = false;
    while !stop.is_cancelled() {
        let heard = async {
            if !owed {
                // The sender lives as long as the tickets.
                let _ = news.changed().await;
            }
            tokio::time::sleep(NOTICES_WRITE).await;
        };
        let _ = stop.run_until_cancelled(heard).await;
        let own = Arc::clone(&tickets);
        match tokio::task::spawn_blocking(move || own.keep_owed()).await {
            Ok(kept) => owed = !kept,
            Err(error) => {
                tracing::error!(%error, "what members tell of membership was not kept");
            }
        }
    }
}

/// Sees to it that this node has a capability, until it stops.
pub(in super::super) async fn renew(
    shared: Arc<Shared>,
    tickets: Arc<Tickets>,
    stop: CancellationToken,
) {
    let mut news = tickets.news();
    loop {
        if tickets.wants_renewal() {
            renew_once(&shared, &tickets).await;
        }
        // Many nodes may hold capabilities of one moment.
        let pause = RENEW_LOOK.mul_f64(rand::random_range(0.5..1.5));
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
            _ = news.changed() => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn renew_once(shared: &Shared, tickets: &Arc<Tickets>) {
    let own = Arc::clone(tickets);
    let entitled = tokio::task::spawn_blocking(move || own.entitle_self()).await;
    if matches!(entitled, Ok(Ok(()))) {
        return;
    }
    for issuer in tickets.issuers() {
        let question = codec::encode(&MemberAsk::Renew);
        if let Some(MemberTell::Granted(grant)) = put(shared, issuer, &question).await {
            let own = Arc::clone(tickets);
            let taken = tokio::task::spawn_blocking(move || own.take_grant(*grant)).await;
            if matches!(taken, Ok(Ok(()))) {
                tracing::info!(issuer = ?issuer, "this node's capability was renewed");
                return;
            }
        }
    }
    tracing::debug!("no issuer is connected that renews this node's capability");
}
