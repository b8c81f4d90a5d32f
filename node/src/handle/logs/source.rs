//! The lines of one instance.

use std::time::Duration;

use serde::Deserialize;
use skyclaw_http_compat::{Backend, LogLine, LogPiece};
use skyclaw_protocol::clock::Wall;
use skyclaw_protocol::{Assignment, HostId, NodeId, ServiceId, codec};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::super::NodeHandle;
use crate::net::{Duty, OpenError, Tunnel};
use crate::services::{Entry, LogEntry, LogsHeader, Services};

/// Longest wait for a tunnel.
const PATIENCE: Duration = Duration::from_secs(10);

/// Longest line that comes through a tunnel: a host's longest, each byte of it escaped, with room.
const MAX_LINE: u64 = 128 << 10;

/// Pause before a log that broke off is opened again, and how often that is tried in a row.
const AGAIN: Duration = Duration::from_secs(1);
const TRIES: u32 = 10;

/// A line as hosts write it.
#[derive(Deserialize)]
struct Told {
    at: String,
    stream: String,
    line: String,
    number: Option<u64>,
}

/// The number of the last line that was heard of an instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Place(Option<u64>);

impl Place {
    /// Whether a line is new; the place is behind it then. What has no number tells of lines that were
    /// dropped, and is told always.
    fn is_new(&mut self, number: Option<u64>) -> bool {
        let new = number.is_none_or(|number| self.0.is_none_or(|last| number > last));
        if new {
            self.0 = number.or(self.0);
        }
        new
    }
}

/// How the lines of an instance are reached.
#[derive(Clone, Debug)]
pub(super) enum Way {
    /// This node's own host runs it.
    Here(Services),
    /// Through that node.
    There(NodeId),
}

impl Way {
    /// None if there is none yet, or none at all.
    pub(super) async fn to(handle: &NodeHandle, id: &ServiceId, part: &Assignment) -> Option<Self> {
        let is_it = |entry: &Entry| entry.id.service == *id && entry.id.epoch == part.epoch;
        let here = handle.0.hosted.get().filter(|here| here.list().iter().any(is_it));
        if let Some(here) = here {
            return Some(Self::Here(here.clone()));
        }
        let node = match part.node {
            Some(node) => Some(node),
            // A host that did not report the instance yet may be known itself.
            None => handle.host_node(part.host.clone()).await.ok().flatten(),
        };
        node.filter(|node| Some(*node) != handle.node()).map(Self::There)
    }
}

/// One instance, to be read.
pub(super) struct Source {
    pub(super) handle: NodeHandle,
    pub(super) id: ServiceId,
    pub(super) host: HostId,
    pub(super) way: Way,
    pub(super) slot: u32,
    pub(super) epoch: u64,
    pub(super) tail: u32,
    pub(super) follow: bool,
}

impl Source {
    /// Sends the lines until they end, or nobody wants them.
    pub(super) async fn run(mut self, pieces: mpsc::Sender<LogPiece>) {
        let gone = pieces.clone();
        tokio::select! {
            () = self.read(&pieces) => {}
            () = gone.closed() => {}
        }
    }

    async fn read(&mut self, pieces: &mpsc::Sender<LogPiece>) {
        let here = match &self.way {
            Way::There(node) => return self.read_there(*node, pieces).await,
            Way::Here(here) => here,
        };
        let tail = usize::try_from(self.tail).unwrap_or(usize::MAX);
        let mut log = here.logs(&self.id, Some(self.epoch), tail, self.follow);
        while let Some(LogEntry { number, line, .. }) = log.next().await {
            let stream = line.stream.as_str().to_owned();
            let piece = self.line(line.at, stream, line.text.to_string(), number);
            if pieces.send(piece).await.is_err() {
                return;
            }
        }
    }

    /// Whether the service still has this instance.
    async fn is_assigned(&self) -> bool {
        let service = Backend::service(&self.handle, self.id.clone()).await.ok().flatten();
        let parts = service.map(|service| service.assignments).unwrap_or_default();
        parts.iter().any(|part| part.epoch == self.epoch)
    }

    async fn read_there(&mut self, node: NodeId, pieces: &mpsc::Sender<LogPiece>) {
        let mut place = Place::default();
        let mut said = None;
        let mut tries = 0;
        while tries < TRIES {
            let header = LogsHeader {
                service: self.id.clone(),
                epoch: Some(self.epoch),
                tail: self.tail,
                follow: self.follow,
            };
            let header = codec::encode(&header);
            let why = match self.handle.0.net.open(node, Duty::Logs, header, PATIENCE).await {
                Ok(tunnel) => {
                    let before = place;
                    self.pass_on(tunnel, &mut place, pieces).await;
                    if !self.follow || pieces.is_closed() || !self.is_assigned().await {
                        return;
                    }
                    if place != before {
                        (tries, said) = (0, None);
                    }
                    "the connection broke".to_owned()
                }
                // It has nothing of the instance, yet or any more.
                Err(OpenError::Refused(why)) => {
                    if !self.is_assigned().await {
                        return;
                    }
                    why
                }
                Err(error) => error.to_string(),
            };
            if said.as_ref() != Some(&why) {
                let text = format!("instance {} on host {}: {why}", self.slot, self.host);
                if pieces.send(LogPiece::Note(text)).await.is_err() {
                    return;
                }
                said = Some(why);
            }
            if !self.follow {
                return;
            }
            tries += 1;
            // What was missed comes with what was heard, which is passed over.
            self.tail = u32::MAX;
            sleep(AGAIN).await;
        }
    }

    /// Until the log ends or breaks off.
    async fn pass_on(&self, tunnel: Tunnel, place: &mut Place, pieces: &mpsc::Sender<LogPiece>) {
        let mut from = BufReader::new(tunnel);
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            let Ok(1..) = (&mut from).take(MAX_LINE).read_until(b'\n', &mut bytes).await else {
                return;
            };
            let Ok(Told { at, stream, line, number }) = serde_json::from_slice(&bytes) else {
                return;
            };
            let at = at.parse().map_or(0, |at: jiff::Timestamp| at.as_millisecond());
            let at = u64::try_from(at).unwrap_or(0);
            if !place.is_new(number) {
                continue;
            }
            let piece = self.line(Wall(at), stream, line, number);
            if pieces.send(piece).await.is_err() {
                return;
            }
        }
    }

    fn line(&self, at: Wall, stream: String, line: String, number: Option<u64>) -> LogPiece {
        LogPiece::Line(LogLine {
            at,
            stream,
            line,
            replica: self.slot,
            host: self.host.to_string(),
            epoch: self.epoch,
            number,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_come_again_after_a_break_are_passed_over_and_those_missed_are_not() {
        let all = [7, 8, 9, 10];
        for cut in 0..=all.len() {
            for from in 0..=cut {
                let mut place = Place::default();
                let mut is_new = |number: &u64| place.is_new(Some(*number));
                let mut shown: Vec<u64> = all[..cut].to_vec();
                assert!(shown.iter().all(&mut is_new));
                shown.extend(all[from..].iter().copied().filter(is_new));
                assert_eq!(shown, all, "cut after {cut}, from {from}");
            }
        }
    }

    #[test]
    fn that_lines_were_dropped_is_told_and_moves_no_place() {
        let mut place = Place::default();
        let heard = [Some(3), None, Some(3), Some(4), None].map(|number| place.is_new(number));
        assert_eq!((heard, place), ([true, true, false, true, true], Place(Some(4))));
    }
}
