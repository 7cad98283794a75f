//! What a cache did with a request, from the response's headers, the most telling first:
//! `Cache-Status` (RFC 9211), `X-Cache` and its kin (`X-Cache-Status`, `X-Proxy-Cache`,
//! `CF-Cache-Status`, `X-Vercel-Cache`, `X-Nextjs-Cache`), Flask-Caching's `hit_cache`,
//! `Server-Timing`'s `cache`, `Age`. A 304 is a revalidation whatever they say: the API was asked all
//! the same, and only the body was saved.

use super::members::{parameter, pieces};
use super::server_timing;
use crate::model::CacheOutcome;

/// The values of the headers that tell, each joined by commas; empty where there is none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Headers<'a> {
    pub cache_status: &'a str,
    /// `X-Cache` and its kin, in the order in which they are believed.
    pub words: [&'a str; 6],
    /// Sent by Flask-Caching on hits only, so its absence says nothing.
    pub hit_cache: &'a str,
    pub server_timing: &'a str,
    /// Seconds that the response has been kept by some cache (RFC 9111 5.1).
    pub age: &'a str,
}

/// The outcome for a response of this status.
pub fn outcome(status: u16, headers: &Headers<'_>) -> CacheOutcome {
    if status == 304 {
        return CacheOutcome::Revalidated;
    }
    of_members(headers.cache_status, cache_status)
        .or_else(|| headers.words.iter().find_map(|words| of_members(words, word)))
        .or_else(|| {
            headers.hit_cache.trim().eq_ignore_ascii_case("true").then_some(CacheOutcome::Hit)
        })
        .or_else(|| {
            server_timing::entries(headers.server_timing)
                .filter(|entry| matches!(entry.name, "cache" | "cdn-cache"))
                .find_map(|entry| word(&entry.description))
        })
        .or_else(|| {
            let age = headers.age.trim().parse::<u64>().unwrap_or(0);
            (age > 0).then_some(CacheOutcome::Hit)
        })
        .unwrap_or_default()
}

/// The outcome of a chain of caches, the one nearest to the client last. A hit of any spared the API
/// the request: those nearer to it tell of the time when the answer was kept.
fn of_members(text: &str, each: impl Fn(&str) -> Option<CacheOutcome>) -> Option<CacheOutcome> {
    let mut last = None;
    for outcome in pieces(text, b',').filter_map(each) {
        if outcome == CacheOutcome::Hit {
            return Some(outcome);
        }
        last = Some(outcome);
    }
    last
}

/// One cache's member of `Cache-Status`: `marketplace; fwd=miss; stored`.
fn cache_status(member: &str) -> Option<CacheOutcome> {
    let mut hit = false;
    let (mut forward, mut answered_304, mut too_old) = (None, false, false);
    for (name, value) in pieces(member, b';').skip(1).map(parameter) {
        match name {
            "hit" => hit = value != "?0",
            "fwd" => forward = Some(value),
            "fwd-status" => answered_304 = value == "304",
            "ttl" => too_old = value.starts_with('-'),
            _ => {}
        }
    }
    match forward.as_deref() {
        None if hit && too_old => Some(CacheOutcome::Stale),
        None => hit.then_some(CacheOutcome::Hit),
        Some("stale") if answered_304 => Some(CacheOutcome::Revalidated),
        Some("stale") => Some(CacheOutcome::Stale),
        Some("bypass" | "method" | "request") => Some(CacheOutcome::Bypass),
        // `uri-miss`, `vary-miss`, `miss`, `partial`, and what later documents may add.
        Some(_) => Some(CacheOutcome::Miss),
    }
}

