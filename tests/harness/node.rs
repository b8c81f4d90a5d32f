//! A node: settings, start, stop, start again.

use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use skyclaw_node::config::SETTINGS;
use tempfile::TempDir;

use crate::api::Api;
use crate::binary::binary;
use crate::process::{Ended, Process};
use crate::wait::{PATIENCE, eventually};

/// How a node is set up. Nothing of the test's own environment reaches it.
#[derive(Clone, Debug)]
pub struct Setup {
    env: Vec<(String, OsString)>,
    args: Vec<String>,
    cwd: Option<PathBuf>,
    under: Vec<String>,
    user: Option<u32>,
    passable: bool,
    program: Option<PathBuf>,
}

impl Setup {
    /// A node with these roles on a free port of 127.0.0.1.
    #[must_use]
    pub fn new(roles: &str) -> Self {
        Self {
            env: Vec::new(),
            args: Vec::new(),
            cwd: None,
            under: Vec::new(),
            user: None,
            passable: false,
            program: None,
        }
        .env("SKYCLAW_ROLE", roles)
        .env("SKYCLAW_COORDINATOR_HOST", "127.0.0.1")
        .env("SKYCLAW_COORDINATOR_PORT", 0)
        .env("SKYCLAW_GATEWAY_HOST", "127.0.0.1")
        .env("SKYCLAW_GATEWAY_PORT", 0)
        .env("SKYCLAW_P2P_LISTEN", "/ip4/127.0.0.1/udp/0/quic-v1,/ip4/127.0.0.1/tcp/0")
        // Jobs of tests leave their evidence where no sandbox would let them; the sandbox has tests
        // of its own.
        .env("SKYCLAW_SANDBOX", "none")
    }

    /// A coordinator.
    #[must_use]
    pub fn coordinator() -> Self {
        Self::new("coordinator")
    }

    /// A coordinator that runs jobs itself.
    #[must_use]
    pub fn both() -> Self {
        Self::new("coordinator,host").host_defaults()
    }

    /// A host that gets its work from these coordinators.
    #[must_use]
    pub fn host(urls: &[&str]) -> Self {
        Self::new("host").env("SKYCLAW_COORDINATOR_URLS", urls.join(",")).host_defaults()
    }

    fn host_defaults(self) -> Self {
        self.env("SKYCLAW_ALLOWED_COMMANDS", "sh,true,false,env,head,printf,no-such-program")
            .env("SKYCLAW_SERVICE_HOST_ENABLED", 0)
            .env("SKYCLAW_STOP_GRACE_MS", 500)
    }

    /// Run by this user, who owns its folder. Needs root.
    #[must_use]
    pub fn user(mut self, id: u32) -> Self {
        self.user = Some(id);
        let id = id.to_string();
        self.under(&["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups"])
    }

    /// Its folder may be passed through by others: the users that runs get of a node that is root.
    #[must_use]
    pub const fn passable(mut self) -> Self {
        self.passable = true;
        self
    }

    /// Another file than the one that was built here.
    #[must_use]
    pub fn program(mut self, file: &Path) -> Self {
        self.program = Some(file.to_owned());
        self
    }

    /// Sets a variable. Its name must be one the node knows.
    #[must_use]
    #[track_caller]
    pub fn env(mut self, name: &str, value: impl ToString) -> Self {
        assert!(SETTINGS.iter().any(|setting| setting.env == name), "no such setting: {name}");
        self.env.retain(|(known, _)| known != name);
        self.env.push((name.to_owned(), value.to_string().into()));
        self
    }

