//! Follows a relayed connection through its whole life: HTTP/1.1, perhaps then a WebSocket, or
//! nothing that can be followed. Turns what it sees into observations.
//!
//! Pure: whoever moves the bytes says what was read and what was written, in which order it likes,
//! as long as bytes are told read before they are told written.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use super::http1::{Conversation, Limits, RequestHead, Requests, Responses};
use super::websocket::{Frames, Message, Violation};
use crate::model::{
    ConnectionEvent, ConnectionId, Direction, End, Observation, Opaque, Proxy, SocketMessage, Stamp,
};

/// One connection, followed.
pub struct Follower {
    connection: ConnectionId,
    limits: Limits,
    conversation: Conversation,
    mode: Mode,
    /// Whether it was told that this connection is not followed any more.
    opaque_told: bool,
    upgraded: bool,
}

enum Mode {
    Http,
    Socket(Box<Socket>),
    Opaque,
}

/// A WebSocket's two directions.
struct Socket {
    client: Side,
    server: Side,
}

struct Side {
    direction: Direction,
    frames: Frames,
    /// The position in this direction's bytes at which the frames begin.
    begin: u64,
    /// Messages read whole and not yet written.
    unwritten: VecDeque<Message>,
}

impl Follower {
    pub fn new(connection: ConnectionId, peer: SocketAddr, limits: Limits) -> Self {
        let conversation = Conversation::new(connection, peer, limits.clone());
        Self {
            connection,
            limits,
            conversation,
            mode: Mode::Http,
            opaque_told: false,
            upgraded: false,
        }
    }

    /// Whether the connection could be closed now without cutting anything off but a part of a head.
    pub fn is_idle(&self) -> bool {
        matches!(self.mode, Mode::Http) && self.conversation.is_idle()
    }

    /// Whether no response is owed for what was followed.
    pub fn is_answered(&self) -> bool {
        self.conversation.is_answered()
    }

    /// Whether more is to come of a request whose head was followed.
    pub fn is_asking(&self) -> bool {
        matches!(self.mode, Mode::Http) && self.conversation.is_asking()
    }

    /// Whether it depends on a response still to come what the client's next bytes are.
    pub fn is_undecided(&self) -> bool {
        matches!(self.mode, Mode::Http) && self.conversation.is_undecided()
    }

    /// Whether it has become a WebSocket, followed or not.
    pub fn was_upgraded(&self) -> bool {
        self.upgraded
    }

