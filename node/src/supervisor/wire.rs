//! What the daemon and a job's shim say to each other over their socket.
//!
//! Daemon to shim: the [`Ground`](crate::sandbox::Ground) at once, one [`Launch`] when there is something to run, then
//! any number of [`Command`]s; after [`Command::Again`] the next [`Launch`]. Shim to daemon: [`Event`]s. Both structures
//! travel as four bytes of length and JSON. The socket's end is a message too: whoever sees it knows the other died.

use std::io::{self, Read, Write};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::sandbox::{Places, Profile};

/// Largest frame in bytes: a payload of 8 MiB whose every character is escaped, and room.
pub(super) const MAX_FRAME_BYTES: usize = 64 << 20;

/// What a shim is to run.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Launch {
    /// Absolute path of the program.
    pub(super) program: String,
    /// The name it is called by.
    pub(super) arg0: String,
    /// Arguments after the name.
    pub(super) args: Vec<String>,
    /// Working directory.
    pub(super) cwd: String,
    /// The whole environment.
    pub(super) env: Vec<(String, String)>,
    /// The file on its standard input; none for one that is empty.
    pub(super) stdin: Option<String>,
    /// What it is kept in.
    pub(super) profile: Profile,
    /// Its folders; none where it is not kept in anything.
    pub(super) places: Option<Places>,
}

/// What a shim has to tell.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Event {
    /// What can be done before the job is known is done: the order may come.
    Ready,
    /// All is ready; the main process is started next. A shim that ends before it says so has
    /// failed by itself: the job had no part in it.
    Starting,
    /// The main process runs.
    Started {
        /// Its process id.
        pid: i32,
    },
    /// It could not be started; `Gone` follows.
    NotStarted {
        /// The system's number, if it is a system's failure.
        errno: Option<i32>,
        /// The failure in words.
        text: String,
    },
    /// What it is to be kept in could not be made, for this reason; nothing was run, and `Gone` may
    /// follow.
    Unkept {
        /// Which step failed, and how.
        text: String,
    },
    /// It took more than it may: it is being ended.
    Over {
        /// What it took, in one sentence.
        text: String,
    },
    /// The main process ended; others may still run.
    Exited {
        /// Its exit code; none if a signal ended it.
        code: Option<i32>,
        /// It was the last one: `Gone` follows, and nothing need be ended.
        last: bool,
    },
    /// The moment until which the job may run is over and the daemon said nothing: it is being
    /// ended.
    Expired,
    /// No process of the job is left.
    Gone,
}

/// What a shim is told about its job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// TERM, and KILL after this grace.
    Stop(Duration),
    /// It may run until then, on the clock that counts from the machine's start. The last one
    /// counts.
    Until(Duration),
    /// The run is over, and another one comes. Two files travel with it, to which that writes what it says.
    Again,
}

impl Command {
    /// Bytes of one.
    pub(super) const LENGTH: usize = 9;

    /// One byte for the kind, eight for milliseconds.
    pub(super) fn encode(self) -> [u8; Self::LENGTH] {
        let (kind, time) = match self {
            Self::Stop(grace) => (0, grace),
            Self::Until(at) => (1, at),
            Self::Again => (2, Duration::ZERO),
        };
        let mut bytes = [kind; Self::LENGTH];
        let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        bytes[1..].copy_from_slice(&ms.to_be_bytes());
        bytes
    }

    /// Of an unknown kind it is the end: better a job that ends early than one that never does.
    pub(super) fn decode(bytes: [u8; Self::LENGTH]) -> Self {
        let [kind, ms @ ..] = bytes;
        let time = Duration::from_millis(u64::from_be_bytes(ms));
        match kind {
            1 => Self::Until(time),
            2 => Self::Again,
            _ => Self::Stop(time),
        }
    }
}

/// A frame's bytes.
pub(super) fn encode<T: Serialize>(message: &T) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; 4];
    serde_json::to_writer(&mut frame, message)?;
    let body = frame.len() - 4;
    let length = u32::try_from(body).ok().filter(|_| body <= MAX_FRAME_BYTES);
    let length = length.ok_or(io::ErrorKind::InvalidData)?;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    Ok(frame)
}

/// A frame's length from its head.
pub(super) fn length(head: [u8; 4]) -> io::Result<usize> {
    usize::try_from(u32::from_be_bytes(head))
        .ok()
        .filter(|n| *n <= MAX_FRAME_BYTES)
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Writes one frame.
pub(super) fn send<T: Serialize>(mut to: impl Write, message: &T) -> io::Result<()> {
    to.write_all(&encode(message)?)
}

/// Reads one frame.
pub(super) fn receive<T: DeserializeOwned>(from: impl Read) -> io::Result<T> {
    Ok(serde_json::from_slice(&receive_frame(from)?[HEAD..])?)
}

/// Bytes of a frame's head.
pub(super) const HEAD: usize = 4;

/// Reads one frame as it is, its head included.
pub(super) fn receive_frame(mut from: impl Read) -> io::Result<Vec<u8>> {
    let mut head = [0; HEAD];
    from.read_exact(&mut head)?;
    let mut frame = vec![0; HEAD + length(head)?];
    frame[..HEAD].copy_from_slice(&head);
    from.read_exact(&mut frame[HEAD..])?;
    Ok(frame)
}
