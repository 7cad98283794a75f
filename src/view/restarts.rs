//! How often the dapp's processes were started anew while the program runs.

use crate::model::{HostReading, Role};

/// The roles that were seen, each with its last main process and how often another took over.
#[derive(Clone, Debug, Default)]
pub struct Restarts(Vec<Held>);

#[derive(Clone, Debug)]
struct Held {
    role: Role,
    /// A pid is reused; with the time of the start it is not.
    main: (u32, u64),
    restarts: u64,
}

impl Restarts {
    /// Compares a reading with those before it. A role that nobody holds waits for the next one.
    pub fn note(&mut self, reading: &HostReading) {
        for role in reading.roles() {
            let main = (role.main.pid, role.main.started);
            match self.0.iter_mut().find(|held| held.role == role.main.role) {
                Some(held) if held.main != main => {
                    held.main = main;
                    held.restarts += 1;
                }
                Some(_) => {}
                None => self.0.push(Held { role: role.main.role, main, restarts: 0 }),
            }
        }
    }

    pub fn of(&self, role: &str) -> u64 {
        self.0.iter().find(|held| held.role.as_str() == role).map_or(0, |held| held.restarts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ProcessReading, UnixMicros, Volume};

    fn reading(processes: &[(u32, u64)]) -> HostReading {
        let process = |&(pid, started): &(u32, u64)| ProcessReading {
            role: Role::known("flask"),
            pid,
            started,
            cpu_seconds: 0.0,
            resident: 0,
            open_files: None,
            threads: None,
            disk: Volume::default(),
        };
        HostReading {
            at: UnixMicros(1),
            cpu: 0.0,
            memory_used: 0,
            memory_available: 0,
            memory_total: 0,
            disks: Vec::new(),
            networks: Vec::new(),
            processes: processes.iter().map(process).collect(),
            databases: Vec::new(),
        }
    }

    #[test]
    fn a_role_is_restarted_when_another_main_process_holds_it_and_not_when_workers_change() {
        let mut restarts = Restarts::default();
        for processes in [&[(7, 1)][..], &[(7, 1), (8, 2)], &[(7, 1), (9, 3)], &[]] {
            restarts.note(&reading(processes));
            assert_eq!(restarts.of("flask"), 0);
        }
        restarts.note(&reading(&[(12, 5)]));
        assert_eq!(restarts.of("flask"), 1);
        restarts.note(&reading(&[(12, 6)]));
        assert_eq!(restarts.of("flask"), 2, "the same pid, started later");
        assert_eq!(restarts.of("hardhat"), 0);
    }
}