    /// Sets a variable that is no setting of the node.
    #[must_use]
    pub fn foreign_env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.into()));
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(|arg| (*arg).to_owned()));
        self
    }

    /// Another working directory than the node's own folder.
    #[must_use]
    pub fn cwd(mut self, cwd: &Path) -> Self {
        self.cwd = Some(cwd.to_owned());
        self
    }

    /// Started by this command, which gets the node's own command line appended.
    #[must_use]
    pub fn under(mut self, command: &[&str]) -> Self {
        self.under = command.iter().map(|arg| (*arg).to_owned()).collect();
        self
    }

    /// Starts the node and waits until it listens and has registered, as far as that is its role.
    #[must_use]
    #[track_caller]
    pub fn start(self) -> Node {
        let mut folder = tempfile::tempdir().expect("a folder can be made");
        // To be looked at after a test that failed: database, output and what it wrote.
        if std::env::var_os("SKYCLAW_TEST_KEEP").is_some() {
            folder.disable_cleanup(true);
            #[allow(clippy::print_stdout, reason = "for whoever asked for it")]
            let () = println!("kept: {}", folder.path().display());
        }
        let process = self.spawn(folder.path());
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let api = Api::new(address, self.token());
        let mut node = Node { process, folder, setup: self, api };
        node.meet();
        node
    }

    /// Starts the node in a folder of the caller's and does not wait.
    #[must_use]
    pub fn spawn(&self, folder: &Path) -> Process {
        let cwd = self.cwd.clone().unwrap_or_else(|| folder.join("cwd"));
        fs::create_dir_all(&cwd).expect("the test's folder is writable");
        if self.passable {
            fs::set_permissions(folder, fs::Permissions::from_mode(0o711)).expect("it is ours");
        }
        if let Some(id) = self.user {
            let tmp = folder.join("tmp");
            fs::create_dir_all(&tmp).expect("the test's folder is writable");
            for path in [folder, &cwd, &tmp] {
                chown(path, Some(id), Some(id)).expect("the user is root");
            }
        }
        let node = self.program.clone().unwrap_or_else(|| binary("skyclaw-node"));
        let Some((program, first)) = self.under.split_first() else {
            return Process::start(&node, &self.args, &self.env, &cwd, folder);
        };
        let mut args = first.to_vec();
        args.push(self.reachable(node, folder).to_string_lossy().into_owned());
        args.extend_from_slice(&self.args);
        Process::start(Path::new(program), &args, &self.env, &cwd, folder)
    }

    /// Another user may not pass through the folders in which the program was built.
    fn reachable(&self, program: PathBuf, folder: &Path) -> PathBuf {
        if self.user.is_none() {
            return program;
        }
        // What runs hang under lies beside it.
        for program in [program, binary("skyclaw-job")] {
            let within = folder.join(program.file_name().expect("it is a file"));
            if !within.exists() && fs::hard_link(&program, &within).is_err() {
                fs::copy(&program, &within).expect("the test's folder is writable");
            }
        }
        folder.join("skyclaw-node")
    }

    /// Starts a node that is expected to end by itself.
    #[must_use]
    #[track_caller]
    pub fn run(&self, folder: &Path) -> Ended {
        self.spawn(folder).wait(PATIENCE)
    }

    fn value(&self, name: &str) -> Option<String> {
        let found = self.env.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.to_string_lossy().into_owned())
    }

    fn token(&self) -> Option<String> {
        self.value("SKYCLAW_TOKEN")
    }

    fn listens(&self) -> bool {
        self.is("coordinator")
    }

    fn is(&self, role: &str) -> bool {
        self.value("SKYCLAW_ROLE").is_some_and(|roles| roles.contains(role))
    }
}

/// A running node.
#[derive(Debug)]
pub struct Node {
    /// Its process. Dropped, and so killed, before its folder is removed.
    pub process: Process,
    /// Its API; of no use for a host alone.
    pub api: Api,
    setup: Setup,
    folder: TempDir,
}

impl Node {
    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its working directory.
    #[must_use]
    pub fn cwd(&self) -> PathBuf {
        self.setup.cwd.clone().unwrap_or_else(|| self.folder().join("cwd"))
    }

    /// The url of its API.
    #[must_use]
    pub fn url(&self) -> String {
        self.api.url()
    }

    /// Where its gateway listens.
    #[must_use]
    #[track_caller]
    pub fn gateway(&self) -> SocketAddr {
        let word = "gateway listening on http://";
        let process = &self.process;
        let address = eventually("the gateway listens", || {
            let stdout = process.stdout();
            let line = stdout.lines().find_map(|line| line.split_once(word));
            line.map(|(_, rest)| rest.trim().to_owned()).ok_or(stdout)
        });
        address.parse().unwrap_or_else(|_| panic!("no address: {address}"))
    }

    /// Asks it to stop.
    pub fn terminate(&mut self) {
        self.process.signal(Signal::TERM);
    }

    /// Stops it and waits.
    #[track_caller]
    pub fn stop(&mut self) -> Ended {
        self.terminate();
        self.process.wait(PATIENCE)
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait(&mut self, patience: Duration) -> Ended {
        self.process.wait(patience)
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again on the same folder and the same port, once it has ended.
    #[track_caller]
    pub fn start_again(&mut self) {
        self.start_with(|setup| setup);
    }

    /// The same with other settings.
    #[track_caller]
    pub fn start_with(&mut self, change: impl FnOnce(Setup) -> Setup) {
        assert!(!self.process.is_running(), "stop or kill it first");
        let mut setup = self.setup.clone();
        if setup.listens() {
            setup = setup.env("SKYCLAW_COORDINATOR_PORT", self.api.address().port());
        }
        self.setup = change(setup);
        // What it said before is kept, aside.
        for name in ["stdout", "stderr"] {
            let old = self.folder().join(format!("{name}.old"));
            fs::rename(self.folder().join(name), old).expect("the test's folder is writable");
        }
        self.process = self.setup.spawn(self.folder.path());
        self.meet();
    }

    #[track_caller]
    fn meet(&mut self) {
        // A node that listens says so once its host has registered.
        let word = match (self.setup.listens(), self.setup.is("host")) {
            (true, _) => "[skyclaw] coordinator ",
            (false, true) => "host registered: ",
            (false, false) => "gateway listening on http://",
        };
        let process = &mut self.process;
        let rest = eventually("the node has started", || {
            let stdout = process.stdout();
            let line = stdout.lines().find_map(|line| line.split_once(word));
            let found = line.map(|(_, rest)| rest.trim().to_owned());
            if found.is_none() && !process.is_running() {
                panic!("the node ended at its start: {}{}", process.stdout(), process.log());
            }
            found.ok_or(stdout)
        });
        if self.setup.listens() {
            let rest = rest.rsplit("http://").next().unwrap_or_default();
            let address = rest.parse().unwrap_or_else(|_| panic!("no address: {rest}"));
            self.api = Api::new(address, self.setup.token());
        }
    }
}
