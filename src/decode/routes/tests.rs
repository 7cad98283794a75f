//! Paths and patterns from outside into routes.

use proptest::prelude::*;

use super::*;
use crate::model::OTHER;

fn route(path: &str) -> &'static str {
    Routes::default().route(path, 200).as_str()
}

/// Whether a route is added.
fn learns(routes: &mut Routes, reported: &str, path: &str) -> bool {
    routes.learn(reported, path).added.is_some()
}

#[test]
fn a_dapps_own_shapes_are_known() {
    let address = "0x5FbDB2315678afecb367f032d93F642f64180aa3";
    let hash = format!("0x{}", "ab".repeat(32));
    assert_eq!(route(&format!("/api/nfts/{address}")), "/api/nfts/{address}");
    assert_eq!(route(&format!("/tx/{hash}/logs")), "/tx/{hash}/logs");
    assert_eq!(route("/api/nfts/17"), "/api/nfts/{id}");
    assert_eq!(route("/users/vitalik.eth"), "/users/{name}");
    assert_eq!(route("/j/123e4567-e89b-12d3-a456-426614174000"), "/j/{uuid}");
    assert_eq!(
        route("/ipfs/QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG/1.json"),
        "/ipfs/{cid}/1.json"
    );
    assert_eq!(
        route("/ipfs/bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi"),
        "/ipfs/{cid}"
    );
    assert_eq!(route("/"), "/");
    assert_eq!(route("/api/nfts/"), "/api/nfts/");
    assert_eq!(route("/api/nfts?key=secret"), "/api/nfts");
}

#[test]
fn patterns_come_first_and_the_most_literal_wins() {
    let mut routes = Routes::new(&[
        "/api/nfts/{id}",
        "/api/nfts/<int:token_id>/history",
        "/api/nfts/mine",
        "/files/<path:name>",
    ]);
    assert_eq!(routes.route("/api/nfts/17", 200).as_str(), "/api/nfts/{id}");
    assert_eq!(routes.route("/api/nfts/mine", 200).as_str(), "/api/nfts/mine");
    assert_eq!(routes.route("/api/nfts/abc", 404).as_str(), "/api/nfts/{id}");
    let history = routes.route("/api/nfts/17/history", 500).as_str();
    assert_eq!(history, "/api/nfts/{token_id}/history");
    assert_eq!(routes.route("/files/a/b/c.png", 200).as_str(), "/files/{name}");
    assert_eq!(routes.route("/api/nfts/x/history", 404).as_str(), "_unmatched");
}

#[test]
fn of_patterns_that_both_match_the_narrower_wins_whatever_came_first() {
    let mut routes = Routes::new(&[
        "/<path:page>",
        "/{a}/b/c",
        "/a/{b}/c",
        "/users/<name>",
        "/users/<int:user>",
        "/users/<name>.json",
        "/v{version}/{kind}-{id}",
    ]);
    for (path, route) in [
        ("/a/b/c", "/a/{b}/c"),
        ("/x/b/c", "/{a}/b/c"),
        ("/users/7", "/users/{user}"),
        ("/users/me", "/users/{name}"),
        ("/users/me.json", "/users/{name}.json"),
        ("/users/.json", "/users/{name}"),
        ("/v2/nft-7", "/v{version}/{kind}-{id}"),
        ("/favicon.ico", "/{page}"),
    ] {
        assert_eq!(routes.route(path, 404).as_str(), route, "{path}");
    }
}

#[test]
fn a_listing_of_many_routes_takes_room_for_those_that_are_used() {
    let listed: Vec<_> = (0..400).map(|i| format!("/listed/{i}/x")).collect();
    let mut routes = Routes::new(&listed);
    for path in &listed[300..] {
        assert_eq!(routes.route(path, 200).as_str(), path);
    }
    assert_eq!(routes.route("/listed/1/x", 200).as_str(), OTHER);
    assert_eq!(routes.overflow(), 1);
}

#[test]
fn a_404_keeps_the_route_on_which_something_was_answered_before() {
    let mut routes = Routes::default();
    assert_eq!(routes.route("/api/nfts/7", 404), UNMATCHED);
    routes.route("/api/nfts/7", 200);
    assert_eq!(routes.route("/api/nfts/999", 404).as_str(), "/api/nfts/{id}");
    assert_eq!(routes.route("/api/nfts", 404), UNMATCHED);
    assert_eq!(routes.route("/api/nfts/7/x", 404), UNMATCHED);
    assert_eq!(routes.route("/api/nfts/999/", 404), UNMATCHED);
    for i in 0..20 {
        routes.route(&format!("/page{i}"), 200);
    }
    assert_eq!(routes.route("/page19", 404), UNMATCHED, "a collapsed level knows no names");
    assert_eq!(routes.route("/page3", 404).as_str(), "/page3");
}

