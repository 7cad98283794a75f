//! A connection to the node: calls and batches of calls, over WebSocket or HTTP.

use std::sync::{Arc, Mutex, PoisonError};
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
use super::pace::{Pace, READ_GAS};
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
    pace: Mutex<Pace>,
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
        Ok(Self { client, meter: Arc::clone(meter), pace: Mutex::default() })
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
        let waiting = self.meter.begin(Purpose::Greeting, ["eth_subscribe"].into_iter());
        let heads = match socket.subscribe("eth_subscribe", params, "eth_unsubscribe").await {
            Ok(heads) => Some(heads),
            Err(Error::Call(_) | Error::InvalidSubscriptionId | Error::ParseError(_)) => None,
            Err(error) => return Err(gone(error)),
        };
        waiting.answered();
        Ok(heads)
    }

    /// Makes one call.
    pub async fn call<T: DeserializeOwned>(
        &self,
        purpose: Purpose,
        expected: &'static str,
        (method, params): Ask,
    ) -> Result<T, NodeError> {
        let waiting = self.meter.begin(purpose, [method].into_iter());
        let answer: Result<Box<RawValue>, Error> = match &self.client {
            Client::Socket(socket) => socket.request(method, Params(params)).await,
            Client::Http(http) => http.request(method, Params(params)).await,
        };
        let answer = match answer {
            Ok(result) => read(expected, &result),
            Err(Error::Call(error)) => Err(NodeError::Refused(error)),
            Err(Error::ParseError(cause)) => Err(NodeError::Unreadable { expected, cause }),
            Err(error) => return Err(gone(error)),
        };
        waiting.answered();
        answer
    }

    /// Counts calls that are not made, because they would keep the node busy for too long.
    pub fn skip(&self, purpose: Purpose, method: &'static str, calls: usize) {
        self.meter.skip(purpose, method, calls);
    }

    /// Makes several calls, and returns as many answers in the same order.
    pub async fn batch(&self, purpose: Purpose, asks: Vec<Ask>) -> Result<Vec<Answer>, NodeError> {
        let asks = asks.into_iter().map(|ask| (ask, 0)).collect();
        self.batch_by_gas(purpose, asks, READ_GAS).await
    }

    /// Makes several calls, each with the gas that bounds what it costs the node, and returns as many
    /// answers in the same order. One message holds calls of at most `most_gas` together, or one
    /// call; how many there may be, and the pauses between messages, are for [`Pace`] to say.
    pub async fn batch_by_gas(
        &self,
        purpose: Purpose,
        asks: Vec<(Ask, u64)>,
        most_gas: u64,
    ) -> Result<Vec<Answer>, NodeError> {
        let mut answers = Vec::with_capacity(asks.len());
        let mut asks = asks.into_iter().peekable();
        while let Some(((method, _), _)) = asks.peek() {
            let method = *method;
            let size = self.pace(|pace| pace.size(method));
            let (mut some, mut gas) = (Vec::new(), 0_u64);
            while some.len() < size
                && let Some((ask, more)) = asks
                    .next_if(|(_, more)| some.is_empty() || gas.saturating_add(*more) <= most_gas)
            {
                gas = gas.saturating_add(more);
                some.push(ask);
            }
            let (calls, asked) = (some.len(), Instant::now());
            answers.extend(self.some(purpose, some).await?);
            let took = asked.elapsed();
            self.pace(|pace| pace.answered(method, calls, took));
            if asks.peek().is_some() {
                tokio::time::sleep(Pace::pause(took)).await;
            }
        }
        Ok(answers)
    }

    fn pace<T>(&self, act: impl FnOnce(&mut Pace) -> T) -> T {
        act(&mut self.pace.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes calls together, or one by one where the node does not understand batches.
    async fn some(&self, purpose: Purpose, asks: Vec<Ask>) -> Result<Vec<Answer>, NodeError> {
        if asks.len() > 1
            && let Some(answers) = self.whole_batch(purpose, &asks).await?
        {
            return Ok(answers);
        }
        let mut answers = Vec::with_capacity(asks.len());
        for ask in asks {
            match self.call::<Box<RawValue>>(purpose, "any result", ask).await {
                Ok(result) => answers.push(Ok(result)),
                Err(NodeError::Refused(error)) => answers.push(Err(error)),
                Err(error) => return Err(error),
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
        let waiting = self.meter.begin(purpose, asks.iter().map(|(method, _)| *method));
        let answers = match &self.client {
            Client::Socket(socket) => socket.batch_request::<Box<RawValue>>(batch).await,
            Client::Http(http) => http.batch_request::<Box<RawValue>>(batch).await,
        };
        let answers = match answers {
            Ok(answers) if answers.len() == asks.len() => {
                Some(answers.into_iter().map(|it| it.map_err(|error| error.into_owned())).collect())
            }
            Ok(_) | Err(Error::Call(_) | Error::ParseError(_) | Error::InvalidRequestId(_)) => None,
            Err(error) => return Err(gone(error)),
        };
        waiting.answered();
        Ok(answers)
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
