//! Bodies of answers as documents: JSON read as far as it goes.
//!
//! Answers may be cut by a gap or the snaplen, so JSON is read as its sequence of `"key": value` pairs at any depth, not
//! as a tree: a document that breaks off gives the pairs before the break. Bound: [`MAX_PAIRS`] pairs.

#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

use zeroize::Zeroize;

/// Most pairs that are read from a JSON document.
pub const MAX_PAIRS: usize = 4096;

/// What kind of document a body is.
#[derive(Debug)]
pub enum Document<'b> {
    /// JSON: its pairs in order.
    Json(Vec<Pair<'b>>),
    /// A web page.
    Html,
    /// Text, XML, PEM or anything else.
    Text(&'b [u8]),
}

/// A key of a JSON object and its value.
#[derive(Debug)]
pub struct Pair<'b> {
    /// The key.
    pub key: Text<'b>,
    /// The value.
    pub value: Value<'b>,
    /// How many objects and arrays it stands in; 1 at the top.
    pub depth: u32,
}

/// A JSON value.
#[derive(Debug)]
pub enum Value<'b> {
    /// A string, and whether its end was seen.
    String(Text<'b>, bool),
    /// A number, `true` or `false`, as written.
    Scalar(&'b [u8]),
    /// An object or array that holds something.
    Nested,
    /// `null`, an empty object or array, or cut off.
    Nothing,
}

/// A string with its escapes undone; wiped when dropped if it is a copy.
pub enum Text<'b> {
    /// As it stands in the document.
    Same(&'b [u8]),
    /// Unescaped.
    Unescaped(Vec<u8>),
}

impl Text<'_> {
    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Same(bytes) => bytes,
            Self::Unescaped(bytes) => bytes,
        }
    }
}

impl Drop for Text<'_> {
    fn drop(&mut self) {
        if let Self::Unescaped(bytes) = self {
            bytes.zeroize();
        }
    }
}

impl std::fmt::Debug for Text<'_> {
    /// Never the content.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Text({} bytes)", self.bytes().len())
    }
}

impl<'b> Document<'b> {
    /// Reads `bytes`; with `damaged`, a body whose beginning may be missing is JSON if it holds pairs.
    pub fn new(bytes: &'b [u8], damaged: bool) -> Self {
        let text = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes).trim_ascii();
        match text.first() {
            Some(b'{' | b'[') => Self::Json(pairs(text)),
            Some(b'<') if is_html(text) => Self::Html,
            Some(_) if damaged => {
                // It may begin inside a string, and then the first quote ends one.
                let behind =
                    memchr::memchr(b'"', text).and_then(|at| text.get(at.checked_add(1)?..)).unwrap_or_default();
                let (from_here, from_behind) = (pairs(text), pairs(behind));
                let better = if from_behind.len() > from_here.len() { from_behind } else { from_here };
                if better.is_empty() { Self::Text(text) } else { Self::Json(better) }
            }
            _ => Self::Text(text),
        }
    }

    /// Values of all pairs with this key.
    pub fn values(&self, key: &str) -> impl Iterator<Item = &Value<'b>> {
        let pairs = match self {
            Self::Json(pairs) => pairs.as_slice(),
            _ => &[],
        };
        pairs.iter().filter(move |pair| pair.key.bytes() == key.as_bytes()).map(|pair| &pair.value)
    }

    /// Values of pairs with this key that stand in no inner object.
    pub fn top_values(&self, key: &str) -> impl Iterator<Item = &Value<'b>> {
        let pairs = match self {
            Self::Json(pairs) => pairs.as_slice(),
            _ => &[],
        };
        let fits = move |pair: &&Pair<'b>| pair.depth <= 1 && pair.key.bytes() == key.as_bytes();
        pairs.iter().filter(fits).map(|pair| &pair.value)
    }

    /// The first string or scalar with this key that is not empty.
    pub fn text(&self, key: &str) -> Option<&[u8]> {
        self.values(key).find_map(|value| value.text()).filter(|text| !text.is_empty())
    }
}

