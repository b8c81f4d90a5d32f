//! What is packaged beside the program (`node/packaging`) says of it what is so.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use cargo_metadata::MetadataCommand;
use serde_json::{Value, json};
use skyclaw_node::config::{SETTINGS, Setting};
use skyclaw_tests::{Api, Need, Setup, can, eventually, workspace_root};

fn path(name: &str) -> PathBuf {
    workspace_root().join("node/packaging").join(name)
}

#[track_caller]
fn packaged(name: &str) -> String {
    let read = fs::read_to_string(path(name));
    assert!(read.is_ok(), "node/packaging/{name} is missing");
    read.unwrap_or_default()
}

/// The words in a text that begin so.
fn words(text: &str, prefix: &str) -> BTreeSet<String> {
    let part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let found = text.split(|c| !part(c)).filter(|word| word.starts_with(prefix));
    found.map(str::to_owned).collect()
}

/// The metrics of a node in each role in which something of each kind has happened, with their kinds.
fn served() -> BTreeMap<String, String> {
    // Its own host is not to take the service first.
    let node =
        Setup::new("coordinator,host,gateway").env("SKYCLAW_SERVICE_HOST_ENABLED", 0).start();
    node.api.register("h1", &["service-host"], 1);
    let service = json!({ "serviceId": "s1", "name": "s1", "command": "sh" });
    node.api.post("/v1/services", &service).ok();
    node.api.post("/v1/hosts/h1/services/claim", &json!({})).ok();
    // Nobody listens there.
    let running = json!({ "hostId": "h1", "status": "running", "endpoint": "http://127.0.0.1:1" });
    node.api.post("/v1/services/s1/report", &running).ok();
    node.api.get("/v1/jobs/nobodys").error(404);
    let gateway = Api::new(node.gateway(), None);
    eventually("the gateway tries the instance", || {
        let status = gateway.get("/v1/gateway/s1/").status;
        if status == 502 { Ok(()) } else { Err(status.to_string()) }
    });
    let text = node.api.get("/metrics").text();
    let kinds = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let named = |(name, kind): (&str, &str)| {
        let end = if kind == "counter" { "_total" } else { "" };
        (format!("{name}{end}"), kind.to_owned())
    };
    kinds.map(named).collect()
}

/// The cells of the rows of tables whose first one is a name in code.
fn rows(text: &str) -> Vec<Vec<&str>> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("| `")?.strip_suffix(" |"));
    lines
        .map(|line| line.splitn(5, " | ").map(|cell| cell.trim_matches([' ', '`'])).collect())
        .collect()
}

/// The table, the alerts and the dashboard are about the metrics that there are.
#[test]
fn what_is_said_of_metrics_is_said_of_those_that_a_node_serves() {
    let served = served();
    let text = packaged("METRICS.md");
    let table: BTreeMap<String, String> = rows(&text)
        .into_iter()
        .filter(|row| row[0].starts_with("skyclaw_"))
        .inspect(|row| assert!(row.len() == 5 && !row[2].is_empty(), "no unit or meaning: {row:?}"))
        .map(|row| (row[0].to_owned(), row[1].to_owned()))
        .collect();
    assert_eq!(table, served);

    for name in ["alerts.yml", "grafana.json"] {
        let used = words(&packaged(name), "skyclaw_");
        assert!(used.len() > 10, "the search does not work: {used:?}");
        for metric in used {
            let of_histogram = ["_bucket", "_sum", "_count"].into_iter().any(|end| {
                let base = metric.strip_suffix(end).and_then(|base| served.get(base));
                base.is_some_and(|kind| kind == "histogram")
            });
            assert!(served.contains_key(&metric) || of_histogram, "{name}: {metric} is not served");
        }
    }
}

