//! Settings: every key in one list, read from a TOML file and the command line, checked all at once.
//!
//! Owns the keys, their defaults, their accepted forms and the rules between them. Knows nothing of
//! what the settings do. `config/dappscope.toml` is derived from [`KEYS`], and a test compares.

mod custom;
mod keys;
mod value;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use custom::{Custom, CustomKind};
pub use keys::{KEYS, Key};
pub use value::{Bounded, LogFilter, LogFormat, Price, Setting, StateChanges, Upstream};

/// All settings.
#[derive(Clone, Debug)]
pub struct Config {
    pub rpc: Rpc,
    pub api: Api,
    pub otlp: Otlp,
    pub page: Page,
    pub chain: Chain,
    pub money: Money,
    pub store: Store,
    pub queue: Queue,
    pub host: Host,
    pub log: Log,
}

/// The transparent relay in front of the node.
#[derive(Clone, Debug)]
pub struct Rpc {
    pub listen: SocketAddr,
    pub upstream: Upstream,
    pub threads: Bounded<1, 64>,
    pub allow_any_origin: bool,
    pub allowed_hosts: Vec<String>,
    pub allowed_origins: Vec<String>,
    pub connect_timeout_ms: Bounded<1, 600_000>,
    pub capture_bytes: Bounded<0, 67_108_864>,
}

/// The reverse proxy in front of the API.
#[derive(Clone, Debug)]
pub struct Api {
    pub enabled: bool,
    pub listen: SocketAddr,
    pub upstream: Upstream,
    pub allow_any_origin: bool,
    pub allowed_hosts: Vec<String>,
    pub allowed_origins: Vec<String>,
    pub connect_timeout_ms: Bounded<1, 600_000>,
    pub response_timeout_ms: Bounded<0, 86_400_000>,
    pub server_timing: bool,
    pub routes: Vec<String>,
    pub openapi: String,
    pub flask_routes: String,
    pub exclude: Vec<String>,
    pub long_poll: Vec<String>,
    pub custom: Vec<Custom>,
}

/// The receiver of what OpenTelemetry in the API tells.
#[derive(Clone, Debug)]
pub struct Otlp {
    pub enabled: bool,
    pub listen: SocketAddr,
}

/// The page, its JSON-RPC API and `/metrics`.
#[derive(Clone, Debug)]
pub struct Page {
    pub listen: SocketAddr,
    pub token: String,
    pub allowed_hosts: Vec<String>,
    pub allowed_origins: Vec<String>,
}

/// What is known of the contracts.
#[derive(Clone, Debug)]
pub struct Chain {
    pub artifacts: Vec<String>,
    pub max_artifacts: Bounded<1, 1_000_000>,
    pub state_changes: StateChanges,
    pub state_changes_every_ms: Bounded<100, 86_400_000>,
    pub trace_max_gas: Gas,
    pub struct_logs: bool,
    pub struct_logs_max_gas: Gas,
    pub replay_max_gas: Gas,
}

/// Gas units of a transaction that the node may be asked to execute again.
type Gas = Bounded<0, 1_000_000_000>;

/// What fees are told in beside ETH.
#[derive(Clone, Debug)]
pub struct Money {
    pub eth_price: Price,
    pub currency: String,
}

/// Where and how long samples are kept.
#[derive(Clone, Debug)]
pub struct Store {
    pub dir: PathBuf,
    pub retention_days: Bounded<0, 36_500>,
    pub commit_every_ms: Bounded<10, 60_000>,
    pub cache_mib: Bounded<1, 65_536>,
}

/// The queue between the proxies and the recorder.
#[derive(Clone, Debug)]
pub struct Queue {
    pub entries: Bounded<16, 16_777_216>,
    pub mib: Bounded<1, 65_536>,
}

/// Readings of the machine.
#[derive(Clone, Debug)]
pub struct Host {
    pub every_ms: Bounded<250, 3_600_000>,
    pub databases: Vec<String>,
}