impl Value<'_> {
    /// Content of a string or scalar.
    pub fn text(&self) -> Option<&[u8]> {
        match self {
            Self::String(text, _) => Some(text.bytes()),
            Self::Scalar(text) => Some(text),
            Self::Nested | Self::Nothing => None,
        }
    }

    /// Whether there is anything in it.
    pub fn is_something(&self) -> bool {
        match self {
            Self::Nested => true,
            _ => self.text().is_some_and(|text| !text.is_empty()),
        }
    }
}

/// A page for people, also behind an XML declaration or a comment.
fn is_html(text: &[u8]) -> bool {
    let head = text.get(..512).unwrap_or(text).to_ascii_lowercase();
    [&b"<html"[..], b"<!doctype html"].iter().any(|tag| memchr::memmem::find(&head, tag).is_some())
}

/// Pairs of the usual credential document.
const USUAL_PAIRS: usize = 8;

/// All pairs of a JSON text, as far as it can be read.
fn pairs(text: &[u8]) -> Vec<Pair<'_>> {
    let mut out = Vec::with_capacity(USUAL_PAIRS);
    let mut rest = text;
    let mut depth = 0u32;
    while let Some(quote) = memchr::memchr(b'"', rest) {
        let Some((between, at_key)) = rest.split_at_checked(quote) else { break };
        for byte in between {
            match byte {
                b'{' | b'[' => depth = depth.saturating_add(1),
                b'}' | b']' => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        let Some((key, _, after)) = string(at_key) else { break };
        rest = after;
        let Some(after) = after.trim_ascii_start().strip_prefix(b":") else { continue };
        let (value, after) = value(after.trim_ascii_start());
        rest = after;
        out.push(Pair { key, value, depth });
        if out.len() >= MAX_PAIRS {
            break;
        }
    }
    out
}

/// A value and what follows it; objects and arrays are only looked into.
fn value(text: &[u8]) -> (Value<'_>, &[u8]) {
    match text.split_first() {
        Some((b'"', _)) => match string(text) {
            Some((text, whole, rest)) => (Value::String(text, whole), rest),
            None => (Value::Nothing, b""),
        },
        Some((b'{' | b'[', inner)) => {
            let empty = matches!(inner.trim_ascii_start().first(), None | Some(b'}' | b']'));
            (if empty { Value::Nothing } else { Value::Nested }, text)
        }
        _ => {
            let end = text.iter().position(|b| matches!(b, b',' | b'}' | b']' | b'"') || b.is_ascii_whitespace());
            let (word, rest) = text.split_at_checked(end.unwrap_or(text.len())).unwrap_or((text, b""));
            (if word.is_empty() || word == b"null" { Value::Nothing } else { Value::Scalar(word) }, rest)
        }
    }
}

/// The string that `text` begins with, whether its end was seen, and what follows it.
fn string(text: &[u8]) -> Option<(Text<'_>, bool, &[u8])> {
    let inner = text.strip_prefix(b"\"")?;
    let plain = memchr::memchr2(b'"', b'\\', inner).unwrap_or(inner.len());
    match inner.get(plain) {
        None => return Some((Text::Same(inner), false, b"")),
        Some(b'"') => {
            return Some((Text::Same(inner.get(..plain)?), true, inner.get(plain.saturating_add(1)..)?));
        }
        Some(_) => {}
    }
    let mut out = Vec::with_capacity(inner.len());
    let mut rest = inner;
    let (mut whole, mut high) = (false, None);
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            b'"' => {
                whole = true;
                break;
            }
            b'\\' => rest = unescape(tail, &mut high, &mut out),
            _ => out.push(byte),
        }
    }
    Some((Text::Unescaped(out), whole, rest))
}

/// One escape (RFC 8259 section 7) after its backslash; `high` is a surrogate that waits for its other half.
fn unescape<'b>(text: &'b [u8], high: &mut Option<u32>, out: &mut Vec<u8>) -> &'b [u8] {
    let Some((&kind, rest)) = text.split_first() else { return b"" };
    let plain = match kind {
        b'n' => b'\n',
        b't' => b'\t',
        b'r' => b'\r',
        b'b' => 0x08,
        b'f' => 0x0C,
        b'u' => {
            let digits = rest.get(..4).and_then(|d| std::str::from_utf8(d).ok());
            let Some(unit) = digits.and_then(|d| u32::from_str_radix(d, 16).ok()) else { return rest };
            let joined =
                high.take().map(|high| (high & 0x3FF) << 10 | unit & 0x3FF).map(|low| low.saturating_add(0x1_0000));
            match (unit, joined) {
                (0xD800..=0xDBFF, _) => *high = Some(unit),
                (0xDC00..=0xDFFF, Some(joined)) => push_char(joined, out),
                _ => push_char(unit, out),
            }
            return rest.get(4..).unwrap_or_default();
        }
        other => other,
    };
    out.push(plain);
    rest
}

