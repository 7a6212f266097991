//! What others record with the tools of the built-in telemetry server: `mcp.tool.calls`, say, is shown as
//! `recorded_mcp_tool_calls_total`.
//!
//! The names are theirs and come while the gateway runs, so there are bounds, and a prefix that no metric of the
//! gateway's own has.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus::core::{Collector, Desc};
use prometheus::{Error, IntCounter, proto};
use thiserror::Error;

use super::register::Register;

/// The most series: names, each with its different attributes.
pub const MAX_SERIES: usize = 1_000;
/// The most attributes of one measurement.
pub const MAX_ATTRIBUTES: usize = 8;
/// The longest value of an attribute, in bytes.
pub const MAX_VALUE_BYTES: usize = 256;

/// The metrics of others. All clones are the same.
#[derive(Clone)]
pub struct Recorded(Arc<Shelf>);

struct Shelf {
    description: Desc,
    refused: IntCounter,
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    families: BTreeMap<String, Family>,
    series: usize,
}

struct Family {
    kind: Recording,
    points: BTreeMap<Attributes, Point>,
}

/// Names as Prometheus has them, and values.
type Attributes = BTreeMap<String, String>;

#[derive(Default)]
struct Point {
    value: f64,
    count: u64,
}

/// What is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recording {
    /// Values that add up.
    Counter,
    /// The last value.
    Gauge,
    /// How many values there were, and their sum.
    Histogram,
}

/// Why a measurement was not recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NotRecorded {
    /// A counter goes up.
    #[error("a counter cannot go down")]
    Negative,
    /// The name is one of another kind of metric.
    #[error("this name is that of another kind of metric")]
    OtherKind,
    /// [`MAX_ATTRIBUTES`].
    #[error("more than 8 attributes")]
    TooManyAttributes,
    /// [`MAX_VALUE_BYTES`].
    #[error("the value of an attribute is longer than 256 bytes")]
    TooLong,
    /// [`MAX_SERIES`].
    #[error("more than 1000 names and attributes are not kept")]
    Full,
}

// === impl Recorded ===

impl Recorded {
    pub(super) fn register(register: &Register<'_>) -> Result<Self, Error> {
        let description = Desc::new(
            "recorded".to_owned(),
            "What plugins and servers record.".to_owned(),
            Vec::new(),
            HashMap::new(),
        )?;
        let refused = register.counter(
            "weir_telemetry_refused_total",
            "Measurements that the built-in telemetry server did not record.",
        )?;
        register.add(Self(Arc::new(Shelf {
            description,
            refused,
            book: Mutex::default(),
        })))
    }

    /// Records a measurement. A name begins with a letter.
    ///
    /// # Errors
    /// It is refused, and counted as such.
    pub fn record<'a>(
        &self,
        kind: Recording,
        name: &str,
        value: f64,
        attributes: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Result<(), NotRecorded> {
        let recorded = self.try_record(kind, name, value, attributes);
        if recorded.is_err() {
            self.0.refused.inc();
        }
        recorded
    }

    fn try_record<'a>(
        &self,
        kind: Recording,
        name: &str,
        value: f64,
        attributes: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Result<(), NotRecorded> {
        if kind == Recording::Counter && value < 0.0 {
            return Err(NotRecorded::Negative);
        }
        let mut labels = Attributes::new();
        for (key, value) in attributes {
            if value.len() > MAX_VALUE_BYTES {
                return Err(NotRecorded::TooLong);
            }
            labels.insert(plain(key), value.to_owned());
            if labels.len() > MAX_ATTRIBUTES {
                return Err(NotRecorded::TooManyAttributes);
            }
        }
        let name = kind.family(name);
        let mut guard = self.book();
        let Book { families, series } = &mut *guard;
        let known = families.get(&name);
        if known.is_some_and(|family| family.kind != kind) {
            return Err(NotRecorded::OtherKind);
        }
        if !known.is_some_and(|family| family.points.contains_key(&labels)) {
            if *series >= MAX_SERIES {
                return Err(NotRecorded::Full);
            }
            *series += 1;
        }
        let family = families.entry(name).or_insert_with(|| Family {
            kind,
            points: BTreeMap::new(),
        });
        let point = family.points.entry(labels).or_default();
        point.count += 1;
        match kind {
            Recording::Counter | Recording::Histogram => point.value += value,
            Recording::Gauge => point.value = value,
        }
        Ok(())
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Recorded {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Recorded")
            .field("series", &self.book().series)
            .finish_non_exhaustive()
    }
}

impl Collector for Recorded {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.0.description]
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        let book = self.book();
        book.families
            .iter()
            .map(|(name, family)| family.show(name))
            .collect()
    }
}

// === impl Family ===

