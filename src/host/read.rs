//! Takes one reading of the machine, refreshing no more than what a reading holds.

use std::collections::HashMap;

use sysinfo::{
    CpuRefreshKind, DiskRefreshKind, Disks, MemoryRefreshKind, Networks, Pid, Process,
    ProcessRefreshKind, ProcessesToUpdate, System,
};

use super::HostError;
use super::listen::{listening_pid, threads};
use crate::model::{HostReading, ProcessReading, Role, UnixMicros, Volume};

/// Readings for which a port's process is taken for granted while it lives. Finding it anew means
/// looking through every process's open files.
const TRUSTED: u32 = 12;

/// Takes readings.
pub struct Reader {
    system: System,
    disks: Disks,
    networks: Networks,
    own: Pid,
    roles: Vec<Listener>,
}

/// A role, the port that its process listens on, and who that was last.
struct Listener {
    role: Role,
    port: u16,
    found: Option<Found>,
}

#[derive(Clone, Copy)]
struct Found {
    pid: Pid,
    /// Readings since it was found.
    age: u32,
}

impl Reader {
    pub fn new(roles: &[(Role, u16)]) -> Result<Self, HostError> {
        let own = sysinfo::get_current_pid().map_err(|e| HostError::Unreadable(e.to_string()))?;
        let unreadable = |error: sysinfo::Error| HostError::Unreadable(error.to_string());
        Ok(Self {
            system: System::new().map_err(unreadable)?,
            disks: Disks::new().map_err(unreadable)?,
            networks: Networks::new().map_err(unreadable)?,
            own,
            roles: roles.iter().map(|&(role, port)| Listener { role, port, found: None }).collect(),
        })
    }

    /// One reading. The share of the CPU is since the reading before, which must be 200 ms ago or
    /// more.
    pub fn read(&mut self) -> HostReading {
        self.system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
        self.system.refresh_cpu_specifics(CpuRefreshKind::nothing().with_usage());
        self.networks.refresh(true);
        self.disks.refresh_specifics(true, DiskRefreshKind::nothing().with_io_usage());
        let holders = self.find_processes();
        let processes = holders
            .iter()
            .filter_map(|&(role, pid)| Some(read_process(role, pid, self.system.process(pid)?)))
            .collect();
        HostReading {
            at: UnixMicros::now(),
            cpu: f64::from(self.system.global_cpu_usage() / 100.0).clamp(0.0, 1.0),
            memory_used: self.system.used_memory(),
            memory_available: self.system.available_memory(),
            memory_total: self.system.total_memory(),
            disks: self.disk_volumes(),
            networks: self
                .networks
                .iter()
                .map(|(name, network)| {
                    let volume = Volume {
                        read: network.total_received(),
                        written: network.total_transmitted(),
                    };
                    (name.to_string_lossy().into(), volume)
                })
                .collect(),
            processes,
        }
    }

    /// Who holds each role now, refreshed.
    fn find_processes(&mut self) -> Vec<(Role, Pid)> {
        let wanted = ProcessRefreshKind::nothing().with_cpu().with_memory().with_disk_usage();
        for listener in &mut self.roles {
            listener.found = match listener.found {
                Some(Found { pid, age }) if age < TRUSTED => Some(Found { pid, age: age + 1 }),
                _ => listener.find(),
            };
        }
        let mut pids: Vec<_> = self.roles.iter().filter_map(|l| Some(l.found?.pid)).collect();
        pids.push(self.own);
        // One that is named twice is found dead the second time.
        pids.sort_unstable();
        pids.dedup();
        self.system.refresh_processes_specifics(ProcessesToUpdate::Some(&pids), true, wanted);
        // One that is gone is looked for at once: it may have been restarted.
        for listener in &mut self.roles {
            if listener.found.is_some_and(|found| self.system.process(found.pid).is_none()) {
                listener.found = listener.find();
                if let Some(Found { pid, .. }) = listener.found {
                    let pids = [pid];
                    let only = ProcessesToUpdate::Some(&pids);
                    self.system.refresh_processes_specifics(only, true, wanted);
                }
            }
        }
        let mut holders = vec![(Role::known("dappscope"), self.own)];
        holders.extend(self.roles.iter().filter_map(|l| Some((l.role, l.found?.pid))));
        holders
    }

    /// A device that is mounted twice is listed twice, and counted once.
    fn disk_volumes(&self) -> Vec<(Box<str>, Volume)> {
        let by_name: HashMap<_, _> = self
            .disks
            .iter()
            .map(|disk| {
                let usage = disk.usage();
                let volume =
                    Volume { read: usage.total_read_bytes, written: usage.total_written_bytes };
                (disk.name().to_string_lossy(), volume)
            })
            .collect();
        let mut volumes: Vec<_> =
            by_name.into_iter().map(|(name, volume)| (Box::from(name.as_ref()), volume)).collect();
        volumes.sort_unstable_by(|(a, _): &(Box<str>, _), (b, _)| a.cmp(b));
        volumes
    }
}

impl Listener {
    fn find(&self) -> Option<Found> {
        listening_pid(self.port).map(|pid| Found { pid: Pid::from_u32(pid), age: 0 })
    }
}

#[expect(clippy::cast_precision_loss, reason = "CPU milliseconds stay far below 2^53")]
fn read_process(role: Role, pid: Pid, process: &Process) -> ProcessReading {
    let usage = process.disk_usage();
    ProcessReading {
        role,
        pid: pid.as_u32(),
        started: process.start_time(),
        cpu_seconds: process.accumulated_cpu_time() as f64 / 1_000.0,
        resident: process.memory(),
        open_files: process.open_files().map(|count| count as u64),
        threads: threads(pid.as_u32()),
        disk: Volume { read: usage.total_read_bytes, written: usage.total_written_bytes },
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_reading_tells_of_this_process_and_of_the_machine() {
        let mut reader = Reader::new(&[]).unwrap();
        let reading = reader.read();
        assert!(reading.memory_total > reading.memory_used && reading.memory_used > 0);
        assert!((0.0..=1.0).contains(&reading.cpu));
        assert!(reading.at.0 > 1_600_000_000_000_000);
        let [own] = &reading.processes[..] else { panic!("{:?}", reading.processes) };
        assert_eq!((own.role.as_str(), own.pid), ("dappscope", std::process::id()));
        assert!(own.resident > 1_000_000 && own.started > 1_600_000_000);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_process_behind_a_port_is_read_under_its_role_until_the_port_is_free() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut reader = Reader::new(&[(Role::known("flask"), port)]).unwrap();
        let roles = |reading: &HostReading| -> Vec<_> {
            reading.processes.iter().map(|p| (p.role.as_str(), p.pid)).collect()
        };
        let own = std::process::id();
        let reading = reader.read();
        assert_eq!(roles(&reading), [("dappscope", own), ("flask", own)]);
        assert!(reading.processes[1].threads.unwrap() >= 1);
        assert!(reading.processes[1].open_files.unwrap() >= 1);
        drop(listener);
        reader.roles[0].found = None;
        assert_eq!(roles(&reader.read()), [("dappscope", own)]);
    }
}
