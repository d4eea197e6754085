//! URLs as Packetbeat writes them, which is as Go's `net/url` reads and re-escapes them.
//!
//! In: request target, Host header and form body as bytes. Out: host, port, decoded path, sorted parameters, whole URL.
//! Pure; every function takes time and memory in proportion to its input. Deliberately otherwise than Packetbeat: a
//! target that begins with `//` is a path, and Host ports up to 65535 are ports.

use crate::text::hex;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// A request target that could be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    /// Path, percent-decoded.
    pub path: Cow<'a, [u8]>,
    /// Query as sent.
    pub query: &'a [u8],
}

impl<'a> Target<'a> {
    /// Reads a target as `url.Parse` does; `None` where Go refuses it.
    pub fn parse(target: &'a [u8]) -> Option<Self> {
        if target.starts_with(b"/") && !any_escaped(target, Part::Path) {
            return Some(Self { path: Cow::Borrowed(target), query: b"" }); // nothing but a plain path, as most are
        }
        let (url, fragment) = cut(target, b'#');
        if url.iter().any(|byte| byte.is_ascii_control()) || decode(fragment, Part::Path).is_none() {
            return None;
        }
        if url == b"*" {
            return Some(Self { path: Cow::Borrowed(url), query: b"" });
        }
        let (scheme, rest) = scheme(url)?;
        let (rest, query) = cut(rest, b'?');
        if !rest.starts_with(b"/") {
            if !scheme.is_empty() {
                return Some(Self { path: Cow::Borrowed(b""), query }); // opaque: mailto:x, host:443
            }
            if cut(rest, b'/').0.contains(&b':') {
                return None;
            }
        }
        let path = match rest.strip_prefix(b"//") {
            Some(authority) if !scheme.is_empty() => {
                let len = authority.iter().position(|byte| *byte == b'/').unwrap_or(authority.len());
                let (authority, path) = authority.split_at(len);
                is_authority(authority).then_some(path)?
            }
            _ => rest,
        };
        Some(Self { path: decode(path, Part::Path)?, query })
    }
}

/// Text before and after the first `byte`.
fn cut(text: &[u8], byte: u8) -> (&[u8], &[u8]) {
    match memchr::memchr(byte, text) {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => (text, b""),
    }
}

/// Scheme (empty if there is none) and what follows its colon; `None` for a target that begins with a colon.
fn scheme(url: &[u8]) -> Option<(&[u8], &[u8])> {
    for (at, byte) in url.iter().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' => {}
            b'0'..=b'9' | b'+' | b'-' | b'.' if at > 0 => {}
            b':' if at == 0 => return None,
            b':' => return Some((&url[..at], &url[at + 1..])),
            _ => break,
        }
    }
    Some((b"", url))
}

/// Whether Go accepts `[userinfo@]host[:port]`.
fn is_authority(authority: &[u8]) -> bool {
    let (user, host) = match memchr::memrchr(b'@', authority) {
        Some(at) => (&authority[..at], &authority[at + 1..]),
        None => (&b""[..], authority),
    };
    let is_user = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(byte);
    let port = match (host.first(), memchr::memrchr(b']', host)) {
        (Some(b'['), Some(at)) => &host[at + 1..],
        (Some(b'['), None) => return false,
        _ => memchr::memrchr(b':', host).map_or(&b""[..], |at| &host[at..]),
    };
    let is_port = match port.split_first() {
        Some((colon, digits)) => *colon == b':' && digits.iter().all(u8::is_ascii_digit),
        None => true,
    };
    user.iter().all(is_user) && decode(user, Part::Path).is_some() && is_port && decode(host, Part::Host).is_some()
}

/// Which part of a URL is decoded or encoded.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Path = 0,
    Host = 1,
    Query = 2,
}

