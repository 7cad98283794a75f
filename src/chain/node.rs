//! A connection to the node: calls and batches of calls, over WebSocket or HTTP.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jsonrpsee::core::client::{ClientT, Error, Subscription, SubscriptionClientT};
use jsonrpsee::core::params::BatchRequestBuilder;
use jsonrpsee::core::traits::ToRpcParams;
use jsonrpsee::http_client::{HttpClient, HttpClientBuilder};
use jsonrpsee::types::ErrorObjectOwned;
use jsonrpsee::ws_client::{PingConfig, WsClient, WsClientBuilder};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::json::Header;
use super::meter::{Meter, Purpose};
use super::prompt::Prompt;

/// The largest answer that is taken, in bytes: a block full of calldata is some MiB, a batch of
/// such blocks several times that.
const LARGEST_ANSWER: u32 = 128 << 20;
/// How long an answer may take. A development node that mines a large block answers nobody.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A quiet connection is pinged this often, so that a host that vanished is noticed.
const PING_EVERY: Duration = Duration::from_secs(10);
const PING_LIMIT: Duration = Duration::from_secs(40);
/// Calls in one batch: a bound on how long the node is kept from its own users.
const LARGEST_BATCH: usize = 64;

/// Why a call has no result.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The node answered with an error.
    #[error("the node refused: {} (code {})", .0.message(), .0.code())]
    Refused(ErrorObjectOwned),
    /// The node answered with something else than was asked for.
    #[error("expected {expected}, the node's answer differs: {cause}")]
    Unreadable { expected: &'static str, cause: serde_json::Error },
    /// No answer: the connection is of no more use.
    #[error("no answer from the node: {0}")]
    Gone(String),
}

