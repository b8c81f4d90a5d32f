//! Spans on their way to a collector, by OTLP: protobuf over HTTP.
//!
//! ```text
//!   spans of tracing -> the layer -> a queue -> a thread -> POST, by a runtime of its own -> the collector
//! ```
//!
//! Always: whoever ends a span never waits; where the queue is full the span is lost. Of the collector's trouble little
//! is said, and nothing of its url and the headers it is sent.

mod post;
mod queue;

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::{
    SpanContext, SpanId, Status, TraceContextExt, TraceFlags, TraceId, TraceState, TracerProvider,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{Protocol, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider, ShouldSample, SpanData, SpanExporter,
};
use skyclaw_http_compat::Caller;
use skyclaw_protocol::JobId;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tracing::Span;
use tracing::level_filters::LevelFilter;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::FilterFn;

use super::trouble::Word;
use super::{Sending, ids, sampling};
use crate::config::{Config, TraceConfig};
use crate::supervisor::Outcome;
use post::Post;
use queue::{Counting, QUEUE, Queue};

/// What the library is told instead of the collector's url, which its errors and logs would show.
const NOWHERE: &str = "http://collector.invalid/v1/traces";

/// Look-ups of the collector's name at once: each that nothing answers holds a thread for a while.
const LOOKUPS: usize = 4;

/// Longest wait for what is left, when the node stops.
const LAST: Duration = Duration::from_secs(2);

/// Our own spans are told by it; libraries make very many others.
const OURS: &str = "skyclaw_";

/// As the subscriber, there is one for the process; set once.
static SENDER: OnceLock<Sender> = OnceLock::new();

#[derive(Debug)]
struct Sender {
    provider: SdkTracerProvider,
    sampler: Box<dyn ShouldSample>,
    queue: Arc<Queue>,
    /// Never ends, so that no look-up of a name, which nothing can break off, holds up the end of the node.
    _runtime: Runtime,
}

pub(super) fn layer(config: &Config, warnings: &mut Vec<String>) -> Option<Sending> {
    let traces = config.traces.as_ref()?;
    if SENDER.get().is_some() {
        return None;
    }
    let sampler = sampling::sampler(&traces.sampler, traces.share.as_deref(), warnings);
    let queue = Arc::<Queue>::default();
    let (exporter, runtime) = exporter(traces, &queue, warnings)
        .map_err(|reason| warnings.push(format!("no traces are sent: {reason}")))
        .ok()?;
    // The size of a batch is that of OTEL_BSP_MAX_EXPORT_BATCH_SIZE, which the library reads.
    let batches = BatchConfigBuilder::default()
        .with_max_queue_size(QUEUE)
        .with_scheduled_delay(traces.delay)
        .build();
    let inner = BatchSpanProcessor::builder(exporter).with_batch_config(batches).build();
    let resource = Resource::builder()
        .with_service_name(traces.service.clone())
        .with_attributes([
            KeyValue::new("service.instance.id", config.display_name().to_owned()),
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        ])
        .build();
    let provider = SdkTracerProvider::builder()
        .with_sampler(sampler.clone())
        .with_resource(resource)
        .with_span_processor(Counting { inner, queue: Arc::clone(&queue) })
        .build();
    let tracer = provider.tracer("skyclaw");
    let sender = Sender { provider, sampler, queue, _runtime: runtime };
    if let Err(second) = SENDER.set(sender) {
        second._runtime.shutdown_background();
        return None;
    }
    let ours = FilterFn::new(|it| it.is_span() && it.target().starts_with(OURS));
    let layer = tracing_opentelemetry::layer()
        .with_tracer(tracer)
        // Places in the source and threads would be most of each span.
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_target(false)
        // Nobody here asks OpenTelemetry itself where it is.
        .with_context_activation(false)
        .with_filter(ours.with_max_level_hint(LevelFilter::DEBUG));
    Some(Box::new(layer))
}

fn exporter(
    traces: &TraceConfig,
    queue: &Arc<Queue>,
    warnings: &mut Vec<String>,
) -> Result<(Counted, Runtime), String> {
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .max_blocking_threads(LOOKUPS)
        .thread_name("traces")
        .enable_all()
        .build()
        .map_err(|error| format!("no thread can be had: {error}"))?;
    let post = Post::new(traces, runtime.handle().clone(), warnings)?;
    let inner = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(NOWHERE)
        .with_timeout(traces.timeout)
        .with_http_client(post)
        .build()
        // Its text is left out: it may hold what stands in a variable.
        .map_err(|_| "OpenTelemetry's library refuses its OTEL_* variables".to_owned())?;
    Ok((Counted { inner, queue: Arc::clone(queue) }, runtime))
}

/// The library's exporter, whose failures are told.
#[derive(Debug)]
struct Counted {
    inner: opentelemetry_otlp::SpanExporter,
    queue: Arc<Queue>,
}

fn tell(word: Option<Word>, result: &OTelSdkResult) {
    match (word, result) {
        (Some(Word::Lost(spans)), Err(error)) => tracing::warn!(
            spans,
            %error,
            "the collector takes no traces: they are lost meanwhile, the node goes on as ever"
        ),
        (Some(Word::Crowded(spans)), _) => tracing::warn!(
            spans,
            "more is traced than the collector takes: some spans are lost, the node goes on as ever"
        ),
        (Some(Word::Again), _) => tracing::info!("the collector takes traces again"),
        _ => {}
    }
}

impl SpanExporter for Counted {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        self.queue.begin(spans);
        let result = self.inner.export(batch).await;
        tell(self.queue.end(spans, result.is_ok(), Instant::now()), &result);
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

pub(super) async fn end() {
    let Some(sender) = SENDER.get() else { return };
    let provider = sender.provider.clone();
    let (done, ended) = oneshot::channel();
    // No task of the runtime, whose end would wait for it.
    let thread = std::thread::Builder::new().name("traces".into()).spawn(move || {
        let ended = provider.shutdown_with_timeout(LAST);
        let _ = done.send(ended);
    });
    if thread.is_ok() {
        // What is late is lost.
        let _ = tokio::time::timeout(LAST, ended).await;
    }
    let spans = sender.queue.rest();
    if spans > 0 {
        tracing::warn!(spans, "the node ends with spans that no collector took");
    }
}

pub(super) fn join_job(span: &Span, job: &JobId) {
    let Some(sender) = SENDER.get() else { return };
    if span.is_disabled() {
        return;
    }
    let trace = TraceId::from_bytes(ids::trace(job));
    let flags = match sampling::takes(&*sender.sampler, trace) {
        true => TraceFlags::SAMPLED,
        false => TraceFlags::default(),
    };
    let root = SpanId::from_bytes(ids::root(job));
    let root = SpanContext::new(trace, root, flags, true, TraceState::default());
    // Refused where it is in that trace already.
    let joined = span.set_parent(Context::new().with_remote_span_context(root));
    let around = Span::current();
    if joined.is_ok() && !around.is_disabled() && around.id() != span.id() {
        span.add_link(around.context().span().span_context().clone());
        around.set_attribute("job", job.to_string());
    }
}

pub(super) fn join_caller(span: &Span, traceparent: &str, caller: Caller) {
    let parent = TraceContextPropagator::new().extract(&Traceparent(traceparent));
    let context = parent.span().span_context().clone();
    if !context.is_valid() {
        return;
    }
    match caller {
        Caller::Trusted => drop(span.set_parent(parent)),
        Caller::Stranger => {
            let (trace, id) = (context.trace_id(), context.span_id());
            let state = TraceState::default();
            span.add_link(SpanContext::new(trace, id, TraceFlags::default(), true, state));
        }
    }
}

pub(super) fn ran(outcome: Option<&Outcome>) {
    let span = Span::current();
    if SENDER.get().is_none() || span.is_disabled() {
        return;
    }
    if let Some(outcome) = outcome {
        span.set_attribute("exit_code", i64::from(outcome.exit_code));
    }
    match outcome {
        Some(outcome) if outcome.success => span.set_status(Status::Ok),
        Some(_) => span.set_status(Status::error("the run failed")),
        None => span.set_status(Status::error("the host could not start it")),
    }
}

/// One header of a request, as the library reads them.
struct Traceparent<'a>(&'a str);

impl Extractor for Traceparent<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        (key == "traceparent").then_some(self.0)
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent"]
    }
}