/// Undoes percent-encoding; `None` where Go reports an error.
fn decode(text: &[u8], part: Part) -> Option<Cow<'_, [u8]>> {
    if part == Part::Host && text.iter().any(|byte| *byte != b'%' && byte.is_ascii() && must_escape(*byte, part)) {
        return None;
    }
    let first = match part {
        Part::Query => memchr::memchr2(b'%', b'+', text),
        Part::Path | Part::Host => memchr::memchr(b'%', text),
    };
    if first.is_none() {
        return Some(Cow::Borrowed(text));
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            b'%' => {
                let (digits, tail) = rest.split_first_chunk::<2>()?;
                let value = hex::digit(digits[0])? << 4 | hex::digit(digits[1])?;
                if part == Part::Host && value < 0x80 && value != b'%' {
                    return None; // a host may escape other than ASCII, and the zone's percent sign
                }
                out.push(value);
                rest = tail;
            }
            b'+' if part == Part::Query => out.push(b' '),
            other => out.push(*other),
        }
    }
    Some(Cow::Owned(out))
}

/// Whether Go escapes this byte in this part.
fn must_escape(byte: u8, part: Part) -> bool {
    ESCAPED[usize::from(byte)] & (1 << part as u8) != 0
}

/// Whether Go escapes any byte of a text in this part.
fn any_escaped(text: &[u8], part: Part) -> bool {
    text.iter().fold(0, |any, byte| any | ESCAPED[usize::from(*byte)]) & (1 << part as u8) != 0
}

/// For each byte the set of parts, as bits, in which it is escaped.
const ESCAPED: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let plain = (byte as u8).is_ascii_alphanumeric() || is_one_of(byte as u8, b"-_.~");
        if !plain {
            table[byte] |= 1 << Part::Query as u8;
            table[byte] |= (!is_one_of(byte as u8, b"$&+,/:;=@") as u8) << Part::Path as u8;
            table[byte] |= (!is_one_of(byte as u8, b"!$&'()*+,;=:[]<>\"") as u8) << Part::Host as u8;
        }
        byte += 1;
    }
    table
};

const fn is_one_of(byte: u8, set: &[u8]) -> bool {
    let mut at = 0;
    while at < set.len() {
        if set[at] == byte {
            return true;
        }
        at += 1;
    }
    false
}

/// Appends text with what needs it escaped; what is appended is ASCII.
fn escape(out: &mut Vec<u8>, text: &[u8], part: Part) {
    if !any_escaped(text, part) {
        return out.extend_from_slice(text);
    }
    let mut rest = text;
    while !rest.is_empty() {
        let len = rest.iter().position(|byte| must_escape(*byte, part)).unwrap_or(rest.len());
        let (plain, from) = rest.split_at(len);
        out.extend_from_slice(plain);
        let Some((byte, tail)) = from.split_first() else { return };
        match byte {
            b' ' if part == Part::Query => out.push(b'+'),
            byte => {
                out.push(b'%');
                out.extend(hex::upper(*byte));
            }
        }
        rest = tail;
    }
}

/// Text of ASCII.
fn ascii(text: Vec<u8>) -> String {
    String::from_utf8(text).unwrap_or_default()
}

/// Parameters of a query or form, in order of appearance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Params<'a>(Vec<Param<'a>>);

/// Key and value, decoded.
type Param<'a> = (Cow<'a, [u8]>, Cow<'a, [u8]>);

impl<'a> Params<'a> {
    /// The parameters that can be read, and whether all could: pairs with `;` or a bad escape are left out.
    pub fn parse(query: &'a [u8]) -> (Self, bool) {
        let mut all = true;
        let mut params = Vec::new();
        for pair in query.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
            let (key, value) = cut(pair, b'=');
            match (decode(key, Part::Query), decode(value, Part::Query)) {
                (Some(key), Some(value)) if !pair.contains(&b';') => params.push((key, value)),
                _ => all = false,
            }
        }
        (Self(params), all)
    }

    /// Whether a query stands as [`Params::encode`] would write it: sorted, nothing encoded, and nothing to encode.
    pub fn are_encoded(query: &[u8]) -> bool {
        let is_plain = |text: &[u8]| !any_escaped(text, Part::Query);
        let mut last: &[u8] = b"";
        query.split(|byte| *byte == b'&').all(|pair| {
            let Some((key, value)) = memchr::memchr(b'=', pair).map(|at| (&pair[..at], &pair[at + 1..])) else {
                return false;
            };
            std::mem::replace(&mut last, key) <= key && is_plain(key) && is_plain(value)
        })
    }

    /// Replaces the values of the parameters that `hidden` names.
    pub fn hide(&mut self, hidden: impl Fn(&[u8]) -> bool) {
        for (key, value) in &mut self.0 {
            if hidden(key) {
                *value = Cow::Borrowed(super::mask::HIDDEN.as_bytes());
            }
        }
    }

    /// Adds a form's parameters; where both have a key, the form's values stand.
    pub fn merge(&mut self, form: Self) {
        let keys: BTreeSet<&[u8]> = form.0.iter().map(|(key, _)| key.as_ref()).collect();
        self.0.retain(|(key, _)| !keys.contains(key.as_ref()));
        self.0.extend(form.0);
    }

    /// Sorted by key and re-encoded.
    pub fn encode(mut self) -> String {
        self.0.sort_by(|(a, _), (b, _)| a.cmp(b)); // stable: values of one key keep their order
        let len = self.0.iter().map(|(key, value)| key.len() + value.len() + 2).sum();
        let mut out = Vec::with_capacity(len);
        for (key, value) in &self.0 {
            if !out.is_empty() {
                out.push(b'&');
            }
            escape(&mut out, key, Part::Query);
            out.push(b'=');
            escape(&mut out, value, Part::Query);
        }
        ascii(out)
    }
}

