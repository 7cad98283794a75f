//! Every order in which a submission, its block and its contract's name can come.

use alloy::primitives::{Bytes, U256, address};

use super::super::fate::SubmissionOutcome;
use super::super::passage::Caller;
use super::*;
use crate::decode::artifact::Artifact;
use crate::decode::revert::{RefusalKind, RevertInfo};
use crate::decode::submission::Submission;
use crate::model::{ReplayedRevert, RevertCause, Sight, Transaction, TransactionKind, Unexplained};

const NFT: &str = include_str!("../../../tests/fixtures/artifacts/MarketNFT.json");
const THERE: Address = address!("5FbDB2315678afecb367f032d93F642f64180aa3");
const MINT: [u8; 4] = [0xd0, 0xde, 0xf5, 0x21];
const EMPTY_URI: [u8; 4] = [0xd0, 0x7b, 0x00, 0xd6];

/// The recorder, as far as transactions need one.
struct Recorder {
    transactions: Transactions,
    contracts: Contracts,
    out: Told,
}

impl Recorder {
    /// One that knows the contract's artifact, but not where it is.
    fn new() -> Self {
        let mut contracts = Contracts::new();
        contracts.add(Artifact::parse(NFT.as_bytes(), "").unwrap());
        Self { transactions: Transactions::new(), contracts, out: Told::default() }
    }

    /// One that knows where the contract is as well.
    fn named() -> Self {
        let mut recorder = Self::new();
        recorder.learn();
        recorder
    }

    fn learn(&mut self) {
        let json: serde_json::Value = serde_json::from_str(NFT).unwrap();
        let code = alloy::primitives::hex::decode(json["deployedBytecode"].as_str().unwrap());
        self.told_code(THERE, code.unwrap().into());
    }

    fn told_code(&mut self, address: Address, code: Bytes) {
        self.contracts.learn_code(address, &code, None);
        let found =
            ContractCode { address, code, implementation: None, asked: Interval::default() };
        self.transactions.learned(&found, &mut self.contracts, &mut self.out);
    }

    fn submit(&mut self, hash: u8, left_ms: u64, outcome: SubmissionOutcome) {
        let submission = Submission { hash: Some(B256::repeat_byte(hash)), ..unsigned() };
        self.submit_this(submission, left_ms, outcome);
    }

    /// What a node signs itself.
    fn submit_unsigned(&mut self, left_ms: u64, outcome: SubmissionOutcome) {
        self.submit_this(unsigned(), left_ms, outcome);
    }

    fn submit_this(&mut self, submission: Submission, left_ms: u64, outcome: SubmissionOutcome) {
        let call = SubmissionCall {
            at: UnixMicros(left_ms * 1_000),
            left: ms(left_ms),
            total: Duration::from_millis(4),
            upstream: Duration::from_millis(3),
            outcome,
            caller: Caller::gone(crate::model::ConnectionId(1)),
            trace: None,
        };
        self.transactions.submitted(submission, &call, &mut self.contracts, &mut self.out);
    }

    fn accept(&mut self, hash: u8, left_ms: u64) {
        self.submit(hash, left_ms, SubmissionOutcome::Accepted(Some(B256::repeat_byte(hash))));
    }

    fn block(&mut self, number: u64, seen_ms: u64, hashes: &[u8]) {
        self.block_of(block(number, seen_ms, hashes.iter().map(|hash| mined(*hash)).collect()));
    }

    fn block_of(&mut self, block: MinedBlock) {
        let clock = Clock::fixed(ms(0), UnixMicros(0));
        self.transactions.block(block, &clock, &mut self.contracts, &mut self.out);
    }

    fn expire(&mut self, now_ms: u64) {
        self.transactions.expire(ms(now_ms), &mut self.contracts, &mut self.out);
    }

    /// The transactions that were told since the last time.
    fn told(&mut self) -> Vec<Transaction> {
        let transaction = |sample| match sample {
            Sample::Transaction(transaction) => Some(*transaction),
            _ => None,
        };
        self.out.samples.drain(..).filter_map(transaction).collect()
    }

    fn only(&mut self) -> Transaction {
        let mut told = self.told();
        assert_eq!(told.len(), 1, "{told:?}");
        told.remove(0)
    }
}

fn ms(ms: u64) -> Stamp {
    Stamp::from_nanos(ms * 1_000_000)
}

fn unsigned() -> Submission {
    Submission {
        authorities: Box::default(),
        hash: None,
        from: None,
        signed: None,
        to: Some(THERE),
        input: Bytes::from([&MINT[..], &[7; 64]].concat()),
        nonce: Some(3),
        value: U256::ZERO,
        gas_limit: Some(500_000),
    }
}

fn mined(hash: u8) -> MinedTransaction {
    MinedTransaction {
        hash: B256::repeat_byte(hash),
        from: Address::repeat_byte(1),
        to: Some(THERE),
        input: Bytes::from([&MINT[..], &[7; 64]].concat()),
        nonce: 3,
        value: U256::ZERO,
        gas_limit: 500_000,
        gas_used: 72_562,
        gas_price: 8,
        success: true,
        created: None,
        revert: None,
        blob: None,
        envelope: Some(2),
        authorities: Box::default(),
        logs: Box::default(),
        logs_omitted: 0,
    }
}

