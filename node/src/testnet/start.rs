//! Which nodes a local network has and what each is told.

use serde_json::Value;

use super::process::Process;
use super::{COORDINATORS, COPIES, Coordinator, Gateway, STEP, Testnet, TestnetError, Token, say};
use crate::client::Client;
use crate::config::Secret;

/// Port of the first coordinator's API, if it is free; those of the others are the next.
const API_PORT: u16 = 8787;

/// Port of the gateway, if it is free.
const GATEWAY_PORT: u16 = 8790;

/// Where nodes listen that are to be found on the LAN, and nobody else.
const ON_LAN: &str = "/ip4/0.0.0.0/udp/0/quic-v1,/ip4/0.0.0.0/tcp/0";
const ON_LOOPBACK: &str = "/ip4/127.0.0.1/udp/0/quic-v1,/ip4/127.0.0.1/tcp/0";

impl Testnet {
    /// Starts all processes. Coordinators listen, hosts may still be looking for them.
    pub(super) async fn start_all(&mut self) -> Result<(), TestnetError> {
        let network = format!("testnet-{:016x}", rand::random::<u64>());
        if self.options.mdns {
            let text = format!("{:032x}", rand::random::<u128>());
            let file = self.folder.write("token", &text).map_err(|source| {
                TestnetError::System { what: "the token cannot be written", source }
            })?;
            self.token = Some(Token { text, file });
            say("the nodes are told no addresses: they look for each other on the LAN (mDNS)");
        }
        let mut met = Vec::new();
        for n in 1..=COORDINATORS {
            self.start_coordinator(n, &network, &met).await?;
            if !self.options.mdns {
                met.extend(self.addresses(usize::from(n) - 1).await?);
            }
        }
        for n in 1..=self.options.hosts {
            self.start_host(n, &network, &met)?;
        }
        self.start_gateway(&network, &met).await?;
        let hosts = self.options.hosts;
        say(&format!("{hosts} hosts were started, without HTTP and without a coordinator's url"));
        Ok(())
    }

    async fn start_coordinator(
        &mut self,
        n: u16,
        network: &str,
        bootstrap: &[String],
    ) -> Result<(), TestnetError> {
        let name = format!("coordinator-{n}");
        let wished = API_PORT + n - 1;
        let mut settings = self.settings(&name, network, bootstrap);
        settings.extend([
            ("SKYCLAW_ROLE", "coordinator".into()),
            ("SKYCLAW_COORDINATOR_HOST", "127.0.0.1".into()),
            ("SKYCLAW_COORDINATOR_NODE_ID", format!("testnet-{name}")),
            ("SKYCLAW_MIN_REPLICATIONS", COPIES.to_string()),
        ]);
        if !self.options.mdns {
            name_address(&mut settings)?;
        }
        let port = ("SKYCLAW_COORDINATOR_PORT", wished);
        let (process, url, free) = self.start_at(&name, &settings, port).await?;
        let token = self.token.as_ref().map(|token| Secret::new(token.text.clone()));
        let client = Client::new(std::slice::from_ref(&url), token.as_ref())?;
        say(&format!("{name} is up at {url}"));
        if !free {
            say(&format!("(port {wished} is taken, so another one was chosen)"));
        }
        self.coordinators.push(Coordinator { process, url, client });
        Ok(())
    }

    fn start_host(
        &mut self,
        n: u16,
        network: &str,
        bootstrap: &[String],
    ) -> Result<(), TestnetError> {
        let name = format!("host-{n}");
        let mut settings = self.settings(&name, network, bootstrap);
        settings.extend([
            ("SKYCLAW_ROLE", "host".into()),
            ("SKYCLAW_HOST_NAME", format!("testnet-{name}")),
            ("SKYCLAW_MAX_PARALLEL", "2".into()),
            ("SKYCLAW_WORK_DIR", self.folder.of(&name).join("work").display().to_string()),
        ]);
        self.hosts.push(Process::start(&self.folder, &name, &settings)?.unheard());
        Ok(())
    }

