//! The proxies that are compared, each a process pinned to one core.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

/// The contender that the others are compared with.
pub const BASE: &str = "nginx";
/// Where load and upstream run.
pub const LOAD_CORE: usize = 1;
/// Where the proxies run.
const PROXY_CORE: usize = 0;

/// A running proxy.
pub struct Contender {
    pub name: &'static str,
    pub address: SocketAddr,
    process: Process,
}

/// A child that ends with us, and the directory of its files.
struct Process {
    child: Child,
    _files: tempfile::TempDir,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Contender {
    /// CPU time used by the process so far, in user and kernel mode, all threads.
    pub fn cpu(&self) -> anyhow::Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.child.id()))?;
        // The command's name may hold spaces; what follows its closing parenthesis does not.
        let fields: Vec<&str> =
            stat.rsplit_once(')').context("no name in stat")?.1.split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
        // USER_HZ is 100 on every Linux architecture that Rust supports.
        Ok(Duration::from_millis(ticks * 10))
    }
}

/// Starts every proxy that is compared, in front of `upstream`.
pub fn all(upstream: SocketAddr) -> anyhow::Result<Vec<Contender>> {
    let (relay, reverse) = dappscope(upstream)?;
    Ok(vec![nginx(upstream)?, haproxy(upstream)?, bare(upstream)?, relay, reverse])
}

/// The upstream, on the load's core.
pub fn upstream() -> anyhow::Result<Contender> {
    own_role("upstream", &["upstream"], LOAD_CORE)
}

fn bare(upstream: SocketAddr) -> anyhow::Result<Contender> {
    own_role("bare two-socket relay", &["bare", &upstream.to_string()], PROXY_CORE)
}

/// This program again, in another role; it prints its address.
fn own_role(name: &'static str, role: &[&str], core: usize) -> anyhow::Result<Contender> {
    let files = tempfile::tempdir()?;
    let program = std::env::current_exe()?;
    let mut child = pinned(&program, core).args(role).stdout(Stdio::piped()).spawn()?;
    let output = child.stdout.take().context("its output")?;
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line)?;
    let address = line.trim().parse().with_context(|| format!("{name} printed {line:?}"))?;
    Ok(Contender { name, address, process: Process { child, _files: files } })
}

fn nginx(upstream: SocketAddr) -> anyhow::Result<Contender> {
    let files = tempfile::tempdir()?;
    let address = free()?;
    let dir = files.path().display();
    let config = format!(
        "daemon off; master_process off; worker_processes 1; pid {dir}/pid; error_log {dir}/error.log;\n\
         events {{ worker_connections 1024; }}\n\
         http {{\n access_log off; keepalive_requests 1000000000; client_body_temp_path {dir}/body;\n \
         proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/f; uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;\n \
         upstream up {{ server {upstream}; keepalive 64; keepalive_requests 1000000000; }}\n \
         server {{ listen {address}; location / {{ proxy_pass http://up; proxy_http_version 1.1; \
         proxy_set_header Connection \"\"; }} }}\n}}\n"
    );
    let path = files.path().join("nginx.conf");
    fs::write(&path, config)?;
    let child = pinned(Path::new("nginx"), PROXY_CORE).arg("-c").arg(&path).spawn();
    started(BASE, address, child.context("nginx: apt-get install nginx-light")?, files)
}

fn haproxy(upstream: SocketAddr) -> anyhow::Result<Contender> {
    let files = tempfile::tempdir()?;
    let address = free()?;
    let config = format!(
        "global\n nbthread 1\n maxconn 2000\n\
         defaults\n mode http\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n http-reuse always\n\
         frontend f\n bind {address}\n default_backend b\n\
         backend b\n server s {upstream} maxconn 1000\n"
    );
    let path = files.path().join("haproxy.cfg");
    fs::write(&path, config)?;
    let child = pinned(Path::new("haproxy"), PROXY_CORE).arg("-f").arg(&path).arg("-db").spawn();
    started("HAProxy", address, child.context("haproxy: apt-get install haproxy")?, files)
}

/// One dappscope with both proxies recording everything, as a user runs it.
fn dappscope(upstream: SocketAddr) -> anyhow::Result<(Contender, Contender)> {
    let start = |name, flag: &'static str, other: &'static str| {
        let files = tempfile::tempdir()?;
        let address = free()?;
        let child = pinned(Path::new(env!("CARGO_BIN_EXE_dappscope")), PROXY_CORE)
            .arg("run")
            .args(["--rpc-upstream", &format!("http://{upstream}")])
            .args(["--api-upstream", &format!("http://{upstream}")])
            .args([flag, &address.to_string(), other, "127.0.0.1:0"])
            .args(["--otlp-listen", "127.0.0.1:0", "--listen", "127.0.0.1:0"])
            .args(["--log", "error"])
            .current_dir(files.path())
            .stdout(Stdio::null())
            .spawn();
        started(name, address, child.context("dappscope")?, files)
    };
    Ok((
        start("dappscope relay, all recorded", "--rpc-listen", "--api-listen")?,
        start("dappscope reverse, all recorded", "--api-listen", "--rpc-listen")?,
    ))
}

fn started(
    name: &'static str,
    address: SocketAddr,
    child: Child,
    files: tempfile::TempDir,
) -> anyhow::Result<Contender> {
    let mut process = Process { child, _files: files };
    let begun = Instant::now();
    while TcpStream::connect(address).is_err() {
        if let Some(status) = process.child.try_wait()? {
            bail!("{name} ended at once: {status}");
        }
        ensure!(begun.elapsed() < Duration::from_secs(10), "{name} does not listen on {address}");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(Contender { name, address, process })
}

/// A port that was free a moment ago.
fn free() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

fn pinned(program: &Path, core: usize) -> Command {
    let mut command = Command::new("taskset");
    command.arg("-c").arg(core.to_string()).arg(program);
    command
}

/// Pins a running process.
pub fn pin(process: u32, core: usize) -> anyhow::Result<()> {
    let status = Command::new("taskset")
        .args(["-a", "-c", "-p", &core.to_string(), &process.to_string()])
        .stdout(Stdio::null())
        .status()
        .context("taskset: apt-get install util-linux")?;
    ensure!(status.success(), "taskset failed");
    Ok(())
}

/// The machine, for the table's caption.
pub fn machine() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or("unknown CPU", |(_, model)| model.trim());
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = info.lines().filter(|line| line.starts_with("processor")).count();
    format!("{model}, {cores} cores, Linux {}", kernel.trim())
}
