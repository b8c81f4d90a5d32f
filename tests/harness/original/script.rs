//! What tests do to the answers of an original: replace, hold back, delay, swallow them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::{Core, Original, lock};
use crate::server::{Received, Reply};

/// What a request finds.
#[derive(Clone, Debug)]
pub enum Mood {
    /// What it asks for is done and answered.
    Serving,
    /// Nothing: it is read and never answered.
    Silent,
    /// It is done, and answered so much later.
    Slow(Duration),
    /// It is answered with this and not done.
    Saying(Reply),
}

/// What the test wants to happen.
#[derive(Debug, Default)]
pub(super) struct Script {
    /// Answers that replace the next ones to targets with that end.
    instead: VecDeque<(String, Reply)>,
    moods: Vec<(String, Mood)>,
    /// Ends of targets whose answers are held back.
    held: Vec<String>,
}

impl Core {
    pub(super) fn perform(self: &Arc<Self>, request: &Received) -> Reply {
        let mood = {
            let mut script = lock(&self.script);
            let at = script.instead.iter().position(|(end, _)| request.target.ends_with(end));
            if let Some((_, reply)) = at.and_then(|at| script.instead.remove(at)) {
                return reply;
            }
            let moods = script.moods.iter().filter(|(end, _)| request.target.ends_with(end));
            let mood = moods.max_by_key(|(end, _)| end.len());
            mood.map_or(Mood::Serving, |(_, mood)| mood.clone())
        };
        let reply = match mood {
            Mood::Silent => return Reply::silence(),
            Mood::Saying(reply) => return reply,
            Mood::Serving => self.answer(request),
            Mood::Slow(by) => self.answer(request).after(by),
        };
        let held =
            |script: &mut Script| script.held.iter().any(|end| request.target.ends_with(end));
        drop(self.released.wait_while(lock(&self.script), held));
        reply
    }
}

/// Answers are held back until it is dropped.
#[derive(Debug)]
pub struct Hold {
    core: Arc<Core>,
    end: String,
}

impl Drop for Hold {
    fn drop(&mut self) {
        lock(&self.core.script).held.retain(|end| *end != self.end);
        self.core.released.notify_all();
    }
}

/// Meddling with its answers.
impl Original {
    /// The next request to a target that ends so is answered with `reply` and not done.
    pub fn instead(&self, end: &str, reply: Reply) {
        lock(&self.core.script).instead.push_back((end.to_owned(), reply));
    }

    /// Answers given with [`Original::instead`] that nobody got yet.
    #[must_use]
    pub fn left(&self) -> usize {
        lock(&self.core.script).instead.len()
    }

    /// What requests to targets that end so find from now on; `""` is all.
    pub fn mood(&self, end: &str, mood: Mood) {
        let moods = &mut lock(&self.core.script).moods;
        moods.retain(|(known, _)| known != end);
        moods.push((end.to_owned(), mood));
    }

    /// Holds back the answers to targets that end so; what they ask for is done.
    #[must_use]
    pub fn hold(&self, end: &str) -> Hold {
        lock(&self.core.script).held.push(end.to_owned());
        Hold { core: Arc::clone(&self.core), end: end.to_owned() }
    }
}
