//! What can be reached: services by name and id, and the endpoints of each.
//!
//! Always: an id belongs to its service, whatever names say; a name belongs to the service that was
//! created first and to nobody else, also while that one has no endpoint (F33). Endpoints are
//! distinct and sorted as text.

use std::collections::HashMap;
use std::sync::Arc;

use skyclaw_protocol::{Assignment, HostId, NodeId, ServiceId, ServiceStatus, ServiceView};
use url::{Host, Url};

/// Endpoints of one service that are used; services have at most that many instances, a table
/// from elsewhere may say anything.
const MAX_ENDPOINTS: usize = 1_024;

/// What tells one endpoint from all others, also over changes of the table.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointId {
    /// The service.
    pub service: ServiceId,
    /// The instance; 0 where instances have no numbers.
    pub epoch: u64,
    /// Its address, if it has one of its own.
    pub url: Option<String>,
    /// The node through which it is reached, if there is one.
    pub node: Option<NodeId>,
}

/// One instance of a service and where it answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its identity.
    pub id: EndpointId,
    /// The host that runs it.
    pub host: HostId,
    /// Which of the wanted instances it is.
    pub slot: u32,
    /// Reached over plain TCP, preferred.
    pub http: Option<HttpPlace>,
    /// Reached by a tunnel to this node.
    pub node: Option<NodeId>,
}

impl Endpoint {
    /// The name by which answers and errors call it: `host/slot/epoch`, or `host` alone where
    /// instances have no numbers. Only characters that may stand in a header.
    #[must_use]
    pub fn replica(&self) -> String {
        match self.id.epoch {
            0 => self.place(),
            epoch => format!("{}/{epoch}", self.place()),
        }
    }

    /// The same whichever run of the instance it is: `host/slot`, or `host` alone.
    #[must_use]
    pub fn place(&self) -> String {
        let host = percent_encoding::utf8_percent_encode(self.host.as_str(), UNSAFE);
        match self.id.epoch {
            0 => host.to_string(),
            _ => format!("{host}/{}", self.slot),
        }
    }
}

/// What is escaped in the name of a replica: what ends the name or may not stand in a header.
const UNSAFE: &percent_encoding::AsciiSet =
    &percent_encoding::CONTROLS.add(b' ').add(b'/').add(b';').add(b'%').add(b'"').add(b',');

/// Where an endpoint answers plain HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpPlace {
    /// Name or address to connect to, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// What requests carry as Host.
    pub authority: String,
    /// Stands before each path; empty or begins with a slash and ends with none.
    pub prefix: String,
}

/// Why an address is none that the gateway can use.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadUrl {
    /// It is no URL.
    #[error("not a url")]
    NoUrl,
    /// It asks for something else than plain HTTP.
    #[error("only http urls are supported")]
    Scheme,
    /// It carries a user or a password.
    #[error("a url must not carry credentials")]
    Credentials,
}

impl HttpPlace {
    /// Reads an address. One trailing slash is dropped, a path stays, query and fragment go.
    ///
    /// # Errors
    /// If it is no plain http URL.
    pub fn parse(text: &str) -> Result<Self, BadUrl> {
        let url = Url::parse(text.trim()).map_err(|_| BadUrl::NoUrl)?;
        if url.scheme() != "http" {
            return Err(BadUrl::Scheme);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(BadUrl::Credentials);
        }
        let (host, shown) = match url.host().ok_or(BadUrl::NoUrl)? {
            Host::Domain(name) => (name.to_owned(), name.to_owned()),
            Host::Ipv4(ip) => (ip.to_string(), ip.to_string()),
            Host::Ipv6(ip) => (ip.to_string(), format!("[{ip}]")),
        };
        let authority = match url.port() {
            Some(port) => format!("{shown}:{port}"),
            None => shown,
        };
        let path = url.path();
        Ok(Self {
            host,
            port: url.port().unwrap_or(80),
            authority,
            prefix: path.strip_suffix('/').unwrap_or(path).to_owned(),
        })
    }
}

/// A service and its endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Its id.
    pub id: ServiceId,
    /// Its name, whether or not the name leads to it.
    pub name: String,
    /// What a check asks for, if the service says so.
    pub health_path: Option<String>,
    /// Where it answers: distinct, sorted as text.
    pub endpoints: Vec<Arc<Endpoint>>,
}

