//! Who asks on a private route: all who know the shared token, or one principal with its key.
//!
//! Always: a principal sees and changes what is its own, unless its scopes say more; what is not shown
//! to it is answered as if it were not there.

use std::fmt;
use std::sync::Arc;

use axum::http::{HeaderMap, header};
use skyclaw_protocol::Hash;
use skyclaw_protocol::principal::{ApiKey, Principal, Scope};

use super::{Asker, Secret, TOKEN, joined};
use crate::backend::Backend;
use crate::error::ApiError;

/// How keys of principals begin, in the header that they share with other programs' tokens.
const KEY: &[u8] = b"sk_";

/// Who asks.
#[derive(Clone, Debug)]
pub(crate) enum Who {
    /// Anybody: no token is set.
    Open,
    /// One who knows the shared token.
    Token,
    /// A principal.
    Key(Arc<Principal>),
}

impl Who {
    /// Reads the token or key that a request shows, and checks it.
    ///
    /// Where no token is set whoever shows nothing is let in as ever; but a key that is not known is
    /// refused, and so is any other text once there are principals: its sender means to be somebody.
    pub(crate) fn find(
        token: Option<&Secret>,
        backend: &dyn Backend,
        headers: &HeaderMap,
    ) -> Result<Self, ApiError> {
        let shown = joined(headers, &TOKEN).filter(|shown| !shown.is_empty());
        if let (Some(token), Some(shown)) = (token, &shown)
            && token.is(shown)
        {
            return Ok(Self::Token);
        }
        let Some(shown) = shown.or_else(|| bearer(headers)) else {
            return if token.is_none() { Ok(Self::Open) } else { Err(ApiError::Unauthorized) };
        };
        let key = std::str::from_utf8(&shown).ok().and_then(|text| ApiKey::parse(text).ok());
        if let Some(principal) = key.and_then(|key| backend.admit(&key)) {
            return Ok(Self::Key(principal));
        }
        if token.is_none() && !shown.starts_with(KEY) && backend.principals().is_empty() {
            return Ok(Self::Open);
        }
        Err(ApiError::Unauthorized)
    }

    /// Whether one of these scopes is enough for what is asked, and it has one.
    pub(crate) fn may(&self, scopes: &[Scope]) -> bool {
        match self {
            Self::Open | Self::Token => true,
            Self::Key(principal) => scopes.iter().any(|scope| principal.may(*scope)),
        }
    }

    /// The principal, if it is one.
    pub(crate) const fn principal(&self) -> Option<&Arc<Principal>> {
        match self {
            Self::Open | Self::Token => None,
            Self::Key(principal) => Some(principal),
        }
    }

    /// How what it makes is marked: the submitter of its jobs, the owner of its services.
    pub(crate) fn mark(&self) -> Option<String> {
        self.principal().map(|principal| principal.submitter())
    }

    /// Whether it is shown what that one made.
    pub(crate) fn sees(&self, owner: Option<&String>) -> bool {
        self.may(&[Scope::Read]) || self.owns(owner)
    }

    /// Whether it may change what that one made.
    pub(crate) fn changes(&self, owner: Option<&String>) -> bool {
        self.is_admin() || self.owns(owner)
    }

    pub(crate) fn is_admin(&self) -> bool {
        self.may(&[Scope::Admin])
    }

    fn owns(&self, owner: Option<&String>) -> bool {
        self.mark().is_some_and(|mark| owner == Some(&mark))
    }

    /// What tells it from others in idempotency scopes.
    pub(crate) fn asker(&self) -> Asker {
        match self {
            Self::Open | Self::Token => Asker::Token,
            Self::Key(principal) => Asker::Key(Hash::of(principal.id.as_str().as_bytes())),
        }
    }
}

/// A key that stands where many programs put theirs. Other bearers mean nothing here, as ever.
fn bearer(headers: &HeaderMap) -> Option<Vec<u8>> {
    let value = headers.get(header::AUTHORIZATION)?.as_bytes().strip_prefix(b"Bearer ")?;
    let value = value.trim_ascii();
    value.starts_with(KEY).then(|| value.to_vec())
}

/// Which scopes are enough, in words.
pub(crate) struct Enough<'a>(pub(crate) &'a [Scope]);

impl fmt::Display for Enough<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.0.iter().map(|scope| scope.as_str()).collect();
        match names[..] {
            [one] => write!(f, "the scope {one}"),
            _ => write!(f, "one of the scopes {}", names.join(", ")),
        }
    }
}
