//! Findings in words: what was seen, and what to do about it.

use std::time::Duration;

use crate::model::{Finding, FindingKind, Unexplained, UnknownPeer};

/// One sentence of what was seen.
pub fn text(finding: &Finding) -> String {
    let span = in_words(finding.span);
    let count = finding.count;
    match finding.kind {
        FindingKind::RepeatedCalls => format!(
            "{} was asked {count} times with the same parameters within {span}, while no block \
             came in between.",
            what(finding)
        ),
        FindingKind::MulticallBurst if finding.request.is_some() => format!(
            "{} made {count} reads ({}) one by one within {span}.",
            request(finding),
            what(finding)
        ),
        FindingKind::MulticallBurst => {
            format!("{count} reads ({}) came one by one within {span}.", what(finding))
        }
        FindingKind::ReceiptPolling => format!(
            "The receipt of {} was asked for {count} times within {span}.",
            finding.transaction.map_or_else(|| "a transaction".to_owned(), |hash| hash.to_string())
        ),
        FindingKind::NonceAhead => format!(
            "{} sends nonces that are ahead of the chain's: the chain was restarted or set back, \
             and the wallet still counts from before.",
            finding.account.map_or_else(|| "An account".to_owned(), |account| account.to_string())
        ),
        FindingKind::BlockAhead => format!(
            "{} was asked for {count} times within {span}, and the chain has no such block: it was \
             restarted or set back, and the wallet remembers a block of the chain before.",
            finding
                .block
                .map_or_else(|| "A block by its hash".to_owned(), |n| format!("The block {n}"))
        ),
        FindingKind::RepeatedQueries => format!(
            "{} made {count} similar queries ({}), {span} together.",
            request(finding),
            finding.query.as_deref().unwrap_or("their text was not told")
        ),
        FindingKind::RepeatedCallsInRequest => format!(
            "{} made {count} similar calls to the node ({}), {span} together.",
            request(finding),
            what(finding)
        ),
        FindingKind::RevertedAfterSuccess => format!(
            "{} was answered as a success, and its transaction {} reverted.",
            request(finding),
            finding.transaction.map_or_else(String::new, |hash| hash.to_string())
        ),
    }
}

/// What to do.
pub fn advice(finding: &Finding) -> &'static str {
    let query = finding.query.as_deref().unwrap_or_default();
    let is_write = ["INSERT", "UPDATE", "DELETE", "REPLACE", "MERGE"]
        .iter()
        .any(|verb| query.starts_with(verb));
    match finding.kind {
        FindingKind::RepeatedCalls => {
            "Ask once and keep the answer until the next block; what never changes, such as the chain id, for good."
        }
        FindingKind::MulticallBurst => {
            "Use one Multicall3 call, or one JSON-RPC batch, for all of them."
        }
        FindingKind::ReceiptPolling => {
            "Wait for the receipt through a subscription (newHeads), or ask once a block."
        }
        FindingKind::NonceAhead | FindingKind::BlockAhead => {
            "Reset the account in the wallet; MetaMask: Settings > Advanced > Clear activity tab \
             data."
        }
        FindingKind::RepeatedQueries if is_write => {
            "Write all rows with one statement (VALUES with many rows, WHERE … IN), or with the \
             driver's executemany, after the loop."
        }
        FindingKind::RepeatedQueries => {
            "Ask for all rows in one query (a join, or WHERE … IN), before the loop."
        }
        FindingKind::RepeatedCallsInRequest => {
            "Ask once before the loop, use one Multicall3 call or JSON-RPC batch, or keep an index \
             from the contract's events."
        }
        FindingKind::RevertedAfterSuccess => {
            "Answer once the receipt is there, or let the client ask for it: a hash is no success."
        }
    }
}

/// Why the reason of a reverted transaction is not known.
pub const fn unexplained(why: Unexplained) -> &'static str {
    match why {
        Unexplained::NotFirstInBlock => {
            "The reason is not known: other transactions came before it in its block, and the node \
             runs a call only on the state before a block."
        }
        Unexplained::TooMuchGas => {
            "The reason is not known: it used too much gas to have the node run it again."
        }
        Unexplained::TooMany => {
            "The reason is not known: too many reverted at once to have the node run them again."
        }
        Unexplained::NodeRefused => {
            "The reason is not known: the node does not run calls on the state before its block."
        }
        Unexplained::EndedOtherwise => {
            "The reason is not known: run again on the state before its block, it ended otherwise."
        }
        Unexplained::TransactionType => {
            "The reason is not known: it has blobs or authorisations, which a call cannot have."
        }
        Unexplained::AnsweredElsewhere => {
            "The reason is not known: the node answers the submission with it, and that did not \
             pass the relay."
        }
        Unexplained::SwitchedOff => "The reason is not known: the node is not asked for it.",
    }
}

