//! What subscribers get, and what they are told that they missed.

use super::*;

#[tokio::test]
async fn a_subscriber_receives_the_kinds_it_asked_for() {
    let mut view = Served::start(None).await;
    let mut events =
        soon(view.subscribe(json!({ "kinds": ["transaction", "block"] }))).await.unwrap();
    view.feed(&[call("eth_call", Outcome::Success, 100)]);
    view.feed(&[transaction(TransactionStatus::Success, None), block(9)]);
    let mut kinds = Vec::new();
    while kinds.len() < 2 {
        let told = soon(events.next()).await.unwrap().unwrap();
        assert_eq!(told["missed"], 0);
        kinds.extend(told["events"].as_array().unwrap().iter().map(|e| e["kind"].clone()));
    }
    assert_eq!(kinds, [json!("transaction"), json!("block")]);
}

#[tokio::test]
async fn a_flood_is_thinned_and_every_sample_is_either_told_or_counted() {
    let mut view = Served::start(None).await;
    let mut events = soon(view.subscribe(json!({ "kinds": ["call"] }))).await.unwrap();
    let flood: Vec<_> = (0..100).map(|_| call("eth_call", Outcome::Success, 100)).collect();
    for _ in 0..500 {
        view.sinks[2].accept(&flood);
    }
    // Outside the flood's windows, so that it is certain to be told.
    tokio::time::sleep(Duration::from_millis(150)).await;
    view.sinks[2].accept(&flood[..1]);
    let (mut told, mut missed) = (0, 0);
    while told + missed < 50_001 {
        let next = soon(events.next()).await.unwrap().unwrap();
        told += next["events"].as_array().unwrap().len() as u64;
        missed += next["missed"].as_u64().unwrap();
    }
    assert_eq!(told + missed, 50_001);
    assert!(told > 0 && missed > 40_000, "{told} told, {missed} missed");
}

#[tokio::test]
async fn a_follower_that_lags_learns_how_many_it_missed() {
    let (mut sink, live) = live();
    let mut follower = live::Follower::new(&live, vec![crate::model::SampleKind::Block]);
    sink.accept(&[block(0)]);
    assert_eq!(follower.next(10).await.unwrap().samples.len(), 1);
    for number in 1..=1_000 {
        sink.accept(&[block(number), call("eth_call", Outcome::Success, 100)]);
    }
    let (mut told, mut missed) = (0, 0);
    while told + missed < 1_000 {
        let delivery = soon(follower.next(500)).await.unwrap();
        told += delivery.samples.len() as u64;
        missed += delivery.missed;
    }
    assert_eq!((told, missed), (128, 872));
}

#[tokio::test]
async fn serving_ends_when_told_even_with_a_subscriber() {
    let view = Served::start(None).await;
    let mut events = soon(view.subscribe(json!({}))).await.unwrap();
    view.stop.send(true).unwrap();
    soon(view.ended).await.unwrap().unwrap();
    assert!(soon(events.next()).await.is_none());
    assert!(TcpStream::connect(view.address).await.is_err());
}
