//! What gateways know of a service, as their metrics tell it.
//!
//! Always: it is the word of that gateway, which nobody checked: it is bounded, and shown on one line.

use skyclaw_protocol::ServiceId;
use skyclaw_protocol::limits::MAX_ID_BYTES;

use crate::why::words::one_line;

/// Instances passed over that are read of one gateway; people read them.
const MOST: usize = 100;

/// Characters of an instance's name that are read: the longest id of a host, escaped, and a slot. What is no
/// instance of the service is not shown.
const NAME: usize = 3 * MAX_ID_BYTES + 11;

/// What fails at a gateway, as it names it.
const REASONS: [&str; 11] = [
    "connect",
    "connect_time",
    "answer_time",
    "lost",
    "broken",
    "broke_off",
    "upgraded",
    "status",
    "probe",
    "probe_time",
    "probe_status",
];

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
    /// Instances of the service in that table; none if it has too many services to tell of each.
    pub endpoints: Option<u64>,
    /// Those that failed and did not answer since.
    pub failed: Vec<Ejected>,
    /// There may be more of those: it has too many to tell of each, or does not say how many it has.
    pub may_be_more: bool,
}

/// An instance that failed at a gateway and did not answer since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ejected {
    /// `host/slot`, or the host alone.
    pub instance: String,
    /// For how long it is still passed over, in seconds: at 0 the next call may try it.
    pub for_s: u64,
    /// What failed, as gateways name it; `failed` if it is none of the reasons known here.
    pub reason: &'static str,
}

impl Ejected {
    /// What failed, in words.
    pub(super) fn words(&self) -> &'static str {
        match self.reason {
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
        match self.reason {
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
        // How many there are, as it says, and how many it tells of, of all services.
        let (mut services, mut failed) = (None, None);
        let (mut services_told, mut failed_told) = (0, 0);
        for line in metrics.lines() {
            let Some(line) = line.strip_prefix("skyclaw_gateway_") else { continue };
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let Ok(value) = value.parse::<u64>() else { continue };
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let of_it = || label(labels, "id").as_deref() == Some(service.as_str());
            match name {
                "table_age_seconds" => (runs, knows.table_age_s) = (true, value),
                "services" => services = Some(value),
                "ejected" => failed = Some(value),
                "endpoints" => {
                    services_told += 1;
                    if of_it() {
                        knows.endpoints = Some(value);
                    }
                }
                "ejected_seconds" => {
                    failed_told += 1;
                    if of_it() {
                        knows.take(labels, value);
                    }
                }
                _ => {}
            }
        }
        if services.is_some_and(|all| services_told >= all) {
            // It told of each that it has.
            knows.endpoints.get_or_insert(0);
        }
        knows.may_be_more |= failed.is_none_or(|all| failed_told < all);
        runs.then_some(knows)
    }

    fn take(&mut self, labels: &str, for_s: u64) {
        if self.failed.len() >= MOST {
            self.may_be_more = true;
            return;
        }
        let text = |name| label(labels, name).unwrap_or_default();
        let instance: String = one_line(&text("instance")).chars().take(NAME).collect();
        let told = text("reason");
        let reason = REASONS.into_iter().find(|known| *known == told).unwrap_or("failed");
        if self.failed.iter().all(|before| before.instance != instance) {
            self.failed.push(Ejected { instance, for_s, reason });
        }
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
            skyclaw_gateway_services 2\n\
            skyclaw_gateway_endpoints{service=\"a \\\"b\\\"\",id=\"svc-1\"} 2\n\
            skyclaw_gateway_endpoints{service=\"c\",id=\"svc-2\"} 7\n\
            skyclaw_gateway_ejected 2\n\
            skyclaw_gateway_ejected_seconds{service=\"x\",id=\"svc-1\",instance=\"h/0\",reason=\"connect\"} 9\n\
            skyclaw_gateway_ejected_seconds{service=\"x\",id=\"svc-1\",instance=\"h/0\",reason=\"lost\"} 9\n\
            skyclaw_gateway_ejected_seconds{service=\"x\",id=\"svc-2\",instance=\"h/1\",reason=\"lost\"} 9\n\
            skyclaw_gateway_ejected_seconds{id=\"svc-1\",instance=\"no end\n# EOF\n";
        let knows = Knows::read(text, &id).unwrap();
        let gone = Ejected { instance: "h/0".into(), for_s: 9, reason: "connect" };
        let mut want = Knows { table_age_s: 3, endpoints: Some(2), ..Knows::default() };
        want.failed.push(gone);
        assert_eq!(knows, want);
        assert_eq!(Knows::read("skyclaw_gateway_connections 0\n", &id), None);
    }

    #[test]
    fn what_a_gateway_says_nothing_of_is_nothing_only_if_it_told_of_all() {
        let id = ServiceId::new("svc-1".to_owned()).unwrap();
        let read = |more: &str| {
            Knows::read(&format!("skyclaw_gateway_table_age_seconds 0\n{more}"), &id).unwrap()
        };
        let other = "skyclaw_gateway_endpoints{id=\"svc-2\"} 7\n";
        let all = read(&format!("skyclaw_gateway_services 1\nskyclaw_gateway_ejected 0\n{other}"));
        assert_eq!((all.endpoints, all.may_be_more), (Some(0), false));
        let cut = read(&format!("skyclaw_gateway_services 2\nskyclaw_gateway_ejected 1\n{other}"));
        assert_eq!((cut.endpoints, cut.may_be_more), (None, true));
    }

    #[test]
    fn no_more_is_read_than_people_read() {
        let id = ServiceId::new("svc-1".to_owned()).unwrap();
        let long = "x".repeat(1000);
        let many = (0..1000).map(|n| {
            format!("skyclaw_gateway_ejected_seconds{{id=\"svc-1\",instance=\"{n}{long}\",reason=\"{long}\"}} 1\n")
        });
        let many: String = std::iter::once(
            "skyclaw_gateway_table_age_seconds 0\nskyclaw_gateway_ejected 1000\n".to_owned(),
        )
        .chain(many)
        .collect();
        let knows = Knows::read(&many, &id).unwrap();
        assert_eq!((knows.failed.len(), knows.may_be_more), (MOST, true));
        assert_eq!((knows.failed[0].instance.len(), knows.failed[0].reason), (NAME, "failed"));
        assert_eq!(knows.failed[0].words(), "it failed");
    }
}
