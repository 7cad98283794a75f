//! `dappscope demo`: the real marketplace, set up and started, with dappscope in front of it.
//!
//! Owns the order of things and their end: set-up, node, dappscope, contracts, API, traffic, and on
//! Ctrl-C all of it stopped again. [`process`] holds the children, [`traffic`] the visitors. What
//! dappscope itself does here is what `run` does: nothing is simulated.

mod process;
mod traffic;

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

/// Where the parts listen; fixed, because these are the addresses that people know.
const NODE: SocketAddr = loopback(8545);
const API: SocketAddr = loopback(5000);

const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), port)
}

/// Runs the demo until `shutdown` turns true, or for the seconds that `args` names.
///
/// # Errors
/// A tool is missing, a port is taken, or a part did not start: says which, and what to do.
pub async fn run(args: DemoArgs, mut shutdown: watch::Receiver<bool>) -> anyhow::Result<()> {
    let place = marketplace(args.marketplace.as_deref())?;
    let data = args.data_dir.clone().unwrap_or_else(|| PathBuf::from(".dappscope/demo"));
    let config = settings(&place, &data);
    free_ports(&config)?;
    std::fs::create_dir_all(&data)
        .with_context(|| format!("cannot make the directory {}", data.display()))?;
    let data = data.canonicalize().context("cannot find the data directory's full path")?;

    say(
        "1/5",
        "setting up the marketplace (node_modules, .venv, contracts); the first time takes minutes",
    );
    let stopped = run_to_end(&place, "sh", &["setup.sh"], &mut shutdown).await?;
    if stopped {
        return Ok(());
    }

    say("2/5", "starting Hardhat");
    let hardhat =
        ["node_modules/hardhat/internal/cli/bootstrap.js", "node", "--hostname", "127.0.0.1"];
    let mut node =
        Child::start("Hardhat", &place, "node", &hardhat, &[], &data.join("hardhat.log"))?;
    node.listens(NODE, START).await?;

    say("3/5", "starting dappscope");
    let app = App::start(config).await?;
    let outcome = with_dapp(&args, &place, &data, &app, &mut node, shutdown).await;

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
    let flask = ["-m", "flask", "--app", "api", "run", "--host", "127.0.0.1", "--port", "5000"];
    let program = place.join(python);
    let mut flask = Child::start(
        "Flask",
        place,
        path_text(&program)?,
        &flask,
        &variables,
        &data.join("flask.log"),
    )?;
    flask.listens(API, START).await?;

    println!(
        "\nThe marketplace is running, and dappscope watches it:\n\
         \n  page and numbers   http://{page}\n  metrics            http://{page}/metrics\n  \
         JSON-RPC (8545)    {rpc}\n  API (5000)         http://{api}/api/nfts\n  logs and samples   {data}\n\
         \nVisitors mint, list, buy, cancel and browse, gently. Ctrl-C ends everything.\n",
        page = addresses.page,
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

fn settings(place: &Path, data: &Path) -> Config {
    let mut config = Config::default();
    config.store.dir = data.to_owned();
    config.chain.artifacts = vec![place.join("artifacts").display().to_string()];
    config
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

/// Every port that the demo needs is free, or all that are not are named with their holders.
fn free_ports(config: &Config) -> anyhow::Result<()> {
    let needed = [
        ("Hardhat", NODE),
        ("Flask", API),
        ("the relay", config.rpc.listen),
        ("the API's proxy", config.api.listen),
        ("the page", config.page.listen),
    ];
    let taken: Vec<String> = needed
        .iter()
        .filter(|(_, address)| std::net::TcpListener::bind(address).is_err())
        .map(|(what, address)| format!("{address} for {what} {}", taken_by(*address)))
        .collect();
    ensure!(taken.is_empty(), "the demo needs ports that are taken:\n  {}", taken.join("\n  "));
    Ok(())
}

fn path_text(path: &Path) -> anyhow::Result<&str> {
    path.to_str().with_context(|| format!("{} is not valid Unicode", path.display()))
}

fn say(step: &str, what: &str) {
    println!("[{step}] {what}");
}
