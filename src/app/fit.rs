//! Whether what the settings name is fit for a start: files and directories, patterns, the token.
//!
//! The one judge of both `run` and `check`, who say the same of the same settings.

use std::path::Path;

use crate::config::{Api, Config};
use crate::decode::route_lists::{self, ListError};
use crate::decode::routes::{self, Patterns, Routes};
use crate::view;

/// Everything that is wrong, told at once: each with its key, what was expected and found, what to do.
#[derive(Debug, thiserror::Error)]
#[error("{} in the configuration:\n  {}", count(.0), .0.join("\n  "))]
pub struct Unfit(Vec<String>);

fn count(mistakes: &[String]) -> String {
    match mistakes.len() {
        1 => "1 mistake".to_owned(),
        several => format!("{several} mistakes"),
    }
}

/// The routes that the settings name, if nothing is wrong with these and all else they name.
///
/// # Errors
/// A file cannot be read or is not what it should be, a pattern is none, a database's file cannot be
/// one.
pub(super) fn judge(config: &Config) -> Result<Routes, Unfit> {
    let mut wrong = Vec::new();
    let routes = routes(&config.api, &mut wrong);
    for (at, file) in config.host.databases.iter().enumerate() {
        let found = match file.as_str() {
            "" => "an empty text; name the file, or remove the entry".to_owned(),
            dir if Path::new(dir).is_dir() => {
                format!(
                    "the directory {dir:?}; name the file in it, as \"{}/app.db\"",
                    dir.trim_end_matches('/')
                )
            }
            // It may come to be while the program runs.
            _ => continue,
        };
        wrong.push(format!("host.databases[{at}]: expected a database's file, found {found}"));
    }
    let token = &config.page.token;
    if !token.is_empty() && !view::is_token(token) {
        let length = token.chars().count();
        wrong.push(format!(
            "page.token: expected at least 16 letters, digits, '-', '_' and '.' and nothing else, found \
             {length} characters; choose another, or leave it empty"
        ));
    }
    // What is not there yet is made.
    let there = Path::new(&config.store.dir).ancestors().find(|path| path.exists());
    if let Some(file) = there.filter(|path| !path.is_dir()) {
        wrong.push(format!(
            "store.dir: expected a directory or a place for one, found the file {file:?} at {:?}; \
             name another, or move the file away",
            config.store.dir
        ));
    }
    if wrong.is_empty() { Ok(routes) } else { Err(Unfit(wrong)) }
}

/// Routes with everything that is known at the start.
fn routes(api: &Api, wrong: &mut Vec<String>) -> Routes {
    let mut routes = Routes::default();
    routes.exclude(Patterns::new(&api.exclude));
    let flask = |listing: &[u8]| route_lists::flask_routes(&String::from_utf8_lossy(listing));
    list(&mut routes, wrong, ("api.openapi", &api.openapi), route_lists::openapi);
    list(&mut routes, wrong, ("api.flask_routes", &api.flask_routes), flask);
    for (key, patterns) in
        [("routes", &api.routes), ("exclude", &api.exclude), ("long_poll", &api.long_poll)]
    {
        for (at, pattern) in patterns.iter().enumerate() {
            if let Some(why) = routes::flaw(pattern) {
                wrong.push(format!(
                    "api.{key}[{at}]: expected a path such as \"/api/nfts/{{id}}\", \
                     \"/api/nfts/<int:id>\" or \"/files/{{name...}}\", found {pattern:?}: {why}; \
                     correct or remove it"
                ));
            }
        }
    }
    for (at, pattern) in api.routes.iter().enumerate() {
        match routes::flaw(pattern) {
            Some(_) => {}
            None if routes.add(pattern) => {}
            None => {
                tracing::warn!(
                    "api.routes[{at}]: {pattern} is beyond the 500 routes that are matched"
                );
            }
        }
    }
    routes
}