/// Every alert is explained, and nothing else is.
#[test]
fn the_table_of_alerts_is_that_of_the_rules() {
    let rules = packaged("alerts.yml");
    let rules = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: "));
    let rules: BTreeSet<_> = rules.collect();
    let text = packaged("METRICS.md");
    let told = rows(&text).into_iter().filter(|row| row[0].starts_with("Skyclaw"));
    assert_eq!(told.map(|row| row[0]).collect::<BTreeSet<_>>(), rules);
}

/// A dashboard that a Grafana would take: unique panels that lie beside each other.
#[test]
fn the_dashboard_is_whole() {
    let board: Value = serde_json::from_str(&packaged("grafana.json")).expect("it is JSON");
    let panels = board["panels"].as_array().expect("it has panels");
    let mut ids = BTreeSet::new();
    let mut taken = BTreeSet::new();
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64()), "twice: {}", panel["id"]);
        assert!(panel["type"] == "row" || panel["targets"][0]["expr"].is_string(), "{panel}");
        let at = |name: &str| panel["gridPos"][name].as_u64().expect("it has a place");
        for x in at("x")..at("x") + at("w") {
            for y in at("y")..at("y") + at("h") {
                assert!(x < 24 && taken.insert((x, y)), "{} lies on another", panel["title"]);
            }
        }
    }
}

/// Variables in the unit, the image and the file for compose are settings of the node.
#[test]
fn only_settings_that_there_are_are_named() {
    for name in ["skyclaw-node.service", "Dockerfile", "compose.yaml", "METRICS.md"] {
        for word in words(&packaged(name), "SKYCLAW_") {
            assert!(
                SETTINGS.iter().any(|setting| setting.env == word),
                "{name}: no setting {word}"
            );
        }
    }
    let unit = packaged("skyclaw-node.service");
    assert!(unit.contains("Environment=SKYCLAW_CONFIG=/etc/skyclaw/skyclaw.toml"));
}

fn setting(key: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.toml_key().as_deref() == Some(key))
}

/// What is set, and what somebody sets by taking the `#` away, is taken; what is shown as a default is one.
#[test]
fn the_example_settings_are_taken() {
    let text = packaged("skyclaw.toml");
    let offered = |line: &&str| {
        let key = line.strip_prefix("# ").and_then(|line| Some(line.split_once(" = ")?.0));
        key.is_some_and(|key| key.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
    };
    let offers: Vec<&str> = text.lines().filter(offered).map(|line| &line[2..]).collect();
    assert!(offers.len() > 20, "the search does not work: {offers:?}");
    for line in &offers {
        let (key, value) = line.split_once(" = ").unwrap_or_default();
        let Some(default) = setting(key).and_then(|setting| setting.fallback.constant()) else {
            assert!(setting(key).is_some(), "no setting {key}");
            continue;
        };
        let plain: String = value.chars().filter(|c| !"\"[] ".contains(*c)).collect();
        assert_eq!(plain, default, "{key} is shown with another default");
    }

    // Certificates come from files or by ACME, not both.
    let without = |prefix: &str| {
        let kept = offers.iter().filter(|line| !line.starts_with(prefix));
        kept.fold(text.clone(), |text, line| format!("{text}{line}\n"))
    };
    for settings in [text.clone(), without("tls_"), without("acme_")] {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("skyclaw.toml");
        fs::write(&file, settings).expect("it is writable");
        let ended = Command::new(skyclaw_tests::binary("skyclaw-node"))
            .args(["--config".as_ref(), file.as_os_str(), "config".as_ref()])
            .env_clear()
            .current_dir(folder.path())
            .output()
            .expect("it starts");
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.success(), "{said}");
        assert!(String::from_utf8_lossy(&ended.stdout).contains("/var/lib/skyclaw/node.db"));
    }
}

/// Where the package takes pages from.
const PAGES: &str = "../target/pages/";