    /// Bytes came from the client at `read`. `admit` is asked about each request's head.
    pub fn from_client(
        &mut self,
        bytes: &[u8],
        read: Stamp,
        admit: impl FnMut(&RequestHead<'_>) -> bool,
        tell: &mut impl FnMut(Observation),
    ) -> Requests {
        match &mut self.mode {
            Mode::Opaque => Requests::Followed,
            Mode::Socket(socket) => {
                if socket.client.follow(bytes, read).is_err() {
                    self.lose(Opaque::SocketFraming, read, tell);
                }
                Requests::Followed
            }
            Mode::Http => {
                let followed = self.conversation.request(bytes, read, admit);
                if let Some(why) = self.conversation.unobserved() {
                    self.tell_opaque(why, read, tell);
                }
                followed
            }
        }
    }

    /// What was unreadable is passed on after all, and all that comes after it.
    pub fn pass_unread(&mut self, why: Opaque, at: Stamp, tell: &mut impl FnMut(Observation)) {
        self.conversation.pass_unread();
        self.tell_opaque(why, at, tell);
    }

    /// All bytes from the client up to position `upto` were written to the upstream, from `at` on.
    pub fn to_upstream(&mut self, upto: u64, at: Stamp, tell: &mut impl FnMut(Observation)) {
        self.conversation
            .requests_written(upto, at, &mut |exchange| tell(Observation::Exchange(exchange)));
        if let Mode::Socket(socket) = &mut self.mode {
            let (connection, agent) = (self.connection, self.conversation.user_agent());
            let peer = self.conversation.peer();
            socket.client.written(upto, at, (connection, peer), agent, tell);
        }
    }

    /// Bytes came from the upstream at `read`.
    pub fn from_upstream(&mut self, bytes: &[u8], read: Stamp, tell: &mut impl FnMut(Observation)) {
        match &mut self.mode {
            Mode::Opaque => {}
            Mode::Socket(socket) => {
                if socket.server.follow(bytes, read).is_err() {
                    self.lose(Opaque::SocketFraming, read, tell);
                }
            }
            Mode::Http => match self.conversation.response(bytes, read) {
                Responses::Followed => {}
                Responses::Lost(why) => {
                    for exchange in self.conversation.take_lost() {
                        tell(Observation::Exchange(Box::new(exchange)));
                    }
                    self.tell_opaque(why, read, tell);
                }
                Responses::WebSocket { from, deflate } => {
                    let upgraded = ConnectionEvent::Upgraded {
                        proxy: Proxy::Rpc,
                        connection: self.connection,
                    };
                    tell(Observation::Connection(self.connection, read, upgraded));
                    let (asked, answered) = self.conversation.positions();
                    let side = |direction, begin| Side {
                        direction,
                        frames: Frames::new(
                            direction,
                            deflate,
                            self.limits.capture,
                            self.limits.budget.clone(),
                        ),
                        begin,
                        unwritten: VecDeque::new(),
                    };
                    let mut socket = Box::new(Socket {
                        client: side(Direction::Request, asked),
                        server: side(Direction::Response, answered),
                    });
                    let server = socket.server.follow(&bytes[from..], read);
                    self.mode = Mode::Socket(socket);
                    self.upgraded = true;
                    if server.is_err() {
                        self.lose(Opaque::SocketFraming, read, tell);
                    }
                }
            },
        }
    }

    /// All bytes from the upstream up to position `upto` were written to the client at `at`.
    pub fn to_client(&mut self, upto: u64, at: Stamp, tell: &mut impl FnMut(Observation)) {
        self.conversation
            .responses_written(upto, at, &mut |exchange| tell(Observation::Exchange(exchange)));
        if let Mode::Socket(socket) = &mut self.mode {
            let (connection, agent) = (self.connection, self.conversation.user_agent());
            let peer = self.conversation.peer();
            socket.server.written(upto, at, (connection, peer), agent, tell);
        }
    }

    /// The upstream will send no more.
    pub fn upstream_closed(&mut self, at: Stamp) {
        self.conversation.upstream_closed(at);
    }

    /// The proxy itself answered the one request there is with `status` and `size` bytes, at `at`.
    pub fn unreachable(
        &mut self,
        status: u16,
        size: u64,
        at: Stamp,
        tell: &mut impl FnMut(Observation),
    ) {
        self.conversation.answered_by_proxy(status, size, at, &mut |exchange| {
            tell(Observation::Exchange(exchange));
        });
    }

    /// The connection is over: what is still under way ended with `end`, at `at`.
    pub fn finish(&mut self, end: End, at: Stamp, tell: &mut impl FnMut(Observation)) {
        self.conversation.finish(end, at, &mut |exchange| tell(Observation::Exchange(exchange)));
    }

    /// Stops following, in both directions.
    fn lose(&mut self, why: Opaque, at: Stamp, tell: &mut impl FnMut(Observation)) {
        self.tell_opaque(why, at, tell);
        self.mode = Mode::Opaque;
    }

    /// Told once: one direction may be lost before the other.
    fn tell_opaque(&mut self, why: Opaque, at: Stamp, tell: &mut impl FnMut(Observation)) {
        if std::mem::replace(&mut self.opaque_told, true) {
            return;
        }
        let event = ConnectionEvent::Opaque { connection: self.connection, why };
        tell(Observation::Connection(self.connection, at, event));
    }
}

impl Side {
    fn follow(&mut self, bytes: &[u8], read: Stamp) -> Result<(), Violation> {
        let (begin, unwritten) = (self.begin, &mut self.unwritten);
        self.frames.follow(bytes, read, |mut message| {
            message.end += begin;
            unwritten.push_back(message);
        })
    }

    fn written(
        &mut self,
        upto: u64,
        at: Stamp,
        (connection, peer): (ConnectionId, SocketAddr),
        user_agent: Option<&Arc<str>>,
        tell: &mut impl FnMut(Observation),
    ) {
        while self.unwritten.front().is_some_and(|message| message.end <= upto) {
            let Some(message) = self.unwritten.pop_front() else { return };
            tell(Observation::Socket(Box::new(SocketMessage {
                connection,
                direction: self.direction,
                started: message.started,
                read: message.read,
                written: at,
                payload: message.payload,
                peer,
                user_agent: user_agent.cloned(),
            })));
        }
    }
}
