//! A call from its request object to its sample, whatever carried it.
//!
//! `http` and `sockets` find out which answer belongs to which request; what is kept of a request in
//! between, and what is made of both, is said here once.

use std::time::Duration;

use alloy::primitives::{B256, U64};

use super::findings::{Ended, Findings, Subject};
use super::join::{Group, Joiner};
use super::ledger::Ledger;
use super::methods::{Class, Methods};
use super::outbox::Outbox;
use super::passage::{Ending, Passage};
use super::peer_processes::PeerProcesses;
use super::repeats::{Question, Repeats};
use super::rollbacks::Rollbacks;
use super::trees::{CallPart, Odd, Shape, Trees};
use super::unnamed::Touched;
use super::unread_sends::UnreadSend;
use crate::decode::chain_control::ChainControl;
use crate::decode::jsonrpc::{Answer, Envelope};
use crate::decode::reads;
use crate::decode::revert::{RefusalKind, RevertInfo};
use crate::decode::submission::Submission;
use crate::model::{
    BatchPlace, CallDetail, Client, Clock, Event, Finding, Interval, Join, LabelKind, Method,
    Outcome, RpcCall, Sample, Stamp, TraceContext, Transport, Uninspected, UninspectedReason, kind,
};

/// All that the makers of calls share.
pub(super) struct Desk {
    pub(super) clock: Clock,
    pub(super) outbox: Outbox,
    pub(super) methods: Methods,
    pub(super) repeats: Repeats,
    pub(super) ledger: Ledger,
    pub(super) rollbacks: Rollbacks,
    pub(super) findings: Findings,
    pub(super) peers: PeerProcesses,
    pub(super) joiner: Joiner,
    pub(super) trees: Trees,
    /// How many bytes of a body are looked into once it is decompressed.
    pub(super) inspect_bytes: usize,
}

/// All that is kept of a request object until its answer. Params are not.
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) class: Class,
    pub(super) transport: Transport,
    pub(super) place: Option<BatchPlace>,
    pub(super) bytes: u64,
    /// A request without id.
    pub(super) is_notification: bool,
    /// Blocks that it asks to be mined.
    blocks: u32,
    question: Option<Question>,
    touched: Option<Touched>,
    /// The transaction whose receipt it asks for.
    receipt: Option<B256>,
    /// The number of the block at which it reads, where it names one.
    block: Option<u64>,
    /// The transaction about which it asks, while that may say where a contract was created.
    about: Option<B256>,
    /// What it does to the chain.
    control: Option<Box<ChainControl>>,
    sending: Option<Box<Submission>>,
    /// Why the request could not be read, or not all of it.
    pub(super) uninspected: Option<Uninspected>,
}

/// What a multicall can gather; estimates it cannot.
const READ: &str = "eth_call";
/// Asks about a transaction by its hash.
const LOOKUP: &str = "eth_getTransactionByHash";
/// Asks for an account's code, and what is answered where there is none.
const CODE: &str = "eth_getCode";
const NO_CODE: &str = "\"0x\"";
/// Blocks of one call whose mining is counted, at most.
const MOST_MINED: u32 = 256;

/// Blocks that the params of `hardhat_mine` ask for; `evm_mine` has a timestamp there, which is no
/// such number, and mines one.
fn blocks(method: Method, params: &[u8]) -> u32 {
    if method.as_str() == "evm_mine" {
        return 1;
    }
    let counts: Vec<U64> = serde_json::from_slice(params).unwrap_or_default();
    counts.first().map_or(1, |count| count.saturating_to())
}

/// The transaction whose receipt the params of such a call name.
fn receipt(class: Class, params: &[u8]) -> Option<B256> {
    if class == Class::Receipt { hash(params) } else { None }
}

/// The transaction that the params name first.
fn hash(params: &[u8]) -> Option<B256> {
    if params.len() > 1_024 {
        return None;
    }
    serde_json::from_slice::<Vec<B256>>(params).ok()?.first().copied()
}

impl Asked {
    /// Bytes of the submitted input, which are held until the answer.
    pub(super) fn input_bytes(&self) -> usize {
        self.sending.as_ref().map_or(0, |submission| submission.input.len())
    }

