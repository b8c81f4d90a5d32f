//! A copy of the database while it is used.

use skyclaw_protocol::Refusal;

use super::NodeHandle;
use crate::copies;
use crate::engine::chain;

impl NodeHandle {
    /// Writes a backup beside the database, in place of the one before; its path. One at a time.
    pub(super) async fn make_backup(&self) -> Result<String, Refusal> {
        let Ok(turn) = self.0.backup.clone().try_lock_owned() else {
            return Err(Refusal::Busy("a backup is being made".into()));
        };
        let (reader, network) = (self.reader()?, self.0.network);
        let made = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            copies::make(&reader, network)
        });
        made.await.map_err(|_| Refusal::Stopping)?.map_err(|error| Refusal::Store(chain(&error)))
    }
}