/// What a Host header says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Host<'a> {
    /// Name or address, without brackets; the whole header where it cannot be split.
    pub name: &'a [u8],
    /// Port, if there is one.
    pub port: Option<u16>,
    /// The address, if the name is one (without zone).
    pub ip: Option<IpAddr>,
}

impl<'a> Host<'a> {
    /// Reads a Host header.
    pub fn of(header: &'a [u8]) -> Self {
        let whole = Self { name: header, port: None, ip: ip(header) };
        if header.is_empty() || whole.ip.is_some() {
            return whole;
        }
        let (name, port) = match split_port(header) {
            Split::Both(name, port) => (unbracket(name), Some(port)),
            Split::NoPort => (unbracket(header), None),
            Split::Bad => return whole,
        };
        let number =
            |port| str::from_utf8(port).ok().and_then(|port| port.parse::<u16>().ok()).filter(|port| *port != 0);
        match port.map(number) {
            Some(None) => whole,
            port => Self { name, port: port.flatten(), ip: ip(name) },
        }
    }
}

/// The address that a text is (without port, brackets or zone).
fn ip(text: &[u8]) -> Option<IpAddr> {
    let last = text.last()?;
    let is_possible = last.is_ascii_hexdigit() || *last == b':'; // few names end so
    str::from_utf8(text).ok().filter(|_| is_possible)?.parse().ok()
}

enum Split<'a> {
    Both(&'a [u8], &'a [u8]),
    NoPort,
    Bad,
}

/// `net.SplitHostPort`.
fn split_port(text: &[u8]) -> Split<'_> {
    let Some(colon) = memchr::memrchr(b':', text) else {
        return Split::NoPort;
    };
    if text.first() == Some(&b'[') {
        let Some(end) = memchr::memchr(b']', text) else {
            return Split::Bad;
        };
        return match text.get(end + 1) {
            None => Split::NoPort,
            Some(b':') if end + 1 == colon => Split::Both(&text[1..end], &text[colon + 1..]),
            Some(b':') => Split::Bad,
            Some(_) => Split::NoPort,
        };
    }
    let host = &text[..colon];
    match memchr::memchr3(b':', b'[', b']', host) {
        Some(_) => Split::Bad,
        None => Split::Both(host, &text[colon + 1..]),
    }
}

fn unbracket(host: &[u8]) -> &[u8] {
    match host.strip_prefix(b"[") {
        Some(inner) => inner.strip_suffix(b"]").unwrap_or(inner),
        None => host,
    }
}

/// `url.extension`: what follows the last dot anywhere in the path.
pub fn extension(path: &[u8]) -> Option<&[u8]> {
    memchr::memrchr(b'.', path).map(|dot| &path[dot + 1..]).filter(|extension| !extension.is_empty())
}

/// Port of a target in absolute form (RFC 9112 section 3.2.2); `None` for other forms.
pub fn absolute_port(target: &[u8]) -> Option<u16> {
    let head = target.get(..7).filter(|head| head.eq_ignore_ascii_case(b"http://"))?;
    let rest = target.get(head.len()..)?;
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(rest.len());
    rest.get(..end).map(port_of)
}

