//! The recorder's thread: what was told is handed over.

use super::*;
use crate::record::Recorder;

const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":[]}"#;

fn start(entries: usize) -> (Recorder, Observer, Received, Arc<Tally>) {
    let tally = Arc::new(Tally::default());
    let queue = Queue::new(entries, 64 << 20, Arc::clone(&tally));
    let observer = Observer::new(&queue);
    let received = Received::default();
    let recorder = Recorder::start(
        queue,
        Arc::clone(&tally),
        std::sync::mpsc::channel().1,
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
