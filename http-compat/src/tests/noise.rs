//! Ten thousand random and damaged requests: every answer is JSON, every refusal is counted.

use serde_json::{Value, json};

use super::rig::public_rig;

/// SplitMix64: enough chance for a test, and the same on each run.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    fn value(&mut self, depth: usize) -> Value {
        match self.below(if depth == 0 { 6 } else { 8 }) {
            0 => Value::Null,
            1 => json!(self.below(2) == 0),
            2 => json!(self.next() as i64 >> self.below(64)),
            3 => json!(f64::from_bits(self.next())),
            4 => {
                json!(*self.pick(&["", " ", "shell", "openclaw-run", "h1", "\0", "ü😀", "running"]))
            }
            5 => json!("x".repeat(self.below(300))),
            6 => (0..self.below(4)).map(|_| self.value(depth - 1)).collect(),
            _ => self.object(depth - 1),
        }
    }

    fn object(&mut self, depth: usize) -> Value {
        let mut map = serde_json::Map::new();
        for _ in 0..self.below(6) {
            let name = self.pick(&FIELDS).to_string();
            let value = self.value(depth);
            map.insert(name, value);
        }
        Value::Object(map)
    }

    fn body(&mut self) -> Vec<u8> {
        let mut good: Value = serde_json::from_str(self.pick::<&str>(&GOOD)).unwrap();
        match self.below(4) {
            0 => return (0..self.below(40)).map(|_| self.next() as u8).collect(),
            1 => good = self.object(3),
            2 => {
                let name = self.pick(&FIELDS).to_string();
                let value = self.value(2);
                let target = if self.below(2) == 0 { &mut good } else { &mut good["payload"] };
                if let Some(map) = target.as_object_mut() {
                    map.insert(name, value);
                }
            }
            _ => {}
        }
        let mut bytes = good.to_string().into_bytes();
        if self.below(4) == 0 {
            for _ in 0..=self.below(3) {
                let at = self.below(bytes.len());
                match self.below(3) {
                    0 => bytes[at] = self.next() as u8,
                    1 => bytes.truncate(at.max(1)),
                    _ => bytes.insert(at, self.next() as u8),
                }
            }
        }
        bytes
    }
}

const FIELDS: [&str; 30] = [
    "name",
    "hostId",
    "capabilities",
    "maxParallel",
    "activeLeases",
    "leases",
    "payload",
    "kind",
    "command",
    "args",
    "env",
    "cwd",
    "timeoutMs",
    "requirement",
    "requiredCapabilities",
    "submittedBy",
    "maxAttempts",
    "retry",
    "queueTimeoutMs",
    "success",
    "durationMs",
    "exitCode",
    "stdout",
    "error",
    "status",
    "endpoint",
    "replicas",
    "serviceId",
    "url",
    "openclawDir",
];

const GOOD: [&str; 6] = [
    r#"{"name":"n","hostId":"h1","capabilities":["a"],"maxParallel":2}"#,
    r#"{"payload":{"kind":"shell","command":"c","args":["a"],"env":{"A":"b"},"timeoutMs":5}}"#,
    r#"{"payload":{"kind":"openclaw-run"},"requirement":{"requiredCapabilities":["openclaw"]}}"#,
    r#"{"hostId":"h1","success":true,"durationMs":5,"exitCode":0,"stdout":"","stderr":""}"#,
    r#"{"name":"w","command":"c","args":[],"serviceId":"s1","replicas":1}"#,
    r#"{"hostId":"h1","status":"running","endpoint":"http://h:1","url":"http://p"}"#,
];

const ROUTES: [(&str, &str); 24] = [
    ("POST", "/v1/hosts/register"),
    ("POST", "/v1/hosts/register"),
    ("POST", "/v1/hosts/h1/heartbeat"),
    ("POST", "/v1/hosts/h1/claim"),
    ("POST", "/v1/jobs"),
    ("POST", "/v1/jobs"),
    ("POST", "/v1/jobs/j1/complete"),
    ("POST", "/v1/jobs/j1/cancel"),
    ("POST", "/v1/services"),
    ("POST", "/v1/services/s1/report"),
    ("POST", "/v1/hosts/h1/services/claim"),
    ("POST", "/v1/network/join"),
    ("POST", "/v1/public/jobs"),
    ("POST", "/v1/hosts/%zz/claim"),
    ("POST", "/v1/hosts/a%2Fb/heartbeat"),
    ("GET", "/v1/public/jobs/j1"),
    ("GET", "/v1/hosts/h1"),
    ("GET", "/v1/services/s1"),
    ("GET", "/v1/jobs/j1"),
    ("GET", "/v1/jobs?limit=3"),
    ("GET", "/v1/jobs?limit=3&cursor=ff"),
    ("GET", "/health"),
    ("DELETE", "/v1/hosts/h1"),
    ("DELETE", "/v1/services/s1"),
];

const METHODS: [&str; 5] = ["POST", "GET", "DELETE", "PUT", "OPTIONS"];

#[tokio::test]
async fn noise_gets_json_and_is_counted() {
    let rig = public_rig("k1:acme,k2:zeta:openclaw:shell");
    let mut chance = Chance(20_261_122);
    let refusals = || {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &rig.registry).unwrap();
        text.lines()
            .filter(|line| line.starts_with("http_refusals_total"))
            .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
            .sum::<u64>()
    };
    let mut refused = 0;
    let mut by_status = std::collections::BTreeMap::new();
    for round in 0..10_000 {
        let (mut method, path) = *chance.pick(&ROUTES);
        if chance.below(20) == 0 {
            method = *chance.pick(&METHODS);
        }
        let body = chance.body();
        let headers = [("x-api-key", *chance.pick(&["k1", "k2", "no"]))];
        let answer = rig.call(method, path, &headers, body.clone()).await;
        let shown = || format!("{method} {path} {:?}", String::from_utf8_lossy(&body));
        *by_status.entry(answer.status).or_insert(0) += 1;
        match answer.status {
            204 => assert_eq!(answer.text, ""),
            200 => assert!(answer.json().is_object(), "{}", shown()),
            400 | 401 | 403 | 404 | 409 | 413 => {
                let error = answer.json()["error"].as_str().map(str::len);
                assert!(error.is_some_and(|len| (1..600).contains(&len)), "{}", shown());
                refused += 1;
            }
            other => panic!("{other}: {}", shown()),
        }
        if round % 1000 == 999 {
            assert_eq!(refusals(), refused);
        }
    }
    assert!(by_status[&200] > 1000 && by_status[&400] > 1000, "{by_status:?}");
}
