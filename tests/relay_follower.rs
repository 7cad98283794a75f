//! The follower against conversations whose exchanges are known, cut in every way; and against
//! garbage.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support_relay;

use dappscope::decode::follower::Follower;
use dappscope::decode::http1::Requests;
use dappscope::model::{
    ConnectionEvent, ConnectionId, Direction, End, Exchange, Observation, Opaque, SocketMessage,
    Stamp,
};
use proptest::collection::vec;
use proptest::prelude::*;
use support_relay::traffic::*;
use support_relay::{exchanges, messages};

/// Follows a connection as the relay does: part of a head is held back and offered again.
struct Wire {
    follower: Follower,
    held: Vec<u8>,
    time: u64,
    passed: (u64, u64),
    told: Vec<Observation>,
}

impl Wire {
    fn new() -> Self {
        let peer = "127.0.0.1:1".parse().unwrap();
        let follower = Follower::new(ConnectionId(7), peer, limits());
        Self { follower, held: Vec::new(), time: 0, passed: (0, 0), told: Vec::new() }
    }

    fn now(&mut self) -> Stamp {
        self.time += 1;
        Stamp::from_nanos(self.time)
    }

    fn ask(&mut self, bytes: &[u8]) {
        let (read, written) = (self.now(), self.now());
        let told = &mut self.told;
        let tell = &mut |observation| told.push(observation);
        self.held.extend_from_slice(bytes);
        let pass = match self.follower.from_client(&self.held, read, |_| true, tell) {
            Requests::HeadAt(at) | Requests::UndecidedAt(at) => at,
            Requests::Followed => self.held.len(),
            Requests::UnreadableAt(at, _) | Requests::RefusedAt(at) => {
                assert!(at <= self.held.len());
                self.follower.pass_unread(Opaque::RequestNotHttp, read, tell);
                self.held.len()
            }
        };
        self.held.drain(..pass);
        self.passed.0 += pass as u64;
        self.follower.to_upstream(self.passed.0, written, tell);
    }

    fn answer(&mut self, bytes: &[u8]) {
        let (read, written) = (self.now(), self.now());
        let told = &mut self.told;
        let tell = &mut |observation| told.push(observation);
        self.follower.from_upstream(bytes, read, tell);
        self.passed.1 += bytes.len() as u64;
        self.follower.to_client(self.passed.1, written, tell);
        if !self.held.is_empty() && !self.follower.is_undecided() {
            self.ask(b"");
        }
    }

    fn exchanges(&self) -> Vec<Exchange> {
        exchanges(&self.told)
    }

    fn messages(&self) -> Vec<SocketMessage> {
        messages(&self.told)
    }

    fn is_opaque(&self) -> bool {
        self.told
            .iter()
            .any(|o| matches!(o, Observation::Connection(_, _, ConnectionEvent::Opaque { .. })))
    }
}

