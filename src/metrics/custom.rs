//! The dapp's own metrics: a family for each that the configuration lists.

use prometheus::{CounterVec, Error, GaugeVec, HistogramVec, Registry};

use super::buckets::{AMOUNT, GAS, LATENCY, RATIO, SIZE};
use super::family;
use crate::model::{CustomId, CustomKind, CustomMetric, CustomMetrics, Route};

/// The families, in the order of the list.
#[derive(Clone)]
pub struct Custom(Vec<Family>);

#[derive(Clone)]
enum Family {
    Counter(CounterVec),
    Gauge(GaugeVec),
    Histogram(HistogramVec),
}

impl Custom {
    pub fn register(registry: &Registry, metrics: &CustomMetrics) -> Result<Self, Error> {
        Ok(Self(metrics.iter().map(|it| Family::register(registry, it)).collect::<Result<_, _>>()?))
    }

    /// Takes a value, in the metric's unit.
    pub fn tell(&self, id: CustomId, route: Route, value: f64) {
        let route = &[route.as_str()];
        match &self.0[id.index()] {
            // What cannot be added was sorted out before; a counter would panic over it.
            Family::Counter(family) if value >= 0.0 => {
                family.with_label_values(route).inc_by(value);
            }
            Family::Counter(_) => {}
            Family::Gauge(family) => family.with_label_values(route).set(value),
            Family::Histogram(family) => family.with_label_values(route).observe(value),
        }
    }
}

impl Family {
    fn register(registry: &Registry, metric: &CustomMetric) -> Result<Self, Error> {
        let CustomMetric { name, kind, unit } = metric;
        let family = unit.iter().fold(format!("app_custom_{name}"), |it, unit| it + "_" + unit);
        let labels = &["http_route"];
        let told = match kind {
            CustomKind::Counter => "sum of what the API told",
            CustomKind::Gauge => "value that the API told last",
            CustomKind::Histogram => "values that the API told",
        };
        let within = unit.as_deref().map_or_else(String::new, |unit| format!(", in {unit}"));
        let help = format!(
            "The {told}{within}: entries {name} of its Server-Timing headers, and attributes {name} \
             or app.custom.{name} of its spans."
        );
        Ok(match kind {
            CustomKind::Counter => {
                let family = family + "_total";
                Self::Counter(family::float_counters(registry, &family, &help, labels)?)
            }
            CustomKind::Gauge => Self::Gauge(family::gauges(registry, &family, &help, labels)?),
            CustomKind::Histogram => {
                let buckets = match unit.as_deref() {
                    Some(CustomMetric::SECONDS) => LATENCY,
                    Some("bytes") => SIZE,
                    Some("gas") => GAS,
                    Some("ratio") => RATIO,
                    _ => AMOUNT,
                };
                Self::Histogram(family::histograms(registry, &family, &help, buckets, labels)?)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::tests::{complaints, with};
    use crate::model::{Event, Sink as _};

    #[test]
    fn a_family_of_each_type_and_unit_is_exported_and_promtool_finds_nothing_to_mend() {
        let listed = [
            ("cart_items", CustomKind::Gauge, None),
            ("coins_minted", CustomKind::Counter, None),
            ("spent", CustomKind::Counter, Some("gas")),
            ("render", CustomKind::Histogram, Some("seconds")),
            ("upload", CustomKind::Histogram, Some("bytes")),
            ("price", CustomKind::Histogram, Some("eth")),
            ("fullness", CustomKind::Gauge, Some("ratio")),
            ("paid", CustomKind::Gauge, Some("wei")),
        ];
        let metrics = CustomMetrics::new(
            listed
                .into_iter()
                .map(|(name, kind, unit)| CustomMetric {
                    name: name.into(),
                    kind,
                    unit: unit.map(Into::into),
                })
                .collect(),
        );
        let exported = with(metrics.clone());
        assert!(!String::from_utf8(exported.encode()).unwrap().contains("app_custom_"));
        let mut sink = exported.sink();
        let route = Route::known("/api/cart");
        for (name, value) in listed.iter().flat_map(|it| [(it.0, 3.0), (it.0, 0.5)]) {
            sink.event(&Event::Custom { metric: metrics.find(name).unwrap(), route, value });
        }
        let text = String::from_utf8(exported.encode()).unwrap();
        for line in [
            "app_custom_cart_items{http_route=\"/api/cart\"} 0.5",
            "app_custom_coins_minted_total{http_route=\"/api/cart\"} 3.5",
            "app_custom_spent_gas_total{http_route=\"/api/cart\"} 3.5",
            "app_custom_render_seconds_sum{http_route=\"/api/cart\"} 3.5",
            "app_custom_upload_bytes_count{http_route=\"/api/cart\"} 2",
            "app_custom_price_eth_bucket{http_route=\"/api/cart\",le=\"2\"} 1",
            "app_custom_fullness_ratio{http_route=\"/api/cart\"} 0.5",
            "# HELP app_custom_paid_wei The value that the API told last, in wei: entries paid of its \
             Server-Timing headers, and attributes paid or app.custom.paid of its spans.",
        ] {
            assert!(text.lines().any(|it| it == line), "{line} in {text}");
        }
        assert_eq!(complaints(&exported), "");
    }
}
