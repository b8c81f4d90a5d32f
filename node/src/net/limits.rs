//! Bounds of the network part, each with its reason.

use std::time::Duration;

use super::pace::Rate;

/// A stranger has so long to show that it belongs here: three round trips of the slowest link.
pub(super) const AUTH_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a node of another network or token is not called, and its tries are not told again.
pub(super) const DENY: Duration = Duration::from_secs(600);

/// How often a node that is left alone may try the handshake again: it may have been put right and
/// started anew. Each try costs a key exchange, as it does for anybody.
pub(super) const DENY_BLOCK: Duration = Duration::from_secs(5);

/// How long a node of another version, or one that did not finish a handshake, is left alone:
/// it may be in the middle of an update.
pub(super) const DENY_SHORT: Duration = Duration::from_secs(60);

/// Denied peers remembered. An attacker with more identities than that pushes out the oldest;
/// each of his connections costs him a key exchange.
pub(super) const MAX_DENIED: usize = 1024;

/// Refusals shown to users: enough for a wrongly set up LAN.
pub(super) const MAX_REFUSALS: usize = 64;

/// Handshakes at once. Beyond it a stream is dropped, and its opener tries again.
pub(super) const MAX_HANDSHAKES: usize = 64;

/// Handshakes of one peer at once: two that dial each other at the same moment need two.
pub(super) const MAX_HANDSHAKES_PER_PEER: usize = 2;

/// Longest message of the handshake.
pub(super) const MAX_MESSAGE: usize = 16 << 10;

/// Longest display name of a node.
pub const MAX_LABEL: usize = 256;

/// Longest url of a node.
pub(super) const MAX_URL: usize = 4096;

/// Roles a node may name; there are three.
pub(super) const MAX_ROLES: usize = 8;

/// Addresses kept per peer, and as many by hearsay: two transports on a handful of interfaces.
pub(super) const MAX_ADDRESSES: usize = 16;

/// Longest address in bytes; a DNS name has at most 255.
pub(super) const MAX_ADDRESS_BYTES: usize = 300;

/// Peers in the book, and other nodes known only by hearsay: far more than a network of
/// coordinators has.
pub const MAX_BOOK: usize = 256;

/// Size of the book's file: 256 peers with 16 addresses each are below 2 MiB.
pub(super) const MAX_BOOK_BYTES: usize = 2 << 20;

/// A peer not met for so long is no longer in the book.
pub(super) const BOOK_DAYS: u64 = 30;

/// The book is written at most so often.
pub(super) const BOOK_WRITE: Duration = Duration::from_secs(1);

/// First and longest wait between attempts to reach a node.
pub(super) const BACKOFF: (Duration, Duration) =
    (Duration::from_millis(500), Duration::from_secs(60));

/// Longest wait for a member that was here lately: a network that was cut is whole again within
/// seconds of its heal, however long it was cut.
pub(super) const BACKOFF_LATELY: Duration = Duration::from_secs(8);

/// A member counts as lately here for so long.
pub(super) const LATELY: Duration = Duration::from_secs(3600);

/// Calls to members that are away are no more often than this on average: with more than 32 of them
/// away the waits become longer.
pub(super) const CALL_EVERY: Duration = Duration::from_millis(250);

/// When one member comes back, those away are called within this, as it is likely that they can be
/// reached again; spread, and no more often than the second.
pub(super) const HOPE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(5));

/// A coordinator has so long after it was admitted to say what it listens to: a few knocks.
pub(super) const DEAF_AFTER: Duration = Duration::from_secs(6);

/// How often coordinators are looked at for that.
pub(super) const DEAF_LOOK: Duration = Duration::from_secs(1);

/// First and longest pause before the connections of a deaf coordinator begin anew another time.
pub(super) const DEAF_AGAIN: (Duration, Duration) =
    (Duration::from_secs(60), Duration::from_secs(3600));

/// Sessions of repair in a row that moved what gossip should have brought, after which a coordinator
/// counts as deaf.
pub const DEAF_SESSIONS: u32 = 5;

/// After so many failures in a row a node known by hearsay only is forgotten.
pub(super) const MAX_HEARSAY_FAILURES: u32 = 8;

/// Of two nodes that hear of each other the one with the smaller id waits for the other's call,
/// but not for longer: the other may not be able to reach it.
pub(super) const SMALLER_WAITS: Duration = Duration::from_secs(3);

