//! Patterns of the catalogue: paths (segments, classes, alternatives, wildcards), header rules and query rules.
//!
//! Each is parsed from its text in the data file, so that a bad one is an error with a line number. Matching allocates
//! nothing and takes time linear in its input.

use std::collections::BTreeMap;

use serde::Deserialize;

/// A path pattern as written: `/{v}/meta-data/*/**`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct PathPattern {
    segments: Vec<Segment>,
    /// `/**` at the end: any remainder, also none.
    rest: bool,
    /// How well any path fits that does.
    fit: Fit,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Literal(String),
    OneOf(Vec<String>),
    /// Name of a class, and its members once [`PathPattern::resolve`] has run.
    Class(String, Vec<String>),
    Any,
}

/// A segment of a pattern as the words that fit it.
pub(super) enum Step<'p> {
    /// One of these; [`DATE`] is any date.
    Words(&'p [String]),
    /// Anything.
    Any,
}

/// How well a path fits a pattern; the better match is the greater one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fit {
    /// Number of literal segments.
    pub literals: usize,
    /// 2 without wildcards, 1 with `*` or alternatives, 0 with `**`.
    pub exactness: u8,
    /// Which segments the last `*` stands for, or else `**`.
    wild: Option<Wild>,
}

/// What of a path a wildcard stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Wild {
    /// This segment.
    Segment(usize),
    /// All from this one on.
    From(usize),
}

impl Fit {
    fn new(segments: &[Segment], rest: bool) -> Self {
        let is_open = segments.iter().any(|s| matches!(s, Segment::Any | Segment::OneOf(_)));
        let last_any = segments.iter().rposition(|s| matches!(s, Segment::Any)).map(Wild::Segment);
        Self {
            literals: segments.iter().filter(|s| matches!(s, Segment::Literal(_))).count(),
            exactness: if rest { 0 } else { 2 - u8::from(is_open) },
            wild: last_any.or(rest.then_some(Wild::From(segments.len()))),
        }
    }

    /// What the last `*`, or else `**`, stands for in `path`, which fits.
    pub fn wildcard(self, path: &str) -> Option<&str> {
        let path = path.strip_prefix('/').unwrap_or(path);
        let part = match self.wild? {
            Wild::Segment(nth) => path.split('/').nth(nth),
            Wild::From(nth) => path.splitn(nth.saturating_add(1), '/').nth(nth),
        };
        part.filter(|part| !part.is_empty())
    }
}

impl PathPattern {
    /// Fills in the classes; the error is the name of an unknown one.
    pub fn resolve(&mut self, classes: &BTreeMap<String, Vec<String>>) -> Result<(), String> {
        for segment in &mut self.segments {
            if let Segment::Class(name, members) = segment {
                *members = classes.get(name.as_str()).ok_or_else(|| name.clone())?.clone();
            }
        }
        Ok(())
    }

    /// Its segments, each as the words that fit it.
    pub(super) fn steps(&self) -> impl Iterator<Item = Step<'_>> {
        self.segments.iter().map(|segment| match segment {
            Segment::Literal(word) => Step::Words(std::slice::from_ref(word)),
            Segment::OneOf(words) | Segment::Class(_, words) => Step::Words(words),
            Segment::Any => Step::Any,
        })
    }

    /// A path that fits it.
    #[cfg(test)]
    pub fn sample(&self) -> String {
        let parts = self.steps().map(|step| match step {
            Step::Any => "/sample",
            Step::Words(words) => words.first().map_or("", String::as_str),
        });
        parts.map(|part| format!("/{}", part.trim_start_matches('/'))).collect::<String>()
            + if self.rest { "/sample" } else { "" }
    }

    /// Whether it takes any remainder.
    pub(super) fn has_rest(&self) -> bool {
        self.rest
    }

    /// How a normalised path fits, if it does.
    pub fn fit(&self, path: &str) -> Option<Fit> {
        // In bytes: for parts as short as these a search for a character costs more than the walk.
        let inner = path.as_bytes().strip_prefix(b"/")?;
        let mut parts = inner.split(|b| *b == b'/').filter(|part| !part.is_empty());
        for segment in &self.segments {
            let part = parts.next()?;
            let fits = match segment {
                Segment::Literal(text) => text.as_bytes() == part,
                Segment::OneOf(members) => members.iter().any(|m| m.as_bytes() == part),
                Segment::Class(_, members) => members.iter().any(|m| is_member(m, part)),
                Segment::Any => true,
            };
            if !fits {
                return None;
            }
        }
        if !self.rest && parts.next().is_some() {
            return None;
        }
        Some(self.fit)
    }

    /// How a path fits of which the tree of all patterns says that it does.
    pub(super) fn known_fit(&self) -> Fit {
        self.fit
    }
}

