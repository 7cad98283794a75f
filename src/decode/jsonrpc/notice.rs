//! Subscriptions: what a client subscribes to, and what the node then sends.

use alloy::primitives::B256;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Envelope, Id};
use crate::model::{Event, OTHER};

/// A message of a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notice<'a> {
    /// The subscription's id, compared like a call's.
    pub subscription: Id,
    /// What is told, as JSON text.
    pub result: &'a str,
}

impl<'a> Notice<'a> {
    /// Reads the params of an `eth_subscription`; none for anything else.
    pub fn of(envelope: &Envelope<'a>) -> Option<Self> {
        #[derive(Deserialize)]
        struct Params<'a> {
            #[serde(borrow)]
            subscription: &'a RawValue,
            #[serde(borrow)]
            result: &'a RawValue,
        }
        if envelope.method()? != "eth_subscription" {
            return None;
        }
        let params: Params<'a> = serde_json::from_slice(envelope.params?).ok()?;
        Some(Self {
            subscription: subscription_id(params.subscription.get().as_bytes()),
            result: params.result.get(),
        })
    }

    /// The hash of the block that a `newHeads` message announces.
    pub fn head(&self) -> Option<B256> {
        #[derive(Deserialize)]
        struct Head {
            hash: B256,
        }
        serde_json::from_str::<Head>(self.result).ok().map(|head| head.hash)
    }
}

/// A subscription's id from its JSON text: the result of `eth_subscribe`.
pub fn subscription_id(text: &[u8]) -> Id {
    Id::of(text)
}

/// Which subscription the params of `eth_subscribe` ask for.
pub fn subscription_kind(params: &[u8]) -> &'static str {
    let asked = first_text(params);
    Event::SUBSCRIPTIONS.into_iter().find(|known| Some(*known) == asked).unwrap_or(OTHER)
}

/// The id that the params of `eth_unsubscribe` name.
pub fn unsubscribed(params: &[u8]) -> Option<Id> {
    let [id]: [&RawValue; 1] = serde_json::from_slice(params).ok()?;
    Some(subscription_id(id.get().as_bytes()))
}

fn first_text(params: &[u8]) -> Option<&str> {
    let params: Vec<&RawValue> = serde_json::from_slice(params).ok()?;
    serde_json::from_str(params.first()?.get()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::jsonrpc::{Shape, read};

    fn envelope(text: &str) -> Envelope<'_> {
        match read(text.as_bytes()).expect("well-formed").shape {
            Shape::Single(envelope) => envelope,
            Shape::Batch { .. } => panic!("a batch"),
        }
    }

    #[test]
    fn a_notification_names_its_subscription_and_its_block() {
        let hash = B256::repeat_byte(7);
        let text = format!(
            r#"{{"jsonrpc":"2.0","method":"eth_subscription","params":{{"subscription":"0x1","result":{{"number":"0x2","hash":"{hash}"}}}}}}"#
        );
        let notice = Notice::of(&envelope(&text)).expect("a notification");
        assert_eq!(notice.subscription, subscription_id(br#""0x1""#));
        assert_eq!(notice.head(), Some(hash));
        assert_eq!(Notice::of(&envelope(r#"{"method":"eth_subscription","params":[]}"#)), None);
        assert_eq!(Notice::of(&envelope(r#"{"method":"eth_call","params":{}}"#)), None);
    }

    #[test]
    fn a_subscription_s_kind_is_one_of_the_known_ones() {
        assert_eq!(subscription_kind(br#"["newHeads"]"#), "newHeads");
        assert_eq!(subscription_kind(br#"["logs",{"address":"0x1"}]"#), "logs");
        assert_eq!(subscription_kind(br#"["alchemy_mined"]"#), OTHER);
        assert_eq!(subscription_kind(b"[]"), OTHER);
        assert_eq!(subscription_kind(b"[7"), OTHER);
        assert_eq!(unsubscribed(br#"["0x1"]"#), Some(subscription_id(br#""0x1""#)));
        assert_eq!(unsubscribed(b"{}"), None);
    }
}
