//! One client, gateways of different operators: one of them is killed under load, and nobody sees it.
//!
//! ```sh
//! cargo run --example failover_client -- \
//!   http://127.0.0.1:8790 http://127.0.0.1:8791 /v1/gateway/hello/ 10 200
//! ```
//!
//! asks for the path for 10 seconds, 200 times a second. Kill one of the gateways meanwhile. It prints
//! what was seen and exits with 1 if any caller saw a failure.

mod client;
mod load;

use std::error::Error;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use client::Failover;

const USAGE: &str = "usage: failover_client GATEWAY GATEWAY... PATH SECONDS RATE";

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [gateways @ .., path, seconds, rate] = args.as_slice() else { return Err(USAGE.into()) };
    let (seconds, rate): (f64, u32) = (seconds.parse()?, rate.parse()?);
    if gateways.is_empty() || !path.starts_with('/') {
        return Err(USAGE.into());
    }
    let client = Arc::new(Failover::new(gateways.iter().cloned())?);
    let end = Instant::now() + Duration::try_from_secs_f64(seconds)?;
    let seen = tokio::runtime::Runtime::new()?.block_on(load::run(client, path, rate, end));
    writeln!(std::io::stdout().lock(), "{}", seen.summary())?;
    Ok(if seen.failures() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
