//! Every bound of the protocol, each with its reason. Bounds of sockets stand in `node`.

mod network;

pub use network::*;

/// Longest id, in bytes. Ids are table keys and path segments; legacy ids may be any text.
pub const MAX_ID_BYTES: usize = 256;

/// Longest body of an API request, in bytes; also the largest job (rule: API 8 MiB).
pub const MAX_BODY_BYTES: usize = 8 << 20;

/// Longest host or service name, submitter, error text or endpoint, in bytes.
pub const MAX_TEXT_BYTES: usize = 4096;

/// Most capabilities one host or requirement may name; matching is linear in it.
pub const MAX_CAPABILITIES: usize = 64;

/// Longest capability, in bytes.
pub const MAX_CAPABILITY_BYTES: usize = 256;

/// Largest definition of a service (command, args, env together), in bytes: it is rewritten
/// with each change of the service's register.
pub const MAX_SERVICE_BYTES: usize = 64 << 10;

/// Longest value of a service's register as it is written, in bytes: its definition and those it followed,
/// with a thousand instances of which each stands with its url, and as many that take their place.
pub const MAX_SERVICE_STATE_BYTES: usize = 896 << 10;

/// Bytes that the errors of a service's instances share in such a value.
pub const MAX_SERVICE_ERRORS_BYTES: usize = 64 << 10;

/// Most hosts that a job or service may ask to reach, or an owner's policy may open to one kind of run;
/// each is compared for each connection.
pub const MAX_NETWORK_HOSTS: usize = 64;

/// Bytes of all these together: they stand in the definition of a service.
pub const MAX_NETWORK_BYTES: usize = 8 << 10;

/// Most replicas of one service.
pub const MAX_REPLICAS: u32 = 1000;

/// Earlier deployments of a service that are kept at once: one that runs, one that was being rolled
/// out when the next came, and one to spare.
pub const MAX_PAST_GENERATIONS: usize = 3;

/// Longest name of a principal, in bytes: it stands in logs and lists.
pub const MAX_PRINCIPAL_NAME: usize = 64;

/// When a submission that a quota refused may be tried again, in seconds: when a job of its principal begins
/// nobody knows.
pub const QUOTA_RETRY_S: u32 = 5;

/// Jobs of one principal that go back to the queue at once after they were passed over: the next job that
/// ends, or the next sweep, brings the others.
pub const QUOTA_RELEASE: usize = 1000;

/// Most jobs one host may run at once, in whole jobs.
pub const MAX_PARALLEL: u64 = 1_000_000;

/// Largest output text (stdout or stderr) kept in a result, in bytes. Hosts cut at
/// `SKYCLAW_MAX_OUTPUT_BYTES` (128,000) by default; a larger text is refused, not cut.
pub const MAX_OUTPUT_BYTES: usize = 2 << 20;

/// Largest account of an agent's run in a result, in bytes of JSON: counts, names and a short error.
/// What the agent said stands in the output.
pub const MAX_AGENT_BYTES: usize = 64 << 10;

/// How deep that account may be nested: with what stands around it in answers every client can read
/// it.
pub const MAX_AGENT_DEPTH: usize = 32;

/// Longest message to an agent, in bytes: half of what a job may be, since JSON may write it longer.
pub const MAX_AGENT_MESSAGE_BYTES: usize = 4 << 20;

/// Longest `timeoutSeconds` of an agent job, in seconds (a day).
pub const MAX_AGENT_TIMEOUT_S: u64 = 86_400;

/// The same where the job says nothing, in seconds: what OpenClaw itself takes.
pub const DEFAULT_AGENT_TIMEOUT_S: u64 = 600;

/// How long past its `timeoutSeconds` an agent's run may take before its host ends it, in
/// milliseconds: it ends by itself and says how, after a start of up to half a minute.
pub const AGENT_SLACK_MS: u64 = 60_000;

