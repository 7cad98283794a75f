//! The kinds of value a setting can have, and the words for what is accepted.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use toml::Value;

/// A value that can be read from TOML and shown again.
pub trait Setting {
    /// Takes over `value`.
    ///
    /// # Errors
    /// Says what was found and what is accepted; the setting is unchanged then.
    fn read(&mut self, value: &Value) -> Result<(), String>;

    /// The present value.
    fn show(&self) -> Value;
}

fn expected<T>(what: &str, found: &Value) -> Result<T, String> {
    Err(format!("expected {what}, found {found}"))
}

fn text<'a>(value: &'a Value, what: &str) -> Result<&'a str, String> {
    value.as_str().map_or_else(|| expected(what, value), Ok)
}

impl Setting for bool {
    fn read(&mut self, value: &Value) -> Result<(), String> {
        *self = value.as_bool().map_or_else(|| expected("true or false", value), Ok)?;
        Ok(())
    }

    fn show(&self) -> Value {
        Value::Boolean(*self)
    }
}

impl Setting for String {
    fn read(&mut self, value: &Value) -> Result<(), String> {
        text(value, "a text in quotes")?.clone_into(self);
        Ok(())
    }

    fn show(&self) -> Value {
        Value::String(self.clone())
    }
}

impl Setting for PathBuf {
    fn read(&mut self, value: &Value) -> Result<(), String> {
        const FORM: &str = "a path in quotes";
        let path = text(value, FORM)?;
        if path.is_empty() {
            return expected(FORM, value);
        }
        *self = path.into();
        Ok(())
    }

    fn show(&self) -> Value {
        Value::String(self.display().to_string())
    }
}

impl Setting for Vec<String> {
    fn read(&mut self, value: &Value) -> Result<(), String> {
        const FORM: &str = "a list of texts, [\"a\", \"b\"]";
        let items = value.as_array().map_or_else(|| expected(FORM, value), Ok)?;
        *self = items
            .iter()
            .map(|item| text(item, FORM).map(str::to_owned))
            .collect::<Result<_, _>>()?;
        Ok(())
    }

    fn show(&self) -> Value {
        Value::Array(self.iter().cloned().map(Value::String).collect())
    }
}

impl Setting for SocketAddr {
    fn read(&mut self, value: &Value) -> Result<(), String> {
        const FORM: &str = "an IP address and a port, \"127.0.0.1:8546\" (port 0 takes a free one)";
        let address = text(value, FORM)?;
        // `localhost` is what people write; it means the loopback address.
        let numeric = address
            .strip_prefix("localhost:")
            .map_or_else(|| address.to_owned(), |port| format!("127.0.0.1:{port}"));
        *self = numeric.parse().or_else(|_| expected(FORM, value))?;
        Ok(())
    }

    fn show(&self) -> Value {
        Value::String(self.to_string())
    }
}

/// A whole number from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounded<const MIN: u64, const MAX: u64>(pub u64);

impl<const MIN: u64, const MAX: u64> Setting for Bounded<MIN, MAX> {
    fn read(&mut self, value: &Value) -> Result<(), String> {
        let number = value.as_integer().and_then(|n| u64::try_from(n).ok());
        match number {
            Some(number) if (MIN..=MAX).contains(&number) => self.0 = number,
            _ => return expected(&format!("a whole number from {MIN} to {MAX}"), value),
        }
        Ok(())
    }

    fn show(&self) -> Value {
        Value::Integer(i64::try_from(self.0).unwrap_or(i64::MAX))
    }
}

/// What is logged: levels, for all or by module, as `tracing`'s filters take them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFilter(pub String);

impl LogFilter {
    /// Whether `filter` names levels only. A bare word that is no level would be taken for a module
    /// whose every line is wanted, and no other's: `wibble` would mute the program.
    fn is_valid(filter: &str) -> bool {
        let named = filter.split(',').all(|directive| {
            let level = directive.rsplit('=').next().unwrap_or(directive);
            !level.is_empty() && level.parse::<tracing::level_filters::LevelFilter>().is_ok()
        });
        named && tracing_subscriber::EnvFilter::try_new(filter).is_ok()
    }
}

impl Setting for LogFilter {
    fn read(&mut self, value: &Value) -> Result<(), String> {
        const FORM: &str = "off, error, warn, info, debug or trace, alone or for a module, divided \
                            by commas: \"info\" or \"info,dappscope::wire=debug\"";
        let filter = text(value, FORM)?;
        if !Self::is_valid(filter) {
            return expected(FORM, value);
        }
        self.0 = filter.to_owned();
        Ok(())
    }

    fn show(&self) -> Value {
        Value::String(self.0.clone())
    }
}

/// Of which transactions the node is asked what they changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateChanges {
    Off,
    /// One of each function at a time, now and then.
    Sampled,
    All,
}

impl Setting for StateChanges {
    fn read(&mut self, value: &Value) -> Result<(), String> {
        *self = match value.as_str() {
            Some("off") => Self::Off,
            Some("sampled") => Self::Sampled,
            Some("all") => Self::All,
            _ => return expected("\"off\", \"sampled\" or \"all\"", value),
        };
        Ok(())
    }

