//! What is known of why a mined transaction reverted. Receipts do not say it.

use alloy::primitives::Bytes;

use super::label::Reason;

/// What the watcher found out about a reverted transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RevertCause {
    /// The same call, on the same state, failed so.
    Replayed(ReplayedRevert),
    Unexplained(Unexplained),
}

/// How the node refused the same call again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayedRevert {
    /// What the code returned; empty when it returned nothing.
    pub data: Bytes,
    /// By the node's words.
    pub reason: Reason,
}

/// Why the reason of a reverted transaction is not known.
///
/// The codes are stored: new ones are appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unexplained {
    /// Others before it in its block may have changed what it met, and the node runs a call only on
    /// the state before a block.
    NotFirstInBlock,
    /// It used more gas than the node is asked to run again.
    TooMuchGas,
    /// Too many reverted at once.
    TooMany,
    /// The node does not run calls on the state before this block.
    NodeRefused,
    /// Run again, it did not revert, or not in the way that its gas shows.
    EndedOtherwise,
    /// With blobs or authorisations, which the call would be without.
    TransactionType,
    /// The node answers the submission with the reason, and that did not pass the relay.
    AnsweredElsewhere,
    /// Nothing is asked of the node to learn reasons.
    SwitchedOff,
}

impl Unexplained {
    pub const ALL: [Self; 8] = [
        Self::NotFirstInBlock,
        Self::TooMuchGas,
        Self::TooMany,
        Self::NodeRefused,
        Self::EndedOtherwise,
        Self::TransactionType,
        Self::AnsweredElsewhere,
        Self::SwitchedOff,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotFirstInBlock => "not_first_in_block",
            Self::TooMuchGas => "too_much_gas",
            Self::TooMany => "too_many",
            Self::NodeRefused => "node_refused",
            Self::EndedOtherwise => "ended_otherwise",
            Self::TransactionType => "transaction_type",
            Self::AnsweredElsewhere => "answered_elsewhere",
            Self::SwitchedOff => "switched_off",
        }
    }
}
