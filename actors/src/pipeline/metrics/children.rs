//! What the processes of plugins use.

use std::collections::HashMap;

use prometheus::core::{Collector, Desc};
use prometheus::{Error, proto};

use super::register::Register;
use crate::process::{Usage, plugin_usage};

const CPU: (&str, &str) = (
    "weir_plugin_cpu_seconds_total",
    "Time on processors of the plugin's processes, looked at once a second.",
);
const RESIDENT: (&str, &str) = (
    "weir_plugin_resident_bytes",
    "Memory in use by the plugin's processes, looked at once a second.",
);

/// Asks for every scrape what the processes used when they were looked at last.
#[derive(Clone, Debug)]
struct PluginProcesses(Vec<Desc>);

pub(super) fn register(register: &Register<'_>) -> Result<(), Error> {
    let described = [CPU, RESIDENT].map(|(name, help)| {
        let labels = vec!["plugin".to_owned()];
        Desc::new(name.to_owned(), help.to_owned(), labels, HashMap::new())
    });
    let described = described.into_iter().collect::<Result<_, _>>()?;
    register.add(PluginProcesses(described))?;
    Ok(())
}

impl Collector for PluginProcesses {
    fn desc(&self) -> Vec<&Desc> {
        self.0.iter().collect()
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        let usage = plugin_usage();
        if usage.is_empty() {
            return Vec::new();
        }
        let counter = |usage: &Usage, metric: &mut proto::Metric| {
            let mut counter = proto::Counter::default();
            counter.set_value(usage.cpu_seconds);
            metric.set_counter(counter);
        };
        let gauge = |usage: &Usage, metric: &mut proto::Metric| {
            let mut gauge = proto::Gauge::default();
            gauge.set_value(usage.resident_bytes as f64);
            metric.set_gauge(gauge);
        };
        type Put<'a> = &'a dyn Fn(&Usage, &mut proto::Metric);
        let families: [(_, _, Put<'_>); 2] = [
            (CPU, proto::MetricType::COUNTER, &counter),
            (RESIDENT, proto::MetricType::GAUGE, &gauge),
        ];
        let families = families.map(|((name, help), kind, put)| {
            let metrics = usage.iter().map(|(plugin, usage)| {
                let mut label = proto::LabelPair::default();
                label.set_name("plugin".to_owned());
                label.set_value(plugin.to_string());
                let mut metric = proto::Metric::default();
                metric.set_label(vec![label]);
                put(usage, &mut metric);
                metric
            });
            let mut family = proto::MetricFamily::default();
            family.set_name(name.to_owned());
            family.set_help(help.to_owned());
            family.set_field_type(kind);
            family.set_metric(metrics.collect());
            family
        });
        families.into()
    }
}
