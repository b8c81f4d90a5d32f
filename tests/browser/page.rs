//! A page in a browser of the test's own.
//!
//! Always: the browser and its driver end with the test, also with one that fails; waits are for what is seen,
//! and bounded; the browser reaches nothing but loopback.

use std::fs;
use std::io::{BufRead, BufReader};
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

use futures::FutureExt;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use skyclaw_tests::{PATIENCE, processes_with};
use thirtyfour::common::log::LoggingPrefsLogLevel;
use thirtyfour::prelude::*;

const GLANCE: Duration = Duration::from_millis(20);

/// Root has no sandbox for its browser, containers little shared memory, and tests no network.
const ARGS: [&str; 9] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--enable-precise-memory-info",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
];

const AUDIT: &str = include_str!("audit.js");
const TAB: &str = include_str!("tab.js");

/// The driver, on a port of its own choice, and the folder that names its browser's processes.
struct Driver {
    child: Child,
    port: u16,
    profile: tempfile::TempDir,
}

impl Driver {
    fn start() -> Self {
        let profile = tempfile::tempdir().expect("a folder can be made");
        let mut command = Command::new("chromedriver");
        command.arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null());
        // What they lay aside goes with the folder, and all of them are known by it.
        command.env("TMPDIR", profile.path());
        let mut child = command.spawn().expect("chromedriver starts");
        let said = BufReader::new(child.stdout.take().expect("it is piped"));
        let port = said.lines().map_while(Result::ok).find_map(|line| {
            let (_, rest) = line.split_once("started successfully on port ")?;
            rest.trim_end_matches('.').parse().ok()
        });
        Self { child, port: port.expect("it says its port"), profile }
    }

    /// Where the browser keeps what it keeps; in the command line of each of its processes.
    fn profile(&self) -> String {
        self.profile.path().display().to_string()
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // A browser that was asked to end has; one of a test that failed may not.
        for pid in processes_with(&self.profile()) {
            let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
            let _ = pid.map(|pid| kill_process(pid, Signal::KILL));
        }
    }
}

/// What is looked at.
pub(crate) struct Page {
    browser: WebDriver,
    profile: String,
}

/// Held by whoever looks; alone by whom times.
static TURN: RwLock<()> = RwLock::new(());

/// Opens a page, looks at it, and ends the browser.
pub(crate) fn with(url: &str, look: impl AsyncFnOnce(&Page)) {
    let _turn = TURN.read().unwrap_or_else(PoisonError::into_inner);
    look_at(url, look);
}

/// The same with no other page looked at meanwhile: three browsers on two cores time each other.
pub(crate) fn alone(url: &str, look: impl AsyncFnOnce(&Page)) {
    let _turn = TURN.write().unwrap_or_else(PoisonError::into_inner);
    look_at(url, look);
}

fn look_at(url: &str, look: impl AsyncFnOnce(&Page)) {
    // Other crates of the tests bring another provider along, so one must be named.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let driver = Driver::start();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("it is");
    runtime.block_on(async {
        let mut caps = DesiredCapabilities::chrome();
        for arg in ARGS {
            caps.add_arg(arg).expect("an argument");
        }
        let profile = format!("--user-data-dir={}", driver.profile());
        caps.add_arg(&profile).expect("an argument");
        caps.set_browser_log_level(LoggingPrefsLogLevel::All).expect("a level");
        let browser = WebDriver::new(format!("http://127.0.0.1:{}", driver.port), caps).await;
        let page =
            Page { browser: browser.expect("the browser starts"), profile: driver.profile() };
        page.resize(1200, 900).await;
        page.open(url).await;
        let looked = AssertUnwindSafe(look(&page)).catch_unwind().await;
        if looked.is_err() {
            page.keep("failed").await;
        }
        let ended = page.browser.quit().await;
        looked.unwrap_or_else(|panic| resume_unwind(panic));
        ended.expect("the browser ends");
    });
}

/// Looks until it holds.
pub(crate) async fn patiently(what: &str, look: impl AsyncFn() -> Result<(), String>) {
    let begun = Instant::now();
    loop {
        match look().await {
            Ok(()) => return,
            Err(seen) => assert!(begun.elapsed() < PATIENCE, "{what}: {seen}"),
        }
        tokio::time::sleep(GLANCE).await;
    }
}

impl Page {
    /// What the command line of each process of the browser names.
    pub(crate) fn profile(&self) -> &str {
        &self.profile
    }

    pub(crate) async fn open(&self, url: &str) {
        self.browser.goto(url).await.expect("the page opens");
    }

    /// What a script returns.
    pub(crate) async fn run(&self, script: &str, args: Vec<Value>) -> Value {
        let value = self.browser.execute(script, args).await.expect("it runs");
        value.json().clone()
    }

    pub(crate) async fn number(&self, what: &str) -> f64 {
        let value = self.run(&format!("return {what}"), Vec::new()).await;
        value.as_f64().expect("a number")
    }

    /// How many elements fit.
    pub(crate) async fn count(&self, css: &str) -> u64 {
        let script = "return document.querySelectorAll(arguments[0]).length";
        self.run(script, vec![css.into()]).await.as_u64().expect("a number")
    }

