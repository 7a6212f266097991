//! The one way into the registry.

use prometheus::core::Collector;
use prometheus::{Error, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use super::cell::Cell;
use super::family::{Family, Labels};

/// Registers metrics while the gateway starts. Every room takes what it counts from here, once; a name that is taken
/// twice, or is no name, stops the start.
#[derive(Debug)]
pub struct Register<'a>(&'a Registry);

// === impl Register ===

impl<'a> Register<'a> {
    pub(super) fn new(registry: &'a Registry) -> Self {
        Self(registry)
    }

    /// A counter without labels.
    pub fn counter(&self, name: &str, help: &str) -> Result<IntCounter, Error> {
        self.add(IntCounter::new(name, help)?)
    }

    /// A counter for each combination of label values. Values come from closed sets; what is counted often is
    /// resolved once with `with_label_values` and kept.
    pub fn counters(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntCounterVec, Error> {
        self.add(IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    /// A gauge without labels.
    pub fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, Error> {
        self.add(IntGauge::new(name, help)?)
    }

    /// A gauge for each combination of label values.
    pub fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec, Error> {
        self.add(IntGaugeVec::new(Opts::new(name, help), labels)?)
    }

    /// A metric of the hot path, whose labels are names that come from servers.
    pub(super) fn family<L: Labels, C: Cell>(
        &self,
        name: &str,
        help: &str,
        labels: &'static [&'static str],
        shape: C::Shape,
        max: usize,
    ) -> Result<Family<L, C>, Error> {
        self.add(Family::new(name, help, labels, shape, max)?)
    }

    /// A metric of the hot path, whose labels are words of the gateway's own.
    pub(super) fn closed<const N: usize, C: Cell>(
        &self,
        name: &str,
        help: &str,
        labels: &'static [&'static str; N],
        shape: C::Shape,
    ) -> Result<Family<[&'static str; N], C>, Error> {
        self.family(name, help, labels, shape, usize::MAX)
    }

    pub(super) fn add<C: Collector + Clone + 'static>(&self, collector: C) -> Result<C, Error> {
        self.0.register(Box::new(collector.clone()))?;
        Ok(collector)
    }
}
