//! Codings undone: what compressors made, cut anywhere, changed anywhere, and bombs.

use std::io::Write;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use proptest::prelude::*;

use super::*;

const LIMIT: usize = 1 << 20;

fn compress(coding: Coding, bytes: &[u8]) -> Vec<u8> {
    match coding {
        Coding::Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        Coding::Deflate => {
            let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        Coding::Brotli => {
            let mut out = Vec::new();
            let mut encoder = brotli::CompressorWriter::new(&mut out, 4_096, 3, 18);
            encoder.write_all(bytes).unwrap();
            drop(encoder);
            out
        }
        Coding::Zstd => zstd::encode_all(bytes, 1).unwrap(),
    }
}

fn bare_deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn captured(codings: Codings, bytes: Vec<u8>) -> Captured {
    Captured { total: bytes.len() as u64, bytes, codings, ..Captured::default() }
}

const ALL: [Coding; 4] = [Coding::Gzip, Coding::Deflate, Coding::Brotli, Coding::Zstd];

#[test]
fn the_names_of_codings_are_read_in_any_spelling() {
    let two = Codings::Two(Coding::Gzip, Coding::Brotli);
    for (header, expected) in [
        ("", Codings::None),
        ("identity", Codings::None),
        ("IDENTITY , chunked", Codings::None),
        ("GZIP", Codings::One(Coding::Gzip)),
        (" x-gzip ", Codings::One(Coding::Gzip)),
        ("Deflate", Codings::One(Coding::Deflate)),
        ("br", Codings::One(Coding::Brotli)),
        ("zstd,identity", Codings::One(Coding::Zstd)),
        ("gzip, br", two),
        ("gzip,,br", two),
        ("gzip, br, zstd", Codings::Unknown),
        ("compress", Codings::Unknown),
        ("dcb", Codings::Unknown),
        ("gzip, lz4", Codings::Unknown),
        ("br;q=1", Codings::Unknown),
        ("\u{ff}", Codings::Unknown),
    ] {
        assert_eq!(codings(header.as_bytes()), expected, "{header}");
    }
    assert_eq!(Codings::One(Coding::Gzip).then_all(Codings::One(Coding::Brotli)), two);
    assert_eq!(Codings::Unknown.then_all(Codings::None), Codings::Unknown);
    assert_eq!(Codings::None.then_all(Codings::Unknown), Codings::Unknown);
}

#[test]
fn a_body_without_a_coding_is_not_copied() {
    let body = captured(Codings::None, b"{}".to_vec());
    assert_eq!(plain(&body, 1), Plain { bytes: Cow::Borrowed(b"{}"), missing: None });
    let part = Captured { total: 3, ..body };
    assert_eq!(plain(&part, 1).missing, Some(UninspectedReason::TooLarge));
    let crowded = Captured { stopped: Some(CopyStop::BudgetSpent), ..part };
    assert_eq!(plain(&crowded, 1).missing, Some(UninspectedReason::NoRoom));
}

#[test]
fn what_an_unknown_coding_hides_is_compressed() {
    let body = captured(Codings::Unknown, b"{}".to_vec());
    let hidden = Plain { bytes: Cow::Borrowed(&[]), missing: Some(UninspectedReason::Compressed) };
    assert_eq!(plain(&body, LIMIT), hidden);
}

#[test]
fn an_empty_body_is_empty_whatever_its_coding() {
    for coding in ALL {
        let body = captured(Codings::One(coding), Vec::new());
        assert_eq!(plain(&body, LIMIT), Plain { bytes: Cow::Borrowed(&[]), missing: None });
    }
}

#[test]
fn clients_and_this_read_the_same_odd_streams() {
    let text = b"{\"jsonrpc\":\"2.0\"}";
    let gzip = Codings::One(Coding::Gzip);
    let members = [compress(Coding::Gzip, &text[..5]), compress(Coding::Gzip, &text[5..])].concat();
    assert_eq!(plain(&captured(gzip, members), LIMIT).bytes, &text[..]);
    let padded = [compress(Coding::Gzip, text), vec![0; 9]].concat();
    assert_eq!(plain(&captured(gzip, padded), LIMIT).bytes, &text[..]);
    let bare = captured(Codings::One(Coding::Deflate), bare_deflate(text));
    assert_eq!(plain(&bare, LIMIT), Plain { bytes: text.into(), missing: None });
}

/// A gigabyte of zeros in a few hundred kilobytes or less.
#[test]
fn a_bomb_ends_at_the_limit_as_too_large() {
    for coding in ALL {
        let zeros = vec![0; 1 << 20];
        let bomb = match coding {
            // Both may be many streams, one after the other.
            Coding::Gzip | Coding::Zstd => compress(coding, &zeros).repeat(64),
            _ => compress(coding, &vec![0; 64 << 20]),
        };
        let body = captured(Codings::One(coding), bomb);
        let read_back = plain(&body, LIMIT + 17);
        assert_eq!(read_back.missing, Some(UninspectedReason::TooLarge), "{coding:?}");
        assert_eq!(read_back.bytes.len(), LIMIT + 17, "{coding:?}");
        let Cow::Owned(bytes) = read_back.bytes else { panic!("decompressed") };
        assert!(bytes.capacity() <= 2 * LIMIT + 2 * PIECE, "{coding:?}: {}", bytes.capacity());
    }
}

#[test]
fn a_bomb_of_empty_streams_ends_too() {
    let body = captured(Codings::One(Coding::Gzip), compress(Coding::Gzip, b"").repeat(100_000));
    assert_eq!(plain(&body, LIMIT).missing, Some(UninspectedReason::TooLarge));
}

#[test]
fn exactly_the_limit_is_whole_and_one_byte_more_is_too_large() {
    for coding in ALL {
        let body = captured(Codings::One(coding), compress(coding, &[7; 100_000]));
        assert_eq!(plain(&body, 100_000).missing, None, "{coding:?}");
        let cut = plain(&body, 99_999);
        let missing = Some(UninspectedReason::TooLarge);
        assert_eq!((cut.bytes.len(), cut.missing), (99_999, missing), "{coding:?}");
    }
}

#[test]
fn a_window_beyond_what_http_has_is_not_opened() {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(27).unwrap();
    encoder.long_distance_matching(true).unwrap();
    encoder.write_all(b"{}").unwrap();
    let body = captured(Codings::One(Coding::Zstd), encoder.finish().unwrap());
    let read_back = plain(&body, LIMIT);
    assert_eq!(
        (read_back.bytes.len(), read_back.missing),
        (0, Some(UninspectedReason::Unreadable))
    );
    // The stream's first byte says that a window of up to a gigabyte follows.
    let large = captured(Codings::One(Coding::Brotli), vec![0x11, 0x1e, 0x03]);
    assert_eq!(plain(&large, LIMIT).missing, Some(UninspectedReason::Unreadable));
}

fn some_coding() -> impl Strategy<Value = Coding> {
    prop::sample::select(ALL.to_vec())
}

proptest! {
    #[test]
    fn any_body_comes_back_from_one_coding_or_two(
        body in prop::collection::vec(any::<u8>(), 0..4_000),
        first in some_coding(),
        second in some_coding(),
    ) {
        let once = compress(first, &body);
        let twice = captured(Codings::Two(first, second), compress(second, &once));
        let read_back = plain(&twice, LIMIT);
        prop_assert_eq!((&read_back.bytes[..], read_back.missing), (&body[..], None));
        let once = captured(Codings::One(first), once);
        let read_back = plain(&once, LIMIT);
        prop_assert_eq!((&read_back.bytes[..], read_back.missing), (&body[..], None));
    }

    #[test]
    fn a_stream_cut_anywhere_is_unreadable_or_as_large_as_was_kept(
        text in "[a-z{}\":,0-9]{1,2000}",
        coding in some_coding(),
        at: prop::sample::Index,
    ) {
        let whole = compress(coding, text.as_bytes());
        let cut = whole[..at.index(whole.len() - 1) + 1].to_vec();
        prop_assume!(cut.len() < whole.len());
        let broken = captured(Codings::One(coding), cut);
        let read_back = plain(&broken, LIMIT);
        prop_assert_eq!(read_back.missing, Some(UninspectedReason::Unreadable));
        prop_assert!(text.as_bytes().starts_with(&read_back.bytes));
        let part = Captured { total: whole.len() as u64, ..broken };
        let read_back = plain(&part, LIMIT);
        prop_assert_eq!(read_back.missing, Some(UninspectedReason::TooLarge));
        prop_assert!(text.as_bytes().starts_with(&read_back.bytes));
    }

    #[test]
    fn arbitrary_bytes_never_panic_and_stay_within_the_limit(
        bytes in prop::collection::vec(any::<u8>(), 0..2_000),
        first in some_coding(),
        second in some_coding(),
        limit in 0_usize..5_000,
    ) {
        for codings in [Codings::One(first), Codings::Two(first, second)] {
            prop_assert!(plain(&captured(codings, bytes.clone()), limit).bytes.len() <= limit);
        }
    }

    #[test]
    fn a_stream_with_a_byte_changed_never_panics(
        text in "[a-z{}\":,0-9]{1,2000}",
        coding in some_coding(),
        at: prop::sample::Index,
        to: u8,
    ) {
        let mut bytes = compress(coding, text.as_bytes());
        let at = at.index(bytes.len());
        bytes[at] = to;
        prop_assert!(plain(&captured(Codings::One(coding), bytes), 4_000).bytes.len() <= 4_000);
    }

    #[test]
    fn arbitrary_headers_never_panic(header: Vec<u8>) {
        codings(&header);
    }
}
