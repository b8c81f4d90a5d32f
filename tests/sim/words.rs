//! What happens, in a few words, for the trace.

use skyclaw_protocol::HostId;
use skyclaw_protocol::batch::KeyAnswer;
use skyclaw_protocol::register::Val;
use skyclaw_protocol::wire::{AcceptOp, Message, VoteOp};

use crate::net::Reply;

/// A frame in a few words.
pub(crate) fn brief(message: &Message) -> String {
    match message {
        Message::Accept(ops) => {
            let op = |op: &AcceptOp| {
                format!(
                    "{:?} r{} v{} {}",
                    op.key.subject,
                    op.ballot.round,
                    op.val.ver,
                    state(&op.val)
                )
            };
            format!("accept {}", ops.iter().map(op).collect::<Vec<_>>().join(", "))
        }
        Message::Vote(ops) => {
            let op = |op: &VoteOp| {
                let verdict = format!("{:?}", op.verdict).chars().take(40).collect::<String>();
                format!("{:?} r{} v{} {verdict}", op.key.subject, op.ballot.round, op.ver)
            };
            format!("vote {}", ops.iter().map(op).collect::<Vec<_>>().join(", "))
        }
        other => format!("{other:?}").chars().take(300).collect(),
    }
}

/// A value in a few words.
pub(crate) fn state(val: &Val) -> String {
    val.job().map_or_else(String::new, |job| {
        let host = job.host.as_ref().map_or("-", HostId::as_str);
        format!("{:?} attempt {} {host}", job.phase, job.attempt)
    })
}

/// An answer in a few words.
pub(crate) fn outcome(reply: &Reply) -> String {
    match reply {
        Ok(KeyAnswer::Job(at)) => format!("{} {}", at.job, state(&at.val)),
        Ok(other) => format!("{other:?}").chars().take(60).collect(),
        Err(refusal) => refusal.to_string(),
    }
}
