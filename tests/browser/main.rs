//! The dashboard in a real browser: what people see and do there.
//!
//! Needs Chromium and its driver (Debian: `chromium`, `chromium-driver`). Pictures of what was seen are left
//! in the folder that `SKYCLAW_SCREENSHOTS` names. In every test a complaint of the browser, and a request to
//! anything but the node, is a failure.

mod docs;
mod live;
mod page;
mod size;
mod soak;
mod views;
mod website;

use skyclaw_tests::Need;

const NEEDS: [Need; 2] = [Need::Tool("chromedriver"), Need::Tool("chromium")];

/// Views that the navigation leads to.
const VIEWS: [&str; 6] = ["Overview", "Jobs", "Services", "Hosts", "Network", "Gateways"];
