//! The descriptors of processes, and the sockets that they lead to (`/proc/<pid>/fd`).

use std::fs;
use std::path::Path;

/// The inode of the socket that a descriptor leads to. `None` when it is no socket, is closed, or
/// may not be looked at.
pub(super) fn socket(pid: u32, descriptor: u32) -> Option<u64> {
    let link = fs::read_link(format!("/proc/{pid}/fd/{descriptor}")).ok()?;
    socket_inode(&link)
}

/// The descriptors of a process, the highest first: those are the newest, mostly. Empty when the
/// process is gone or another user's.
pub(super) fn all(pid: u32) -> Vec<u32> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let mut descriptors: Vec<u32> =
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    descriptors.sort_unstable_by(|one, other| other.cmp(one));
    descriptors
}

/// Whether this process may look into the descriptors of other users' processes: it has
/// `CAP_SYS_PTRACE`, and `CAP_DAC_OVERRIDE` or `CAP_DAC_READ_SEARCH`.
pub(super) fn can_read_other_users() -> bool {
    const DAC_OVERRIDE: u64 = 1 << 1;
    const DAC_READ_SEARCH: u64 = 1 << 2;
    const SYS_PTRACE: u64 = 1 << 19;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let capabilities = effective.and_then(|text| u64::from_str_radix(text.trim(), 16).ok());
    capabilities
        .is_some_and(|has| has & SYS_PTRACE != 0 && has & (DAC_OVERRIDE | DAC_READ_SEARCH) != 0)
}

fn socket_inode(link: &Path) -> Option<u64> {
    link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_link_of_a_socket_has_an_inode() {
        let inode = |link: &str| socket_inode(Path::new(link));
        assert_eq!(inode("socket:[81811]"), Some(81_811));
        for other in ["/tmp/socket:[7]", "pipe:[7]", "socket:[]", "socket:[x]", "socket:[7", ""] {
            assert_eq!(inode(other), None, "{other}");
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_socket_of_this_process_is_among_its_descriptors() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let descriptor = u32::try_from(std::os::fd::AsRawFd::as_raw_fd(&listener)).unwrap();
        let own = std::process::id();
        assert!(all(own).contains(&descriptor));
        assert!(all(own).is_sorted_by(|one, next| one > next));
        assert!(socket(own, descriptor).is_some());
        assert_eq!(socket(own, u32::MAX), None);
    }
}