/// What the program says of itself.
#[derive(Clone, Debug)]
pub struct Log {
    pub filter: LogFilter,
    pub format: LogFormat,
}

impl Default for Config {
    fn default() -> Self {
        let loopback = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Self {
            rpc: Rpc {
                listen: loopback(8546),
                upstream: Upstream::loopback(8545),
                threads: Bounded(1),
                allow_any_origin: false,
                allowed_hosts: Vec::new(),
                allowed_origins: Vec::new(),
                connect_timeout_ms: Bounded(5_000),
                capture_bytes: Bounded(8_388_608),
            },
            api: Api {
                enabled: true,
                listen: loopback(5001),
                upstream: Upstream::loopback(5000),
                allow_any_origin: false,
                allowed_hosts: Vec::new(),
                allowed_origins: Vec::new(),
                connect_timeout_ms: Bounded(5_000),
                response_timeout_ms: Bounded(0),
                server_timing: true,
                routes: Vec::new(),
                openapi: String::new(),
                flask_routes: String::new(),
                exclude: Vec::new(),
                long_poll: Vec::new(),
                custom: Vec::new(),
            },
            otlp: Otlp { enabled: true, listen: loopback(4318) },
            page: Page {
                listen: loopback(3001),
                token: String::new(),
                allowed_hosts: Vec::new(),
                allowed_origins: Vec::new(),
            },
            chain: Chain {
                artifacts: vec!["artifacts".into(), "out".into()],
                max_artifacts: Bounded(10_000),
                state_changes: StateChanges::Sampled,
                state_changes_every_ms: Bounded(10_000),
                trace_max_gas: Bounded(2_000_000),
                struct_logs: false,
                struct_logs_max_gas: Bounded(40_000),
                replay_max_gas: Bounded(300_000),
            },
            money: Money { eth_price: Price(0.0), currency: "USD".into() },
            store: Store {
                dir: ".dappscope".into(),
                retention_days: Bounded(30),
                commit_every_ms: Bounded(150),
                cache_mib: Bounded(48),
            },
            queue: Queue { entries: Bounded(65_536), mib: Bounded(64) },
            host: Host { every_ms: Bounded(5_000), databases: Vec::new() },
            log: Log { filter: LogFilter("info".into()), format: LogFormat::Text },
        }
    }
}

/// One thing that is wrong with the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where it was found: `config/dappscope.toml:12` or `--rpc-listen`.
    pub place: String,
    /// The key, `rpc.listen`; empty when the file as a whole is meant.
    pub key: String,
    /// What was found and what is accepted.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key.as_str() {
            "" => write!(f, "{}: {}", self.place, self.message),
            key => write!(f, "{}: {key}: {}", self.place, self.message),
        }
    }
}

/// Everything that is wrong, told at once.
#[derive(Debug, thiserror::Error)]
#[error("{} in the configuration:\n{}", count(.0), list(.0))]
pub struct Mistakes(pub Vec<Mistake>);

fn count(mistakes: &[Mistake]) -> String {
    match mistakes.len() {
        1 => "1 mistake".into(),
        n => format!("{n} mistakes"),
    }
}

fn list(mistakes: &[Mistake]) -> String {
    mistakes.iter().map(|m| format!("  {m}")).collect::<Vec<_>>().join("\n")
}

/// A setting given outside the file, such as a command-line flag.
#[derive(Clone, Debug)]
pub struct Override {
    /// `--rpc-listen`.
    pub place: &'static str,
    pub section: &'static str,
    pub name: &'static str,
    pub value: toml::Value,
}

