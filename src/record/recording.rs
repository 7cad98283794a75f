//! Each observation into samples and events, in the order in which they were told.

use std::time::Duration;

use super::app_functions::AppFunctions;
use super::calls::Desk;
use super::custom::Custom;
use super::findings::Findings;
use super::http;
use super::join::Joiner;
use super::ledger::Ledger;
use super::methods::Methods;
use super::naming::Naming;
use super::outbox::Outbox;
use super::peer_processes::{PeerLookup, PeerProcesses};
use super::repeats::Repeats;
use super::rollbacks::Rollbacks;
use super::seen_spans::SeenSpans;
use super::sockets::Sockets;
use super::spans::Telling;
use super::trees::Trees;
use crate::decode::artifact::Artifact;
use crate::model::{
    ApiExchange, ChainEvent, Clock, Closer, ConnectionEvent, ConnectionId, Event, Flights,
    HttpRequest, Observation, Outcome, RollbackCause, Route, Sample, Spans, Stamp,
};

/// How often what waits is looked at for having waited too long.
const TICK: Duration = Duration::from_millis(100);

pub(super) struct Recording {
    desk: Desk,
    sockets: Sockets,
    naming: Naming,
    custom: Custom,
    functions: AppFunctions,
    seen: SeenSpans,
    telling: Telling,
    ticked: Stamp,
}

impl Recording {
    pub(super) fn new(
        outbox: Outbox,
        ledger: Ledger,
        naming: Naming,
        custom: Custom,
        peer_lookup: PeerLookup,
        flights: Flights,
        inspect_bytes: usize,
    ) -> Self {
        let desk = Desk {
            clock: Clock::read(),
            outbox,
            methods: Methods::new(),
            repeats: Repeats::default(),
            ledger,
            rollbacks: Rollbacks::default(),
            findings: Findings::default(),
            peers: PeerProcesses::new(peer_lookup),
            joiner: Joiner::new(flights),
            trees: Trees::default(),
            inspect_bytes,
        };
        Self {
            desk,
            sockets: Sockets::default(),
            naming,
            custom,
            functions: AppFunctions::default(),
            seen: SeenSpans::default(),
            telling: Telling::default(),
            ticked: Stamp::default(),
        }
    }

    /// Time has passed. Called before the observations of a drain are taken.
    pub(super) fn tick(&mut self, now: Stamp, clock: Clock) {
        self.desk.clock = clock;
        self.desk.ledger.advance(now, &mut self.desk.outbox);
        if now.since(self.ticked) < TICK {
            return;
        }
        self.ticked = now;
        self.desk.peers.tick();
        let outbox = &mut self.desk.outbox;
        self.sockets.heads.expire(now, |event| outbox.event(event));
        self.desk.ledger.tick(now, outbox);
        self.desk.find_ahead();
        self.desk.tell_findings(now);
        self.naming.tick(now, clock.wall(now), &mut self.desk.outbox);
        self.release(false);
        self.custom.tick(now, &mut self.desk.outbox);
        self.desk.trees.tick(now, &clock);
        self.desk.tell_trees();
    }

    /// A contract was compiled.
    pub(super) fn learn(&mut self, artifact: Artifact) {
        self.desk.ledger.learn(artifact);
    }

    /// A scan of the artifacts is over.
    pub(super) fn scanned(&mut self) {
        self.desk.ledger.scanned();
    }

    /// Records one observation.
    pub(super) fn take(&mut self, observation: Observation) {
        match observation {
            Observation::Exchange(exchange) => http::record(&mut self.desk, &exchange),
            Observation::Socket(message) => self.sockets.message(&mut self.desk, &message),
            Observation::Request(exchange) => self.request(*exchange),
            Observation::Connection(id, at, event) => self.connection(id, at, &event),
            Observation::Chain(event) => self.chain(event),
            Observation::Spans(told) => self.spans(*told),
            Observation::ExportRefused(reason) => {
                self.desk.outbox.event(&Event::ExportRefused(reason));
            }
            Observation::Host(reading) => self.desk.outbox.sample(Sample::Host(reading)),
        }
    }