/// Class member that stands for any date of this century.
pub(super) const DATE: &str = "YYYY-MM-DD";

fn is_member(member: &str, part: &[u8]) -> bool {
    if member == DATE { is_date(part) } else { member.as_bytes() == part }
}

/// Whether a segment has the form of [`DATE`].
pub(super) fn is_date(part: &[u8]) -> bool {
    part.len() == 10
        && part.starts_with(b"20")
        && part.iter().enumerate().all(|(at, b)| if at == 4 || at == 7 { *b == b'-' } else { b.is_ascii_digit() })
}

impl TryFrom<String> for PathPattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let body = text.strip_prefix('/').ok_or_else(|| format!("path pattern `{text}` does not begin with `/`"))?;
        let (body, rest) = match body.strip_suffix("**") {
            Some("") => ("", true),
            Some(head) => {
                (head.strip_suffix('/').ok_or_else(|| format!("`**` in `{text}` is not a segment of its own"))?, true)
            }
            None => (body, false),
        };
        let segments = body.split('/').filter(|_| !body.is_empty()).map(|part| segment(&text, part));
        let segments = segments.collect::<Result<Vec<_>, _>>()?;
        Ok(Self { fit: Fit::new(&segments, rest), segments, rest })
    }
}

fn segment(pattern: &str, part: &str) -> Result<Segment, String> {
    if part == "*" {
        return Ok(Segment::Any);
    }
    if let Some(inner) = part.strip_prefix('{').and_then(|p| p.strip_suffix('}')) {
        return Ok(match inner.contains('|') {
            true => Segment::OneOf(inner.split('|').map(str::to_owned).collect()),
            false => Segment::Class(inner.to_owned(), Vec::new()),
        });
    }
    if part.is_empty() || part.contains(['*', '{', '}']) {
        return Err(format!(
            "segment `{part}` of path pattern `{pattern}` is neither a word, `*`, `{{a|b}}` nor `{{class}}`"
        ));
    }
    Ok(Segment::Literal(part.to_owned()))
}

/// A header by name, perhaps with the beginning of its value.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct HeaderRule {
    /// Name as documented; compared ignoring case.
    pub name: String,
    /// Beginning of the value; compared ignoring case.
    pub value: Option<String>,
}

impl HeaderRule {
    /// Whether a field fits.
    #[inline]
    pub fn fits(&self, name: &[u8], value: &[u8]) -> bool {
        name.eq_ignore_ascii_case(self.name.as_bytes()) && self.takes(value)
    }

    /// Whether a value fits, of a field with this name.
    pub fn takes(&self, value: &[u8]) -> bool {
        self.value.as_deref().is_none_or(|v| begins(value, v))
    }
}

fn begins(value: &[u8], prefix: &str) -> bool {
    value.get(..prefix.len()).is_some_and(|head| head.eq_ignore_ascii_case(prefix.as_bytes()))
}

impl TryFrom<String> for HeaderRule {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (name, value) = match text.split_once(':') {
            Some((name, value)) => (name.trim(), Some(value.trim().to_owned())),
            None => (text.trim(), None),
        };
        if name.is_empty() || name.contains(char::is_whitespace) || value.as_deref() == Some("") {
            return Err(format!("`{text}` is not `Name` or `Name: value`"));
        }
        Ok(Self { name: name.to_owned(), value })
    }
}

