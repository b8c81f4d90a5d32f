//! Services over HTTP: orders where the coordinator is one of ours, claims where it is an original
//! one.
//!
//! An original coordinator names one service at a time, and nothing by which an instance could be
//! told from another. Here a service that it gave is an instance named by its creation, so that a
//! redeployed one is another; what it gave once runs until a later creation is given or a report
//! is refused, since the original ends nothing.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use skyclaw_protocol::egress::NetworkAsk;
use skyclaw_protocol::orders::{Order, Orders, Over, Question};
use skyclaw_protocol::{Hash, HealthCheck, OnPartition, ServiceDef, ServiceId, ServiceReport};

use super::{HttpCoordinator, PATIENCE, together, unexpected};
use crate::client::segment;
use crate::host::{PortError, orders_patience};

/// Services remembered of original coordinators: more than a host runs.
const MAX_GIVEN: usize = 1024;

/// How long between checks of an instance whose coordinator names no interval, in milliseconds.
const INTERVAL_MS: u64 = 10_000;

/// What original coordinators gave.
#[derive(Debug, Default)]
pub(super) struct Given(Mutex<BTreeMap<ServiceId, Gift>>);

#[derive(Clone, Copy, Debug)]
struct Gift {
    created: u64,
    /// A report of it was refused.
    refused: bool,
}

impl Given {
    fn all(&self) -> MutexGuard<'_, BTreeMap<ServiceId, Gift>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_given(&self, id: &ServiceId, epoch: Option<u64>) -> bool {
        self.all().get(id).is_some_and(|gift| Some(gift.created) == epoch)
    }

    fn refused(&self, id: &ServiceId) {
        if let Some(gift) = self.all().get_mut(id) {
            gift.refused = true;
        }
    }

    /// What an answer to a claim amounts to.
    fn orders(
        &self,
        service: Option<(ServiceId, u64, ServiceDef)>,
        running: &[ServiceId],
    ) -> Orders {
        let mut all = self.all();
        let mut orders = Orders::default();
        if let Some((id, created, def)) = service
            && (all.len() < MAX_GIVEN || all.contains_key(&id))
        {
            all.insert(id.clone(), Gift { created, refused: false });
            orders.orders.push(Order {
                id,
                ver: created,
                slot: 0,
                epoch: created,
                generation: created,
                def,
            });
        }
        let over = all.iter().filter(|(id, gift)| gift.refused && running.contains(id));
        orders.over = over.map(|(id, gift)| Over { id: id.clone(), ver: gift.created }).collect();
        all.retain(|id, gift| !gift.refused || running.contains(id));
        orders
    }
}

impl HttpCoordinator {
    pub(super) async fn ask_orders(&self, question: Question) -> Result<Orders, PortError> {
        let wait = question.wait();
        let Question { host, running, mark, wait_ms } = question;
        let mut body = json!({ "running": running, "waitMs": wait_ms });
        if let Some(mark) = mark {
            body["mark"] = mark.hex().into();
        }
        let host = segment(host.as_str()).to_string();
        let (orders, claim) = (
            format!("/v1/hosts/{host}/services/orders"),
            format!("/v1/hosts/{host}/services/claim"),
        );
        let first = self.last_good.load(Ordering::Relaxed);
        let patience = wait + orders_patience(wait);
        let mut errors = Vec::new();
        for turn in 0..self.urls.len() {
            let index = (first + turn) % self.urls.len();
            let url = &self.urls[index];
            let told = match self.ask_one(url, &orders, body.to_string(), &[], patience).await {
                Ok(answer) => read_orders(&answer.body),
                // An original coordinator, or an older one, which does not know the route.
                Err(PortError::Refused { status: 404 | 405, .. }) => {
                    let claimed = self.ask_one(url, &claim, "{}".into(), &[], PATIENCE).await;
                    claimed.and_then(|answer| {
                        let service = answer.body.get("service").filter(|one| !one.is_null());
                        let service = service.map(read_service).transpose()?;
                        Ok(self.given.orders(service, &running))
                    })
                }
                Err(error) => Err(error),
            };
            match told {
                Ok(orders) => {
                    self.last_good.store(index, Ordering::Relaxed);
                    return Ok(orders);
                }
                Err(error) => errors.push(error),
            }
        }
        Err(together(errors))
    }

    pub(super) async fn tell_report(&self, report: ServiceReport) -> Result<(), PortError> {
        let ServiceReport { id, host, status, endpoint, error, epoch, node: _ } = report;
        let mut body = json!({ "hostId": host, "status": status.as_str() });
        if let Some(endpoint) = endpoint {
            body["endpoint"] = endpoint.into();
        }
        if let Some(error) = error {
            body["error"] = error.into();
        }
        let given = self.given.is_given(&id, epoch);
        if let Some(epoch) = epoch.filter(|_| !given) {
            body["epoch"] = epoch.into();
        }
        let path = format!("/v1/services/{}/report", segment(id.as_str()));
        match self.ask(&path, &body, &[], PATIENCE).await {
            Ok(_) => Ok(()),
            Err(PortError::Refused { status, text, unanimous }) => {
                if text.contains("unknown service") {
                    // It may not have come there yet.
                    return Err(PortError::Unavailable(text));
                }
                if given {
                    self.given.refused(&id);
                }
                Err(PortError::Refused { status, text, unanimous })
            }
            Err(error) => Err(error),
        }
    }
}

fn number(of: &Value, name: &str) -> Result<u64, PortError> {
    of.get(name).and_then(Value::as_u64).ok_or_else(|| unexpected(&format!("no {name}")))
}

fn service_id(of: &Value, name: &str) -> Result<ServiceId, PortError> {
    let text = of.get(name).and_then(Value::as_str);
    let text = text.ok_or_else(|| unexpected(&format!("no {name}")))?;
    ServiceId::new(text).map_err(|error| unexpected(&error.to_string()))
}

