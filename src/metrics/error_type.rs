//! The `error_type` label: what went wrong with a call, in a bounded number of words.

use std::collections::HashMap;

use crate::model::{OTHER, Outcome};

/// JSON-RPC codes and HTTP statuses that get a label of their own, each; the codes are the node's
/// to choose.
const MOST: usize = 64;

/// Tells an outcome's label; never more than a fixed number of different ones.
#[derive(Default)]
pub struct ErrorTypes {
    codes: HashMap<i64, ErrorType>,
    statuses: HashMap<u16, ErrorType>,
    texts: Vec<String>,
}

/// A label, small enough for a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorType {
    Fixed(Fixed),
    /// A place in the list of texts.
    Listed(u8),
}

/// The labels that are known beforehand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fixed {
    /// The empty label: no error.
    None,
    Timeout,
    Connect,
    ClientGone,
    UpstreamGone,
    Unanswered,
    Uninspected,
    Stopped,
    Other,
}

impl Fixed {
    const fn as_str(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Timeout => "timeout",
            Self::Connect => "connect",
            Self::ClientGone => "client_gone",
            Self::UpstreamGone => "upstream_gone",
            Self::Unanswered => "unanswered",
            Self::Uninspected => "uninspected",
            Self::Stopped => "stopped",
            Self::Other => OTHER,
        }
    }
}

impl ErrorTypes {
    /// The label of `outcome`, and whether it is `_OTHER` for want of room.
    pub fn of(&mut self, outcome: Outcome) -> ErrorType {
        let fixed = match outcome {
            Outcome::Success | Outcome::Notification => Fixed::None,
            Outcome::Timeout => Fixed::Timeout,
            Outcome::Connect => Fixed::Connect,
            Outcome::ClientGone => Fixed::ClientGone,
            Outcome::UpstreamGone => Fixed::UpstreamGone,
            Outcome::Unanswered => Fixed::Unanswered,
            Outcome::Uninspected => Fixed::Uninspected,
            Outcome::Stopped => Fixed::Stopped,
            Outcome::Error(code) => {
                return listed(&mut self.codes, &mut self.texts, code, || code.to_string());
            }
            Outcome::Http(status) => {
                return listed(&mut self.statuses, &mut self.texts, status, || {
                    format!("http_{status}")
                });
            }
        };
        ErrorType::Fixed(fixed)
    }

    pub fn text(&self, label: ErrorType) -> &str {
        match label {
            ErrorType::Fixed(fixed) => fixed.as_str(),
            ErrorType::Listed(place) => &self.texts[usize::from(place)],
        }
    }
}

fn listed<K: Eq + std::hash::Hash>(
    known: &mut HashMap<K, ErrorType>,
    texts: &mut Vec<String>,
    key: K,
    text: impl FnOnce() -> String,
) -> ErrorType {
    if let Some(&label) = known.get(&key) {
        return label;
    }
    if known.len() >= MOST {
        return ErrorType::Fixed(Fixed::Other);
    }
    let place = u8::try_from(texts.len()).expect("two lists of 64 texts end below 256");
    texts.push(text());
    known.insert(key, ErrorType::Listed(place));
    ErrorType::Listed(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_labelled_by_its_code_and_a_success_by_nothing() {
        let mut labels = ErrorTypes::default();
        for (outcome, text) in [
            (Outcome::Success, ""),
            (Outcome::Notification, ""),
            (Outcome::Error(-32603), "-32603"),
            (Outcome::Http(502), "http_502"),
            (Outcome::Timeout, "timeout"),
            (Outcome::Error(-32603), "-32603"),
        ] {
            let label = labels.of(outcome);
            assert_eq!(labels.text(label), text);
        }
    }

    #[test]
    fn a_node_that_invents_codes_ends_in_other() {
        let mut labels = ErrorTypes::default();
        for code in 0..10_000 {
            labels.of(Outcome::Error(code));
            labels.of(Outcome::Http(u16::try_from(code).unwrap()));
        }
        let label = labels.of(Outcome::Error(9_999));
        assert_eq!(labels.text(label), OTHER);
        assert_eq!(labels.texts.len(), 2 * MOST);
        let label = labels.of(Outcome::Error(0));
        assert_eq!(labels.text(label), "0");
    }
}
