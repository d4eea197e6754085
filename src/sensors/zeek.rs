//! Zeek's logs: conn, http, dns and ssl, as JSON (keys `id.orig_h`, dotted) or as tables of columns.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::value::{Event, conn, ip, nowhere, origin, proto};
use super::{Connection, Dns, Fact, Http, Kind, time};
use crate::conn::{Conn, Endpoint, Origin, Proto};
use crate::packet::Timestamp;

/// Most columns of a table.
const COLUMNS: usize = 256;

/// Whether an event is a line of one of Zeek's logs.
pub(super) fn is_log(event: Event<'_>) -> bool {
    event.has("id.orig_h") && event.has("ts")
}

/// What a line tells.
pub(super) fn facts(event: Event<'_>, raw: &[u8]) -> Vec<Fact> {
    let origin = Arc::new(origin(event, "zeek", raw));
    let Some(at) = event.text("ts").and_then(|text| time::parse(&text)) else { return Vec::new() };
    let client = event.end(&["id.orig_h"], &["id.orig_p"]).unwrap_or(nowhere(0));
    let server = event.end(&["id.resp_h"], &["id.resp_p"]).unwrap_or(nowhere(0));
    let kind = match log(event) {
        Log::Http => Kind::Http(Box::new(http(event))),
        Log::Dns => match event.owned(&["query"]) {
            Some(name) => Kind::Dns(Box::new(dns(event, name))),
            None => return Vec::new(),
        },
        Log::Connection => Kind::Connection(connection(event, at)),
        Log::Other => return Vec::new(),
    };
    vec![Fact { time: at, conn: ends(event, client, server, &kind, &origin), kind }]
}

fn ends(event: Event<'_>, client: Endpoint, server: Endpoint, kind: &Kind, origin: &Arc<Origin>) -> Conn {
    let proto = match (event.text("proto"), kind) {
        (None, Kind::Dns(_)) => Proto::Udp,
        (name, _) => proto(name.as_deref()),
    };
    conn(client, server, proto, origin)
}

enum Log {
    Http,
    Dns,
    Connection,
    Other,
}

/// Which log a line is of: by its name where it says so, else by its columns.
fn log(event: Event<'_>) -> Log {
    match event.text("_path").as_deref() {
        Some("http") => Log::Http,
        Some("dns") => Log::Dns,
        Some("conn" | "ssl") => Log::Connection,
        Some(_) => Log::Other,
        None if event.has("uri") || event.has("trans_depth") => Log::Http,
        None if event.has("query") && event.has("trans_id") => Log::Dns,
        None if event.has("conn_state") || event.has("server_name") => Log::Connection,
        None => Log::Other,
    }
}

fn connection(event: Event<'_>, at: Timestamp) -> Connection {
    let seconds = event.text("duration").and_then(|text| text.parse::<f64>().ok()).filter(|s| (0.0..1e9).contains(s));
    Connection {
        end: seconds.map(|seconds| at.plus((seconds * 1e9) as i64)),
        is_refused: matches!(
            event.text("conn_state").as_deref(),
            Some("REJ" | "S0" | "RSTOS0" | "RSTRH" | "SH" | "SHR")
        ),
    }
}

fn http(event: Event<'_>) -> Http {
    let mut fields: Vec<(String, String)> = Vec::new();
    for (name, path) in [("User-Agent", "user_agent"), ("Referer", "referrer"), ("Origin", "origin")] {
        fields.extend(event.owned(&[path]).map(|value| (name.to_owned(), value)));
    }
    // `X-FORWARDED-FOR -> 10.0.0.1`
    for proxied in event.texts("proxied") {
        let pair = proxied.split_once(" -> ");
        fields.extend(pair.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned())));
    }
    Http {
        method: event.owned(&["method"]).unwrap_or_default(),
        target: event.owned(&["uri"]).unwrap_or_default(),
        host: event.owned(&["host"]),
        fields,
        status: event.number(&["status_code"]).and_then(|status| u16::try_from(status).ok()),
        location: None,
        end: None,
    }
}

