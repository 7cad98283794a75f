//! Asks the Linux kernel for single TCP sockets over netlink, see sock_diag(7).
//!
//! One question costs two system calls, however many sockets there are; `/proc/net/tcp` walks the
//! kernel's whole hash table, which takes milliseconds. Owns the bytes of requests and responses;
//! knows nothing of processes.
//!
//! ```text
//! request   nlmsghdr:         length u32 | type u16 | flags u16 | sequence u32 | port u32
//!           inet_diag_req_v2: family u8 | protocol u8 | ext u8 | pad u8 | states u32 | id
//! response  nlmsghdr, then inet_diag_msg:
//!           family u8 | state u8 | timer u8 | retrans u8 | id
//!           | expires u32 | rqueue u32 | wqueue u32 | uid u32 | inode u32
//! id        port u16 | other port u16 | address 16 bytes | other address 16 bytes | interface u32
//!           | cookie 8 bytes
//! ```
//! Ports and addresses are in network order, all else in this machine's.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};

const HEADER: usize = 16;
const REQUEST: usize = 72;
const REQUEST_LENGTH: u32 = 72;
/// Of a response's body, as far as it is read.
const SOCKET: usize = 72;
/// Holds what the kernel sends at once, which is 32 KiB at most.
const BUFFER: usize = 32 * 1024;

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_DUMP: u16 = 0x300;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IPPROTO_TCP: u8 = 6;
const TCP_LISTEN: u8 = 10;
const ALL_STATES: u32 = u32::MAX;

/// A socket of this machine that some process has open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TcpSocket {
    pub inode: u64,
    /// The user whose process opened it.
    pub uid: u32,
}

/// A connection to the kernel.
#[derive(Debug)]
pub(super) struct SockDiag {
    socket: OwnedFd,
    sequence: u32,
    buffer: Box<[u8]>,
}

impl SockDiag {
    /// Connects, and makes sure that the kernel answers such questions.
    ///
    /// # Errors
    /// The system's own, also when the kernel was built without `inet_diag`.
    pub fn open() -> io::Result<Self> {
        let (netlink, protocol) = (AddressFamily::NETLINK, Some(netlink::SOCK_DIAG));
        let socket =
            rustix::net::socket_with(netlink, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
        let mut this = Self { socket, sequence: 0, buffer: vec![0; BUFFER].into_boxed_slice() };
        // "No such socket" and "no such feature" are one error; a list has only the second.
        this.listening_on(0)?;
        Ok(this)
    }

    /// The socket whose own address is `own` and that is connected to `other`. `None` when there is
    /// none, or its process has closed it.
    ///
    /// # Errors
    /// The kernel did not answer.
    pub fn connected(
        &mut self,
        own: SocketAddr,
        other: SocketAddr,
    ) -> io::Result<Option<TcpSocket>> {
        let (own, other) = (canonical(own), canonical(other));
        if own.is_ipv4() != other.is_ipv4() {
            return Ok(None);
        }
        let mut id = [0; 48];
        write_id(&mut id, own, other);
        let mut found = None;
        let result = self.ask(family(own), NLM_F_REQUEST, ALL_STATES, &id, |state, _, socket| {
            // Without a connection the kernel answers with the socket that listens there.
            if state != TCP_LISTEN && socket.inode != 0 {
                found = Some(socket);
            }
        });
        match result {
            Err(error) if error == Errno::NOENT => Ok(None),
            Err(error) => Err(error.into()),
            Ok(()) => Ok(found),
        }
    }

    /// Inodes of the sockets that listen on a port, whatever their address.
    ///
    /// # Errors
    /// The kernel did not answer.
    pub fn listening_on(&mut self, port: u16) -> io::Result<Vec<u64>> {
        let mut inodes = Vec::new();
        for family in [AF_INET, AF_INET6] {
            let flags = NLM_F_REQUEST | NLM_F_DUMP;
            self.ask(family, flags, 1 << TCP_LISTEN, &[0; 48], |_, its, socket| {
                if its == port && socket.inode != 0 {
                    inodes.push(socket.inode);
                }
            })?;
        }
        Ok(inodes)
    }

    /// Sends a question and hands over each socket of the answer: its state, port and what it is.
    fn ask(
        &mut self,
        family: u8,
        flags: u16,
        states: u32,
        id: &[u8; 48],
        mut each: impl FnMut(u8, u16, TcpSocket),
    ) -> Result<(), Errno> {
        self.sequence = self.sequence.wrapping_add(1);
        let request = request(family, flags, self.sequence, states, id);
        rustix::net::send(&self.socket, &request, SendFlags::empty())?;
        loop {
            // The kernel has answered by now, so this never waits.
            let buffer = &mut *self.buffer;
            let (length, _) = rustix::net::recv(&self.socket, buffer, RecvFlags::DONTWAIT)?;
            let mut rest = &self.buffer[..length.min(BUFFER)];
            while let Some((message, next)) = Message::read(rest) {
                rest = next;
                if message.sequence != self.sequence {
                    continue; // Left over from a question that failed.
                }
                match message.kind {
                    NLMSG_DONE => return Ok(()),
                    NLMSG_ERROR => {
                        let code = i32::from_ne_bytes(array(message.body, 0).unwrap_or_default());
                        return Err(Errno::from_raw_os_error(code.saturating_neg()));
                    }
                    SOCK_DIAG_BY_FAMILY => {
                        if let Some((state, port, socket)) = read_socket(message.body) {
                            each(state, port, socket);
                        }
                        if flags & NLM_F_DUMP == 0 {
                            return Ok(());
                        }
                    }
                    _ => {}
                }
            }
        }
    }
}

/// A netlink message.
struct Message<'a> {
    kind: u16,
    sequence: u32,
    body: &'a [u8],
}

