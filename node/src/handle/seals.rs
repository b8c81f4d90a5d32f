//! The environment of services on its way in, where it is sealed, and out to hosts that talk HTTP, which
//! have no key.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use skyclaw_http_compat::Request;
use skyclaw_protocol::orders::Orders;
use skyclaw_protocol::{Answer, Change, Command, Refusal};

use super::NodeHandle;
use crate::seals::Seals as Keys;

/// The keys of this node, and whether it was said that there are none.
#[derive(Debug, Default)]
pub(super) struct Seals {
    keys: OnceLock<Keys>,
    said: AtomicBool,
}

impl Seals {
    fn keys(&self) -> &Keys {
        self.keys.get_or_init(Keys::default)
    }

    /// A command as its records may hold it.
    ///
    /// # Errors
    /// [`Refusal::Store`] if there is something to seal, and no key yet.
    pub(super) fn seal(&self, mut command: Command) -> Result<Command, Refusal> {
        let found = self.keys().keys();
        let keys = found.clone().unwrap_or_default();
        let any = match &mut command {
            Command::PutService { def, .. } => {
                keys.seal_all(def);
                def.env.as_ref().is_some_and(|env| !env.is_empty())
            }
            Command::PatchService { patch, .. } => match &mut patch.env {
                Some(Change::Set(changes)) => {
                    for (name, value) in changes.iter_mut() {
                        *value = value.take().map(|value| keys.seal(name, &value));
                    }
                    !changes.is_empty()
                }
                _ => false,
            },
            _ => false,
        };
        if any && found.is_none() {
            return Err(Refusal::Store(
                "this node was not let into its network yet, and cannot seal the environment of a \
                 service: `skyclaw network members` says how it stands"
                    .to_owned(),
            ));
        }
        if any && keys.is_empty() && !self.said.swap(true, Relaxed) {
            tracing::warn!(
                "no SKYCLAW_TOKEN is set: values of services' environments are kept in clear, in the \
                 database and its backups; set one, and deploy them again"
            );
        }
        Ok(command)
    }

    /// Orders as a host without a key can carry them out. What does not open is not ordered: its values
    /// mean nothing to anybody here.
    pub(super) fn open_orders(&self, mut orders: Orders) -> Orders {
        let keys = self.keys().opening();
        orders.orders.retain_mut(|order| {
            let opened = keys.open_all(&mut order.def);
            if let Err(why) = &opened {
                tracing::warn!(service = %order.id, why, "an instance is not ordered over HTTP");
            }
            opened.is_ok()
        });
        orders
    }
}

impl NodeHandle {
    /// Under what the environment of services is sealed. Only the first time counts.
    pub(crate) fn set_seals(&self, keys: Keys) {
        let _ = self.0.seals.keys.set(keys);
    }

    /// As [`NodeHandle::command`], for a caller that talks HTTP: a host that claims a service is told what it
    /// is to run.
    pub(super) async fn command_of_http(&self, request: Request) -> Result<Answer, Refusal> {
        let claims = matches!(request.command, Command::ClaimService { .. });
        let mut answer = self.command(request).await?;
        if let (true, Answer::Service(service)) = (claims, &mut answer) {
            self.0.seals.keys().opening().open_all(&mut service.def).map_err(Refusal::Store)?;
        }
        Ok(answer)
    }
}