/// How long an agent's run that is ended has between TERM and KILL, in milliseconds: it ends its own
/// children.
pub const AGENT_GRACE_MS: u64 = 10_000;

/// Models an agent job may name to fall back on.
pub const MAX_AGENT_FALLBACKS: usize = 8;

/// Jobs that are queued or leased at one node. Their registers live in memory, payloads stay on
/// disk: some 420 bytes of one that waits as measured (`tests/memory.rs`), so 600 MiB; 2.3 KB of one
/// that runs, of which there are as many as hosts have room for. Of it a node among others fills three
/// quarters by itself ([`SHARES`]), which is more than a million.
pub const MAX_LIVE_JOBS: usize = 1_500_000;

/// Once a table is three quarters full, another node may have one part in so many of it: in a network of a
/// few coordinators each of them leads a large part of all jobs, and none can take the room of all others.
pub const SHARES: usize = 8;

/// Hosts one coordinator keeps.
pub const MAX_HOSTS: usize = 20_000;

/// Services one coordinator keeps; all of them live in memory.
pub const MAX_SERVICES: usize = 5_000;

/// Claims parked at one coordinator. A host parks one; more than one each is a client's error.
pub const MAX_PARKED_CLAIMS: usize = 20_000;

/// Longest a claim may be parked, in milliseconds: below common proxy timeouts.
pub const MAX_CLAIM_WAIT_MS: u32 = 30_000;

/// Requests that wait for one idempotency key that is being executed.
pub const MAX_KEY_WAITERS: usize = 64;

/// Changes waiting behind one register's write in flight. A ninth is answered `busy`.
pub const MAX_REGISTER_QUEUE: usize = 8;

/// Largest version and counter shown: JavaScript's largest exact integer (2^53 - 1).
pub const MAX_VERSION: u64 = (1 << 53) - 1;

/// Largest such number that is believed of others: half of that. Counting one by one nobody gets
/// there, and whoever was made to begin there has as far to go again.
pub const MAX_SEEN_VERSION: u64 = 1 << 52;

/// How far ahead of ours another clock may be, in milliseconds.
pub const MAX_CLOCK_DRIFT_MS: u64 = 60_000;

/// How long the lease of a host that talks HTTP lasts, in milliseconds (`SKYCLAW_LEASE_MS`): as the original's.
pub const DEFAULT_LEASE_MS: u64 = 60_000;

/// How long a run may take that names no timeout, in milliseconds (`SKYCLAW_TIMEOUT_MS`): as the original's.
pub const DEFAULT_RUN_MS: u64 = 300_000;

/// How long the answer to a keyed request is remembered, in milliseconds (a day, `SKYCLAW_IDEMPOTENCY_TTL_MS`):
/// as the original's.
pub const DEFAULT_KEY_TTL_MS: u64 = 86_400_000;

/// How long a write waits for its quorum, in milliseconds: below the timeouts of HTTP clients.
pub const QUORUM_TIMEOUT_MS: u64 = 2000;

/// How long a job may live before it expires, in milliseconds (7 days, `SKYCLAW_JOB_TTL_MS`).
pub const DEFAULT_JOB_TTL_MS: u64 = 7 * 86_400_000;

/// How long a job is kept whole after its end, in milliseconds (7 days, `SKYCLAW_RETENTION_MS`).
pub const DEFAULT_RETENTION_MS: u64 = 7 * 86_400_000;

/// Nothing is deleted before it has expired for so long, in milliseconds: two clocks, each off by
/// [`MAX_CLOCK_DRIFT_MS`] in another direction.
pub const GC_SLACK_MS: u64 = 2 * MAX_CLOCK_DRIFT_MS;

/// How long past its expiry a job that is kept is still compared with others, in milliseconds: with
/// the usual settings it is deleted before, and needs no write for it.
pub const QUIET_MS: u64 = 3_600_000;

/// Jobs shrunk or deleted in one sweep: a commit of half a MiB, so that others wait for it no
/// longer than for one of theirs.
pub const RETENTION_SWEEP: usize = 256;