impl<'a> Message<'a> {
    /// The first message, and what comes after it. `None` at the end, or where the rest is none.
    fn read(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let length = usize::try_from(u32::from_ne_bytes(array(bytes, 0)?)).ok()?;
        let body = bytes.get(HEADER..length)?;
        let kind = u16::from_ne_bytes(array(bytes, 4)?);
        let sequence = u32::from_ne_bytes(array(bytes, 8)?);
        let next = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((Self { kind, sequence, body }, next))
    }
}

fn request(family: u8, flags: u16, sequence: u32, states: u32, id: &[u8; 48]) -> [u8; REQUEST] {
    let mut bytes = [0; REQUEST];
    bytes[0..4].copy_from_slice(&REQUEST_LENGTH.to_ne_bytes());
    bytes[4..6].copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
    bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
    bytes[16] = family;
    bytes[17] = IPPROTO_TCP;
    bytes[20..24].copy_from_slice(&states.to_ne_bytes());
    bytes[24..].copy_from_slice(id);
    bytes
}

fn write_id(id: &mut [u8; 48], own: SocketAddr, other: SocketAddr) {
    id[0..2].copy_from_slice(&own.port().to_be_bytes());
    id[2..4].copy_from_slice(&other.port().to_be_bytes());
    for (at, end) in [(4, own), (20, other)] {
        match end.ip() {
            IpAddr::V4(ip) => id[at..at + 4].copy_from_slice(&ip.octets()),
            IpAddr::V6(ip) => id[at..at + 16].copy_from_slice(&ip.octets()),
        }
    }
    if let SocketAddr::V6(own) = own {
        id[36..40].copy_from_slice(&own.scope_id().to_ne_bytes());
    }
    // No cookie: the addresses say enough.
    id[40..].fill(0xff);
}

