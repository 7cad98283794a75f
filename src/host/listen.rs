//! Who listens on a port, and who has a file open: the join to a process, by what its descriptors
//! lead to.
//!
//! Linux only (`/proc`); elsewhere nobody is ever found.

use std::collections::HashMap;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

/// The process that listens on a TCP port of this machine, by pid and name. None when nobody does,
/// when the process belongs to another user, and on systems other than Linux.
pub fn who_listens(port: u16) -> Option<(u32, String)> {
    named(listening_pids(port).pop()?)
}

/// The process that has a file of this machine open, by pid and name; none where [`who_listens`]
/// would find none. Of several the one started last.
pub fn who_holds(file: &Path) -> Option<(u32, String)> {
    named(holders_of(&[file.canonicalize().ok()?]).pop()?)
}

/// The process that has this address as its own end of a TCP connection, by pid and name; none where
/// [`who_listens`] would find none.
pub fn who_connects(end: SocketAddr) -> Option<(u32, String)> {
    let sockets: Vec<PathBuf> = tables()
        .flat_map(|table| connected_inodes(&table, end))
        .map(|inode| PathBuf::from(format!("socket:[{inode}]")))
        .collect();
    named(holders_of(&sockets).pop()?)
}

fn named(pid: u32) -> Option<(u32, String)> {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some((pid, name.trim().to_owned()))
}

/// Who listens on a TCP port of this machine, in the order in which they were started: where several
/// processes hold the socket (a reloader and its child, a master and its workers), the last one is one
/// that does the work.
pub fn listening_pids(port: u16) -> Vec<u32> {
    let sockets: Vec<PathBuf> = tables()
        .flat_map(|table| listening_inodes(&table, port))
        .map(|inode| PathBuf::from(format!("socket:[{inode}]")))
        .collect();
    holders_of(&sockets)
}

/// Processes by the process that started them, or that took them over.
pub fn children() -> HashMap<u32, Vec<u32>> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for pid in pids() {
        if let Some(parent) = stat_field(pid, 4).and_then(|parent| parent.parse().ok()) {
            children.entry(parent).or_default().push(pid);
        }
    }
    children
}

fn pids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The kernel's tables of TCP sockets.
fn tables() -> impl Iterator<Item = String> {
    ["/proc/net/tcp", "/proc/net/tcp6"]
        .into_iter()
        .filter_map(|table| fs::read_to_string(table).ok())
}

/// The processes with a descriptor that leads to one of `targets`, the one started last at the end.
fn holders_of(targets: &[PathBuf]) -> Vec<u32> {
    if targets.is_empty() {
        return Vec::new();
    }
    let mut holders: Vec<u32> = pids().filter(|pid| holds_any(*pid, targets)).collect();
    holders.sort_by_key(|pid| (start_ticks(*pid), *pid));
    holders
}

/// Inodes of the sockets that listen on `port`, from the text of `/proc/net/tcp` or `tcp6`.
fn listening_inodes(table: &str, port: u16) -> Vec<u64> {
    /// `TCP_LISTEN` in the kernel's own numbering.
    const LISTEN: &str = "0A";
    inodes(table, |local, state| {
        let is_port = |(_, its)| u16::from_str_radix(its, 16).ok() == Some(port);
        state == LISTEN && local.rsplit_once(':').is_some_and(is_port)
    })
}

/// Inodes of the connected sockets whose own address is `end`.
fn connected_inodes(table: &str, end: SocketAddr) -> Vec<u64> {
    /// `TCP_ESTABLISHED`.
    const ESTABLISHED: &str = "01";
    let ends = written(end);
    inodes(table, |local, state| state == ESTABLISHED && ends.iter().any(|end| end == local))
}

/// An address as the kernel's tables write it: hexadecimal, each four bytes in this machine's order;
/// that of IPv4 also as a socket of IPv6 shows it.
fn written(end: SocketAddr) -> Vec<String> {
    let words = |bytes: &[u8]| -> String {
        let word = |four: &[u8]| {
            let four = <[u8; 4]>::try_from(four).unwrap_or_default();
            format!("{:08X}", u32::from_ne_bytes(four))
        };
        bytes.chunks(4).map(word).collect()
    };
    let port = end.port();
    match end.ip() {
        IpAddr::V4(ip) => [words(&ip.octets()), words(&ip.to_ipv6_mapped().octets())]
            .map(|ip| format!("{ip}:{port:04X}"))
            .into(),
        IpAddr::V6(ip) => vec![format!("{}:{port:04X}", words(&ip.octets()))],
    }
}

/// Inodes of the sockets that fit, by their own address and their state.
fn inodes(table: &str, fits: impl Fn(&str, &str) -> bool) -> Vec<u64> {
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            // sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode …
            let mut fields = line.split_ascii_whitespace();
            let local = fields.nth(1)?;
            let state = fields.nth(1)?;
            let inode = fields.nth(5)?;
            fits(local, state).then(|| inode.parse().ok())?
        })
        .collect()
}

fn holds_any(pid: u32, targets: &[PathBuf]) -> bool {
    let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    files
        .flatten()
        .any(|file| fs::read_link(file.path()).is_ok_and(|target| targets.contains(&target)))
}

/// When a process was started, in clock ticks since boot.
fn start_ticks(pid: u32) -> Option<u64> {
    stat_field(pid, 22)?.parse().ok()
}

/// Threads of a process.
pub fn threads(pid: u32) -> Option<u64> {
    stat_field(pid, 20)?.parse().ok()
}

/// A field of `/proc/<pid>/stat`, counted from 1 as in proc(5); only those after the name.
fn stat_field(pid: u32, field: usize) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may itself hold spaces and parentheses; the last one ends it.
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_ascii_whitespace().nth(field.checked_sub(3)?).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:2161 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 81811 1 0000000000000000 100 0 0 10 0
   1: 0100007F:2161 0100007F:D2F0 01 00000000:00000000 00:00000000 00000000     0        0 81812 1 0000000000000000 20 4 30 10 -1
   2: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 9 1 0000000000000000 100 0 0 10 0
";

    #[test]
    fn only_listening_sockets_of_the_port_are_found() {
        assert_eq!(listening_inodes(TABLE, 0x2161), [81811]);
        assert_eq!(listening_inodes(TABLE, 80), [9]);
        assert!(listening_inodes(TABLE, 81).is_empty());
        assert!(listening_inodes("sl\ngarbage\n0: :: x", 80).is_empty());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_is_found_at_its_end_of_a_connection() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = std::net::TcpListener::bind(address).unwrap();
            let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let end = client.local_addr().unwrap();
            assert_eq!(who_connects(end).unwrap().0, std::process::id(), "{address}");
            drop(client);
        }
        assert_eq!(connected_inodes(TABLE, "127.0.0.1:8545".parse().unwrap()), [81812]);
        assert!(connected_inodes(TABLE, "127.0.0.1:80".parse().unwrap()).is_empty());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_is_found_by_the_file_it_has_open() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_owned();
        assert_eq!(who_holds(&path).unwrap().0, std::process::id());
        let (_, path) = file.into_parts();
        assert_eq!(who_holds(&path), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_is_found_by_the_port_it_listens_on() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (pid, name) = who_listens(port).unwrap();
        assert_eq!(pid, std::process::id());
        assert!(!name.is_empty());
        drop(listener);
        assert_eq!(who_listens(port), None);
        assert!(threads(pid).unwrap() >= 1);
    }
}
