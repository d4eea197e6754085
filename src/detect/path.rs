//! Request targets: what part of a target is authority, path and query, and the path as it is compared (`imds.path`).

#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

use super::canonical;
use crate::bytes::find;

/// A request target in its parts, as sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Target<'a> {
    /// `host:port` of an absolute-form target, user information included.
    pub authority: Option<&'a [u8]>,
    /// Path up to the first raw `?` or `#`.
    pub path: &'a [u8],
    /// What follows the `?`, without fragment.
    pub query: &'a [u8],
}

impl<'a> Target<'a> {
    /// Splits origin-form and absolute-form targets (RFC 9112 section 3.2); `//x` is a path, as servers read it.
    pub fn new(target: &'a [u8]) -> Self {
        let (authority, rest) = match absolute(target) {
            Some((authority, rest)) => (Some(authority), rest),
            None => (None, target),
        };
        let end = memchr::memchr2(b'?', b'#', rest).unwrap_or(rest.len());
        let (path, tail) = rest.split_at_checked(end).unwrap_or((rest, b""));
        let query = tail.strip_prefix(b"?").unwrap_or_default();
        let query = query.get(..memchr::memchr(b'#', query).unwrap_or(query.len())).unwrap_or_default();
        Self { authority, path, query }
    }

    /// Normalises the path of `target`, which these are the parts of.
    pub(super) fn normalise(&self, target: &[u8]) -> Normalised {
        let raw = self.path;
        let plain = plain_path(raw).filter(|_| self.authority.is_none() && target.len() <= canonical::INPUT);
        if let Some(path) = plain {
            return Normalised { path: path.to_owned(), obfuscated: false };
        }
        let path = canonical::normalise_path(target);
        // A doubled slash at the beginning or the end hides nothing, and some SDKs send it.
        let inner = raw.get(raw.iter().position(|b| *b != b'/').unwrap_or(raw.len())..).unwrap_or_default();
        let inner = inner.get(..inner.iter().rposition(|b| *b != b'/').map_or(0, |at| at.saturating_add(1)));
        let obfuscated = inner.is_some_and(|inner| inner != path.trim_start_matches('/').as_bytes());
        Normalised { path, obfuscated }
    }
}

/// Authority and rest of an absolute-form target.
fn absolute(target: &[u8]) -> Option<(&[u8], &[u8])> {
    target.first().filter(|b| b.is_ascii_alphabetic())?;
    let at = find(target.get(..64).unwrap_or(target), b"://")?;
    let (scheme, rest) = target.split_at_checked(at)?;
    let is_scheme = scheme.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    let rest = rest.get(3..).filter(|_| is_scheme)?;
    rest.split_at_checked(rest.iter().position(|b| matches!(b, b'/' | b'?' | b'#')).unwrap_or(rest.len()))
}

/// What [`normalise_path`] makes of a path, if that is the path as sent, but for a `/` at its end.
pub(super) fn plain_path(path: &[u8]) -> Option<&str> {
    let path = path.strip_suffix(b"/").filter(|path| !path.is_empty()).unwrap_or(path);
    str::from_utf8(path).ok().filter(|path| !path.contains('%') && canonical::is_normal(path))
}

/// A path as it is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Normalised {
    /// Percent-decoded until stable (bounded), empty and dot segments resolved, no trailing `/`; at least `/`.
    pub path: String,
    /// The spelling hides the path from plain matching: encoded characters, dot segments, doubled slashes inside.
    pub obfuscated: bool,
}

/// Normalises the path of a target (contract section 3, `imds.path`).
pub fn normalise_path(target: &[u8]) -> Normalised {
    Target::new(target).normalise(target)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::ProptestConfig;
    use proptest::test_runner::RngSeed;

    use super::*;

    #[test]
    fn targets_fall_into_parts() {
        let parts = |t: &'static str| {
            let t = Target::new(t.as_bytes());
            (t.authority, t.path, t.query)
        };
        assert_eq!(parts("/a?b=1#c"), (None, &b"/a"[..], &b"b=1"[..]));
        assert_eq!(parts("//latest/x"), (None, &b"//latest/x"[..], &b""[..]));
        assert_eq!(parts("http://h:80/p?q"), (Some(&b"h:80"[..]), &b"/p"[..], &b"q"[..]));
        assert_eq!(parts("http://h?q"), (Some(&b"h"[..]), &b""[..], &b"q"[..]));
        assert_eq!(parts("/r?u=http://h/p"), (None, &b"/r"[..], &b"u=http://h/p"[..]));
    }

    #[test]
    fn paths_are_compared_in_one_spelling() {
        for (target, path, obfuscated) in [
            ("/latest/meta-data/", "/latest/meta-data", false),
            ("//latest/meta-data", "/latest/meta-data", false),
            ("http://169.254.169.254/latest/user-data?x=/../y", "/latest/user-data", false),
            ("http://h", "/", false),
            ("/", "/", false),
            ("/latest//meta-data", "/latest/meta-data", true),
            ("/latest/%6deta-data", "/latest/meta-data", true),
            ("/latest/%256deta-data%2fiam", "/latest/meta-data/iam", true),
            ("/latest/./x/../user-data", "/latest/user-data", true),
            ("/../..", "/", true),
            ("/a%3Fb", "/a?b", true),
            ("/%zz", "/%zz", false),
        ] {
            let got = normalise_path(target.as_bytes());
            let plain = plain_path(target.as_bytes());
            let long_way = canonical::normalise_path(target.as_bytes());
            assert!(plain.is_none_or(|plain| plain == long_way) && got.path == long_way, "{target}");
            assert!(plain.is_some() || obfuscated || target.contains(['%', '?', ':']) || target.starts_with("//"));
            assert_eq!((got.path.as_str(), got.obfuscated), (path, obfuscated), "{target}");
        }
    }

    proptest::proptest! {
        #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(1), cases: 4096, ..ProptestConfig::default() })]

        /// The short way of plain paths gives what the long way gives, and nothing is hidden in them.
        #[test]
        fn plain_paths_are_as_sent(target in "(/|//|a|\\.|%2e|\\?|#|:|é|\\\\){0,8}") {
            let parts = Target::new(target.as_bytes());
            let got = parts.normalise(target.as_bytes());
            proptest::prop_assert_eq!(&got.path, &canonical::normalise_path(target.as_bytes()));
            if plain_path(parts.path).is_some() && parts.authority.is_none() {
                let trimmed = target.split(['?', '#']).next().unwrap().trim_matches('/');
                proptest::prop_assert_eq!((got.path.trim_matches('/'), got.obfuscated), (trimmed, false));
            }
        }
    }

    #[test]
    fn any_bytes_end_in_bounded_time_and_normalise_once() {
        let mut runner = proptest::test_runner::TestRunner::deterministic();
        let bytes = proptest::collection::vec(proptest::num::u8::ANY, 0..300);
        runner
            .run(&bytes, |bytes| {
                let once = normalise_path(&bytes);
                assert!(once.path.starts_with('/'));
                Ok(())
            })
            .unwrap();
    }
}
