//! Commands and flags. Turns them into settings, and errors into words; does nothing itself.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use toml::Value;

use crate::config::{Config, Override};

/// Looked for when no `--config` is given.
const USUAL_FILES: [&str; 2] = ["dappscope.toml", "config/dappscope.toml"];

/// Watches a dapp on the wire: put it between wallet, frontend and API on one side and the node on
/// the other, and every call is timed, every transaction's gas and confirmation time is known.
#[derive(Debug, Parser)]
#[command(name = "dappscope", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub run: RunArgs,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Starts the proxies, the recorder and the page (what `dappscope` alone does)
    Run(RunArgs),
    /// Validates the settings, tells all mistakes at once, prints what is in effect
    Check(CheckArgs),
    /// Sets up the bundled NFT marketplace, puts dappscope in front and drives gentle traffic
    Demo(DemoArgs),
}

#[derive(Debug, Default, Args)]
pub struct RunArgs {
    /// Settings file [default: ./dappscope.toml or ./config/dappscope.toml, if there is one]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    listen: ListenArgs,
    /// The node [default: http://127.0.0.1:8545]
    #[arg(long, value_name = "URL")]
    rpc_upstream: Option<String>,
    /// The API [default: http://127.0.0.1:5000]
    #[arg(long, value_name = "URL")]
    api_upstream: Option<String>,
    /// Where samples are kept [default: .dappscope]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// A directory with compiled contracts; may be given several times [default: artifacts, out]
    #[arg(long, value_name = "DIR")]
    artifacts: Vec<String>,
    /// What is logged: off, error, warn, info, debug or trace [default: info]
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
}

/// Where dappscope itself listens, whatever stands behind it.
#[derive(Debug, Default, Args)]
struct ListenArgs {
    /// Where wallets and the frontend send JSON-RPC calls [default: 127.0.0.1:8546]
    #[arg(long, value_name = "ADDRESS")]
    rpc_listen: Option<String>,
    /// Where browsers send API requests [default: 127.0.0.1:5001]
    #[arg(long, value_name = "ADDRESS")]
    api_listen: Option<String>,
    /// Where the API's OpenTelemetry sends its spans [default: 127.0.0.1:4318]
    #[arg(long, value_name = "ADDRESS")]
    otlp_listen: Option<String>,
    /// The page, its API and /metrics [default: 127.0.0.1:3001]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
}

#[derive(Debug, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    pub run: RunArgs,
    /// Prints the defaults instead, as a file to start from
    #[arg(long)]
    pub defaults: bool,
}

#[derive(Debug, Args)]
pub struct DemoArgs {
    /// The marketplace's directory [default: tests/marketplace of the checkout]
    #[arg(long, value_name = "DIR")]
    pub marketplace: Option<PathBuf>,
    /// Stops by itself after so many seconds
    #[arg(long, value_name = "SECONDS")]
    pub seconds: Option<u64>,
    /// Where logs and this run's samples go; those of the run before are removed
    #[arg(long, value_name = "DIR", default_value = ".dappscope/demo")]
    pub data_dir: PathBuf,
    /// The port that Hardhat is started on
    #[arg(long, value_name = "PORT", default_value_t = 8545, value_parser = clap::value_parser!(u16).range(1..))]
    pub node_port: u16,
    /// The port that Flask is started on
    #[arg(long, value_name = "PORT", default_value_t = 5000, value_parser = clap::value_parser!(u16).range(1..))]
    pub flask_port: u16,
    #[command(flatten)]
    listen: ListenArgs,
}

impl RunArgs {
    /// The settings that file and flags come to, and the file that was read.
    ///
    /// # Errors
    /// The file cannot be read, or holds mistakes: all are told.
    pub fn settings(&self) -> anyhow::Result<(Config, Option<PathBuf>)> {
        let file = self
            .config
            .clone()
            .or_else(|| USUAL_FILES.iter().map(PathBuf::from).find(|path| path.is_file()));
        let text = match &file {
            Some(path) => Some(read(path)?),
            None => None,
        };
        let named = file.as_deref().zip(text.as_deref());
        Ok((Config::load(named, &self.overrides())?, file))
    }

    fn overrides(&self) -> Vec<Override> {
        let mut overrides = self.listen.overrides();
        overrides.extend(given([
            ("--rpc-upstream", "rpc", "upstream", self.rpc_upstream.as_deref()),
            ("--api-upstream", "api", "upstream", self.api_upstream.as_deref()),
            ("--data-dir", "store", "dir", self.data_dir.as_deref()),
            ("--log", "log", "filter", self.log.as_deref()),
        ]));
        if !self.artifacts.is_empty() {
            let value = self.artifacts.iter().cloned().map(Value::String).collect();
            overrides.push(Override {
                place: "--artifacts",
                section: "chain",
                name: "artifacts",
                value: Value::Array(value),
            });
        }
        overrides
    }
}

impl DemoArgs {
    /// The settings that the flags come to; the settings file has no part in the demo.
    ///
    /// # Errors
    /// The flags hold mistakes: all are told.
    pub fn settings(&self) -> anyhow::Result<Config> {
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let mut overrides = self.listen.overrides();
        overrides.extend(given([
            ("--node-port", "rpc", "upstream", Some(url(self.node_port).as_str())),
            ("--flask-port", "api", "upstream", Some(url(self.flask_port).as_str())),
        ]));
        Ok(Config::load(None, &overrides)?)
    }
}

impl ListenArgs {
    fn overrides(&self) -> Vec<Override> {
        given([
            ("--rpc-listen", "rpc", "listen", self.rpc_listen.as_deref()),
            ("--api-listen", "api", "listen", self.api_listen.as_deref()),
            ("--otlp-listen", "otlp", "listen", self.otlp_listen.as_deref()),
            ("--listen", "page", "listen", self.listen.as_deref()),
        ])
        .collect()
    }
}

