//! `dappscope demo`: the real marketplace, set up and started, with dappscope in front of it.
//!
//! Owns the order of things and their end: set-up, node, dappscope, contracts, API, traffic, and on
//! Ctrl-C all of it stopped again. [`process`] holds the children, [`traffic`] the visitors. What
//! dappscope itself does here is what `run` does: nothing is simulated.

mod process;
mod traffic;

use std::fs::{File, TryLockError};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::sync::watch;

use crate::app::{App, taken_by};
use crate::cli::DemoArgs;
use crate::config::Config;
use process::{Child, run_to_end};

/// The node and the API need so long to start on a slow machine.
const START: Duration = Duration::from_secs(60);

/// Runs the demo until `shutdown` turns true, or for the seconds that `args` names.
///
/// # Errors
/// A tool is missing, a port is taken, or a part did not start: says which, and what to do.
pub async fn run(args: DemoArgs, mut shutdown: watch::Receiver<bool>) -> anyhow::Result<()> {
    let place = marketplace(args.marketplace.as_deref())?;
    let mut config = args.settings()?;
    let needed = Needed::of(&config, &args);
    needed.are_free()?;
    let data = Data::begin(&args.data_dir)?;
    config.store.dir = data.samples();
    config.chain.artifacts = vec![place.join("artifacts").display().to_string()];

    say(
        "1/5",
        "setting up the marketplace (node_modules, .venv, contracts); the first time takes minutes",
    );
    let stopped = run_to_end(&place, "sh", &["setup.sh"], &mut shutdown).await?;
    if stopped {
        return Ok(());
    }

    say("2/5", "starting Hardhat");
    let port = args.node_port.to_string();
    let program = "node_modules/hardhat/internal/cli/bootstrap.js";
    let hardhat = [program, "node", "--hostname", "127.0.0.1", "--port", &port];
    let mut node =
        Child::start("Hardhat", &place, "node", &hardhat, &[], &data.place.join("hardhat.log"))?;
    node.listens(loopback(args.node_port), START).await?;

    say("3/5", "starting dappscope");
    let app = App::start(config).await?;
    let outcome = with_dapp(&args, &place, &data.place, &app, &mut node, shutdown).await;

    println!("\nStopping.");
    app.stop().await;
    node.stop().await;
    outcome
}

/// What happens while node and dappscope are running.
async fn with_dapp(
    args: &DemoArgs,
    place: &Path,
    data: &Path,
    app: &App,
    node: &mut Child,
    mut shutdown: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let addresses = app.addresses();
    let rpc = format!("http://{}", addresses.rpc);
    let api = addresses.api.context("the demo needs the API's proxy")?;
    let deployment = data.join("deployment.json");
    let database = data.join("marketplace.sqlite");

    say("4/5", "deploying the contracts through the relay");
    let variables = [
        ("RPC_URL", rpc.as_str()),
        ("DEPLOYMENT", path_text(&deployment)?),
        ("DATABASE", path_text(&database)?),
    ];
    let mut deploy = Child::start(
        "the deployment",
        place,
        "node",
        &["scripts/deploy.js"],
        &variables,
        &data.join("deploy.log"),
    )?;
    deploy.succeeds(START).await?;

    say("5/5", "starting Flask");
    let python = if cfg!(windows) { ".venv/Scripts/python.exe" } else { ".venv/bin/python" };
    let port = args.flask_port.to_string();
    let flask = ["-m", "flask", "--app", "api", "run", "--host", "127.0.0.1", "--port", &port];
    let program = place.join(python);
    let mut flask = Child::start(
        "Flask",
        place,
        path_text(&program)?,
        &flask,
        &variables,
        &data.join("flask.log"),
    )?;
    flask.listens(loopback(args.flask_port), START).await?;

    println!(
        "\nThe marketplace is running, and dappscope watches it:\n\
         \n  page and numbers   http://{page}\n  metrics            http://{page}/metrics\n  \
         JSON-RPC {node:<10}{rpc}\n  API {flask:<15}http://{api}/api/nfts\n  \
         logs and samples   {data}\n\
         \nVisitors mint, list, buy, cancel and browse, gently. Ctrl-C ends everything.\n",
        page = addresses.page,
        node = format!("({})", args.node_port),
        flask = format!("({})", args.flask_port),
        data = data.display(),
    );
    let limit = args.seconds.map_or(Duration::MAX, Duration::from_secs);
    let outcome = tokio::select! {
        _ = shutdown.wait_for(|stop| *stop) => Ok(()),
        () = sleep(limit) => Ok(()),
        error = traffic::visit(api, addresses.rpc) => Err(error),
        error = node.ended() => Err(error),
        error = flask.ended() => Err(error),
    };
    flask.stop().await;
    outcome
}

/// Sleeps, and for ever when the limit is beyond what a timer can hold.
async fn sleep(limit: Duration) {
    if limit == Duration::MAX {
        std::future::pending::<()>().await;
    }
    tokio::time::sleep(limit).await;
}

/// The demo's folder. Locked while this lives, so that no other demo clears it away.
struct Data {
    place: PathBuf,
    _lock: File,
}

