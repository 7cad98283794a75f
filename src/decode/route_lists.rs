//! The routes that an API lists of itself: its OpenAPI document, or what `flask routes` prints.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::routes::unbalanced;

/// Why a listing tells no routes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListError {
    #[error(
        "expected an OpenAPI document in JSON, found {0}. Export it as JSON (YAML is not read)"
    )]
    NotOpenApi(#[from] serde_json::Error),
    #[error("expected `paths` in the OpenAPI document, found none")]
    NoPaths,
    #[error(
        "expected `paths` such as \"/nfts/{{id}}\" in the OpenAPI document, found {path:?}: {why}. \
         Correct it there"
    )]
    Malformed { path: String, why: &'static str },
    #[error(
        "expected what `flask routes` prints, a table whose column Rule holds paths, found no path. \
         Write it with `flask --app yours routes > routes.txt`"
    )]
    NoRules,
}

/// The part of an OpenAPI document (2 and 3) that tells paths.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    #[serde(default)]
    paths: BTreeMap<String, IgnoredAny>,
    #[serde(default)]
    servers: Vec<Server>,
    base_path: Option<String>,
}

#[derive(Deserialize)]
struct Server {
    url: String,
}

/// The paths of an OpenAPI document, each below each path that its servers have.
///
/// # Errors
/// It is no JSON object, has no paths, or one whose brackets do not fit.
pub fn openapi(document: &[u8]) -> Result<Vec<String>, ListError> {
    let document: Document = serde_json::from_slice(document)?;
    let mut bases: Vec<&str> = document.servers.iter().map(|s| path_of(&s.url)).collect();
    bases.extend(document.base_path.as_deref());
    if bases.is_empty() {
        bases.push("");
    }
    bases.sort_unstable();
    bases.dedup();
    // Names that begin otherwise are extensions: `x-…`.
    let paths: Vec<_> = document.paths.keys().filter(|path| path.starts_with('/')).collect();
    if paths.is_empty() {
        return Err(ListError::NoPaths);
    }
    for path in &paths {
        if let Some(why) = unbalanced(path) {
            return Err(ListError::Malformed { path: (*path).clone(), why });
        }
    }
    let below = |base: &&str| {
        let base = base.trim_end_matches('/').to_owned();
        paths.iter().map(move |path| format!("{base}{path}"))
    };
    Ok(bases.iter().flat_map(below).collect())
}

/// The path of a server's URL: `/v1` of `https://example.org/v1` and of `/v1`.
fn path_of(url: &str) -> &str {
    let authority = url.split_once("://").map_or(url, |(_, rest)| rest);
    authority.find('/').map_or("", |at| &authority[at..])
}

/// The rules that `flask routes` prints: the last word of each line that is a path.
///
/// # Errors
/// There is none.
pub fn flask_routes(listing: &str) -> Result<Vec<String>, ListError> {
    let rule = |line: &str| {
        line.split_ascii_whitespace()
            .next_back()
            .filter(|word| word.starts_with('/'))
            .map(str::to_owned)
    };
    let rules: Vec<_> = listing.lines().filter_map(rule).collect();
    if rules.is_empty() { Err(ListError::NoRules) } else { Ok(rules) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_of_an_openapi_document_are_below_its_servers() {
        let document = br#"{"openapi":"3.1.0","info":{"title":"a"},
            "servers":[{"url":"https://example.org/v1/"},{"url":"/v2"}],
            "paths":{"/nfts/{id}":{"get":{}},"/nfts":{},"x-more":1}}"#;
        assert_eq!(
            openapi(document).unwrap(),
            ["/v1/nfts", "/v1/nfts/{id}", "/v2/nfts", "/v2/nfts/{id}"]
        );
        let second = br#"{"swagger":"2.0","basePath":"/api","paths":{"/nfts":{}}}"#;
        assert_eq!(openapi(second).unwrap(), ["/api/nfts"]);
        let bare = br#"{"servers":[{"url":"http://127.0.0.1:5000"}],"paths":{"/":{}}}"#;
        assert_eq!(openapi(bare).unwrap(), ["/"]);
    }

    #[test]
    fn rules_are_taken_from_what_flask_prints() {
        let printed = "\
Endpoint     Methods    Rule
-----------  ---------  -------------------------------
api.browse   GET        /api/nfts
api.buy      POST       /api/nfts/<int:token_id>/buy
api.both     GET, POST  /api/both
static       GET        /static/<path:filename>
";
        assert_eq!(
            flask_routes(printed).unwrap(),
            ["/api/nfts", "/api/nfts/<int:token_id>/buy", "/api/both", "/static/<path:filename>"]
        );
    }

    #[test]
    fn a_listing_that_is_none_says_what_was_expected() {
        let told = |result: Result<Vec<String>, ListError>| result.unwrap_err().to_string();
        assert!(told(openapi(b"openapi: 3.1.0")).contains("in JSON"));
        assert!(told(openapi(b"{}")).contains("`paths`"));
        let half = told(openapi(br#"{"paths":{"/nfts":{},"/nfts/{id":{}}}"#));
        assert!(
            half.contains("\"/nfts/{id}\"") && half.contains("found \"/nfts/{id\": a bracket"),
            "{half}"
        );
        assert!(told(flask_routes("Usage: flask [OPTIONS]")).contains("flask routes"));
    }

    proptest! {
        #[test]
        fn any_text_is_a_listing_or_none(text in any::<String>()) {
            let _ = openapi(text.as_bytes());
            let _ = flask_routes(&text);
        }
    }
}