#[test]
fn a_404_that_nothing_covers_is_unmatched_and_takes_no_room() {
    let mut routes = Routes::default();
    for i in 0..1_000 {
        assert_eq!(routes.route(&format!("/wp-admin/{i}/x{i}.php"), 404), UNMATCHED);
    }
    assert_eq!(routes.overflow(), 0);
    assert_eq!(routes.route("/wp-admin", 200).as_str(), "/wp-admin");
}

#[test]
fn a_level_with_more_than_ten_names_collapses() {
    let mut routes = Routes::default();
    let all: BTreeSet<_> =
        (0..1_000).map(|i| routes.route(&format!("/u/name{i}/x"), 200).as_str()).collect();
    assert_eq!(all.len(), 11);
    assert!(all.contains("/u/{*}/x"));
    assert_eq!(routes.route("/u/name3/x", 200).as_str(), "/u/name3/x");
    assert_eq!(routes.route("/u/5/x", 200).as_str(), "/u/{id}/x");
}

#[test]
fn there_are_at_most_a_hundred_routes() {
    let mut routes = Routes::default();
    let mut all = BTreeSet::new();
    for (a, b, c) in (0..8_000).map(|i| (i / 400, i / 20 % 20, i % 20)) {
        all.insert(routes.route(&format!("/a{a}/b{b}/c{c}"), 200).as_str());
    }
    assert_eq!(all.len(), 101);
    assert!(all.contains(OTHER) && routes.overflow() > 0);
}

#[test]
fn hostile_paths_become_harmless_routes() {
    assert_eq!(route("/%3Cscript%3E/a"), "/{*}/a");
    assert_eq!(route("/a/\u{1b}[31m\r\n/b"), "/a/{*}/b");
    assert_eq!(route(&format!("/{}", "x".repeat(60_000))), "/{token}");
    assert_eq!(route(&"/a".repeat(30_000)), "/a/a/a/a/a/a/a/a/{*}");
    assert_eq!(route("//a///b"), "/a/b");
    assert_eq!(route("/../../etc/passwd"), "/../../etc/passwd");
    assert_eq!(route("*"), "/{*}");
    assert_eq!(route(""), "/");
}

#[test]
fn what_the_api_reports_takes_the_place_of_what_matches_the_same() {
    let mut routes = Routes::new(&["/api/nfts/{id}", "/users/<int:id>", "/api/nfts/mine"]);
    assert_eq!(routes.route("/api/nfts/7", 200).as_str(), "/api/nfts/{id}");
    assert!(learns(&mut routes, "/api/nfts/<string:token_id>", "/api/nfts/7"));
    assert_eq!(routes.route("/api/nfts/7", 200).as_str(), "/api/nfts/{token_id}");
    assert!(
        !learns(&mut routes, "/api/nfts/<other>", "/api/nfts/7"),
        "the first one reported stays"
    );
    assert!(!learns(&mut routes, "/users/<int:user>", "/users/me"), "it does not match");
    assert!(learns(&mut routes, "/users/<user>", "/users/7"));
    assert_eq!(routes.route("/users/7", 200).as_str(), "/users/{user}", "reported before listed");
    assert!(learns(&mut routes, "/<path:page>", "/about/us"));
    assert_eq!(routes.route("/api/nfts/mine", 200).as_str(), "/api/nfts/mine");
    let used = ["/api/nfts/<string:token_id>", "/users/<user>", "/<path:page>"];
    assert_eq!(routes.used().collect::<Vec<_>>(), used);
    assert_eq!(routes.used().count(), 0);
}

#[test]
fn what_follows_an_open_end_has_to_follow() {
    let mut routes = Routes::new(&["/<path:page>/edit", "/<path:page>"]);
    assert_eq!(routes.route("/a/b/edit", 200).as_str(), "/{page}/edit");
    assert_eq!(routes.route("/a/b", 200).as_str(), "/{page}");
    assert_eq!(routes.route("/edit", 200).as_str(), "/{page}");
}

