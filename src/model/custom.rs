//! Metrics of the dapp's own: numbers that it tells of itself, by names that the configuration lists.

use std::sync::Arc;

/// A metric that the configuration lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CustomMetric {
    /// As the dapp tells it: `cart_items`.
    pub name: Box<str>,
    pub kind: CustomKind,
    /// In which its values are, as it stands in the family's name: `seconds`.
    pub unit: Option<Box<str>>,
}

/// What its values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CustomKind {
    /// Each is added.
    Counter,
    /// Each takes the place of the one before.
    Gauge,
    /// Each is one of many.
    Histogram,
}

/// Names a metric within [`CustomMetrics`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CustomId(u16);

/// The listed metrics. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CustomMetrics(Arc<[CustomMetric]>);

impl CustomMetric {
    /// The unit of what is told as a time.
    pub const SECONDS: &'static str = "seconds";

    pub fn is_time(&self) -> bool {
        self.unit.as_deref() == Some(Self::SECONDS)
    }
}

impl CustomId {
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl CustomMetrics {
    /// The most that are taken.
    pub const MOST: usize = 64;

    /// Of equal names the first counts, and what is beyond [`MOST`](Self::MOST) is left out.
    pub fn new(mut metrics: Vec<CustomMetric>) -> Self {
        metrics.sort_by(|a, b| a.name.cmp(&b.name));
        metrics.dedup_by(|a, b| a.name == b.name);
        metrics.truncate(Self::MOST);
        Self(metrics.into())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The metric of this name.
    pub fn find(&self, name: &str) -> Option<CustomId> {
        let at = self.0.binary_search_by(|metric| (*metric.name).cmp(name)).ok()?;
        u16::try_from(at).ok().map(CustomId)
    }

    pub fn get(&self, id: CustomId) -> &CustomMetric {
        &self.0[id.index()]
    }

    /// In the order of [`CustomId::index`].
    pub fn iter(&self) -> impl Iterator<Item = &CustomMetric> {
        self.0.iter()
    }
}
