//! What is written for agents is what the command line takes.

use clap::Parser as _;
use serde_json::Value;

use super::Cli;

const SKILL: &str = include_str!("../../../../examples/openclaw-skill/SKILL.md");
const README: &str = include_str!("../../../../examples/openclaw-skill/README.md");

/// The lines of code blocks that call `skyclaw`.
fn lines(text: &str) -> Vec<&str> {
    let mut code = false;
    let mut found = Vec::new();
    for line in text.lines() {
        if line.starts_with("```") {
            code = !code;
        } else if code && line.starts_with("skyclaw ") {
            found.push(line);
        }
    }
    found
}

/// Words as a shell splits them, of lines that use single quotes alone.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '\'' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            ' ' if !quoted => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    assert!(!quoted, "{line}");
    words.extend(word);
    words
}

#[test]
fn every_command_of_the_skill_is_one() {
    let all: Vec<&str> = lines(SKILL).into_iter().chain(lines(README)).collect();
    assert!(all.len() >= 18, "{all:?}");
    for line in all {
        let parsed = Cli::try_parse_from(words(line));
        assert!(parsed.is_ok(), "{line}: {}", parsed.err().unwrap());
        let for_programs = line.contains(" --json") || line.starts_with("skyclaw mcp");
        assert!(for_programs, "{line}");
    }
}

#[test]
fn the_skill_says_what_openclaw_asks_of_it() {
    let (head, _) = SKILL.strip_prefix("---\n").unwrap().split_once("\n---\n").unwrap();
    let member = |name: &str| {
        let line = head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
        line.unwrap_or_else(|| panic!("no {name}"))
    };
    assert_eq!(member("name"), "skyclaw");
    assert!(member("description").len() < 160, "{}", member("description").len());
    let metadata: Value = serde_json::from_str(member("metadata")).unwrap();
    assert_eq!(metadata["openclaw"]["requires"]["bins"], serde_json::json!(["skyclaw"]));
    assert_eq!(metadata["openclaw"]["primaryEnv"], "SKYCLAW_TOKEN");
}
