//! Calls that wait for the engine.

use skyclaw_protocol::Refusal;
use skyclaw_protocol::batch::KeyAnswer;
use skyclaw_protocol::machine::Token;
use tokio::sync::oneshot;

use super::NodeHandle;
use crate::engine::Input;

/// A call that waits for its answer. Dropped before that, it tells the engine that a parked claim's
/// caller is gone, or that the lease in an answer under way reached nobody.
pub(super) struct Waiting<'a> {
    pub(super) handle: &'a NodeHandle,
    /// It is a claim that may be parked, and not answered.
    pub(super) parks: bool,
    pub(super) token: Token,
    pub(super) answer: oneshot::Receiver<Result<KeyAnswer, Refusal>>,
}

impl NodeHandle {
    /// What the engine answers to a question about what the machine alone has in memory.
    pub(super) async fn asked<T>(
        &self,
        input: impl FnOnce(oneshot::Sender<Result<T, Refusal>>) -> Input,
    ) -> Result<T, Refusal> {
        let (reply, answer) = oneshot::channel();
        self.send(input(reply))?;
        answer.await.unwrap_or(Err(Refusal::Stopping))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.parks {
            return;
        }
        // No answer can arrive after this; one that has arrived is taken here.
        self.answer.close();
        let news = match self.answer.try_recv() {
            Ok(Ok(answer)) => Input::Undelivered(answer),
            Ok(Err(_)) => return,
            Err(_) => Input::HangUp(self.token),
        };
        // A full inbox loses the news; claim or lease then end by their own timers.
        let _ = self.handle.send(news);
    }
}