/// Port of an authority; 80 where it names none.
pub fn port_of(authority: &[u8]) -> u16 {
    let host = authority.rsplit(|byte| *byte == b'@').next().unwrap_or_default();
    let port = memchr::memrchr(b':', host).and_then(|at| std::str::from_utf8(host.get(at + 1..)?).ok()?.parse().ok());
    port.unwrap_or(80)
}

/// `url.full`, put together from its parts; `None` without a host.
pub fn full(host: &[u8], port: u16, path: &[u8], query: &str) -> Option<String> {
    if host.is_empty() || port == 0 {
        return None;
    }
    let mut out = Vec::with_capacity(16 + host.len() + path.len() + query.len());
    out.extend_from_slice(b"http://");
    let bracketed = host.contains(&b':') || (port != 80 && host.contains(&b'%'));
    if bracketed {
        out.push(b'[');
    }
    escape(&mut out, host, Part::Host);
    if bracketed {
        out.push(b']');
    }
    if port != 80 {
        out.push(b':');
        out.extend_from_slice(itoa::Buffer::new().format(port).as_bytes());
    }
    if path == b"*" {
        out.extend_from_slice(b"/*");
    } else {
        if !path.is_empty() && !path.starts_with(b"/") {
            out.push(b'/');
        }
        escape(&mut out, path, Part::Path);
    }
    if !query.is_empty() {
        out.push(b'?');
        out.extend_from_slice(query.as_bytes());
    }
    Some(ascii(out))
}

