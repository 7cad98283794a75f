//! The embedded page: its files, and the headers that keep it to itself.

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// A file of the page.
pub struct Asset {
    pub path: &'static str,
    pub content_type: &'static str,
    pub bytes: &'static [u8],
}

/// Every file of the page; a new one is one entry here.
pub const ASSETS: &[Asset] = &[
    Asset {
        path: "/",
        content_type: "text/html; charset=utf-8",
        bytes: include_bytes!("../../dashboards/web/index.html"),
    },
    Asset {
        path: "/app.js",
        content_type: "text/javascript; charset=utf-8",
        bytes: include_bytes!("../../dashboards/web/app.js"),
    },
    Asset {
        path: "/chart.js",
        content_type: "text/javascript; charset=utf-8",
        bytes: include_bytes!("../../dashboards/web/chart.js"),
    },
    Asset {
        path: "/trace.js",
        content_type: "text/javascript; charset=utf-8",
        bytes: include_bytes!("../../dashboards/web/trace.js"),
    },
    Asset {
        path: "/style.css",
        content_type: "text/css; charset=utf-8",
        bytes: include_bytes!("../../dashboards/web/style.css"),
    },
    Asset {
        path: "/icon.svg",
        content_type: "image/svg+xml",
        bytes: include_bytes!("../../dashboards/web/icon.svg"),
    },
];

/// Scripts, styles and data from here only, nothing inline, framed by nobody: a hostile name that
/// slipped into the page as markup could still do nothing.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

/// Headers of every answer.
const ALWAYS: [(HeaderName, &str); 6] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

/// Adds the headers that every answer carries. What nobody may keep unless it says otherwise.
pub fn protect(headers: &mut HeaderMap) {
    for (name, value) in ALWAYS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_holds_nothing_inline_and_reaches_for_nothing_elsewhere() {
        let html = std::str::from_utf8(ASSETS[0].bytes).unwrap();
        for forbidden in ["<style", "style=", "onclick", "onload", "http://", "https://", "//"] {
            assert!(!html.contains(forbidden), "index.html holds {forbidden}");
        }
        assert!(!html.contains("<script>"));
        for asset in ASSETS {
            let text = std::str::from_utf8(asset.bytes).unwrap();
            for forbidden in ["innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval("]
            {
                assert!(!text.contains(forbidden), "{} holds {forbidden}", asset.path);
            }
        }
    }

    #[test]
    fn every_file_that_the_page_names_is_served() {
        let html = std::str::from_utf8(ASSETS[0].bytes).unwrap();
        for part in html.split(['"', '\'']).filter(|part| {
            [".js", ".css", ".svg"].iter().any(|extension| part.ends_with(extension))
        }) {
            let path = format!("/{}", part.trim_start_matches("./"));
            assert!(ASSETS.iter().any(|asset| asset.path == path), "{path} is not served");
        }
    }
}