/// The request in which it was found.
fn request(finding: &Finding) -> String {
    match finding.request {
        Some(request) => format!("{} {}", request.method, request.route),
        None => "A request".to_owned(),
    }
}

/// Who caused it: the program and the process where they are known, and the connection.
pub fn who(finding: &Finding) -> String {
    if finding.request.is_some() {
        return format!("the API, {}", request(finding));
    }
    let client = &finding.client;
    let unknown = client.process_unknown.map(|reason| match reason {
        UnknownPeer::ConnectionClosed => "unknown process (it closed the connection at once)",
        UnknownPeer::NoTime => "unknown process (too many connections to look up)",
        UnknownPeer::NotPermitted => "unknown process (of another user or container)",
        UnknownPeer::OtherMachine => "a process of another machine or container",
        UnknownPeer::Unsupported => "unknown process",
    });
    let known = [client.process.as_deref().or(unknown), client.agent.as_deref()];
    let mut parts: Vec<_> = known.into_iter().flatten().map(str::to_owned).collect();
    parts.push(format!("connection {}", finding.connection.0));
    parts.join(", ")
}

fn what(finding: &Finding) -> String {
    let method = finding.method.map_or("the same call", |method| method.as_str());
    match finding.target {
        None => method.to_owned(),
        // Of a read of state the function is the method itself.
        Some(target) if target.function.as_str() == method => {
            format!("{method} of {}", target.contract)
        }
        Some(target) => format!("{method} of {}.{}", target.contract, target.function),
    }
}

fn in_words(span: Duration) -> String {
    if span < Duration::from_millis(1) {
        format!("{} µs", span.as_micros())
    } else if span < Duration::from_secs(1) {
        format!("{} ms", span.as_millis())
    } else {
        format!("{:.1} s", span.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use alloy::primitives::{Address, B256};

    use super::*;
    use crate::model::{
        Client, ConnectionId, ContractCall, ContractName, FunctionName, HttpMethod, Method,
        RequestRef, Route, UnixMicros,
    };

    fn finding(kind: FindingKind) -> Finding {
        Finding {
            at: UnixMicros(1),
            kind,
            count: 12,
            span: Duration::from_millis(3_200),
            method: Some(Method::known("eth_call")),
            target: Some(ContractCall {
                contract: ContractName::known("Marketplace"),
                function: FunctionName::known("listings"),
            }),
            transaction: Some(B256::repeat_byte(0x5f)),
            account: Some(Address::repeat_byte(0xf3)),
            connection: ConnectionId(7),
            client: Client {
                agent: Some("ethers/6".into()),
                process: Some("node (4711)".into()),
                process_unknown: None,
            },
            request: Some(RequestRef {
                trace_id: 1,
                method: HttpMethod::known("GET"),
                route: Route::known("/api/nfts"),
            }),
            query: Some("SELECT ?".into()),
            block: Some(500),
        }
    }

    #[test]
    fn every_kind_is_told_in_one_sentence_with_advice() {
        let told = text(&finding(FindingKind::RepeatedCalls));
        assert_eq!(
            told,
            "eth_call of Marketplace.listings was asked 12 times with the same parameters within \
             3.2 s, while no block came in between."
        );
        for kind in FindingKind::ALL {
            for words in [text(&finding(kind)), advice(&finding(kind)).to_owned()] {
                assert!(words.ends_with('.') && words.len() > 30, "{words}");
                assert!(words.starts_with(char::is_alphanumeric), "{words}");
            }
        }
        let writes = Finding {
            query: Some("INSERT INTO t VALUES (?)".into()),
            ..finding(FindingKind::RepeatedQueries)
        };
        assert!(advice(&writes).contains("executemany"), "{}", advice(&writes));
        let of_request = finding(FindingKind::RepeatedQueries);
        assert_eq!(who(&of_request), "the API, GET /api/nfts");
        let by_itself = Finding { request: None, ..finding(FindingKind::NonceAhead) };
        assert_eq!(who(&by_itself), "node (4711), ethers/6, connection 7");
    }
}
