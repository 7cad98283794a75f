//! What the proxies cost beside their peers: CPU time per request, requests per second and latency
//! of dappscope's relay and reverse proxy, of a bare two-socket relay, of nginx and of HAProxy, in
//! one run, each pinned to one core, with the same upstream and the same load on another.
//!
//!     cargo bench --bench peers [-- --seconds 5 --rounds 3]
//!
//! Needs Linux, two cores, `taskset`, `nginx` and `haproxy`. The peers take turns in each round, in
//! alternating order, so that a slow minute of the machine hits all of them; medians of the rounds
//! are compared as ratios to nginx.

mod contenders;
mod load;
mod roles;

use std::time::Duration;

use anyhow::{Context, bail};

use contenders::Contender;
use load::Measured;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // The bench starts itself again for the parts that need a process of their own.
    match arguments.first().map(String::as_str) {
        Some("upstream") => return roles::upstream(),
        Some("bare") => return roles::bare_relay(arguments.get(1).context("upstream's address")?),
        _ => {}
    }
    let seconds = number(&arguments, "--seconds", 5)?;
    let rounds = number(&arguments, "--rounds", 3)?;
    let connections = number(&arguments, "--connections", 32)?;
    compare(Duration::from_secs(seconds), rounds, usize::try_from(connections)?)
}

fn number(arguments: &[String], name: &str, default: u64) -> anyhow::Result<u64> {
    let Some(at) = arguments.iter().position(|argument| argument == name) else {
        return Ok(default);
    };
    let text = arguments.get(at + 1).with_context(|| format!("{name} needs a number"))?;
    text.parse().with_context(|| format!("{name} needs a number, not {text:?}"))
}

fn compare(length: Duration, rounds: u64, connections: usize) -> anyhow::Result<()> {
    if std::thread::available_parallelism()?.get() < 2 {
        bail!("two cores are needed: one for the proxy, one for load and upstream");
    }
    contenders::pin(std::process::id(), contenders::LOAD_CORE)?;
    let upstream = contenders::upstream()?;
    let mut field = contenders::all(upstream.address)?;
    println!(
        "{} rounds of {length:?} each, {connections} connections, {}-byte JSON-RPC POST; {}",
        rounds,
        load::REQUEST_BODY.len(),
        contenders::machine(),
    );
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut results: Vec<Vec<Measured>> = field.iter().map(|_| Vec::new()).collect();
    for round in 0..rounds {
        let mut order: Vec<usize> = (0..field.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for index in order {
            let contender = &mut field[index];
            let warm = Duration::from_millis(500);
            runtime.block_on(load::drive(contender.address, connections, warm))?;
            let before = contender.cpu()?;
            let mut measured =
                runtime.block_on(load::drive(contender.address, connections, length))?;
            // What a recorder does later is part of the price.
            std::thread::sleep(Duration::from_millis(600));
            measured.cpu = contender.cpu()?.saturating_sub(before);
            eprintln!("  round {} {:<32} {measured}", round + 1, contender.name);
            results[index].push(measured);
        }
    }
    report(&field, &results);
    Ok(())
}

fn report(field: &[Contender], results: &[Vec<Measured>]) {
    let medians: Vec<[f64; 4]> = results
        .iter()
        .map(|runs| {
            [Measured::cpu_us, Measured::rate, Measured::p50_us, Measured::p99_us].map(|figure| {
                let mut values: Vec<f64> = runs.iter().map(figure).collect();
                values.sort_by(f64::total_cmp);
                values[values.len() / 2]
            })
        })
        .collect();
    let base = field.iter().position(|c| c.name == contenders::BASE).map(|i| medians[i]);
    let base = base.unwrap_or([f64::NAN; 4]);
    println!(
        "\n| proxy | CPU µs/request | × nginx | requests/s | × nginx | p50 µs | × nginx | p99 µs | × nginx |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|---:|");
    for (contender, median) in field.iter().zip(&medians) {
        print!("| {} ", contender.name);
        for (value, base) in median.iter().zip(&base) {
            let digits = usize::from(*value < 1000.0);
            print!("| {value:.digits$} | {:.2} ", value / base);
        }
        println!("|");
    }
}
