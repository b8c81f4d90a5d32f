//! `skyclaw top` on a real terminal, and without one.

use rustix::process::Signal;
use skyclaw_tests::{Need, Node, Pty, Setup, Shell, can};

const NEEDS: [Need; 2] = [Need::Tool("script"), Need::Tool("stty")];

fn top(node: &Node, rows: u16, columns: u16) -> Pty {
    Pty::start(&["top"], &[("SKYCLAW_COORDINATOR_URL", &node.url())], rows, columns)
}

#[test]
fn top_shows_a_job_as_it_comes_and_ends_and_gives_the_terminal_back() {
    if !can(&NEEDS) {
        return;
    }
    let node = Setup::coordinator().start();
    node.api.register("box", &["shell"], 4);
    let mut screen = top(&node, 40, 120);
    let seen = screen.until(0, "JOBS 0");
    let id = node.api.submit_shell("echo first");
    let seen = screen.until(seen, &format!("{id}  queued"));
    node.api.claim("box");
    let seen = screen.until(seen, &format!("{id}  leased"));
    // No event tells of it.
    let seen = screen.until(seen, "1/4");
    node.api.complete(&id, "box").ok();
    let seen = screen.until(seen, &format!("{id}  completed"));
    screen.until(seen, "1 completed");
    screen.type_in("q");
    assert_eq!(screen.ended_in_order(), 0);
}

#[test]
fn top_follows_the_size_of_the_terminal_and_the_keys() {
    if !can(&NEEDS) {
        return;
    }
    let node = Setup::coordinator().start();
    for n in 0..60 {
        node.api.submit_shell(&format!("echo {n}"));
    }
    let mut screen = top(&node, 40, 120);
    let seen = screen.until(0, "SERVICES 0");
    screen.resize(12, 50);
    let cleared = screen.until(seen, "\u{1b}[2J");
    screen.until(seen, "   1-");
    let all = screen.written();
    let drawn = &all[all.rfind("\u{1b}[2J").unwrap_or(cleared)..];
    let places = drawn.split("\u{1b}[").filter_map(|part| part.split_once('H')?.0.split_once(';'));
    let lines: Vec<u16> = places.filter_map(|(line, _)| line.parse().ok()).collect();
    assert!(!lines.is_empty() && lines.iter().all(|line| *line <= 12), "{lines:?}");
    assert!(!drawn.contains("SERVICES"), "there is room for one list: {drawn}");
    let seen = all.len();
    screen.type_in("\u{1b}[B");
    let seen = screen.until(seen, "   2-");
    screen.type_in("\t");
    let seen = screen.until(seen, "HOSTS 0");
    screen.type_in("\t");
    screen.until(seen, "SERVICES 0");
    screen.type_in("\u{3}");
    assert_eq!(screen.ended_in_order(), 0);
}

#[test]
fn top_outlives_its_coordinator_and_goes_on_with_it() {
    if !can(&NEEDS) {
        return;
    }
    let mut node = Setup::coordinator().start();
    let mut screen = top(&node, 40, 120);
    let seen = screen.until(0, "JOBS 0");
    node.kill();
    let seen = screen.until(seen, "reconnecting: ");
    node.start_again();
    let id = node.api.submit_shell("echo again");
    screen.until(seen, &id);
    screen.type_in("q");
    assert_eq!(screen.ended_in_order(), 0);
}

#[test]
fn top_gives_the_terminal_back_when_it_is_told_to_end() {
    if !can(&NEEDS) {
        return;
    }
    let node = Setup::coordinator().start();
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130), (Signal::HUP, 129)] {
        let screen = top(&node, 24, 80);
        screen.until(0, "JOBS 0");
        screen.signal(signal);
        assert_eq!(screen.ended_in_order(), code);
    }
}

#[test]
fn top_without_colours_uses_none() {
    if !can(&NEEDS) {
        return;
    }
    let node = Setup::coordinator().start();
    let job = node.api.submit_shell("exit 1");
    node.api.post(&format!("/v1/jobs/{job}/cancel"), &serde_json::json!({})).ok();
    let url = node.url();
    for (name, value, coloured) in
        [("NO_COLOR", "1", false), ("CLICOLOR", "0", false), ("NO_COLOR", "", true)]
    {
        let env = [("SKYCLAW_COORDINATOR_URL", url.as_str()), (name, value)];
        let mut screen = Pty::start(&["top"], &env, 40, 120);
        screen.until(0, &format!("{job}  failed"));
        assert_eq!(screen.written().contains("\u{1b}[38;5;"), coloured, "{name}={value}");
        screen.type_in("q");
        assert_eq!(screen.ended_in_order(), 0);
    }
}

#[test]
fn top_without_a_terminal_prints_what_there_is_once() {
    let node = Setup::coordinator().start();
    node.api.register("box", &["shell"], 4);
    let id = node.api.submit_shell("echo paper");
    let shell = Shell::of(&node);
    for args in [&["top"][..], &["top", "--once"]] {
        let text = shell.ok(args);
        for word in ["JOBS 1", &id, "echo paper", "HOSTS 1", "box", "0/4", "SERVICES 0"] {
            assert!(text.contains(word), "{word}: {text}");
        }
        assert!(!text.contains('\u{1b}'), "{text}");
    }
    let document = shell.json(&["top"]);
    assert_eq!(document["counts"]["queued"], 1);
    assert_eq!(document["jobs"][0]["id"], id);
    assert_eq!(document["hosts"][0]["id"], "box");
}