impl Data {
    /// Makes the folder and removes the samples of the demo before: its chain is gone, and its
    /// blocks would be told as if they were this one's.
    fn begin(folder: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make the directory {}", folder.display()))?;
        let place = folder.canonicalize().context("cannot find the data directory's full path")?;
        let lock = File::create(place.join("demo.lock"))
            .with_context(|| format!("cannot write into {}", place.display()))?;
        if let Err(TryLockError::WouldBlock) = lock.try_lock() {
            bail!(
                "another demo uses {}; end it, or name another folder with --data-dir",
                place.display()
            );
        }
        let data = Self { place, _lock: lock };
        data.forget().with_context(|| format!("cannot clear {}", data.samples().display()))?;
        Ok(data)
    }

    /// A folder that only the demo makes: whatever else is in the data folder stays.
    fn samples(&self) -> PathBuf {
        self.place.join("samples")
    }

    /// Removes the store's files and nothing else, should somebody keep more there.
    fn forget(&self) -> std::io::Result<()> {
        let samples = self.samples();
        if !samples.is_dir() {
            return Ok(());
        }
        for entry in std::fs::read_dir(samples)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if path.is_file() && name.contains(".redb") {
                std::fs::remove_file(&path)?;
            }
        }
        Ok(())
    }
}

/// The marketplace: as named, below the working directory, or in the checkout this was built from.
fn marketplace(named: Option<&Path>) -> anyhow::Result<PathBuf> {
    let is_one = |path: &Path| path.join("hardhat.config.js").is_file();
    if let Some(path) = named {
        ensure!(is_one(path), "no marketplace in {}: hardhat.config.js is missing", path.display());
        return Ok(path.canonicalize()?);
    }
    let here = std::env::current_dir().context("no working directory")?;
    let built_from = Path::new(env!("CARGO_MANIFEST_DIR"));
    for root in here.ancestors().chain([built_from]) {
        let path = root.join("tests/marketplace");
        if is_one(&path) {
            return Ok(path.canonicalize()?);
        }
    }
    bail!(
        "the marketplace (tests/marketplace) was found neither above {} nor in {}; run this in a \
         checkout of dappscope, or name it with --marketplace",
        here.display(),
        built_from.display()
    )
}

/// What the demo listens on: for whom, where, and by which flag elsewhere.
struct Needed([(&'static str, SocketAddr, &'static str); 6]);

impl Needed {
    fn of(config: &Config, args: &DemoArgs) -> Self {
        Self([
            ("Hardhat", loopback(args.node_port), "--node-port"),
            ("Flask", loopback(args.flask_port), "--flask-port"),
            ("the relay", config.rpc.listen, "--rpc-listen"),
            ("the API's proxy", config.api.listen, "--api-listen"),
            ("the receiver of spans", config.otlp.listen, "--otlp-listen"),
            ("the page", config.page.listen, "--listen"),
        ])
    }

    /// Every port is free, or all that are not are named with their holders.
    fn are_free(&self) -> anyhow::Result<()> {
        let taken: Vec<String> = self
            .0
            .iter()
            .filter(|(_, address, _)| std::net::TcpListener::bind(address).is_err())
            .map(|(what, address, flag)| {
                let holder = taken_by(*address);
                format!("{address} for {what} {holder}; {flag} names another")
            })
            .collect();
        ensure!(taken.is_empty(), "the demo needs ports that are taken:\n  {}", taken.join("\n  "));
        Ok(())
    }
}

const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), port)
}

fn path_text(path: &Path) -> anyhow::Result<&str> {
    path.to_str().with_context(|| format!("{} is not valid Unicode", path.display()))
}

fn say(step: &str, what: &str) {
    println!("[{step}] {what}");
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    #[test]
    fn a_demo_begins_without_the_samples_of_the_one_before_and_touches_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let samples = folder.path().join("samples");
        std::fs::create_dir_all(&samples).unwrap();
        let own = ["rollups.redb", "samples-2026-11-23.redb", "rollups.redb.damaged-1"];
        for name in own {
            std::fs::write(samples.join(name), "").unwrap();
        }
        let foreign = [samples.join("notes.txt"), folder.path().join("samples-2026-11-23.redb")];
        for path in &foreign {
            std::fs::write(path, "").unwrap();
        }
        let data = Data::begin(folder.path()).unwrap();
        assert!(own.iter().all(|name| !data.samples().join(name).exists()));
        assert!(foreign.iter().all(|path| path.exists()));
    }

    #[test]
    fn a_folder_belongs_to_one_demo_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let first = Data::begin(folder.path()).unwrap();
        let refused = Data::begin(folder.path()).err().unwrap().to_string();
        assert!(refused.contains("--data-dir"), "{refused}");
        drop(first);
        assert!(Data::begin(folder.path()).is_ok());
    }

    #[test]
    fn a_taken_port_is_told_with_the_flag_that_moves_it() {
        let node = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = node.local_addr().unwrap().port();
        let flags = [
            "dappscope".to_owned(),
            "demo".to_owned(),
            format!("--node-port={port}"),
            "--rpc-listen=127.0.0.1:0".to_owned(),
        ];
        let Some(Command::Demo(args)) = Cli::parse_from(flags).command else {
            panic!("demo was asked for")
        };
        let told = Needed::of(&args.settings().unwrap(), &args).are_free().unwrap_err().to_string();
        let line = told.lines().find(|line| line.contains("Hardhat")).unwrap();
        assert!(line.contains(&port.to_string()) && line.contains("--node-port"), "{told}");
    }
}
