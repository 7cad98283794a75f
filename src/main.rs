//! The program: read the command line, do what it says, exit with a code that means something
//! (0 fine, 2 could not run).

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use dappscope::app::{self, App};
use dappscope::cli::{self, CheckArgs, Cli, Command, DemoArgs, RunArgs};
use dappscope::config::{Config, LogFormat};
use dappscope::demo;
use tokio::sync::watch;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        None => run(&cli.run),
        Some(Command::Run(args)) => run(&args),
        Some(Command::Check(args)) => check(&args),
        Some(Command::Demo(args)) => demonstrate(args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dappscope: {}", cli::in_words(&error));
            ExitCode::from(2)
        }
    }
}

fn run(args: &RunArgs) -> anyhow::Result<()> {
    let (config, file) = args.settings()?;
    app::log(&config.log.filter.0, config.log.format)?;
    if let Some(file) = file {
        tracing::info!("settings from {}", file.display());
    }
    runtime()?.block_on(async {
        let mut shutdown = asked_to_end()?;
        let app = App::start(config).await?;
        // An error means that nobody can ask any more, which is a reason to end as well.
        let _ = shutdown.wait_for(|stop| *stop).await;
        app.stop().await;
        Ok(())
    })
}

fn demonstrate(args: DemoArgs) -> anyhow::Result<()> {
    app::log("warn,dappscope=warn", LogFormat::Text)?;
    runtime()?.block_on(async {
        let shutdown = asked_to_end()?;
        demo::run(args, shutdown).await
    })
}

fn check(args: &CheckArgs) -> anyhow::Result<()> {
    if args.defaults {
        return print(&Config::default().to_toml());
    }
    let (config, file) = args.run.settings()?;
    app::check(&config)?;
    let head = match file {
        Some(file) => format!("# {}: no mistakes. In effect:", file.display()),
        None => "# No settings file: defaults and flags. In effect:".to_owned(),
    };
    print(&format!("{head}\n\n{}", config.to_toml()))?;
    for doubt in app::doubts(&config).into_iter().chain(app::artifacts_left_out(&config)) {
        eprintln!("dappscope: warning: {doubt}");
    }
    Ok(())
}

/// Prints a text; nobody has to read it to its end.
fn print(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot print"),
    }
}

/// The runtime of page and chain watcher; the proxies have their own.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")
}

/// Turns true at the first Ctrl-C, SIGTERM or SIGHUP; a second one ends the program at once.
fn asked_to_end() -> anyhow::Result<watch::Receiver<bool>> {
    let (stop, stopping) = watch::channel(false);
    let mut signals = Signals::listen().context("cannot listen for Ctrl-C")?;
    tokio::spawn(async move {
        signals.next().await;
        stop.send_replace(true);
        signals.next().await;
        eprintln!("dappscope: asked twice, ending at once");
        std::process::exit(130);
    });
    Ok(stopping)
}

/// The ways in which a person or a system asks a program to end.
struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    /// The terminal was closed.
    #[cfg(unix)]
    hang_up: tokio::signal::unix::Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            Ok(Self {
                terminate: signal(SignalKind::terminate())?,
                interrupt: signal(SignalKind::interrupt())?,
                hang_up: signal(SignalKind::hangup())?,
            })
        }
        #[cfg(not(unix))]
        Ok(Self {})
    }

    async fn next(&mut self) {
        #[cfg(unix)]
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = self.hang_up.recv() => {}
        }
        #[cfg(not(unix))]
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