/// Adds the routes of the file that a key names, if it names one.
fn list(
    routes: &mut Routes,
    wrong: &mut Vec<String>,
    (key, file): (&str, &str),
    read: impl Fn(&[u8]) -> Result<Vec<String>, ListError>,
) {
    if file.is_empty() {
        return;
    }
    let listed = match std::fs::read(file) {
        Ok(bytes) => read(&bytes).map_err(|error| format!("{key}: {file}: {error}")),
        Err(error) => Err(format!(
            "{key}: expected a file, found none that can be read at {file:?} ({error}); correct the \
             path, or leave it empty"
        )),
    };
    match listed {
        Err(told) => wrong.push(told),
        Ok(listed) => {
            let left_out = listed.iter().filter(|pattern| !routes.add(pattern)).count();
            if left_out > 0 {
                tracing::warn!(
                    left_out,
                    "{key}: {file} holds routes beyond the 500 that are matched, or with characters \
                     that no label may have"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(change: impl FnOnce(&mut Config)) -> Result<Routes, String> {
        let mut config = Config::default();
        change(&mut config);
        judge(&config).map_err(|unfit| unfit.to_string())
    }

    fn told(change: impl FnOnce(&mut Config)) -> String {
        judged(change).err().unwrap()
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
        let routes = judged(|config| {
            config.api.openapi = openapi;
            config.api.flask_routes = flask_routes;
            config.api.routes = vec!["/files/{name...}".to_owned()];
        });
        let mut routes = routes.ok().unwrap();
        assert_eq!(routes.route("/users/alice", 404).as_str(), "/users/{user}");
        assert_eq!(routes.route("/users/me", 200).as_str(), "/users/me");
        assert_eq!(routes.route("/api/nfts/7/buy", 409).as_str(), "/api/nfts/{token_id}/buy");
        assert_eq!(routes.route("/files/a/b", 200).as_str(), "/files/{name...}");
        assert_eq!(routes.route("/nowhere", 404).as_str(), "_unmatched");
    }

    #[test]
    fn a_listing_that_is_not_there_or_is_none_is_told_with_its_key() {
        let missing = told(|config| config.api.openapi = "/nowhere/openapi.json".into());
        assert!(missing.contains("api.openapi: expected a file, found none"), "{missing}");
        assert!(missing.contains("\"/nowhere/openapi.json\" (No such file"), "{missing}");
        let none = told(|config| config.api.flask_routes = "Cargo.toml".into());
        let key = "api.flask_routes: Cargo.toml: expected what `flask routes` prints";
        assert!(none.contains(key), "{none}");
        let other = told(|config| config.api.openapi = "Cargo.toml".into());
        assert!(other.contains("api.openapi: Cargo.toml: expected an OpenAPI document"), "{other}");
    }

    #[test]
    fn paths_to_leave_out_and_long_polls_are_patterns_as_routes_are() {
        let routes = judged(|config| config.api.exclude = vec!["/static/{file...}".into()]);
        let routes = routes.ok().unwrap();
        assert!(routes.excludes("/static/a/b.css?v=1") && !routes.excludes("/api/nfts"));
        let told = told(|config| {
            config.api.exclude = vec!["healthz".into()];
            config.api.long_poll = vec!["/events/{".into()];
        });
        assert!(told.contains("api.exclude[0]: expected a path such as"), "{told}");
        assert!(told.contains("api.long_poll[0]: expected a path such as"), "{told}");
    }

    #[test]
    fn a_weak_token_and_a_file_where_samples_are_to_be_kept_are_told() {
        let told = told(|config| {
            config.page.token = "short".into();
            config.store.dir = "Cargo.toml/samples".into();
        });
        assert!(told.starts_with("2 mistakes in the configuration:\n"), "{told}");
        assert!(told.contains("page.token: expected at least 16 letters"), "{told}");
        assert!(told.contains("found the file \"Cargo.toml\" at \"Cargo.toml/samples\""), "{told}");
        let sound = judged(|config| config.page.token = "0123456789abcde-".into());
        assert!(sound.is_ok());
    }

    #[test]
    fn patterns_and_databases_are_told_all_at_once_by_key_and_index() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_str().unwrap().to_owned();
        let told = told(|config| {
            config.api.routes = ["/api/nfts/{id}", "api/nfts", "/x/{y"].map(str::to_owned).into();
            config.host.databases = vec!["not/there/yet.db".into(), String::new(), path.clone()];
        });
        assert!(told.starts_with("4 mistakes in the configuration:\n"), "{told}");
        assert_eq!(told.lines().count(), 5, "{told}");
        for expected in [
            "api.routes[1]: expected a path such as \"/api/nfts/{id}\"",
            "found \"api/nfts\": it does not begin with /; correct or remove it",
            "found \"/x/{y\": a bracket is opened that is not closed",
            "host.databases[1]: expected a database's file, found an empty text",
            &format!("host.databases[2]: expected a database's file, found the directory {path:?}"),
        ] {
            assert!(told.contains(expected), "{expected} in\n{told}");
        }
    }
}