#[test]
fn ids_keys_and_prose_are_no_part_of_a_reported_route() {
    let mut routes = Routes::default();
    for (reported, path) in [
        ("/api/nfts/7", "/api/nfts/7"),
        ("/k/sk_live_1", "/k/sk_live_1"),
        ("/a b", "/a b"),
        ("/%3Cscript%3E", "/%3Cscript%3E"),
        ("/<x\">", "/y"),
        ("/\u{e9}/<x>", "/\u{e9}/y"),
    ] {
        assert!(!learns(&mut routes, reported, path), "{reported}");
    }
    assert!(learns(&mut routes, "/api/v1/<any(a,b):kind>.json", "/api/v1/a.json"));
    assert_eq!(routes.route("/api/v1/a.json", 200).as_str(), "/api/v1/{kind}.json");
}

#[test]
fn a_pattern_that_a_person_wrote_says_what_is_wrong_with_it() {
    for sound in [
        "/",
        "/api/nfts/{id}",
        "/api/nfts/<int:id>/",
        "/files/{name...}",
        "/files/<path:name>",
        "/report.{format}",
        "/{a}-{b}",
        "/{*}",
        "/v1/nfts:mint",
        "/<regex(\"[a-z]{3}\"):x>",
    ] {
        assert_eq!(flaw(sound), None, "{sound}");
    }
    for (wrong, words) in [
        ("", "begin with /"),
        ("api/nfts", "begin with /"),
        ("http://a/b", "begin with /"),
        ("/a b", "spaces"),
        ("/caf\u{e9}", "spaces or letters"),
        ("/a?x={x}", "behind the path"),
        ("/a#b", "behind the path"),
        ("/api/:id", "{name}"),
        ("/api/{id", "not closed"),
        ("/api/<int:id", "not closed"),
        ("/api/{id/x}", "not closed"),
        ("/api/id}", "not opened"),
        ("/api/{}", "no name"),
        ("/api/<>", "no name"),
        ("/api/{{id}}", "within another"),
    ] {
        assert!(
            flaw(wrong).is_some_and(|reported| reported.contains(words)),
            "{wrong}: {:?}",
            flaw(wrong)
        );
    }
    assert!(flaw(&"/abc".repeat(40)).is_some_and(|reported| reported.contains("128")));
}

#[test]
fn words_of_known_routes_are_no_secrets() {
    let names = [
        "getMarketplaceItems",
        "oauth2callbackv1",
        "password-reset-confirmation-email",
        "@me",
        "a8f3k2l9q0z7x5c1",
    ];
    let listed: Vec<_> = names.iter().map(|name| format!("/api/{name}")).collect();
    let mut routes = Routes::new(&listed);
    for path in &listed {
        assert_eq!((routes.route(path, 200).as_str(), &*routes.mask(path)), (&**path, &**path));
    }
    let below = "/api/a8f3k2l9q0z7x5c1/more";
    assert_eq!((routes.route(below, 200).as_str(), &*routes.mask(below)), (below, below));
    for name in &names[..4] {
        let mut routes = Routes::default();
        let path = format!("/api/{name}");
        assert_eq!(routes.learn(&path, &path).route.map(|it| it.as_str()), Some(&*path));
        assert_eq!(routes.mask(&path), *path);
    }
    // An SDK that reports the path for want of a route.
    let path = "/api/a8f3k2l9q0z7x5c1";
    assert_eq!(Routes::default().learn(path, path), Learned::default());
}

#[test]
fn endpoints_that_nobody_lists_stay_apart_and_secrets_hidden() {
    let mut routes = Routes::default();
    for name in [
        "getMarketplaceItems",
        "getMarketplaceOffers",
        "listAllNFTCollections",
        "oauth2callbackv1",
        "password-reset-confirmation-email",
        "marketplacesettings",
    ] {
        let path = format!("/api/{name}");
        assert_eq!((routes.route(&path, 200).as_str(), &*routes.mask(&path)), (&*path, &*path));
    }
    for secret in [
        "ann@example.org",
        "@ann",
        "eyJhbGciOiJIUzI1NiJ9",
        "sk_live_1",
        "a8f3k2l9q0z7x5c1",
        "AKIAIOSFODNN7EXAMPLE",
        "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY",
        "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
        "9f86d081884c7d659a2feaa0c55ad015",
        "xoxb-17653672481-19874698323-pdFZKVeTuE8sk7oOcHrzqqgy",
        "dGhpcyBpcyBhIHNlY3JldA",
        "GoogleAPIkeyAIzaSyDaGmWKa4JsXZHjGw7ISLn3namBGewQe",
    ] {
        let path = format!("/k/{secret}/x");
        assert_eq!(&*routes.mask(&path), "/k/{token}/x", "{secret}");
        assert_eq!(routes.route(&path, 200).as_str(), "/k/{token}/x", "{secret}");
    }
}

