//! Access to JSON events whose keys are nested, dotted, or both in one event, and what nearly all events have: ends,
//! process, agent and host.

use std::borrow::Cow;
use std::hash::Hasher;
use std::net::IpAddr;
use std::sync::Arc;

use serde_json::{Map, Value};
use siphasher::sip::SipHasher13;

use crate::conn::{Conn, Endpoint, Origin, Process, Proto};
use crate::detect::command::base_name;

/// Most arguments and most addresses that are kept of an event, and most bytes of one text.
const MANY: usize = 4096;
const TEXT: usize = 256 * 1024;
/// Longest `agent` or `host` object that is kept, in bytes.
const OBJECT: usize = 4096;

/// One event.
#[derive(Clone, Copy)]
pub(super) struct Event<'e>(pub(super) &'e Value);

impl<'e> Event<'e> {
    /// The value at a dotted path, however the event splits it into keys.
    pub(super) fn get(self, path: &str) -> Option<&'e Value> {
        find(self.0, path)
    }

    /// The object at a path, as an event of its own.
    pub(super) fn below(self, path: &str) -> Option<Self> {
        self.get(path).filter(|value| value.is_object()).map(Event)
    }

    pub(super) fn has(self, path: &str) -> bool {
        self.get(path).is_some_and(|value| !value.is_null())
    }

    /// A text or number, or the first of an array; what is empty or `-` is not there.
    pub(super) fn text(self, path: &str) -> Option<Cow<'e, str>> {
        scalar(self.get(path)?).filter(|text| !text.is_empty() && text != "-")
    }

    /// The first of several paths that has a text.
    pub(super) fn first(self, paths: &[&str]) -> Option<Cow<'e, str>> {
        paths.iter().find_map(|path| self.text(path))
    }

    pub(super) fn owned(self, paths: &[&str]) -> Option<String> {
        self.first(paths).map(|text| cut(&text).to_owned())
    }

    /// All texts of an array, or the one that stands in its place.
    pub(super) fn texts(self, path: &str) -> Vec<Cow<'e, str>> {
        match self.get(path) {
            Some(Value::Array(items)) => items.iter().take(MANY).filter_map(scalar).collect(),
            Some(value) => scalar(value).into_iter().collect(),
            None => Vec::new(),
        }
    }

    /// Whether one of the values is this text, in any case.
    pub(super) fn is(self, path: &str, wanted: &str) -> bool {
        self.texts(path).iter().any(|text| text.eq_ignore_ascii_case(wanted))
    }

    pub(super) fn number(self, paths: &[&str]) -> Option<u64> {
        let text = self.first(paths)?;
        match text.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16).ok(),
            None => text.parse().ok().or_else(|| text.parse::<f64>().ok().filter(|n| *n >= 0.0).map(|n| n as u64)),
        }
    }

    pub(super) fn ip(self, paths: &[&str]) -> Option<IpAddr> {
        paths.iter().find_map(|path| self.texts(path).iter().find_map(|text| ip(text)))
    }

    pub(super) fn end(self, ips: &[&str], ports: &[&str]) -> Option<Endpoint> {
        let port = self.number(ports).and_then(|port| u16::try_from(port).ok()).unwrap_or(0);
        self.ip(ips).map(|ip| Endpoint { ip, port })
    }
}

fn find<'e>(value: &'e Value, path: &str) -> Option<&'e Value> {
    let object = value.as_object()?;
    if let Some(found) = object.get(path) {
        return Some(found);
    }
    path.match_indices('.').find_map(|(dot, _)| {
        let (head, rest) = path.split_at_checked(dot)?;
        find(object.get(head)?, rest.get(1..)?)
    })
}

fn scalar(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(Cow::Borrowed(text)),
        Value::Number(number) => Some(Cow::Owned(number.to_string())),
        Value::Bool(bool) => Some(Cow::Borrowed(if *bool { "true" } else { "false" })),
        Value::Array(items) => items.iter().find_map(scalar),
        Value::Null | Value::Object(_) => None,
    }
}

fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(TEXT)).unwrap_or(text)
}

/// An address in any spelling that sensors write: mapped, with zone, in brackets, with a mask or a `;` behind.
pub(super) fn ip(text: &str) -> Option<IpAddr> {
    let text = text.trim().trim_matches(['[', ']', ';']);
    let text = text.split(['%', '/']).next().unwrap_or(text);
    text.parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
}

/// An end of which nothing is known.
pub(super) fn nowhere(port: u16) -> Endpoint {
    Endpoint { ip: IpAddr::from([0, 0, 0, 0]), port }
}

/// The conversation of two ends, with the event that it was read from.
pub(super) fn conn(client: Endpoint, server: Endpoint, proto: Proto, origin: &Arc<Origin>) -> Conn {
    Conn { told_by: Some(Arc::clone(origin)), ..Conn::between(client, server, proto) }
}