fn push_char(code: u32, out: &mut Vec<u8>) {
    let c = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(String, String)> {
        let Document::Json(pairs) = Document::new(text.as_bytes(), false) else { panic!("not JSON") };
        let show = |v: &Value| match v {
            Value::Nested => "nested".to_owned(),
            Value::Nothing => "nothing".to_owned(),
            v => String::from_utf8_lossy(v.text().unwrap()).into_owned(),
        };
        pairs.iter().map(|p| (String::from_utf8_lossy(p.key.bytes()).into_owned(), show(&p.value))).collect()
    }

    #[test]
    fn pairs_at_any_depth_and_up_to_the_break() {
        let all = read(r#"{"a" : "x\/y", "b": {"c":[1, "d"], "e":null}, "f":{}, "g":true, "h":"\u00e9\ud83d\ude00"}"#);
        let want = [
            ("a", "x/y"),
            ("b", "nested"),
            ("c", "nested"),
            ("e", "nothing"),
            ("f", "nothing"),
            ("g", "true"),
            ("h", "é😀"),
        ];
        assert_eq!(all, want.map(|(k, v)| (k.to_owned(), v.to_owned())));
        assert_eq!(read(r#"{"a":"x","b":"half"#).last().unwrap().1, "half");
        assert!(read("{\"a").is_empty());
    }

    /// Against serde_json on any document of its own making.
    #[test]
    fn agrees_with_a_real_parser() {
        use proptest::prelude::*;
        use serde_json::Value as J;
        let leaf = prop_oneof![
            Just(J::Null),
            any::<bool>().prop_map(J::from),
            any::<i64>().prop_map(J::from),
            ".{0,12}".prop_map(J::from)
        ];
        let tree = leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(J::from),
                proptest::collection::btree_map(".{0,6}", inner, 1..5).prop_map(|m| J::Object(m.into_iter().collect()))
            ]
        });
        fn walk(value: &J, out: &mut Vec<(String, String)>) {
            match value {
                J::Array(items) => items.iter().for_each(|v| walk(v, out)),
                J::Object(map) => map.iter().for_each(|(k, v)| {
                    let shown = match v {
                        J::String(s) => s.clone(),
                        J::Null => "nothing".to_owned(),
                        J::Array(a) if a.is_empty() => "nothing".to_owned(),
                        J::Object(o) if o.is_empty() => "nothing".to_owned(),
                        J::Array(_) | J::Object(_) => "nested".to_owned(),
                        v => v.to_string(),
                    };
                    out.push((k.clone(), shown));
                    walk(v, out);
                }),
                _ => {}
            }
        }
        let mut runner = proptest::test_runner::TestRunner::deterministic();
        runner
            .run(&tree, |tree| {
                let text = serde_json::to_string(&J::from(vec![tree.clone()])).unwrap();
                let mut want = Vec::new();
                walk(&tree, &mut want);
                assert_eq!(read(&text), want, "{text}");
                Ok(())
            })
            .unwrap();
    }

    #[test]
    fn pages_are_not_documents() {
        for page in
            ["<!DOCTYPE html><html>", "\n<html>", "<?xml version=\"1.0\"?>\n<!DOCTYPE html PUBLIC \"x\">\n<html/>"]
        {
            assert!(matches!(Document::new(page.as_bytes(), false), Document::Html), "{page}");
        }
        assert!(matches!(Document::new(b"<?xml version=\"1.0\"?><GoalState>", false), Document::Text(_)));
        assert!(matches!(Document::new(b"Id\" : \"x\", \"Token\" : \"y\"}", true), Document::Json(_)));
    }
}
