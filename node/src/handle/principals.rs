//! Principals as the API asks for them: from memory, except that they are made.

use std::sync::Arc;

use skyclaw_http_compat::{NewPrincipal, Request};
use skyclaw_protocol::clock::Wall;
use skyclaw_protocol::principal::{ApiKey, Principal};
use skyclaw_protocol::{Answer, Command, Refusal};
use zeroize::Zeroizing;

use super::NodeHandle;
use crate::time;

impl NodeHandle {
    /// Whose key this is, if it counts now.
    pub(super) fn principal_of(&self, key: &ApiKey) -> Option<Arc<Principal>> {
        self.0.shared.controls_now().admit(key, time::wall()).cloned()
    }

    /// All principals, those that were revoked among them, by creation.
    #[must_use]
    pub fn all_principals(&self) -> Vec<Arc<Principal>> {
        let mut all: Vec<_> = self.0.shared.controls_now().principals().cloned().collect();
        all.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
        all
    }

    /// Makes a principal, with a key that nobody has seen before.
    pub(super) async fn new_principal(
        &self,
        new: NewPrincipal,
    ) -> Result<(Principal, ApiKey), Refusal> {
        let (mut chance, mut secret) = ([0; 10], Zeroizing::new([0; 32]));
        rand::fill(&mut chance);
        rand::fill(&mut secret[..]);
        let no_id = || Refusal::Store("no id could be made".into());
        let key = ApiKey::new(ApiKey::id_of(chance).ok_or_else(no_id)?, *secret);
        let now = time::wall();
        let principal = Principal {
            id: key.id.clone(),
            name: new.name,
            scopes: new.scopes,
            secret_hash: key.hash(),
            quotas: new.quotas,
            // Filled in with the record.
            created: Wall(0),
            created_by: String::new(),
            expires: new.expires_in_ms.map(|ms| now.plus_ms(ms)),
            revoked: None,
        };
        let command = Command::MakePrincipal(Box::new(principal));
        match self.command(Request { command, idempotency: None }).await? {
            Answer::Principal(principal) => Ok((*principal, key)),
            _ => Err(Refusal::Store("the node answered something else than was asked".into())),
        }
    }
}