fn check_all(cases: &[Case], wire: &Wire) {
    let told = wire.exchanges();
    assert!(!wire.is_opaque(), "{:?}", wire.told);
    assert_eq!(told.len(), cases.len());
    for (case, exchange) in cases.iter().zip(told) {
        case.check(&exchange);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_same_exchanges_are_told_however_the_bytes_are_cut(
        batches in vec(vec(case(), 1..6), 1..4),
        ask_sizes in vec(1_usize..60, 1..6),
        answer_sizes in vec(1_usize..60, 1..6),
    ) {
        let mut wire = Wire::new();
        for batch in &batches {
            pieces(&all_requests(batch), &ask_sizes).for_each(|piece| wire.ask(piece));
            pieces(&all_responses(batch), &answer_sizes).for_each(|piece| wire.answer(piece));
            prop_assert!(wire.follower.is_idle());
        }
        check_all(&batches.concat(), &wire);
    }

    #[test]
    fn a_last_response_may_end_with_the_connection(
        case in case(), body in body(), sizes in vec(1_usize..60, 1..6),
    ) {
        let case = Case { method: "GET", status: 200, response: Framed::UntilClose(body), ..case };
        let mut wire = Wire::new();
        wire.ask(&case.request());
        pieces(&case.response(), &sizes).for_each(|piece| wire.answer(piece));
        prop_assert_eq!(wire.exchanges().len(), 0);
        let now = wire.now();
        wire.follower.upstream_closed(now);
        wire.answer(b"");
        check_all(&[case], &wire);
    }

    #[test]
    fn garbage_is_never_held_back_for_ever_and_never_panics(
        asked in vec(any::<u8>(), 0..400),
        answered in vec(any::<u8>(), 0..400),
        cases in vec(case(), 0..3),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        sizes in vec(1_usize..60, 1..6),
    ) {
        let mut requests = [all_requests(&cases), asked].concat();
        let mut responses = [all_responses(&cases), answered].concat();
        for (at, byte) in damage {
            for bytes in [&mut requests, &mut responses] {
                if !bytes.is_empty() {
                    let at = at.index(bytes.len());
                    bytes[at] = byte;
                }
            }
        }
        let mut wire = Wire::new();
        for (ask, answer) in pieces(&requests, &sizes).zip(pieces(&responses, &sizes)) {
            wire.ask(ask);
            wire.answer(answer);
        }
        let Wire { mut follower, mut told, .. } = wire;
        follower.finish(End::ClientGone, Stamp::now(), &mut |observation| told.push(observation));
        prop_assert!(told.len() <= requests.len() + 1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn the_same_exchanges_are_told_wherever_a_single_cut_is(cases in vec(case(), 1..3)) {
        let (requests, responses) = (all_requests(&cases), all_responses(&cases));
        for cut in 0..=requests.len().max(responses.len()) {
            let mut wire = Wire::new();
            let (first, second) = requests.split_at(cut.min(requests.len()));
            wire.ask(first);
            wire.ask(second);
            let (first, second) = responses.split_at(cut.min(responses.len()));
            wire.answer(first);
            wire.answer(second);
            check_all(&cases, &wire);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn the_same_messages_are_told_however_the_frames_are_cut(
        asked in vec(sent(), 0..6),
        answered in vec(sent(), 0..6),
        early in any::<bool>(),
        sizes in vec(1_usize..80, 1..6),
    ) {
        let mut wire = Wire::new();
        let wire_of = |sent: &[Sent], direction| -> Vec<u8> {
            sent.iter().flat_map(|message| message.wire(direction, 1)).collect()
        };
        let requests = wire_of(&asked, Direction::Request);
        pieces(UPGRADE, &sizes).for_each(|piece| wire.ask(piece));
        if early {
            // Before it may: frames that come before the 101.
            pieces(&requests, &sizes).for_each(|piece| wire.ask(piece));
        }
        let responses = [UPGRADED.to_vec(), wire_of(&answered, Direction::Response)].concat();
        pieces(&responses, &sizes).for_each(|piece| wire.answer(piece));
        if early {
            wire.ask(b"");
        } else {
            pieces(&requests, &sizes).for_each(|piece| wire.ask(piece));
        }
        prop_assert!(!wire.is_opaque());
        prop_assert_eq!(wire.exchanges()[0].status, 101);
        let told = wire.messages();
        for (direction, sent) in [(Direction::Request, &asked), (Direction::Response, &answered)] {
            let told: Vec<_> = told.iter().filter(|m| m.direction == direction).collect();
            prop_assert_eq!(told.len(), sent.len());
            for (message, sent) in told.iter().zip(sent) {
                prop_assert_eq!(message.payload.total, sent.payload.len() as u64);
                let kept = sent.payload.len().min(CAPTURE);
                prop_assert_eq!(&message.payload.bytes, &sent.payload[..kept]);
                prop_assert_eq!(message.user_agent.as_deref(), Some("ws/1"));
                prop_assert!([message.started, message.read, message.written].is_sorted());
            }
        }
    }

    #[test]
    fn garbage_after_an_upgrade_never_panics(
        asked in vec(any::<u8>(), 0..300), answered in vec(any::<u8>(), 0..300),
        sizes in vec(1_usize..80, 1..6),
    ) {
        let mut wire = Wire::new();
        wire.ask(UPGRADE);
        wire.answer(UPGRADED);
        pieces(&asked, &sizes).for_each(|piece| wire.ask(piece));
        pieces(&answered, &sizes).for_each(|piece| wire.answer(piece));
    }
}

/// A frame whose parts contradict each other, or the standard, as often as not.
fn hostile_frame() -> impl Strategy<Value = Vec<u8>> {
    let first = prop::sample::select(vec![
        0x81_u8, 0x82, 0x01, 0x00, 0x80, 0x88, 0x89, 0x8a, 0x09, 0xc1, 0xa1, 0x83, 0x8f,
    ]);
    let told = prop::sample::select(vec![
        0_u64,
        1,
        5,
        125,
        126,
        127,
        65_535,
        65_536,
        1 << 32,
        (1 << 63) - 1,
        1 << 63,
        u64::MAX,
    ]);
    (first, any::<bool>(), 0..3_u8, told, vec(any::<u8>(), 0..20)).prop_map(
        |(first, masked, form, told, payload)| {
            let mask = if masked { 0x80 } else { 0 };
            let mut frame = vec![first];
            // The forms are cut to what they hold, so a longer one may tell a short length.
            match form {
                0 => frame.push(mask | told.to_be_bytes()[7] & 0x7f),
                1 => frame.extend([&[mask | 126][..], &told.to_be_bytes()[6..]].concat()),
                _ => frame.extend([&[mask | 127][..], &told.to_be_bytes()].concat()),
            }
            if masked {
                frame.extend([1, 2, 3, 4]);
            }
            frame.extend(payload);
            frame
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn hostile_frames_are_told_the_same_however_they_are_cut_and_keep_little(
        asked in vec(hostile_frame(), 0..6),
        answered in vec(hostile_frame(), 0..6),
        sizes in vec(1_usize..40, 1..6),
    ) {
        let follow = |sizes: &[usize]| {
            let mut wire = Wire::new();
            wire.ask(UPGRADE);
            wire.answer(UPGRADED);
            pieces(&asked.concat(), sizes).for_each(|piece| wire.ask(piece));
            pieces(&answered.concat(), sizes).for_each(|piece| wire.answer(piece));
            wire
        };
        let (whole, cut) = (follow(&[usize::MAX]), follow(&sizes));
        prop_assert_eq!(whole.is_opaque(), cut.is_opaque());
        let payloads = |wire: &Wire| -> Vec<_> {
            let told = wire.messages();
            told.into_iter().map(|m| (m.direction, m.payload.total, m.payload.bytes)).collect()
        };
        prop_assert!(payloads(&whole).iter().all(|(.., bytes)| bytes.len() <= CAPTURE));
        // What one direction was told before the other broke off depends on who came first.
        if !whole.is_opaque() {
            prop_assert_eq!(payloads(&whole), payloads(&cut));
        }
    }
}

fn conversation(steps: &[(&str, &str)]) -> Wire {
    let mut wire = Wire::new();
    for (ask, answer) in steps {
        wire.ask(ask.as_bytes());
        wire.answer(answer.as_bytes());
    }
    wire
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[test]
fn a_client_that_waits_to_be_told_to_continue_is_one_exchange() {
    let mut wire = Wire::new();
    wire.ask(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
    wire.answer(b"HTTP/1.1 100 Continue\r\n\r\n");
    wire.ask(b"body");
    wire.answer(OK.as_bytes());
    let told = wire.exchanges();
    assert_eq!((told.len(), told[0].status), (1, 200));
    assert_eq!(told[0].request.bytes, b"body");
    // The interim response is not the response.
    assert!(told[0].timing.response_started > told[0].timing.request_written);
}

#[test]
fn an_answer_before_the_requests_end_is_told_when_the_request_has_ended() {
    let mut wire = Wire::new();
    wire.ask(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\nhalf");
    wire.answer(OK.as_bytes());
    assert!(wire.exchanges().is_empty());
    wire.ask(b"half");
    assert_eq!(wire.exchanges()[0].request.bytes, b"halfhalf");
    wire.ask(GET.as_bytes());
    wire.answer(OK.as_bytes());
    assert_eq!(wire.exchanges().len(), 2);
    assert!(wire.follower.is_idle());
}

#[test]
fn a_call_is_active_until_its_answer_was_passed_on() {
    let limits = limits();
    let active = limits.active.clone();
    let follower = Follower::new(ConnectionId(7), "127.0.0.1:1".parse().unwrap(), limits);
    let mut wire = Wire { follower, ..Wire::new() };
    let post = GET.replace("GET", "POST");
    wire.ask([GET, &post, &post].concat().as_bytes());
    assert_eq!(active.count(), 2, "the GET is no call");
    wire.answer([OK, OK].concat().as_bytes());
    assert_eq!(active.count(), 1);
    drop(wire);
    assert_eq!(active.count(), 0);
}

#[test]
fn the_length_that_a_head_or_a_304_tells_is_not_waited_for() {
    let head = "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n";
    let big = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n";
    let unchanged = "HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n";
    let wire = conversation(&[(head, big), (GET, unchanged), (GET, OK)]);
    let statuses: Vec<_> = wire.exchanges().iter().map(|e| e.status).collect();
    assert_eq!(statuses, [200, 304, 200]);
}

#[test]
fn a_length_beside_a_transfer_coding_is_not_followed() {
    let both = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    assert!(conversation(&[(both, "")]).is_opaque());
    let both =
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    assert!(conversation(&[(GET, both)]).is_opaque());
}

#[test]
fn requests_before_one_that_is_lost_are_still_told() {
    let bad = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n";
    let mut wire = Wire::new();
    wire.ask([GET, bad].concat().as_bytes());
    assert!(wire.is_opaque());
    wire.answer([OK, OK].concat().as_bytes());
    assert_eq!(wire.exchanges().len(), 1);
}

#[test]
fn an_answer_that_nobody_asked_for_is_not_followed() {
    assert!(conversation(&[("", OK)]).is_opaque());
    assert!(conversation(&[(GET, &OK.repeat(2))]).is_opaque());
}

#[test]
fn a_tunnel_and_an_unknown_upgrade_are_not_followed() {
    let connect = "CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n";
    let wire = conversation(&[(connect, "HTTP/1.1 200 OK\r\n\r\n\u{1}\u{2}"), ("\u{3}", "\u{4}")]);
    assert!(wire.is_opaque());
    assert_eq!(wire.exchanges()[0].status, 200);
    let other = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";
    let wire = conversation(&[(other, "HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\n\r\n\u{1}")]);
    assert!(wire.is_opaque());
    assert_eq!(wire.exchanges()[0].status, 101);
}

#[test]
fn an_upgrade_that_is_declined_leaves_http() {
    let other = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";
    let wire = conversation(&[(other, OK), (GET, OK)]);
    assert!(!wire.is_opaque());
    assert_eq!(wire.exchanges().len(), 2);
    let wire = conversation(&[
        ("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", OK.replace("200", "405").as_str()),
        (GET, OK),
    ]);
    assert_eq!(wire.exchanges().len(), 2);
}

#[test]
fn broken_frames_end_the_following_of_both_directions() {
    let mut wire = conversation(&[]);
    wire.ask(UPGRADE);
    wire.answer(UPGRADED);
    wire.ask(&[0x81, 0x01, b'x']);
    assert!(wire.is_opaque());
    wire.answer(&[0x81, 0x01, b'x']);
    assert!(wire.messages().is_empty());
}

#[test]
fn a_deflated_message_is_told_as_encoded() {
    let mut wire = Wire::new();
    wire.ask(UPGRADE);
    let agreed = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover\r\n\r\n";
    wire.answer(agreed.as_bytes());
    wire.answer(&[0xc1, 0x02, 1, 2]);
    let told = wire.messages();
    assert_eq!(told[0].payload.whole(), None);
    assert_eq!(told[0].payload.total, 2);
}

#[test]
fn empty_lines_before_a_request_are_stepped_over() {
    let wire = conversation(&[(&format!("\r\n\r\n{GET}"), OK), (&format!("\n{GET}"), OK)]);
    assert_eq!(wire.exchanges().len(), 2);
}