/// `A | B`: one of these headers.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct HeaderChoice(pub Vec<HeaderRule>);

impl TryFrom<String> for HeaderChoice {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.split('|').map(|part| HeaderRule::try_from(part.trim().to_owned())).collect::<Result<_, _>>().map(Self)
    }
}

/// A query parameter that must be there, perhaps with one of some values.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct QueryRule {
    name: String,
    values: Vec<String>,
}

impl QueryRule {
    /// A parameter that fits it.
    #[cfg(test)]
    pub fn sample(&self) -> String {
        format!("{}={}", self.name, self.values.first().map_or("x", String::as_str))
    }

    /// Whether a parameter fits (percent-decoded).
    pub fn fits(&self, name: &[u8], value: &[u8]) -> bool {
        name == self.name.as_bytes() && (self.values.is_empty() || self.values.iter().any(|v| v.as_bytes() == value))
    }
}

impl TryFrom<String> for QueryRule {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (name, values) = text.split_once('=').unwrap_or((&text, ""));
        if name.is_empty() {
            return Err(format!("`{text}` is not `name` or `name=value`"));
        }
        let values = values.split('|').filter(|v| !v.is_empty()).map(str::to_owned).collect();
        Ok(Self { name: name.to_owned(), values })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> PathPattern {
        let mut out = PathPattern::try_from(text.to_owned()).unwrap();
        let v = ["latest", "1.0", "YYYY-MM-DD"].map(str::to_owned).to_vec();
        out.resolve(&BTreeMap::from([("v".to_owned(), v)])).unwrap();
        out
    }

    #[test]
    fn segments_classes_alternatives_and_remainders() {
        let creds = pattern("/{v}/meta-data/iam/security-credentials/*");
        let path = "/2009-04-04/meta-data/iam/security-credentials/web";
        let role = creds.fit(path).unwrap();
        assert_eq!((role.wildcard(path), role.literals, role.exactness), (Some("web"), 3, 1));
        let all = pattern("/{v}/keys/**");
        let rest = |path: &'static str| all.fit(path).and_then(|fit| fit.wildcard(path));
        assert_eq!(rest("/latest/keys/arn:a:b/c/d"), Some("arn:a:b/c/d"));
        assert_eq!((rest("/latest/keys"), all.fit("/latest/keys").is_some()), (None, true));
        for no in [
            "/latest/meta-data/iam/security-credentials",
            "/1.1/meta-data/iam/security-credentials/web",
            "/Latest/meta-data/iam/security-credentials/web",
            "/latest/meta-data/iam/security-credentials/web/x",
        ] {
            assert_eq!(creds.fit(no), None, "{no}");
        }
        let prefix = pattern("/metadata/instance/**");
        assert!(prefix.fit("/metadata/instance").is_some());
        assert!(prefix.fit("/metadata/instance/compute/name").is_some());
        assert!(prefix.fit("/metadata/instances").is_none());
        assert!(pattern("/").fit("/").is_some() && pattern("/").fit("/x").is_none());
        assert!(pattern("/**").fit("/").is_some() && pattern("/**").fit("/x/y").is_some());
        assert!(pattern("/x/{a|b}").fit("/x/b").is_some() && pattern("/x/{a|b}").fit("/x/c").is_none());
        assert!(pattern("/a/b").fit("/a/b") > pattern("/a/*").fit("/a/b"));
        assert!(pattern("/a/*").fit("/a/b") > pattern("/a/**").fit("/a/b"));
    }

    #[test]
    fn bad_patterns_are_refused() {
        for bad in ["x", "/a*", "/a//b", "/{", "/a**", "/a}"] {
            assert!(PathPattern::try_from(bad.to_owned()).is_err(), "{bad}");
        }
        let mut unknown = PathPattern::try_from("/{w}".to_owned()).unwrap();
        assert_eq!(unknown.resolve(&BTreeMap::new()), Err("w".to_owned()));
        for bad in ["", ": x", "a b", "A:"] {
            assert!(HeaderRule::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }
}
