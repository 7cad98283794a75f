//! The JSON-RPC methods that nodes and wallets know, and what recording has to do for each.
//!
//! One list: to teach the recorder a method is one line in it. A method that is not listed is
//! admitted while there is room in the label set and is [`Class::Other`].

use std::collections::HashMap;

use crate::model::kind::MethodKind;
use crate::model::{LabelSet, Method};

/// What a method does, as far as recording differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Asks for state and changes none: asking twice between two blocks is a repetition.
    Read,
    /// A read of an account's state, which names the account.
    State,
    /// A read that names a contract and an input: `eth_call`, `eth_estimateGas`.
    Call,
    /// The same beside them: traces of a call, access lists, several calls in a row.
    Simulate,
    /// Submits a transaction.
    Send,
    /// Opens a subscription.
    Subscribe,
    /// Ends a subscription.
    Unsubscribe,
    /// Asks for a transaction's receipt.
    Receipt,
    /// Mines blocks while it is being answered.
    Mine,
    /// Changes the chain beside transactions: mining, time, balances, snapshots, forks.
    Change,
    /// Puts an earlier or another chain in the place of this one, which no node announces.
    Replace,
    /// Anything else: signing, filters that forget what they told, accounts.
    Other,
}

use Class::{
    Call, Change, Mine, Other, Read, Receipt, Replace, Send, Simulate, State, Subscribe,
    Unsubscribe,
};

/// The known methods.
#[rustfmt::skip]
const KNOWN: &[(&str, Class)] = &[
    ("eth_accounts", Read), ("eth_blobBaseFee", Read), ("eth_blockNumber", Read),
    ("eth_call", Call), ("eth_callMany", Simulate), ("eth_chainId", Read), ("eth_coinbase", Read),
    ("eth_createAccessList", Simulate), ("eth_estimateGas", Call), ("eth_feeHistory", Read),
    ("eth_fillTransaction", Other), ("eth_gasPrice", Read), ("eth_getAccount", Read),
    ("eth_getBalance", State), ("eth_getBlockByHash", Read), ("eth_getBlockByNumber", Read),
    ("eth_getBlockReceipts", Read), ("eth_getBlockTransactionCountByHash", Read),
    ("eth_getBlockTransactionCountByNumber", Read), ("eth_getCode", State),
    ("eth_getFilterChanges", Other), ("eth_getFilterLogs", Other), ("eth_getLogs", State),
    ("eth_getProof", State), ("eth_getStorageAt", State),
    ("eth_getTransactionByBlockHashAndIndex", Read),
    ("eth_getTransactionByBlockNumberAndIndex", Read), ("eth_getTransactionByHash", Read),
    ("eth_getTransactionCount", Read), ("eth_getTransactionReceipt", Receipt),
    ("eth_getUncleCountByBlockHash", Read), ("eth_getUncleCountByBlockNumber", Read),
    ("eth_hashrate", Read), ("eth_maxPriorityFeePerGas", Read), ("eth_mining", Read),
    ("eth_newBlockFilter", Other), ("eth_newFilter", Other),
    ("eth_newPendingTransactionFilter", Other), ("eth_pendingTransactions", Read),
    ("eth_protocolVersion", Read), ("eth_requestAccounts", Other),
    ("eth_sendBundle", Other), ("eth_sendPrivateTransaction", Other),
    ("eth_sendRawTransaction", Send), ("eth_sendRawTransactionSync", Send),
    ("eth_sendTransaction", Send), ("eth_sendTransactionSync", Send),
    ("eth_sendUserOperation", Other), ("eth_sign", Other), ("eth_signTransaction", Other),
    ("eth_signTypedData", Other), ("eth_signTypedData_v3", Other),
    ("eth_signTypedData_v4", Other), ("eth_simulateV1", Simulate), ("eth_subscribe", Subscribe),
    ("eth_syncing", Read), ("eth_uninstallFilter", Other), ("eth_unsubscribe", Unsubscribe),
    ("net_listening", Read), ("net_peerCount", Read), ("net_version", Read),
    ("web3_clientVersion", Read), ("web3_sha3", Read), ("rpc_modules", Read),
    ("debug_getRawBlock", Read), ("debug_getRawReceipts", Read), ("debug_getRawTransaction", Read),
    ("debug_storageRangeAt", Read), ("debug_traceBlockByHash", Read),
    ("debug_traceBlockByNumber", Read), ("debug_traceCall", Simulate),
    ("debug_traceTransaction", Read),
    ("trace_block", Read), ("trace_call", Simulate), ("trace_callMany", Simulate), ("trace_filter", Read), ("trace_get", Read),
    ("trace_replayBlockTransactions", Read), ("trace_replayTransaction", Read),
    ("trace_transaction", Read),
    ("txpool_content", Read), ("txpool_inspect", Read), ("txpool_status", Read),
    ("hardhat_addCompilationResult", Other), ("hardhat_dropTransaction", Change),
    ("hardhat_getAutomine", Read), ("hardhat_impersonateAccount", Change),
    ("hardhat_metadata", Read), ("hardhat_mine", Mine), ("hardhat_reset", Replace),
    ("hardhat_setBalance", Change), ("hardhat_setCode", Change), ("hardhat_setCoinbase", Change),
    ("hardhat_setLoggingEnabled", Other), ("hardhat_setMinGasPrice", Change),
    ("hardhat_setNextBlockBaseFeePerGas", Change), ("hardhat_setNonce", Change),
    ("hardhat_setPrevRandao", Change), ("hardhat_setStorageAt", Change),
    ("hardhat_stopImpersonatingAccount", Change),
    ("hardhat_loadState", Replace), ("tenderly_setCode", Change), ("tenderly_setStorageAt", Change),
    ("evm_setAccountCode", Change), ("evm_setAccountStorageAt", Change),
    ("evm_increaseTime", Change), ("evm_mine", Mine), ("evm_revert", Replace),
    ("evm_setAutomine", Change), ("evm_setBlockGasLimit", Change),
    ("evm_setIntervalMining", Change), ("evm_setNextBlockTimestamp", Change),
    ("evm_setTime", Change), ("evm_snapshot", Change),
    ("anvil_autoImpersonateAccount", Change), ("anvil_dropTransaction", Change),
    ("anvil_dumpState", Read), ("anvil_getAutomine", Read), ("anvil_impersonateAccount", Change),
    ("anvil_increaseTime", Change), ("anvil_loadState", Replace), ("anvil_metadata", Read),
    ("anvil_reorg", Replace), ("anvil_rollback", Replace), ("anvil_mine", Mine), ("anvil_nodeInfo", Read), ("anvil_reset", Replace),
    ("anvil_revert", Replace), ("anvil_setAutomine", Change), ("anvil_setBalance", Change),
    ("anvil_setBlockTimestampInterval", Change), ("anvil_setCode", Change),
    ("anvil_setCoinbase", Change), ("anvil_setIntervalMining", Change),
    ("anvil_setMinGasPrice", Change), ("anvil_setNextBlockBaseFeePerGas", Change),
    ("anvil_setNonce", Change), ("anvil_setStorageAt", Change), ("anvil_snapshot", Change),
    ("anvil_stopImpersonatingAccount", Change),
    ("ots_getApiLevel", Read), ("erigon_getHeaderByNumber", Read),
    ("personal_importRawKey", Other), ("personal_listAccounts", Other),
    ("personal_newAccount", Other), ("personal_sendTransaction", Other),
    ("personal_sign", Other), ("personal_unlockAccount", Other),
    ("wallet_addEthereumChain", Other), ("wallet_getCapabilities", Other),
    ("wallet_getCallsStatus", Other), ("wallet_getPermissions", Other),
    ("wallet_requestPermissions", Other), ("wallet_revokePermissions", Other),
    ("wallet_sendCalls", Other), ("wallet_switchEthereumChain", Other),
    ("wallet_watchAsset", Other),
    ("engine_exchangeCapabilities", Other), ("engine_forkchoiceUpdatedV3", Other),
];