fn reverted(hash: u8) -> MinedTransaction {
    MinedTransaction { success: false, ..mined(hash) }
}

fn block(number: u64, seen_ms: u64, transactions: Vec<MinedTransaction>) -> MinedBlock {
    MinedBlock {
        seen: ms(seen_ms),
        number,
        hash: U256::from(number).into(),
        parent: U256::from(number - 1).into(),
        timestamp: 99_999 + number,
        gas_used: 0,
        gas_limit: 30_000_000,
        base_fee: Some(7),
        transactions,
        missing: 0,
        live: true,
    }
}

fn refused(kind: RefusalKind, transaction: Option<u8>, data: Option<&[u8]>) -> SubmissionOutcome {
    SubmissionOutcome::Refused(RevertInfo {
        transaction: transaction.map(B256::repeat_byte),
        data: data.map(Bytes::copy_from_slice),
        kind,
        words: "the node's own words".into(),
    })
}

#[test]
fn one_that_reverted_is_recognised_without_its_hash() {
    let error = || refused(RefusalKind::Reverted, None, Some(&EMPTY_URI));
    for block_first in [false, true] {
        let mut recorder = Recorder::named();
        // Not it: another input, another gas limit, a success.
        let other = MinedTransaction { input: Bytes::from(MINT.to_vec()), ..reverted(0xbb) };
        let gas = MinedTransaction { gas_limit: 400_000, ..reverted(0xdd) };
        let transactions = vec![other, gas, mined(0xcc), reverted(0xaa)];
        let block = block(1, 1_003, transactions);
        if block_first {
            recorder.block_of(block.clone());
        }
        recorder.submit_unsigned(1_000, error());
        if !block_first {
            assert!(recorder.told().is_empty(), "it may still be mined");
            recorder.block_of(block);
        }
        let told = recorder.only();
        assert_eq!(told.hash, B256::repeat_byte(0xaa));
        assert_eq!(told.status, TransactionStatus::Reverted);
        assert_eq!(told.reason.unwrap().as_str(), "EmptyURI");
        assert_eq!(told.confirmation, Some(Duration::from_millis(3)));
    }
    // Refused before it was sent, as when its gas could not be estimated.
    let mut recorder = Recorder::named();
    recorder.submit_unsigned(1_000, error());
    recorder.expire(3_000);
    let told = recorder.only();
    assert_eq!((told.hash, told.status), (B256::ZERO, TransactionStatus::Rejected));
    assert_eq!(told.reason.unwrap().as_str(), "EmptyURI");
}

#[test]
fn the_answer_may_come_before_the_block_or_after_it() {
    for block_first in [false, true] {
        let mut recorder = Recorder::named();
        if block_first {
            recorder.block(1, 1_003, &[0xaa]);
            assert!(recorder.told().is_empty());
        }
        recorder.accept(0xaa, 1_000);
        if !block_first {
            assert_eq!(recorder.transactions.pending(), 1);
            assert_eq!(
                recorder.transactions.oldest_pending(ms(1_500)),
                Some(Duration::from_millis(500))
            );
            recorder.block(1, 1_003, &[0xaa]);
        }
        let told = recorder.only();
        assert_eq!(told.confirmation, Some(Duration::from_millis(3)));
        assert_eq!(told.submission, Some(Duration::from_millis(4)));
        assert_eq!((told.contract.as_str(), told.function.as_str()), ("MarketNFT", "mint"));
        assert_eq!((told.status, told.kind), (TransactionStatus::Success, TransactionKind::Call));
        assert_eq!((told.gas_used, told.block), (Some(72_562), Some(1)));
        assert_eq!(told.at, UnixMicros(1_000_000));
        assert_eq!(recorder.transactions.pending(), 0);
        recorder.expire(99_999);
        assert!(recorder.told().is_empty());
    }
}

#[test]
fn a_transaction_that_nobody_claims_did_not_pass_the_relay() {
    let mut recorder = Recorder::named();
    recorder.block(1, 1_000, &[0xaa]);
    recorder.expire(1_999);
    assert!(recorder.told().is_empty());
    recorder.expire(2_000);
    let told = recorder.only();
    assert_eq!((told.confirmation, told.submission), (None, None));
    assert_eq!((told.at, told.nonce), (UnixMicros(1_000_000), Some(3)));
    // Its answer was read very late: it is not told twice, nor pending for ever.
    recorder.accept(0xaa, 990);
    assert_eq!(recorder.transactions.pending(), 0);
}

#[test]
fn a_block_that_was_caught_up_on_confirms_nothing() {
    let mut recorder = Recorder::named();
    recorder.accept(0xaa, 1_000);
    recorder.block_of(MinedBlock { live: false, ..block(1, 9_000, vec![mined(0xaa)]) });
    let told = recorder.only();
    assert_eq!(told.confirmation, None);
    assert_eq!(told.submission, Some(Duration::from_millis(4)));
}

