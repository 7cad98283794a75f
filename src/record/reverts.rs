//! Why a transaction was refused or reverted: by the node's answer to its submission, or by the
//! replay that the watcher made. What neither determines is `_unknown`: that all gas was used means a
//! halt of some sort, and not which.

use alloy::primitives::Address;

use crate::decode::contracts::Contracts;
use crate::decode::revert::{RefusalKind, RevertInfo};
use crate::model::{MinedTransaction, Reason, ReplayedRevert, RevertCause, Unexplained};

/// A reason, the same for people, and why there is none.
#[derive(Default)]
pub struct Why {
    pub reason: Option<Reason>,
    pub message: Option<Box<str>>,
    pub unexplained: Option<Unexplained>,
}

/// Why a submission was refused.
pub fn why_refused(refusal: RevertInfo, to: Option<Address>, contracts: &mut Contracts) -> Why {
    match refusal.data {
        Some(data) if !data.is_empty() => by_data(&data, to, contracts),
        _ => by_words(refusal.kind.reason(), refusal.words),
    }
}

/// Why a mined transaction reverted.
pub fn why_reverted(
    mined: &MinedTransaction,
    refusal: Option<&RevertInfo>,
    contracts: &mut Contracts,
) -> Why {
    // One that did not let it run is of a second submission, or of a node that mined it anyhow.
    if let Some(info) = refusal.filter(|info| info.kind.ran()) {
        return match (&info.data, info.kind) {
            (Some(data), _) if !data.is_empty() => by_data(data, mined.to, contracts),
            // The node's words say more than that nothing was returned.
            (_, kind) if kind != RefusalKind::Reverted => plain(kind.reason()),
            (Some(_), _) => plain(contracts.reason(mined.to, &[])),
            (None, _) => by_words(RefusalKind::Reverted.reason(), info.words.clone()),
        };
    }
    match &mined.revert {
        Some(RevertCause::Replayed(ReplayedRevert { data, reason })) => {
            if data.is_empty() {
                plain(*reason)
            } else {
                by_data(data, mined.to, contracts)
            }
        }
        Some(RevertCause::Unexplained(why)) => {
            Why { unexplained: Some(*why), ..plain(Reason::unknown()) }
        }
        None => plain(Reason::unknown()),
    }
}

fn by_data(data: &[u8], to: Option<Address>, contracts: &mut Contracts) -> Why {
    let message = contracts.revert_message(to, data).map(Into::into);
    Why { reason: Some(contracts.reason(to, data)), message, unexplained: None }
}

fn by_words(reason: Reason, words: Box<str>) -> Why {
    let message = Some(words).filter(|words| !words.is_empty());
    Why { reason: Some(reason), message, unexplained: None }
}

fn plain(reason: Reason) -> Why {
    Why { reason: Some(reason), ..Why::default() }
}
