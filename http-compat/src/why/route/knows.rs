//! What gateways know of a service, as their metrics tell it.
//!
//! Always: it is the word of that gateway, which nobody checked: it is bounded, and shown on one line.

use skyclaw_protocol::ServiceId;

use crate::why::words::one_line;

/// Instances passed over that are read of one gateway; people read them.
const MOST: usize = 100;

/// A gateway and what it told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// Its peer id; none of one in this very node, while libp2p is off.
    pub peer_id: Option<String>,
    /// What it knows, or why it did not tell.
    pub told: Result<Knows, String>,
}

/// What it knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Knows {
    /// Seconds since a coordinator told it its table, or that it is as it was.
    pub table_age_s: u64,
    /// Instances of the service in that table; none if it tells of other services only, having too many.
    pub endpoints: Option<u64>,
    /// Those that it passes over.
    pub passes_over: Vec<Ejected>,
}

/// An instance that a gateway passes over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ejected {
    /// `host/slot/epoch`, or the host alone.
    pub instance: String,
    /// For how long still, in seconds: 0 once it may be tried.
    pub for_s: u64,
    /// What failed, as the gateway names it.
    pub reason: String,
}

impl Ejected {
    /// What failed, in words.
    pub(super) fn words(&self) -> &'static str {
        match self.reason.as_str() {
            "connect" => "no connection to it",
            "connect_time" => "no connection to it in time",
            "answer_time" => "no answer in time",
            "lost" => "it does not answer any more",
            "broken" => "the connection to it broke",
            "broke_off" => "its answer broke off",
            "upgraded" => "it changed the protocol unasked",
            "status" => "it answered with a status of 500 or more",
            "probe" => "a check got no answer",
            "probe_time" => "a check got no answer in time",
            "probe_status" => "a check was answered with a status of 500 or more",
            _ => "it failed",
        }
    }

    /// What helps. `service`: its name.
    pub(super) fn help(&self, service: &str) -> String {
        let logs = format!("`skyclaw logs {service}` shows what it writes");
        match self.reason.as_str() {
            "status" | "probe_status" => {
                format!("{logs}; once it answers with less than 500 it gets calls again")
            }
            "answer_time" | "probe_time" | "lost" => {
                format!("{logs}; it answers too late: see what keeps it, or run more of it")
            }
            "connect" | "connect_time" | "probe" => {
                format!(
                    "{logs}: see whether it listens at the port in PORT, and whether its host lives"
                )
            }
            _ => logs,
        }
    }
}

impl Knows {
    /// Out of the metrics of a member; none if no gateway runs there, or an older one that does not tell.
    #[must_use]
    pub fn read(metrics: &str, service: &ServiceId) -> Option<Self> {
        let mut knows = Self::default();
        let mut runs = false;
        for line in metrics.lines() {
            let Some(line) = line.strip_prefix("skyclaw_gateway_") else { continue };
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let Ok(value) = value.parse::<u64>() else { continue };
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let of_it = || label(labels, "id").as_deref() == Some(service.as_str());
            match name {
                "table_age_seconds" => (runs, knows.table_age_s) = (true, value),
                "endpoints" if of_it() => knows.endpoints = Some(value),
                "ejected_seconds" if knows.passes_over.len() < MOST && of_it() => {
                    let text = |name| one_line(&label(labels, name).unwrap_or_default());
                    let (instance, reason) = (text("instance"), text("reason"));
                    knows.passes_over.push(Ejected { instance, for_s: value, reason });
                }
                _ => {}
            }
        }
        runs.then_some(knows)
    }
}

/// The value of a label in `a="1",b="2"}`.
fn label(labels: &str, wanted: &str) -> Option<String> {
    let mut rest = labels;
    loop {
        let (name, after) = rest.split_once("=\"")?;
        let mut value = String::new();
        let mut chars = after.char_indices();
        let end = loop {
            match chars.next()? {
                (at, '"') => break at,
                (_, '\\') => match chars.next()?.1 {
                    'n' => value.push('\n'),
                    escaped => value.push(escaped),
                },
                (_, plain) => value.push(plain),
            }
        };
        if name.trim_start_matches(',') == wanted {
            return Some(value);
        }
        rest = &after[end + 1..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_gateway_knows_of_one_service_is_read_out_of_its_metrics() {
        let id = ServiceId::new("svc-1".to_owned()).unwrap();
        let text = "# TYPE skyclaw_gateway_ejected_seconds gauge\n\
            skyclaw_gateway_table_age_seconds 3\n\
            skyclaw_gateway_endpoints{service=\"a \\\"b\\\"\",id=\"svc-1\"} 2\n\
            skyclaw_gateway_endpoints{service=\"c\",id=\"svc-2\"} 7\n\
            skyclaw_gateway_ejected_seconds{service=\"x\",id=\"svc-1\",instance=\"h/0/4\",reason=\"connect\"} 9\n\
            skyclaw_gateway_ejected_seconds{service=\"x\",id=\"svc-2\",instance=\"h/1/4\",reason=\"lost\"} 9\n\
            skyclaw_gateway_ejected_seconds{id=\"svc-1\",instance=\"no end\n# EOF\n";
        let knows = Knows::read(text, &id).unwrap();
        let gone = Ejected { instance: "h/0/4".into(), for_s: 9, reason: "connect".into() };
        let want = Knows { table_age_s: 3, endpoints: Some(2), passes_over: vec![gone] };
        assert_eq!(knows, want);
        assert_eq!(Knows::read("skyclaw_gateway_connections 0\n", &id), None);
        let many = (0..1000).map(|n| {
            format!("skyclaw_gateway_ejected_seconds{{id=\"svc-1\",instance=\"{n}\"}} 1\n")
        });
        let many: String = std::iter::once("skyclaw_gateway_table_age_seconds 0\n".to_owned())
            .chain(many)
            .collect();
        assert_eq!(Knows::read(&many, &id).unwrap().passes_over.len(), MOST);
    }
}
