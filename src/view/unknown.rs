//! Calls of methods that there are not, handed to the one that answers with the list of those that
//! there are: jsonrpsee alone says no more than "Method not found".

use std::future::Future;

use jsonrpsee::core::middleware::{Batch, BatchEntry, Notification, RpcServiceT};
use jsonrpsee::server::Methods;
use jsonrpsee::types::Request;

/// The method that unknown calls are handed to; no client means it.
pub const UNKNOWN: &str = "";

/// Renames calls of unknown methods to [`UNKNOWN`].
#[derive(Clone)]
pub struct Known<S> {
    pub methods: Methods,
    pub inner: S,
}

impl<S> Known<S> {
    fn name(&self, call: &mut Request<'_>) {
        if self.methods.method(&call.method).is_none() {
            call.method = UNKNOWN.into();
        }
    }
}

impl<S: RpcServiceT> RpcServiceT for Known<S> {
    type MethodResponse = S::MethodResponse;
    type NotificationResponse = S::NotificationResponse;
    type BatchResponse = S::BatchResponse;

    fn call<'a>(
        &self,
        mut call: Request<'a>,
    ) -> impl Future<Output = Self::MethodResponse> + Send + 'a {
        self.name(&mut call);
        self.inner.call(call)
    }

    fn batch<'a>(
        &self,
        mut batch: Batch<'a>,
    ) -> impl Future<Output = Self::BatchResponse> + Send + 'a {
        for entry in batch.iter_mut() {
            if let Ok(BatchEntry::Call(call)) = entry {
                self.name(call);
            }
        }
        self.inner.batch(batch)
    }

    fn notification<'a>(
        &self,
        notification: Notification<'a>,
    ) -> impl Future<Output = Self::NotificationResponse> + Send + 'a {
        self.inner.notification(notification)
    }
}