    /// An observation could not be recorded for a fault of ours.
    pub(super) fn panicked(&mut self) {
        tracing::error!("an observation made the recorder panic, and is lost");
        self.desk.outbox.event(&Event::ParseFailure("panicked"));
    }

    /// Gives the sinks what was made.
    pub(super) fn hand_over(&mut self) {
        self.desk.outbox.hand_over();
    }

    /// Gives the sinks what was made, and what waited to be completed as it is. Calls and
    /// transactions under way go on waiting.
    pub(super) fn flush(&mut self) {
        self.release(true);
        let outbox = &mut self.desk.outbox;
        self.sockets.heads.give_up(|event| outbox.event(event));
        self.desk.ledger.flush(outbox);
        outbox.hand_over();
    }

    /// Ends everything that waits.
    pub(super) fn finish(&mut self, now: Stamp) {
        self.release(true);
        self.sockets.forget_all(&mut self.desk, now, Outcome::Unanswered);
        self.desk.ledger.finish(now, &mut self.desk.outbox);
        self.desk.tell_findings(Stamp::from_nanos(u64::MAX));
        self.custom.finish(&mut self.desk.outbox);
        self.desk.trees.finish();
        self.desk.tell_trees();
        self.flush();
    }

    fn request(&mut self, exchange: ApiExchange) {
        if self.naming.excludes(&exchange.path) {
            return self.desk.outbox.event(&Event::Excluded);
        }
        let at = self.desk.clock.wall(exchange.timing.request_started);
        if let Some((exchange, route)) = self.naming.request(exchange, at, &mut self.desk.outbox) {
            self.named(exchange, route);
        }
    }

    /// The route of a request is known.
    fn named(&mut self, exchange: ApiExchange, route: Route) {
        let timing = exchange.timing;
        let at = self.desk.clock.wall(timing.request_started);
        let told = exchange.server_timing.as_deref();
        let app = told.and_then(|told| self.functions.timing(told, &mut self.desk.outbox));
        self.custom.request(&exchange, route, &mut self.desk.outbox);
        self.desk.trees.request(&exchange, route, at, app.as_deref());
        self.desk.outbox.sample(Sample::Request(HttpRequest {
            at,
            method: exchange.http_method,
            route,
            path: self.naming.mask(exchange.path),
            status: exchange.status,
            end: exchange.end,
            connection: exchange.connection,
            request_bytes: exchange.request_bytes,
            response_bytes: exchange.response_bytes,
            total: timing.total(),
            upstream: timing.upstream(),
            first_byte: timing.first_byte(),
            overhead: timing.overhead(),
            trace: exchange.trace,
            cache: exchange.cache,
            flow: exchange.flow,
            app,
        }));
    }

    /// Names the requests that waited for their span for long enough, or all that wait.
    fn release(&mut self, all: bool) {
        for (exchange, route) in self.naming.release(all, &mut self.desk.outbox) {
            self.named(exchange, route);
        }
    }

    fn spans(&mut self, mut told: Spans) {
        let repeated = self.seen.keep_new(&mut told);
        let (taken, left_out) = (told.spans.len() as u64, told.left_out);
        self.desk.outbox.event(&Event::Spans { taken, left_out, repeated });
        let stamp = Stamp::now();
        let now = self.desk.clock.wall(stamp);
        for (exchange, route) in self.naming.spans(&told, stamp, now, &mut self.desk.outbox) {
            self.named(exchange, route);
        }
        let desk = &mut self.desk;
        self.custom.spans(&told.spans, stamp, &mut desk.outbox);
        for operation in self.telling.take(&told, now, &mut desk.outbox) {
            desk.trees.operation(&operation);
            desk.outbox.sample(Sample::Operation(Box::new(operation)));
        }
    }