/// How often timers are looked at.
pub(super) const TICK: Duration = Duration::from_millis(200);

/// Words from other tasks waiting for the swarm. They wait, it never does.
pub(super) const COMMANDS: usize = 256;

/// A connection nobody uses ends after so long; those of admitted peers are kept.
pub(super) const IDLE: Duration = Duration::from_secs(120);

/// Between pings of a connection, and the wait for an answer. libp2p tells of the second failure in a row
/// only, so a connection on which nothing comes any more is ended after 8 to 20 s: the second one may
/// have to open its stream anew, which is given up after as long again.
pub(super) const PING: (Duration, Duration) = (Duration::from_secs(4), Duration::from_secs(4));

/// A QUIC connection on which nothing came for so many milliseconds ends, and how often something is
/// said on an idle one: QUIC is not told that the other process is gone, as TCP is.
pub const QUIC_SILENCE: (u32, Duration) = (6000, Duration::from_secs(2));

/// Connections being set up, in each direction: those of a crowd of addresses, see below.
pub(super) const MAX_PENDING: u32 = 128;

/// Connections that one public address may have open to us, and of these such as are being set up:
/// the nodes of a household behind one router.
pub(super) const FAR_CONNECTIONS: (usize, usize) = (16, 8);

/// The same for addresses on loopback and of private ranges, where a whole cluster of containers
/// may share one.
pub(super) const NEAR_CONNECTIONS: (usize, usize) = (128, 64);

/// Connections that others opened.
pub(super) const MAX_INCOMING: u32 = 512;

/// Connections to one peer: two that called each other by both transports, as those do that name each other's addresses
/// to begin with, one through a relay that still has tunnels, and one by which the other tries whether we can be
/// reached. A try that finds no room counts as one that failed, and libp2p tries an address once.
pub(super) const MAX_PER_PEER: u32 = 6;

/// Of the machine's memory; above it no connection is taken.
pub(super) const MAX_MEMORY: f64 = 0.9;

/// Longest answer of a coordinator that is asked for addresses: 256 peers with 16 addresses each.
pub(super) const MAX_SEEK_BYTES: usize = 2 << 20;

/// How often a coordinator known by its url is asked for addresses once it has answered.
pub(super) const SEEK_AGAIN: Duration = Duration::from_secs(30);

/// How long the swarm may take to end.
pub(super) const STOP_GRACE: Duration = Duration::from_secs(2);

/// How long a refused peer may take to read why.
pub(super) const LINGER: Duration = Duration::from_millis(500);

/// Frames waiting for one coordinator. A full queue loses frames; machines repeat what was not
/// answered.
pub(super) const FRAME_QUEUE: usize = 4096;

/// Operations of frames after which it is waited until the portion before them is handled: two portions,
/// each with its last frame, are what one stream may have waiting, and what the engine does in a tenth
/// of a second at the pace below. So whoever sends all it may at once is in nobody's way for longer. It is
/// handled once the inbox was gone through up to there: while clients fill that, frames wait as they do.
pub(super) const FRAMES_AHEAD: u32 = 512;

/// Longest frame: the largest spec or result with room for the rest. Batches stay far below.
pub(super) const MAX_FRAME: usize = 12 << 20;

/// How long a stream may take nothing of a frame. A coordinator that does not read for so long is silent to
/// the others anyway, and over another stream it may hear again.
pub(super) const FRAME_STALL: Duration = Duration::from_secs(30);

/// How long an attempt to open a stream may take: as long as a handshake. On a connection that carries
/// nothing any more it would take until that is closed.
pub(super) const OPEN_STALL: Duration = Duration::from_secs(5);

/// Frame streams one peer may have open to us: the new one after a break, and the old one whose
/// end was not noticed yet.
pub(super) const MAX_FRAME_STREAMS: usize = 2;

/// Frame streams in all: every coordinator of a large network.
pub(super) const MAX_FRAME_READERS: usize = 256;

/// Pause before a stream that could not be opened is tried again.
pub(super) const REOPEN: Duration = Duration::from_millis(500);

/// Questions one peer may have open: a host parks one claim and sends renewals and results of
/// what it runs beside it.
pub(super) const MAX_QUESTIONS_PER_PEER: usize = 64;

