//! The lines of a service's instances on this host, as one stream.
//!
//! Always: nothing is kept beside the rings but each reader's place, and, at the beginning, what
//! was asked for of them.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;

use futures::stream::{BoxStream, SelectAll};
use futures::{StreamExt, stream};
use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;
use serde_json::{Value, json};
use skyclaw_protocol::ServiceId;
use skyclaw_protocol::clock::Wall;
use tokio::sync::watch;

use super::{InstanceId, InstanceLog, Services};
use crate::supervisor::{Heard, LogLine, Stream};
use crate::time;

/// Most lines of one instance that are shown from before: more than a ring holds of short ones.
const MAX_TAIL: usize = 10_000;

/// 24 characters whose order is the order of time.
const ISO: DateTimePrinter = DateTimePrinter::new().precision(Some(3));

/// A line of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// Which of the wanted instances wrote it.
    pub slot: u32,
    /// Which instance that was.
    pub epoch: u64,
    /// Its number among the lines of that instance; none for what tells of lines that were dropped.
    pub number: Option<u64>,
    /// What it wrote.
    pub line: LogLine,
}

impl LogEntry {
    /// `{at, stream, line, slot, epoch, number}`.
    #[must_use]
    pub fn json(&self) -> Value {
        let LogLine { at, stream, text } = &self.line;
        let ms = i64::try_from(at.0).unwrap_or(i64::MAX);
        let at = Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MAX);
        json!({
            "at": ISO.timestamp_to_string(&at),
            "stream": stream.as_str(),
            "line": &**text,
            "slot": self.slot,
            "epoch": self.epoch,
            "number": self.number,
        })
    }
}

/// Lines, in the order of time as far as they were there, then as they come.
pub struct LogStream {
    services: Services,
    service: ServiceId,
    epoch: Option<u64>,
    follow: bool,
    before: VecDeque<LogEntry>,
    live: SelectAll<BoxStream<'static, LogEntry>>,
    known: BTreeSet<InstanceId>,
    came: watch::Receiver<u64>,
}

impl fmt::Debug for LogStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogStream").field("service", &self.service).finish_non_exhaustive()
    }
}

impl LogStream {
    pub(super) fn open(
        services: Services,
        service: ServiceId,
        epoch: Option<u64>,
        tail: usize,
        follow: bool,
    ) -> Self {
        let came = services.0.table.came();
        let mut stream = Self {
            services,
            service,
            epoch,
            follow,
            before: VecDeque::new(),
            live: SelectAll::new(),
            known: BTreeSet::new(),
            came,
        };
        stream.add(tail.min(MAX_TAIL));
        stream
    }

    /// Adds the instances that are new, from their last `tail` lines on.
    fn add(&mut self, tail: usize) {
        let mut before = Vec::new();
        for mut log in self.services.0.table.logs(&self.service, self.epoch, tail) {
            if !self.known.insert(log.id.clone()) {
                continue;
            }
            // Of one instance in their own order, also where its clock was set back.
            let mut latest = Wall(0);
            while let Some(heard) = log.lines.ready() {
                let entry = entry(&log, heard);
                latest = latest.max(entry.line.at);
                before.push((latest, entry));
            }
            if self.follow {
                self.live.push(lines(log).boxed());
            }
        }
        before.sort_by_key(|(at, _)| *at);
        self.before.extend(before.into_iter().map(|(_, entry)| entry));
    }

    /// The next line; none at the end, which a stream that follows reaches only with the instance
    /// that it was asked for.
    pub async fn next(&mut self) -> Option<LogEntry> {
        loop {
            if let Some(entry) = self.before.pop_front() {
                return Some(entry);
            }
            if !self.follow {
                return None;
            }
            if self.live.is_empty() && self.epoch.is_some() && !self.known.is_empty() {
                return None;
            }
            tokio::select! {
                entry = self.live.next(), if !self.live.is_empty() => {
                    // None: the last one has ended.
                    if entry.is_some() {
                        return entry;
                    }
                }
                changed = self.came.changed() => {
                    changed.ok()?;
                    // Whole, since nothing of them was shown.
                    self.add(MAX_TAIL);
                }
            }
        }
    }
}

fn entry(log: &InstanceLog, heard: Heard) -> LogEntry {
    let (number, line) = match heard {
        Heard::Line(number, line) => (Some(number), line),
        Heard::Missed(count) => {
            let text = format!("{count} lines were dropped before they were read").into();
            (None, LogLine { at: time::wall(), stream: Stream::Host, text })
        }
    };
    LogEntry { slot: log.slot, epoch: log.id.epoch, number, line }
}

fn lines(log: InstanceLog) -> impl futures::Stream<Item = LogEntry> + Send {
    stream::unfold(log, |mut log| async move {
        let heard = log.lines.next().await?;
        Some((entry(&log, heard), log))
    })
}
