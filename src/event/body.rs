//! Content encodings of bodies that are written: undone as Packetbeat does, for what was captured of them.
//!
//! In: captured body bytes and the Content-Encoding header. Out: decoded bytes (as far as they go) and a remark when
//! something failed. Bound: `limit` bytes out per encoding, and at most [`MAX_ENCODINGS`] of them.

use std::borrow::Cow;
use std::io::Read;

use flate2::read::{DeflateDecoder, MultiGzDecoder};

use super::lossy;

/// More encodings than this on one body are an attack on whoever undoes them.
const MAX_ENCODINGS: usize = 8;

/// The body with the encodings of `header` undone, the last one first, and what to remark.
pub(super) fn decode<'b>(body: &'b [u8], header: &[u8], limit: usize) -> (Cow<'b, [u8]>, Option<String>) {
    let header = lossy(header).to_lowercase();
    let encodings: Vec<&str> = header.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    let mut out = Cow::Borrowed(body);
    for (at, name) in encodings.iter().enumerate().rev() {
        let failure = match *name {
            "identity" => None,
            _ if encodings.len() > MAX_ENCODINGS => Some("too many encodings"),
            "gzip" | "x-gzip" => inflate(&mut out, limit, |bytes| Box::new(MultiGzDecoder::new(bytes))),
            "deflate" => inflate(&mut out, limit, |bytes| Box::new(DeflateDecoder::new(bytes))),
            _ => Some("decoder not found"),
        };
        if let Some(reason) = failure {
            let note = format!("unable to decode body using {name} encoding: {reason}");
            // What the last decoder yielded stands; what an earlier one yielded is still encoded.
            return (if at == 0 { out } else { Cow::Borrowed(b"") }, Some(note));
        }
    }
    (out, None)
}

/// Replaces `body` by what the decoder makes of it; the reason when it stops early.
fn inflate<'d>(
    body: &mut Cow<'_, [u8]>,
    limit: usize,
    decoder: impl for<'x> FnOnce(&'x [u8]) -> Box<dyn Read + 'x>,
) -> Option<&'d str> {
    let mut out = Vec::new();
    let result = decoder(body).take(limit as u64).read_to_end(&mut out);
    *body = Cow::Owned(out);
    result.err().map(|error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => "unexpected EOF",
        _ => "invalid data",
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder};

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn undoes_encodings_in_reverse_order_and_says_what_failed() {
        let mut deflate = DeflateEncoder::new(Vec::new(), Compression::fast());
        deflate.write_all(b"hello").unwrap();
        let twice = gzip(&deflate.finish().unwrap());
        assert_eq!(decode(&twice, b"Deflate, gzip", 100), (Cow::Borrowed(&b"hello"[..]), None));
        assert_eq!(decode(b"x", b"identity", 100), (Cow::Borrowed(&b"x"[..]), None));

        let (body, note) = decode(b"x", b"br", 100);
        assert_eq!(
            (&*body, note.unwrap().as_str()),
            (&b"x"[..], "unable to decode body using br encoding: decoder not found")
        );
        let cut = &gzip(&[7; 1000])[..20];
        assert_eq!(decode(cut, b"gzip", 9999).1.unwrap(), "unable to decode body using gzip encoding: unexpected EOF");
        assert!(decode(cut, b"deflate, gzip", 9999).0.is_empty());
        assert_eq!(decode(&gzip(&[0; 10_000_000]), b"gzip", 1000).0.len(), 1000);
    }
}