#[test]
fn an_error_that_was_mined_is_one_reverted_transaction() {
    for block_first in [false, true] {
        let mut recorder = Recorder::named();
        let error = refused(RefusalKind::Reverted, Some(0xaa), Some(&EMPTY_URI));
        if block_first {
            recorder.block_of(block(1, 1_003, vec![reverted(0xaa)]));
            recorder.submit(0xaa, 1_000, error);
        } else {
            recorder.submit(0xaa, 1_000, error);
            recorder.block_of(block(1, 1_003, vec![reverted(0xaa)]));
        }
        let told = recorder.only();
        assert_eq!(told.status, TransactionStatus::Reverted);
        assert_eq!(told.reason.unwrap().as_str(), "EmptyURI");
        assert_eq!(told.gas_used, Some(72_562));
        assert_eq!(told.confirmation, Some(Duration::from_millis(3)));
    }
}

#[test]
fn what_is_refused_is_rejected_once_its_hash_has_not_turned_up() {
    let mut recorder = Recorder::named();
    recorder.submit(0xaa, 1_000, refused(RefusalKind::NonceTooLow, None, None));
    assert!(recorder.told().is_empty(), "the same bytes may have been accepted");
    recorder.expire(2_100);
    let told = recorder.only();
    assert_eq!(told.status, TransactionStatus::Rejected);
    assert_eq!(told.reason.unwrap().as_str(), "nonce_too_low");
    assert_eq!((told.gas_used, told.block, told.confirmation), (None, None, None));
    assert_eq!((told.contract.as_str(), told.function.as_str()), ("MarketNFT", "mint"));
    assert_eq!(recorder.transactions.pending(), 0);
}

#[test]
fn sending_again_what_is_pending_does_not_count_twice() {
    let mut recorder = Recorder::named();
    recorder.accept(0xaa, 1_000);
    recorder.submit(0xaa, 1_001, refused(RefusalKind::AlreadyKnown, None, None));
    recorder.submit(0xaa, 1_001, refused(RefusalKind::NonceTooLow, None, None));
    recorder.accept(0xaa, 1_002);
    assert_eq!(recorder.transactions.pending(), 1);
    recorder.block(1, 1_010, &[0xaa]);
    assert_eq!(recorder.only().confirmation, Some(Duration::from_millis(10)));
    recorder.submit(0xaa, 1_020, refused(RefusalKind::NonceTooLow, None, None));
    recorder.expire(9_000);
    assert!(recorder.told().is_empty(), "the failed call is no transaction");
}

#[test]
fn both_halves_of_a_double_submission_are_one_transaction() {
    for refused_first in [false, true] {
        let mut recorder = Recorder::named();
        let refusal = || refused(RefusalKind::NonceTooLow, None, None);
        if refused_first {
            recorder.submit(0xaa, 1_000, refusal());
            recorder.accept(0xaa, 1_000);
        } else {
            recorder.accept(0xaa, 1_000);
            recorder.submit(0xaa, 1_000, refusal());
        }
        recorder.block(1, 1_003, &[0xaa]);
        recorder.expire(9_000);
        assert_eq!(recorder.only().status, TransactionStatus::Success);
    }
    // The second one comes when the block is held, and nothing else is known.
    let mut recorder = Recorder::named();
    recorder.submit(0xaa, 1_000, refused(RefusalKind::NonceTooLow, None, None));
    recorder.block(1, 1_003, &[0xaa]);
    recorder.expire(9_000);
    assert!(!recorder.only().through_relay(), "it was sent past the relay");
}

#[test]
fn a_revert_without_a_hash_waits_a_moment_for_its_block() {
    let mut recorder = Recorder::named();
    recorder.submit(0xaa, 1_000, refused(RefusalKind::Reverted, None, Some(&EMPTY_URI)));
    assert!(recorder.told().is_empty());
    recorder.block_of(block(1, 1_003, vec![reverted(0xaa)]));
    assert_eq!(recorder.only().status, TransactionStatus::Reverted);
    recorder.submit(0xbb, 2_000, refused(RefusalKind::Reverted, None, Some(&EMPTY_URI)));
    recorder.expire(4_100);
    let told = recorder.only();
    assert_eq!(told.status, TransactionStatus::Rejected);
    assert_eq!(told.reason.unwrap().as_str(), "EmptyURI");
}

