//! What running jobs have written until now, for those who look on.
//!
//! Always: what a reader is given of a stream is, from its first byte on, the beginning of the text that
//! the run will report, so that whoever has read so far goes on in the result at the same place. Nothing
//! is kept for readers: they hold a place, and read at their own speed what is kept for the result.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use skyclaw_protocol::JobId;
use tokio::sync::watch;

use super::output::{Capture, Fill, Place, Quoted};
use super::ring::Stream;

/// Bytes of output given at once.
const PIECE: usize = 16 << 10;

/// The runs under way. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Outputs(Arc<Mutex<Runs>>);

/// By job and attempt.
type Runs = BTreeMap<(JobId, u32), Arc<Live>>;

/// What one run has written until now.
#[derive(Debug)]
pub(super) struct Live {
    stdout: Mutex<Capture>,
    stderr: Mutex<Capture>,
    /// True once nothing more comes. Told of all that comes.
    ended: watch::Sender<bool>,
    /// What was kept was taken for the report, as nobody read it.
    taken: AtomicBool,
}

/// Enters a run; it leaves when this is dropped, and its readers come to the end.
#[derive(Debug)]
pub(super) struct Entry {
    outputs: Outputs,
    key: (JobId, u32),
    live: Arc<Live>,
}

/// Writes one stream of a run.
#[derive(Debug)]
pub(super) struct Pen<'a> {
    live: &'a Live,
    stream: Stream,
}

/// A piece of what a job wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutputPiece {
    /// What came next.
    Text {
        /// Standard output or error.
        stream: Stream,
        /// Where it begins: bytes of the stream's text before it.
        offset: usize,
        /// What was written; broken or invalid UTF-8 as U+FFFD.
        text: String,
    },
    /// Of this stream nothing more is kept than was given, though the job may go on writing.
    Full(Stream),
}

/// Reads what a run writes.
#[derive(Debug)]
pub struct OutputReader {
    live: Arc<Live>,
    ended: watch::Receiver<bool>,
    places: [(Stream, Place, bool); 2],
}

impl Outputs {
    pub(super) fn enter(&self, job: JobId, attempt: u32, most: usize) -> Entry {
        let capture = || Mutex::new(Capture::new(most));
        let (ended, taken) = (watch::Sender::new(false), AtomicBool::new(false));
        let live = Live { stdout: capture(), stderr: capture(), ended, taken };
        let (key, live) = ((job, attempt), Arc::new(live));
        self.all().insert(key.clone(), Arc::clone(&live));
        Entry { outputs: self.clone(), key, live }
    }

    /// Reads what a run has written and goes on to write, from those bytes of its texts on. None if it
    /// is not under way here, or its output was taken for its report.
    #[must_use]
    pub fn read(&self, job: &JobId, attempt: u32, from: [usize; 2]) -> Option<OutputReader> {
        let live = Arc::clone(self.all().get(&(job.clone(), attempt))?);
        // Whoever takes the text later sees the reader, and leaves it there.
        let ended = live.ended.subscribe();
        if live.taken.load(SeqCst) {
            return None;
        }
        let [stdout, stderr] = from.map(Place::at);
        let places = [(Stream::Stdout, stdout, false), (Stream::Stderr, stderr, false)];
        Some(OutputReader { live, ended, places })
    }

    fn all(&self) -> MutexGuard<'_, Runs> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    pub(super) fn live(&self) -> &Live {
        &self.live
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut all = self.outputs.all();
        // Another run may have taken its place.
        if all.get(&self.key).is_some_and(|live| Arc::ptr_eq(live, &self.live)) {
            all.remove(&self.key);
        }
        drop(all);
        self.live.ended.send_replace(true);
    }
}

impl Live {
    pub(super) const fn pen(&self, stream: Stream) -> Pen<'_> {
        Pen { live: self, stream }
    }

    pub(super) fn of(&self, stream: Stream) -> MutexGuard<'_, Capture> {
        let capture = match stream {
            Stream::Stderr => &self.stderr,
            Stream::Stdout | Stream::Host => &self.stdout,
        };
        capture.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The text of a stream to report: to be called when all has come. Where there are readers, it stays
    /// for them.
    pub(super) fn text(&self, stream: Stream) -> String {
        self.taken.store(true, SeqCst);
        if self.ended.receiver_count() == 0 {
            return self.of(stream).text();
        }
        let text = self.of(stream).last();
        self.ended.send_modify(|_| {});
        text
    }
}

impl Fill for Pen<'_> {
    fn push(&mut self, bytes: &[u8]) {
        self.live.of(self.stream).push(bytes);
        self.live.ended.send_modify(|_| {});
    }
}

impl Quoted for Pen<'_> {
    fn so_far(&self) -> String {
        self.live.of(self.stream).so_far()
    }
}

impl OutputReader {
    /// What there is now that was not given yet; none if there is nothing.
    pub fn now(&mut self) -> Option<OutputPiece> {
        for (stream, place, told) in &mut self.places {
            let capture = self.live.of(*stream);
            if let Some((offset, text)) = capture.read(place, PIECE) {
                return Some(OutputPiece::Text { stream: *stream, offset, text });
            }
            if capture.is_full(place) && !std::mem::replace(told, true) {
                return Some(OutputPiece::Full(*stream));
            }
        }
        None
    }

    /// What comes next; none once the run has ended and all was given.
    pub async fn next(&mut self) -> Option<OutputPiece> {
        loop {
            let ended = *self.ended.borrow_and_update();
            if let Some(piece) = self.now() {
                return Some(piece);
            }
            if ended || self.ended.changed().await.is_err() {
                return None;
            }
        }
    }
}
