//! The program: read the command line, do what it says, exit with a code that means something
//! (0 fine, 2 could not run).

use std::process::ExitCode;

use clap::Parser;
use dappscope::cli::{CheckArgs, Cli, Command};
use dappscope::config::Config;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        None => Ok(()),
        Some(Command::Run(_)) => Ok(()),
        Some(Command::Check(args)) => check(&args),
        Some(Command::Demo(_)) => Ok(()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dappscope: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn check(args: &CheckArgs) -> anyhow::Result<()> {
    if args.defaults {
        print!("{}", Config::default().to_toml());
        return Ok(());
    }
    let (config, file) = args.run.settings()?;
    match file {
        Some(file) => println!("# {}: no mistakes. In effect:\n", file.display()),
        None => println!("# No settings file: defaults and flags. In effect:\n"),
    }
    print!("{}", config.to_toml());
    Ok(())
}