#[test]
fn why_it_reverted_is_told_as_well_as_can_be_known() {
    let mut recorder = Recorder::named();
    let replayed = |kind: RefusalKind, data: &[u8]| {
        Some(RevertCause::Replayed(ReplayedRevert {
            data: Bytes::copy_from_slice(data),
            reason: kind.reason(),
        }))
    };
    let not_first = Some(RevertCause::Unexplained(Unexplained::NotFirstInBlock));
    let all_gas = MinedTransaction { gas_used: 500_000, ..reverted(3) };
    for (mined, reason) in [
        (
            MinedTransaction { revert: replayed(RefusalKind::Reverted, &EMPTY_URI), ..reverted(1) },
            "EmptyURI",
        ),
        (MinedTransaction { revert: replayed(RefusalKind::NoData, &[]), ..reverted(2) }, "no_data"),
        // That all gas was used means a halt, and not which.
        (all_gas.clone(), "_unknown"),
        (MinedTransaction { revert: not_first, ..reverted(4) }, "_unknown"),
        (
            MinedTransaction {
                hash: B256::repeat_byte(6),
                revert: replayed(RefusalKind::InvalidOpcode, &[]),
                ..all_gas
            },
            "invalid_opcode",
        ),
    ] {
        let unexplained = match mined.revert {
            Some(RevertCause::Unexplained(why)) => Some(why),
            _ => None,
        };
        let number = u64::from(mined.hash[0]);
        recorder.block_of(block(number, number * 2_000, vec![mined]));
        recorder.expire(number * 2_000 + 1_000);
        let told = recorder.only();
        assert_eq!((told.reason.unwrap().as_str(), told.unexplained), (reason, unexplained));
    }
    // The submission's answer is of its own place, whatever could be found out afterwards.
    recorder.submit(5, 20_000, refused(RefusalKind::UnknownFunction, Some(5), Some(&[])));
    let not_first = Some(RevertCause::Unexplained(Unexplained::NotFirstInBlock));
    let mined = MinedTransaction { revert: not_first, ..reverted(5) };
    recorder.block_of(block(15, 20_001, vec![mined]));
    assert_eq!(recorder.only().reason.unwrap().as_str(), "unknown_function");
}

#[test]
fn the_first_transaction_to_an_unknown_contract_carries_its_name() {
    let mut recorder = Recorder::new();
    recorder.accept(0xaa, 1_000);
    recorder.block(1, 1_003, &[0xaa]);
    assert!(!recorder.out.wanted.is_empty());
    let code = ChainQuestion::Code(THERE);
    assert!(recorder.out.wanted.iter().all(|question| *question == code));
    assert!(recorder.told().is_empty());
    recorder.learn();
    let told = recorder.only();
    assert_eq!((told.contract.as_str(), told.function.as_str()), ("MarketNFT", "mint"));
    assert_eq!(told.confirmation, Some(Duration::from_millis(3)));
}

#[test]
fn code_that_does_not_come_holds_nothing_up_for_long() {
    let mut recorder = Recorder::new();
    recorder.accept(0xaa, 1_000);
    recorder.block(1, 1_003, &[0xaa]);
    recorder.expire(2_100);
    let told = recorder.only();
    assert_eq!((told.contract.as_str(), told.function.as_str()), ("_unknown", "_unknown"));
    recorder.out.wanted.clear();
    recorder.block(2, 20_000, &[0xbb]);
    assert_eq!(recorder.out.wanted, [ChainQuestion::Code(THERE)], "asked again");
}

#[test]
fn a_deployment_names_its_contract_from_then_on() {
    let mut recorder = Recorder::new();
    let json: serde_json::Value = serde_json::from_str(NFT).unwrap();
    let code = alloy::primitives::hex::decode(json["bytecode"].as_str().unwrap()).unwrap();
    let deployment =
        MinedTransaction { to: None, input: code.into(), created: Some(THERE), ..mined(0xaa) };
    recorder.block_of(block(1, 1_000, vec![deployment, mined(0xbb)]));
    assert_eq!(recorder.out.wanted, [ChainQuestion::Code(THERE)], "for its size alone");
    let deployed = alloy::primitives::hex::decode(json["deployedBytecode"].as_str().unwrap());
    let deployed: Bytes = deployed.unwrap().into();
    let size = u32::try_from(deployed.len()).unwrap();
    recorder.told_code(THERE, deployed);
    recorder.expire(2_000);
    let told = recorder.told();
    let names: Vec<_> = told.iter().map(|t| (t.contract.as_str(), t.function.as_str())).collect();
    assert!(
        names.contains(&("MarketNFT", "constructor")) && names.contains(&("MarketNFT", "mint"))
    );
    let deployment = told.iter().find(|t| t.kind == TransactionKind::Deployment).unwrap();
    assert_eq!((deployment.created, deployment.code_bytes), (Some(THERE), Some(size)));
    assert_eq!(deployment.block_gas_limit, Some(30_000_000));
}

#[test]
fn what_never_comes_is_lost() {
    let mut recorder = Recorder::named();
    recorder.accept(0xaa, 1_000);
    recorder.expire(600_000);
    assert!(recorder.told().is_empty());
    recorder.expire(602_000);
    assert_eq!(recorder.only().status, TransactionStatus::Lost);
    recorder.accept(0xbb, 603_000);
    recorder.transactions.restarted();
    recorder.expire(604_100);
    assert_eq!(recorder.only().status, TransactionStatus::Lost);
    assert_eq!(recorder.transactions.pending(), 0);
}

#[test]
fn pending_transactions_are_bounded() {
    let mut recorder = Recorder::named();
    for i in 0..MOST_PENDING as u64 + 50 {
        let hash: B256 = U256::from(i).into();
        let call = SubmissionCall {
            at: UnixMicros(i),
            left: ms(i),
            total: Duration::ZERO,
            upstream: Duration::ZERO,
            outcome: SubmissionOutcome::Accepted(Some(hash)),
            caller: Caller::gone(crate::model::ConnectionId(1)),
            trace: None,
        };
        let Recorder { transactions, contracts, out, .. } = &mut recorder;
        transactions.submitted(unsigned(), &call, contracts, out);
    }
    assert_eq!(recorder.transactions.pending(), MOST_PENDING);
    let lost = recorder.told();
    assert_eq!(lost.len(), 50);
    assert_eq!((lost[0].hash, lost[0].status), (B256::ZERO, TransactionStatus::Lost));
}

