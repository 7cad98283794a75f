//! Process and host families, from the readings of the machine.

use std::collections::{HashMap, HashSet};

use prometheus::{CounterVec, Error, Gauge, GaugeVec, IntCounterVec, IntGaugeVec, Registry};

use super::family;
use crate::model::{HostReading, LabelKind, LabelSet, ProcessReading, Role, Volume};

/// Disks and network interfaces that get a label of their own; containers make new interfaces
/// without end.
struct DeviceKind;

impl LabelKind for DeviceKind {
    const CAPACITY: usize = 32;
    const NAME: &'static str = "system_device";
}

/// The families.
#[derive(Clone)]
pub struct Machine {
    process_cpu: CounterVec,
    process_resident: IntGaugeVec,
    process_read: IntCounterVec,
    process_written: IntCounterVec,
    process_open: IntGaugeVec,
    process_threads: IntGaugeVec,
    process_start: IntGaugeVec,
    process_up: IntGaugeVec,
    cpu: Gauge,
    memory: GaugeVec,
    disk: IntCounterVec,
    network: IntCounterVec,
}

impl Machine {
    pub fn register(registry: &Registry) -> Result<Self, Error> {
        let process = &["process"];
        Ok(Self {
            process_cpu: family::float_counters(
                registry,
                "dapp_process_cpu_seconds_total",
                "CPU time in seconds used by the process in this role, over all that held it.",
                process,
            )?,
            process_resident: family::integer_gauges(
                registry,
                "dapp_process_resident_memory_bytes",
                "Memory in bytes that the process holds in RAM.",
                process,
            )?,
            process_read: family::counters(
                registry,
                "dapp_process_disk_read_bytes_total",
                "Bytes that the process in this role had read from disks.",
                process,
            )?,
            process_written: family::counters(
                registry,
                "dapp_process_disk_written_bytes_total",
                "Bytes that the process in this role had written to disks.",
                process,
            )?,
            process_open: family::integer_gauges(
                registry,
                "dapp_process_open_fds",
                "Files and sockets that the process has open.",
                process,
            )?,
            process_threads: family::integer_gauges(
                registry,
                "dapp_process_threads",
                "Threads of the process.",
                process,
            )?,
            process_start: family::integer_gauges(
                registry,
                "dapp_process_start_time_seconds",
                "When the process was started, in Unix seconds.",
                process,
            )?,
            process_up: family::integer_gauges(
                registry,
                "dapp_process_up",
                "Whether a process was found in this role: 1 or 0.",
                process,
            )?,
            cpu: family::gauge(
                registry,
                "system_cpu_utilization_ratio",
                "Share of all cores in use, 0 to 1, since the reading before.",
            )?,
            memory: family::gauges(
                registry,
                "system_memory_usage_bytes",
                "Memory of the machine in bytes, by state: used, available or total.",
                &["system_memory_state"],
            )?,
            disk: family::counters(
                registry,
                "system_disk_io_bytes_total",
                "Bytes read from and written to a disk since monitoring began.",
                &["system_device", "disk_io_direction"],
            )?,
            network: family::counters(
                registry,
                "system_network_io_bytes_total",
                "Bytes received and transmitted on a network interface since monitoring began.",
                &["network_interface_name", "network_io_direction"],
            )?,
        })
    }
}

/// What the readings before have told, so that counters grow by differences. A pid is reused:
/// processes are known by pid and start time.
pub struct Readings {
    families: Machine,
    processes: HashMap<Role, (u32, u64, Usage)>,
    /// Roles that were seen at least once.
    roles: HashSet<Role>,
    disks: Devices,
    networks: Devices,
}

#[derive(Clone, Copy, Default)]
struct Usage {
    cpu_seconds: f64,
    disk: Volume,
}

impl Readings {
    pub fn new(families: Machine) -> Self {
        Self {
            families,
            processes: HashMap::new(),
            roles: HashSet::new(),
            disks: Devices::default(),
            networks: Devices::default(),
        }
    }

    pub fn record(&mut self, reading: &HostReading) {
        let families = &self.families;
        families.cpu.set(reading.cpu);
        for (state, bytes) in [
            ("used", reading.memory_used),
            ("available", reading.memory_available),
            ("total", reading.memory_total),
        ] {
            families.memory.with_label_values(&[state]).set(family::as_value(bytes));
        }
        self.disks.record(&families.disk, &reading.disks, ["read", "write"]);
        self.networks.record(&families.network, &reading.networks, ["receive", "transmit"]);
        for process in &reading.processes {
            self.record_process(process);
        }
        for role in &self.roles {
            let up = reading.processes.iter().any(|process| process.role == *role);
            self.families.process_up.with_label_values(&[role.as_str()]).set(i64::from(up));
        }
    }

    fn record_process(&mut self, process: &ProcessReading) {
        let families = &self.families;
        let role = [process.role.as_str()];
        let now = Usage { cpu_seconds: process.cpu_seconds, disk: process.disk };
        let before = match self.processes.get(&process.role) {
            Some(&(pid, started, usage)) if (pid, started) == (process.pid, process.started) => {
                usage
            }
            _ => Usage::default(),
        };
        self.processes.insert(process.role, (process.pid, process.started, now));
        self.roles.insert(process.role);
        let cpu = (now.cpu_seconds - before.cpu_seconds).max(0.0);
        families.process_cpu.with_label_values(&role).inc_by(cpu);
        families
            .process_read
            .with_label_values(&role)
            .inc_by(now.disk.read.saturating_sub(before.disk.read));
        families
            .process_written
            .with_label_values(&role)
            .inc_by(now.disk.written.saturating_sub(before.disk.written));
        families.process_resident.with_label_values(&role).set(family::as_gauge(process.resident));
        families.process_start.with_label_values(&role).set(family::as_gauge(process.started));
        if let Some(open) = process.open_files {
            families.process_open.with_label_values(&role).set(family::as_gauge(open));
        }
        if let Some(threads) = process.threads {
            families.process_threads.with_label_values(&role).set(family::as_gauge(threads));
        }
    }
}

#[derive(Default)]
struct Devices {
    names: LabelSet<DeviceKind>,
    last: HashMap<Box<str>, Volume>,
}

impl Devices {
    /// Counts what was moved since the reading before; the first reading of a device counts for
    /// nothing, because it tells of the time since the machine was started.
    fn record(
        &mut self,
        family: &IntCounterVec,
        readings: &[(Box<str>, Volume)],
        directions: [&str; 2],
    ) {
        // Devices that are gone are forgotten: one that comes back starts anew.
        self.last.retain(|name, _| readings.iter().any(|(present, _)| present == name));
        for (name, now) in readings {
            let before = self.last.insert(name.clone(), *now).unwrap_or(*now);
            let label = self.names.admit(name);
            for (direction, now, before) in [
                (directions[0], now.read, before.read),
                (directions[1], now.written, before.written),
            ] {
                family
                    .with_label_values(&[label.as_str(), direction])
                    .inc_by(now.saturating_sub(before));
            }
        }
    }
}
