//! What the relay says itself, where there is nobody to pass bytes to: a refusal by the guard, or a
//! node that cannot be reached. The connection closes after it.

use std::io;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The JSON-RPC error code of everything that dappscope answers itself: the last of the range that
/// JSON-RPC leaves to servers. The ones before it have meanings that would mislead: -32000 to -32006
/// are EIP-1474's (MetaMask takes -32002 for "request already pending"), -32603 is a revert to
/// Hardhat's clients.
const CODE: i32 = -32_099;
/// How long a client may go on sending after it was answered, and how much.
const LINGER: Duration = Duration::from_secs(5);
const LINGER_BYTES: u64 = 16 * 1024 * 1024;
/// The longest request id that is echoed, in bytes.
const LONGEST_ID: usize = 128;

/// An answer, ready to be written.
#[derive(Debug)]
pub(super) struct Answer {
    pub status: u16,
    pub bytes: Vec<u8>,
    /// Bytes of its body, of `bytes` the last ones.
    pub size: u64,
}

/// A request that the guard, or the relay on its behalf, did not let pass.
pub(super) fn refusal(status: u16, message: &str) -> Answer {
    // No CORS header: the page that was refused is not to read this. Its author can, in the
    // browser's network log.
    answer(status, &body("null", message), "")
}

/// The node cannot be reached, for `reason`. `request` is what the client has sent so far.
pub(super) fn unreachable(upstream: &str, reason: &str, request: &[u8], preflight: bool) -> Answer {
    if preflight {
        // A browser shows a page the 502 below only if the question before it was answered with
        // yes; otherwise the page learns nothing but "failed to fetch".
        let allow = "Access-Control-Allow-Origin: *\r\nAccess-Control-Allow-Methods: *\r\n\
                     Access-Control-Allow-Headers: *, Authorization\r\n";
        return answer(204, "", allow);
    }
    let message = format!(
        "dappscope: cannot reach the node at http://{upstream} ({reason}). Is it running? Start \
         it, or correct its address in dappscope's configuration. dappscope itself is up and \
         passes requests on as soon as the node answers."
    );
    let id = request_id(request).unwrap_or("null");
    answer(502, &body(id, &message), "Access-Control-Allow-Origin: *\r\n")
}

/// Writes `answer` and closes this side.
pub(super) async fn give(client: &mut TcpStream, answer: &Answer) {
    let _ = timeout(LINGER, async {
        client.write_all(&answer.bytes).await?;
        client.shutdown().await
    })
    .await;
}

/// Reads what the client still sends: closing with unread bytes would reset the connection, and the
/// client could lose the answer.
pub(super) async fn drain(client: &mut TcpStream) {
    let _ = timeout(LINGER, async {
        let mut rest = client.take(LINGER_BYTES);
        // On the heap: an array would be part of every connection that never gets here.
        let mut scratch = vec![0; 16 * 1024];
        while rest.read(&mut scratch).await? > 0 {}
        io::Result::Ok(())
    })
    .await;
}

fn body(id: &str, message: &str) -> String {
    let message = serde_json::Value::from(message);
    format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{CODE},"message":{message}}}}}"#)
}

fn answer(status: u16, body: &str, headers: &str) -> Answer {
    let phrase = match status {
        204 => "No Content",
        400 => "Bad Request",
        403 => "Forbidden",
        431 => "Request Header Fields Too Large",
        502 => "Bad Gateway",
        _ => "Refused",
    };
    let framing = if status == 204 {
        String::new()
    } else {
        format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len())
    };
    let text =
        format!("HTTP/1.1 {status} {phrase}\r\n{framing}{headers}Connection: close\r\n\r\n{body}");
    Answer { status, bytes: text.into_bytes(), size: body.len() as u64 }
}

/// The id of the JSON-RPC request in `request`, as it was written, if all of it is there.
fn request_id(request: &[u8]) -> Option<&str> {
    #[derive(Deserialize)]
    struct Envelope<'a> {
        #[serde(borrow)]
        id: &'a RawValue,
    }
    let body = memchr::memmem::find(request, b"\r\n\r\n")? + 4;
    let mut values = serde_json::Deserializer::from_slice(&request[body..]).into_iter();
    let Envelope { id } = values.next()?.ok()?;
    let id = id.get();
    let scalar = id.starts_with(|c: char| c == '"' || c == '-' || c.is_ascii_digit());
    (scalar && id.len() <= LONGEST_ID).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_is_echoed_as_it_was_written() {
        let request = |body: &str| format!("POST / HTTP/1.1\r\nHost: x\r\n\r\n{body}").into_bytes();
        let id = |body: &str| request_id(&request(body)).map(str::to_owned);
        assert_eq!(id(r#"{"id":1057264140543346,"method":"x"}"#).unwrap(), "1057264140543346");
        assert_eq!(id(r#"{"method":"x","params":[{"id":1}],"id":"a\"b"}"#).unwrap(), r#""a\"b""#);
        assert_eq!(id(r#"{"id":{"x":1}}"#), None);
        assert_eq!(id(r#"[{"id":1}]"#), None);
        assert_eq!(id(r#"{"id":1,"method"#), None);
    }

    #[test]
    fn what_is_said_is_json_whatever_is_in_it() {
        let told = unreachable("a\"b:1", "no \u{1} such", b"", false);
        let text = String::from_utf8(told.bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 502 Bad Gateway\r\n"));
        assert!(head.contains(&format!("Content-Length: {}", body.len())));
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["error"]["code"], CODE);
    }
}
