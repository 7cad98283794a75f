//! Which of the headers that matter here a message has, from one walk over its names.
//!
//! Every look-up in a header map hashes the name; a proxy that asks for a dozen headers, most of
//! them absent, would spend more on asking than on all it changes.

use http::HeaderMap;

macro_rules! names {
    ($($constant:ident = $bit:literal, $name:literal;)*) => {
        impl Seen {
            $(pub(super) const $constant: Self = Self(1 << $bit);)*

            pub(super) fn of(headers: &HeaderMap) -> Self {
                let mut seen = Self(0);
                for name in headers.keys() {
                    seen.0 |= match name.as_str() {
                        $($name => 1 << $bit,)*
                        _ => 0,
                    };
                }
                seen
            }
        }
    };
}

/// A set of header names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen(u32);

names! {
    CONNECTION = 0, "connection";
    KEEP_ALIVE = 1, "keep-alive";
    PROXY_CONNECTION = 2, "proxy-connection";
    TE = 3, "te";
    UPGRADE = 4, "upgrade";
    TRANSFER_ENCODING = 5, "transfer-encoding";
    ORIGIN = 6, "origin";
    TRACEPARENT = 7, "traceparent";
    TRACESTATE = 8, "tracestate";
    FORWARDED = 9, "forwarded";
    FORWARDED_FOR = 10, "x-forwarded-for";
    FORWARDED_PROTO = 11, "x-forwarded-proto";
    FORWARDED_HOST = 12, "x-forwarded-host";
    CACHE_STATUS = 13, "cache-status";
    X_CACHE = 14, "x-cache";
    HIT_CACHE = 15, "hit_cache";
    AGE = 16, "age";
    SERVER_TIMING = 17, "server-timing";
    X_CACHE_STATUS = 18, "x-cache-status";
    X_PROXY_CACHE = 19, "x-proxy-cache";
    CF_CACHE_STATUS = 20, "cf-cache-status";
    X_VERCEL_CACHE = 21, "x-vercel-cache";
    X_NEXTJS_CACHE = 22, "x-nextjs-cache";
}

impl Seen {
    pub(super) fn has(self, name: Self) -> bool {
        self.0 & name.0 != 0
    }
}
