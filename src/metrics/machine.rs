//! Process and host families, from the readings of the machine.

use std::collections::{HashMap, HashSet};

use prometheus::{CounterVec, Error, Gauge, GaugeVec, IntCounterVec, IntGaugeVec, Registry};

use super::family;
use crate::model::{HostReading, LabelKind, LabelSet, ProcessReading, Role, RoleReading, Volume};

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
    process_count: IntGaugeVec,
    process_restarts: IntCounterVec,
    databases: IntGaugeVec,
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
                "CPU time in seconds used by the processes of this role, over all that were in it.",
                process,
            )?,
            process_resident: family::integer_gauges(
                registry,
                "dapp_process_resident_memory_bytes",
                "Memory in bytes that the processes of this role hold in RAM; what they share counts for each.",
                process,
            )?,
            process_read: family::counters(
                registry,
                "dapp_process_disk_read_bytes_total",
                "Bytes that the processes of this role had read from disks.",
                process,
            )?,
            process_written: family::counters(
                registry,
                "dapp_process_disk_written_bytes_total",
                "Bytes that the processes of this role had written to disks.",
                process,
            )?,
            process_open: family::integer_gauges(
                registry,
                "dapp_process_open_fds",
                "Files and sockets that the processes of this role have open.",
                process,
            )?,
            process_threads: family::integer_gauges(
                registry,
                "dapp_process_threads",
                "Threads of the processes of this role.",
                process,
            )?,
            process_start: family::integer_gauges(
                registry,
                "dapp_process_start_time_seconds",
                "When the first process of this role was started, in Unix seconds.",
                process,
            )?,
            process_up: family::integer_gauges(
                registry,
                "dapp_process_up",
                "Whether a process was found in this role: 1 or 0.",
                process,
            )?,
            process_count: family::integer_gauges(
                registry,
                "dapp_processes",
                "Processes in this role: those that listen on its port, and all that they started.",
                process,
            )?,
            process_restarts: family::counters(
                registry,
                "dapp_process_restarts_total",
                "Times that this role was taken over by a process started anew.",
                process,
            )?,
            databases: family::integer_gauges(
                registry,
                "dapp_database_size_bytes",
                "Bytes of a database file named in the configuration, with its journals.",
                &["database"],
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
    processes: HashMap<Identity, Usage>,
    /// Roles that were seen at least once, with the last main process of each.
    roles: HashMap<Role, Identity>,
    disks: Devices,
    networks: Devices,
    databases: HashSet<Box<str>>,
}

/// A role's process: its pid, and when it was started.
type Identity = (Role, u32, u64);

#[derive(Clone, Copy, Default)]
struct Usage {
    cpu_seconds: f64,
    disk: Volume,
}

const fn identity(process: &ProcessReading) -> Identity {
    (process.role, process.pid, process.started)
}

impl Readings {
    pub fn new(families: Machine) -> Self {
        Self {
            families,
            processes: HashMap::new(),
            roles: HashMap::new(),
            disks: Devices::default(),
            networks: Devices::default(),
            databases: HashSet::new(),
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
        self.record_databases(&reading.databases);
        let before = std::mem::take(&mut self.processes);
        for process in &reading.processes {
            self.grow(process, before.get(&identity(process)).copied().unwrap_or_default());
        }
        let roles = reading.roles();
        for role in &roles {
            self.record_role(role);
        }
        for role in self.roles.keys() {
            let label = [role.as_str()];
            let found = roles.iter().find(|found| found.main.role == *role);
            self.families.process_up.with_label_values(&label).set(i64::from(found.is_some()));
            let count = found.map_or(0, |found| found.processes);
            self.families.process_count.with_label_values(&label).set(family::as_gauge(count));
        }
    }

    /// Adds what a process used since the reading before. What one used after its last reading is
    /// not known of it.
    fn grow(&mut self, process: &ProcessReading, before: Usage) {
        let families = &self.families;
        let role = [process.role.as_str()];
        let now = Usage { cpu_seconds: process.cpu_seconds, disk: process.disk };
        self.processes.insert(identity(process), now);
        let cpu = (now.cpu_seconds - before.cpu_seconds).max(0.0);
        families.process_cpu.with_label_values(&role).inc_by(cpu);
        for (family, now, before) in [
            (&families.process_read, now.disk.read, before.disk.read),
            (&families.process_written, now.disk.written, before.disk.written),
        ] {
            family.with_label_values(&role).inc_by(now.saturating_sub(before));
        }
    }

    fn record_role(&mut self, role: &RoleReading) {
        let families = &self.families;
        let label = [role.main.role.as_str()];
        families.process_resident.with_label_values(&label).set(family::as_gauge(role.resident));
        let started = family::as_gauge(role.main.started);
        families.process_start.with_label_values(&label).set(started);
        if let Some(open) = role.open_files {
            families.process_open.with_label_values(&label).set(family::as_gauge(open));
        }
        if let Some(threads) = role.threads {
            families.process_threads.with_label_values(&label).set(family::as_gauge(threads));
        }
        let restarts = families.process_restarts.with_label_values(&label);
        let main = identity(&role.main);
        if self.roles.insert(role.main.role, main).is_some_and(|before| before != main) {
            restarts.inc();
        }
    }

    /// One that is gone has no size.
    fn record_databases(&mut self, databases: &[(Box<str>, u64)]) {
        let family = &self.families.databases;
        self.databases.retain(|name| {
            let is_there = databases.iter().any(|(present, _)| present == name);
            if !is_there {
                // An error would say that there is none: so there is nothing to do.
                let _ = family.remove_label_values(&[name.as_ref()]);
            }
            is_there
        });
        for (name, bytes) in databases {
            family.with_label_values(&[name.as_ref()]).set(family::as_gauge(*bytes));
            self.databases.insert(name.clone());
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
