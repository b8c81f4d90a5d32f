//! What commands say to do next, for agents: they have tools and no shell.

/// The tools that do what commands do.
const TOOLS: [(&str, &str); 13] = [
    ("submit", "submit_job"),
    ("agent", "submit_agent"),
    ("job", "job_status"),
    ("jobs", "list_jobs"),
    ("why", "why"),
    ("cancel", "cancel_job"),
    ("deploy", "deploy"),
    ("services", "list_services"),
    ("service", "list_services"),
    ("scale", "scale_service"),
    ("logs", "service_logs"),
    ("remove", "remove_service"),
    ("hosts", "list_hosts"),
];

/// A hint with tools for commands. A line that names a command without one is left out.
pub(super) fn hint(text: &str) -> String {
    text.lines().filter_map(line).collect::<Vec<_>>().join("\n")
}

/// Words with tools for commands, where all of a line have one.
pub(super) fn words(text: &str) -> String {
    let lines = text.split_inclusive('\n');
    lines.map(|words| line(words).unwrap_or_else(|| words.to_owned())).collect()
}

/// None if it names a command that has no tool.
fn line(text: &str) -> Option<String> {
    let mut told = String::new();
    let mut rest = text;
    while let Some((before, code, after)) = quoted(rest) {
        told.push_str(before);
        let mut words = code.split_whitespace();
        match words.next() {
            Some("skyclaw") => told.push_str(tool(words.next()?, words.next())?),
            Some("skyclaw-node") => return None,
            _ => told.push_str(&format!("`{code}`")),
        }
        rest = after;
    }
    told.push_str(rest);
    Some(told)
}

/// What stands before the next two backticks, between them and after.
fn quoted(text: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = text.split_once('`')?;
    let (code, after) = rest.split_once('`')?;
    Some((before, code, after))
}

fn tool(command: &str, of: Option<&str>) -> Option<&'static str> {
    if command == "logs" && of.is_some_and(|of| of.starts_with("job_")) {
        return Some("job_output");
    }
    TOOLS.iter().find(|(name, _)| *name == command).map(|(_, tool)| *tool)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_become_tools_and_what_has_none_is_left_out() {
        for (told, want) in [
            ("`skyclaw jobs` lists the jobs", "list_jobs lists the jobs"),
            ("ask again with `skyclaw job job_1`", "ask again with job_status"),
            ("`skyclaw logs web` and `skyclaw logs job_1 -f`", "service_logs and job_output"),
            ("look at `skyclaw services`\nor ask `skyclaw doctor`", "look at list_services"),
            ("`skyclaw keys` lists the keys", ""),
            ("is it running? start one with `skyclaw-node`", ""),
            ("set SKYCLAW_TOKEN, write `!x`, or a `", "set SKYCLAW_TOKEN, write `!x`, or a `"),
        ] {
            assert_eq!(hint(told), want);
        }
    }

    #[test]
    fn words_are_kept_whatever_they_name() {
        let told = "taken by none: `skyclaw hosts` lists them\nsee `skyclaw doctor`\n";
        assert_eq!(words(told), "taken by none: list_hosts lists them\nsee `skyclaw doctor`\n");
    }
}