/// Makes them, as the README has it done before the package is built.
fn pages(out: &std::path::Path) {
    let programs = skyclaw_tests::binary("skyclaw");
    let programs = programs.parent().expect("they lie in a folder");
    let made = Command::new(path("pages")).arg(programs).arg(out).status();
    assert!(made.expect("there is a shell").success());
    let readme = fs::read_to_string(workspace_root().join("README.md")).unwrap_or_default();
    let steps = ["node/packaging/pages ", "cargo deb -p skyclaw-node "];
    let [first, then] = steps.map(|step| readme.find(step).expect("README names the step"));
    assert!(first < then, "the package is built of them");
}

/// What the package takes along is there, and its scripts are scripts.
#[test]
fn the_package_has_what_it_names() {
    let manifest = workspace_root().join("node/Cargo.toml");
    let metadata = MetadataCommand::new().manifest_path(manifest).no_deps().exec();
    let metadata = metadata.expect("cargo metadata works");
    let node = metadata.packages.iter().find(|package| package.name == "skyclaw-node");
    let deb = &node.expect("the node is a crate").metadata["deb"];
    let assets = deb["assets"].as_array().expect("it has assets");
    let from_tree = assets.iter().filter_map(|asset| asset[0].as_str());
    let (made, from_tree): (Vec<_>, Vec<_>) = from_tree
        .filter(|from| !from.starts_with("target/"))
        .partition(|from| from.starts_with(PAGES));
    let out = tempfile::tempdir().expect("a folder");
    let (kept, old) = (out.path().join("bash/mine"), out.path().join("man1/skyclaw-old.1"));
    for file in [&kept, &old] {
        fs::create_dir_all(file.parent().expect("a folder")).expect("it is writable");
        fs::write(file, "was here before").expect("it is writable");
    }
    pages(out.path());
    assert!(kept.is_file() && !old.exists(), "what is not ours stays, and old pages go");
    for from in &made {
        let folder = from.strip_prefix(PAGES).and_then(|from| from.strip_suffix("/*"));
        let files = fs::read_dir(out.path().join(folder.expect("all files of a folder")));
        let names: BTreeSet<_> =
            files.expect("it was made").flatten().map(|file| file.file_name()).collect();
        for program in ["skyclaw", "skyclaw-node"] {
            let of_it = |name: &&std::ffi::OsString| {
                let name = name.to_string_lossy();
                let name = name.trim_start_matches('_');
                name.split('.').next() == Some(program)
            };
            assert!(names.iter().any(|name| of_it(&name)), "{from}: {program} in {names:?}");
        }
    }
    assert_eq!(made.len(), 4, "{made:?}");
    assert!(from_tree.len() > 5, "{assets:?}");
    for from in from_tree {
        assert!(workspace_root().join("node").join(from).is_file(), "{from} is missing");
    }
    for script in ["postinst", "prerm", "postrm"] {
        let script = path("debian").join(script);
        let checked = Command::new("sh").arg("-n").arg(&script).status().expect("there is a shell");
        assert!(checked.success(), "{}", script.display());
        let text = fs::read_to_string(&script).unwrap_or_default();
        assert!(
            text.contains("\n#DEBHELPER#\n"),
            "{}: the unit would be left out",
            script.display()
        );
    }
}

/// A node uses the small program that lies beside it, so wherever the one is put the others are.
#[test]
fn the_package_and_the_image_have_all_programs_in_one_folder() {
    let manifest = workspace_root().join("node/Cargo.toml");
    let metadata = MetadataCommand::new().manifest_path(manifest).no_deps().exec();
    let metadata = metadata.expect("cargo metadata works");
    let node = metadata.packages.iter().find(|package| package.name == "skyclaw-node");
    let node = node.expect("the node is a crate");
    let programs: BTreeSet<String> = node
        .targets
        .iter()
        .filter(|target| target.is_bin())
        .map(|target| format!("target/release/{}", target.name))
        .collect();
    assert!(programs.contains("target/release/skyclaw-job"), "{programs:?}");
    let assets = node.metadata["deb"]["assets"].as_array().expect("it has assets").iter();
    let packed = assets.filter(|asset| asset[1] == "usr/bin/" && asset[2] == "755");
    let packed: BTreeSet<_> = packed.filter_map(|asset| asset[0].as_str()).collect();
    assert_eq!(packed, programs.iter().map(String::as_str).collect());
    let image = packaged("Dockerfile");
    let copied = image.split_once("install -D -t /out ").expect("it copies programs").1;
    let copied = copied.lines().next().unwrap_or_default().split(' ').collect::<BTreeSet<_>>();
    assert_eq!(copied, programs.iter().map(String::as_str).collect());
}