/// Live registers looked at in one sweep for whether they are dead: some milliseconds of memory;
/// all of [`MAX_LIVE_JOBS`] within half an hour.
pub const LIVE_SWEEP: usize = 65_536;

/// How long what a peer's clock said is believed, in milliseconds: beats bring it every few seconds.
pub const PEER_CLOCK_MS: u64 = 300_000;

/// Longest `timeoutMs` of a job, in milliseconds (100 days).
pub const MAX_TIMEOUT_MS: u64 = 100 * 86_400_000;

/// Most voters of one register: a home draws them from a partner list of at most 8.
pub const MAX_VOTERS: usize = 8;

/// Highest round a voter promises to somebody else: rounds rise by one, so nobody honest gets
/// here, and nobody is left without a round above.
pub const MAX_ROUND: u32 = u32::MAX / 2;

/// Rounds that a ballot may be above what is known of its register: each takeover takes one, and one that
/// names more wants the rounds to run out.
pub const MAX_ROUND_JUMP: u32 = 1 << 16;

/// A service is led anew for the sake of a voter that was passed over at most once in so long, in
/// milliseconds: it costs two rounds, and a voter may only say that it was.
pub const WIN_BACK_MS: u64 = 600_000;

/// Most operations in one voter frame, and most commands in one commit.
pub const MAX_BATCH_OPS: usize = 256;

/// A commit takes no further command once its records exceed this many bytes.
pub const MAX_BATCH_BYTES: usize = 512 << 10;

/// Largest `maxAttempts` a job may ask for.
pub const MAX_ATTEMPTS: u32 = 100;

/// Largest `retry` a job may ask for: as many runs as it may lose.
pub const MAX_RETRY: u32 = MAX_ATTEMPTS;

/// Pause of a job whose attempt failed or was lost for the second time, in milliseconds; each
/// further one doubles it. The first time may be a host's fault and costs nothing.
pub const BACK_OFF_MS: u64 = 1000;

/// Longest such pause, in milliseconds: whatever was wrong, a minute later somebody may have mended
/// it.
pub const MAX_BACK_OFF_MS: u64 = 60_000;

/// How long another host is waited for before the one that failed a job or lost it may have it
/// again, in milliseconds.
pub const AVOID_MS: u64 = 30_000;

/// Most hosts that one job runs on to be verified: each is a run of all of it, one after the other.
pub const MAX_COPIES: u8 = 5;

/// Bytes of earlier runs' receipts in the result of a job to be verified: four usual ones are a few KiB.
pub const MAX_EARLIER_BYTES: usize = 64 << 10;

/// Jobs that wait for a further host and that a claim looks at, of which all may have run on this one.
pub const AGAIN_AHEAD: usize = 1000;

/// Jobs a claim passes over since its host failed or lost them. Beyond, it gets the oldest of them:
/// a host that fails everything must not make each claim read the whole queue.
pub const AVOID_AHEAD: usize = 16;

/// How long after it was heard of a host counts as alive, in milliseconds (`SKYCLAW_HOST_TTL_MS`).
pub const DEFAULT_HOST_TTL_MS: u64 = 15_000;

/// Urls kept from `/v1/network/join` and the settings together.
pub const MAX_PEER_URLS: usize = 256;

/// Distinct requirement sets in the queue: a claim looks at the head of each.
pub const MAX_REQUIREMENT_SETS: usize = 4096;

/// The display counter is stored this far ahead, so that changes kept in memory only (heartbeats)
/// can take numbers that a crash does not give out again.
pub const VERSION_SLACK: u64 = 1024;

/// Nothing is granted this close to a job's expiry, in milliseconds: voters stop accepting then.
pub const EXPIRY_MARGIN_MS: u64 = 60_000;

/// Jobs looked at in one go because they expire; further ones follow at once.
pub const MAX_EXPIRED: usize = 1024;