impl Route {
    /// A service with those endpoints: of equal addresses the latest instance stays, and no more
    /// than [`MAX_ENDPOINTS`].
    pub(super) fn new(
        id: ServiceId,
        name: String,
        health_path: Option<String>,
        mut endpoints: Vec<Endpoint>,
    ) -> Self {
        let place = |endpoint: &Endpoint| {
            // An address is one place whoever reports it; a node is a place for each instance.
            let epoch = endpoint.id.url.is_none().then_some(endpoint.id.epoch);
            (endpoint.id.url.clone(), endpoint.id.node.filter(|_| epoch.is_some()), epoch)
        };
        endpoints.sort_by(|a, b| place(a).cmp(&place(b)).then_with(|| b.id.epoch.cmp(&a.id.epoch)));
        endpoints.dedup_by(|later, first| place(later) == place(first));
        endpoints.truncate(MAX_ENDPOINTS);
        Self { id, name, health_path, endpoints: endpoints.into_iter().map(Arc::new).collect() }
    }
}

/// Which keys lead to which service.
#[derive(Clone, Debug, Default)]
pub struct Table {
    routes: Vec<Arc<Route>>,
    by_key: HashMap<String, usize>,
    /// Names in lower case, for hosts have no other.
    by_host: HashMap<String, usize>,
}

impl Table {
    /// The table of services as the network knows them: an instance counts if it was last reported
    /// running and has an address or a node.
    #[must_use]
    pub fn of_views(services: &[ServiceView]) -> Self {
        let mut services: Vec<&ServiceView> = services.iter().collect();
        services.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
        Self::of_routes(services.into_iter().map(route).collect())
    }

    /// The table of services in the order in which they were created.
    #[must_use]
    pub fn of_routes(routes: Vec<Route>) -> Self {
        let mut by_key = HashMap::new();
        let mut by_host = HashMap::new();
        for (at, route) in routes.iter().enumerate() {
            by_key.entry(route.id.as_str().to_owned()).or_insert(at);
        }
        for (at, route) in routes.iter().enumerate() {
            // Not over an id, not over an older name.
            by_key.entry(route.name.clone()).or_insert(at);
            if by_key.get(&route.name) == Some(&at) {
                by_host.entry(route.name.to_lowercase()).or_insert(at);
            }
        }
        Self { routes: routes.into_iter().map(Arc::new).collect(), by_key, by_host }
    }

    /// All services.
    #[must_use]
    pub fn routes(&self) -> &[Arc<Route>] {
        &self.routes
    }

    /// The service that a name or id leads to.
    #[must_use]
    pub fn find(&self, key: &str) -> Option<&Arc<Route>> {
        self.by_key.get(key).and_then(|&at| self.routes.get(at))
    }

    /// The keys that lead somewhere, sorted: names and ids of services with an endpoint.
    #[must_use]
    pub fn served(&self) -> Vec<&str> {
        let leads = |at: usize| self.routes.get(at).is_some_and(|it| !it.endpoints.is_empty());
        let mut keys: Vec<&str> =
            self.by_key.iter().filter(|&(_, &at)| leads(at)).map(|(key, _)| key.as_str()).collect();
        keys.sort_unstable();
        keys
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = (&String, usize)> {
        self.by_key.iter().map(|(key, &at)| (key, at))
    }

    pub(super) fn hosts(&self) -> impl Iterator<Item = (&String, usize)> {
        self.by_host.iter().map(|(key, &at)| (key, at))
    }
}

/// Why an instance is no endpoint.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreached {
    /// It was not last reported running.
    #[error("it is {}, not running", .0.as_str())]
    NotRunning(ServiceStatus),
    /// It has no address of its own, and no node through which it is reached.
    #[error("its host told no address, and is not attached over libp2p")]
    NoPlace,
    /// Its address is none.
    #[error("its address cannot be used: {0}")]
    BadUrl(#[from] BadUrl),
}

/// Where an instance answers.
///
/// # Errors
/// If it is passed over.
pub fn endpoint(service: &ServiceId, part: &Assignment) -> Result<Endpoint, Unreached> {
    if part.status != ServiceStatus::Running {
        return Err(Unreached::NotRunning(part.status));
    }
    let http = match part.endpoint.as_deref().map(HttpPlace::parse) {
        Some(Ok(place)) => Some(place),
        // It has another way.
        Some(Err(_)) | None if part.node.is_some() => None,
        Some(Err(bad)) => return Err(bad.into()),
        None => return Err(Unreached::NoPlace),
    };
    Ok(Endpoint {
        id: EndpointId {
            service: service.clone(),
            epoch: part.epoch,
            url: http.is_some().then(|| part.endpoint.clone()).flatten(),
            node: part.node,
        },
        host: part.host.clone(),
        slot: part.slot,
        http,
        node: part.node,
    })
}

fn route(service: &ServiceView) -> Route {
    let endpoints = service.assignments.iter().filter_map(|part| endpoint(&service.id, part).ok());
    let health = service.def.health.as_ref().map(|health| health.path.clone());
    Route::new(service.id.clone(), service.def.name.clone(), health, endpoints.collect())
}
