//! A call from its request object to its sample, whatever carried it.
//!
//! `http` and `sockets` find out which answer belongs to which request; what is kept of a request in
//! between, and what is made of both, is said here once.

use super::ledger::Ledger;
use super::methods::{Class, Methods};
use super::outbox::Outbox;
use super::passage::{Ending, Passage};
use super::repeats::{Question, Repeats};
use crate::decode::jsonrpc::Envelope;
use crate::decode::submission::Submission;
use crate::model::{
    BatchPlace, Clock, ContractCall, Event, LabelKind, Method, Outcome, RpcCall, Sample, Transport,
    kind,
};

/// All that the makers of calls share.
pub(super) struct Desk {
    pub(super) clock: Clock,
    pub(super) outbox: Outbox,
    pub(super) methods: Methods,
    pub(super) repeats: Repeats,
    pub(super) ledger: Ledger,
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
    question: Option<Question>,
    target: Option<ContractCall>,
    sending: Option<Box<Submission>>,
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
    /// Looks at a request object.
    pub(super) fn ask(
        &mut self,
        request: &Envelope<'_>,
        transport: Transport,
        place: Option<BatchPlace>,
        bytes: u64,
    ) -> Asked {
        let (method, class) = self.method(request);
        let params = request.params.unwrap_or_default();
        let question = matches!(class, Class::Read | Class::Call)
            .then(|| self.repeats.question(method, params));
        let (target, sending) = match class {
            Class::Call => (self.ledger.target(params), None),
            Class::Send => self.ledger.sending(method, params),
            _ => (None, None),
        };
        Asked {
            method,
            class,
            transport,
            place,
            bytes,
            is_notification: request.id().is_none(),
            question,
            target,
            sending,
        }
    }

    /// A request that could not be looked into.
    pub(super) fn unread(transport: Transport, place: Option<BatchPlace>, bytes: u64) -> Asked {
        Asked {
            method: Method::other(),
            class: Class::Other,
            transport,
            place,
            bytes,
            is_notification: false,
            question: None,
            target: None,
            sending: None,
        }
    }

    /// Makes the call's sample, and tells whom it concerns.
    pub(super) fn finish(&mut self, asked: Asked, passage: &Passage, ending: &Ending<'_>) {
        let at = self.clock.wall(passage.started);
        if let Some(question) = asked.question
            && ending.outcome == Outcome::Success
            && self.repeats.answered(question)
        {
            self.outbox.event(&Event::Duplicate(asked.method));
        }
        if matches!(asked.class, Class::Send | Class::Change | Class::Replace) {
            // With automine the block is there with the answer, long before it is told.
            self.repeats.forget();
        }
        if asked.class == Class::Replace {
            self.ledger.doubt();
        }
        let transaction = match asked.sending {
            Some(sending) => self.ledger.sent(*sending, at, passage, ending, &mut self.outbox),
            None => None,
        };
        self.outbox.sample(Sample::Call(RpcCall {
            at,
            method: asked.method,
            transport: asked.transport,
            outcome: ending.outcome,
            connection: passage.connection,
            batch: asked.place,
            request_bytes: asked.bytes,
            response_bytes: ending.response_bytes,
            total: passage.total,
            upstream: passage.upstream,
            overhead: passage.overhead,
            target: asked.target,
            transaction,
            trace: passage.trace,
            detail: None,
        }));
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
