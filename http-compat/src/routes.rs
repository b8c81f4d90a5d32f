//! Path to handler, and what happens to every request on the way.
//!
//! Always, in this order: public preflight and switch, or the shared token or a principal's key; then the
//! route, and whether the key covers it; then (public) the customer's key; then the body. Paths are matched as sent, byte for byte: no dot segments, no
//! backslashes, no empty segments are resolved, so what a proxy in front let through is what is
//! matched here.

mod blobs;
mod dashboard;
mod docs;
pub(crate) mod events;
mod health;
mod hosts;
mod import;
mod insight;
mod jobs;
pub(crate) mod logs;
pub(crate) mod membership;
mod network;
mod orders;
mod output;
mod page;
mod principals;
mod public;
mod replicate;
mod services;
pub(crate) mod sse;
mod why;

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
use skyclaw_protocol::principal::Scope;
use tokio::sync::Semaphore;
use tracing::{Instrument, Span};

use crate::auth::{PublicKey, Secret, Who};
use crate::backend::Backend;
use crate::body::{BodyLimits, Inbound};
use crate::call::Call;
use crate::config::{ApiConfig, JoinTrace};
use crate::cors::Cors;
use crate::error::ApiError;
use crate::followers::Followers;
use crate::json;
use crate::metrics::HttpMetrics;
use crate::quota::Quotas;
use crate::serve::Served;
use crate::span;

/// Whole listings rendered at once; each may hold every job of the node in memory.
const LISTINGS: usize = 4;

type Answered = Result<Response, ApiError>;

pub(crate) struct Route {
    pub(crate) method: &'static str,
    pub(crate) template: &'static str,
    pub(crate) needs: Needs,
    run: fn(Call) -> BoxFuture<'static, Answered>,
}

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    /// Whoever asks.
    Nothing,
    /// Customers; which one, the handler looks up.
    CustomerKey,
    /// All who know the token, and principals with one of these scopes.
    Scope(&'static [Scope]),
}

/// Whoever is let in at all.
pub(crate) const ANY: Needs = Needs::Scope(&Scope::ALL);
const ADMIN: Needs = Needs::Scope(&[Scope::Admin]);
const HOST: Needs = Needs::Scope(&[Scope::Host]);
const READ: Needs = Needs::Scope(&[Scope::Read]);
const SUBMIT: Needs = Needs::Scope(&[Scope::Submit]);
const DEPLOY: Needs = Needs::Scope(&[Scope::Deploy]);
/// Its own jobs, or all.
const JOBS: Needs = Needs::Scope(SEE_JOBS);
const SEE_JOBS: &[Scope] = &[Scope::Submit, Scope::Read];
/// Its own services, or all.
const SERVICES: Needs = Needs::Scope(SEE_SERVICES);
const SEE_SERVICES: &[Scope] = &[Scope::Deploy, Scope::Read];
const EVENTS: Needs = Needs::Scope(events::SCOPES);
/// Whoever sends files along, or brings them back.
const FILES: Needs = Needs::Scope(&[Scope::Submit, Scope::Deploy, Scope::Host]);

macro_rules! routes {
    ($($method:ident $template:literal, $needs:expr => $handler:path,)*) => {
        &[$(Route {
            method: stringify!($method),
            template: $template,
            needs: $needs,
            run: |call| Box::pin($handler(call)),
        },)*]
    };
}