impl Config {
    /// The defaults, changed by `file` (its path for messages, and its text), then by `overrides`.
    ///
    /// # Errors
    /// Every mistake in both, and every rule between settings that does not hold.
    pub fn load(file: Option<(&Path, &str)>, overrides: &[Override]) -> Result<Self, Mistakes> {
        let mut config = Self::default();
        let mut mistakes = Vec::new();
        let mut given = Given::default();
        if let Some((path, text)) = file {
            config.apply_file(path, text, &mut given, &mut mistakes);
        }
        for flag in overrides {
            let key = KEYS
                .iter()
                .find(|key| key.section == flag.section && key.name == flag.name)
                .expect("overrides name keys of the list; a test goes through all flags; qed");
            if let Err(message) = (key.field)(&mut config).read(&flag.value) {
                mistakes.push(Mistake { place: flag.place.into(), key: key.path(), message });
            }
            given.0.insert(key.path(), flag.place.to_owned());
        }
        config.check_rules(&given, &mut mistakes);
        if mistakes.is_empty() { Ok(config) } else { Err(Mistakes(mistakes)) }
    }

    fn apply_file(
        &mut self,
        path: &Path,
        text: &str,
        given: &mut Given,
        mistakes: &mut Vec<Mistake>,
    ) {
        let path = path.display();
        let not_toml = |error: &toml::de::Error| {
            let line = error.span().map_or(1, |span| line_of(text, span.start));
            Mistake {
                place: format!("{path}:{line}"),
                key: String::new(),
                message: format!("not valid TOML: {}", error.message()),
            }
        };
        let spans = match toml::de::DeTable::parse(text) {
            Ok(spans) => spans,
            Err(error) => return mistakes.push(not_toml(&error)),
        };
        // The same text again: what is too large for a value is found out here only.
        let table: toml::Table = match toml::from_str(text) {
            Ok(table) => table,
            Err(error) => return mistakes.push(not_toml(&error)),
        };
        for (section, spanned) in spans.get_ref() {
            let place = |offset: usize| format!("{path}:{}", line_of(text, offset));
            let section_name = section.get_ref().as_ref();
            if !KEYS.iter().any(|key| key.section == section_name) {
                let known = KEYS.iter().map(|key| key.section);
                mistakes.push(Mistake {
                    place: place(section.span().start),
                    key: section_name.to_owned(),
                    message: unknown("section", section_name, known),
                });
                continue;
            }
            let (Some(keys), Some(values)) = (
                spanned.get_ref().as_table(),
                table.get(section_name).and_then(toml::Value::as_table),
            ) else {
                mistakes.push(Mistake {
                    place: place(section.span().start),
                    key: section_name.to_owned(),
                    message: format!("is a section: write [{section_name}]"),
                });
                continue;
            };
            for name in keys.keys() {
                let place = place(name.span().start);
                let name = name.get_ref().as_ref();
                let known = KEYS.iter().find(|k| k.section == section_name && k.name == name);
                let Some(key) = known else {
                    let names = KEYS.iter().filter(|k| k.section == section_name).map(|k| k.name);
                    mistakes.push(Mistake {
                        place,
                        key: format!("{section_name}.{name}"),
                        message: unknown("key", name, names),
                    });
                    continue;
                };
                given.0.insert(key.path(), place.clone());
                let value = &values[name];
                if let Err(message) = (key.field)(self).read(value) {
                    mistakes.push(Mistake { place, key: key.path(), message });
                }
            }
        }
    }

