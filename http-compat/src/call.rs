//! One request on its way through a handler.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::http::HeaderMap;
use percent_encoding::percent_decode_str;
use serde_json::Value;
use skyclaw_protocol::{Answer, Command, Hash, HostId, IdError, Idempotency, JobId, ServiceId};
use tokio_util::sync::CancellationToken;

use crate::auth::{Asker, Who};
use crate::backend::{Backend, Request};
use crate::body::{Inbound, LARGE, Purpose, Taken};
use crate::error::ApiError;
use crate::idempotency;
use crate::json::fields::Document;
use crate::quota::Spend;
use crate::routes::{Api, Area, elsewhere};

/// What a handler is given.
pub(crate) struct Call {
    pub(crate) api: Arc<Api>,
    pub(crate) method: &'static str,
    pub(crate) template: &'static str,
    /// The id in the path, as sent.
    pub(crate) raw_id: Option<String>,
    pub(crate) query: Option<String>,
    pub(crate) headers: HeaderMap,
    /// Where the request comes from; none for callers inside the process.
    pub(crate) caller: Option<SocketAddr>,
    /// Answers that stay end with this; never for callers inside the process.
    pub(crate) stop: CancellationToken,
    pub(crate) inbound: Inbound,
    /// Who asks, on a private route; anybody on the others.
    pub(crate) who: Who,
}

impl fmt::Debug for Call {
    /// Without the headers: they hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("method", &self.method)
            .field("template", &self.template)
            .field("raw_id", &self.raw_id)
            .finish_non_exhaustive()
    }
}

impl Call {
    pub(crate) fn backend(&self) -> &dyn Backend {
        &*self.api.backend
    }

    pub(crate) fn host_id(&self) -> Result<HostId, ApiError> {
        HostId::new(self.id()?).map_err(|error| bad_id("host", error))
    }

    pub(crate) fn job_id(&self) -> Result<JobId, ApiError> {
        JobId::new(self.id()?).map_err(|error| bad_id("job", error))
    }

    pub(crate) fn service_id(&self) -> Result<ServiceId, ApiError> {
        ServiceId::new(self.id()?).map_err(|error| bad_id("service", error))
    }

    /// The decoded id, if the route has one. What does not decode is refused rather than taken literally: two spellings
    /// of a path must not name two records.
    pub(crate) fn id(&self) -> Result<String, ApiError> {
        let raw = self.raw_id.as_deref().unwrap_or_default();
        let mut rest = raw.as_bytes();
        while let Some(at) = rest.iter().position(|&byte| byte == b'%') {
            let digits = rest.get(at + 1..at + 3).ok_or(ApiError::BadTarget)?;
            if !digits.iter().all(u8::is_ascii_hexdigit) {
                return Err(ApiError::BadTarget);
            }
            rest = &rest[at + 3..];
        }
        let text = percent_decode_str(raw).decode_utf8().map_err(|_| ApiError::BadTarget)?;
        Ok(text.into_owned())
    }

    /// The body as JSON.
    pub(crate) async fn document(&mut self) -> Result<Document, ApiError> {
        self.taken().await?.parse().await
    }

    /// The body as it came.
    pub(crate) async fn taken(&mut self) -> Result<Taken, ApiError> {
        let purpose = match Area::of(self.template) {
            Area::Public => Purpose::Public,
            Area::Private | Area::Open => Purpose::Private,
        };
        self.inbound.read(&self.api.bodies, purpose).await
    }

    /// The body as it came, where it may be all or much of what an original has.
    pub(crate) async fn snapshot(&mut self) -> Result<Taken, ApiError> {
        self.inbound.read(&self.api.bodies, Purpose::Snapshot).await
    }

    /// Takes what this request costs its principal, if a principal asks.
    pub(crate) fn spend(&self, spend: Spend) -> Result<(), ApiError> {
        match self.who.principal() {
            Some(principal) => self.api.quotas.spend(principal, spend),
            None => Ok(()),
        }
    }

    /// Whether the caller sent an idempotency key: only then is what it asks hashed, which of much takes
    /// long, see [`elsewhere`].
    pub(crate) fn wants_once(&self) -> Result<bool, ApiError> {
        Ok(idempotency::key(&self.headers)?.is_some())
    }

    /// The caller's idempotency key, bound to this request and to the hash of what is asked; none if it
    /// sent no key.
    pub(crate) fn once(
        &self,
        asker: Asker,
        asked: Option<Hash>,
    ) -> Result<Option<Idempotency>, ApiError> {
        let (Some(key), Some(asked)) = (idempotency::key(&self.headers)?, asked) else {
            return Ok(None);
        };
        let id = self.raw_id.is_some().then(|| self.id()).transpose()?;
        let target = (self.method, self.template, id.as_deref());
        Ok(Some(idempotency::bind(&key, target, asker, asked)))
    }

    /// The same for a body that is not looked at otherwise.
    pub(crate) async fn once_of(
        &self,
        asker: Asker,
        taken: &Taken,
    ) -> Result<Option<Idempotency>, ApiError> {
        if !self.wants_once()? {
            return Ok(None);
        }
        let bytes = taken.bytes.clone();
        let large = bytes.len() >= LARGE;
        let asked = elsewhere(large, move || idempotency::fingerprint_bytes(&bytes)).await?;
        self.once(asker, Some(asked))
    }

    /// A change whose body matters: reads it, makes the command of it, has it carried out.
    pub(crate) async fn change(
        mut self,
        command: impl FnOnce(&Document) -> Result<Command, ApiError> + Send + 'static,
    ) -> Result<Answer, ApiError> {
        let (document, wanted) = (self.document().await?, self.wants_once()?);
        let large = document.is_large();
        let work = move || {
            let asked = wanted.then(|| idempotency::fingerprint(document.value()));
            command(&document).map(|command| (command, asked))
        };
        let (command, asked) = elsewhere(large, work).await??;
        let once = self.once(self.who.asker(), asked)?;
        self.run(command, once).await
    }

    /// A change that needs no body: one that is no JSON is as good as none, as to the original.
    pub(crate) async fn change_loosely(
        mut self,
        command: impl FnOnce(&Document) -> Result<Command, ApiError>,
    ) -> Result<Answer, ApiError> {
        let taken = self.taken().await?;
        let once = self.once_of(self.who.asker(), &taken).await?;
        let empty = || Document::new(Value::Null, false, None);
        let command = command(&taken.parse().await.unwrap_or_else(|_| empty()))?;
        self.run(command, once).await
    }

    /// A change whose body is not looked at, except that a repeated key must repeat it.
    pub(crate) async fn change_bodiless(mut self, command: Command) -> Result<Answer, ApiError> {
        let taken = self.taken().await?;
        let once = self.once_of(self.who.asker(), &taken).await?;
        drop(taken);
        self.run(command, once).await
    }

    pub(crate) async fn run(
        &self,
        command: Command,
        idempotency: Option<Idempotency>,
    ) -> Result<Answer, ApiError> {
        Ok(self.backend().call(Request { command, idempotency }).await?)
    }
}

fn bad_id(what: &str, error: IdError) -> ApiError {
    ApiError::BadField(format!("the {what} id in the path is not usable: {error}"))
}

/// What the node answers to something it was not asked.
pub(crate) const fn unexpected() -> ApiError {
    ApiError::Internal("the node answered something else than was asked")
}

/// `{host: ...}` and the like.
pub(crate) fn wrap(name: &str, value: Value) -> Value {
    let mut map = serde_json::Map::new();
    map.insert(name.to_owned(), value);
    Value::Object(map)
}