    fn connection(&mut self, id: ConnectionId, at: Stamp, event: &ConnectionEvent) {
        let told = match *event {
            ConnectionEvent::Opened { proxy, ends } => {
                if let Some(ends) = ends {
                    self.desk.peers.connection_opened(id, ends);
                }
                Event::ConnectionOpened { proxy }
            }
            ConnectionEvent::Upgraded { proxy, .. } => Event::ConnectionUpgraded { proxy },
            ConnectionEvent::Opaque { connection, why } => {
                self.sockets.forget(&mut self.desk, connection, at, Outcome::Uninspected);
                Event::Opaque(why)
            }
            ConnectionEvent::Refused { proxy, status, reason } => {
                Event::Refused { proxy, status, reason }
            }
            ConnectionEvent::Passed { proxy, sent, received } => {
                Event::BytesPassed { proxy, sent, received }
            }
            ConnectionEvent::Closed { proxy, by, upgraded, .. } => {
                let outcome = match by {
                    Closer::Client => Outcome::ClientGone,
                    Closer::Upstream => Outcome::UpstreamGone,
                    // It closes what waits for an answer when it ends only.
                    Closer::Proxy => Outcome::Stopped,
                };
                self.sockets.forget(&mut self.desk, id, at, outcome);
                self.desk.peers.connection_closed(id);
                Event::ConnectionClosed { proxy, upgraded }
            }
            ConnectionEvent::Upstream { proxy, reachable } => Event::Upstream { proxy, reachable },
        };
        self.desk.outbox.event(&told);
    }

    fn chain(&mut self, event: ChainEvent) {
        let desk = &mut self.desk;
        match event {
            ChainEvent::Block(block) => {
                desk.changed();
                let outbox = &mut desk.outbox;
                if block.live {
                    self.sockets.heads.block(block.hash, block.seen, |event| outbox.event(event));
                }
                desk.ledger.block(*block, &desk.clock, outbox);
            }
            ChainEvent::Code(code) => desk.ledger.code(code, &mut desk.outbox),
            ChainEvent::NodeUp { chain_id, client, head, .. } => {
                let at = desk.clock.wall(Stamp::now());
                desk.ledger.node_up(&client);
                desk.ledger.head(head.number);
                desk.outbox.event(&Event::NodeUp { at, chain_id, client: client.into(), head });
            }
            ChainEvent::NodeDown { unanswered, .. } => {
                desk.outbox.event(&Event::NodeDown { unanswered });
            }
            ChainEvent::Asked(cost) => desk.outbox.event(&Event::Asked(cost)),
            ChainEvent::WentBack { from, to, blocks } => {
                desk.changed();
                let (now, lost) = (Stamp::now(), from.saturating_sub(to));
                let relayed = desk.rollbacks.cause(now);
                let at = desk.clock.wall(now);
                desk.ledger.went_back(to, (blocks, lost), relayed, at, &mut desk.outbox);
                // Events overtake samples: those of what is gone now come first.
                desk.outbox.hand_over();
                // One that passed the relay was counted when it was answered.
                let cause = relayed.is_none().then_some(RollbackCause::Reorganisation);
                desk.outbox.event(&Event::WentBack { cause, blocks: lost });
            }
            ChainEvent::Traced(traced) => {
                desk.ledger.traced(&traced, &desk.clock, &mut desk.outbox);
            }
            ChainEvent::Untraced { hash } => desk.ledger.untraced(hash),
            ChainEvent::Sighted { hash, sight } => {
                desk.ledger.sighted(hash, sight, &mut desk.outbox);
            }
            ChainEvent::NodeRestarted => {
                desk.changed();
                let is_known = desk.rollbacks.cause(Stamp::now()).is_some();
                desk.ledger.restarted(is_known, &mut desk.outbox);
                desk.outbox.hand_over();
                desk.outbox.event(&Event::NodeRestarted);
            }
        }
    }
}
