//! The routes that the configuration names, those that the API's own listings tell, and those that
//! were learned before.

use anyhow::Context as _;

use crate::config::Api;
use crate::decode::route_lists;
use crate::decode::routes::Routes;
use crate::model::{LearnedRoute, UnixMicros};
use crate::store::{Paging, Range, Store};

/// How far back routes are looked for that were learned, in microseconds: one in use is told once a
/// day.
const REMEMBERED: u64 = 60 * 24 * 3_600 * 1_000_000;
/// Tellings that are read.
const TELLINGS: usize = 10_000;

/// Routes with everything that is known at the start.
///
/// # Errors
/// A listing that the configuration names cannot be read, or is none.
pub(super) fn routes(api: &Api) -> anyhow::Result<Routes> {
    let mut routes = Routes::default();
    if !api.openapi.is_empty() {
        let (key, file) = ("api.openapi", &api.openapi);
        let document = read(key, file)?;
        add(&mut routes, key, file, route_lists::openapi(&document))?;
    }
    if !api.flask_routes.is_empty() {
        let (key, file) = ("api.flask_routes", &api.flask_routes);
        let listing = read(key, file)?;
        let listed = route_lists::flask_routes(&String::from_utf8_lossy(&listing));
        add(&mut routes, key, file, listed)?;
    }
    for pattern in &api.routes {
        routes.add(pattern);
    }
    Ok(routes)
}

/// What was learned while the program ran before, the newest first. Without it routes go by their
/// shapes until they are told again: no reason not to start.
pub(super) fn learned(store: &Store) -> Vec<LearnedRoute> {
    let now = UnixMicros::now().0;
    // A clock that was set back must not hide what was told before.
    let range = Range {
        from: UnixMicros(now.saturating_sub(REMEMBERED)),
        until: UnixMicros(now.saturating_add(REMEMBERED)),
    };
    match store.learned_routes(range, Paging { limit: TELLINGS, before: None }) {
        Ok(page) => page.items,
        Err(error) => {
            tracing::warn!("routes that were learned before cannot be read: {error}");
            Vec::new()
        }
    }
}

fn read(key: &str, file: &str) -> anyhow::Result<Vec<u8>> {
    std::fs::read(file).with_context(|| {
        format!("{key} names {file}, which cannot be read; correct it or leave it empty")
    })
}

fn add(
    routes: &mut Routes,
    key: &str,
    file: &str,
    listed: Result<Vec<String>, route_lists::ListError>,
) -> anyhow::Result<()> {
    let listed = listed.with_context(|| format!("{key}: {file}"))?;
    let left_out = listed.iter().filter(|pattern| !routes.add(pattern)).count();
    if left_out > 0 {
        tracing::warn!(
            left_out,
            "{key}: {file} holds routes beyond the 500 that are matched, or with characters that no \
             label may have"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn with(change: impl FnOnce(&mut Api)) -> anyhow::Result<Routes> {
        let mut api = Config::default().api;
        change(&mut api);
        routes(&api)
    }

    #[test]
    fn listings_and_patterns_are_matched_together() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let file = dir.path().join(name);
            std::fs::write(&file, text).unwrap();
            file.to_str().unwrap().to_owned()
        };
        let openapi = write("openapi.json", r#"{"paths":{"/users/{user}":{},"/users/me":{}}}"#);
        let flask_routes = write("routes.txt", "api.buy  POST  /api/nfts/<int:token_id>/buy\n");
        let routes = with(|api| {
            api.openapi = openapi;
            api.flask_routes = flask_routes;
            api.routes = vec!["/files/{name...}".to_owned()];
        });
        let mut routes = routes.unwrap();
        assert_eq!(routes.route("/users/alice", 404).as_str(), "/users/{user}");
        assert_eq!(routes.route("/users/me", 200).as_str(), "/users/me");
        assert_eq!(routes.route("/api/nfts/7/buy", 409).as_str(), "/api/nfts/{token_id}/buy");
        assert_eq!(routes.route("/files/a/b", 200).as_str(), "/files/{name...}");
        assert_eq!(routes.route("/nowhere", 404).as_str(), "_unmatched");
    }

    #[test]
    fn a_listing_that_is_not_there_or_is_none_is_told_with_its_key() {
        let told = |change: fn(&mut Api)| format!("{:#}", with(change).err().unwrap());
        let missing = told(|api| api.openapi = "/nowhere/openapi.json".into());
        assert!(missing.contains("api.openapi names /nowhere/openapi.json"), "{missing}");
        let none = told(|api| api.flask_routes = "Cargo.toml".into());
        assert!(
            none.contains("api.flask_routes: Cargo.toml") && none.contains("`flask routes`"),
            "{none}"
        );
    }
}