#[test]
fn a_block_told_twice_and_a_reorganised_one_count_once() {
    let mut recorder = Recorder::named();
    recorder.accept(0xaa, 1_000);
    recorder.block(1, 1_003, &[0xaa]);
    recorder.only();
    recorder.block(1, 1_004, &[0xaa]);
    recorder.block(2, 1_005, &[0xaa]);
    recorder.expire(5_000);
    assert!(recorder.told().is_empty());
}

#[test]
fn one_that_is_mined_anew_while_it_waits_is_told_as_it_was_mined_last() {
    let mut recorder = Recorder::named();
    recorder.block_of(block(1, 1_000, vec![reverted(0xaa)]));
    let again = MinedTransaction { gas_used: 21_728, ..mined(0xaa) };
    recorder.block_of(block(7, 1_100, vec![again]));
    recorder.expire(3_000);
    let told = recorder.only();
    assert_eq!((told.block, told.status), (Some(7), TransactionStatus::Success));
    assert_eq!((told.gas_used, told.reason), (Some(21_728), None));
}

#[test]
fn the_same_bytes_submitted_to_a_chain_set_back_count_again() {
    for block_first in [false, true] {
        let mut recorder = Recorder::named();
        recorder.accept(0xaa, 1_000);
        recorder.block(1, 1_003, &[0xaa]);
        recorder.only();
        // evm_revert; mined again in another block of the same height.
        let other = MinedBlock { hash: B256::ZERO, ..block(1, 2_005, vec![mined(0xaa)]) };
        if block_first {
            recorder.block_of(other);
            recorder.accept(0xaa, 2_000);
        } else {
            recorder.accept(0xaa, 2_000);
            recorder.block_of(other);
        }
        assert_eq!(recorder.only().confirmation, Some(Duration::from_millis(5)));
    }
}

/// A rollback through the relay to a snapshot of that moment.
fn rollback(since_ms: u64, sent_ms: u64) -> RelayedRollback {
    RelayedRollback {
        cause: RollbackCause::EvmRevert,
        since: Some(ms(since_ms)),
        sent: ms(sent_ms),
        answered: ms(sent_ms + 1),
    }
}

impl Recorder {
    fn roll_back(&mut self, rollback: RelayedRollback) {
        let Self { transactions, contracts, out } = self;
        transactions.rolled_back(rollback, UnixMicros(0), contracts, out);
    }

    fn receipt(&mut self, hash: u8, seen_ms: u64, status: &str) {
        let hash = B256::repeat_byte(hash);
        let receipt = serde_json::json!({"transactionHash": hash, "status": status,
            "gasUsed": "0xabcd", "blockHash": B256::repeat_byte(0xb1), "blockNumber": "0x1"});
        let receipt = receipt.to_string();
        let Self { transactions, contracts, .. } = self;
        transactions.receipt_passed(hash, receipt.as_bytes(), ms(seen_ms), contracts);
    }

    /// The hashes that rollbacks marked since the last time.
    fn marked(&mut self) -> Vec<u8> {
        let marked = self.out.samples.iter().filter_map(|sample| match sample {
            Sample::Rollback(rollback) => Some(&rollback.transactions),
            _ => None,
        });
        marked.flatten().map(|hash| hash[0]).collect()
    }
}

#[test]
fn what_a_rollback_took_before_its_block_was_seen_is_recorded_from_its_receipt() {
    for (status, expected) in
        [("0x1", TransactionStatus::Success), ("0x0", TransactionStatus::Reverted)]
    {
        let mut recorder = Recorder::named();
        recorder.accept(0xaa, 1_000);
        recorder.receipt(0xaa, 1_005, status);
        recorder.roll_back(rollback(990, 1_006));
        recorder.expire(1_500);
        assert!(recorder.told().is_empty(), "the watcher may still report its block");
        recorder.expire(2_100);
        let told = recorder.only();
        assert_eq!((told.status, told.gas_used, told.block), (expected, Some(0xabcd), Some(1)));
        assert_eq!(told.rolled_back_by, Some(RollbackCause::EvmRevert));
        assert_eq!(told.function.as_str(), "mint");
        // The watcher's report comes late.
        recorder.block_of(MinedBlock {
            hash: B256::repeat_byte(0xb1),
            ..block(1, 1_004, vec![mined(0xaa)])
        });
        recorder.expire(9_000);
        assert!(recorder.told().is_empty());
    }
}