/// State, port and socket of a response; `None` when it is too short.
fn read_socket(body: &[u8]) -> Option<(u8, u16, TcpSocket)> {
    let body = body.get(..SOCKET)?;
    let uid = u32::from_ne_bytes(array(body, 64)?);
    let inode = u32::from_ne_bytes(array(body, 68)?).into();
    Some((body[1], u16::from_be_bytes(array(body, 4)?), TcpSocket { inode, uid }))
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

const fn family(end: SocketAddr) -> u8 {
    if end.is_ipv4() { AF_INET } else { AF_INET6 }
}

/// The same address as the kernel keeps it: one of IPv4 in the clothes of IPv6 is one of IPv4.
fn canonical(end: SocketAddr) -> SocketAddr {
    match end.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::new(ip.into(), end.port()),
        IpAddr::V6(_) => end,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv6Addr, TcpListener, TcpStream};
    use std::os::fd::AsFd;

    use super::*;

    fn inode(of: impl AsFd) -> u64 {
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&of.as_fd()));
        let link = std::fs::read_link(path).unwrap();
        let text = link.to_str().unwrap();
        text["socket:[".len()..text.len() - 1].parse().unwrap()
    }

    #[test]
    fn each_end_of_a_connection_is_found_by_both_addresses() {
        let mut diag = SockDiag::open().unwrap();
        let mapped = Ipv6Addr::from([0, 0, 0, 0, 0, 0xffff, 0x7f00, 1]);
        for (bound, target) in [
            ("127.0.0.1:0", IpAddr::from([127, 0, 0, 1])),
            ("[::1]:0", Ipv6Addr::LOCALHOST.into()),
            ("0.0.0.0:0", mapped.into()),
            ("[::]:0", IpAddr::from([127, 0, 0, 1])),
        ] {
            let listener = TcpListener::bind(bound).unwrap();
            let port = listener.local_addr().unwrap().port();
            let client = TcpStream::connect((target, port)).unwrap();
            let (served, peer) = listener.accept().unwrap();
            let local = served.local_addr().unwrap();
            let found = diag.connected(peer, local).unwrap().expect(bound);
            assert_eq!(found.inode, inode(&client), "{bound}");
            assert_eq!(found.uid, rustix::process::geteuid().as_raw());
            let found = diag.connected(local, peer).unwrap().expect(bound);
            assert_eq!(found.inode, inode(&served), "{bound}");
            drop(client);
            assert_eq!(diag.connected(peer, local).unwrap(), None, "{bound}");
        }
    }

    #[test]
    fn a_socket_that_listens_is_no_end_of_a_connection() {
        let mut diag = SockDiag::open().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let local = listener.local_addr().unwrap();
        let unused = SocketAddr::from(([127, 0, 0, 9], 9));
        assert_eq!(diag.connected(local, unused).unwrap(), None);
        assert_eq!(diag.connected(unused, local).unwrap(), None);
    }

    #[test]
    fn every_socket_that_listens_on_a_port_is_found() {
        let mut diag = SockDiag::open().unwrap();
        let one = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = one.local_addr().unwrap().port();
        let other = TcpListener::bind(("127.0.0.2", port)).unwrap();
        let _client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let mut found = diag.listening_on(port).unwrap();
        found.sort_unstable();
        let mut expected = [inode(&one), inode(&other)];
        expected.sort_unstable();
        assert_eq!(found, expected);
        drop((one, other));
        assert!(diag.listening_on(port).unwrap().is_empty());
    }

    #[test]
    fn a_message_that_is_cut_off_is_no_message() {
        let request = request(AF_INET, NLM_F_REQUEST, 7, ALL_STATES, &[0; 48]);
        let (message, rest) = Message::read(&request).unwrap();
        assert_eq!((message.kind, message.sequence, rest), (SOCK_DIAG_BY_FAMILY, 7, &[][..]));
        for end in 0..request.len() {
            assert!(Message::read(&request[..end]).is_none(), "{end}");
        }
        let mut short = request;
        short[0..4].copy_from_slice(&3_u32.to_ne_bytes());
        assert!(Message::read(&short).is_none(), "shorter than its own header");
        assert!(read_socket(&[0; SOCKET - 1]).is_none());
    }
}