    /// What no single key can tell. A setting that could not be read is judged no further: in its
    /// place stands a default that nobody chose.
    fn check_rules(&self, given: &Given, mistakes: &mut Vec<Mistake>) {
        let unread: Vec<String> = mistakes.iter().map(|mistake| mistake.key.clone()).collect();
        // Of a file that is not TOML nothing was read.
        if unread.iter().any(String::is_empty) {
            return;
        }
        let section =
            |key: &str| key.split_once('.').map_or(key, |(section, _)| section).to_owned();
        let read = |key: &&str| !unread.iter().any(|bad| bad == key || *bad == section(key));
        let mut listeners =
            vec![("rpc.listen", self.rpc.listen), ("page.listen", self.page.listen)];
        let mut upstreams = vec![("rpc.upstream", &self.rpc.upstream)];
        if self.api.enabled && read(&"api.enabled") {
            listeners.push(("api.listen", self.api.listen));
            upstreams.push(("api.upstream", &self.api.upstream));
        }
        if self.otlp.enabled && read(&"otlp.enabled") {
            listeners.push(("otlp.listen", self.otlp.listen));
        }
        listeners.retain(|(key, _)| read(key));
        upstreams.retain(|(key, _)| read(key));
        for (i, (key, address)) in listeners.iter().enumerate() {
            for (other, taken) in &listeners[..i] {
                if address == taken && address.port() != 0 {
                    mistakes.push(given.clash(
                        [(key, address.to_string()), (other, taken.to_string())],
                        "give each its own port",
                    ));
                }
            }
        }
        for (key, upstream) in upstreams {
            for (listener, address) in &listeners {
                if upstream.is(*address) {
                    mistakes.push(given.clash(
                        [(key, upstream.to_string()), (listener, address.to_string())],
                        "calls would go round in circles; name the node's or the API's own \
                         address, or listen on another port",
                    ));
                }
            }
        }
        let open = !self.page.listen.ip().is_loopback() && self.page.token.len() < 16;
        if open && read(&"page.listen") && read(&"page.token") {
            let key = if given.0.contains_key("page.token") { "page.token" } else { "page.listen" };
            mistakes.push(Mistake {
                place: given.place(key).to_owned(),
                key: key.to_owned(),
                message: format!(
                    "\"{}\" can be reached from other machines: expected a page.token of \
                     at least 16 characters, found {}; set one, or listen on 127.0.0.1",
                    self.page.listen,
                    match self.page.token.len() {
                        0 => "none".to_owned(),
                        length => format!("one of {length}"),
                    }
                ),
            });
        }
    }

    /// The settings as a TOML document, each key with its explanation.
    pub fn to_toml(&self) -> String {
        let mut shown = self.clone();
        let mut text = String::new();
        let mut section = "";
        for key in KEYS {
            if key.section != section {
                if !section.is_empty() {
                    text.push('\n');
                }
                section = key.section;
                text.push_str(&format!("[{section}]\n"));
            }
            for line in key.help.lines() {
                text.push_str(&format!("# {}\n", line.trim()));
            }
            let value = (key.field)(&mut shown).show();
            text.push_str(&format!("{} = {value}\n", key.name));
        }
        text
    }

    /// A setting of milliseconds as a duration; zero means "no limit".
    pub fn limit(milliseconds: u64) -> Option<Duration> {
        (milliseconds > 0).then(|| Duration::from_millis(milliseconds))
    }
}

/// Where each setting was given that is not at its default: key, and file and line or flag.
#[derive(Default)]
struct Given(BTreeMap<String, String>);

impl Given {
    fn place(&self, key: &str) -> &str {
        self.0.get(key).map_or("default", String::as_str)
    }

    /// Two settings (key and value) that exclude each other; told of where a person gave one.
    fn clash(&self, settings: [(&str, String); 2], advice: &str) -> Mistake {
        let [mut one, mut other] = settings;
        if !self.0.contains_key(one.0) {
            std::mem::swap(&mut one, &mut other);
        }
        Mistake {
            place: self.place(one.0).to_owned(),
            key: one.0.to_owned(),
            message: format!(
                "{} is the same address as {} = {} ({}): {advice}",
                one.1,
                other.0,
                other.1,
                self.place(other.0)
            ),
        }
    }
}

/// The 1-based line of a byte offset.
fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

