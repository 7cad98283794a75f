//! The process at the other end of a connection, or why it is not known.

use std::net::SocketAddr;

use super::label::Role;

/// Both ends of an accepted TCP connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// The client's address.
    pub peer: SocketAddr,
    /// The proxy's own address on this connection. The system finds a socket by both addresses at
    /// once; without this one all sockets have to be read.
    pub local: Option<SocketAddr>,
}

/// The process that has one end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// With the process id: `node (4711)`.
    pub name: Box<str>,
    /// The role in the dapp of the process, or of its nearest ancestor that has one.
    pub role: Option<Role>,
}

/// Why the process at the other end of a connection is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnknownPeer {
    /// It closed the connection before it was looked up.
    ConnectionClosed,
    /// The share of CPU time that look-ups may take was used up.
    NoTime,
    /// It belongs to another user, or runs in a container, and may not be looked into.
    NotPermitted,
    /// It is on another machine, or in a network of its own on this one.
    OtherMachine,
    /// This system does not say which process has a connection.
    Unsupported,
}

impl UnknownPeer {
    pub const ALL: [Self; 5] = [
        Self::ConnectionClosed,
        Self::NoTime,
        Self::NotPermitted,
        Self::OtherMachine,
        Self::Unsupported,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ConnectionClosed => "connection_closed",
            Self::NoTime => "no_time",
            Self::NotPermitted => "not_permitted",
            Self::OtherMachine => "other_machine",
            Self::Unsupported => "unsupported",
        }
    }
}

/// Among which processes an owner is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Among {
    /// Those found lately. Takes microseconds; one that is not found is [`UnknownPeer::NoTime`].
    Known,
    /// All of this machine, those found lately first. Takes milliseconds.
    All,
}
