//! Hosts and paths in fields of their own: some servers put the URL that they fetch together.
//!
//! In: values, and pieces of bodies. Out: the hosts of metadata services and paths, kept in the [`Search`]. Most values are
//! neither, which one look at each byte tells.

#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

use super::search::{PER_URL, Search, form_decode, host_text};
use super::{is_target, later};
use crate::bytes::{byte_table, find};
use crate::detect::canonical;

/// Hosts that are put together with paths.
const HOSTS: usize = 4;
/// Paths; as many again that only metadata services have.
const PATHS: usize = 32;

/// Kinds of bytes, as bits.
type Kinds = u8;
/// One that hosts have and mere words do not.
const HOST: Kinds = 1;
/// One that stands between host and path, or may stand for it.
const SLASH: Kinds = 2;
/// One that stands in no host, but may before or behind it.
const GAP: Kinds = 4;
/// One that no field has.
const TAG: Kinds = 8;
/// One that ends a field, between quotes or in a form.
const END: Kinds = 16;
const AMPERSAND: Kinds = 32;

#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects)] // evaluated by the compiler
const KINDS: [Kinds; 256] = byte_table!(byte => match byte {
    b'.' | b'-' | b':' => HOST,
    b'%' => HOST | SLASH,
    b'/' | b'\\' => SLASH,
    b' ' | b',' => GAP,
    b'<' => TAG | END,
    b'"' | b'=' | b'>' => END,
    b'&' => AMPERSAND | END,
    0x80.. => HOST,
    _ => 0,
});

#[allow(clippy::indexing_slicing)] // there is a place for each byte
fn kind(byte: u8) -> Kinds {
    KINDS[usize::from(byte)]
}

fn kinds(value: &[u8]) -> Kinds {
    value.iter().fold(0, |kinds, byte| kinds | kind(*byte))
}

/// Whether a value may be a host or a path by itself: short, and not a mere word.
pub(super) fn may_be_one(value: &[u8]) -> bool {
    may_be(value, kinds(value))
}

fn may_be(value: &[u8], kinds: Kinds) -> bool {
    let is_host = kinds & HOST != 0 || value.len() >= 8 && value.first().is_some_and(u8::is_ascii_digit);
    (4..=512).contains(&value.len()) && kinds & TAG == 0 && (is_host || may_mention(value, kinds))
}

/// Whether a value may hold a path.
fn may_mention(value: &[u8], kinds: Kinds) -> bool {
    kinds & SLASH != 0 || kinds & AMPERSAND != 0 && find(value, b"&#").is_some()
}

impl Search<'_> {
    /// A value that is a host or a path by itself.
    pub(super) fn note_field(&mut self, value: &[u8]) {
        let kinds = kinds(value);
        // what stands between two bytes of a picture is neither in any spelling: it is no text
        if !may_be(value, kinds) || str::from_utf8(value).is_err() {
            return;
        }
        match may_mention(value, kinds) {
            true => self.note_path(value, kinds),
            false => self.note_host(value, kinds),
        }
    }

    fn note_path(&mut self, value: &[u8], kinds: Kinds) {
        if !self.budget.spend(value.len().saturating_mul(2)) || kinds & GAP != 0 && value.contains(&b' ') {
            return;
        }
        let path = canonical::normalise_path(value);
        let has_room = self.paths.len() < PATHS || self.paths.len() < 2 * PATHS && self.is_metadata_path(&path);
        if path.len() > 1 && has_room && !self.paths.contains(&path) {
            self.paths.push(path);
        }
    }

    fn note_host(&mut self, value: &[u8], kinds: Kinds) {
        let is_list = kinds & GAP != 0 && value.trim_ascii().iter().any(|byte| kind(*byte) & GAP != 0);
        if is_list || self.hosts.len() >= HOSTS || !self.budget.spend(PER_URL) {
            return;
        }
        if let Some((host, port)) = canonical::canonical_authority(value)
            && is_target(self.catalogue, &host, port)
        {
            self.hosts.push((host, port));
        }
    }

    /// Fields of a piece of a body.
    pub(super) fn note_fields(&mut self, piece: &[u8]) {
        let (mut start, mut kinds) = (0usize, 0);
        for (at, byte) in piece.iter().enumerate() {
            let kind = kind(*byte);
            if kind & END == 0 {
                kinds |= kind;
                continue;
            }
            let value = piece.get(start..at).unwrap_or_default();
            if may_be(value, kinds) && !self.note_decoded(value) {
                return;
            }
            (start, kinds) = (at.saturating_add(1), 0);
        }
        let last = piece.get(start..).unwrap_or_default();
        if may_be(last, kinds) {
            self.note_decoded(last);
        }
    }

    /// A field as it stands in a form; whether more may be read.
    fn note_decoded(&mut self, value: &[u8]) -> bool {
        let may_go_on = self.budget.spend(value.len());
        if may_go_on {
            self.note_field(&form_decode(value));
        }
        may_go_on
    }

    /// Takes those that metadata services are called and asked for out, as lines.
    pub(super) fn fields_of(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        self.note_fields(piece);
        let paths = std::mem::take(&mut self.paths);
        let hosts = std::mem::take(&mut self.hosts);
        for (host, port) in &hosts {
            out.push(later::HOST);
            out.extend_from_slice(host_text(host).as_bytes());
            out.extend(port.iter().flat_map(|port| format!(":{port}").into_bytes()));
            out.push(b'\n');
        }
        for path in paths.iter().filter(|path| self.is_known_path(path)) {
            out.push(later::PATH);
            out.extend(path.bytes().filter(|byte| *byte != b'\n'));
            out.push(b'\n');
        }
    }
}

#[cfg(test)]
#[allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    reason = "tests fail by panicking"
)]
mod tests {
    use super::*;
    use crate::catalogue::Catalogue;

    /// The fields of a piece that are kept.
    fn fields(piece: &str) -> String {
        let catalogue = Catalogue::builtin().unwrap();
        let mut out = Vec::new();
        Search::new(&catalogue, piece.len()).fields_of(piece.as_bytes(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn hosts_and_paths_of_metadata_services_are_kept_in_any_spelling() {
        for host in ["169.254.169.254", " 169.254.169.254 ", "0xa9fea9fe:80", "2852039166", "169%2e254.169.254"] {
            let piece = format!(r#"{{"a": 12.5, "host":"{host}","path":"/latest/meta-data/iam/","note":"a, b-c"}}"#);
            assert_eq!(fields(&piece).lines().count(), 2, "{host}: {}", fields(&piece));
        }
        assert_eq!(fields("host=metadata.google.internal&path=/x"), "hmetadata.google.internal\n");
        assert_eq!(fields(r#"{"host":"shop.example","at":"2026-03-01T10:00:00Z","path":"/p/12","n":[1.5, 2.5]}"#), "");
        assert_eq!(fields("last=169.254.169.254"), "h169.254.169.254\n");
        let catalogue = Catalogue::builtin().unwrap();
        let picture = b"\x89PNG<\xA9\xFE.\xA9-\xFE>\xFF\xE3\x80.1\"";
        let mut search = Search::new(&catalogue, picture.len());
        search.note_fields(picture);
        assert!(search.budget.spent() < 4 * picture.len(), "no piece of a picture is read as a host");
    }
}