fn dns(event: Event<'_>, name: String) -> Dns {
    let addresses: Vec<_> = event.texts("answers").iter().filter_map(|text| ip(text)).collect();
    let code = event.number(&["rcode"]);
    Dns {
        name,
        kind: event.owned(&["qtype_name"]),
        is_answered: code.is_some() || !addresses.is_empty(),
        addresses,
        code: code.and_then(|code| u8::try_from(code).ok()).unwrap_or(0),
    }
}

/// The head of a table: it says what the columns are, and may be said anew further down.
#[derive(Clone, Debug)]
pub(super) struct Table {
    separator: u8,
    set_separator: u8,
    empty: String,
    unset: String,
    path: Option<String>,
    fields: Vec<String>,
    /// Whether a column holds many values.
    is_many: Vec<bool>,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            separator: b'\t',
            set_separator: b',',
            empty: "(empty)".to_owned(),
            unset: "-".to_owned(),
            path: None,
            fields: Vec::new(),
            is_many: Vec::new(),
        }
    }
}

impl Table {
    /// Takes a line that begins with `#`.
    pub(super) fn directive(&mut self, line: &str) {
        if let Some(separator) = line.strip_prefix("#separator ") {
            *self = Self::default();
            let hex = separator.trim().strip_prefix("\\x").and_then(|hex| u8::from_str_radix(hex, 16).ok());
            self.separator = hex.or(separator.bytes().next()).unwrap_or(b'\t');
            return;
        }
        let mut parts = line.split(char::from(self.separator));
        let value = |parts: &mut std::str::Split<'_, char>| parts.next().unwrap_or_default().to_owned();
        match parts.next().unwrap_or_default() {
            "#set_separator" => self.set_separator = value(&mut parts).bytes().next().unwrap_or(b','),
            "#empty_field" => self.empty = value(&mut parts),
            "#unset_field" => self.unset = value(&mut parts),
            "#path" => self.path = Some(value(&mut parts)),
            "#fields" => self.fields = parts.take(COLUMNS).map(str::to_owned).collect(),
            "#types" => self.is_many = parts.take(COLUMNS).map(|kind| kind.contains('[')).collect(),
            _ => {}
        }
    }

    /// A line as an event; `None` where its columns are not those of the table.
    pub(super) fn event(&self, line: &str) -> Option<Value> {
        let values: Vec<&str> = line.split(char::from(self.separator)).collect();
        if self.fields.is_empty() || values.len() != self.fields.len() {
            return None;
        }
        let mut event = Map::new();
        for (nth, (field, value)) in self.fields.iter().zip(values).enumerate() {
            if value == self.unset {
                continue;
            }
            let value = match self.is_many.get(nth) {
                Some(true) if value == self.empty => Value::Array(Vec::new()),
                Some(true) => {
                    value.split(char::from(self.set_separator)).map(|item| Value::from(unescape(item))).collect()
                }
                _ if value == self.empty => Value::String(String::new()),
                _ => unescape(value).into(),
            };
            event.insert(field.clone(), value);
        }
        if let Some(path) = &self.path {
            event.insert("_path".to_owned(), path.as_str().into());
        }
        Some(Value::Object(event))
    }
}

/// `\x09` undone.
fn unescape(text: &str) -> String {
    if !text.contains("\\x") {
        return text.to_owned();
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let code = tail.strip_prefix(b"x").filter(|_| byte == b'\\').and_then(|tail| tail.first_chunk::<2>());
        let code = code.and_then(|hex| u8::from_str_radix(str::from_utf8(hex).ok()?, 16).ok());
        match code {
            Some(code) => {
                out.push(code);
                rest = tail.get(3..).unwrap_or_default();
            }
            None => {
                out.push(byte);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
