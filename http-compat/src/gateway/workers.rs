//! Threads that serve callers, each with an event loop of its own.
//!
//! Always: a caller's connection, and the connections to endpoints it uses, stay on one thread, so
//! that no request waits for another thread to wake up. Where the machine is busy this is what most
//! of the time goes into.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::pin::Pin;

use tokio::runtime::Builder;
use tokio::sync::mpsc;

/// More threads than this bring nothing: the kernel's share is the larger one.
pub(super) const MAX_THREADS: usize = 32;

/// Connections on their way to a thread; it takes them as fast as it can start tasks.
const WAITING: usize = 64;

/// What a thread is given to do.
pub(super) type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

thread_local! {
    static SEAT: Cell<usize> = const { Cell::new(0) };
}

/// Which thread this is: 0 for all that are none of ours.
pub(super) fn seat() -> usize {
    SEAT.get()
}

/// The threads. They end, and drop what they still do, once this is dropped.
#[derive(Debug)]
pub(super) struct Workers {
    threads: Vec<mpsc::Sender<Task>>,
    next: usize,
}

impl Workers {
    /// That many threads; with none, everything runs where it is started.
    pub(super) fn new(count: usize) -> io::Result<Self> {
        let threads = (1..=count).map(|seat| {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let (sender, mut tasks) = mpsc::channel::<Task>(WAITING);
            std::thread::Builder::new().name(format!("gateway-{seat}")).spawn(move || {
                SEAT.set(seat);
                runtime.block_on(async {
                    while let Some(task) = tasks.recv().await {
                        tokio::spawn(task);
                    }
                });
            })?;
            Ok(sender)
        });
        Ok(Self { threads: threads.collect::<io::Result<_>>()?, next: 0 })
    }

    /// Hands a task to the next thread in turn.
    pub(super) async fn start(&mut self, task: Task) {
        self.next = self.next.wrapping_add(1);
        let turn = self.next.checked_rem(self.threads.len());
        match turn.and_then(|at| self.threads.get(at)) {
            // Refused only if the thread is gone; then the task ends with it.
            Some(thread) => drop(thread.send(task).await),
            None => drop(tokio::spawn(task)),
        }
    }
}
