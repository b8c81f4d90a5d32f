//! What a step's span says, whoever takes it.

use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use skyclaw_protocol::{Command, JobId, Refusal};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::Registry;

use super::Step;

/// Every field that was noted, in order.
#[derive(Clone, Default)]
struct Noted(Arc<Mutex<Vec<(String, String)>>>);

impl Visit for &Noted {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let pair = (field.name().to_owned(), format!("{value:?}"));
        self.0.lock().expect("no test panicked with it").push(pair);
    }
}

impl Layer<Registry> for Noted {
    fn on_new_span(&self, attributes: &Attributes<'_>, _: &Id, _: Context<'_, Registry>) {
        attributes.record(&mut &*self);
    }

    fn on_record(&self, _: &Id, values: &Record<'_>, _: Context<'_, Registry>) {
        values.record(&mut &*self);
    }
}

#[test]
fn a_refused_step_says_what_kind_of_refusal_and_none_of_its_text() {
    let noted = Noted::default();
    tracing::subscriber::with_default(Registry::default().with(noted.clone()), || {
        let step = Step::begin(&Command::Cancel { job: JobId::new("nightly").expect("an id") });
        step.end(&Err(Refusal::Store("/var/lib/quite-private/coordinator.db: no space".into())));
    });
    let noted = noted.0.lock().expect("no test panicked with it");
    let text = format!("{noted:?}");
    assert!(!text.contains("private") && !text.contains("/var"), "{text}");
    let status = noted.iter().find(|(name, _)| name == "otel.status_description");
    assert_eq!(status.map(|(_, value)| value.as_str()), Some("\"store\""), "{text}");
}
