//! The demo's visitors: they mint, list, buy, cancel and browse through the API's proxy, and read
//! the chain through the relay as a wallet does.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::sleep;

/// The pause between two steps: a few requests a second are enough to look at.
const PAUSE: Duration = Duration::from_millis(250);
/// So many failures in a row mean that the dapp is gone.
const GIVE_UP: u32 = 20;
/// A price of 0.1 ether, in wei.
const PRICE: &str = "100000000000000000";

/// Visits until the dapp stays unreachable, and says why.
pub async fn visit(api: SocketAddr, rpc: SocketAddr) -> anyhow::Error {
    let mut failures = 0;
    let mut round: u64 = 0;
    loop {
        match tour(api, rpc, round).await {
            Ok(()) => failures = 0,
            Err(error) => {
                failures += 1;
                tracing::warn!("a visitor met an error: {error:#}");
                if failures >= GIVE_UP {
                    return error.context("the visitors gave up");
                }
                sleep(PAUSE).await;
            }
        }
        round += 1;
    }
}

/// One visitor's way through the marketplace: most buy, some change their mind.
async fn tour(api: SocketAddr, rpc: SocketAddr, round: u64) -> anyhow::Result<()> {
    get(api, "/api/nfts").await?;
    wallet(rpc).await?;
    sleep(PAUSE).await;

    let minted =
        post(api, "/api/nfts/mint", json!({"uri": format!("ipfs://demo/{round}")})).await?;
    let token = minted["token_id"]
        .as_u64()
        .with_context(|| format!("the API minted, but named no token_id: {minted}"))?;
    sleep(PAUSE).await;
    post(api, &format!("/api/nfts/{token}/list"), json!({"price_wei": PRICE})).await?;
    sleep(PAUSE).await;
    get(api, &format!("/api/nfts/{token}")).await?;
    match round % 5 {
        // One in five withdraws the offer, one in five offers too little and is refused by the
        // contract: `gas` skips the estimate, so the refusal is mined.
        1 => drop(post(api, &format!("/api/nfts/{token}/cancel"), json!({})).await?),
        3 => {
            let low = json!({"value_wei": "1", "gas": 200_000});
            drop(post(api, &format!("/api/nfts/{token}/buy"), low).await?);
        }
        _ => drop(post(api, &format!("/api/nfts/{token}/buy"), json!({})).await?),
    }
    sleep(PAUSE).await;
    if let Some(owner) = minted["transaction"]["from"].as_str() {
        get(api, &format!("/api/owners/{owner}")).await?;
    }
    match round % 4 {
        0 => drop(get(api, "/api/n-plus-one?limit=10").await?),
        1 => drop(get(api, "/api/slow?ms=150").await?),
        2 => drop(get(api, "/api/fail").await?),
        _ => {}
    }
    sleep(PAUSE).await;
    Ok(())
}

/// What a wallet asks all the time, as one batch and one call.
async fn wallet(rpc: SocketAddr) -> anyhow::Result<()> {
    let batch = json!([
        {"jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": []},
        {"jsonrpc": "2.0", "id": 2, "method": "eth_blockNumber", "params": []},
        {"jsonrpc": "2.0", "id": 3, "method": "eth_gasPrice", "params": []},
    ]);
    post(rpc, "/", batch).await?;
    let latest = json!({"jsonrpc": "2.0", "id": 4, "method": "eth_getBlockByNumber", "params": ["latest", false]});
    post(rpc, "/", latest).await?;
    Ok(())
}

async fn get(address: SocketAddr, path: &str) -> anyhow::Result<Value> {
    ask(address, Method::GET, path, Bytes::new()).await
}

async fn post(address: SocketAddr, path: &str, body: Value) -> anyhow::Result<Value> {
    ask(address, Method::POST, path, body.to_string().into()).await
}

/// One request on a connection of its own, as many browsers make them. Any HTTP status is an answer.
async fn ask(
    address: SocketAddr,
    method: Method,
    path: &str,
    body: Bytes,
) -> anyhow::Result<Value> {
    let stream = TcpStream::connect(address)
        .await
        .with_context(|| format!("cannot connect to {address}"))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let driving = tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", address.to_string())
        .header("content-type", "application/json")
        .header("user-agent", "dappscope-demo")
        .body(Full::new(body))
        .context("a request that cannot be built")?;
    let response =
        sender.send_request(request).await.with_context(|| format!("{address}{path}"))?;
    let bytes = response.into_body().collect().await?.to_bytes();
    driving.abort();
    Ok(serde_json::from_slice(&bytes).unwrap_or(Value::Null))
}
