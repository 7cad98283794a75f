//! The dapp's own metrics: a family for each that the configuration lists.

use std::collections::HashSet;

use prometheus::{CounterVec, Error, GaugeVec, HistogramVec, Registry};

use super::buckets::{AMOUNT, GAS, LATENCY, RATIO, SIZE};
use super::family;
use super::room::{Room, histogram};
use crate::model::{CustomId, CustomKind, CustomMetric, CustomMetrics, LabelKey, Route};

/// The families, in the order of the list.
#[derive(Clone)]
pub struct Custom(Vec<Family>);

#[derive(Clone)]
struct Family {
    series: Series,
    /// On the page, for each route.
    lines: usize,
    name_bytes: usize,
}

#[derive(Clone)]
enum Series {
    Counter(CounterVec),
    Gauge(GaugeVec),
    Histogram(HistogramVec),
}

impl Custom {
    pub fn register(registry: &Registry, metrics: &CustomMetrics) -> Result<Self, Error> {
        Ok(Self(metrics.iter().map(|it| Family::register(registry, it)).collect::<Result<_, _>>()?))
    }
}

/// Values on their way into the families.
pub struct Numbers {
    families: Custom,
    room: Room,
    /// The series that there are, by family and route.
    known: HashSet<(usize, LabelKey)>,
}

impl Numbers {
    pub fn new(families: Custom, room: Room) -> Self {
        Self { families, room, known: HashSet::new() }
    }

    /// Takes a value, in the metric's unit.
    pub fn tell(&mut self, id: CustomId, route: Route, value: f64) {
        let route = self.fitting(id, route);
        let route = &[route.as_str()];
        match &self.families.0[id.index()].series {
            // What cannot be added was sorted out before; a counter would panic over it.
            Series::Counter(family) if value >= 0.0 => {
                family.with_label_values(route).inc_by(value);
            }
            Series::Counter(_) => {}
            Series::Gauge(family) => family.with_label_values(route).set(value),
            Series::Histogram(family) => family.with_label_values(route).observe(value),
        }
    }

    /// `route`, or that of all for which there is no room.
    fn fitting(&mut self, id: CustomId, route: Route) -> Route {
        let key = (id.index(), LabelKey::from(route));
        if self.known.contains(&key) {
            return route;
        }
        let Family { lines, name_bytes, .. } = self.families.0[id.index()];
        let fits = self.room.take(lines, name_bytes + route.as_str().len());
        if fits {
            self.known.insert(key);
        }
        if fits { route } else { Route::other() }
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
        let name_bytes = family.len();
        let (series, lines) = match kind {
            CustomKind::Counter => {
                let family = family + "_total";
                (Series::Counter(family::float_counters(registry, &family, &help, labels)?), 1)
            }
            CustomKind::Gauge => {
                (Series::Gauge(family::gauges(registry, &family, &help, labels)?), 1)
            }
            CustomKind::Histogram => {
                let buckets = match unit.as_deref() {
                    Some(CustomMetric::SECONDS) => LATENCY,
                    Some("bytes") => SIZE,
                    Some("gas") => GAS,
                    Some("ratio") => RATIO,
                    _ => AMOUNT,
                };
                let family = family::histograms(registry, &family, &help, buckets, labels)?;
                (Series::Histogram(family), histogram(buckets))
            }
        };
        Ok(Self { series, lines, name_bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::tests::{complaints, with};
    use crate::model::{Event, LabelSet, Sink as _, kind};

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
    #[test]
    fn many_metrics_on_many_routes_leave_the_page_of_metrics_under_two_megabytes() {
        let metric = |i| CustomMetric {
            name: format!("x{i:02}{}", "x".repeat(45)).into(),
            kind: CustomKind::Histogram,
            unit: Some(CustomMetric::SECONDS.into()),
        };
        let metrics = CustomMetrics::new((0..CustomMetrics::MOST).map(metric).collect());
        let mut routes = LabelSet::<kind::RouteKind>::new();
        let exported = with(metrics.clone());
        let mut sink = exported.sink();
        for i in 0..100 {
            let route = routes.admit(&format!("/api/{}/{i}", "y".repeat(100)));
            for it in metrics.iter() {
                let metric = metrics.find(&it.name).unwrap();
                sink.event(&Event::Custom { metric, route, value: 1.0 });
            }
        }
        let text = String::from_utf8(exported.encode()).unwrap();
        assert!(text.len() < 2_000_000, "{} bytes", text.len());
        assert!(text.contains("http_route=\"_OTHER\""));
        let counts = text.lines().filter(|line| line.contains("_seconds_count{"));
        let told: f64 =
            counts.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum();
        assert_eq!(told, 6_400.0, "none is lost");
    }
}