/// A cache's outcome in its own words: `HIT`, `Miss from cloudfront`, `TCP_REFRESH_HIT`, `EXPIRED`,
/// `NOT_CACHED`, `Hit for pass`. What follows `from` or stands in brackets is whose words they are.
fn word(text: &str) -> Option<CacheOutcome> {
    let text = text.get(..80).unwrap_or(text).to_ascii_uppercase();
    let words = text
        .split(|c: char| c.is_ascii_whitespace() || "-_:;/".contains(c))
        .filter(|word| !word.is_empty())
        .take_while(|word| {
            !matches!(*word, "FROM" | "BY" | "AT" | "VIA") && !word.starts_with('(')
        });
    let words: Vec<&str> = words.take(MOST_WORDS).collect();
    let has = |some: &[&str]| words.iter().any(|word| some.contains(word));
    let after = |first: &str, then: &[&str]| {
        words.windows(2).any(|pair| pair[0] == first && then.contains(&pair[1]))
    };
    // The order matters: `TCP_REFRESH_MISS` is a miss, `hit-for-pass` is none of both.
    if has(&["PASS", "BYPASS", "BYPASSED", "DYNAMIC", "SKIP", "SKIPPED", "NOCACHE", "NOSTORE"])
        || after("NO", &["CACHE", "STORE"])
    {
        Some(CacheOutcome::Bypass)
    } else if has(&["MISS", "MISSED", "HITMISS", "UNCACHED", "UNCACHEABLE"])
        || ["NO", "NOT", "NON"].iter().any(|no| after(no, &["HIT", "CACHED", "FOUND"]))
    {
        Some(CacheOutcome::Miss)
    } else if has(&["STALE", "EXPIRED", "UPDATING", "GRACE"]) || after("FAIL", &["HIT"]) {
        Some(CacheOutcome::Stale)
    } else if has(&["REVALIDATED", "REFRESH", "REFRESHHIT"]) {
        Some(CacheOutcome::Revalidated)
    } else if has(&["HIT", "CACHED", "PRERENDER"]) {
        Some(CacheOutcome::Hit)
    } else {
        None
    }
}