    /// Follows the call alone, not what it submits.
    pub(super) fn forget_submission(&mut self) {
        self.sending = None;
    }
}

impl Desk {
    /// Looks at a request object. `cut` says why only its beginning is there, where that is so.
    pub(super) fn ask(
        &mut self,
        request: &Envelope<'_>,
        transport: Transport,
        place: Option<BatchPlace>,
        bytes: u64,
        cut: Option<UninspectedReason>,
    ) -> Asked {
        let (method, class) = self.method(request);
        let params = request.params.unwrap_or_default();
        // Half a question is not the same as another that begins like it.
        let repeats = matches!(
            class,
            Class::Read | Class::State | Class::Call | Class::Simulate | Class::Receipt
        );
        let question = (repeats && cut.is_none()).then(|| self.repeats.question(method, params));
        let (touched, sending) = match class {
            Class::State => {
                (Some(Touched::State { account: reads::account(params), method }), None)
            }
            Class::Call | Class::Simulate => (self.ledger.touched(method, params), None),
            Class::Send => self.ledger.sending(method, params),
            _ => (None, None),
        };
        let receipt = receipt(class, params);
        let is_lookup = method.as_str() == LOOKUP;
        let about = receipt.or_else(|| is_lookup.then(|| hash(params)).flatten());
        let changes = matches!(class, Class::Change | Class::Replace);
        let control = changes.then(|| ChainControl::parse(method.as_str(), params)).flatten();
        Asked {
            method,
            class,
            transport,
            place,
            bytes,
            is_notification: request.id().is_none() && cut.is_none(),
            blocks: if class == Class::Mine { blocks(method, params) } else { 0 },
            question,
            touched,
            receipt,
            block: question.and_then(|_| reads::block(params)),
            about: about.filter(|_| self.ledger.awaits_creations()),
            control: control.map(Box::new),
            sending,
            uninspected: cut.map(Uninspected::one),
        }
    }

    /// A request, or as many as `uninspected` says, that was not read: because it could not be, or
    /// because the client left in the middle of it.
    pub(super) fn unread(
        transport: Transport,
        place: Option<BatchPlace>,
        bytes: u64,
        uninspected: Option<Uninspected>,
    ) -> Asked {
        Asked {
            method: Method::other(),
            class: Class::Other,
            transport,
            place,
            bytes,
            is_notification: false,
            blocks: 0,
            question: None,
            touched: None,
            receipt: None,
            block: None,
            about: None,
            control: None,
            sending: None,
            uninspected,
        }
    }

    /// Makes the call's sample, and tells whom it concerns.
    pub(super) fn finish(&mut self, asked: Asked, passage: &Passage, ending: &Ending<'_>) {
        let at = self.clock.wall(passage.started);
        let (trace, joined_by) =
            self.joiner.join(passage.trace, &passage.caller, passage.started, &mut self.peers);
        let group = self.find(&asked, passage, ending, (trace, joined_by));
        if let Some(join) = joined_by {
            let gathers = group == Some(Group::Request);
            self.belongs(&asked, passage, (trace, join), gathers);
        }
        let is_unread = asked.uninspected.is_some() && asked.class == Class::Other;
        let changes =
            matches!(asked.class, Class::Send | Class::Mine | Class::Change | Class::Replace);
        if changes || is_unread {
            // With automine the block is there with the answer, long before it is told.
            self.changed();
        }
        let ran = Interval::lasting(passage.written, passage.upstream);
        self.note_changes(&asked, ran, ending);
        if asked.class == Class::Replace {
            self.ledger.doubt();
        }
        if asked.class == Class::Mine && ending.outcome == Outcome::Success && asked.blocks > 0 {
            // Of several blocks the mean, so that each counts once.
            for _ in 0..asked.blocks.min(MOST_MINED) {
                self.outbox.event(&Event::Mined(passage.upstream / asked.blocks));
            }
        }
        let is_send = asked.class == Class::Send;
        let sent = (asked.sending.is_none() && (is_send || is_unread))
            .then(|| UnreadSend::of(ending, is_send, at, passage, trace))
            .flatten();
        let transaction = match asked.sending {
            Some(sending) => {
                let hash = self.ledger.sent(*sending, at, passage, trace, ending, &mut self.outbox);
                // At once, while the connection is there to tell whose it is.
                self.find_ahead();
                hash
            }
            None => None,
        };
        let unread_answer = ending.uninspected.map(Uninspected::one);
        let uninspected = asked.uninspected.or(unread_answer);
        let call = RpcCall {
            at,
            method: asked.method,
            transport: asked.transport,
            outcome: ending.outcome,
            connection: passage.caller.connection,
            batch: asked.place,
            request_bytes: asked.bytes,
            response_bytes: ending.response_bytes,
            total: passage.total,
            upstream: passage.upstream,
            overhead: passage.overhead,
            target: None,
            transaction,
            trace,
            joined_by,
            detail: uninspected
                .map(|it| Box::new(CallDetail { uninspected: Some(it), ..CallDetail::default() })),
        };
        match asked.touched {
            None => {
                let call = Ledger::refused(call, ending.answer);
                match sent {
                    Some(sent) => self.ledger.sent_unread(call, &sent, &mut self.outbox),
                    None => self.outbox.sample(Sample::Call(call)),
                }
            }
            Some(touched) => {
                self.ledger.called(call, touched, ending.answer, ran, &mut self.outbox);
            }
        }
    }