#[test]
fn of_what_was_accepted_and_rolled_back_unseen_nothing_is_known() {
    let mut recorder = Recorder::named();
    recorder.accept(0xaa, 1_000);
    recorder.accept(0xbb, 900);
    recorder.accept(0xcc, 1_020);
    recorder.roll_back(rollback(990, 1_010));
    recorder.expire(2_100);
    let told = recorder.only();
    assert_eq!((told.hash[0], told.status), (0xaa, TransactionStatus::Unknown));
    assert_eq!((told.gas_used, told.rolled_back_by), (None, Some(RollbackCause::EvmRevert)));
    assert_eq!(recorder.transactions.pending(), 2, "one sent before the snapshot, one after it");
    recorder.transactions.sighted(
        B256::repeat_byte(0xbb),
        Sight::Gone,
        &mut recorder.contracts,
        &mut recorder.out,
    );
    assert_eq!(
        recorder.only().status,
        TransactionStatus::Unknown,
        "the rollback may have taken it"
    );
}

#[test]
fn a_refusal_that_names_a_hash_stays_a_reverted_transaction() {
    let mut recorder = Recorder::named();
    recorder.submit(0xaa, 1_000, refused(RefusalKind::Reverted, Some(0xaa), Some(&EMPTY_URI)));
    recorder.roll_back(rollback(990, 1_010));
    recorder.expire(2_100);
    let told = recorder.only();
    assert_eq!((told.status, told.gas_used), (TransactionStatus::Reverted, None));
    assert_eq!(told.reason.unwrap().as_str(), "EmptyURI");
    // Hardhat 3 names none, and mines it all the same.
    recorder.transactions.set_mines_refused(true);
    recorder.submit_unsigned(3_000, refused(RefusalKind::Reverted, None, Some(&EMPTY_URI)));
    recorder.roll_back(rollback(2_990, 3_010));
    recorder.expire(4_200);
    let told = recorder.only();
    assert_eq!((told.status, told.hash), (TransactionStatus::Reverted, B256::ZERO));
    assert_eq!(told.rolled_back_by, Some(RollbackCause::EvmRevert));
}

#[test]
fn the_watchers_report_of_a_block_that_is_gone_completes_its_transaction() {
    let mut recorder = Recorder::named();
    recorder.accept(0xaa, 1_000);
    recorder.roll_back(rollback(990, 1_010));
    // The same bytes again, before the first block is reported.
    recorder.accept(0xaa, 1_020);
    recorder.block(1, 1_012, &[0xaa]);
    let told = recorder.only();
    assert_eq!((told.gas_used, told.at), (Some(72_562), UnixMicros(1_000_000)));
    assert_eq!(told.rolled_back_by, Some(RollbackCause::EvmRevert));
    recorder.block_of(MinedBlock { hash: B256::ZERO, ..block(1, 1_024, vec![mined(0xaa)]) });
    let told = recorder.only();
    assert_eq!((told.at, told.rolled_back_by), (UnixMicros(1_020_000), None));
    recorder.roll_back(rollback(990, 1_030));
    assert_eq!(recorder.marked(), [0xaa], "once, for the first one has its mark");
}

/// A deployment is held until the size of its code is known.
#[test]
fn the_same_bytes_sent_while_the_first_are_held_are_another_transaction() {
    let mut recorder = Recorder::named();
    let deployed = |number: u64, seen_ms: u64| {
        let created = MinedTransaction { to: None, created: Some(THERE), ..mined(0xaa) };
        block(number, seen_ms, vec![created])
    };
    recorder.accept(0xaa, 1_000);
    // Its block is seen late, after the same bytes were sent again.
    recorder.block_of(deployed(1, 1_025));
    recorder.roll_back(rollback(990, 1_010));
    recorder.accept(0xaa, 1_020);
    recorder.roll_back(rollback(1_015, 1_030));
    recorder.expire(3_000);
    let told = recorder.told();
    assert_eq!(told.iter().map(|it| it.at.0).collect::<Vec<_>>(), [1_000_000, 1_020_000]);
    assert!(told.iter().all(|it| it.rolled_back_by == Some(RollbackCause::EvmRevert)), "{told:?}");
}

#[test]
fn a_reorganisation_marks_what_is_not_mined_anew() {
    let mut recorder = Recorder::named();
    let first = B256::from(U256::from(1));
    recorder.accept(0xaa, 1_000);
    recorder.accept(0xbb, 1_000);
    recorder.block(1, 1_003, &[0xaa, 0xbb]);
    assert_eq!(recorder.told().len(), 2);
    let out = &mut recorder.out;
    recorder.transactions.blocks_lost([first].into(), 1, None, UnixMicros(0), out);
    recorder.block_of(MinedBlock { hash: B256::ZERO, ..block(1, 1_100, vec![mined(0xaa)]) });
    recorder.expire(7_000);
    assert_eq!(recorder.marked(), [0xbb]);
    assert!(recorder.told().is_empty());
}

#[test]
fn an_interval_lies_between_two_blocks_that_followed_each_other_live() {
    let mut recorder = Recorder::named();
    for block in [
        block(5, 1_000, vec![]),
        block(6, 1_250, vec![]),
        block(8, 2_000, vec![]),
        MinedBlock { live: false, ..block(9, 3_000, vec![]) },
        block(10, 4_000, vec![]),
        block(11, 4_000, vec![]),
        MinedBlock { missing: 2, ..block(12, 4_500, vec![mined(1)]) },
    ] {
        recorder.block_of(block);
    }
    let blocks: Vec<_> = recorder
        .out
        .samples
        .iter()
        .filter_map(|sample| match sample {
            Sample::Block(block) => Some((block.interval, block.transactions)),
            _ => None,
        })
        .collect();
    let quarter = Some(Duration::from_millis(250));
    let half = Some(Duration::from_millis(500));
    let expected = [(None, 0), (quarter, 0), (None, 0), (None, 0), (None, 0), (None, 0), (half, 3)];
    assert_eq!(blocks, expected);
}