fn read_orders(body: &Value) -> Result<Orders, PortError> {
    let list = |name: &str| {
        let list = body.get(name).and_then(Value::as_array);
        list.ok_or_else(|| unexpected(&format!("no {name}")))
    };
    let order = |one: &Value| {
        let slot = u32::try_from(number(one, "slot")?).map_err(|_| unexpected("slot"))?;
        Ok(Order {
            id: service_id(one, "serviceId")?,
            ver: number(one, "ver")?,
            slot,
            epoch: number(one, "epoch")?,
            generation: number(one, "generation")?,
            def: read_def(one)?,
        })
    };
    let over = |one: &Value| Ok(Over { id: service_id(one, "id")?, ver: number(one, "ver")? });
    Ok(Orders {
        orders: list("orders")?.iter().map(order).collect::<Result<_, PortError>>()?,
        over: list("over")?.iter().map(over).collect::<Result<_, PortError>>()?,
    })
}

/// The service of a claim's answer: its id, its creation in milliseconds, what it runs.
fn read_service(service: &Value) -> Result<(ServiceId, u64, ServiceDef), PortError> {
    let created = service.get("createdAt").and_then(Value::as_str);
    let created = created.and_then(|text| text.parse::<Timestamp>().ok());
    let created = created.and_then(|at| u64::try_from(at.as_millisecond()).ok()).unwrap_or(0);
    Ok((service_id(service, "id")?, created, read_def(service)?))
}

/// What a service runs. A member that is not what it should be fails the whole, rather than that
/// something else is run than was meant.
fn read_def(of: &Value) -> Result<ServiceDef, PortError> {
    let member = |name: &str| of.get(name).filter(|value| !value.is_null());
    let text = |name: &str| match member(name) {
        None => Ok(None),
        Some(value) => {
            value.as_str().map(|text| Some(text.to_owned())).ok_or_else(|| unexpected(name))
        }
    };
    let texts = |name: &str| -> Result<Vec<String>, PortError> {
        let Some(list) = member(name) else { return Ok(Vec::new()) };
        let list = list.as_array().ok_or_else(|| unexpected(name))?;
        list.iter()
            .map(|one| one.as_str().map(str::to_owned).ok_or_else(|| unexpected(name)))
            .collect()
    };
    let env = match member("env") {
        None => None,
        Some(env) => {
            let env = env.as_object().ok_or_else(|| unexpected("env"))?;
            let pair = |(name, value): (&String, &Value)| {
                let value = value.as_str().ok_or_else(|| unexpected("env"))?;
                Ok((name.clone(), value.to_owned()))
            };
            Some(env.iter().map(pair).collect::<Result<_, PortError>>()?)
        }
    };
    let bundle = text("bundle")?.map(|text| Hash::parse(&text).map_err(|_| unexpected("bundle")));
    let health = member("health").map(|health| {
        let path = health.get("path").and_then(Value::as_str).unwrap_or("/").to_owned();
        let interval_ms = health.get("intervalMs").and_then(Value::as_u64).unwrap_or(INTERVAL_MS);
        HealthCheck { path, interval_ms }
    });
    let replicas = member("replicas").and_then(Value::as_u64).unwrap_or(1);
    let network = member("network").map(NetworkAsk::deserialize).transpose();
    Ok(ServiceDef {
        network: network.map_err(|_| unexpected("network"))?,
        name: text("name")?.unwrap_or_default(),
        command: text("command")?.ok_or_else(|| unexpected("no command"))?,
        args: texts("args")?,
        cwd: text("cwd")?,
        env,
        replicas: u32::try_from(replicas).unwrap_or(u32::MAX),
        required: texts("requiredCapabilities")?,
        bundle: bundle.transpose()?,
        health,
        backoff_ms: of.pointer("/restart/backoffMs").and_then(Value::as_u64),
        on_partition: text("onPartition")?
            .and_then(|word| OnPartition::parse(&word))
            .unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_of_an_original_coordinator_is_an_instance_named_by_its_creation() {
        let answer = json!({
            "id": "svc_1", "name": "web", "command": "node", "args": ["x"], "replicas": 1,
            "requiredCapabilities": [], "status": "pending",
            "createdAt": "2026-01-02T03:04:05.678Z", "env": {"A": "1"},
        });
        let given = Given::default();
        let (id, created, def) = read_service(&answer).unwrap();
        assert_eq!(created, 1_767_323_045_678);
        let orders = given.orders(Some((id.clone(), created, def)), &[]);
        assert_eq!((orders.orders[0].epoch, orders.orders[0].ver), (created, created));
        assert_eq!(orders.orders[0].def.env, Some(vec![("A".into(), "1".into())]));
        assert!(given.is_given(&id, Some(created)) && !given.is_given(&id, Some(7)));
        // Nothing is over while its reports are taken, though it is not named any more.
        let running = [id.clone()];
        assert_eq!(given.orders(None, &running), Orders::default());
        given.refused(&id);
        assert_eq!(given.orders(None, &running).over, [Over { id: id.clone(), ver: created }]);
        assert_eq!(given.orders(None, &[]), Orders::default());
        assert!(!given.is_given(&id, Some(created)));
    }

    #[test]
    fn a_definition_that_is_not_what_it_should_be_is_refused_whole() {
        for wrong in [
            json!({}),
            json!({"command": 1}),
            json!({"command": "c", "args": "x"}),
            json!({"command": "c", "args": [1]}),
            json!({"command": "c", "env": {"A": 1}}),
            json!({"command": "c", "bundle": "zz"}),
        ] {
            assert!(read_def(&wrong).is_err(), "{wrong}");
        }
    }
}
