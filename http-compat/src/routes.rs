//! Path to handler, and what happens to every request on the way.
//!
//! Always, in this order: public preflight and switch, or the shared token; then the route; then
//! (public) the key; then the body. Paths are matched as sent, byte for byte: no dot segments, no
//! backslashes, no empty segments are resolved, so what a proxy in front let through is what is
//! matched here.

mod blobs;
mod health;
mod hosts;
mod import;
mod jobs;
pub(crate) mod logs;
mod membership;
mod network;
mod orders;
mod public;
mod replicate;
mod services;

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{Method, Version, header};
use axum::response::Response;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::auth::{self, PublicKey, Secret};
use crate::backend::Backend;
use crate::body::{BodyLimits, Inbound};
use crate::call::Call;
use crate::config::ApiConfig;
use crate::cors::Cors;
use crate::error::ApiError;
use crate::json;
use crate::metrics::HttpMetrics;
use crate::serve::Served;

/// Whole listings rendered at once; each may hold every job of the node in memory.
const LISTINGS: usize = 4;

type Answered = Result<Response, ApiError>;

struct Route {
    method: &'static str,
    template: &'static str,
    run: fn(Call) -> BoxFuture<'static, Answered>,
}

macro_rules! routes {
    ($($method:ident $template:literal => $handler:path,)*) => {
        &[$(Route {
            method: stringify!($method),
            template: $template,
            run: |call| Box::pin($handler(call)),
        },)*]
    };
}

/// Every route there is.
static ROUTES: &[Route] = routes! {
    GET "/healthz" => health::alive,
    GET "/readyz" => health::ready,
    GET "/metrics" => health::metrics,
    GET "/health" => health::named,
    GET "/v1/state" => replicate::state,
    POST "/v1/replicate/snapshot" => replicate::snapshot,
    POST "/v1/jobs" => jobs::submit,
    GET "/v1/jobs" => jobs::list,
    GET "/v1/jobs/:id" => jobs::get,
    GET "/v1/jobs/:id/receipt" => jobs::receipt,
    POST "/v1/jobs/:id/complete" => jobs::complete,
    POST "/v1/jobs/:id/cancel" => jobs::cancel,
    GET "/v1/hosts" => hosts::list,
    POST "/v1/hosts/register" => hosts::register,
    GET "/v1/hosts/:id" => hosts::get,
    DELETE "/v1/hosts/:id" => hosts::remove,
    POST "/v1/hosts/:id/heartbeat" => hosts::heartbeat,
    POST "/v1/hosts/:id/claim" => hosts::claim,
    POST "/v1/hosts/:id/services/claim" => services::claim,
    POST "/v1/hosts/:id/services/orders" => orders::orders,
    GET "/v1/services" => services::list,
    POST "/v1/services" => services::deploy,
    GET "/v1/services/:id" => services::get,
    PATCH "/v1/services/:id" => services::patch,
    DELETE "/v1/services/:id" => services::remove,
    POST "/v1/services/:id/report" => services::report,
    GET "/v1/services/:id/logs" => logs::logs,
    PUT "/v1/blobs" => blobs::put,
    GET "/v1/blobs/:id" => blobs::get,
    HEAD "/v1/blobs/:id" => blobs::head,
    GET "/v1/network" => network::show,
    GET "/v1/network/peers" => network::peers,
    POST "/v1/network/join" => network::join,
    POST "/v1/network/forget" => network::forget,
    GET "/v1/network/members" => membership::list,
    POST "/v1/network/invites" => membership::invite,
    POST "/v1/network/revocations" => membership::revoke,
    POST "/v1/backup" => network::backup,
    POST "/v1/import" => import::import,
    POST "/v1/public/jobs" => public::submit,
    GET "/v1/public/jobs/:id" => public::get,
};

/// What all handlers share.
pub(crate) struct Api {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) keys: Vec<PublicKey>,
    pub(crate) bodies: BodyLimits,
    pub(crate) endpoint_hosts: Vec<String>,
    token: Option<Secret>,
    cors: Cors,
    metrics: HttpMetrics,
    listings: Arc<Semaphore>,
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").finish_non_exhaustive()
    }
}

impl Api {
    /// Answers with a value that may be large: made and written on a blocking thread, a few at a
    /// time, also of those whose callers have hung up meanwhile.
    pub(crate) async fn listing<T: Send + 'static>(
        &self,
        items: impl Future<Output = Result<T, ApiError>> + Send,
        show: impl FnOnce(T) -> Value + Send + 'static,
    ) -> Answered {
        let turn = Arc::clone(&self.listings).acquire_owned().await;
        let items = items.await?;
        elsewhere(true, move || {
            let response = json::answer(&show(items));
            drop(turn);
            response
        })
        .await
    }
}

