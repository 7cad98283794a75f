//! Takes one reading of the machine, refreshing no more than what a reading holds.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use sysinfo::{
    CpuRefreshKind, DiskRefreshKind, Disks, MemoryRefreshKind, Networks, Pid, Process,
    ProcessRefreshKind, ProcessesToUpdate, System,
};

use super::HostError;
use super::databases::Databases;
use super::listen::{children, listening_pids, threads};
use super::own_io::{OwnIo, Seen};
use crate::model::{HostReading, ProcessReading, Role, UnixMicros, Volume};

/// Readings for which a port's processes are taken for granted while they live. Finding them anew
/// means looking through every process's open files.
const TRUSTED: u32 = 12;
/// Processes of one role that are read, at most.
const MOST_PROCESSES: usize = 64;

/// Takes readings.
pub struct Reader {
    system: System,
    disks: Disks,
    networks: Networks,
    own: Pid,
    roles: Vec<Listener>,
    databases: Databases,
    own_io: OwnIo,
}

/// A role, the port that its processes listen on, and who they were last.
struct Listener {
    role: Role,
    port: u16,
    holders: Vec<Pid>,
    /// Readings since they were found.
    age: u32,
}

impl Reader {
    pub fn new(roles: &[(Role, u16)], databases: &[PathBuf]) -> Result<Self, HostError> {
        let own = sysinfo::get_current_pid().map_err(|e| HostError::Unreadable(e.to_string()))?;
        let unreadable = |error: sysinfo::Error| HostError::Unreadable(error.to_string());
        Ok(Self {
            system: System::new().map_err(unreadable)?,
            disks: Disks::new().map_err(unreadable)?,
            networks: Networks::new().map_err(unreadable)?,
            own,
            roles: roles.iter().map(|&(role, port)| Listener::new(role, port)).collect(),
            databases: Databases::new(databases),
            own_io: OwnIo::default(),
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
        let processes = self.read_processes(&holders);
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
            databases: self.databases.sizes(),
        }
    }

    fn read_processes(&mut self, holders: &[(Role, Pid)]) -> Vec<ProcessReading> {
        let processes =
            holders.iter().filter_map(|&(role, pid)| Some((role, pid, self.system.process(pid)?)));
        let processes: Vec<_> = processes.collect();
        let seen: Vec<Seen> = processes.iter().map(|(_, pid, it)| seen(*pid, it)).collect();
        let mut volumes = self.own_io.of(&seen);
        let own = processes.iter().position(|(_, pid, _)| *pid == self.own);
        if let (Some(at), Some(volume)) = (own, self.own_io.of_this_process()) {
            volumes[at] = volume;
        }
        let each = processes.iter().zip(volumes);
        each.map(|(&(role, pid, process), volume)| read_process(role, pid, process, volume))
            .collect()
    }

    /// Who is in each role now, refreshed: who listens, with all that they started.
    fn find_processes(&mut self) -> Vec<(Role, Pid)> {
        for listener in &mut self.roles {
            listener.look();
        }
        // One that is gone is looked for at once: it may have been restarted.
        let holders = self.roles.iter().flat_map(|listener| listener.holders.iter().copied());
        refresh(&mut self.system, holders.collect());
        for listener in &mut self.roles {
            if listener.holders.iter().any(|pid| self.system.process(*pid).is_none()) {
                listener.find();
            }
        }
        let mut members = vec![(Role::known("dappscope"), self.own)];
        let children =
            if self.roles.iter().any(Listener::is_there) { children() } else { HashMap::new() };
        // A process belongs to the nearest one above it that is in a role by itself.
        let mut placed: HashSet<Pid> = self.roles.iter().flat_map(|l| l.holders.clone()).collect();
        placed.insert(self.own);
        for listener in &self.roles {
            let mut of_role = listener.holders.clone();
            let mut next = 0;
            while let Some(parent) = of_role.get(next)
                && of_role.len() < MOST_PROCESSES
            {
                let below = children.get(&parent.as_u32()).into_iter().flatten();
                let below: Vec<Pid> = below.map(|pid| Pid::from_u32(*pid)).collect();
                of_role.extend(below.into_iter().filter(|pid| placed.insert(*pid)));
                next += 1;
            }
            members
                .extend(of_role.into_iter().take(MOST_PROCESSES).map(|pid| (listener.role, pid)));
        }
        refresh(&mut self.system, members.iter().map(|(_, pid)| *pid).collect());
        members
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
    const fn new(role: Role, port: u16) -> Self {
        Self { role, port, holders: Vec::new(), age: 0 }
    }

    fn look(&mut self) {
        if self.holders.is_empty() || self.age >= TRUSTED {
            self.find();
        } else {
            self.age += 1;
        }
    }

    fn find(&mut self) {
        self.holders = listening_pids(self.port).into_iter().map(Pid::from_u32).collect();
        self.age = 0;
    }

    const fn is_there(&self) -> bool {
        !self.holders.is_empty()
    }
}

fn refresh(system: &mut System, mut pids: Vec<Pid>) {
    // One that is named twice is found dead the second time.
    pids.sort_unstable();
    pids.dedup();
    let wanted = ProcessRefreshKind::nothing().with_cpu().with_memory().with_disk_usage();
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&pids), true, wanted);
}

#[expect(clippy::cast_precision_loss, reason = "CPU milliseconds stay far below 2^53")]
fn read_process(role: Role, pid: Pid, process: &Process, disk: Volume) -> ProcessReading {
    ProcessReading {
        role,
        pid: pid.as_u32(),
        started: process.start_time(),
        cpu_seconds: process.accumulated_cpu_time() as f64 / 1_000.0,
        resident: process.memory(),
        open_files: process.open_files().map(|count| count as u64),
        threads: threads(pid.as_u32()),
        disk,
    }
}

fn seen(pid: Pid, process: &Process) -> Seen {
    let usage = process.disk_usage();
    Seen {
        pid: pid.as_u32(),
        started: process.start_time(),
        parent: process.parent().map(Pid::as_u32),
        total: Volume { read: usage.total_read_bytes, written: usage.total_written_bytes },
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_reading_tells_of_this_process_and_of_the_machine() {
        let mut reader = Reader::new(&[], &[]).unwrap();
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
        let mut reader = Reader::new(&[(Role::known("flask"), port)], &[]).unwrap();
        let roles = |reading: &HostReading| -> Vec<_> {
            reading.processes.iter().map(|p| (p.role.as_str(), p.pid)).collect()
        };
        let own = std::process::id();
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let reading = reader.read();
        let read = roles(&reading);
        assert_eq!(read[..2], [("dappscope", own), ("flask", own)]);
        assert!(read.contains(&("flask", child.id())), "{read:?}");
        assert!(reading.processes[1].threads.unwrap() >= 1);
        assert!(reading.processes[1].open_files.unwrap() >= 1);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!roles(&reader.read()).contains(&("flask", child.id())));
        drop(listener);
        reader.roles[0].holders.clear();
        assert_eq!(roles(&reader.read()), [("dappscope", own)]);
    }
}
