//! What the processes of the dapp use, beside what `ps` and `/proc` say of them.
#![cfg(target_os = "linux")]

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::json;

use crate::harness::{
    Dappscope, Hardhat, Metrics, call, free_port, http, marketplace, signal, until,
};

const EVERY: &str = "[host]\nevery_ms = 250\n";
/// CPU time that each worker is to use, in seconds.
const LOAD: f64 = 3.0;
/// What may be between two readings of numbers that grow, beside a twentieth: a clock tick for each
/// process, and what the reading itself costs.
const TICKS: f64 = 0.1;
/// As above, of bytes.
const PAGES: f64 = 256.0 * 1_024.0;

/// An API on gunicorn with two workers of one thread each.
struct Workers {
    master: Child,
    address: SocketAddr,
}

impl Workers {
    fn start_on(port: u16, files: &Path) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let master = Command::new(marketplace().join(".venv/bin/python"))
            .args(["-m", "gunicorn", "--no-control-socket", "--workers", "2", "--timeout", "300"])
            .args(["--bind", &address.to_string(), "--chdir", "servers", "workload:app"])
            .current_dir(marketplace())
            .env("FILES", files)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        until("the API to listen", || TcpStream::connect(address).ok());
        Self { master, address }
    }

    fn pid(&self) -> u32 {
        self.master.id()
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        // Its workers outlive it when it is killed.
        signal(self.master.id(), "INT");
        let _ = self.master.wait();
    }
}

/// What a process and all below it use together.
#[derive(Debug, Default)]
struct Usage {
    processes: f64,
    /// By `/proc/<pid>/stat`, and in whole seconds by `ps`.
    cpu_seconds: f64,
    ps_cpu_seconds: f64,
    /// By `ps`.
    resident: f64,
    threads: f64,
    /// By `/proc/<pid>/io`.
    read: f64,
    written: f64,
    /// By `/proc/<pid>/fd`.
    open: f64,
}

impl Usage {
    fn of(root: u32) -> Self {
        let output =
            Command::new("ps").args(["-A", "-o", "pid=,ppid=,cputimes=,rss=,nlwp="]).output();
        let listed = String::from_utf8(output.expect("ps: apt-get install procps").stdout).unwrap();
        let rows: Vec<Vec<f64>> = listed
            .lines()
            .map(|row| row.split_whitespace().map(|it| it.parse().unwrap()).collect())
            .collect();
        let mut members = vec![f64::from(root)];
        let mut next = 0;
        while let Some(parent) = members.get(next).copied() {
            members.extend(rows.iter().filter(|row| row[1] == parent).map(|row| row[0]));
            next += 1;
        }
        let mut usage = Self::default();
        for row in rows.iter().filter(|row| members.contains(&row[0])) {
            let proc = Path::new("/proc").join(row[0].to_string());
            let read = |name: &str| std::fs::read_to_string(proc.join(name)).unwrap();
            let stat = read("stat");
            let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
            let ticks: f64 = fields[11..13].iter().map(|it| it.parse::<f64>().unwrap()).sum();
            let io = read("io");
            let bytes = |name: &str| -> f64 {
                let line = io.lines().find_map(|line| line.strip_prefix(name));
                line.unwrap().trim().parse().unwrap()
            };
            usage.processes += 1.0;
            // A hundred to the second, on every Linux that there is.
            usage.cpu_seconds += ticks / 100.0;
            usage.ps_cpu_seconds += row[2];
            usage.resident += row[3] * 1_024.0;
            usage.threads += row[4];
            usage.read += bytes("read_bytes:");
            usage.written += bytes("write_bytes:");
            usage.open += f64::from(
                u32::try_from(std::fs::read_dir(proc.join("fd")).unwrap().count()).unwrap(),
            );
        }
        usage
    }
}

/// A scrape with a reading of the machine that began after this was called.
fn fresh(scope: &Dappscope) -> Metrics {
    let readings = |metrics: &Metrics| metrics.sum("dappscope_samples_total", &[("kind", "host")]);
    let known = readings(&scope.metrics());
    until("two readings of the machine", || {
        let metrics = scope.metrics();
        (readings(&metrics) > known + 1.5).then_some(metrics)
    })
}

/// That `told` is within a twentieth, and `floor`, of what was so at the time.
fn between(what: &str, (least, most): (f64, f64), told: f64, floor: f64) {
    let range = (least * 0.95 - floor)..=(most * 1.05 + floor);
    println!("{what}: {told} told, {least} to {most} by ps and /proc");
    assert!(range.contains(&told), "{what}: {told} told, {least} to {most} by ps and /proc");
}

/// Compares what grows with what it was before and after.
fn compare_growing(role: &str, before: &Usage, metrics: &Metrics, after: &Usage) {
    let told = |family: &str| metrics.sum(family, &[("process", role)]);
    let floor = TICKS * after.processes;
    let cpu = told("dapp_process_cpu_seconds_total");
    between(&format!("{role}: CPU"), (before.cpu_seconds, after.cpu_seconds), cpu, floor);
    // Whole seconds of each process, cut off.
    let by_ps = (before.ps_cpu_seconds, after.ps_cpu_seconds + after.processes);
    between(&format!("{role}: CPU by ps"), by_ps, cpu, floor);
    let read = told("dapp_process_disk_read_bytes_total");
    between(&format!("{role}: read"), (before.read, after.read), read, PAGES);
    let written = told("dapp_process_disk_written_bytes_total");
    between(&format!("{role}: written"), (before.written, after.written), written, PAGES);
}

