//! Tells people in the log what they want to know at once: the node or the API is away or back, and
//! somebody was refused. One line a second at most for refusals, however many there are.

use std::time::{Duration, Instant};

use crate::model::{Event, Proxy, Sample, Sink};

const REFUSALS_EVERY: Duration = Duration::from_secs(1);

/// A sink that keeps nothing and logs what happens.
#[derive(Default)]
pub struct Narrator {
    refusal_told: Option<Instant>,
    refusals_untold: u64,
}

impl Narrator {
    fn refused(&mut self, proxy: Proxy, status: u16, reason: &str) {
        if self.refusal_told.is_some_and(|told| told.elapsed() < REFUSALS_EVERY) {
            self.refusals_untold += 1;
            return;
        }
        let others = std::mem::take(&mut self.refusals_untold);
        self.refusal_told = Some(Instant::now());
        let proxy = proxy.as_str();
        // 403 is the guard's word on who asks; the rest is about how.
        if status == 403 {
            tracing::warn!(
                proxy,
                status,
                reason,
                others,
                "a request was refused; [{proxy}] allowed_hosts and allowed_origins let others in"
            );
        } else {
            tracing::warn!(proxy, status, reason, others, "a request was refused");
        }
    }
}

impl Sink for Narrator {
    fn accept(&mut self, _samples: &[Sample]) {}

    fn event(&mut self, event: &Event) {
        match event {
            Event::Refused { proxy, status, reason } => self.refused(*proxy, *status, reason),
            Event::Upstream { proxy: Proxy::Api, reachable: false } => {
                tracing::warn!("the API cannot be reached; requests to it are answered with 502");
            }
            Event::Upstream { proxy: Proxy::Api, reachable: true } => {
                tracing::info!("the API answers");
            }
            Event::NodeUp { chain_id, client, .. } => {
                tracing::info!("the node answers: {client}, chain {chain_id}");
            }
            Event::NodeDown { unanswered: None } => {
                tracing::warn!("the node cannot be reached; it is tried again and again");
            }
            Event::NodeDown { unanswered: Some(question) } => {
                tracing::warn!(
                    purpose = question.purpose,
                    method = question.method,
                    calls = question.calls,
                    waited_ms = u64::try_from(question.waited.as_millis()).unwrap_or(u64::MAX),
                    "the node cannot be reached; when it fell, {question}; it is tried again and \
                     again"
                );
            }
            Event::NodeRestarted => {
                tracing::warn!(
                    "the chain began anew; wallets may need their account reset, contracts a deployment"
                );
            }
            _ => {}
        }
    }
}