/// Directives under which the sandbox cannot be built: each takes a namespace, a mount or a right that
/// an ordinary user has otherwise.
const AGAINST_THE_SANDBOX: [&str; 9] = [
    "RestrictNamespaces",
    "ProtectHostname",
    "ProtectControlGroups",
    "ProtectProc",
    "ProcSubset",
    "ProtectKernelTunables",
    "ProtectKernelLogs",
    "PrivateUsers",
    "MemoryDenyWriteExecute",
];

#[test]
fn the_unit_leaves_runs_their_sandbox() {
    let unit = packaged("skyclaw-node.service");
    let set: Vec<_> = unit.lines().filter_map(|line| line.split_once('=')).collect();
    let named = |name: &str| set.iter().filter(|(key, _)| *key == name).count();
    for directive in AGAINST_THE_SANDBOX {
        assert_eq!(named(directive), 0, "{directive}");
    }
    for (directive, value) in [("Delegate", "yes"), ("OOMPolicy", "continue")] {
        assert!(set.contains(&(directive, value)), "{directive}={value}");
    }
}

/// A node without any right, and without a way to one, as the unit starts it.
#[test]
fn runs_are_isolated_under_a_node_that_has_no_rights_at_all() {
    if !can(&[Need::Root, Need::Tool("setpriv"), Need::Sandbox("isolated")]) {
        return;
    }
    let nobody = 65_534;
    let id = nobody.to_string();
    let mut start = vec!["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups"];
    start.extend([
        "--no-new-privs",
        "--bounding-set=-all",
        "--inh-caps=-all",
        "--ambient-caps=-all",
    ]);
    let node = Setup::both()
        .user(nobody)
        .under(&start)
        .env("SKYCLAW_SANDBOX", "isolated")
        .env("SKYCLAW_WORK_DIR", "work")
        .start();
    let job = node.api.submit_shell("echo $$; grep CapBnd /proc/self/status");
    let done = node.api.until_job_ended(&job);
    let said = done["result"]["stdout"].as_str().unwrap_or_default();
    let lines: Vec<_> = said.lines().collect();
    // Process numbers begin anew, and what root could have is not to be had.
    assert!(lines[0].parse::<u32>().is_ok_and(|pid| pid < 10), "{done}");
    assert!(lines[1].ends_with("0000000000000000"), "{done}");
}

/// What the unit must not ask for, and what engines of containers do by default: the node goes on at a
/// weaker level and says what would give the stronger one.
#[test]
fn a_node_whose_proc_is_covered_says_what_covers_it() {
    let needs = [Need::Root, Need::Tool("setpriv"), Need::Tool("unshare"), Need::Tool("mount")];
    if !can(&needs) || !can(&[Need::Sandbox("isolated")]) {
        return;
    }
    // In a mount namespace that ends with the node.
    let cover = "mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && \
                 exec setpriv --reuid 65534 --regid 65534 --clear-groups \"$@\"";
    let node = Setup::both()
        .user(65_534)
        .under(&["unshare", "-m", "--propagation", "private", "sh", "-c", cover, "sh"])
        .env("SKYCLAW_SANDBOX", "auto")
        .start();
    let log = node.process.log();
    let said = log.lines().find(|line| line.contains("kept apart as landlock only"));
    assert!(said.is_some_and(|line| line.contains("systempaths=unconfined")), "{log}");
}