/// The longest name that is looked at, in bytes: labels hold no longer one.
const LONGEST: usize = 128;

/// Turns names into labels, each with what the method does.
pub struct Methods {
    known: HashMap<&'static str, Class>,
    /// The methods met that the list does not name.
    met: LabelSet<MethodKind>,
}

impl Methods {
    pub fn new() -> Self {
        let names: Vec<_> = KNOWN.iter().map(|(name, _)| *name).collect();
        Self { known: KNOWN.iter().copied().collect(), met: LabelSet::with_known(&names) }
    }

    /// The method of this name; none when there is no label left for it, or when it is longer than
    /// a label.
    pub fn admit(&mut self, name: &str) -> Option<(Method, Class)> {
        if name.len() > LONGEST {
            return None;
        }
        if let Some((&name, &class)) = self.known.get_key_value(name) {
            return Some((Method::known(name), class));
        }
        // Free text is no method: control characters and the like stay out of labels.
        if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.:-/".contains(&b)) {
            return None;
        }
        let before = self.met.overflow();
        let method = self.met.admit(name);
        (self.met.overflow() == before).then_some((method, Other))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::model::LabelKind;

    #[test]
    fn every_method_is_listed_once_and_leaves_room_for_unlisted_ones() {
        let names: HashSet<_> = KNOWN.iter().map(|(name, _)| name).collect();
        assert_eq!(names.len(), KNOWN.len());
        assert!(KNOWN.len() + 64 <= MethodKind::CAPACITY, "{} are listed", KNOWN.len());
    }

    #[test]
    fn unlisted_methods_are_admitted_until_the_set_is_full() {
        let mut methods = Methods::new();
        let calls = 2 * MethodKind::CAPACITY;
        let admitted = (0..calls).filter(|i| methods.admit(&format!("x_{i}")).is_some()).count();
        assert_eq!(admitted, MethodKind::CAPACITY - KNOWN.len());
        assert_eq!(methods.admit("x_0"), Some((Method::known("x_0"), Other)));
        assert_eq!(methods.admit("eth_call"), Some((Method::known("eth_call"), Call)));
        assert_eq!(methods.admit(&"x".repeat(129)), None);
        assert_eq!(Methods::new().admit("eth_call\r\nSet-Cookie: a=b"), None);
    }
}