    fn show(&self) -> Value {
        let text = match self {
            Self::Off => "off",
            Self::Sampled => "sampled",
            Self::All => "all",
        };
        Value::String(text.to_owned())
    }
}

/// A price; 0 when it is not known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Price(pub f64);

impl Setting for Price {
    #[expect(clippy::cast_precision_loss, reason = "no price comes near 2^53")]
    fn read(&mut self, value: &Value) -> Result<(), String> {
        let number = value.as_float().or_else(|| value.as_integer().map(|whole| whole as f64));
        match number {
            Some(price) if price >= 0.0 && price.is_finite() => self.0 = price,
            _ => return expected("a price, 0 or more: 2500 or 2500.5", value),
        }
        Ok(())
    }

    fn show(&self) -> Value {
        Value::Float(self.0)
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

impl Setting for LogFormat {
    fn read(&mut self, value: &Value) -> Result<(), String> {
        *self = match value.as_str() {
            Some("text") => Self::Text,
            Some("json") => Self::Json,
            _ => return expected("\"text\" or \"json\"", value),
        };
        Ok(())
    }

    fn show(&self) -> Value {
        Value::String(if *self == Self::Json { "json" } else { "text" }.to_owned())
    }
}

/// Where a proxy passes its traffic on to: plain HTTP, a host and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// A name or an IP address, without brackets.
    pub host: String,
    pub port: u16,
}

impl Upstream {
    pub fn loopback(port: u16) -> Self {
        Self { host: "127.0.0.1".into(), port }
    }

    /// Whether this is the very address that a listener is bound to, as far as can be told without
    /// asking for names.
    pub fn is(&self, listener: SocketAddr) -> bool {
        if self.port != listener.port() || self.port == 0 {
            return false;
        }
        match self.host.parse::<IpAddr>() {
            Ok(ip) => ip == listener.ip() || (ip.is_loopback() && listener.ip().is_unspecified()),
            Err(_) => {
                self.host.eq_ignore_ascii_case("localhost")
                    && (listener.ip().is_loopback() || listener.ip().is_unspecified())
            }
        }
    }

    /// Whether it is on this machine, as far as can be told without asking for names.
    pub fn is_local(&self) -> bool {
        self.host.eq_ignore_ascii_case("localhost")
            || self.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }

    /// `host:port`, with brackets where an IPv6 address needs them.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.authority())
    }
}

impl Setting for Upstream {
    fn read(&mut self, value: &Value) -> Result<(), String> {
        const FORM: &str = "a plain HTTP address without a path, \"http://127.0.0.1:8545\"";
        let address = text(value, FORM)?;
        let uri: http::Uri = address.parse().or_else(|_| expected(FORM, value))?;
        let (Some("http"), Some(host)) = (uri.scheme_str(), uri.host()) else {
            return expected(FORM, value);
        };
        let userinfo = uri.authority().is_some_and(|a| a.as_str().contains('@'));
        // A port that is no 16-bit number reads as no port at all.
        let bad_port = uri.port().is_none() && uri.authority().is_some_and(|a| a.as_str() != host);
        if host.is_empty() || userinfo || bad_port || uri.path() != "/" || uri.query().is_some() {
            return expected(FORM, value);
        }
        let port = match uri.port() {
            Some(port) if port.as_u16() > 0 => port.as_u16(),
            Some(_) => return expected(FORM, value),
            None => 80,
        };
        *self = Self { host: host.trim_matches(['[', ']']).to_owned(), port };
        Ok(())
    }

    fn show(&self) -> Value {
        Value::String(self.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upstream(text: &str) -> Result<Upstream, String> {
        let mut upstream = Upstream::loopback(1);
        upstream.read(&Value::String(text.into())).map(|()| upstream)
    }

    #[test]
    fn an_upstream_is_a_plain_http_address() {
        assert_eq!(upstream("http://localhost:8545").unwrap().authority(), "localhost:8545");
        assert_eq!(upstream("http://[::1]:8545/").unwrap().to_string(), "http://[::1]:8545");
        assert_eq!(upstream("http://node").unwrap().port, 80);
        for bad in [
            "",
            "localhost:8545",
            "https://a:1",
            "http://a:1/path",
            "http://u:p@a:1",
            "http://a:0",
            "http://a:99999",
            "http://a:1/?q",
            "ws://a:1",
        ] {
            assert!(upstream(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_log_filter_names_levels() {
        let read = |text: &str| LogFilter("info".to_owned()).read(&Value::String(text.to_owned()));
        for good in ["info", "off", "WARN", "info,dappscope::wire=debug", "warn,dappscope=trace"] {
            assert_eq!(read(good), Ok(()), "{good}");
        }
        for bad in ["", "wibble", "info,wibble", "dappscope=loud", "dappscope=", "info,", "=="] {
            let told = read(bad).unwrap_err();
            assert!(told.contains("off, error, warn, info, debug or trace"), "{bad}: {told}");
        }
    }

    #[test]
    fn localhost_is_an_address_too() {
        let mut address = SocketAddr::from(([127, 0, 0, 1], 1));
        address.read(&Value::String("localhost:9".into())).unwrap();
        assert_eq!(address.to_string(), "127.0.0.1:9");
        assert!(address.read(&Value::String("example.org:9".into())).is_err());
    }
}
