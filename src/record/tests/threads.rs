//! The recorder's thread: what was told is handed over.

use super::*;
use crate::decode::artifact::Artifact;
use crate::decode::artifact::Compiled;
use crate::record::{Recorder, Settings};

const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":[]}"#;

fn start(entries: usize) -> (Recorder, Observer, Received, Arc<Tally>) {
    let tally = Arc::new(Tally::default());
    let queue = Queue::new(entries, 64 << 20, Arc::clone(&tally));
    let observer = Observer::new(&queue);
    let received = Received::default();
    let recorder = Recorder::start(
        queue,
        Arc::clone(&tally),
        Contracts::new(),
        std::sync::mpsc::channel().1,
        Settings::default(),
        vec![Box::new(received.clone())],
        channel(1).0,
    );
    (recorder.expect("a thread"), observer, received, tally)
}

#[test]
fn a_flush_hands_over_what_was_told_before_it() {
    let (recorder, observer, received, tally) = start(10_000);
    for round in 1..=20_u64 {
        for _ in 0..150 {
            observer.tell(http(exchange(CALL, r#"{"id":1,"result":1}"#)));
        }
        recorder.flush();
        assert_eq!(received.calls().len() as u64, round * 150);
        assert_eq!(tally.seen(SampleKind::Call), round * 150);
    }
    recorder.stop();
}

#[test]
fn stopping_hands_over_everything() {
    let (recorder, observer, received, tally) = start(10_000);
    for _ in 0..5_000 {
        observer.tell(http(exchange(CALL, r#"{"id":1,"result":1}"#)));
    }
    observer.tell(asked(1, 1, CALL));
    recorder.stop();
    assert_eq!(received.calls().len(), 5_001);
    assert_eq!(received.outcomes().last(), Some(&("eth_chainId", Outcome::Unanswered)));
    assert_eq!(tally.seen(SampleKind::Call), 5_001);
}

#[test]
fn a_flush_ends_although_more_is_told_all_the_time() {
    let (recorder, observer, received, tally) = start(256);
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                observer.tell(http(exchange(CALL, r#"{"id":1,"result":1}"#)));
            }
        });
        for _ in 0..20 {
            recorder.flush();
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    recorder.flush();
    assert_eq!(received.calls().len() as u64, tally.seen(SampleKind::Call));
    recorder.stop();
}

#[test]
fn an_artifact_that_comes_later_names_what_is_called() {
    let tally = Arc::new(Tally::default());
    let queue = Queue::new(100, 1 << 20, Arc::clone(&tally));
    let observer = Observer::new(&queue);
    let received = Received::default();
    let (artifacts, compiled) = std::sync::mpsc::channel();
    let sinks: Vec<Box<dyn Sink>> = vec![Box::new(received.clone())];
    let (wanted, mut asked) = channel(4);
    let recorder = Recorder::start(
        queue,
        tally,
        Contracts::new(),
        compiled,
        Settings::default(),
        sinks,
        wanted,
    )
    .expect("a thread");
    let call = r#"{"id":1,"method":"eth_call","params":[{"to":"0x5fbdb2315678afecb367f032d93f642f64180aa3","data":"0x18160ddd"}]}"#;
    let answered = || observer.tell(http(exchange(call, r#"{"id":1,"result":"0x"}"#)));
    let artifact = r#"{"contractName":"Token","sourceName":"Token.sol","bytecode":"0x60016002fe","deployedBytecode":"0x6002fe","abi":[
        {"type":"function","name":"totalSupply","inputs":[],"outputs":[{"name":"","type":"uint256"}],"stateMutability":"view"}]}"#;
    answered();
    recorder.flush();
    let Ok(ChainQuestion::Code(address)) = asked.try_recv() else { panic!("code is asked for") };
    let artifact = Artifact::parse(artifact.as_bytes(), "Token").expect("an artifact");
    artifacts.send(Compiled::Artifact(Box::new(artifact))).unwrap();
    recorder.flush();
    let code = alloy::primitives::bytes!("6002fe");
    observer.tell(Observation::Chain(ChainEvent::Code(ContractCode {
        address,
        code,
        implementation: None,
        asked: Interval::default(),
    })));
    answered();
    recorder.stop();
    let targets: Vec<_> = received.calls().iter().map(|call| call.target.unwrap()).collect();
    assert_eq!(targets[0].contract, ContractName::unknown());
    assert_eq!(targets[1].contract.as_str(), "Token");
    assert_eq!(targets[1].function.as_str(), "totalSupply");
}
