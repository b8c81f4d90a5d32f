//! Writes metrics whose values are read at the moment they are asked for, for what implements prometheus'
//! [`Collector`](prometheus_client::collector::Collector).

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// One metric after another, each under a name that the node's prefix comes before. An error is the encoder's, and
/// ends the whole text.
#[derive(Debug)]
pub struct MetricWriter<'a>(DescriptorEncoder<'a>);

/// Labels, as name and value.
type Labels<'l, const N: usize> = [(&'l str, &'l str); N];

impl<'a> MetricWriter<'a> {
    /// Writes with what a collector is handed.
    #[must_use]
    pub const fn new(encoder: DescriptorEncoder<'a>) -> Self {
        Self(encoder)
    }

    /// What grows and shrinks. A value that no gauge takes is shown as the largest that one does.
    ///
    /// # Errors
    /// See the type.
    pub fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.gauge_if(name, help, Some(value))
    }

    /// As [`MetricWriter::gauge`]; while there is no value, the description alone.
    ///
    /// # Errors
    /// See the type.
    pub fn gauge_if(&mut self, name: &str, help: &str, value: Option<u64>) -> fmt::Result {
        let metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        value.map_or(Ok(()), |value| gauge(value).encode(metric))
    }

    /// What only grows, since the node's start.
    ///
    /// # Errors
    /// See the type.
    pub fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        ConstCounter::new(value).encode(metric)
    }

    /// As [`MetricWriter::counter`], of what is counted beside.
    ///
    /// # Errors
    /// See the type.
    pub fn atomic_counter(&mut self, name: &str, help: &str, value: &AtomicU64) -> fmt::Result {
        self.counter(name, help, value.load(Relaxed))
    }

    /// A gauge for each of several, told apart by their labels: each set of these comes once.
    ///
    /// # Errors
    /// See the type.
    pub fn gauges<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Labels<'l, N>, u64)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        values
            .into_iter()
            .try_for_each(|(labels, value)| gauge(value).encode(family.encode_family(&labels)?))
    }

    /// A counter for each of several, as [`MetricWriter::gauges`].
    ///
    /// # Errors
    /// See the type.
    pub fn counters<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Labels<'l, N>, u64)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        values.into_iter().try_for_each(|(labels, value)| {
            ConstCounter::new(value).encode(family.encode_family(&labels)?)
        })
    }
}

fn gauge(value: u64) -> ConstGauge<i64> {
    ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use prometheus_client::collector::Collector;
    use prometheus_client::encoding::text;
    use prometheus_client::registry::Registry;

    use super::*;

    #[derive(Debug)]
    struct Few;

    impl Collector for Few {
        fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
            let mut metrics = MetricWriter::new(encoder);
            metrics.gauge("cups", "Cups in use", u64::MAX)?;
            metrics.gauge_if("age", "Of the pot", None)?;
            metrics.counter("sips", "Sips taken", 7)?;
            metrics.gauges("guests", "By room", [([("room", "a")], 1), ([("room", "b")], 2)])?;
            metrics.counters("spills", "By kind", [([("on", "floor"), ("of", "tea")], 3)])
        }
    }

    #[test]
    fn each_kind_is_written_as_open_metrics_has_it() {
        let mut registry = Registry::with_prefix("x");
        registry.register_collector(Box::new(Few));
        let mut out = String::new();
        text::encode(&mut out, &registry).unwrap();
        let values: Vec<&str> = out.lines().filter(|line| !line.starts_with("# HELP")).collect();
        assert_eq!(
            values,
            [
                "# TYPE x_cups gauge",
                "x_cups 9223372036854775807",
                "# TYPE x_age gauge",
                "# TYPE x_sips counter",
                "x_sips_total 7",
                "# TYPE x_guests gauge",
                "x_guests{room=\"a\"} 1",
                "x_guests{room=\"b\"} 2",
                "# TYPE x_spills counter",
                "x_spills_total{on=\"floor\",of=\"tea\"} 3",
                "# EOF",
            ]
        );
    }
}
