//! What the machine and the dapp's processes use.

use super::label::Role;
use super::time::UnixMicros;

/// Bytes in and out since the machine or the process started; what "in" is depends on the device:
/// read or received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Volume {
    pub read: u64,
    pub written: u64,
}

/// One reading of the machine.
#[derive(Clone, Debug, PartialEq)]
pub struct HostReading {
    pub at: UnixMicros,
    /// Share of all cores in use since the reading before, 0 to 1.
    pub cpu: f64,
    /// In bytes.
    pub memory_used: u64,
    pub memory_available: u64,
    pub memory_total: u64,
    /// By device name, as the system tells it.
    pub disks: Vec<(Box<str>, Volume)>,
    /// By interface name; `read` is received.
    pub networks: Vec<(Box<str>, Volume)>,
    /// Several may be in one role: a server's workers, a reloader and its child.
    pub processes: Vec<ProcessReading>,
    /// Bytes of the database files that are watched and are there, with their journals, by name.
    pub databases: Vec<(Box<str>, u64)>,
}

/// One reading of one of the dapp's processes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ProcessReading {
    pub role: Role,
    pub pid: u32,
    /// Unix seconds; with the pid it tells a process from a later one of the same pid.
    pub started: u64,
    /// CPU time used since it started, in seconds.
    pub cpu_seconds: f64,
    /// In bytes.
    pub resident: u64,
    /// None where the system does not tell.
    pub open_files: Option<u64>,
    pub threads: Option<u64>,
    /// Without what its ended children had.
    pub disk: Volume,
}

/// What all processes of a role use together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RoleReading {
    /// The one that was started first: it tells since when the role is held.
    pub main: ProcessReading,
    pub processes: u64,
    /// Of those that run now; what others used before them is not in it.
    pub cpu_seconds: f64,
    /// In bytes; what processes share is counted for each.
    pub resident: u64,
    pub open_files: Option<u64>,
    pub threads: Option<u64>,
    pub disk: Volume,
}

impl HostReading {
    /// Its roles, in the order of their first processes.
    pub fn roles(&self) -> Vec<RoleReading> {
        let mut roles: Vec<RoleReading> = Vec::new();
        for process in &self.processes {
            match roles.iter_mut().find(|known| known.main.role == process.role) {
                Some(known) => known.add(process),
                None => roles.push(RoleReading::of(*process)),
            }
        }
        roles
    }
}

impl RoleReading {
    const fn of(process: ProcessReading) -> Self {
        let ProcessReading { cpu_seconds, resident, open_files, threads, disk, .. } = process;
        Self { main: process, processes: 1, cpu_seconds, resident, open_files, threads, disk }
    }

    fn add(&mut self, process: &ProcessReading) {
        if (process.started, process.pid) < (self.main.started, self.main.pid) {
            self.main = *process;
        }
        self.processes += 1;
        self.cpu_seconds += process.cpu_seconds;
        self.resident += process.resident;
        // Of a sum without one of its parts nobody knows what it tells.
        self.open_files = self.open_files.zip(process.open_files).map(|(a, b)| a + b);
        self.threads = self.threads.zip(process.threads).map(|(a, b)| a + b);
        self.disk.read += process.disk.read;
        self.disk.written += process.disk.written;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(role: &'static str, pid: u32, started: u64, threads: Option<u64>) -> ProcessReading {
        ProcessReading {
            role: Role::known(role),
            pid,
            started,
            cpu_seconds: 1.5,
            resident: 100,
            open_files: Some(4),
            threads,
            disk: Volume { read: 1, written: 2 },
        }
    }

    #[test]
    fn the_processes_of_a_role_add_up_and_the_oldest_stands_for_them() {
        let reading = HostReading {
            at: UnixMicros(1),
            cpu: 0.0,
            memory_used: 0,
            memory_available: 0,
            memory_total: 0,
            disks: Vec::new(),
            networks: Vec::new(),
            processes: vec![
                process("flask", 30, 9, Some(1)),
                process("hardhat", 7, 1, Some(11)),
                process("flask", 20, 8, Some(2)),
                process("flask", 31, 9, None),
            ],
            databases: Vec::new(),
        };
        let [flask, hardhat] = reading.roles()[..] else { panic!("{reading:?}") };
        assert_eq!((flask.main.pid, flask.processes, flask.resident), (20, 3, 300));
        assert_eq!((flask.open_files, flask.threads), (Some(12), None));
        assert_eq!(flask.disk, Volume { read: 3, written: 6 });
        assert!((flask.cpu_seconds - 4.5).abs() < 1e-9);
        assert_eq!((hardhat.main.pid, hardhat.processes, hardhat.threads), (7, 1, Some(11)));
    }
}