/// Every route there is, and who may use it. `crate::openapi` describes each of them.
pub(crate) static ROUTES: &[Route] = routes! {
    GET "/healthz", Needs::Nothing => health::alive,
    GET "/readyz", Needs::Nothing => health::ready,
    GET "/metrics", Needs::Nothing => health::metrics,
    GET "/health", ANY => health::named,
    GET "/", Needs::Nothing => dashboard::page,
    GET "/dashboard/:id", Needs::Nothing => dashboard::file,
    GET "/dashboard/views/:id", Needs::Nothing => dashboard::view,
    GET "/docs", Needs::Nothing => docs::index,
    GET "/docs/:id", Needs::Nothing => docs::file,
    GET "/openapi.json", Needs::Nothing => docs::whole,
    GET "/openapi/public.json", Needs::Nothing => docs::public,
    GET "/v1/state", READ => replicate::state,
    POST "/v1/replicate/snapshot", ADMIN => replicate::snapshot,
    POST "/v1/jobs", SUBMIT => jobs::submit,
    GET "/v1/jobs", JOBS => jobs::list,
    GET "/v1/jobs/:id", JOBS => jobs::get,
    GET "/v1/jobs/:id/why", JOBS => why::job,
    GET "/v1/jobs/:id/receipt", JOBS => jobs::receipt,
    GET "/v1/jobs/:id/logs", JOBS => output::private,
    POST "/v1/jobs/:id/complete", HOST => jobs::complete,
    POST "/v1/jobs/:id/cancel", SUBMIT => jobs::cancel,
    GET "/v1/hosts", READ => hosts::list,
    POST "/v1/hosts/register", HOST => hosts::register,
    GET "/v1/hosts/:id", Needs::Scope(&[Scope::Read, Scope::Host]) => hosts::get,
    GET "/v1/hosts/:id/why", READ => why::host,
    DELETE "/v1/hosts/:id", HOST => hosts::remove,
    POST "/v1/hosts/:id/heartbeat", HOST => hosts::heartbeat,
    POST "/v1/hosts/:id/claim", HOST => hosts::claim,
    POST "/v1/hosts/:id/services/claim", HOST => services::claim,
    POST "/v1/hosts/:id/services/orders", HOST => orders::orders,
    GET "/v1/services", SERVICES => services::list,
    POST "/v1/services", DEPLOY => services::deploy,
    GET "/v1/services/:id", SERVICES => services::get,
    PATCH "/v1/services/:id", DEPLOY => services::patch,
    DELETE "/v1/services/:id", DEPLOY => services::remove,
    POST "/v1/services/:id/report", HOST => services::report,
    GET "/v1/services/:id/logs", SERVICES => logs::logs,
    GET "/v1/services/:id/why", SERVICES => why::service,
    GET "/v1/services/:id/routes/why", SERVICES => why::route,
    PUT "/v1/blobs", FILES => blobs::put,
    GET "/v1/blobs/:id", FILES => blobs::get,
    HEAD "/v1/blobs/:id", FILES => blobs::head,
    GET "/v1/status", READ => insight::status,
    GET "/v1/events", EVENTS => events::events,
    // Also whoever looks for a gateway to what it deployed.
    GET "/v1/network", SERVICES => network::show,
    GET "/v1/network/peers", Needs::Scope(&[Scope::Read, Scope::Host]) => network::peers,
    GET "/v1/network/peers/:id/metrics", READ => health::metrics_of,
    POST "/v1/network/join", ADMIN => network::join,
    POST "/v1/network/forget", ADMIN => network::forget,
    GET "/v1/network/members", READ => membership::list,
    POST "/v1/network/invites", ADMIN => membership::invite,
    POST "/v1/network/revocations", ADMIN => membership::revoke,
    POST "/v1/backup", ADMIN => network::backup,
    POST "/v1/import", ADMIN => import::import,
    GET "/v1/principals", ADMIN => principals::list,
    POST "/v1/principals", ADMIN => principals::make,
    DELETE "/v1/principals/:id", ADMIN => principals::revoke,
    POST "/v1/public/jobs", Needs::CustomerKey => public::submit,
    GET "/v1/public/jobs/:id", Needs::CustomerKey => public::get,
    GET "/v1/public/jobs/:id/logs", Needs::CustomerKey => output::public,
    POST "/v1/public/jobs/:id/cancel", Needs::CustomerKey => public::cancel,
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
    join_trace: Option<JoinTrace>,
    pub(crate) quotas: Quotas,
    listings: Arc<Semaphore>,
    pub(crate) followers: Arc<Followers>,
    /// Those who read what jobs and services write: each may hold tunnels to hosts.
    pub(crate) readers: Arc<Followers>,
    /// The same of the public API, so that customers take no place of others.
    pub(crate) customers: Arc<Followers>,
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
        join_trace: config.join_trace,
        quotas: Quotas::default(),
        listings: Arc::new(Semaphore::new(LISTINGS)),
        followers: Arc::default(),
        readers: Arc::default(),
        customers: Arc::default(),
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
            _ if is_probe(path) => Self::Open,
            _ if dashboard::is_file(path) || docs::is_file(path) => Self::Open,
            _ => Self::Private,
        }
    }
}

