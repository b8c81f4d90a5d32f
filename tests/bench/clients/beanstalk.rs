//! beanstalkd, by its protocol: `put`, `reserve-with-timeout 0`, `delete`.

use super::wire::Wire;
use super::{Client, Op, Step, job, words};

pub(crate) struct Beanstalk {
    wire: Wire,
    job: Vec<u8>,
}

impl Beanstalk {
    pub(crate) async fn connect(address: &str) -> Result<Self, String> {
        let job = job();
        let mut put = format!("put 1024 0 60 {}\r\n", job.len()).into_bytes();
        put.extend_from_slice(&job);
        put.extend_from_slice(b"\r\n");
        Ok(Self { wire: Wire::open(address).await?, job: put })
    }

    async fn put(&mut self) -> Result<(), String> {
        self.wire.send(&self.job).await?;
        let line = self.wire.line().await?;
        if line.starts_with("INSERTED") { Ok(()) } else { Err(line) }
    }

    async fn take(&mut self) -> Result<Step, String> {
        self.wire.send(b"reserve-with-timeout 0\r\n").await?;
        let line = self.wire.line().await?;
        if line == "TIMED_OUT" {
            return Ok(Step::Nothing);
        }
        let job = line.strip_prefix("RESERVED ").and_then(|rest| rest.split_once(' '));
        let Some((id, bytes)) = job else { return Err(line) };
        self.wire.bytes(bytes.parse().map_err(words)?).await?;
        self.wire.send(format!("delete {id}\r\n").as_bytes()).await?;
        let line = self.wire.line().await?;
        if line == "DELETED" { Ok(Step::Done) } else { Err(line) }
    }
}

impl Client for Beanstalk {
    async fn step(&mut self, op: Op) -> Result<Step, String> {
        self.put().await?;
        if op == Op::Cycle { self.take().await } else { Ok(Step::Done) }
    }
}