/// Compares everything, of processes that rest.
fn compare(role: &str, root: u32, scope: &Dappscope) -> Usage {
    let before = Usage::of(root);
    let metrics = fresh(scope);
    let after = Usage::of(root);
    compare_growing(role, &before, &metrics, &after);
    let told = |family: &str| metrics.sum(family, &[("process", role)]);
    let range = |of: fn(&Usage) -> f64| {
        let (a, b) = (of(&before), of(&after));
        (a.min(b), a.max(b))
    };
    let resident = told("dapp_process_resident_memory_bytes");
    between(&format!("{role}: memory"), range(|it| it.resident), resident, PAGES);
    for (what, of, family) in [
        ("threads", (|it| it.threads) as fn(&Usage) -> f64, "dapp_process_threads"),
        ("processes", |it| it.processes, "dapp_processes"),
    ] {
        between(&format!("{role}: {what}"), range(of), told(family), 0.0);
    }
    // A connection may be open that was made to ask.
    let open = told("dapp_process_open_fds");
    between(&format!("{role}: open files"), range(|it| it.open), open, 2.0);
    after
}

#[test]
fn what_processes_use_is_what_ps_and_proc_say_within_a_twentieth() {
    let files = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let hardhat = Hardhat::start();
    let workers = Workers::start_on(free_port(), files.path());
    let scope = Dappscope::start(hardhat.address, Some(workers.address), EVERY);
    let roots = [("flask", workers.pid()), ("hardhat", hardhat.pid()), ("dappscope", scope.pid())];
    until("all to be found", || {
        let metrics = scope.metrics();
        let count = |role| metrics.sum("dapp_processes", &[("process", role)]);
        (count("flask") > 2.5 && count("hardhat") > 0.5).then_some(())
    });
    std::thread::scope(|scope_of_load| {
        let (api, rpc) = (scope.api.unwrap(), scope.rpc);
        let work = [(); 2].map(|()| {
            scope_of_load.spawn(move || {
                let path = format!("/work?cpu_seconds={LOAD}");
                assert_eq!(http(api, "GET", &path, &[], b"").status, 200);
            })
        });
        scope_of_load.spawn(move || {
            while work.iter().any(|one| !one.is_finished()) {
                let answer = call(rpc, "/", "evm_mine", &json!([]));
                assert!(answer["error"].is_null(), "{answer}");
            }
        });
        // While they work.
        let rested = Usage::of(workers.pid()).cpu_seconds;
        until("the workers to work", || {
            (Usage::of(workers.pid()).cpu_seconds > rested + 0.5).then_some(())
        });
        let before = roots.map(|(_, root)| Usage::of(root));
        let metrics = fresh(&scope);
        let after = roots.map(|(_, root)| Usage::of(root));
        for (at, (role, _)) in roots.into_iter().enumerate() {
            compare_growing(role, &before[at], &metrics, &after[at]);
        }
    });
    let [flask, hardhat_used, _] = roots.map(|(role, root)| compare(role, root, &scope));
    assert!(flask.cpu_seconds > 2.0 * LOAD && flask.processes == 3.0, "{flask:?}");
    assert!(flask.written > 4.0e6 && flask.resident > 100.0e6, "{flask:?}");
    assert!(hardhat_used.cpu_seconds > 1.0, "{hardhat_used:?}");

    let port = workers.address.port();
    drop(workers);
    until("the API to be gone", || {
        (scope.metrics().sum("dapp_process_up", &[("process", "flask")]) < 0.5).then_some(())
    });
    let workers = Workers::start_on(port, files.path());
    until("the API to be back", || {
        let metrics = scope.metrics();
        (metrics.sum("dapp_process_restarts_total", &[("process", "flask")]) > 0.5).then_some(())
    });
    let machine = scope.ask("dappscope_overview", &json!({}))["machine"].clone();
    let of = |role: &str| {
        let all = machine["processes"].as_array().unwrap();
        all.iter().find(|it| it["process"] == role).unwrap().clone()
    };
    let (flask, node) = (of("flask"), of("hardhat"));
    assert_eq!((&flask["restarts"], &flask["pid"]), (&json!(1), &json!(workers.pid())));
    assert_eq!(node["restarts"], 0);
    assert!(flask["uptime_s"].as_u64() < node["uptime_s"].as_u64(), "{machine:#}");
    assert!(node["uptime_s"].as_u64().unwrap() > 3, "{machine:#}");
    assert!(!machine["networks"].as_array().unwrap().is_empty(), "{machine:#}");
    assert!(machine["memory_total_bytes"].as_u64().unwrap() > 0, "{machine:#}");
    assert!(scope.stop().success());
}