/// The target as sent, with the values of the parameters that `hidden` names replaced.
pub fn hide_in_target(target: &[u8], hidden: impl Fn(&[u8]) -> bool) -> Cow<'_, [u8]> {
    let (head, query) = cut(target, b'?');
    let is_hidden = |pair: &[u8]| decode(cut(pair, b'=').0, Part::Query).is_some_and(|key| hidden(&key));
    let pairs = || query.split(|byte| matches!(byte, b'&' | b';' | b'#'));
    if !pairs().any(is_hidden) {
        return Cow::Borrowed(target);
    }
    let mut out = [head, b"?"].concat();
    let mut at = 0;
    for pair in pairs() {
        match is_hidden(pair) {
            true => out.extend([cut(pair, b'=').0, b"=", super::mask::HIDDEN.as_bytes()].concat()),
            false => out.extend_from_slice(pair),
        }
        at += pair.len();
        out.extend(query.get(at)); // the separator, as sent
        at += 1;
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn target(text: &str) -> Option<(String, String)> {
        let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Target::parse(text.as_bytes()).map(|t| (lossy(&t.path), lossy(t.query)))
    }

    #[test]
    fn targets_are_read_as_go_reads_them() {
        let some = |path: &str, query: &str| Some((path.to_owned(), query.to_owned()));
        assert_eq!(target("/a/b%20c?x=1#frag"), some("/a/b c", "x=1"));
        assert_eq!(target("http://user:pw@h:8080/p?q"), some("/p", "q"));
        assert_eq!(target("http://h"), some("", ""));
        assert_eq!(target("*"), some("*", ""));
        assert_eq!(target("/a?b?c"), some("/a", "b?c"));
        assert_eq!(target("/with raw space"), some("/with raw space", ""));
        assert_eq!(target("//evil/x"), some("//evil/x", "")); // ours: a path
        assert_eq!(target("///x"), some("///x", ""));
        assert_eq!(target("example.com:443"), some("", "")); // opaque
        for bad in
            ["1.2.3.4:80", ":x", "/%zz", "/a%2", "/x\u{1}", "http://h:port/", "http://a b/", "http://[::1/", "/a#%"]
        {
            assert_eq!(target(bad), None, "{bad}");
        }
    }

    #[test]
    fn hosts_as_in_packetbeats_table() {
        let table: &[(&str, &str, Option<u16>)] = &[
            ("", "", None),
            ("localhost:0", "localhost:0", None),
            ("localhost:9001", "localhost", Some(9001)),
            ("localhost:9000000", "localhost:9000000", None),
            ("127.0.0.1:9001", "127.0.0.1", Some(9001)),
            ("127.0.0.1", "127.0.0.1", None),
            ("[::]", "::", None),
            ("[::]:0", "[::]:0", None),
            ("[fd00::42]:9200", "fd00::42", Some(9200)),
            ("fd00::1234", "fd00::1234", None),
            (":0", ":0", None),
            (":9001", "", Some(9001)),
            ("a:b:c", "a:b:c", None),
            ("host", "host", None),
            ("host:50000", "host", Some(50000)), // ours
        ];
        for (header, host, port) in table {
            let read = Host::of(header.as_bytes());
            assert_eq!((read.name, read.port), (host.as_bytes(), *port), "{header}");
            assert_eq!(read.ip, host.parse().ok(), "{header}");
        }
    }

    #[test]
    fn parameters_are_sorted_and_forms_win() {
        let (mut params, all) = Params::parse(b"user=monica&b=2&a=%C3%A9&a=1 2&k&bad=%zz&se;mi=1");
        assert!(!all);
        params.merge(Params::parse(b"b=form").0);
        assert_eq!(params.clone().encode(), "a=%C3%A9&a=1+2&b=form&k=&user=monica");
        params.hide(|key| key == b"user");
        assert!(params.encode().ends_with("user=xxxxx"));
        let json = Params::parse(b"{ \"query\": { \"match_all\": {}}}\n").0;
        assert_eq!(json.encode(), "%7B+%22query%22%3A+%7B+%22match_all%22%3A+%7B%7D%7D%7D%0A=");
    }

    #[test]
    fn what_is_encoded_needs_no_encoding() {
        for (query, expected) in [
            ("page=0&sort=price", true),
            ("a=&a=1", true),
            ("=x", true),
            ("b=1&a=2", false),
            ("a", false),
            ("a=1&", false),
            ("a=1&&b=2", false),
            ("a=b=c", false),
            ("a=%41", false),
            ("a=x+y", false),
            ("a=x y", false),
            ("a=1;b=2", false),
            ("a=\u{e9}", false),
            ("", false),
        ] {
            assert_eq!(Params::are_encoded(query.as_bytes()), expected, "{query}");
            assert!(!expected || Params::parse(query.as_bytes()).0.encode() == query);
        }
    }

    #[test]
    fn whole_urls_are_escaped_again() {
        let of = |host: &str, port, path: &str, query| full(host.as_bytes(), port, path.as_bytes(), query);
        assert_eq!(of("h", 80, "/a b/(x)*~;@", "").unwrap(), "http://h/a%20b/%28x%29%2A~;@");
        assert_eq!(of("::1", 9200, "/x", "a=1").unwrap(), "http://[::1]:9200/x?a=1");
        assert_eq!(of("fd00::42", 80, "", "").unwrap(), "http://[fd00::42]");
        assert_eq!(of("localhost:0", 8080, "x", "").unwrap(), "http://[localhost:0]:8080/x");
        assert_eq!(of("h", 80, "*", "").unwrap(), "http://h/*");
        assert_eq!(of("", 80, "/x", ""), None);
        assert_eq!(extension(b"/v1.0/foo"), Some(&b"0/foo"[..]));
        assert_eq!(extension(b"/x."), None);
    }

    #[test]
    fn hidden_parameters_leave_the_target_otherwise_as_sent() {
        let hide = |text: &str| {
            let hidden = |key: &[u8]| key.eq_ignore_ascii_case(b"pass");
            String::from_utf8(hide_in_target(text.as_bytes(), hidden).into_owned()).unwrap()
        };
        assert_eq!(hide("/login?u=a%20b&PASS=secret&x=%41"), "/login?u=a%20b&PASS=xxxxx&x=%41");
        assert_eq!(hide("/login?p%61ss=secret"), "/login?p%61ss=xxxxx");
        assert_eq!(hide("/login?user=x"), "/login?user=x");
    }

    #[test]
    fn a_target_in_absolute_form_names_its_port() {
        for (target, port) in [
            ("http://169.254.169.254/latest", Some(80)),
            ("HTTP://h:8080?x", Some(8080)),
            ("http://u:p@[fd00::1]/x", Some(80)),
            ("http://u:p@[fd00::1]:81/x", Some(81)),
            ("/x", None),
            ("https://h/", None),
        ] {
            assert_eq!(absolute_port(target.as_bytes()), port, "{target}");
        }
    }
}