/// A call to be made: method and parameters.
pub type Ask = (&'static str, Value);
/// What came of it.
pub type Answer = Result<Box<RawValue>, ErrorObjectOwned>;

/// The connection.
pub struct Node {
    client: Client,
    meter: Arc<Meter>,
}

enum Client {
    Socket(WsClient),
    Http(HttpClient),
}

impl Node {
    /// Connects by WebSocket, or else makes ready to speak HTTP; whether anybody answers there is
    /// not known before the first call.
    ///
    /// # Errors
    /// Nobody listens there.
    pub async fn connect(address: &str, meter: &Arc<Meter>) -> Result<Self, NodeError> {
        let connecting = tokio::time::timeout(CONNECT_TIMEOUT, Prompt::connect(address));
        let away = |why: &dyn std::fmt::Display| NodeError::Gone(format!("{address}: {why}"));
        let connected = connecting.await.map_err(|_| away(&"no connection in time"))?;
        let stream = connected.map_err(|error| away(&error))?;
        let ping = PingConfig::new().ping_interval(PING_EVERY).inactive_limit(PING_LIMIT);
        let socket = WsClientBuilder::new()
            .connection_timeout(CONNECT_TIMEOUT)
            .request_timeout(ANSWER_TIMEOUT)
            .max_response_size(LARGEST_ANSWER)
            .max_buffer_capacity_per_subscription(4_096)
            .enable_ws_ping(ping)
            .build_with_stream(format!("ws://{address}"), stream)
            .await;
        let client = match socket {
            Ok(socket) => Client::Socket(socket),
            Err(_) => HttpClientBuilder::new()
                .connect_timeout(CONNECT_TIMEOUT)
                .request_timeout(ANSWER_TIMEOUT)
                .max_response_size(LARGEST_ANSWER)
                .build(format!("http://{address}"))
                .map(Client::Http)
                .map_err(gone)?,
        };
        Ok(Self { client, meter: Arc::clone(meter) })
    }

    /// Whether the connection is still of use, as far as is known.
    pub fn is_connected(&self) -> bool {
        match &self.client {
            Client::Socket(socket) => socket.is_connected(),
            Client::Http(_) => true,
        }
    }

    /// Subscribes to new heads; none where the node has no subscriptions.
    pub async fn heads(&self) -> Result<Option<Subscription<Header>>, NodeError> {
        let Client::Socket(socket) = &self.client else { return Ok(None) };
        let params = Params(json!(["newHeads"]));
        let asked = Instant::now();
        let heads = socket.subscribe("eth_subscribe", params, "eth_unsubscribe").await;
        self.meter.add(Purpose::Greeting, 1, asked.elapsed());
        match heads {
            Ok(heads) => Ok(Some(heads)),
            Err(Error::Call(_) | Error::InvalidSubscriptionId | Error::ParseError(_)) => Ok(None),
            Err(error) => Err(gone(error)),
        }
    }

    /// Makes one call.
    pub async fn call<T: DeserializeOwned>(
        &self,
        purpose: Purpose,
        expected: &'static str,
        (method, params): Ask,
    ) -> Result<T, NodeError> {
        let asked = Instant::now();
        let answer: Result<Box<RawValue>, Error> = match &self.client {
            Client::Socket(socket) => socket.request(method, Params(params)).await,
            Client::Http(http) => http.request(method, Params(params)).await,
        };
        self.meter.add(purpose, 1, asked.elapsed());
        match answer {
            Ok(result) => read(expected, &result),
            Err(Error::Call(error)) => Err(NodeError::Refused(error)),
            Err(Error::ParseError(cause)) => Err(NodeError::Unreadable { expected, cause }),
            Err(error) => Err(gone(error)),
        }
    }

    /// Makes several calls, and returns as many answers in the same order.
    pub async fn batch(&self, purpose: Purpose, asks: Vec<Ask>) -> Result<Vec<Answer>, NodeError> {
        let mut answers = Vec::with_capacity(asks.len());
        let mut asks = asks.into_iter().peekable();
        while asks.peek().is_some() {
            let some: Vec<Ask> = asks.by_ref().take(LARGEST_BATCH).collect();
            if some.len() > 1
                && let Some(some) = self.whole_batch(purpose, &some).await?
            {
                answers.extend(some);
            } else {
                for ask in some {
                    match self.call::<Box<RawValue>>(purpose, "any result", ask).await {
                        Ok(result) => answers.push(Ok(result)),
                        Err(NodeError::Refused(error)) => answers.push(Err(error)),
                        Err(error) => return Err(error),
                    }
                }
            }
        }
        Ok(answers)
    }

    /// Makes calls in one message; none when the node does not understand batches.
    async fn whole_batch(
        &self,
        purpose: Purpose,
        asks: &[Ask],
    ) -> Result<Option<Vec<Answer>>, NodeError> {
        let mut batch = BatchRequestBuilder::new();
        for (method, params) in asks {
            batch
                .insert(method, Params(params.clone()))
                .expect("a JSON value always serialises; qed");
        }
        let asked = Instant::now();
        let answers = match &self.client {
            Client::Socket(socket) => socket.batch_request::<Box<RawValue>>(batch).await,
            Client::Http(http) => http.batch_request::<Box<RawValue>>(batch).await,
        };
        self.meter.add(purpose, asks.len(), asked.elapsed());
        match answers {
            Ok(answers) if answers.len() == asks.len() => Ok(Some(
                answers
                    .into_iter()
                    .map(|answer| answer.map_err(|error| error.into_owned()))
                    .collect(),
            )),
            Ok(_) | Err(Error::Call(_) | Error::ParseError(_) | Error::InvalidRequestId(_)) => {
                Ok(None)
            }
            Err(error) => Err(gone(error)),
        }
    }
}

/// Reads a result.
pub fn read<T: DeserializeOwned>(
    expected: &'static str,
    result: &RawValue,
) -> Result<T, NodeError> {
    serde_json::from_str(result.get()).map_err(|cause| NodeError::Unreadable { expected, cause })
}

struct Params(Value);

impl ToRpcParams for Params {
    fn to_rpc_params(self) -> Result<Option<Box<RawValue>>, serde_json::Error> {
        serde_json::value::to_raw_value(&self.0).map(Some)
    }
}

/// The whole chain of causes: jsonrpsee's own words alone say "background task closed".
#[allow(clippy::needless_pass_by_value)] // passed to `map_err`
fn gone(error: Error) -> NodeError {
    let mut words = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        let more = error.to_string();
        if !words.contains(&more) {
            words = format!("{words}: {more}");
        }
        cause = error.source();
    }
    NodeError::Gone(words)
}