/// A flag, the section and the name of its setting, and the text that was given for it.
type Flag<'a> = (&'static str, &'static str, &'static str, Option<&'a str>);

fn given<'a, const N: usize>(flags: [Flag<'a>; N]) -> impl Iterator<Item = Override> + use<'a, N> {
    flags.into_iter().filter_map(|(place, section, name, text)| {
        let value = Value::String(text?.to_owned());
        Some(Override { place, section, name, value })
    })
}

/// An error and what led to it, in one line. Some messages quote their cause already; that one is not
/// told again.
pub fn in_words(error: &anyhow::Error) -> String {
    let mut words = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if !words.contains(&cause) {
            if !words.is_empty() {
                words.push_str(": ");
            }
            words.push_str(&cause);
        }
    }
    words
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the settings file {}", path.display()))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_commands_are_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_reaches_its_setting() {
        let cli = Cli::parse_from([
            "dappscope",
            "run",
            "--config",
            "/dev/null",
            "--rpc-listen",
            "127.0.0.1:1",
            "--rpc-upstream",
            "http://h:2",
            "--api-listen",
            "127.0.0.1:3",
            "--api-upstream",
            "http://h:4",
            "--listen",
            "127.0.0.1:5",
            "--otlp-listen",
            "127.0.0.1:6",
            "--data-dir",
            "d",
            "--artifacts",
            "a",
            "--artifacts",
            "b",
            "--log",
            "debug",
        ]);
        let Some(Command::Run(run)) = cli.command else { panic!("run was asked for") };
        let (config, _) = run.settings().unwrap();
        assert_eq!(config.rpc.listen.port(), 1);
        assert_eq!(config.rpc.upstream.port, 2);
        assert_eq!(config.api.listen.port(), 3);
        assert_eq!(config.api.upstream.port, 4);
        assert_eq!(config.page.listen.port(), 5);
        assert_eq!(config.otlp.listen.port(), 6);
        assert_eq!(config.store.dir, PathBuf::from("d"));
        assert_eq!(config.chain.artifacts, ["a", "b"]);
        assert_eq!(config.log.filter.0, "debug");
    }

    fn refused(flags: &[&str]) -> String {
        let all = ["dappscope", "--config", "/dev/null"].iter().chain(flags);
        Cli::parse_from(all).run.settings().unwrap_err().to_string()
    }

    #[test]
    fn a_clash_names_the_flags_that_were_given() {
        let told = refused(&["--rpc-listen", "127.0.0.1:8545"]);
        assert!(told.contains("--rpc-listen: rpc.listen: 127.0.0.1:8545 is the same"), "{told}");
        assert!(told.contains("rpc.upstream = http://127.0.0.1:8545 (default)"), "{told}");
        let told =
            refused(&["--rpc-listen", "127.0.0.1:1", "--api-upstream", "http://127.0.0.1:1"]);
        assert!(told.contains("--api-upstream: api.upstream: http://127.0.0.1:1"), "{told}");
        assert!(told.contains("rpc.listen = 127.0.0.1:1 (--rpc-listen)"), "{told}");
        let told = refused(&["--listen", "127.0.0.1:5001"]);
        assert!(told.contains("--listen: page.listen: 127.0.0.1:5001 is the same"), "{told}");
        let told = refused(&["--listen", "0.0.0.0:3001"]);
        assert!(told.contains("--listen: page.listen: \"0.0.0.0:3001\" can be reached"), "{told}");
    }

    #[test]
    fn a_log_filter_that_would_mute_the_program_is_refused() {
        let told = refused(&["--log", "wibble"]);
        assert!(told.contains("--log: log.filter: expected off, error, warn"), "{told}");
    }

    #[test]
    fn a_cause_is_told_once() {
        use std::io::Error;
        let cause = || Error::other("disk full");
        let quoting = anyhow::Error::from(cause()).context("cannot write: disk full");
        assert_eq!(in_words(&quoting), "cannot write: disk full");
        let silent = anyhow::Error::from(cause()).context("cannot write").context("no store");
        assert_eq!(in_words(&silent), "no store: cannot write: disk full");
    }

    #[test]
    fn the_demo_can_be_moved_out_of_the_way_of_other_programs() {
        let demo = |flags: &[&str]| {
            let cli = Cli::parse_from(["dappscope", "demo"].iter().chain(flags));
            let Some(Command::Demo(demo)) = cli.command else { panic!("demo was asked for") };
            demo.settings()
        };
        let usual = demo(&[]).unwrap();
        assert_eq!((usual.rpc.upstream.port, usual.api.upstream.port), (8545, 5000));
        let flags =
            ["--node-port=1", "--flask-port=2", "--rpc-listen=127.0.0.1:3", "--listen=127.0.0.1:4"];
        let moved = demo(&flags).unwrap();
        assert_eq!((moved.rpc.upstream.port, moved.api.upstream.port), (1, 2));
        assert_eq!((moved.rpc.listen.port(), moved.page.listen.port()), (3, 4));
        assert_eq!(moved.api.listen, usual.api.listen);
        let clash = demo(&["--node-port=8546"]).unwrap_err().to_string();
        assert!(clash.contains("8546"), "{clash}");
    }

    #[test]
    fn a_bad_flag_is_named() {
        let cli = Cli::parse_from(["dappscope", "--config", "/dev/null", "--listen", "x"]);
        let error = cli.run.settings().unwrap_err().to_string();
        assert!(error.contains("--listen"), "{error}");
    }
}
