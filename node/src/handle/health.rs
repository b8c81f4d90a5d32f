//! Whether the node can do its work, and what hinders it.

use skyclaw_http_compat::Readiness;

use super::NodeHandle;
use crate::engine::Status;

impl NodeHandle {
    pub(super) fn health(&self) -> Readiness {
        let mut reasons = Vec::new();
        match self.0.shared.status() {
            Status::Ready => {}
            Status::Starting => reasons.push("the store is being opened".into()),
            Status::Failed(reason) => reasons.push(reason),
        }
        if let Some(low) = self.0.shared.reader().and_then(|reader| reader.space_check().err()) {
            reasons.push(low.to_string());
        }
        reasons.extend(self.0.shared.clock_off());
        let here = self.others_here();
        if here < self.0.others.needed {
            reasons.push(format!(
                "writes need {} other coordinators (SKYCLAW_MIN_REPLICATIONS), {here} connected",
                self.0.others.needed
            ));
        }
        if reasons.is_empty() { Readiness::Ready } else { Readiness::NotReady(reasons) }
    }
}
