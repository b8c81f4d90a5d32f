//! Bounds of what a whole network knows: control records, tickets, members.

use super::MAX_BATCH_OPS;

/// Most control records of one kind, those of kinds that are not known counting as one: each is held in
/// memory by every coordinator, so that they stay below some ten megabytes.
pub const MAX_CONTROLS: usize = 10_000;

/// Longest control record but those that prove an offence, in bytes: names, a hash or a signature, and
/// numbers.
pub const MAX_PLAIN_CONTROL_BYTES: usize = 2 << 10;

/// Longest control record, in bytes: two certificates of a job with their names stand in one.
pub const MAX_CONTROL_BYTES: usize = 32 << 10;

/// Nodes that are proven to have lied, in one network: 32 MiB at most, and nearly always some 1 KiB each. Of
/// nodes that were met there is always room: those of others give way.
pub const MAX_OFFENCES: usize = 1000;

/// Longest way from one vote to the root that was signed: a tree over the operations of a frame.
pub const MAX_OATH_PATH: usize = MAX_BATCH_OPS.ilog2() as usize;

/// Records that are signed together: a sixteenth of a signature each is little beside what else a
/// record costs, and each is longer by its way to the root.
pub const SIGNED_TOGETHER: usize = 16;

/// Longest way from one record to the root that was signed.
pub const MAX_RECORD_PATH: usize = SIGNED_TOGETHER.ilog2() as usize;

/// Longest name of a kind of control records, in bytes.
pub const MAX_CONTROL_KIND: usize = 32;

/// How long a control record that means nothing any more is kept, in milliseconds: clocks differ, and
/// one that came back would have to be told from one that was forgotten.
pub const CONTROL_KEEP_MS: u64 = 86_400_000;

/// Longest name of a ticket network, in bytes: it stands in every ticket.
pub const MAX_NETWORK_NAME: usize = 64;

/// Addresses in a ticket: one that answers is enough, and the line must fit a terminal's QR code.
pub const MAX_TICKET_ADDRESSES: usize = 4;

/// Longest of these, in bytes: a DNS name has at most 255.
pub const MAX_TICKET_ADDRESS: usize = 300;

/// Longest ticket before it is made text, in bytes: addresses, an invite and a capability.
pub const MAX_TICKET_BYTES: usize = 3072;

/// Nodes that one invite may let in: a large cluster that is set up from one image.
pub const MAX_INVITE_USES: u32 = 10_000;

/// An invite lasts at most so long, in milliseconds: a year.
pub const MAX_INVITE_LIFE_MS: u64 = 366 * 86_400_000;

/// A capability is given for so long, in milliseconds: 30 days. It is renewed at half of it.
pub const CAPABILITY_LIFE_MS: u64 = 30 * 86_400_000;

/// None lasts longer, in milliseconds: so far back an issuer that went bad can date one.
pub const MAX_CAPABILITY_LIFE_MS: u64 = 31 * 86_400_000;

/// The same of issuers, in milliseconds: only the admin's key renews them, which may lie elsewhere.
pub const ISSUER_LIFE_MS: u64 = 365 * 86_400_000;

/// None lasts longer, in milliseconds.
pub const MAX_ISSUER_LIFE_MS: u64 = 366 * 86_400_000;

/// Members that are remembered, at some 600 bytes each: below 12 MiB.
pub const MAX_MEMBERS: usize = 20_000;

/// Uses of invites that are not over, remembered at some 500 bytes each.
pub const MAX_ADMISSIONS: usize = 20_000;

/// Revocations: they never end. A network that needs more is better made anew.
pub const MAX_REVOCATIONS: usize = 10_000;