/// Questions open in all: the hosts of a large coordinator, each with a parked claim and a few.
pub(super) const MAX_QUESTIONS: usize = 4096;

/// A question is read within so long: it is sent at once, and one with a result is large.
pub(super) const QUESTION_READ: Duration = Duration::from_secs(5);

/// Questions longer than this are few at a time; claims and renewals are far below.
pub(super) const LARGE_QUESTION: usize = 64 << 10;

/// Large questions being read at once, of at most 12 MiB each: below 200 MiB.
pub(super) const MAX_LARGE_QUESTIONS: usize = 16;

/// An answer is taken within so long: 12 MiB at 4 Mbit/s.
pub(super) const ANSWER_WRITE: Duration = Duration::from_secs(30);

/// Peers paced at one step: more than may be connected. With more that are all not at rest a newcomer
/// waits, or is dropped.
pub(super) const MAX_PACED: usize = 2048;

/// How long a member waits where that many are not at rest.
pub(super) const PACE_CROWD: Duration = Duration::from_secs(1);

/// Operations of frames, of one coordinator: of three in a busy network each was measured to take eleven
/// from the two others for each job, so this is nearly three thousand jobs a second. At once as many as
/// it takes to move the registers of a coordinator that went. This many signatures are most of a core.
pub(super) const FRAME_PACE: Rate = Rate { each_second: 16_000, at_once: 64_000 };

/// KiB of gossip that one peer passes on: three certificates of half a KiB for each of a thousand jobs a
/// second, if all came through it, are 1.5 MiB. At once what the inbox holds.
pub(super) const GOSSIP_PACE: Rate = Rate { each_second: 4096, at_once: 24 << 10 };

/// Questions of one peer: a host with 64 slots whose jobs take a tenth of a second claims, renews and
/// reports so often. One of repair counts as eight, so a session, which asks for one page of records after
/// the other, may have 250 of them a second.
pub(super) const QUESTION_PACE: Rate = Rate { each_second: 2000, at_once: 4000 };

/// Tunnels that one peer opens. A gateway keeps those that it uses, so this is one that loses all of them again
/// and again.
pub(super) const TUNNEL_PACE: Rate = Rate { each_second: 1000, at_once: 2000 };

/// Handshakes of one peer. An honest one makes one or two for each connection, and begins those that
/// broke anew after a tenth of a second.
pub(super) const HANDSHAKE_PACE: Rate = Rate { each_second: 10, at_once: 60 };

/// Longest frame of gossip. Small ones spread evenly; larger content is asked for.
pub(super) const GOSSIP_FRAME: usize = 48 << 10;

/// Longest unit of gossipsub: some frames with what steers it. All nodes must have the same.
pub(super) const GOSSIP_TRANSMIT: usize = 256 << 10;

/// Messages waiting to be packed: a burst of the engine. What does not fit is not gossiped.
pub(super) const GOSSIP_QUEUE: usize = 4096;

/// Frames of others waiting to be checked: below 24 MiB. What does not fit is not passed on.
pub(super) const GOSSIP_INBOX: usize = 512;

/// Numbers of the mesh in which gossip spreads; the simulation of large networks reads them here.
#[derive(Clone, Copy, Debug)]
pub struct Mesh {
    /// Members of a node's mesh, as many as it aims at, and the bounds at which it does something about it.
    pub n: usize,
    /// See [`Mesh::n`].
    pub low: usize,
    /// See [`Mesh::n`].
    pub high: usize,
    /// Of them it called so many itself at least.
    pub outbound_min: usize,
    /// At each heartbeat what was heard lately is told to so many others, or to this part of them if that is more.
    pub lazy: usize,
    /// See [`Mesh::lazy`].
    pub factor: f64,
    /// Between two heartbeats.
    pub heartbeat: Duration,
    /// Before the first one.
    pub first_heartbeat: Duration,
    /// Whether a message goes first to all that listen, not to the mesh alone.
    pub flood: bool,
    /// Whoever was put out of a mesh does not come back into it for so long.
    pub backoff: Duration,
    /// Messages can be asked for during so many heartbeats.
    pub history: usize,
    /// They are told of during so many.
    pub told: usize,
}

