//! Redis streams by RESP2: `XADD`; `XREADGROUP`, then `XACK` and `XDEL` in one write.

use super::wire::Wire;
use super::{Client, Op, Step, job, words};

const STREAM: &[u8] = b"bench";
const GROUP: &[u8] = b"workers";

pub(crate) struct Redis {
    wire: Wire,
    consumer: String,
    job: Vec<u8>,
}

/// An answer, as far as it matters here.
#[derive(Debug)]
enum Reply {
    Nothing,
    Text(Vec<u8>),
    List(Vec<Self>),
}

impl Reply {
    fn last(self) -> Option<Self> {
        if let Self::List(mut list) = self { list.pop() } else { None }
    }

    fn first(self) -> Option<Self> {
        if let Self::List(list) = self { list.into_iter().next() } else { None }
    }
}

impl Redis {
    pub(crate) async fn connect(address: &str, n: usize) -> Result<Self, String> {
        let consumer = format!("worker-{n}");
        let mut redis = Self { wire: Wire::open(address).await?, consumer, job: job() };
        // The second one is told that it is there.
        let made = redis.ask(&[&[b"XGROUP", b"CREATE", STREAM, GROUP, b"0", b"MKSTREAM"]]).await;
        match made {
            Err(error) if !error.starts_with("BUSYGROUP") => Err(error),
            _ => Ok(redis),
        }
    }

    /// Sends commands in one write; the answer to the last one.
    async fn ask(&mut self, commands: &[&[&[u8]]]) -> Result<Reply, String> {
        let mut bytes = Vec::with_capacity(512);
        for words in commands {
            bytes.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
            for word in *words {
                bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
                bytes.extend_from_slice(word);
                bytes.extend_from_slice(b"\r\n");
            }
        }
        self.wire.send(&bytes).await?;
        let mut last = Reply::Nothing;
        for _ in commands {
            last = self.reply().await?;
        }
        Ok(last)
    }

    async fn reply(&mut self) -> Result<Reply, String> {
        // Lists that are not whole, and how long each is to be.
        let mut open: Vec<(usize, Vec<Reply>)> = Vec::new();
        loop {
            let line = self.wire.line().await?;
            let (kind, rest) = line.split_at_checked(1).ok_or("an empty line")?;
            let mut reply = match kind {
                "+" | ":" => Reply::Text(rest.as_bytes().to_vec()),
                "-" => return Err(rest.to_owned()),
                "$" => match rest.parse::<i64>().map_err(words)? {
                    -1 => Reply::Nothing,
                    bytes => {
                        let bytes = usize::try_from(bytes).map_err(words)?;
                        Reply::Text(self.wire.bytes(bytes).await?.to_vec())
                    }
                },
                "*" => match rest.parse::<i64>().map_err(words)? {
                    -1 => Reply::Nothing,
                    0 => Reply::List(Vec::new()),
                    items => {
                        open.push((usize::try_from(items).map_err(words)?, Vec::new()));
                        continue;
                    }
                },
                _ => return Err(line),
            };
            while let Some((length, mut list)) = open.pop() {
                list.push(reply);
                if list.len() < length {
                    open.push((length, list));
                    reply = Reply::Nothing;
                    break;
                }
                reply = Reply::List(list);
            }
            if open.is_empty() {
                return Ok(reply);
            }
        }
    }

    async fn put(&mut self) -> Result<(), String> {
        let job = std::mem::take(&mut self.job);
        let put = self.ask(&[&[b"XADD", STREAM, b"*", b"job", &job]]).await;
        self.job = job;
        put.map(drop)
    }

    async fn take(&mut self) -> Result<Step, String> {
        let consumer = self.consumer.clone();
        let read: [&[u8]; 9] = [
            b"XREADGROUP",
            b"GROUP",
            GROUP,
            consumer.as_bytes(),
            b"COUNT",
            b"1",
            b"STREAMS",
            STREAM,
            b">",
        ];
        // [[stream, [[id, fields]]]]
        let reply = self.ask(&[&read]).await?;
        let entry = reply.last().and_then(Reply::last).and_then(Reply::last);
        let Some(Reply::Text(id)) = entry.and_then(Reply::first) else { return Ok(Step::Nothing) };
        self.ask(&[&[b"XACK", STREAM, GROUP, &id], &[b"XDEL", STREAM, &id]]).await?;
        Ok(Step::Done)
    }
}

impl Client for Redis {
    async fn step(&mut self, op: Op) -> Result<Step, String> {
        self.put().await?;
        if op == Op::Cycle { self.take().await } else { Ok(Step::Done) }
    }
}
