//! The table as coordinators tell it, the original's and ours: the answer to `GET /v1/services`.

use serde::Deserialize;
use serde_json::Value;
use skyclaw_protocol::{HostId, ServiceId};

use super::table::{Endpoint, EndpointId, HttpPlace, Route, Table};

/// Why an answer is no list of services.
#[derive(Debug, thiserror::Error)]
#[error("the answer is no list of services: {0}")]
pub struct BadAnswer(#[from] serde_json::Error);

#[derive(Deserialize)]
struct Answer {
    services: Vec<Service>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Service {
    id: String,
    name: String,
    #[serde(default)]
    created_at: String,
    health: Option<Health>,
    #[serde(default)]
    assignments: Vec<Assignment>,
}

/// Of our coordinators' services.
#[derive(Deserialize)]
struct Health {
    #[serde(default)]
    path: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Assignment {
    #[serde(default)]
    host_id: String,
    #[serde(default)]
    status: String,
    endpoint: Option<String>,
}

impl Table {
    /// Reads the answer of a coordinator. Services and assignments that cannot be (an id of 300
    /// bytes, an address that is no http URL) are left out.
    ///
    /// # Errors
    /// If it is no such answer at all.
    pub fn of_answer(answer: Value) -> Result<Self, BadAnswer> {
        let Answer { mut services } = serde_json::from_value(answer)?;
        // Stamps of that form sort as the moments they name. The sort is stable: where stamps are
        // missing, the order of the answer decides, which is that of creation too.
        services.sort_by(|a, b| a.created_at.cmp(&b.created_at));
        Ok(Self::of_routes(services.into_iter().filter_map(route).collect()))
    }
}

fn route(service: Service) -> Option<Route> {
    let id = ServiceId::new(service.id).ok()?;
    let running = service.assignments.into_iter().filter(|it| it.status == "running");
    let endpoints = running.filter_map(|it| {
        let url = it.endpoint?;
        let http = HttpPlace::parse(&url).ok()?;
        let host = HostId::new(it.host_id).or_else(|_| HostId::new("unknown")).ok()?;
        let id = EndpointId { service: id.clone(), epoch: 0, url: Some(url), node: None };
        Some(Endpoint { id, host, slot: 0, http: Some(http), node: None })
    });
    let endpoints = endpoints.collect();
    let health = service.health.and_then(|health| health.path);
    Some(Route::new(id, service.name, health, endpoints))
}