/// Asked for all the time, by whoever watches a node.
fn is_probe(path: &str) -> bool {
    matches!(path, "/healthz" | "/readyz" | "/metrics")
}

async fn enter(State(api): State<Arc<Api>>, request: Request) -> Response {
    let started = Instant::now();
    let (parts, body) = request.into_parts();
    let inbound = Inbound::new(&parts.headers, body);
    let (method, path) = (parts.method.as_str(), parts.uri.path());
    let area = match Area::of(path) {
        // What is no file of theirs is any path, and asked for as the original has it.
        _ if dashboard::lacks(method, path, &parts.headers) || docs::lacks(method, path) => {
            Area::Private
        }
        area => area,
    };
    let found = find(method, path);
    let (method, template) =
        found.as_ref().map_or(("-", "other"), |(route, _)| (route.method, route.template));
    let span = match is_probe(path) {
        true => Span::none(),
        false => span::of_request(method, template),
    };
    let admitted = admit(&api, area, &parts);
    // Elsewhere nobody was asked who he is.
    if area == Area::Private
        && let Ok(Admitted::In(who)) = &admitted
    {
        span::join(&span, who, &parts.headers, api.join_trace);
    }
    let answered = async {
        match admitted {
            Ok(Admitted::Answered(preflight)) => Ok(preflight),
            Ok(Admitted::In(who)) => handle(&api, found, who, parts, inbound).await,
            Err(error) => Err(error),
        }
    };
    let answered = answered.instrument(span.clone()).await;
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
    span::answered(&span, response.status());
    api.metrics.answered(method, template, response.status().as_u16(), started.elapsed());
    response
}

async fn handle(
    api: &Arc<Api>,
    found: Option<(&'static Route, Option<String>)>,
    who: Who,
    parts: Parts,
    inbound: Inbound,
) -> Answered {
    let (route, raw_id) = found.ok_or(ApiError::NoRoute)?;
    if let Needs::Scope(scopes) = route.needs
        && !who.may(scopes)
    {
        return Err(ApiError::Forbidden(scopes));
    }
    let served = parts.extensions.get::<Served>().cloned();
    let mut call = Call {
        api: Arc::clone(api),
        method: route.method,
        template: route.template,
        raw_id,
        query: parts.uri.query().map(str::to_owned),
        headers: parts.headers,
        caller: served.as_ref().map(|served| served.caller),
        stop: served.map(|served| served.stop).unwrap_or_default(),
        inbound,
        who,
    };
    // Originals knew no principals.
    if call.who.principal().is_none()
        && let Some(answer) = import::replay(&mut call).await?
    {
        return Ok(answer);
    }
    // A defect behind one request must not look like a lost connection to its caller.
    AssertUnwindSafe((route.run)(call)).catch_unwind().await.unwrap_or_else(|_| {
        tracing::error!(method = route.method, route = route.template, "the handler panicked");
        Err(ApiError::Internal("the request failed here"))
    })
}

/// What was decided of a request before its route.
enum Admitted {
    /// It goes on, as this one's.
    In(Who),
    /// It is answered.
    Answered(Response),
}

/// Decides before route and body whether the request goes on; a preflight is answered at once.
fn admit(api: &Api, area: Area, parts: &Parts) -> Result<Admitted, ApiError> {
    // Only where a connection was served: callers inside the process send no Host header.
    if parts.extensions.get::<Served>().is_some()
        && parts.version == Version::HTTP_11
        && !parts.headers.contains_key(header::HOST)
    {
        return Err(ApiError::NoHost);
    }
    match area {
        Area::Open => Ok(Admitted::In(Who::Open)),
        Area::Public if parts.method == Method::OPTIONS => {
            Ok(Admitted::Answered(json::no_content()))
        }
        Area::Public if api.keys.is_empty() => Err(ApiError::PublicDisabled),
        Area::Public => Ok(Admitted::In(Who::Open)),
        Area::Private => {
            Who::find(api.token.as_ref(), &*api.backend, &parts.headers).map(Admitted::In)
        }
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

#[cfg(test)]
mod tests;