/// Does `work` here, or on a blocking thread if it is `large`.
pub(crate) async fn elsewhere<T: Send + 'static>(
    large: bool,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    if !large {
        return Ok(work());
    }
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| ApiError::Internal("the request failed here"))
}

/// The API as one axum service. All routing is done by its fallback, so other routes can be added
/// beside it; such routes pass neither the token check nor the metrics of this crate.
pub fn router(backend: Arc<dyn Backend>, config: ApiConfig) -> Router {
    let api = Api {
        backend,
        keys: config.public_keys,
        bodies: BodyLimits::new(config.max_body_bytes, config.body_timeout),
        endpoint_hosts: config.endpoint_hosts,
        token: config.token,
        cors: Cors::new(&config.cors_origin),
        metrics: config.metrics,
        listings: Arc::new(Semaphore::new(LISTINGS)),
    };
    Router::new().fallback(enter).with_state(Arc::new(api))
}

/// Who may enter where; decided by the path alone.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Area {
    Open,
    Public,
    Private,
}

impl Area {
    pub(crate) fn of(path: &str) -> Self {
        match path.strip_prefix("/v1/public/jobs") {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => Self::Public,
            _ if matches!(path, "/healthz" | "/readyz" | "/metrics") => Self::Open,
            _ => Self::Private,
        }
    }
}

async fn enter(State(api): State<Arc<Api>>, request: Request) -> Response {
    let started = Instant::now();
    let (parts, body) = request.into_parts();
    let inbound = Inbound::new(&parts.headers, body);
    let area = Area::of(parts.uri.path());
    let found = find(parts.method.as_str(), parts.uri.path());
    let (method, template) =
        found.as_ref().map_or(("-", "other"), |(route, _)| (route.method, route.template));
    let answered = match admit(&api, area, &parts) {
        Ok(Some(preflight)) => Ok(preflight),
        Ok(None) => handle(&api, found, parts, inbound).await,
        Err(error) => Err(error),
    };
    let mut response = answered.unwrap_or_else(|error| {
        api.metrics.refused(error.reason());
        error.into_response()
    });
    if area == Area::Public {
        api.cors.mark(response.headers_mut());
    }
    if template == hosts::CLAIM {
        hosts::mark_claim(response.headers_mut());
    }
    api.metrics.answered(method, template, response.status().as_u16(), started.elapsed());
    response
}

async fn handle(
    api: &Arc<Api>,
    found: Option<(&'static Route, Option<String>)>,
    parts: Parts,
    inbound: Inbound,
) -> Answered {
    let (route, raw_id) = found.ok_or(ApiError::NoRoute)?;
    let mut call = Call {
        api: Arc::clone(api),
        method: route.method,
        template: route.template,
        raw_id,
        query: parts.uri.query().map(str::to_owned),
        headers: parts.headers,
        caller: parts.extensions.get::<Served>().map(|Served(caller)| *caller),
        inbound,
    };
    if let Some(answer) = import::replay(&mut call).await? {
        return Ok(answer);
    }
    // A defect behind one request must not look like a lost connection to its caller.
    AssertUnwindSafe((route.run)(call)).catch_unwind().await.unwrap_or_else(|_| {
        tracing::error!(method = route.method, route = route.template, "the handler panicked");
        Err(ApiError::Internal("the request failed here"))
    })
}

/// Decides before route and body whether the request goes on; a preflight is answered at once.
fn admit(api: &Api, area: Area, parts: &Parts) -> Result<Option<Response>, ApiError> {
    // Only where a connection was served: callers inside the process send no Host header.
    if parts.extensions.get::<Served>().is_some()
        && parts.version == Version::HTTP_11
        && !parts.headers.contains_key(header::HOST)
    {
        return Err(ApiError::NoHost);
    }
    match area {
        Area::Open => Ok(None),
        Area::Public if parts.method == Method::OPTIONS => Ok(Some(json::no_content())),
        Area::Public if api.keys.is_empty() => Err(ApiError::PublicDisabled),
        Area::Public => Ok(None),
        Area::Private => auth::check_token(api.token.as_ref(), &parts.headers).map(|()| None),
    }
}

fn find(method: &str, path: &str) -> Option<(&'static Route, Option<String>)> {
    ROUTES.iter().filter(|route| route.method == method).find_map(|route| {
        let id = matches(route.template, path)?;
        Some((route, id.map(str::to_owned)))
    })
}

/// `Some` if `path` is of the form `template`, with what stands for `:id`.
fn matches<'p>(template: &str, path: &'p str) -> Option<Option<&'p str>> {
    let mut id = None;
    let mut parts = path.split('/');
    for want in template.split('/') {
        match parts.next()? {
            got if want == ":id" && !got.is_empty() => id = Some(got),
            got if want == got => {}
            _ => return None,
        }
    }
    parts.next().is_none().then_some(id)
}
