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
    pub processes: Vec<ProcessReading>,
}

/// One reading of one of the dapp's processes.
#[derive(Clone, Debug, PartialEq)]
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
    pub disk: Volume,
}
