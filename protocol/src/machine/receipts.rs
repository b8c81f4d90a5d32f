//! Receipts that come with reports: whether one is about this run of this host.
//!
//! Always: what only the machine knows is compared here. That the host signed it, and that it tells
//! of what was reported, was checked by whoever took the report from the host, off this thread.

use super::Machine;
use crate::command::Completion;
use crate::record::receipt::Receipt;
use crate::record::spec::Subject;
use crate::register::JobState;

impl Machine {
    /// Why the receipt of a report is not taken. A report without one is none's fault: hosts of the
    /// original give none.
    pub(super) fn receipt_fault(
        &self,
        subject: &Subject,
        state: &JobState,
        report: &Completion,
    ) -> Option<&'static str> {
        let raw = report.receipt.as_deref()?;
        let Ok(receipt) = raw.clone().reopen::<Receipt>() else {
            return Some("it cannot be read");
        };
        let receipt = receipt.body();
        let spec = self.registers.get(subject).map(|entry| entry.head.key.spec);
        let known = self.hosts.get(&report.host).and_then(|host| host.record.node);
        // A host over HTTP names no attempt: it may not have heard that its job was granted to it anew.
        let attempt = match report.attempt {
            Some(attempt) => attempt == receipt.attempt,
            None => receipt.attempt <= state.attempt,
        };
        [
            ("it is of another network", receipt.network == self.config.network),
            ("it is of another job", receipt.job == report.job),
            ("it is of another host", receipt.host == report.host),
            ("it is of another attempt", attempt),
            (
                "it is of another spec",
                receipt.spec.is_none() || spec.is_none() || receipt.spec == spec,
            ),
            ("it is signed by another node", known.is_none_or(|node| node == receipt.node)),
        ]
        .into_iter()
        .find_map(|(fault, holds)| (!holds).then_some(fault))
    }
}
