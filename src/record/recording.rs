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
use super::people::{People, Who};
use super::repeats::Repeats;
use super::replaced::{self, Replaced};
use super::sockets::Sockets;
use super::spans::Telling;
use super::trees::Trees;
use crate::decode::artifact::Artifact;
use crate::model::{
    ApiExchange, ChainEvent, Clock, Closer, ConnectionEvent, ConnectionId, Event, Flights,
    HttpRequest, Observation, Outcome, Sample, Spans, Stamp,
};

/// How often what waits is looked at for having waited too long.
const TICK: Duration = Duration::from_millis(100);

pub(super) struct Recording {
    desk: Desk,
    sockets: Sockets,
    naming: Naming,
    custom: Custom,
    functions: AppFunctions,
    telling: Telling,
    ticked: Stamp,
}

impl Recording {
    pub(super) fn new(
        outbox: Outbox,
        ledger: Ledger,
        naming: Naming,
        custom: Custom,
        who: Who,
        flights: Flights,
    ) -> Self {
        let desk = Desk {
            clock: Clock::read(),
            outbox,
            methods: Methods::new(),
            repeats: Repeats::default(),
            ledger,
            replaced: Replaced::default(),
            findings: Findings::default(),
            people: People::new(who),
            joiner: Joiner::new(flights),
            trees: Trees::default(),
        };
        Self {
            desk,
            sockets: Sockets::default(),
            naming,
            custom,
            functions: AppFunctions::default(),
            telling: Telling::default(),
            ticked: Stamp::default(),
        }
    }

    /// Time has passed. Called before the observations of a drain are taken.
    pub(super) fn tick(&mut self, now: Stamp, clock: Clock) {
        self.desk.clock = clock;
        if now.since(self.ticked) < TICK {
            return;
        }
        self.ticked = now;
        self.desk.people.tick();
        let outbox = &mut self.desk.outbox;
        self.sockets.heads.expire(now, |event| outbox.event(event));
        self.desk.ledger.tick(now, outbox);
        self.desk.find_ahead();
        self.desk.tell_findings(now);
        self.naming.tick(now, clock.wall(now), &mut self.desk.outbox);
        self.custom.tick(now, &mut self.desk.outbox);
        self.desk.trees.tick(now, &clock);
        self.desk.tell_trees();
    }

    /// A contract was compiled.
    pub(super) fn learn(&mut self, artifact: Artifact) {
        self.desk.ledger.learn(artifact);
    }

    /// Records one observation.
    pub(super) fn take(&mut self, observation: Observation) {
        match observation {
            Observation::Exchange(exchange) => http::record(&mut self.desk, &exchange),
            Observation::Socket(message) => self.sockets.message(&mut self.desk, &message),
            Observation::Request(exchange) => self.request(*exchange),
            Observation::Connection(id, at, event) => self.connection(id, at, &event),
            Observation::Chain(event) => self.chain(event),
            Observation::Spans(told) => self.spans(&told),
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
        let outbox = &mut self.desk.outbox;
        self.sockets.heads.give_up(|event| outbox.event(event));
        self.desk.ledger.flush(outbox);
        outbox.hand_over();
    }

    /// Ends everything that waits.
    pub(super) fn finish(&mut self, now: Stamp) {
        self.sockets.forget_all(&mut self.desk, now, Outcome::Unanswered);
        self.desk.ledger.finish(now, &mut self.desk.outbox);
        self.desk.tell_findings(Stamp::from_nanos(u64::MAX));
        self.custom.finish(&mut self.desk.outbox);
        self.desk.trees.finish();
        self.desk.tell_trees();
        self.flush();
    }

    fn request(&mut self, exchange: ApiExchange) {
        let timing = exchange.timing;
        let told = exchange.server_timing.as_deref();
        let app = told.and_then(|told| self.functions.timing(told, &mut self.desk.outbox));
        let at = self.desk.clock.wall(timing.request_started);
        let route = self.naming.request(&exchange, at, &mut self.desk.outbox);
        self.custom.request(&exchange, route, &mut self.desk.outbox);
        self.desk.trees.request(&exchange, route, at, app.as_deref());
        self.desk.outbox.sample(Sample::Request(HttpRequest {
            at,
            method: exchange.http_method,
            route,
            path: exchange.path,
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

    fn spans(&mut self, told: &Spans) {
        let desk = &mut self.desk;
        let stamp = Stamp::now();
        let now = desk.clock.wall(stamp);
        self.naming.spans(told, stamp, now, &mut desk.outbox);
        self.custom.spans(&told.spans, stamp, &mut desk.outbox);
        for operation in self.telling.take(told, now, &mut desk.outbox) {
            desk.trees.operation(&operation);
            desk.outbox.sample(Sample::Operation(Box::new(operation)));
        }
    }

    fn connection(&mut self, id: ConnectionId, at: Stamp, event: &ConnectionEvent) {
        let told = match *event {
            ConnectionEvent::Opened { proxy } => Event::ConnectionOpened { proxy },
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
                self.desk.people.closed(id);
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
            ChainEvent::Code(code) => desk.ledger.code(&code, &mut desk.outbox),
            ChainEvent::NodeUp { chain_id, client, head, .. } => {
                let at = desk.clock.wall(Stamp::now());
                desk.outbox.event(&Event::NodeUp { at, chain_id, client: client.into(), head });
            }
            ChainEvent::NodeDown { unanswered, .. } => {
                desk.outbox.event(&Event::NodeDown { unanswered });
            }
            ChainEvent::Asked(cost) => desk.outbox.event(&Event::Asked(cost)),
            ChainEvent::WentBack { from, to } => {
                desk.changed();
                desk.ledger.went_back(to);
                // Events overtake samples: those of what is gone now come first.
                desk.outbox.hand_over();
                let blocks = from.saturating_sub(to);
                desk.outbox.event(&Event::WentBack { cause: desk.replaced.cause(), blocks });
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
                desk.ledger.restarted(&mut desk.outbox);
                desk.outbox.hand_over();
                if desk.replaced.cause() == replaced::RESET {
                    desk.outbox.event(&Event::WentBack { cause: replaced::RESET, blocks: 0 });
                }
                desk.outbox.event(&Event::NodeRestarted);
            }
        }
    }
}