/// Three of one sender and nonce, of which one is mined.
#[test]
fn what_another_of_its_nonce_took_the_place_of_is_replaced() {
    let mut recorder = Recorder::named();
    let from = |hash: u8, account: u8| Submission {
        hash: Some(B256::repeat_byte(hash)),
        from: Some(Address::repeat_byte(account)),
        ..unsigned()
    };
    let accepted = |hash| SubmissionOutcome::Accepted(Some(B256::repeat_byte(hash)));
    recorder.submit_this(from(0xaa, 1), 1_000, accepted(0xaa));
    recorder.submit_this(from(0xbb, 1), 1_010, accepted(0xbb));
    recorder.submit_this(from(0xcc, 2), 1_020, accepted(0xcc));
    recorder.block(1, 2_000, &[0xbb]);
    let told = recorder.told();
    let fates: Vec<_> = told.iter().map(|t| (t.hash[0], t.status)).collect();
    assert_eq!(
        fates,
        [(0xbb, TransactionStatus::Success), (0xaa, TransactionStatus::Replaced)],
        "another sender's nonce is its own"
    );
    assert_eq!((told[1].gas_used, told[1].from), (None, Some(Address::repeat_byte(1))));
    assert_eq!(recorder.transactions.pending(), 1);
}

#[test]
fn what_is_submitted_after_the_block_met_a_chain_set_back_and_is_not_replaced() {
    let mut recorder = Recorder::named();
    let from = Some(Address::repeat_byte(1));
    let submission = Submission { hash: Some(B256::repeat_byte(0xaa)), from, ..unsigned() };
    let accepted = SubmissionOutcome::Accepted(submission.hash);
    recorder.submit_this(submission, 2_001, accepted);
    recorder.block(1, 2_000, &[0xbb]);
    assert_eq!(recorder.transactions.pending(), 1);
}

impl Recorder {
    /// The hashes that were asked about since the last time.
    fn asked_about(&mut self) -> Vec<B256> {
        let sight = |question| match question {
            ChainQuestion::Sight(hash) => Some(hash),
            _ => None,
        };
        self.out.wanted.drain(..).filter_map(sight).collect()
    }

    fn sighted(&mut self, hash: u8, sight: Sight) {
        let hash = B256::repeat_byte(hash);
        self.transactions.sighted(hash, sight, &mut self.contracts, &mut self.out);
    }
}

#[test]
fn the_node_is_asked_now_and_then_what_became_of_pending_ones() {
    let mut recorder = Recorder::named();
    recorder.accept(0xaa, 1_000);
    recorder.expire(2_000);
    assert!(recorder.asked_about().is_empty(), "it was sent a moment ago");
    recorder.expire(4_100);
    assert_eq!(recorder.asked_about(), [B256::repeat_byte(0xaa)]);
    recorder.expire(4_200);
    assert!(recorder.asked_about().is_empty());
    recorder.sighted(0xaa, Sight::Pending { from: Address::repeat_byte(7) });
    recorder.sighted(0xaa, Sight::Mined);
    assert!(recorder.told().is_empty());
    recorder.expire(6_200);
    assert_eq!(recorder.asked_about().len(), 1);
    recorder.sighted(0xaa, Sight::Gone);
    let told = recorder.only();
    assert_eq!(
        (told.status, told.from),
        (TransactionStatus::Dropped, Some(Address::repeat_byte(7)))
    );
    recorder.sighted(0xaa, Sight::Gone);
    assert!(recorder.told().is_empty(), "told once");
}

#[test]
fn of_very_many_pending_ones_some_are_asked_about_at_a_time_each_in_its_turn() {
    let mut recorder = Recorder::named();
    for i in 1..=150 {
        recorder.accept(i, 1_000 + u64::from(i));
    }
    let mut asked = Vec::new();
    for round in 0..3 {
        recorder.expire(4_000 + round * 2_000);
        let some = recorder.asked_about();
        assert!(some.len() <= SIGHTS);
        asked.extend(some);
    }
    asked.sort_unstable();
    asked.dedup();
    assert_eq!(asked.len(), 150);
}

#[test]
fn a_block_mined_alone_within_its_submission_tells_how_long_mining_took() {
    let mut recorder = Recorder::named();
    recorder.accept(0xaa, 1_000);
    recorder.block(1, 1_004, &[0xaa]);
    assert_eq!(
        recorder.out.mined,
        [Duration::from_millis(3)],
        "as long as the node took to answer"
    );
    // Announced long after the answer: it was mined by and by. And two in a block.
    recorder.accept(0xbb, 2_000);
    recorder.block(2, 2_500, &[0xbb]);
    recorder.accept(0xcc, 3_000);
    recorder.accept(0xdd, 3_000);
    recorder.block(3, 3_001, &[0xcc, 0xdd]);
    assert_eq!(recorder.out.mined.len(), 1);
}