/// Fits 7 to 50 nodes, and fewer: then everybody is in everybody's mesh. The first heartbeat must not keep a
/// new network waiting. The last four are what the library does by itself.
pub const MESH: Mesh = Mesh {
    n: 6,
    low: 4,
    high: 12,
    outbound_min: 2,
    heartbeat: Duration::from_millis(700),
    first_heartbeat: Duration::from_millis(500),
    flood: true,
    backoff: Duration::from_secs(10),
    lazy: 6,
    factor: 0.25,
    history: 5,
    told: 3,
};

/// How long a message is remembered: longer than it may wander, an id each.
pub(super) const SEEN: Duration = Duration::from_secs(120);

/// First pause before a stream that was refused by a closed door is opened again, and how much
/// longer each further one is: together longer than a handshake takes.
pub(super) const KNOCK: (Duration, u32) = (Duration::from_millis(250), 4);

/// So long a node says nothing of its own accord after it let a member in, where one refusal would be
/// the end of it: the other lets it in half a round trip and a few turns of its task later.
pub(super) const HUSH: Duration = Duration::from_millis(200);

/// How often nodes tell each other who they are, beside each change.
pub(super) const IDENTIFY: Duration = Duration::from_secs(60);

/// Tokens a node may know: its own and, while tokens are changed, the one before.
pub(super) const MAX_TOKENS: usize = 2;

/// Streams of one protocol that came and are not taken yet: whoever takes them only spawns.
pub(super) const STREAMS_TO_TAKE: usize = 256;

/// Streams that wait to be opened on one connection. Further ones wait with whoever wants them.
pub(super) const STREAMS_TO_OPEN: usize = 64;

/// How long a port may take to refuse: a round trip on a slow link.
pub(super) const PROBE: Duration = Duration::from_millis(300);

/// Before a port that refused is asked once more.
pub(super) const PROBE_AGAIN: Duration = Duration::from_millis(150);

/// Coordinators looked for at once; each takes up to sixteen sockets for a moment.
pub(super) const PROBES: usize = 64;

/// Longest header of a tunnel: the name of a service or a hash, with room.
pub const MAX_TUNNEL_HEADER: usize = 4 << 10;

/// The header of a tunnel is read within so long: it is sent at once.
pub(super) const TUNNEL_READ: Duration = Duration::from_secs(5);

/// Whoever serves a tunnel has so long to say whether it does.
pub(super) const TUNNEL_ANSWER: Duration = Duration::from_secs(30);

/// Longest text that says why a tunnel is refused.
pub(super) const MAX_TUNNEL_REASON: usize = 512;

/// Tunnels that one peer may have open to us: a busy gateway, and fewer than a connection has
/// streams, so that frames and questions find room beside them.
pub(super) const MAX_TUNNELS_PER_PEER: usize = 384;

/// Tunnels that others may have open to us in all. Each costs two tasks and its windows.
pub(super) const MAX_TUNNELS: usize = 2048;

/// Tunnels beyond the bounds that are told so at once; further ones are dropped.
pub(super) const TUNNELS_TO_REFUSE: usize = 64;

/// Attempts to open a tunnel on a connection that stands, with growing pauses: a burst of streams may
/// lose some, and a member that was just admitted opens its door half a round trip later.
pub(super) const TUNNEL_ATTEMPTS: u32 = 6;

/// Streams of one connection, in each direction: tunnels and the rest.
pub(super) const MAX_STREAMS: u32 = 512;

/// Streams of one connection whose protocol is being agreed on; what comes beyond is dropped.
pub(super) const MAX_NEGOTIATING: usize = 256;

/// Nodes looked for at once on behalf of tunnels.
pub(super) const MAX_REACHES: usize = 128;

/// Those who wait for one node that is looked for.
pub(super) const MAX_REACH_WAITERS: usize = 1024;

/// A direct call has so much of a start before relays are tried: a few round trips.
pub(super) const HEAD_START: Duration = Duration::from_millis(300);

/// So long a node is looked for at least before it counts as out of reach: relays may be met, and
/// reservations made, in that time.
pub(super) const REACH_LEAST: Duration = Duration::from_secs(3);

/// Ways through relays are tried again after so long.
pub(super) const REACH_AGAIN: Duration = Duration::from_secs(1);

/// Ways to a node tried in one call.
pub(super) const MAX_WAYS: usize = 8;

/// Relays at which a node that others cannot reach holds a place: one may go, and another be away.
pub(super) const RESERVATIONS: usize = 3;

