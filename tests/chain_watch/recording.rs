//! Records each message that the fake node serves, with when it was served.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jsonrpsee::core::middleware::{Batch, BatchEntry, Notification, RpcServiceT};
use jsonrpsee::types::Request;
use serde_json::Value;

/// A call: its method and its params.
pub type Call = (String, Value);

/// A message: one call, or a batch of them.
#[derive(Clone, Debug)]
pub struct Message {
    pub calls: Vec<Call>,
    pub begun: Instant,
    pub ended: Option<Instant>,
}

/// The messages so far, and how long each takes at least.
#[derive(Clone, Default)]
pub struct Messages {
    messages: Arc<Mutex<Vec<Message>>>,
    takes: Arc<Mutex<Duration>>,
}

impl Messages {
    pub fn all(&self) -> Vec<Message> {
        self.messages.lock().unwrap().clone()
    }

    /// The messages whose first call is of this method.
    pub fn of(&self, method: &str) -> Vec<Message> {
        self.all().into_iter().filter(|message| message.calls[0].0 == method).collect()
    }

    /// Every message takes this long from now on.
    pub fn take(&self, time: Duration) {
        *self.takes.lock().unwrap() = time;
    }

    fn begin(&self, calls: Vec<Call>) -> usize {
        let mut messages = self.messages.lock().unwrap();
        messages.push(Message { calls, begun: Instant::now(), ended: None });
        messages.len() - 1
    }

    fn end(&self, at: usize) {
        self.messages.lock().unwrap()[at].ended = Some(Instant::now());
    }

    async fn during<T>(self, calls: Vec<Call>, serve: impl Future<Output = T>) -> T {
        let (at, takes) = (self.begin(calls), *self.takes.lock().unwrap());
        if !takes.is_zero() {
            tokio::time::sleep(takes).await;
        }
        let served = serve.await;
        self.end(at);
        served
    }
}

/// The service, recorded.
#[derive(Clone)]
pub struct Recorded<S> {
    pub service: S,
    pub messages: Messages,
}

fn call(request: &Request<'_>) -> Call {
    let params = request.params.as_ref().map_or("[]", |params| params.get());
    (request.method.to_string(), serde_json::from_str(params).unwrap())
}

impl<S> RpcServiceT for Recorded<S>
where
    S: RpcServiceT + Clone + Send + Sync + 'static,
{
    type MethodResponse = S::MethodResponse;
    type NotificationResponse = S::NotificationResponse;
    type BatchResponse = S::BatchResponse;

    fn call<'a>(
        &self,
        request: Request<'a>,
    ) -> impl Future<Output = Self::MethodResponse> + Send + 'a {
        let Self { service, messages } = self.clone();
        async move {
            let calls = vec![call(&request)];
            messages.during(calls, service.call(request)).await
        }
    }

    fn batch<'a>(&self, batch: Batch<'a>) -> impl Future<Output = Self::BatchResponse> + Send + 'a {
        let Self { service, messages } = self.clone();
        async move {
            let calls = batch
                .iter()
                .filter_map(|entry| match entry {
                    Ok(BatchEntry::Call(request)) => Some(call(request)),
                    _ => None,
                })
                .collect();
            messages.during(calls, service.batch(batch)).await
        }
    }

    fn notification<'a>(
        &self,
        notification: Notification<'a>,
    ) -> impl Future<Output = Self::NotificationResponse> + Send + 'a {
        self.service.notification(notification)
    }
}