#[test]
fn events_are_counted_by_name_and_the_keys_of_mappings_are_passed_on() {
    let mut recorder = Recorder::named();
    let transfer = alloy::primitives::keccak256("Transfer(address,address,uint256)");
    let log = |topic, count| EmittedLog { address: THERE, topic, count };
    let logs = vec![log(Some(transfer), 1), log(None, 1), log(Some(transfer), 1)].into();
    recorder.accept(0xaa, 1_000);
    let mined = MinedTransaction { logs, logs_omitted: 3, ..mined(0xaa) };
    recorder.block_of(block(1, 1_004, vec![mined]));
    let keys = &recorder.out.keys[&B256::repeat_byte(0xaa)];
    assert!(keys.contains(&Address::repeat_byte(1).into_word()), "the sender");
    assert!(keys.contains(&B256::repeat_byte(7)), "a word of the input");
    let told = recorder.only();
    let events: Vec<_> =
        told.events.iter().map(|e| (e.contract.as_str(), e.event.as_str(), e.count)).collect();
    assert_eq!(events, [("MarketNFT", "Transfer", 2), ("MarketNFT", "_unknown", 1)]);
    assert_eq!((told.envelope, told.block_gas_limit), (Some(2), Some(30_000_000)));
    assert_eq!(told.events_omitted, 3);
}

#[test]
fn events_beyond_the_bound_of_different_ones_are_counted() {
    let mut recorder = Recorder::named();
    let logs =
        (0..100).map(|i| EmittedLog { address: Address::repeat_byte(i), topic: None, count: 2 });
    recorder.accept(0xaa, 1_000);
    let mined = MinedTransaction { logs: logs.collect(), logs_omitted: 5, ..mined(0xaa) };
    recorder.block_of(block(1, 1_004, vec![mined]));
    let told = recorder.only();
    let counted: u32 = told.events.iter().map(|events| events.count).sum();
    assert_eq!((counted, told.events_omitted), (2 * 64, 2 * 36 + 5));
}

#[test]
fn everything_that_is_kept_of_a_flood_is_bounded() {
    const MANY: usize = 3 * MOST_PENDING;
    const FLOOD: u64 = MANY as u64;
    let mut recorder = Recorder::new();
    let hash = |i: u64| B256::from(U256::from(i + 1));
    let own = |i: u64| Address::from_word(hash(i));
    for i in 0..FLOOD {
        let submission = Submission { nonce: Some(i % 50), from: Some(own(i)), ..unsigned() };
        recorder.submit_this(submission, i, SubmissionOutcome::Accepted(Some(hash(i))));
        // Some are refused without a hash though they ran.
        recorder.submit_unsigned(i, refused(RefusalKind::Reverted, None, None));
    }
    recorder.expire(FLOOD);
    assert_eq!(recorder.transactions.pending(), MOST_PENDING);
    assert!(recorder.transactions.hashless.len() <= 1_000);
    let (given_up, unmined): (Vec<_>, Vec<_>) =
        recorder.told().into_iter().partition(|t| t.status == TransactionStatus::Lost);
    assert_eq!(given_up.len(), MANY - MOST_PENDING, "each that is not kept is told");
    assert_eq!(unmined.len() + recorder.transactions.hashless.len(), MANY);
    // The node is asked about a few at a time.
    recorder.out.wanted.clear();
    recorder.expire(FLOOD + 3_000);
    let sights = recorder.out.wanted.iter().filter(|it| matches!(it, ChainQuestion::Sight(_)));
    assert_eq!(sights.count(), SIGHTS);
    // Twice as many as are held, whose code does not come; half of them replace those that are
    // pending.
    let transactions: Vec<_> = (0..2 * MOST_HELD as u64)
        .map(|i| MinedTransaction {
            hash: hash(FLOOD + i),
            from: if i % 2 == 0 { own(FLOOD - 1 - i / 2) } else { own(FLOOD + i) },
            nonce: if i % 2 == 0 { (FLOOD - 1 - i / 2) % 50 } else { 0 },
            to: Some(own(FLOOD + i)),
            ..mined(1)
        })
        .collect();
    recorder.block_of(block(1, FLOOD + 3_100, transactions));
    let kept = &recorder.transactions;
    assert_eq!(kept.pending(), 0, "every one was replaced");
    assert_eq!(kept.held.len(), MOST_HELD);
    recorder.expire(FLOOD + 9_000);
    let kept = &recorder.transactions;
    assert_eq!((kept.held.len(), kept.waiting.len()), (0, 0));
    assert_eq!(kept.on_chain.len(), 2 * MOST_HELD);
    assert_eq!((kept.refused.len(), kept.rolled_back.len()), (0, 0));
    let told = recorder.told();
    let count = |status| told.iter().filter(|t| t.status == status).count();
    assert_eq!(count(TransactionStatus::Replaced), MOST_PENDING);
    assert_eq!(count(TransactionStatus::Success), 2 * MOST_HELD);
}
