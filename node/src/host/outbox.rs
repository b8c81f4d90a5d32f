//! Results that no coordinator has taken, on the host's own disk: one thread, the store's only
//! writer here.
//!
//! Always: what waits together shares one transaction. A store that failed is opened again every
//! two seconds; until then nothing can be kept, and that is said to whoever asks.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use skyclaw_protocol::JobId;
use skyclaw_protocol::key::NodeKey;
use skyclaw_store::{
    CommitError, OpenError, OpenedOutbox, Options, Outbox as Store, OutboxChange, OutboxEntry,
    OutboxKey,
};
use tokio::sync::{mpsc, oneshot};

use crate::engine::chain;
use crate::limits::STORE_RETRY;

/// Words waiting for the thread; whoever has more waits. A job's result is one, and each of the
/// few offers under way.
const WORDS: usize = 256;

/// Why the disk did not do it, in words.
type Kept<T> = Result<T, String>;

#[derive(Debug)]
enum Word {
    Put(Arc<OutboxEntry>, oneshot::Sender<Kept<()>>),
    Remove(JobId, u32),
    Get(JobId, u32, oneshot::Sender<Kept<Option<OutboxEntry>>>),
    List(oneshot::Sender<Kept<Vec<OutboxKey>>>),
}

/// The door to the outbox; cheap to clone. The thread ends with the last one.
#[derive(Clone, Debug)]
pub struct Outbox(mpsc::Sender<Word>);

/// The outbox's thread.
#[derive(Debug)]
pub struct OutboxThread {
    thread: JoinHandle<()>,
    /// Closes with the thread.
    ended: oneshot::Receiver<()>,
}

impl OutboxThread {
    /// Waits until what was said before the last door was dropped is on disk. Blocks.
    pub fn join(self) {
        if self.thread.join().is_err() {
            tracing::error!("the outbox ended by a panic");
        }
    }

    /// The same for this long at most; false if the thread then still goes on. Nobody is kept waiting
    /// by a door that somebody forgot, or by a disk that does not answer.
    pub async fn join_within(mut self, most: Duration) -> bool {
        // It says nothing, and closes.
        let over = tokio::time::timeout(most, &mut self.ended).await.is_ok();
        if over {
            self.join();
        }
        over
    }
}

impl Outbox {
    /// Opens the file, or makes it; answers the node's key, too. Blocks.
    ///
    /// # Errors
    /// [`OpenError`]; a file that stands there is unchanged.
    pub fn open(
        path: PathBuf,
        options: Options,
    ) -> Result<(Self, NodeKey, OutboxThread), OpenError> {
        let OpenedOutbox { outbox, key, .. } = Store::open(&path, &options)?;
        let (words, inbox) = mpsc::channel(WORDS);
        let (running, ended) = oneshot::channel();
        let keeper = Keeper { path, options, store: Some(outbox), failed: String::new() };
        let thread = std::thread::Builder::new().name("outbox".into());
        let thread = thread.spawn(move || {
            // Dropped last, also by a panic.
            let _running: oneshot::Sender<()> = running;
            keeper.run(inbox);
        });
        match thread {
            Ok(thread) => Ok((Self(words), key, OutboxThread { thread, ended })),
            Err(source) => Err(OpenError::Environment { path: PathBuf::from("outbox"), source }),
        }
    }

    /// Keeps a result; it is on disk once this returned.
    ///
    /// # Errors
    /// Why the disk did not take it.
    pub async fn put(&self, entry: Arc<OutboxEntry>) -> Result<(), String> {
        self.ask(|answer| Word::Put(entry, answer)).await
    }

    /// Forgets a result.
    pub async fn remove(&self, job: JobId, attempt: u32) {
        let _ = self.0.send(Word::Remove(job, attempt)).await;
    }

    /// A result that was kept.
    ///
    /// # Errors
    /// Why the disk did not answer.
    pub async fn get(&self, job: JobId, attempt: u32) -> Result<Option<OutboxEntry>, String> {
        self.ask(|answer| Word::Get(job, attempt, answer)).await
    }

