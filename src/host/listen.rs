//! Who listens on a port, and who has a file open: the join to a process, by what its descriptors
//! lead to.
//!
//! Linux only (`/proc`); elsewhere nobody is ever found.

use std::collections::HashMap;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

/// `TCP_LISTEN` in the kernel's own numbering.
const LISTEN: &str = "0A";

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

/// A process by pid and name; none when it is gone.
pub(super) fn named(pid: u32) -> Option<(u32, String)> {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some((pid, name.trim().to_owned()))
}

/// Who listens on a TCP port of this machine, in the order in which they were started: where several
/// processes hold the socket (a reloader and its child, a master and its workers), the last one is one
/// that does the work.
pub fn listening_pids(port: u16) -> Vec<u32> {
    let tables: Vec<String> = tables().collect();
    holders_of(&listening_sockets(&tables, port))
}

/// The sockets that listen on a TCP port, as the descriptors of those who hold them name them.
fn listening_sockets(tables: &[String], port: u16) -> Vec<PathBuf> {
    tables.iter().flat_map(|table| listening_inodes(table, port)).map(link).collect()
}

/// Inodes of the connected sockets with these addresses as their own, in this order.
pub(super) fn connected_sockets(tables: &[String], ends: &[SocketAddr]) -> Vec<Option<u64>> {
    let written = ends
        .iter()
        .enumerate()
        .flat_map(|(at, end)| written(*end).into_iter().map(move |written| (written, at)));
    let places: HashMap<String, usize> = written.collect();
    let mut found = vec![None; ends.len()];
    for (inode, at) in tables.iter().flat_map(|table| connected_inodes(table, &places)) {
        found[at] = Some(inode);
    }
    found
}

fn link(inode: u64) -> PathBuf {
    PathBuf::from(format!("socket:[{inode}]"))
}

/// Processes by the process that started them, or that took them over.
pub fn children() -> HashMap<u32, Vec<u32>> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for pid in pids() {
        if let Some(parent) = parent(pid) {
            children.entry(parent).or_default().push(pid);
        }
    }
    children
}

/// The process that started this one, or that took it over.
pub(super) fn parent(pid: u32) -> Option<u32> {
    stat_field(pid, 4)?.parse().ok()
}

pub(super) fn pids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The kernel's tables of TCP sockets.
pub(super) fn tables() -> impl Iterator<Item = String> {
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
pub(super) fn listening_inodes(table: &str, port: u16) -> impl Iterator<Item = u64> {
    rows(table).filter_map(move |Row { local, state, inode }| {
        let its = u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok()?;
        (state == LISTEN && its == port).then_some(inode)
    })
}

/// Inodes of the sockets, connected or being closed, whose own addresses are among `places`, each
/// with its place. One that its process has closed has none.
fn connected_inodes(
    table: &str,
    places: &HashMap<String, usize>,
) -> impl Iterator<Item = (u64, usize)> {
    rows(table).filter_map(move |Row { local, state, inode }| {
        let at = places.get(local)?;
        (state != LISTEN && inode != 0).then_some((inode, *at))
    })
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
    match end.ip().to_canonical() {
        IpAddr::V4(ip) => [words(&ip.octets()), words(&ip.to_ipv6_mapped().octets())]
            .map(|ip| format!("{ip}:{port:04X}"))
            .into(),
        IpAddr::V6(ip) => vec![format!("{}:{port:04X}", words(&ip.octets()))],
    }
}

/// A socket in one of the kernel's tables.
struct Row<'a> {
    /// Its own address.
    local: &'a str,
    state: &'a str,
    inode: u64,
}

fn rows(table: &str) -> impl Iterator<Item = Row<'_>> {
    table.lines().skip(1).filter_map(|line| {
        // sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode …
        let mut fields = line.split_ascii_whitespace();
        let local = fields.nth(1)?;
        let state = fields.nth(1)?;
        Some(Row { local, state, inode: fields.nth(5)?.parse().ok()? })
    })
}

/// Whether a process has a descriptor that leads to one of `targets`.
fn holds_any(pid: u32, targets: &[PathBuf]) -> bool {
    held(pid).any(|target| targets.contains(&target))
}

/// What a process's descriptors lead to; nothing where it is gone, or another user's.
fn held(pid: u32) -> impl Iterator<Item = PathBuf> {
    let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    files.filter_map(|file| fs::read_link(file.path()).ok())
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
   3: 0100007F:2162 0100007F:D2F1 08 00000000:00000000 00:00000000 00000000     0        0 81814 1 0000000000000000 20 4 30 10 -1
   4: 0100007F:2163 0100007F:D2F2 06 00000000:00000000 03:00001770 00000000     0        0 0 3 0000000000000000
";

    #[test]
    fn only_listening_sockets_of_the_port_are_found() {
        let of = |table, port| listening_inodes(table, port).collect::<Vec<_>>();
        assert_eq!(of(TABLE, 0x2161), [81811]);
        assert_eq!(of(TABLE, 80), [9]);
        assert!(of(TABLE, 81).is_empty());
        assert!(of("sl\ngarbage\n0: :: x", 80).is_empty());
    }

    #[test]
    fn the_end_of_a_connection_is_found_however_far_its_closing_is_and_in_either_writing() {
        let of = |end: &str| -> Vec<u64> {
            let places = written(end.parse().unwrap()).into_iter().map(|end| (end, 7)).collect();
            let found = connected_inodes(TABLE, &places);
            found.map(|(inode, at)| if at == 7 { inode } else { 0 }).collect()
        };
        assert_eq!(of("127.0.0.1:8545"), [81812]);
        assert_eq!(of("[::ffff:127.0.0.1]:8545"), [81812]);
        assert_eq!(of("127.0.0.1:8546"), [81814], "the other side has closed");
        assert!(of("127.0.0.1:8547").is_empty(), "nobody has it any more");
        assert!(of("0.0.0.0:80").is_empty(), "a listener is no end");
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
