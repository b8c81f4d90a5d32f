//! What the machine is able to do by itself, and what else it does.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Linux counts processor time in hundredths of a second, whatever the machine (`USER_HZ`).
const TICK: Duration = Duration::from_millis(10);

/// Processor time that these processes used, with all their threads.
pub(crate) fn cpu_of(pids: &[u32]) -> Duration {
    let ticks = |pid: &u32| {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The name in brackets may have blanks; user and system time are fields 14 and 15.
        let rest = text.rsplit_once(')').map_or("", |(_, rest)| rest);
        let mut fields =
            rest.split_whitespace().skip(11).map_while(|field| field.parse::<u32>().ok());
        fields.next().unwrap_or(0) + fields.next().unwrap_or(0)
    };
    TICK * pids.iter().map(ticks).sum::<u32>()
}

/// Processor time that all of the machine used, what the hypervisor took with it.
pub(crate) fn cpu_of_all() -> Duration {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields = text.lines().next().unwrap_or_default().split_whitespace().skip(1);
    let ticks: Vec<u32> = fields.map_while(|field| field.parse().ok()).take(8).collect();
    // Fields 4 and 5 are idle time and waits for the disk.
    TICK * ticks.iter().enumerate().filter(|(n, _)| !(3..=4).contains(n)).map(|(_, n)| n).sum()
}

pub(crate) fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// A process and all that it started.
pub(crate) fn family(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    let mut at = 0;
    while let Some(pid) = all.get(at).copied() {
        at += 1;
        let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        for thread in threads {
            let text = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            all.extend(text.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        }
    }
    all
}

/// Memory in use now, in MiB.
pub(crate) fn resident_mib(pids: &[u32]) -> f64 {
    pids.iter().map(|pid| skyclaw_tests::resident_kib(*pid)).sum::<u64>() as f64 / 1024.0
}

/// Half of all appends of so many bytes are on the disk (`fdatasync`) within this.
pub(crate) fn sync_time(folder: &Path, bytes: usize, time: Duration) -> Duration {
    let mut file = File::create(folder.join("probe")).expect("the folder is writable");
    let (begun, data) = (Instant::now(), vec![1; bytes]);
    let mut times = Vec::new();
    while begun.elapsed() < time {
        let at = Instant::now();
        file.write_all(&data).and_then(|()| file.sync_data()).expect("the disk works");
        times.push(at.elapsed());
    }
    times.sort_unstable();
    times[times.len() / 2]
}

/// How many times a second `true` is started and waited for, by as many threads as there are cores, with both
/// of its outputs in pipes.
pub(crate) fn fork_rate(time: Duration) -> f64 {
    let begun = Instant::now();
    let run = || {
        let mut count = 0_u32;
        while begun.elapsed() < time {
            let mut command = Command::new("/bin/true");
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
            assert!(command.output().expect("`true` starts").status.success());
            count += 1;
        }
        count
    };
    let total: u32 = thread::scope(|scope| {
        let lanes: Vec<_> = (0..cores()).map(|_| scope.spawn(run)).collect();
        lanes.into_iter().map(|lane| lane.join().expect("it ends")).sum()
    });
    f64::from(total) / begun.elapsed().as_secs_f64()
}

/// What it is: kernel, processor, cores, memory.
pub(crate) fn words() -> String {
    let first = |path: &str, key: &str| {
        let text = fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_default();
        line.split_once(':').map_or(line, |(_, value)| value).trim().to_owned()
    };
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let memory = first("/proc/meminfo", "MemTotal");
    let kib: u64 = memory.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0);
    let model = first("/proc/cpuinfo", "model name");
    format!("Linux {}, {model}, {} cores, {} GiB", kernel.trim(), cores(), kib >> 20)
}