/// How long past its own `timeoutMs` a lease may be extended, in milliseconds: time to kill a
/// process tree and report.
pub const LEASE_SLACK_MS: u64 = 30_000;

/// Remembered answers deleted in one sweep.
pub const KEY_SWEEP: usize = 1024;

/// Time between two sweeps of old keys and hosts, in milliseconds.
pub const SWEEP_MS: u64 = 60_000;

/// How long a job that is kept elsewhere stays after its last change, in milliseconds: its caller and its host may ask
/// here again, and it need not be fetched for them. No longer than one that left still counts.
pub const HAND_OVER_AFTER_MS: u64 = 60_000;

/// Time between two sweeps while there is more to forget than one takes, in milliseconds: more
/// keys per second than a commit per key could have brought.
pub const SWEEP_ON_MS: u64 = 50;

/// Jobs a heartbeat may name; each may cost a look at the disk. Further ones are not looked at.
pub const MAX_HEARTBEAT_JOBS: usize = 10_000;

/// A host that was silent for so long is forgotten, in milliseconds (30 days): hosts without an id
/// of their own get a new one at each start. One that comes back registers again.
pub const HOST_FORGET_MS: u64 = 30 * 86_400_000;

/// Requirements named in one announcement of work: a frame of gossip stays small, and hosts look
/// at each.
pub const MAX_WORK_CLASSES: usize = 64;

/// Without a sign of life for so long a host is said to be silent, in milliseconds: its coordinator gives
/// it up after [`DEFAULT_HOST_TTL_MS`], and what is told of hosts of others is some seconds old.
pub const HOST_SILENT_MS: u64 = 20_000;

/// Kinds of waiting jobs that a host is told of when somebody asks why it does nothing: people read it.
pub const MAX_WHY_CLASSES: usize = 64;

/// Hosts that are told of then at once: each is judged for each of those kinds, on the engine's thread.
pub const MAX_WHY_HOSTS: usize = 500;

/// Commands of one node that wait for the answer of another coordinator. One more is refused.
pub const MAX_ASKS: usize = 16_384;

/// Cancellations of one node that are tried again; one more is refused as it was before.
pub const MAX_CANCELLING: usize = 4096;

/// Time between two tries of them, in milliseconds.
pub const CANCEL_AGAIN_MS: u64 = 1000;

/// How long one is tried, in milliseconds: long enough for a coordinator that is restarted.
pub const CANCEL_FOR_MS: u64 = 600_000;

/// Longest spec or result that travels with gossip, in bytes; larger ones are asked for.
pub const MAX_GOSSIP_CONTENT: usize = 8 << 10;

/// Runs that an attached host names in a beat; each may cost a look at the disk.
pub const MAX_RUNS: usize = 1024;

/// Jobs granted to one claim: a host with many slots is filled in a few round trips.
pub const MAX_GRANTS: usize = 32;

/// Questions in a row that a coordinator leaves unanswered before another one makes what it was to make:
/// one may be lost with a connection.
pub const UNHEARD_AFTER: u32 = 2;

/// For how long another one does, in milliseconds: long enough that callers do not wait for it again and
/// again, and no longer than it takes to start anew.
pub const UNHEARD_MS: u64 = 60_000;

/// How much longer than a quorum the answer of another coordinator may take, in milliseconds: its
/// own wait for a quorum, and the way there and back.
pub const ASK_SLACK_MS: u64 = 1000;

/// Other coordinators that one claim is tried at.
pub const MAX_CLAIM_HOMES: usize = 3;

/// Coordinators whose announcements of work are kept.
pub const MAX_WORK_HOMES: usize = 256;

/// Shortest time between two announcements, in milliseconds: each is signed and gossiped.
pub const WORK_GAP_MS: u64 = 5;

/// Time between announcements of what was announced before and still waits, in milliseconds.
pub const WORK_AGAIN_MS: u64 = 1000;

