//! Entry points for bytes that mean harm, as those of [`decode::hostile`](crate::decode::hostile): what
//! stands between the sockets and the decoders.

use http::HeaderValue;

use super::{otlp, reverse};
use crate::decode::hostile;

/// A client's requests to the reverse proxy.
pub fn framing(bytes: &[u8]) {
    reverse::follow_twice(bytes, 1);
}

/// An export as it comes, compressed with gzip.
pub fn export(bytes: &[u8]) {
    if let Some(export) = otlp::inflated(bytes, &HeaderValue::from_static("gzip")) {
        hostile::otlp(&export);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sound_exports_are_inflated() {
        let gzip = HeaderValue::from_static("gzip");
        let seed = include_bytes!("../../fuzz/seeds/export/flask.pb.gz");
        let export = otlp::inflated(seed, &gzip).unwrap();
        assert_eq!(&export[..], include_bytes!("../../tests/fixtures/otlp/flask.pb"));
        super::export(seed);
        framing(include_bytes!("../../fuzz/seeds/framing/sound"));
        framing(include_bytes!("../../fuzz/seeds/framing/flawed"));
    }

    proptest::proptest! {
        #[test]
        fn nothing_panics(bytes: Vec<u8>) {
            framing(&bytes);
            export(&bytes);
        }
    }
}