    async fn start_gateway(
        &mut self,
        network: &str,
        bootstrap: &[String],
    ) -> Result<(), TestnetError> {
        let mut settings = self.settings("gateway", network, bootstrap);
        settings.extend([
            ("SKYCLAW_ROLE", "gateway".into()),
            ("SKYCLAW_GATEWAY_HOST", "127.0.0.1".into()),
        ]);
        let port = ("SKYCLAW_GATEWAY_PORT", GATEWAY_PORT);
        let (process, url, free) = self.start_at("gateway", &settings, port).await?;
        say(&format!("the gateway is up at {url}"));
        if !free {
            say(&format!("(port {GATEWAY_PORT} is taken, so another one was chosen)"));
        }
        self.gateway = Some(Gateway { process, url });
        Ok(())
    }

    /// Starts a node that listens at the wished port, or at another one if that is taken; with the
    /// url, and whether it has its wish.
    async fn start_at(
        &self,
        name: &str,
        settings: &[(&'static str, String)],
        (variable, wished): (&'static str, u16),
    ) -> Result<(Process, String, bool), TestnetError> {
        let at = |port: u16| [settings, &[(variable, port.to_string())]].concat();
        if std::net::TcpListener::bind(("127.0.0.1", wished)).is_ok() {
            let mut process = Process::start(&self.folder, name, &at(wished))?;
            // Somebody may have taken it in between; whatever else is wrong comes again.
            if let Ok(url) = process.listening_url(STEP).await {
                return Ok((process, url, true));
            }
            process.ended().await;
        }
        let mut process = Process::start(&self.folder, name, &at(0))?;
        let url = process.listening_url(STEP).await?;
        Ok((process, url, false))
    }

    /// What all nodes are told.
    fn settings(
        &self,
        name: &str,
        network: &str,
        bootstrap: &[String],
    ) -> Vec<(&'static str, String)> {
        let mdns = self.options.mdns;
        let mut settings = vec![
            ("SKYCLAW_NETWORK", network.to_owned()),
            ("SKYCLAW_DB_PATH", self.folder.of(name).join("node.db").display().to_string()),
            ("SKYCLAW_P2P_LISTEN", if mdns { ON_LAN } else { ON_LOOPBACK }.into()),
            ("SKYCLAW_MDNS", u8::from(mdns).to_string()),
        ];
        if !bootstrap.is_empty() {
            settings.push(("SKYCLAW_BOOTSTRAP", bootstrap.join(",")));
        }
        if let Some(token) = &self.token {
            settings.push(("SKYCLAW_TOKEN", token.text.clone()));
        }
        settings
    }

    /// The multiaddrs of coordinator `at`.
    async fn addresses(&mut self, at: usize) -> Result<Vec<String>, TestnetError> {
        let network = self.ask(at, "/v1/network").await?;
        let all = network["addresses"].as_array().into_iter().flatten();
        let all: Vec<String> = all.filter_map(Value::as_str).map(str::to_owned).collect();
        if all.is_empty() {
            return Err(TestnetError::Check(format!("coordinator-{} names no address", at + 1)));
        }
        Ok(all)
    }
}

/// Says where a coordinator is reached: one that knows lets others be reached through it, and
/// loopback alone is no place that it would believe to be reached at.
fn name_address(settings: &mut Vec<(&'static str, String)>) -> Result<(), TestnetError> {
    // Free a moment ago; if somebody takes it in between, the coordinator says so.
    let free = std::net::TcpListener::bind(("127.0.0.1", 0));
    let port = free.and_then(|free| free.local_addr()).map(|at| at.port());
    let port =
        port.map_err(|source| TestnetError::System { what: "no port for a coordinator", source })?;
    let address = format!("/ip4/127.0.0.1/tcp/{port}");
    settings.retain(|(name, _)| *name != "SKYCLAW_P2P_LISTEN");
    let listen = format!("/ip4/127.0.0.1/udp/0/quic-v1,{address}");
    settings.extend([("SKYCLAW_P2P_LISTEN", listen), ("SKYCLAW_P2P_EXTERNAL_ADDR", address)]);
    Ok(())
}