fn unknown<'a>(what: &str, found: &str, known: impl Iterator<Item = &'a str>) -> String {
    let mut known: Vec<&str> = known.collect();
    known.dedup();
    format!("unknown {what} {found:?}; known are: {}", known.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Config, Mistakes> {
        Config::load(Some((Path::new("test.toml"), text)), &[])
    }

    #[test]
    fn every_mistake_is_told_at_once_with_its_line() {
        let text =
            "[rpc]\nlisten = \"nowhere\"\nlissten = 1\n\n[store]\nretention_days = -3\n[x]\n";
        let mistakes = load(text).unwrap_err().0;
        let places: Vec<_> = mistakes.iter().map(|m| (m.place.as_str(), m.key.as_str())).collect();
        for expected in [
            ("test.toml:2", "rpc.listen"),
            ("test.toml:3", "rpc.lissten"),
            ("test.toml:6", "store.retention_days"),
            ("test.toml:7", "x"),
        ] {
            assert!(places.contains(&expected), "{expected:?} in {places:?}");
        }
        assert_eq!(places.len(), 4);
    }

    #[test]
    fn rules_between_settings_are_told_together_with_mistakes_in_others() {
        let keys = |text: &str| -> Vec<String> {
            load(text).unwrap_err().0.into_iter().map(|mistake| mistake.key).collect()
        };
        let text = "[page]\nlisten = \"0.0.0.0:3001\"\ntokn = \"x\"\n[rpc]\nlisten = 7\n";
        let told = keys(text);
        for key in ["page.listen", "page.tokn", "rpc.listen"] {
            assert!(told.iter().any(|it| it == key), "{key} in {told:?}");
        }
        assert_eq!(told.len(), 3, "{told:?}");
        // What could not be read is not held against other settings by its default.
        let text = "[page]\nlisten = \"0.0.0.0:3001\"\ntoken = 7\n\
                    [api]\nlisten = \"x\"\nupstream = \"http://127.0.0.1:5001\"\n";
        assert_eq!(keys(text), ["api.listen", "page.token"]);
    }

    #[test]
    fn what_is_shown_can_be_read_back() {
        let shown = Config::default().to_toml();
        let read = load(&shown).expect("the shown settings are valid");
        assert_eq!(read.to_toml(), shown);
    }

    #[test]
    fn the_committed_file_lists_every_key_with_its_default() {
        let committed = include_str!("../config/dappscope.toml");
        let body = committed.split_once("\n\n").expect("a heading and the keys").1;
        assert_eq!(body, Config::default().to_toml(), "run: cargo run -- check --defaults");
    }

    #[test]
    fn a_proxy_that_points_at_itself_is_refused() {
        let error = load("[rpc]\nupstream = \"http://localhost:8546\"\n").unwrap_err().to_string();
        assert!(error.contains("in circles"), "{error}");
        assert!(error.contains("test.toml:2: rpc.upstream: http://localhost:8546"), "{error}");
        assert!(error.contains("rpc.listen = 127.0.0.1:8546 (default)"), "{error}");
    }

    #[test]
    fn a_price_and_what_is_traced_are_read_and_mistakes_told() {
        let config = load("[money]\neth_price = 2500\n[chain]\nstate_changes = \"all\"\n").unwrap();
        assert_eq!(config.money.eth_price, Price(2_500.0));
        assert_eq!(config.chain.state_changes, StateChanges::All);
        let error = load("[money]\neth_price = -1\n[chain]\nstate_changes = \"on\"\n");
        let error = error.unwrap_err().to_string();
        assert!(error.contains("expected a price, 0 or more: 2500 or 2500.5, found -1"), "{error}");
        assert!(error.contains("\"off\", \"sampled\" or \"all\", found \"on\""), "{error}");
    }

    #[test]
    fn a_number_that_no_value_holds_is_told_with_its_line() {
        for number in ["18446744073709551615", "0x7fffffffffffffffffff", "1e400"] {
            let told = load(&format!("[rpc]\ncapture_bytes = {number}\n")).unwrap_err();
            assert!(told.to_string().contains(":2"), "{number}: {told}");
        }
    }

    #[test]
    fn listening_for_other_machines_needs_a_token() {
        assert!(load("[page]\nlisten = \"0.0.0.0:3001\"\n").is_err());
        assert!(load("[page]\nlisten = \"0.0.0.0:3001\"\ntoken = \"0123456789abcdef\"\n").is_ok());
    }

    #[test]
    fn text_that_is_not_toml_is_told_with_its_line() {
        let mistakes = load("[rpc]\nlisten = = 3\n").unwrap_err().0;
        assert_eq!(mistakes[0].place, "test.toml:2");
    }
}