/// An announcement that was not repeated for so long is forgotten, in milliseconds.
pub const WORK_LIFE_MS: u64 = 3 * WORK_AGAIN_MS;

/// Registers asked for whose content was missing; asked again after [`WANT_AGAIN_MS`].
pub const MAX_WANTED: usize = 4096;

/// Time before a register is asked for again, in milliseconds.
pub const WANT_AGAIN_MS: u64 = 1000;

/// Content sent in answer to one question for registers, in bytes, the last one apart.
pub const MAX_WANT_BYTES: usize = 4 << 20;

/// How long a host or job that is not known here is looked for elsewhere, in milliseconds: a few
/// round trips.
pub const SEEK_MS: u64 = 300;

/// Commands that wait for such a search; beyond it they are refused at once.
pub const MAX_SOUGHT: usize = 1024;

/// Longest extra wait before a lease of an attached host is taken back, in milliseconds, and the
/// part of the lease that it is at least: clocks may differ by a hundredth.
pub const MIN_GUARD_MS: u64 = 2000;
/// See [`MIN_GUARD_MS`].
pub const GUARD_PART: u64 = 50;

/// How far a lease was extended is written to disk again once it is by one part of so many of its length:
/// each host that is busy would have it written with each beat.
pub const LEASE_NOTES: u64 = 8;

/// How long a lease of a host attached over libp2p lasts, in milliseconds (`SKYCLAW_P2P_LEASE_MS`).
pub const DEFAULT_P2P_LEASE_MS: u64 = 30_000;

/// How much longer than the freshest one a host's word about its run may be on its way through another
/// coordinator, in milliseconds: longer than a question is waited for, and less than a lease. One that
/// was kept back keeps no job at a host that is gone.
pub const MAX_WORD_LATE_MS: u64 = 10_000;

/// How long after it was heard of an attached host's id is its own, in milliseconds: it beats every
/// five seconds.
pub const HOST_TAKEN_MS: u64 = 60_000;

/// How often at most the owner of a host's id is said again because somebody gave it to another
/// node, in milliseconds: whoever goes on with that causes one small record a second.
pub const HOST_SAID_AGAIN_MS: u64 = 1000;

/// Things looked for in one frame; an honest node asks for one.
pub const MAX_SEEK: usize = 16;

/// Time between two beats to another coordinator, in milliseconds: five are lost before anybody is
/// suspected.
pub const BEAT_MS: u64 = 1000;

/// Coordinators that one node sends beats to, those it shares registers with first: each names all
/// that are alive, so that a beat stays below 4 KiB.
pub const MAX_BEAT_PEERS: usize = 64;

/// How long a sign of life counts, in milliseconds. Whoever gave none for so long is suspected;
/// below it nobody helps to depose one that reaches a quorum.
pub const ALIVE_MS: u64 = 5000;

/// Each further voter in the order of a register waits so much longer before it takes over, in
/// milliseconds: the one before it has had the time to.
pub const RANK_MS: u64 = 2000;

/// Added at random before a takeover on silence, in milliseconds, at most: voters that lost the same
/// coordinator do not all move at once.
pub const SUSPECT_JITTER_MS: u64 = 1000;

/// As [`RANK_MS`] where the owner's process is known to be dead.
pub const DEAD_RANK_MS: u64 = 300;

/// A coordinator that was silent for so long is looked for, in milliseconds: one beat is missing.
pub const PROBE_MS: u64 = BEAT_MS + BEAT_MS / 2;

/// Time between two looks at one coordinator, in milliseconds: each opens connections.
pub const PROBE_AGAIN_MS: u64 = 500;

/// Time between two looks at who leads what, in milliseconds; the shorter one while something is to
/// be taken over.
pub const WATCH_MS: u64 = 250;
/// See [`WATCH_MS`].
pub const WATCH_BUSY_MS: u64 = 100;

/// Registers looked at for a takeover at once: half a thousand rows make a commit of some ten
/// milliseconds, and other requests get their turn between two.
pub const TAKEOVER_STEP: usize = 512;