    /// Notes what a call, or its answer, shows of the code at addresses.
    fn note_changes(&mut self, asked: &Asked, ran: Interval, ending: &Ending<'_>) {
        if matches!(asked.class, Class::Send | Class::Mine | Class::Change | Class::Replace) {
            self.ledger.state_changed(ran.end);
        }
        let result = match ending.answer {
            Some(Answer::Result(result)) => result,
            Some(Answer::Error { .. }) => return,
            None => {
                // It may have been carried out all the same.
                let is_over = !matches!(ending.outcome, Outcome::Connect | Outcome::Http(_));
                if asked.class == Class::Replace && is_over {
                    self.ledger.code_rolled_back(None, ran);
                }
                return;
            }
        };
        if let Some(control) = &asked.control {
            if let Some(rollback) = self.rollbacks.controlled(control, result, ran) {
                let at = self.clock.wall(rollback.answered);
                self.ledger.rolled_back(rollback, at, &mut self.outbox);
                let cause = Some(rollback.cause);
                self.outbox.event(&Event::WentBack { cause, blocks: 0 });
            }
            self.ledger.controlled(control, ran);
        }
        if let Some(hash) = asked.receipt {
            self.ledger.receipt_passed(hash, result, ran.end);
        }
        if let Some(about) = asked.about {
            self.ledger.answered_about(about, result, ran);
        }
        if let (CODE, Some(Touched::State { account: Some(account), .. })) =
            (asked.method.as_str(), &asked.touched)
            && result.len() > NO_CODE.len()
        {
            self.ledger.saw_code(*account, ran);
        }
    }

    /// Tells the trees of a call that belongs to a request, or may.
    fn belongs(
        &mut self,
        asked: &Asked,
        passage: &Passage,
        (trace, join): (Option<TraceContext>, Join),
        gathers: bool,
    ) {
        let is_first = asked.place.is_none_or(|place| place.index == 0);
        let similar = match asked.class {
            // Whoever waits for a receipt asks again for good reason; that has a finding of its own.
            Class::Receipt | Class::Send => None,
            // A batch asks once for all that it holds: it is what a repetition ought to become.
            _ if !is_first => None,
            _ => Some(Shape {
                method: asked.method,
                function: asked
                    .touched
                    .as_ref()
                    .and_then(Touched::subject)
                    .filter(|subject| matches!(subject, Subject::Function(..))),
            }),
        };
        let call = CallPart {
            span_id: trace.map_or(0, |trace| trace.span_id),
            carried_trace: join == Join::Trace,
            started: passage.started,
            left: passage.written,
            upstream: passage.upstream,
            overhead: if is_first { passage.overhead } else { Duration::ZERO },
            runs_code: matches!(asked.class, Class::Call | Class::Simulate | Class::Send),
            sends: matches!(asked.class, Class::Send),
            gathers,
            shape: similar,
            question: asked.question,
        };
        self.trees.call(trace.map(|trace| trace.trace_id), join, call);
    }

