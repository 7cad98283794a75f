//! The dapp's own metrics, as the configuration lists them.

use crate::config::{Custom, CustomKind as Kind};
use crate::model::{CustomKind, CustomMetric, CustomMetrics};

pub(super) fn custom(listed: &[Custom]) -> CustomMetrics {
    let metrics = listed.iter().map(|custom| CustomMetric {
        name: custom.name.as_str().into(),
        kind: match custom.kind {
            Kind::Counter => CustomKind::Counter,
            Kind::Gauge => CustomKind::Gauge,
            Kind::Histogram => CustomKind::Histogram,
        },
        unit: custom.unit.as_deref().map(Into::into),
    });
    CustomMetrics::new(metrics.collect())
}