impl Family {
    fn show(&self, name: &str) -> proto::MetricFamily {
        let metrics = self.points.iter().map(|(labels, point)| {
            let pairs = labels.iter().map(|(key, value)| {
                let mut pair = proto::LabelPair::default();
                pair.set_name(key.clone());
                pair.set_value(value.clone());
                pair
            });
            let mut metric = proto::Metric::from_label(pairs.collect());
            self.kind.put(point, &mut metric);
            metric
        });
        let mut shown = proto::MetricFamily::default();
        shown.set_name(name.to_owned());
        shown.set_help("Recorded by a plugin or a server.".to_owned());
        shown.set_field_type(self.kind.shown_as());
        shown.set_metric(metrics.collect());
        shown
    }
}

// === impl Recording ===

impl Recording {
    fn family(self, name: &str) -> String {
        let name = plain(name);
        match self {
            Self::Counter if !name.ends_with("_total") => format!("recorded_{name}_total"),
            Self::Counter | Self::Gauge | Self::Histogram => format!("recorded_{name}"),
        }
    }

    /// A histogram without buckets, as nobody says which would be of use, is a summary.
    fn shown_as(self) -> proto::MetricType {
        match self {
            Self::Counter => proto::MetricType::COUNTER,
            Self::Gauge => proto::MetricType::GAUGE,
            Self::Histogram => proto::MetricType::SUMMARY,
        }
    }

    fn put(self, point: &Point, metric: &mut proto::Metric) {
        match self {
            Self::Counter => {
                let mut counter = proto::Counter::default();
                counter.set_value(point.value);
                metric.set_counter(counter);
            }
            Self::Gauge => {
                let mut gauge = proto::Gauge::default();
                gauge.set_value(point.value);
                metric.set_gauge(gauge);
            }
            Self::Histogram => {
                let mut summary = proto::Summary::default();
                summary.set_sample_sum(point.value);
                summary.set_sample_count(point.count);
                metric.set_summary(summary);
            }
        }
    }
}

/// A name as Prometheus writes it.
fn plain(name: &str) -> String {
    let letter = |letter: char| match letter.is_ascii_alphanumeric() {
        true => letter,
        false => '_',
    };
    name.chars().map(letter).collect()
}

#[cfg(test)]
mod tests {
    use prometheus::{Encoder, Registry, TextEncoder};

    use super::*;

    #[test]
    fn what_others_record_is_shown_and_bounded() {
        use Recording::{Counter, Gauge, Histogram};
        let registry = Registry::new();
        let recorded = Recorded::register(&Register::new(&registry)).unwrap();
        let record = |kind, name: &str, value, attributes: &[(&str, &str)]| {
            recorded.record(kind, name, value, attributes.iter().copied())
        };
        let tool = [("mcp.tool.name", "a\"b"), ("host", "h")];
        record(Counter, "mcp.tool.calls", 2.0, &tool).unwrap();
        record(Counter, "mcp.tool.calls", 3.0, &tool).unwrap();
        record(Gauge, "weir_up", 7.0, &[]).unwrap();
        record(Gauge, "weir_up", -1.0, &[]).unwrap();
        record(Histogram, "mcp.tool.duration", 1.5, &[]).unwrap();
        record(Histogram, "mcp.tool.duration", 2.0, &[]).unwrap();
        let shown = || {
            let mut text = Vec::new();
            TextEncoder::new()
                .encode(&registry.gather(), &mut text)
                .unwrap();
            String::from_utf8(text).unwrap()
        };
        for line in [
            r#"recorded_mcp_tool_calls_total{host="h",mcp_tool_name="a\"b"} 5"#,
            "recorded_weir_up -1",
            "# TYPE recorded_mcp_tool_duration summary",
            "recorded_mcp_tool_duration_sum 3.5",
            "recorded_mcp_tool_duration_count 2",
        ] {
            assert!(
                shown().lines().any(|shown| shown == line),
                "{line}\n{}",
                shown()
            );
        }
        let many = ["a", "b", "c", "d", "e", "f", "g", "h", "i"].map(|key| (key, ""));
        let long = "x".repeat(MAX_VALUE_BYTES + 1);
        for (refused, why) in [
            (
                record(Counter, "mcp.tool.calls", -1.0, &[]),
                NotRecorded::Negative,
            ),
            (
                record(Histogram, "weir_up", 1.0, &[]),
                NotRecorded::OtherKind,
            ),
            (
                record(Gauge, "a", 1.0, &many),
                NotRecorded::TooManyAttributes,
            ),
            (
                record(Gauge, "a", 1.0, &[("a", &long)]),
                NotRecorded::TooLong,
            ),
        ] {
            assert_eq!(refused, Err(why));
        }
        for number in 0..2 * MAX_SERIES {
            let outcome = record(Gauge, "many", 1.0, &[("n", &number.to_string())]);
            assert_eq!(outcome.is_ok(), number < MAX_SERIES - 3, "{number}");
        }
        record(Counter, "mcp.tool.calls", 1.0, &tool).unwrap();
        assert!(
            shown().contains("weir_telemetry_refused_total 1007"),
            "{}",
            shown()
        );
    }
}