/// Attempts to lead registers that wait for other voters, at most.
pub const MAX_TRIALS: usize = 4096;

/// How long voters may take to say whether they would promise, in milliseconds; then it is tried
/// again.
pub const TRIAL_MS: u64 = 1000;

/// Coordinators whose signs of life are kept.
pub const MAX_PULSES: usize = 1024;

/// Beats in a row with which a voter's count of what this node leads differs, before it is asked for
/// a list: writes under way make it differ for a moment.
pub const ODD_BEATS: u8 = 3;

/// Longest pause between two such lists, in milliseconds, reached by doubling while they bring
/// nothing: where writes never pause, the counts never agree.
pub const MAX_LIST_PAUSE_MS: u64 = 64_000;

/// Coordinators that are remembered while they are away: those who share keys with this one.
pub const MAX_ACQUAINTANCES: usize = 1024;

/// Callers that wait for a job of their key to be decided; beyond it they are told at once.
pub const MAX_AWAITED: usize = 1024;

/// Times that a voter which holds a key for a register that was given up is told so, for each
/// write: frames may be lost, and what goes on being lost is tried again with the next write.
pub const MAX_RETOLD: u8 = 8;

/// Between a node's words to the others on which hosts live with it, in milliseconds: hosts ask
/// for orders as often.
pub const PRESENT_MS: u64 = 2000;

/// A host attached over libp2p that is not heard of for so long is gone, in milliseconds. It asks
/// every two seconds, which others hear of two seconds later.
pub const P2P_HOST_TTL_MS: u64 = 7000;

/// How long a host has to come back whose connection went, in milliseconds.
pub const HOST_AWAY_MS: u64 = 5000;

/// How long a host has to show up after a start or a takeover, in milliseconds.
pub const HOST_GRACE_MS: u64 = 45_000;

/// So long after its last answer from a coordinator a host has ended what must not run twice, in milliseconds: it does so
/// after 8 s, its grace included. It is placed elsewhere no sooner, and [`ALIVE_MS`] later still, for which a coordinator that
/// is cut off may not know it.
pub const HOST_STOPS_MS: u64 = 12_000;

/// Between two looks at the services that are led here, in milliseconds.
pub const PLACE_MS: u64 = 500;

/// The same after something changed: so that changes that come together are one write.
pub const PLACE_SOON_MS: u64 = 20;

/// A host on which a deployment failed is not given another instance of it for so long, in
/// milliseconds.
pub const FAILED_FOR_MS: u64 = 300_000;

/// Hosts that are remembered for that, per service.
pub const MAX_FAILED_HOSTS: usize = 256;

/// An instance that is not reported running for so long is as one that failed, in milliseconds:
/// hosts give one a minute to answer, after its code was fetched.
pub const START_LATE_MS: u64 = 150_000;

/// Within so long at most one host, or a tenth of all, is given up, in milliseconds.
pub const GIVE_UP_WINDOW_MS: u64 = 60_000;
/// Largest blob, in bytes: a bundle with its dependencies is some ten to a hundred MiB; hosts hold
/// many.
pub const MAX_BLOB_BYTES: u64 = 512 << 20;

/// Most files, folders and links of one bundle: a large tree of dependencies has some 60,000.
pub const MAX_BUNDLE_ENTRIES: usize = 100_000;

/// Most inputs of a job, and most files kept of one: they stand in its payload and its result.
pub const MAX_JOB_FILES: usize = 64;

/// Longest path within a bundle, in bytes: systems take some four times as much, and it is unpacked
/// below another.
pub const MAX_BUNDLE_PATH: usize = 1024;

/// Most folders above an entry of a bundle.
pub const MAX_BUNDLE_DEPTH: usize = 64;

/// What is in flight and was not answered is sent once more after so long, in milliseconds: well above
/// a slow disk's answer, and well below the time that callers are given.
pub const REPEAT_MS: u64 = 400;