#[test]
fn the_api_s_own_notation_is_read() {
    let mut routes = Routes::default();
    for (reported, path, route) in [
        ("/users/:name", "/users/ann", "/users/{name}"),
        ("/orders/:id(\\d+)", "/orders/7", "/orders/{id}"),
        ("/items/{id:int}/x", "/items/7/x", "/items/{id}/x"),
        ("/files/*splat", "/files/a/b", "/files/{splat}"),
        ("people/(?P<pk>\\d+)/$", "/people/7/", "/people/{pk}/"),
        ("/^\\/old\\/(?<id>\\d+)$/", "/old/7", "/old/{id}"),
    ] {
        let learned = routes.learn(reported, path);
        assert_eq!(learned.route.map(|it| it.as_str()), Some(route), "{reported}");
        assert_eq!(learned.added.as_deref(), Some(reported));
        assert_eq!(routes.route(path, 404).as_str(), route);
    }
}

#[test]
fn what_is_mounted_has_the_path_of_its_mount() {
    let mut routes = Routes::default();
    for (reported, path, route) in [
        ("/items/<int:id>", "/shop/items/7", "/shop/items/{id}"),
        ("/items/{id}", "/v2/shop/items/7", "/v2/shop/items/{id}"),
        ("/", "/shop/", "/shop/"),
        ("/<path:page>", "/docs/a/b", "/{page}"),
        // The outer application reports its own part only, which is no route of the whole path.
        ("/api", "/api/nfts/7", ""),
        ("/items/<int:id>", "/u/7/items/7", ""),
        ("/other/<x>", "/shop/items/7", ""),
    ] {
        let learned = routes.learn(reported, path);
        let found = learned.route.map_or("", |it| it.as_str());
        assert_eq!(found, route, "{reported} of {path}");
        if let Some(added) = learned.added {
            let mut later = Routes::default();
            assert!(later.recall(&added), "{added}");
            assert_eq!(later.route(path, 200).as_str(), route);
        }
    }
    let mut routes = Routes::default();
    let learned = (0..1_000).filter(|i| {
        let word: String = format!("{i:03}").bytes().map(|b| char::from(b - b'0' + b'a')).collect();
        learns(&mut routes, "/items/<id>", &format!("/{word}/items/7"))
    });
    assert_eq!(learned.count(), MOUNTS);
}

#[test]
fn of_routes_that_both_match_the_one_that_the_api_goes_by_wins() {
    let mut routes = Routes::new(&["/x/<b>/<c>", "/<a>/b/c"]);
    assert!(routes.is_sure("/x/b/c"), "no span shows which");
    assert_eq!(routes.route("/x/b/c", 200).as_str(), "/{a}/b/c");
    routes.learn("/x/<b>/<c>", "/x/1/2");
    assert!(routes.is_sure("/x/1/2") && routes.is_sure("/y/b/c") && !routes.is_sure("/x/b/c"));
    assert_eq!(routes.learn("/x/<b>/<c>", "/x/b/c").route.unwrap().as_str(), "/x/{b}/{c}");
    assert!(routes.is_sure("/x/b/c"));
    assert_eq!(routes.route("/x/b/c", 200).as_str(), "/x/{b}/{c}");
    // As where the method decides.
    assert_eq!(routes.learn("/<a>/b/c", "/x/b/c").route.unwrap().as_str(), "/{a}/b/c");
    assert!(!routes.is_sure("/x/b/c"));
}

proptest! {
    #[test]
    fn a_route_is_always_short_and_printable(
        path in any::<String>(), reported in any::<String>(), status: u16,
    ) {
        let mut routes = Routes::new(&["/a/{b}"]);
        routes.recall(&reported);
        for path in [&path, &reported] {
            let route = routes.route(path, status).as_str();
            prop_assert!(route.len() <= 128);
            prop_assert!(route.bytes().all(|b| b.is_ascii_graphic()), "{}", route);
        }
    }
}
