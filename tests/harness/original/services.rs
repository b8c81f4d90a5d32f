//! Services of an original (CONTRACT 3: S): one at a time per host, for ever (F10, F11, F36).

use serde_json::{Value, json};
use uuid::Uuid;

use super::tables::{Tables, at_least_one, capabilities, meets, now, trimmed, without};

impl Tables {
    /// S1-S5. Name and command were checked.
    pub(super) fn deploy(&mut self, body: &Value) -> Value {
        let made = || format!("svc_{}", Uuid::new_v4());
        let now = now();
        let required = match &body["requiredCapabilities"] {
            Value::Null => json!(["service-host"]),
            list => capabilities(list),
        };
        let args = if body["args"].is_null() { json!([]) } else { body["args"].clone() };
        let mut service = json!({
            "id": trimmed(body, "serviceId").unwrap_or_else(made),
            "name": trimmed(body, "name"), "command": trimmed(body, "command"), "args": args,
            "replicas": at_least_one(&body["replicas"]), "requiredCapabilities": required,
            "status": "pending", "createdAt": now, "updatedAt": now, "assignments": [],
        });
        for name in ["cwd", "env"] {
            if let Some(value) = body.get(name) {
                service[name] = value.clone();
            }
        }
        self.stamp(&mut service);
        self.services.put(service.clone());
        service
    }

    /// S8-S12: what the host has and has not failed at, unchanged; else a free place.
    pub(super) fn claim_service(&mut self, host: &str) -> Result<Value, String> {
        let record = self.known_host(host)?;
        let all = self.services.by_creation()?;
        let fitting = all.into_iter().filter(|one| meets(&record, &one["requiredCapabilities"]));
        let fitting: Vec<Value> = fitting.cloned().collect();
        let own =
            |service: &Value| assigned(service, host).map(|at| service["assignments"][at].clone());
        let held = fitting.iter().find(|one| own(one).is_some_and(|own| own["status"] != "failed"));
        if let Some(service) = held {
            return Ok(service.clone());
        }
        for mut service in fitting {
            let count = service["assignments"].as_array().map_or(0, Vec::len);
            let full = service["replicas"].as_f64().is_some_and(|most| count as f64 >= most);
            if full || own(&service).is_some() {
                continue;
            }
            let now = now();
            let place = json!({ "hostId": host, "status": "pending", "updatedAt": now });
            if let Some(all) = service["assignments"].as_array_mut() {
                all.push(place);
            }
            self.change_service(&mut service);
            return Ok(service);
        }
        Ok(Value::Null)
    }

    /// S13-S17.
    pub(super) fn report(&mut self, id: &str, body: &Value) -> Result<Value, String> {
        let service = self.services.get(id).cloned();
        let mut service = service.ok_or_else(|| format!("unknown service: {id}"))?;
        let host = body["hostId"].as_str().unwrap_or("undefined");
        let Some(at) = assigned(&service, host) else {
            return Err(format!("service {id} is not assigned to host {host}"));
        };
        let place = &mut service["assignments"][at];
        without(place, &["endpoint", "error"]);
        for name in ["status", "endpoint", "error"] {
            if let Some(value) = body.get(name) {
                place[name] = value.clone();
            }
        }
        place["updatedAt"] = json!(now());
        if body["status"] == "running" && place.get("startedAt").is_none() {
            place["startedAt"] = json!(now());
        }
        let any = |status: &str| {
            let all = service["assignments"].as_array();
            all.is_some_and(|all| all.iter().any(|one| one["status"] == status))
        };
        let status = ["running", "pending"].into_iter().find(|status| any(status));
        service["status"] = json!(status.unwrap_or("failed"));
        self.change_service(&mut service);
        Ok(service)
    }

    pub(super) fn change_service(&mut self, service: &mut Value) {
        service["updatedAt"] = json!(now());
        self.stamp(service);
        self.services.put(service.clone());
    }
}

fn assigned(service: &Value, host: &str) -> Option<usize> {
    service["assignments"].as_array()?.iter().position(|one| one["hostId"] == host)
}