    /// Tells what has come of requests.
    pub(super) fn tell_trees(&mut self) {
        for mined in self.ledger.take_mined() {
            self.trees.mined(mined.0, mined.1);
        }
        let told = self.trees.take();
        for breakdown in told.breakdowns {
            self.outbox.sample(Sample::Breakdown(Box::new(breakdown)));
        }
        for event in told.events {
            self.outbox.event(&event);
        }
        for odd in told.odd {
            let finding = self.named(odd);
            self.outbox.sample(Sample::Finding(Box::new(finding)));
        }
    }

    fn named(&mut self, odd: Odd) -> Finding {
        let function = odd.shape.and_then(|shape| shape.function);
        Finding {
            at: odd.at,
            kind: odd.kind,
            count: odd.count,
            span: odd.span,
            method: odd.shape.map(|shape| shape.method),
            target: function.map(|subject| self.ledger.name(subject)),
            transaction: odd.transaction,
            account: None,
            connection: odd.connection,
            client: Client::default(),
            request: Some(odd.request),
            query: odd.query,
            block: None,
        }
    }

    /// The state changed: everything is worth asking again.
    pub(super) fn changed(&mut self) {
        self.repeats.forget();
        self.findings.changed();
    }

    /// Tells the finders of a call. Of one that a multicall could gather, answers with which others.
    fn find(
        &mut self,
        asked: &Asked,
        passage: &Passage,
        ending: &Ending<'_>,
        (trace, joined_by): (Option<TraceContext>, Option<Join>),
    ) -> Option<Group> {
        let question = asked.question?;
        let call = Ended {
            method: asked.method,
            question,
            subject: asked.touched.as_ref().and_then(Touched::subject),
            started: passage.started,
            caller: &passage.caller,
        };
        let mut is_repetition = false;
        if ending.outcome == Outcome::Success
            && let Some(first) = self.repeats.answered(question, passage.started)
        {
            self.outbox.event(&Event::Duplicate(asked.method));
            // A receipt that is not there yet is a question of its own.
            if asked.class != Class::Receipt {
                is_repetition = self.findings.repeated(&call, first, &mut self.peers);
            }
        }
        if let Some(Answer::Error { text, .. }) = ending.answer
            && RevertInfo::parse(text).kind == RefusalKind::UnknownBlock
            && self.ledger.block_is_ahead(asked.block)
        {
            self.findings.block_ahead(asked.block, &call, &mut self.peers);
        }
        if let (Some(hash), Some(Answer::Result(result))) = (asked.receipt, ending.answer) {
            self.findings.polled(hash, result != b"null", &call, &mut self.peers);
        }
        let is_single = matches!(asked.transport, Transport::Http | Transport::WebSocket);
        let is_read = asked.method.as_str() == READ && is_single && ending.answer.is_some();
        if !is_read || is_repetition {
            return None;
        }
        let made = (&passage.caller, passage.started);
        let group = self.joiner.group(trace, joined_by, made, &mut self.peers);
        if group == Group::Client {
            self.findings.called(&call, &mut self.peers);
        }
        Some(group)
    }

    /// Tells the finders of wallets that are ahead of the chain.
    pub(super) fn find_ahead(&mut self) {
        for ahead in self.ledger.take_ahead() {
            let who = self.peers.identify(&ahead.caller);
            self.findings.ahead(ahead.transaction, ahead.account, who);
        }
    }

    /// Tells the findings that are over.
    pub(super) fn tell_findings(&mut self, now: Stamp) {
        for mut found in self.findings.take_due(now) {
            self.peers.retry_lookup(found.who());
            let target = found.subject().map(|subject| self.ledger.name(subject));
            let finding = found.named(target, &self.clock);
            self.outbox.sample(Sample::Finding(Box::new(finding)));
        }
    }

    fn method(&mut self, request: &Envelope<'_>) -> (Method, Class) {
        let Some(name) = request.method() else {
            return (Method::other(), Class::Other);
        };
        self.methods.admit(&name).unwrap_or_else(|| {
            self.outbox.event(&Event::LabelOverflow { label: kind::MethodKind::NAME });
            (Method::other(), Class::Other)
        })
    }
}