/// How often relays are looked for.
pub(super) const RESERVE_LOOK: Duration = Duration::from_millis(500);

/// First and longest pause before a relay that gave no place is asked again.
pub(super) const RESERVE_AGAIN: (Duration, Duration) =
    (Duration::from_secs(1), Duration::from_secs(60));

/// A coordinator looks for relays only after so long: until then it may learn that it is reached.
pub(super) const COORDINATOR_RESERVES: Duration = Duration::from_secs(15);

/// Places a relay gives: to every host of a large coordinator. Members alone get one.
pub(super) const RELAY_PLACES: usize = 512;

/// Places of one peer: one for each connection that it may have.
pub(super) const RELAY_PLACES_PER_PEER: usize = MAX_PER_PEER as usize;

/// A place lasts so long; it is renewed before.
pub(super) const RELAY_PLACE: Duration = Duration::from_secs(3600);

/// Connections passed on at once, each with 16 KiB of buffers and the windows of two streams.
pub(super) const RELAY_CIRCUITS: usize = 1024;

/// Of these by one peer, as the one who calls: a gateway to all the hosts behind a relay.
pub(super) const RELAY_CIRCUITS_PER_PEER: usize = 256;

/// A connection is passed on for so long: a day, since a `WebSocket` or a log that is followed lives
/// as long as its connection, and whoever relays knows all members. It ends at last, so that what
/// nobody uses does not stay for ever.
pub(super) const RELAY_CIRCUIT: Duration = Duration::from_secs(24 * 3600);

/// Bytes passed on for one connection: as many as there are (0 is no bound). Downloads are large, and
/// a bound would cut them off in the middle; what a member sends is bounded by its line.
pub(super) const RELAY_BYTES: u64 = 0;

/// Calls by one peer that are passed on: so many at once, and then one in each such time. A gateway
/// that starts calls all hosts.
pub(super) const RELAY_CALLS: (u32, Duration) = (256, Duration::from_millis(250));

/// Requests for a place by one peer, likewise. One that is moved about asks each time.
pub(super) const RELAY_REQUESTS: (u32, Duration) = (30, Duration::from_secs(5));

/// Hole punching begins so long after a member was let in: by then its door is open, too.
pub(super) const PUNCH_AFTER: Duration = Duration::from_millis(400);

/// Own addresses, as others see us, of which it is tried whether they are reached.
pub(super) const MAX_CANDIDATES: usize = 256;

/// Of the ways to a node through relays so many are told.
pub(super) const MAX_CIRCUITS: usize = 6;

/// Lookups in the DHT at once.
pub(super) const MAX_LOOKUPS: usize = 128;

/// A lookup takes no longer.
pub(super) const LOOKUP: Duration = Duration::from_secs(5);

/// Nodes that a lookup of providers gives at most.
pub(super) const MAX_PROVIDERS: usize = 32;

/// Who has something is told anew so often, and believed for so long without.
pub(super) const PROVIDE: (Duration, Duration) =
    (Duration::from_secs(20 * 60), Duration::from_secs(3600));

/// Notices of membership told at once, and the most taken at once: below 256 KiB.
pub(super) const MAX_NOTICES: usize = 256;

/// Longest question of membership: so many notices of at most 1 KiB with their names.
pub(super) const MAX_MEMBER_QUESTION: usize = 320 << 10;

/// Longest file with notices: all that a network keeps, at most 1 KiB each.
pub(super) const MAX_NOTICES_FILE: usize = 64 << 20;

/// Notices that may be lost in a crash, since others tell them anew, are written at most so often: the
/// whole file is, and a network tells a newcomer of all it keeps in some hundred parts.
pub(super) const NOTICES_WRITE: Duration = Duration::from_secs(1);

/// A question of membership is answered within so long: the answer waits for a disk.
pub(super) const MEMBER_ASK: Duration = Duration::from_secs(5);

/// Pause before notices that were not heard are told again.
pub(super) const NOTICE_AGAIN: Duration = Duration::from_secs(1);

/// How often a node looks whether its capability is to be renewed; half of its life is days.
pub(super) const RENEW_LOOK: Duration = Duration::from_secs(5);

/// A newcomer tries again so soon at a node that could not let it in: others are called meanwhile.
pub(super) const DENY_NEWCOMER: Duration = Duration::from_secs(5);
