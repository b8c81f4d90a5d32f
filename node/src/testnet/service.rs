//! That code travels: a service is deployed from a folder, and called through the gateway.

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::{Value, json};

use super::check::text;
use super::{STEP, Testnet, TestnetError, say};
use crate::bundle;
use crate::client::{Client, ClientError};

/// Its id and name.
pub(super) const NAME: &str = "hello";

/// Each on a host of its own.
const REPLICAS: usize = 2;

/// The hosts have no program for it but the one they are: the code says which.
const SCRIPT: &str = "exec \"$PROGRAM\" testnet-service\n";

impl Testnet {
    /// Deploys a service at the first coordinator, waits for its instances, calls it.
    pub(super) async fn run_a_service(&mut self) -> Result<(), TestnetError> {
        let begun = Instant::now();
        let dir = self.write_code()?;
        self.deploy(&dir).await?;
        let hosts = self.until_it_runs(begun).await?;
        let ms = begun.elapsed().as_millis();
        say(&format!("{NAME} runs on {} ({ms} ms)", hosts.join(" and ")));
        let answer = self.call(begun).await?;
        let (process, port) = (&answer["process"], &answer["port"]);
        let ms = begun.elapsed().as_millis();
        say(&format!(
            "through the gateway it says: {} (process {process}, port {port}; {ms} ms)",
            text(&answer["hello"])
        ));
        Ok(())
    }

    fn write_code(&self) -> Result<PathBuf, TestnetError> {
        let dir = self.folder.of("code");
        let write = || {
            std::fs::create_dir(&dir)?;
            std::fs::write(dir.join("serve.sh"), SCRIPT)?;
            std::fs::write(dir.join("greeting.txt"), "hello from a service that travelled\n")
        };
        let failed =
            |source| TestnetError::System { what: "the service cannot be written", source };
        write().map_err(failed)?;
        Ok(dir)
    }

    async fn deploy(&mut self, dir: &Path) -> Result<(), TestnetError> {
        say("deploying a service from a folder: sh serve.sh, two instances");
        let packed = bundle::pack(dir).map_err(|error| TestnetError::Check(error.to_string()))?;
        let program = std::env::current_exe()
            .map_err(|source| TestnetError::System { what: "the path of this program", source })?;
        let body = json!({
            "serviceId": NAME, "name": NAME, "command": "sh", "args": ["serve.sh"],
            "env": { "PROGRAM": program.display().to_string() },
            "replicas": REPLICAS, "bundle": packed.hash.hex(),
            "health": { "path": "/", "intervalMs": 1000 },
        });
        let client = &self.coordinators[0].client;
        let open = || packed.open().map(tokio::fs::File::from_std);
        let sent = match client.put_blob(packed.hash, packed.bytes, open).await {
            Ok(()) => client.post("/v1/services", &body).await,
            Err(error) => Err(error),
        };
        match sent {
            Ok(_) => Ok(()),
            Err(error) => Err(self.blame(error).await),
        }
    }

    /// Names of the hosts that run it.
    async fn until_it_runs(&mut self, begun: Instant) -> Result<Vec<String>, TestnetError> {
        let names = self.host_names(0).await?;
        loop {
            let answer = self.ask(0, &format!("/v1/services/{NAME}?details=1")).await?;
            let parts = answer["service"]["assignments"].as_array().into_iter().flatten();
            let running: Vec<String> = parts
                .filter(|part| part["status"] == "running")
                .map(|part| text(&part["hostId"]))
                .map(|host| names.get(&host).cloned().unwrap_or(host))
                .collect();
            if running.len() >= REPLICAS {
                return Ok(running);
            }
            let missing = || format!("the service stands as {:#}", answer["service"]);
            self.look_again(begun, missing).await?;
        }
    }

    /// What it answers through the gateway, which hears of it a moment later.
    async fn call(&mut self, begun: Instant) -> Result<Value, TestnetError> {
        let Some(gateway) = &self.gateway else {
            return Err(TestnetError::Check("there is no gateway".to_owned()));
        };
        let client = Client::new(std::slice::from_ref(&gateway.url), None)?;
        loop {
            self.all_run()?;
            let error = match client.get(&format!("/v1/gateway/{NAME}/")).await {
                Ok(answer) if answer["hello"].is_string() => return Ok(answer),
                Ok(answer) => return Err(TestnetError::Check(format!("it answered {answer}"))),
                Err(error) => error,
            };
            if !matches!(error, ClientError::Status { status: 502..=504, .. })
                || begun.elapsed() > STEP
            {
                return Err(self.blame(error).await);
            }
            tokio::time::sleep(super::GLANCE).await;
        }
    }
}