pub(super) fn proto(name: Option<&str>) -> Proto {
    match name {
        Some(name) if name.eq_ignore_ascii_case("udp") => Proto::Udp,
        _ => Proto::Tcp,
    }
}

/// Who wrote an event: its id, agent and host, in the shapes of `sensor`; `raw` is the event's text.
pub(super) fn origin(event: Event<'_>, sensor: &'static str, raw: &[u8]) -> Origin {
    let mut hasher = SipHasher13::new();
    hasher.write(raw);
    let host_names = ["host.name", "host.hostname", "winlog.computer_name", "Hostname", "Computer", "hostname"];
    let host_name = event.first(&host_names).map(|name| name.chars().take(256).collect::<String>());
    let host = event.below("host").map(|host| {
        let keys = ["name", "hostname", "id", "ip", "mac", "architecture", "os"];
        object(host, &keys)
    });
    let named = || host_name.as_ref().map(|name| Map::from_iter([("name".to_owned(), Value::from(name.as_str()))]));
    let agent = event.below("agent").map(|agent| object(agent, &["id", "name", "type", "version", "ephemeral_id"]));
    Origin {
        sensor,
        id: event.text("event.id").map(|id| id.chars().take(256).collect::<String>().into()),
        agent: agent.and_then(written),
        host: host.filter(|host| !host.is_empty()).or_else(named).and_then(written),
        host_ips: event.texts("host.ip").iter().filter_map(|text| ip(text)).take(64).collect(),
        host_name: host_name.map(Into::into),
        hash: hasher.finish(),
    }
}

/// Some members of an object, as far as they are texts, numbers or arrays of them; of `os` all texts.
fn object(from: Event<'_>, keys: &[&str]) -> Map<String, Value> {
    let is_plain = |value: &Value| match value {
        Value::Array(items) => items.iter().all(|item| item.is_string() || item.is_number()),
        other => other.is_string() || other.is_number(),
    };
    let mut out = Map::new();
    for key in keys {
        match from.get(key) {
            Some(Value::Object(os)) if *key == "os" => {
                let texts = os.iter().filter(|(_, value)| value.is_string());
                let texts: Map<_, _> = texts.map(|(key, value)| (key.clone(), value.clone())).collect();
                if !texts.is_empty() {
                    out.insert((*key).to_owned(), Value::Object(texts));
                }
            }
            // some exports have every value in an array; of these there is one, but for addresses
            Some(Value::Array(items)) if !matches!(*key, "ip" | "mac") => {
                out.extend(items.first().filter(|item| is_plain(item)).map(|item| ((*key).to_owned(), item.clone())));
            }
            Some(value) if is_plain(value) => drop(out.insert((*key).to_owned(), value.clone())),
            _ => {}
        }
    }
    out
}

fn written(object: Map<String, Value>) -> Option<Box<str>> {
    let text = Value::Object(object).to_string();
    (text.len() > 2 && text.len() <= OBJECT).then(|| text.into())
}

/// Interpreters, whose script gives the process its name.
const INTERPRETERS: &[&str] = &["python", "pypy", "perl", "ruby", "node", "bash", "sh", "dash", "pwsh", "powershell"];
/// Places where anybody may put a script.
const ANYBODYS: &[&str] = &["/tmp/", "/var/tmp/", "/dev/shm/", "/home/"];

/// Gives a process the name that people know: the base name of its executable, of a script rather than of what runs it.
/// A name that the sensor tells is the last resort: it may be cut (`comm`), or the logger's own.
pub(super) fn name_process(process: &mut Process, told: Option<&str>) {
    let base = process.executable.as_deref().map(base_name).filter(|base| !base.is_empty());
    let stem = base.map(|base| base.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.'));
    let is_interpreter = stem.is_some_and(|stem| INTERPRETERS.contains(&stem.trim_end_matches(".exe")));
    let words: Vec<&str> = match process.args.as_slice() {
        [] => process.command_line.as_deref().unwrap_or_default().split_ascii_whitespace().take(5).collect(),
        args => args.iter().map(String::as_str).take(5).collect(),
    };
    let script = || {
        let options = words.iter().skip(1).take_while(|word| word.starts_with('-'));
        let is_program = options.clone().any(|word| matches!(*word, "-c" | "-e" | "-m"));
        let script = words.get(options.count().saturating_add(1))?;
        let is_anybodys = ANYBODYS.iter().any(|place| script.starts_with(place));
        (!is_program && !is_anybodys && script.starts_with('/')).then(|| base_name(script))
    };
    let name = if is_interpreter { script().or(base) } else { base };
    process.name = name.or(told.map(base_name)).unwrap_or_default().to_owned();
}
