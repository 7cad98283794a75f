//! What each process itself had read from disks and written to them.
//!
//! `/proc/<pid>/io` also holds what the process's ended children had, from when it waited for them.
//! A sum over a server and its workers would count those of a worker twice once it has ended, and
//! dappscope's own would hold what the installers wrote that `demo` runs. So what a process takes
//! over from a child that was read itself is subtracted. Of dappscope itself, whose children have no
//! role, the threads are read, which take over nothing.

use std::collections::HashMap;

use crate::model::Volume;

/// A process as it is read, by pid and start time: a pid is used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) pid: u32,
    pub(super) started: u64,
    pub(super) parent: Option<u32>,
    /// From `/proc/<pid>/io`.
    pub(super) total: Volume,
}

/// What was read before.
#[derive(Default)]
pub(super) struct OwnIo {
    processes: HashMap<(u32, u64), Known>,
    threads: HashMap<u32, Volume>,
    /// Of threads of dappscope that have ended.
    ended: Volume,
}

#[derive(Clone, Copy)]
struct Known {
    seen: Seen,
    /// What is of ended children.
    inherited: Volume,
}

impl OwnIo {
    /// Each process's own volume, in the order of `now`: all that are read this time.
    pub(super) fn of(&mut self, now: &[Seen]) -> Vec<Volume> {
        let mut left: HashMap<u32, Volume> = HashMap::new();
        for Known { seen, .. } in self.processes.values() {
            let is_there = now.iter().any(|it| (it.pid, it.started) == (seen.pid, seen.started));
            if let (false, Some(parent)) = (is_there, seen.parent) {
                add(left.entry(parent).or_default(), seen.total);
            }
        }
        let before = std::mem::take(&mut self.processes);
        let own = now.iter().map(|seen| {
            let known = before.get(&(seen.pid, seen.started));
            let mut inherited = known.map_or_else(Volume::default, |known| known.inherited);
            if let (Some(known), Some(left)) = (known, left.get(&seen.pid)) {
                // At most its growth: a child that is not waited for leaves nothing.
                let grown = minus(seen.total, known.seen.total);
                let taken = Volume {
                    read: left.read.min(grown.read),
                    written: left.written.min(grown.written),
                };
                add(&mut inherited, taken);
            }
            self.processes.insert((seen.pid, seen.started), Known { seen: *seen, inherited });
            minus(seen.total, inherited)
        });
        own.collect()
    }

    /// This process's own volume, the sum of its threads, or `None` where the system has no such count.
    /// What a thread did between the last reading and its end is not in it.
    pub(super) fn of_this_process(&mut self) -> Option<Volume> {
        let threads = threads()?;
        for (id, volume) in &self.threads {
            if !threads.contains_key(id) {
                add(&mut self.ended, *volume);
            }
        }
        let mut sum = self.ended;
        for volume in threads.values() {
            add(&mut sum, *volume);
        }
        self.threads = threads;
        Some(sum)
    }
}

fn add(sum: &mut Volume, volume: Volume) {
    sum.read += volume.read;
    sum.written += volume.written;
}

const fn minus(volume: Volume, less: Volume) -> Volume {
    Volume {
        read: volume.read.saturating_sub(less.read),
        written: volume.written.saturating_sub(less.written),
    }
}

/// This process's threads, by their ids.
#[cfg(target_os = "linux")]
fn threads() -> Option<HashMap<u32, Volume>> {
    let tasks = std::fs::read_dir("/proc/self/task").ok()?;
    let each = tasks.flatten().filter_map(|task| {
        let id = task.file_name().to_str()?.parse().ok()?;
        // One that has ended meanwhile has none.
        Some((id, volume(&std::fs::read_to_string(task.path().join("io")).ok()?)?))
    });
    let each: HashMap<_, _> = each.collect();
    (!each.is_empty()).then_some(each)
}

#[cfg(not(target_os = "linux"))]
fn threads() -> Option<HashMap<u32, Volume>> {
    None
}

/// The bytes in a file `io`.
#[cfg(target_os = "linux")]
fn volume(text: &str) -> Option<Volume> {
    let field = |name: &str| {
        text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok())
    };
    Some(Volume { read: field("read_bytes:")?, written: field("write_bytes:")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(pid: u32, parent: u32, written: u64) -> Seen {
        let total = Volume { read: 0, written };
        Seen { pid, started: 1, parent: Some(parent), total }
    }

    fn written(io: &mut OwnIo, now: &[Seen]) -> Vec<u64> {
        io.of(now).into_iter().map(|volume| volume.written).collect()
    }

    #[test]
    fn what_a_worker_had_written_is_not_its_server_s_once_it_has_ended() {
        let mut io = OwnIo::default();
        assert_eq!(written(&mut io, &[seen(10, 1, 100), seen(11, 10, 5_000)]), [100, 5_000]);
        // The worker wrote 700 more before it ended, and the server 20.
        assert_eq!(written(&mut io, &[seen(10, 1, 5_820), seen(12, 10, 40)]), [820, 40]);
        assert_eq!(written(&mut io, &[seen(10, 1, 5_820), seen(12, 10, 50)]), [820, 50]);
        // One that is not waited for leaves nothing.
        assert_eq!(written(&mut io, &[seen(10, 1, 5_830)]), [820]);
        // The pid is another process's.
        let other = Seen { started: 2, ..seen(10, 1, 7) };
        assert_eq!(written(&mut io, &[other]), [7]);
    }

    #[test]
    fn workers_of_workers_count_once() {
        let mut io = OwnIo::default();
        let all = [seen(10, 1, 1), seen(11, 10, 10), seen(12, 11, 100)];
        assert_eq!(written(&mut io, &all), [1, 10, 100]);
        assert_eq!(written(&mut io, &[seen(10, 1, 1), seen(11, 10, 110)]), [1, 10]);
        assert_eq!(written(&mut io, &[seen(10, 1, 111)]), [1]);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn what_a_child_writes_is_not_this_process_s() {
        let mut io = OwnIo::default();
        let before = io.of_this_process().unwrap().written;
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("written");
        let child = format!("dd if=/dev/zero of={} bs=1M count=16 conv=fsync", file.display());
        let status = std::process::Command::new("sh").args(["-c", &child]).status().unwrap();
        assert!(status.success());
        let after = io.of_this_process().unwrap().written;
        assert!(after - before < 8 << 20, "{} bytes more", after - before);
    }
}
