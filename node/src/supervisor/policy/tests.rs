//! What rules say to commands, one rule at a time.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::io::Errno;

use super::*;

/// A folder with two programs, which is all of `PATH`.
struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["tool", "rm"] {
            let path = folder.path().join(name);
            fs::write(&path, "#!/bin/sh\n").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        Self { folder }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn home(&self) -> &str {
        self.folder.path().to_str().unwrap()
    }

    fn policy(&self, sources: Sources) -> Policy {
        Policy::new(&sources, &[("PATH".into(), self.home().into())])
    }

    /// A policy of this text alone; `BIN` in it stands for the folder.
    fn file(&self, text: &str) -> Policy {
        self.policy(Sources { file: Some(self.parsed(text)), ..Sources::default() })
    }

    fn jobs(&self, rules: &str) -> Policy {
        self.file(&format!(r#"{{ "version": 1, "jobs": {rules} }}"#))
    }

    fn parsed(&self, text: &str) -> PolicyFile {
        let text = text.replace("BIN", self.home());
        let parsed = PolicyFile::parse(text.as_bytes(), Path::new("p.json"), Some(self.home()));
        parsed.unwrap_or_else(|error| panic!("{error}"))
    }

    #[track_caller]
    fn runs(&self, policy: &Policy, command: &[&str]) {
        let name = command[0].rsplit('/').next().unwrap();
        assert_eq!(judge(policy, command), Verdict::Run(self.path(name)), "{command:?}");
    }
}

fn judge(policy: &Policy, command: &[&str]) -> Verdict {
    let args: Vec<String> = command[1..].iter().map(|arg| (*arg).to_owned()).collect();
    policy.judge(Section::Jobs, command[0], &args)
}

#[track_caller]
fn refused(policy: &Policy, command: &[&str], told: &str) {
    let told = format!("command not allowed: {}{told}", command[0]);
    assert_eq!(judge(policy, command), Verdict::Refused(told));
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// D4: without a file the words are the original's, and nothing else.
#[test]
fn without_a_file_a_command_must_equal_a_name() {
    let bench = Bench::new();
    let policy = bench.policy(Sources { names: names(&["tool"]), ..Sources::default() });
    bench.runs(&policy, &["tool", "any", "arguments"]);
    let path = bench.path("tool");
    for command in [path.as_str(), "./tool", "tool ", "TOOL", "rm", ""] {
        refused(&policy, &[command], "");
    }
    assert_eq!(policy.agents(), AgentRules::default());
    assert_eq!(policy.agents().security, Security::Deny);
}

#[test]
fn a_name_that_stands_for_nothing_stays_allowed() {
    let bench = Bench::new();
    let policy = bench.policy(Sources { names: names(&["no-such-x"]), ..Sources::default() });
    assert_eq!(judge(&policy, &["no-such-x"]), Verdict::Missing(Errno::NOENT));
    let policy = bench.jobs(r#"{ "allowlist": [{ "pattern": "no-such-x" }] }"#);
    assert_eq!(judge(&policy, &["no-such-x"]), Verdict::Missing(Errno::NOENT));
}

#[test]
fn a_name_in_a_file_equals_the_command_as_it_is_written() {
    let bench = Bench::new();
    let policy = bench.jobs(r#"{ "allowlist": [{ "pattern": "tool" }] }"#);
    bench.runs(&policy, &["tool"]);
    let missed = " (policy jobs: nothing on the allowlist matches)";
    refused(&policy, &[&bench.path("tool")], missed);
    refused(&policy, &["rm", "-rf", "/"], missed);
}

#[test]
fn a_glob_matches_the_path_that_a_command_stands_for() {
    let bench = Bench::new();
    fs::create_dir(bench.folder.path().join("deep")).unwrap();
    fs::copy(bench.path("tool"), bench.path("deep/tool")).unwrap();
    for pattern in ["BIN/t*", "~/t*", "BIN/{tool,other}", "/**/tool"] {
        let rules = format!(r#"{{ "allowlist": [{{ "pattern": "{pattern}" }}] }}"#);
        let policy = bench.jobs(&rules);
        bench.runs(&policy, &["tool"]);
        bench.runs(&policy, &[&bench.path("tool")]);
        refused(&policy, &["rm"], " (policy jobs: nothing on the allowlist matches)");
    }
    // A star and a class stay within a folder, and a detour leads nowhere.
    for pattern in ["BIN/*", "BIN[!x]tool", "BIN/deep[!x]tool", "BIN/dee?/tool"] {
        let policy = bench.jobs(&format!(r#"{{ "allowlist": [{{ "pattern": "{pattern}" }}] }}"#));
        let allowed = pattern == "BIN/dee?/tool";
        let verdict = judge(&policy, &[&bench.path("deep/tool")]);
        assert_eq!(matches!(verdict, Verdict::Run(_)), allowed, "{pattern}: {verdict:?}");
    }
    let policy = bench.jobs(r#"{ "allowlist": [{ "pattern": "BIN/deep/**" }] }"#);
    let detour = " (policy jobs: a command is a name, or an absolute path without . and ..)";
    for command in [&bench.path("deep/../rm"), "./rm", "deep/rm", &format!("/{}", bench.path("rm"))]
    {
        refused(&policy, &[command], detour);
    }
    // What is not there yet may be allowed all the same.
    assert_eq!(judge(&policy, &[&bench.path("deep/new")]), Verdict::Missing(Errno::NOENT));
}

#[test]
fn arguments_must_match_as_a_whole() {
    let bench = Bench::new();
    let policy = bench.jobs(
        r#"{ "allowlist": [
            { "pattern": "rm" , "argPattern": "--version" },
            { "pattern": "tool", "argPattern": "-[a-z]" },
            { "pattern": "BIN/tool", "argPattern": "-- '[a-z ]*'" } ] }"#,
    );
    bench.runs(&policy, &["tool", "-s"]);
    bench.runs(&policy, &["tool", "--", "a b"]);
    let told = r#" (policy jobs: allowlist entry 2 "tool" does not match its arguments)"#;
    for args in [&["tool"][..], &["tool", "-s", "-a"], &["tool", "--", "a", "b"], &["tool", "-sx"]]
    {
        refused(&policy, args, told);
    }
    let long = "a".repeat(200_000);
    refused(&policy, &["tool", "--", &long], told);
}

#[test]
fn security_decides_before_any_list() {
    let bench = Bench::new();
    let list = r#""allowlist": [{ "pattern": "tool" }]"#;
    let policy = bench.jobs(&format!(r#"{{ "security": "deny", {list} }}"#));
    refused(&policy, &["tool"], " (policy jobs: security is deny)");
    let policy = bench.jobs(&format!(r#"{{ "security": "full", {list} }}"#));
    bench.runs(&policy, &["rm", "-rf"]);
    bench.runs(&policy, &[&bench.path("rm")]);
    assert_eq!(judge(&policy, &["none"]), Verdict::Missing(Errno::NOENT));
    let detour = " (policy jobs: a command is a name, or an absolute path without . and ..)";
    refused(&policy, &["./rm"], detour);
    // A section that is not there allows nothing.
    refused(&bench.jobs("{}"), &["tool"], " (policy jobs: nothing on the allowlist matches)");
}

/// Security, ask and askFallback, whether what is listed runs, whether everything else does, and
/// what is told of a refusal.
#[test]
fn nobody_can_be_asked_so_the_fallback_decides() {
    use Security::{Allowlist, Deny, Full};
    let missed = "nothing on the allowlist matches";
    let always = "ask is always and nobody can be asked here: askFallback deny";
    let on_miss = "nothing on the allowlist matches; ask is on-miss and nobody can be asked here: askFallback";
    let bench = Bench::new();
    for (security, ask, fallback, result, told) in [
        ("deny", "off", "full", Deny, "security is deny".to_owned()),
        ("deny", "on-miss", "full", Deny, "security is deny".to_owned()),
        ("deny", "always", "full", Deny, "security is deny".to_owned()),
        ("allowlist", "off", "full", Allowlist, missed.to_owned()),
        ("allowlist", "on-miss", "deny", Allowlist, format!("{on_miss} deny")),
        ("allowlist", "on-miss", "allowlist", Allowlist, format!("{on_miss} allowlist")),
        ("allowlist", "on-miss", "full", Full, String::new()),
        ("allowlist", "always", "deny", Deny, always.to_owned()),
        (
            "allowlist",
            "always",
            "allowlist",
            Allowlist,
            format!("{missed}; {}", always.replace("deny", "allowlist")),
        ),
        ("allowlist", "always", "full", Full, String::new()),
        ("full", "off", "deny", Full, String::new()),
        ("full", "on-miss", "deny", Full, String::new()),
        ("full", "always", "deny", Deny, always.to_owned()),
        (
            "full",
            "always",
            "allowlist",
            Allowlist,
            format!("{missed}; {}", always.replace("deny", "allowlist")),
        ),
    ] {
        let rules = format!(
            r#"{{ "security": "{security}", "ask": "{ask}", "askFallback": "{fallback}",
                  "allowlist": [{{ "pattern": "tool" }}] }}"#
        );
        let case = format!("{security} {ask} {fallback}");
        let policy = bench.jobs(&rules);
        let ran = |name: &str| matches!(judge(&policy, &[name]), Verdict::Run(_));
        assert_eq!((ran("tool"), ran("rm")), (result >= Allowlist, result == Full), "{case}");
        if result < Full {
            refused(&policy, &["rm"], &format!(" (policy jobs: {told})"));
        }
        let text = format!(r#"{{ "version": 1, "agents": {rules} }}"#);
        assert_eq!(bench.file(&text).agents().security, result, "{case}");
    }
}

#[test]
fn sections_take_from_the_defaults_what_they_leave_out() {
    let bench = Bench::new();
    let policy = bench.file(
        r#"{ "version": 1, "defaults": { "security": "full" },
             "services": { "security": "allowlist", "allowlist": [{ "pattern": "tool" }] } }"#,
    );
    bench.runs(&policy, &["rm"]);
    let told = "command not allowed: rm (policy services: nothing on the allowlist matches)";
    let judged = policy.judge(Section::Services, "rm", &[]);
    assert_eq!(judged, Verdict::Refused(told.to_owned()));
    assert_eq!(policy.judge(Section::Services, "tool", &[]), Verdict::Run(bench.path("tool")));
    assert_eq!(policy.agents().security, Security::Full);
    // Where nothing is said, agents may do nothing.
    assert_eq!(bench.file(r#"{ "version": 1 }"#).agents(), AgentRules::default());
}

#[test]
fn agents_have_a_list_of_their_own() {
    let bench = Bench::new();
    let policy = bench.file(
        r#"{ "version": 1, "agents": { "security": "allowlist", "allowlist": [
             { "pattern": "/usr/bin/uname", "argPattern": "^-s$" }, { "pattern": "rg" } ] } }"#,
    );
    let entry = |pattern: &str, arg: Option<&str>| Entry {
        pattern: pattern.to_owned(),
        arg_pattern: arg.map(str::to_owned),
    };
    let allowlist = vec![entry("/usr/bin/uname", Some("^-s$")), entry("rg", None)];
    assert_eq!(policy.agents(), AgentRules { security: Security::Allowlist, allowlist });
    refused(&policy, &["rg"], " (policy jobs: nothing on the allowlist matches)");
}

#[test]
fn names_that_the_owner_set_must_allow_a_command_too() {
    let bench = Bench::new();
    let rules = r#"{ "version": 1, "jobs": { "allowlist": [{ "pattern": "tool" }, { "pattern": "rm" }] } }"#;
    let both = |set: bool| {
        let (names, file) = (names(&["rm", "sh"]), Some(bench.parsed(rules)));
        bench.policy(Sources { names, names_are_set: set, file })
    };
    bench.runs(&both(true), &["rm"]);
    refused(&both(true), &["tool"], " (SKYCLAW_ALLOWED_COMMANDS does not name it)");
    refused(&both(true), &["sh"], " (policy jobs: nothing on the allowlist matches)");
    // Its default has no say.
    bench.runs(&both(false), &["tool"]);
}

#[test]
fn the_rule_is_told_where_it_allows_too() {
    let bench = Bench::new();
    let rule = |policy: &Policy| policy.explain(Section::Jobs, "tool", &[]).1;
    let policy = bench.jobs(r#"{ "allowlist": [{ "pattern": "rm" }, { "pattern": "BIN/*" }] }"#);
    let expected = format!("policy jobs: allowlist entry 2 \"{}/*\" matches", bench.home());
    assert_eq!(rule(&policy), expected);
    assert!(policy.summary().contains("policy jobs: allowlist of 2 entries"));
    let policy = bench.jobs(r#"{ "security": "full" }"#);
    assert_eq!(rule(&policy), "policy jobs: security is full");
    let policy = bench.policy(Sources { names: names(&["tool"]), ..Sources::default() });
    assert_eq!(rule(&policy), "SKYCLAW_ALLOWED_COMMANDS names it");
}

#[test]
fn a_mistake_is_told_with_its_line_and_what_is_allowed() {
    let with = |rules: &str| format!("{{ \"version\": 1,\n \"jobs\": {rules} }}");
    let entry = |entry: &str| with(&format!("{{ \"allowlist\": [\n{entry} ] }}"));
    let long = "x".repeat(4097);
    for (text, line, words) in [
        (String::new(), 1, "EOF"),
        ("[]".to_owned(), 1, "expected an object"),
        ("{".to_owned(), 1, "EOF"),
        ("{}".to_owned(), 1, "missing field `version`"),
        ("{\n\"version\": 2 }".to_owned(), 2, "unknown version 2, allowed is 1"),
        ("{\"version\": \"1\" }".to_owned(), 1, "invalid type"),
        ("{ \"version\": 1,\n \"job\": {} }".to_owned(), 2, "unknown field `job`, expected one of"),
        (with("{}, \"jobs\": {}"), 2, "duplicate field `jobs`"),
        (with("[]"), 2, "expected an object"),
        (with("null"), 2, "expected an object"),
        (
            with("{ \"securty\": \"deny\" }"),
            2,
            "unknown field `securty`, expected one of `security`",
        ),
        (
            with("{ \"security\": \"on\" }"),
            2,
            "unknown word `on`, allowed is one of deny, allowlist, full",
        ),
        (with("{ \"security\": null }"), 2, "invalid type: null"),
        (with("{ \"ask\": \"no\" }"), 2, "allowed is one of off, on-miss, always"),
        (with("{ \"askFallback\": \"ask\" }"), 2, "allowed is one of deny, allowlist, full"),
        (with("{ \"allowlist\": [ \"uname\" ] }"), 2, "expected an object"),
        (entry("[ \"uname\" ]"), 3, "expected an object"),
        (entry("{ \"argPattern\": \"x\" }"), 3, "missing field `pattern`"),
        (entry("{ \"pattern\": \"x\", \"id\": \"y\" }"), 3, "unknown field `id`"),
        (entry("{ \"pattern\": \"\" }"), 3, "empty"),
        (entry("{ \"pattern\": \"python*\" }"), 3, "write a path, as /usr/bin/python*"),
        (entry("{ \"pattern\": \"*\" }"), 3, "has no slash"),
        (entry("{ \"pattern\": \"bin/*\" }"), 3, "must begin with / or ~/"),
        (entry("{ \"pattern\": \"/opt/../x\" }"), 3, "it would match nothing"),
        (entry("{ \"pattern\": \"/opt/\" }"), 3, "it would match nothing"),
        (entry("{ \"pattern\": \"/opt/[a\" }"), 3, "unclosed character class"),
        (entry("{ \"pattern\": \"x\", \"argPattern\": \"(\" }"), 3, "unclosed group"),
        (entry("{ \"pattern\": \"x\", \"argPattern\": null }"), 3, "invalid type: null"),
        (entry(&format!("{{ \"pattern\": \"{long}\" }}")), 3, "4096 are allowed"),
        ("{ \"version\": 1 }\n{}".to_owned(), 2, "trailing characters"),
    ] {
        let told = PolicyFile::parse(text.as_bytes(), Path::new("p.json"), None);
        let told = told.expect_err(&text).to_string();
        assert!(told.starts_with(&format!("p.json:{line}: ")), "{text}: {told}");
        assert!(told.contains(words) && !told.contains("column"), "{text}: {told}");
    }
}

#[test]
fn more_entries_than_can_be_held_are_refused() {
    let list = |count: usize| vec![r#"{ "pattern": "x" }"#; count].join(",");
    let file = |jobs: usize, agents: usize| {
        let text = format!(
            r#"{{ "version": 1, "jobs": {{ "allowlist": [{}] }}, "agents": {{ "allowlist": [{}] }} }}"#,
            list(jobs),
            list(agents)
        );
        PolicyFile::parse(text.as_bytes(), Path::new("p.json"), None).map(|_| ())
    };
    assert_eq!(file(600, 400), Ok(()));
    let told = file(600, 401).expect_err("too many").to_string();
    assert!(told.contains("1001 entries, 1000 are allowed"), "{told}");
}

#[test]
fn a_home_that_is_not_known_is_told() {
    let text = r#"{ "version": 1, "jobs": { "allowlist": [{ "pattern": "~/bin/*" }] } }"#;
    for home in [None, Some(""), Some("relative")] {
        let told = PolicyFile::parse(text.as_bytes(), Path::new("p.json"), home);
        let told = told.expect_err("no home").to_string();
        assert!(told.contains("p.json") && told.contains("HOME"), "{told}");
    }
    // What stands in its name is no pattern.
    let odd = PolicyFile::parse(text.as_bytes(), Path::new("p.json"), Some("/h[a]*/")).unwrap();
    let policy = Policy::new(&Sources { file: Some(odd), ..Sources::default() }, &[]);
    assert_eq!(judge(&policy, &["/h[a]*/bin/x"]), Verdict::Missing(Errno::NOENT));
    assert!(matches!(judge(&policy, &["/ha/bin/x"]), Verdict::Refused(_)));
}