    /// All that were kept.
    ///
    /// # Errors
    /// Why the disk did not answer.
    pub async fn list(&self) -> Result<Vec<OutboxKey>, String> {
        self.ask(Word::List).await
    }

    async fn ask<T>(&self, word: impl FnOnce(oneshot::Sender<Kept<T>>) -> Word) -> Kept<T> {
        let gone = || "the outbox is closed".to_owned();
        let (answer, answered) = oneshot::channel();
        self.0.send(word(answer)).await.map_err(|_| gone())?;
        answered.await.unwrap_or_else(|_| Err(gone()))
    }
}

/// The thread's own state.
struct Keeper {
    path: PathBuf,
    options: Options,
    store: Option<Store>,
    /// Why there is no store.
    failed: String,
}

impl Keeper {
    fn run(mut self, mut inbox: mpsc::Receiver<Word>) {
        let mut words = Vec::with_capacity(WORDS);
        let mut retry = Instant::now();
        while let Some(first) = inbox.blocking_recv() {
            words.push(first);
            while words.len() < WORDS
                && let Ok(word) = inbox.try_recv()
            {
                words.push(word);
            }
            if self.store.is_none() && retry <= Instant::now() {
                self.reopen();
                retry = Instant::now() + STORE_RETRY;
            }
            self.serve(&mut words);
        }
    }

    fn serve(&mut self, words: &mut Vec<Word>) {
        let mut changes = Vec::new();
        let mut puts = Vec::new();
        let mut reads = Vec::new();
        for word in words.drain(..) {
            match word {
                Word::Put(entry, answer) => {
                    changes.push(OutboxChange::Put(entry));
                    puts.push(answer);
                }
                Word::Remove(job, attempt) => changes.push(OutboxChange::Remove(job, attempt)),
                read => reads.push(read),
            }
        }
        let kept = if changes.is_empty() { Ok(()) } else { self.apply(&changes) };
        for answer in puts {
            let _ = answer.send(kept.clone());
        }
        for read in reads {
            let store = self.store.as_ref().ok_or_else(|| self.failed.clone());
            match read {
                Word::Get(job, attempt, answer) => {
                    let found = store
                        .and_then(|store| store.get(&job, attempt).map_err(|error| chain(&error)));
                    let _ = answer.send(found);
                }
                Word::List(answer) => {
                    let found = store.and_then(|store| store.list().map_err(|error| chain(&error)));
                    let _ = answer.send(found);
                }
                Word::Put(..) | Word::Remove(..) => {}
            }
        }
    }

    fn apply(&mut self, changes: &[OutboxChange]) -> Kept<()> {
        let Some(store) = &mut self.store else { return Err(self.failed.clone()) };
        let Err(error) = store.apply(changes) else { return Ok(()) };
        let text = chain(&error);
        if !matches!(error, CommitError::TooLong { .. }) {
            tracing::error!(reason = text, "the outbox cannot be used now; trying again");
            self.store = None;
            self.failed.clone_from(&text);
        }
        Err(text)
    }

    fn reopen(&mut self) {
        match Store::open(&self.path, &self.options) {
            Ok(opened) => {
                tracing::info!("the outbox can be used again");
                self.store = Some(opened.outbox);
            }
            Err(error) => self.failed = chain(&error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stop_waits_for_what_is_on_its_way_and_not_for_a_door_that_stays_open() {
        let dir = tempfile::tempdir().unwrap();
        let open = |name: &str| Outbox::open(dir.path().join(name), Options::new([7; 32])).unwrap();
        let (door, _, thread) = open("open");
        assert!(!thread.join_within(Duration::from_millis(50)).await);
        drop(door);
        let (door, _, thread) = open("closed");
        door.remove(JobId::new("j").unwrap(), 1).await;
        drop(door);
        assert!(thread.join_within(Duration::from_secs(20)).await);
    }
}
