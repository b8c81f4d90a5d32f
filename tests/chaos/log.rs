//! What the hosts themselves executed: each job writes when it began, that it lives, and when it ended.
//!
//! Each host has a file of its own in a folder that all of them see. All machines of the test are one
//! machine, so their times are of one clock, the time since it was started.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// A time, in milliseconds since the machine was started. The clock that jobs read counts in 10 ms.
pub(crate) type Ms = u64;

/// That time now.
pub(crate) fn now() -> Ms {
    let text = fs::read_to_string("/proc/uptime").expect("Linux has /proc/uptime");
    parse_ms(text.split_whitespace().next().unwrap_or_default()).expect("a time")
}

fn parse_ms(seconds: &str) -> Option<Ms> {
    let (whole, part) = seconds.split_once('.')?;
    Some(whole.parse::<Ms>().ok()? * 1000 + part.parse::<Ms>().ok()? * 10)
}

/// What a job does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// It takes so many fifths of a second and goes well.
    Beats(usize),
    /// It fails.
    Fails,
    /// It waits for a file `go` in the folder of the logs.
    Waits,
    /// It kills the process that looks after it, and goes on.
    Poison,
}

/// The script of a job. It is told apart from others by its tag.
pub(crate) fn script(folder: &Path, tag: &str, work: Work) -> String {
    // No process is started for a line. The host's folder names its machine.
    let head = format!(
        "tag={tag}; m=${{PWD#*/machine}}; m=${{m%%-*}}; \
         say() {{ read up rest < /proc/uptime; echo \"$1 $tag $$ $up\" >> {}/$m; }}; say begin; ",
        folder.display()
    );
    let beats = |count| {
        format!("i=0; while [ $i -lt {count} ]; do sleep 0.2; say beat; i=$((i+1)); done; ")
    };
    let rest = match work {
        Work::Beats(count) => beats(count) + "say end; echo done $tag $$ on $m",
        Work::Fails => "say end; echo failed $tag $$ on $m; exit 3".to_owned(),
        Work::Waits => {
            let go = folder.join("go");
            format!("while [ ! -e {} ]; do sleep 0.05; done; say end", go.display())
        }
        Work::Poison => "kill -9 $PPID; ".to_owned() + &beats(10) + "say end",
    };
    head + &rest
}

/// The tag in a job's script.
pub(crate) fn tag_of(script: &str) -> Option<&str> {
    Some(script.strip_prefix("tag=")?.split_once(';')?.0)
}

/// One execution of a job on a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) tag: String,
    /// Machine and process.
    pub(crate) machine: usize,
    pub(crate) process: u32,
    pub(crate) begun: Ms,
    /// When it was last seen alive.
    pub(crate) last: Ms,
    /// It came to its end.
    pub(crate) whole: bool,
}

/// All executions, from the files of the hosts.
pub(crate) fn read(folder: &Path, machines: impl Iterator<Item = usize>) -> Vec<Run> {
    let mut all = Vec::new();
    for machine in machines {
        let text = fs::read_to_string(folder.join(machine.to_string())).unwrap_or_default();
        all.extend(parse(machine, &text));
    }
    all
}

/// The executions in one host's file. A process number that comes back begins a new one.
pub(crate) fn parse(machine: usize, text: &str) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let mut open: BTreeMap<(String, u32), usize> = BTreeMap::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [what, tag, process, time] = words[..] else { panic!("no line of a job: {line}") };
        let process: u32 = process.parse().expect("a process");
        let at = parse_ms(time).expect("a time");
        let key = (tag.to_owned(), process);
        if what == "begin" {
            open.insert(key, runs.len());
            let tag = tag.to_owned();
            runs.push(Run { tag, machine, process, begun: at, last: at, whole: false });
        } else {
            let run = &mut runs[*open.get(&key).expect("what lives has begun")];
            (run.last, run.whole) = (at, what == "end");
        }
    }
    runs
}

#[test]
fn executions_are_read_from_the_lines_of_jobs() {
    let text = "begin a 7 1.50\nbegin b 8 1.51\nbeat a 7 1.70\nend a 7 1.90\nbegin a 7 3.00\n";
    let run = |tag: &str, process, begun, last, whole| {
        let tag = tag.to_owned();
        Run { tag, machine: 4, process, begun, last, whole }
    };
    let runs = [
        run("a", 7, 1500, 1900, true),
        run("b", 8, 1510, 1510, false),
        run("a", 7, 3000, 3000, false),
    ];
    assert_eq!(parse(4, text), runs);
}

#[test]
fn a_script_does_what_it_says_and_names_itself() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let below = folder.path().join("machine9-x");
    fs::create_dir(&below).expect("it is writable");
    let script = script(folder.path(), "t1", Work::Beats(2));
    assert_eq!(tag_of(&script), Some("t1"));
    let began = now();
    let output = std::process::Command::new("sh")
        .args(["-c", &script])
        .current_dir(&below)
        .output()
        .expect("sh starts");
    let runs = read(folder.path(), [9].into_iter());
    let [run] = &runs[..] else { panic!("{runs:?} {output:?}") };
    assert!(run.whole && run.begun >= began && run.last >= run.begun + 380 && run.last <= now());
    let said = format!("done t1 {} on 9\n", run.process);
    assert_eq!(String::from_utf8_lossy(&output.stdout), said);
}
