//! A metric with labels: cells by their labels, found once and kept by whoever counts.

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus::core::{Collector, Desc};
use prometheus::{Error, proto};

use super::cell::{Cell, Count};

/// The values of a metric's labels.
pub(super) trait Labels: Clone + Debug + Eq + Hash + Send + Sync + 'static {
    /// The values in the order of the names; an empty one is left out.
    fn values(&self) -> Vec<&str>;

    /// What is counted instead when there are too many combinations already. There must be few of these.
    fn overflow(&self) -> Self;
}

/// Which of the cells of a series is meant: each worker has its own.
pub(super) type Shard = usize;

/// Workers that have cells of their own. More of them share, which costs time but is not wrong.
const SHARDS: usize = 256;

/// A metric with labels.
pub(super) struct Family<L, C: Cell>(Arc<Inner<L, C>>);

struct Inner<L, C: Cell> {
    description: Desc,
    names: &'static [&'static str],
    shape: C::Shape,
    /// Combinations of labels at most, besides those of [`Labels::overflow`].
    max: usize,
    series: Mutex<Series<L, C>>,
}

/// The cells of each combination of labels, one for each worker that counted there.
type Series<L, C> = HashMap<L, Vec<(Shard, Arc<C>)>>;

// === impl Family ===

impl<L: Labels, C: Cell> Family<L, C> {
    pub(super) fn new(
        name: &str,
        help: &str,
        names: &'static [&'static str],
        shape: C::Shape,
        max: usize,
    ) -> Result<Self, Error> {
        let labels = names.iter().map(|name| (*name).to_owned()).collect();
        Ok(Self(Arc::new(Inner {
            description: Desc::new(name.to_owned(), help.to_owned(), labels, HashMap::new())?,
            names,
            shape,
            max,
            series: Mutex::default(),
        })))
    }

    /// The cell of these labels for a worker. Takes a lock: whoever counts often keeps what it gets.
    pub(super) fn cell(&self, labels: &L, shard: Shard) -> Arc<C> {
        let shard = shard % SHARDS;
        let mut series = self.0.lock();
        let full = series.len() >= self.0.max && !series.contains_key(labels);
        let labels = if full {
            labels.overflow()
        } else {
            labels.clone()
        };
        let cells = series.entry(labels).or_default();
        match cells.iter().find(|(owner, _)| *owner == shard) {
            Some((_, cell)) => cell.clone(),
            None => {
                let cell = Arc::new(C::new(self.0.shape));
                cells.push((shard, cell.clone()));
                cell
            }
        }
    }
}

impl<L: Labels> Family<L, Count> {
    /// What all workers have counted under these labels.
    pub(super) fn total(&self, labels: &L) -> u64 {
        let series = self.0.lock();
        let cells = series.get(labels).into_iter().flatten();
        cells.map(|(_, count)| count.get()).sum()
    }
}

impl<L, C: Cell> Clone for Family<L, C> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<L, C: Cell> Debug for Family<L, C> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Family")
            .field("name", &self.0.description.fq_name)
            .finish_non_exhaustive()
    }
}

impl<L: Labels, C: Cell> Collector for Family<L, C> {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.0.description]
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        let series = self.0.lock();
        let metrics = series.iter().map(|(labels, cells)| {
            let values = labels.values();
            let pairs = self.0.names.iter().zip(values);
            let pairs = pairs.filter(|(_, value)| !value.is_empty());
            let pairs = pairs.map(|(name, value)| {
                let mut pair = proto::LabelPair::default();
                pair.set_name((*name).to_owned());
                pair.set_value(value.to_owned());
                pair
            });
            let mut metric = proto::Metric::from_label(pairs.collect());
            C::show(
                self.0.shape,
                cells.iter().map(|(_, cell)| cell.as_ref()),
                &mut metric,
            );
            metric
        });
        let mut family = proto::MetricFamily::default();
        family.set_name(self.0.description.fq_name.clone());
        family.set_help(self.0.description.help.clone());
        family.set_field_type(C::TYPE);
        family.set_metric(metrics.collect());
        vec![family]
    }
}

// === impl Inner ===

impl<L, C: Cell> Inner<L, C> {
    fn lock(&self) -> MutexGuard<'_, Series<L, C>> {
        self.series.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Words of the gateway's own: a closed set.
impl<const N: usize> Labels for [&'static str; N] {
    fn values(&self) -> Vec<&str> {
        self.to_vec()
    }

    fn overflow(&self) -> Self {
        *self
    }
}
