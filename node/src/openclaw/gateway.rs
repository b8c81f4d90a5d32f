//! The Gateway of OpenClaw on this machine: where it is, and whether it lives.

use std::time::Duration;

/// Where it listens unless its owner says otherwise.
const DEFAULT_PORT: u16 = 18_789;

/// It is on this machine: one that does not answer at once is not there.
const PATIENCE: Duration = Duration::from_secs(1);

/// Variables that its own command line reads, and that are handed on to it alone.
const VARIABLES: [&str; 4] = [
    "OPENCLAW_GATEWAY_URL",
    "OPENCLAW_GATEWAY_PORT",
    "OPENCLAW_GATEWAY_TOKEN",
    "OPENCLAW_GATEWAY_PASSWORD",
];

/// What its command line needs of the daemon's environment to reach it.
pub(crate) fn gateway_variables(
    environment: &[(String, String)],
) -> impl Iterator<Item = (String, String)> {
    environment.iter().filter(|(name, _)| VARIABLES.contains(&name.as_str())).cloned()
}

/// The url under which it says whether it lives. It is asked without credentials.
fn health_url(environment: &[(String, String)]) -> String {
    let of = |name: &str| environment.iter().find(|(key, _)| key == name).map(|(_, v)| v.as_str());
    if let Some(url) = of(VARIABLES[0]).and_then(|text| url::Url::parse(text).ok())
        && let Some(host) = url.host_str()
    {
        let scheme = if matches!(url.scheme(), "wss" | "https") { "https" } else { "http" };
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        return format!("{scheme}://{host}{port}/healthz");
    }
    let port = of(VARIABLES[1]).and_then(|text| text.trim().parse().ok()).unwrap_or(DEFAULT_PORT);
    format!("http://127.0.0.1:{port}/healthz")
}

/// True if it answers.
pub(super) async fn lives(environment: &[(String, String)]) -> bool {
    let url = health_url(environment);
    let builder = crate::client::builder(std::slice::from_ref(&url), None);
    let Ok(client) = builder.map(|builder| builder.timeout(PATIENCE)) else { return false };
    let Ok(client) = client.build() else { return false };
    client.get(url).send().await.is_ok_and(|answer| answer.status().is_success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_looked_for_where_its_own_variables_say() {
        let url = |pairs: &[(&str, &str)]| {
            let pairs: Vec<_> = pairs.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect();
            health_url(&pairs)
        };
        assert_eq!(url(&[]), "http://127.0.0.1:18789/healthz");
        assert_eq!(url(&[("OPENCLAW_GATEWAY_PORT", "9")]), "http://127.0.0.1:9/healthz");
        let named = [("OPENCLAW_GATEWAY_URL", "ws://127.0.0.1:18790/x?y")];
        assert_eq!(url(&named), "http://127.0.0.1:18790/healthz");
    }
}