/// Words of a cache that are looked at.
const MOST_WORDS: usize = 8;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use CacheOutcome::{Bypass, Hit, Miss, Revalidated, Stale, Unknown};

    fn by_cache_status(text: &str) -> CacheOutcome {
        outcome(200, &Headers { cache_status: text, ..Headers::default() })
    }

    fn by_x_cache(text: &str) -> CacheOutcome {
        outcome(200, &Headers { words: [text, "", "", "", "", ""], ..Headers::default() })
    }

    #[test]
    fn cache_status_is_read_as_its_rfc_says() {
        // The examples of RFC 9211, 2 and 3, and what the marketplace sends.
        for (text, expected) in [
            ("ExampleCache; hit", Hit),
            ("OriginCache; hit; ttl=1100, \"CDN Company Here\"; hit; ttl=545", Hit),
            ("ExampleCache; hit; ttl=-412", Stale),
            ("ExampleCache; fwd=stale; fwd-status=304", Revalidated),
            ("ExampleCache; fwd=stale; fwd-status=304; collapsed; ttl=376", Revalidated),
            ("ExampleCache; fwd=stale; fwd-status=200; stored", Stale),
            ("ExampleCache; fwd=uri-miss; stored", Miss),
            ("ExampleCache; fwd=vary-miss; stored; key=\"a, hit\"", Miss),
            ("ExampleCache; fwd=request; fwd-status=200", Bypass),
            ("ExampleCache; fwd=bypass; detail=\"hit; it\"", Bypass),
            ("ExampleCache; fwd=method", Bypass),
            ("OriginCache; fwd=uri-miss; stored, CDN; hit", Hit),
            ("OriginCache; hit, CDN; fwd=miss", Hit),
            ("Origin; fwd=bypass, \"CDN; hit\"; fwd=miss", Miss),
            ("marketplace; hit; ttl=2", Hit),
            ("marketplace; fwd=miss; stored", Miss),
            ("ExampleCache", Unknown),
            ("hit", Unknown),
            ("", Unknown),
        ] {
            assert_eq!(by_cache_status(text), expected, "{text}");
        }
    }

    #[test]
    fn x_cache_is_read_in_the_words_of_many() {
        for (text, expected) in [
            // nginx: add_header X-Cache $upstream_cache_status.
            ("HIT", Hit),
            ("MISS", Miss),
            ("EXPIRED", Stale),
            ("STALE", Stale),
            ("UPDATING", Stale),
            ("REVALIDATED", Revalidated),
            ("BYPASS", Bypass),
            // Varnish, as its documentation and its users write it.
            ("cached", Hit),
            ("uncached", Miss),
            ("hit cached", Hit),
            ("hit-for-pass", Bypass),
            ("hitmiss uncacheable", Miss),
            // CloudFront, Fastly, Akamai, Azure, Squid.
            ("Hit from cloudfront", Hit),
            ("Miss from cloudfront", Miss),
            ("RefreshHit from cloudfront", Revalidated),
            ("Error from cloudfront", Unknown),
            ("MISS, HIT", Hit),
            ("MISS, MISS", Miss),
            ("TCP_MEM_HIT from a23-1-2-3.deploy.akamaitechnologies.com", Hit),
            ("TCP_REFRESH_MISS from a23-1-2-3", Miss),
            ("TCP_REFRESH_HIT", Revalidated),
            ("TCP_REMOTE_HIT", Hit),
            ("CONFIG_NOCACHE", Bypass),
            ("PRIVATE_NOSTORE", Bypass),
            ("HIT from proxy.example:3128", Hit),
            ("MISS from hit.example", Miss),
            ("-", Unknown),
            // What looks like a hit and is none.
            ("NOT_CACHED", Miss),
            ("no-hit", Miss),
            ("Not hit", Miss),
            ("Hit for pass", Bypass),
            ("HIT-FOR-MISS", Miss),
            ("no cache", Bypass),
            ("cache pass", Bypass),
            // Cloudflare, Vercel, Next.js, KeyCDN, LiteSpeed.
            ("DYNAMIC", Bypass),
            ("NONE/UNKNOWN", Unknown),
            ("PRERENDER", Hit),
            ("hit (edge-7, pass)", Hit),
            ("hit,litespeed", Hit),
            ("HITS:0", Unknown),
        ] {
            assert_eq!(by_x_cache(text), expected, "{text}");
        }
    }

    #[test]
    fn the_lesser_signs_count_where_the_better_ones_are_silent() {
        let nothing = Headers::default();
        assert_eq!(outcome(200, &nothing), Unknown);
        // Flask-Caching with response_hit_indication.
        assert_eq!(outcome(200, &Headers { hit_cache: "True", ..nothing }), Hit);
        assert_eq!(outcome(200, &Headers { hit_cache: "False", ..nothing }), Unknown);
        let timing = Headers { server_timing: "db;dur=1, cache;desc=hit", ..nothing };
        assert_eq!(outcome(200, &timing), Hit);
        let timing = Headers { server_timing: "cdn-cache; desc=MISS, edge; dur=4", ..nothing };
        assert_eq!(outcome(200, &timing), Miss);
        assert_eq!(outcome(200, &Headers { server_timing: "cache;dur=3", ..nothing }), Unknown);
        assert_eq!(outcome(200, &Headers { age: "7", ..nothing }), Hit);
        assert_eq!(outcome(200, &Headers { age: "0", ..nothing }), Unknown);
        let words = ["", "HIT", "", "", "", "MISS"];
        assert_eq!(
            outcome(200, &Headers { words, ..nothing }),
            Hit,
            "the first that says anything"
        );
        let both = Headers { cache_status: "a; fwd=miss", words, age: "9", ..nothing };
        assert_eq!(outcome(200, &both), Miss, "the better sign");
        let both = Headers { cache_status: "unclear", words, ..nothing };
        assert_eq!(outcome(200, &both), Hit, "a sign that says nothing");
        assert_eq!(outcome(304, &Headers { words, ..nothing }), Revalidated);
        assert_eq!(outcome(304, &nothing), Revalidated);
    }

    proptest! {
        #[test]
        fn any_headers_have_an_outcome(texts in proptest::array::uniform5(any::<String>())) {
            let [cache_status, x_cache, hit_cache, server_timing, age] = &texts;
            let words = [x_cache, age, "", "", "", ""];
            outcome(200, &Headers { cache_status, words, hit_cache, server_timing, age });
        }
    }
}
