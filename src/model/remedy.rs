//! What to set where exports of spans are refused.

/// What to do about exports that are refused for this reason (one of
/// [`Event::EXPORT_REFUSALS`](super::Event::EXPORT_REFUSALS)); none where the answer to the export has
/// to say it.
pub fn remedy(reason: &str) -> Option<&'static str> {
    Some(match reason {
        "grpc" | "content_type" => {
            "Set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf; gRPC is not spoken on this port."
        }
        "path" => {
            "Spans are taken on /v1/traces: set OTEL_EXPORTER_OTLP_ENDPOINT to this port's URL \
             without a path, or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT to the URL with /v1/traces."
        }
        "host_or_origin" => {
            "If the page or name is yours, add it to `allowed_origins` or `allowed_hosts`."
        }
        "too_large" | "no_room" => {
            "Have the exporter send fewer spans at a time: OTEL_BSP_MAX_EXPORT_BATCH_SIZE."
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Event;

    #[test]
    fn each_remedy_is_one_of_a_reason_that_there_is() {
        let with: Vec<_> =
            Event::EXPORT_REFUSALS.iter().filter(|reason| remedy(reason).is_some()).collect();
        assert_eq!(
            with,
            [&"content_type", &"grpc", &"host_or_origin", &"no_room", &"path", &"too_large"]
        );
        assert_eq!(remedy("other"), None);
    }
}