    /// The text of all that fits, as people see it.
    pub(crate) async fn text(&self, css: &str) -> String {
        let script = "return [...document.querySelectorAll(arguments[0])].map(it => it.innerText ?? it.textContent).join('\\n')";
        self.run(script, vec![css.into()]).await.as_str().unwrap_or_default().to_owned()
    }

    pub(crate) async fn until_text(&self, css: &str, want: &str) {
        let look = async || match self.text(css).await {
            text if text.contains(want) => Ok(()),
            text => Err(format!("{css} is {:?}", text.chars().take(600).collect::<String>())),
        };
        patiently(want, look).await;
    }

    /// Clicks on the first that fits, once it is there.
    pub(crate) async fn click(&self, css: &str) {
        let look = async || {
            let element =
                self.browser.find(By::Css(css)).await.map_err(|error| error.to_string())?;
            element.click().await.map_err(|error| error.to_string())
        };
        patiently(css, look).await;
    }

    /// Follows a link of the navigation to the view it is named by.
    pub(crate) async fn follow(&self, view: &str) {
        self.browser
            .find(By::LinkText(view))
            .await
            .expect("a link")
            .click()
            .await
            .expect("a click");
        self.until_text("main h2", view).await;
    }

    /// The same by keyboard: from the top of the page, then Enter.
    pub(crate) async fn tab_to(&self, text: &str) {
        self.begin_at_the_top().await;
        let mut at = String::new();
        for _ in 0..20 {
            self.press(Key::Tab + "").await;
            let now = self.run("return document.activeElement.innerText", Vec::new()).await;
            at = now.as_str().unwrap_or_default().to_owned();
            if at == text {
                break;
            }
        }
        assert_eq!(at, text, "it is not reached by keyboard");
        self.press(Key::Enter + "").await;
        self.until_text("main h2", text).await;
    }

    async fn begin_at_the_top(&self) {
        let script = "document.activeElement.blur(); getSelection().removeAllRanges(); \
                      getSelection().setPosition(document.body, 0); window.__reached = new Set()";
        self.run(script, Vec::new()).await;
    }

    pub(crate) async fn press(&self, keys: impl Into<TypingData>) {
        let chain = self.browser.action_chain().send_keys(keys);
        chain.perform().await.expect("a key is pressed");
    }

    /// Everything that can be used is reached by Tab from the top, and shows it.
    pub(crate) async fn all_is_reached_by_keyboard(&self, what: &str) {
        self.begin_at_the_top().await;
        let left = async || self.run(TAB, Vec::new()).await;
        let most = left().await.as_array().map_or(0, Vec::len) + 5;
        for _ in 0..most {
            self.press(Key::Tab + "").await;
            if left().await == json!([]) {
                return;
            }
        }
        assert_eq!(left().await, json!([]), "not reached in {what}");
    }

    /// Nothing hinders people who do not see well, in light and in dark.
    pub(crate) async fn is_for_everybody(&self, what: &str) {
        for scheme in ["dark", "light"] {
            self.prefer(scheme).await;
            let wrong = self.run(AUDIT, Vec::new()).await;
            assert_eq!(wrong, json!([]), "{what} in {scheme}");
        }
    }

    /// As if the system were set to `light` or `dark`.
    pub(crate) async fn prefer(&self, scheme: &str) {
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.devtools("Emulation.setEmulatedMedia", media).await;
    }

    pub(crate) async fn devtools(&self, command: &str, params: Value) -> Value {
        self.browser.cdp().send_raw(command, params).await.expect("the browser does it")
    }

    pub(crate) async fn fill(&self, css: &str, text: &str) {
        let look = async || {
            let element =
                self.browser.find(By::Css(css)).await.map_err(|error| error.to_string())?;
            element.clear().await.map_err(|error| error.to_string())?;
            element.send_keys(text).await.map_err(|error| error.to_string())
        };
        patiently(css, look).await;
    }

    pub(crate) async fn title(&self) -> String {
        self.browser.title().await.expect("a title")
    }

    pub(crate) async fn resize(&self, width: u32, height: u32) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.devtools("Emulation.setDeviceMetricsOverride", size).await;
    }

    /// Keeps a picture of what is seen, for whoever asked for them.
    pub(crate) async fn keep(&self, name: &str) {
        let Some(folder) = std::env::var_os("SKYCLAW_SCREENSHOTS") else { return };
        fs::create_dir_all(&folder).expect("the folder can be made");
        let picture = self.browser.screenshot_as_png().await.expect("a picture");
        fs::write(Path::new(&folder).join(format!("{name}.png")), picture).expect("it is written");
    }

    /// The browser complained of nothing, but for lines with these words; and nothing was loaded from elsewhere.
    pub(crate) async fn nothing_is_wrong(&self, but: &str) {
        let said = self.browser.browser_log().await.expect("a log");
        let said: Vec<String> = said.into_iter().map(|line| line.message).collect();
        let wrong: Vec<&String> = said.iter().filter(|line| !line.contains(but)).collect();
        assert!(wrong.is_empty(), "{wrong:?}");
        let script = "return performance.getEntriesByType('resource').map(it => it.name)\
                      .filter(name => !name.startsWith(location.origin))";
        assert_eq!(self.run(script, Vec::new()).await, json!([]), "loaded from elsewhere");
    }
}
