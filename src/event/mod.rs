//! Everything that is written as JSON: observations and alerts in, one NDJSON line each out.
//!
//! [`Writer`] is the only serialiser. It borrows what it describes, keeps nothing, and appends to a buffer that the
//! caller reuses. The format is Packetbeat's (`doc`), with the additions of the contract's sections 2 to 4.

mod alert;
mod body;
mod command;
mod connection;
pub mod dns;
pub mod doc;
pub mod envelope;
pub mod fields;
pub mod flow;
pub mod http;
pub mod icmp;
mod imds;
mod json;
pub mod mask;
pub mod plain;
pub mod settings;
mod stats;
mod text;
pub mod time;
pub mod url;

use std::cell::Cell;

use serde::Serialize;
use serde_with::skip_serializing_none;

pub use doc::{Doc, Text};
pub use envelope::{CommunityId, Exchange, Side, event_id, observation_id};
pub use fields::FIELDS;
pub use flow::{FlowContext, flow_event_id};
pub use mask::{Masker, Searched};
pub use plain::{Harmless, harmless_lines};
pub use settings::{Profile, Settings};
pub use time::{Precision, Stamp, Stamps};

use crate::conn::{Endpoint, Origin, Proto};
use crate::detect::{DnsVerdict, Signals, Verdict};
use crate::id::EventId;
use crate::packet::Timestamp;
use crate::proto;

/// Version of Elastic Common Schema that Packetbeat 8 and 9 announce.
const ECS_VERSION: &str = "8.0.0";

/// What is known beyond the observation itself.
#[derive(Clone, Copy, Default)]
pub struct Context<'a> {
    /// Signals that the correlator adds to those of the verdict.
    pub signals: Signals,
    /// Allow-list entry that kept an alert back.
    pub allowed_by: Option<&'a str>,
    /// Credentials issued so far.
    pub mask: Masker<'a>,
}

/// Both ends of a conversation, and its transport.
type Ends = (Endpoint, Endpoint, Proto);

/// How events are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// One JSON object per line.
    #[default]
    Ndjson,
    /// One readable line.
    Text {
        /// With ANSI colours.
        colour: bool,
    },
}

/// Turns what was found into lines.
#[derive(Clone, Debug)]
pub struct Writer {
    settings: Settings,
    format: Format,
    /// Members that every event of the run ends with, rendered once: `,"ecs":{…},"agent":{…}}` and a line feed.
    tail: Vec<u8>,
    /// Ends of the conversation written of last, with its id.
    last_community: Cell<Option<(Ends, CommunityId)>>,
    stamps: Stamps,
}

impl Writer {
    /// A writer of NDJSON with these settings.
    pub fn new(settings: Settings) -> Self {
        let tail = tail(&settings, None);
        let stamps = Stamps::new(settings.timestamp_precision);
        Self { settings, format: Format::Ndjson, tail, last_community: Cell::default(), stamps }
    }

    /// The same writer with another format.
    pub fn with_format(self, format: Format) -> Self {
        Self { format, ..self }
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Appends the event of an HTTP exchange.
    pub fn http<'a>(
        &'a self,
        out: &mut Vec<u8>,
        id: EventId,
        tx: &'a proto::http::Transaction,
        verdict: &'a Verdict,
        context: &Context<'a>,
    ) {
        let doc = http::document(self, id, tx, verdict, context);
        let bytes = [&tx.request, &tx.response].into_iter().flatten().map(|message| message.bytes).sum();
        self.line(out, &doc, most(bytes));
    }

    /// Appends the event of a DNS transaction.
    pub fn dns<'a>(
        &'a self,
        out: &mut Vec<u8>,
        id: EventId,
        tx: &'a proto::dns::Transaction,
        verdict: &'a DnsVerdict,
        context: &Context<'a>,
    ) {
        let name = tx.asked().map(|asked| asked.name.text());
        let doc = dns::document(self, id, tx, name.as_deref(), verdict, context);
        self.line(out, &doc, most(dns::bytes(tx)));
    }

    /// Appends the event of a process start whose command line names metadata.
    pub fn command<'a>(
        &'a self,
        out: &mut Vec<u8>,
        id: EventId,
        command: &'a crate::detect::Command,
        context: &Context<'a>,
    ) {
        let doc = command::document(self, id, command, context);
        self.line(out, &doc, MOST);
    }

    /// Appends the event of a connection that another sensor tells of.
    pub fn connection<'a>(
        &'a self,
        out: &mut Vec<u8>,
        id: EventId,
        connection: &'a crate::detect::Connection,
        context: &Context<'a>,
    ) {
        let doc = connection::document(self, id, connection, context);
        self.line(out, &doc, MOST);
    }

    /// Appends the event of an ICMP transaction.
    pub fn icmp<'a>(&'a self, out: &mut Vec<u8>, id: EventId, tx: &'a proto::icmp::Transaction, context: &Context<'a>) {
        let doc = icmp::document(self, id, tx, context);
        self.line(out, &doc, MOST);
    }

    /// Appends the event of a flow.
    pub fn flow<'a>(
        &'a self,
        out: &mut Vec<u8>,
        id: EventId,
        record: &'a crate::flow::Record,
        context: &FlowContext<'a>,
    ) {
        let doc = flow::document(self, id, record, context);
        self.line(out, &doc, MOST);
    }

    /// Appends an alert.
    pub fn alert<'a>(&'a self, out: &mut Vec<u8>, alert: &'a crate::alert::Alert, context: &Context<'a>) {
        let doc = alert::document(self, alert, context);
        self.line(out, &doc, MOST_OF_ALERT);
    }

    /// Appends a `stats` event: counters of the program by name, dots in names allowed.
    pub fn stats(&self, out: &mut Vec<u8>, time: Timestamp, counters: &[(&str, u64)]) {
        let doc = stats::document(self, time, counters);
        self.line(out, &doc, MOST);
    }

    /// A time as the settings want it written.
    pub fn stamp(&self, time: Timestamp) -> Stamp {
        self.stamps.of(time)
    }

    /// Appends one document as a line. `@metadata`, agent, host and the rest that never changes come at its end. Where it is
    /// longer than `most`, its long texts are cut.
    fn line(&self, out: &mut Vec<u8>, doc: &Doc<'_>, most: usize) {
        if let Format::Text { colour } = self.format {
            return text::line(out, doc, colour);
        }
        let start = out.len();
        let mut written = json::write(out, doc);
        if out.len() - start > most {
            out.truncate(start);
            written = json::write_cut(out, doc, most / TEXTS);
        }
        match written {
            Ok(()) => {
                out.pop(); // the closing brace is in the tail
                match doc.envelope.origin.filter(|origin| origin.agent.is_some() || origin.host.is_some()) {
                    None => out.extend_from_slice(&self.tail),
                    Some(origin) => out.extend_from_slice(&tail(&self.settings, Some(origin))),
                }
            }
            // Cannot happen: the document has only what the serialiser knows. Half a line would be worse.
            Err(_) => out.truncate(start),
        }
    }

    /// `event.dataset` of a type in the profile.
    fn dataset(&self, kind: &'static str) -> &'static str {
        if !self.settings.is_network_traffic() {
            return kind;
        }
        match kind {
            "http" => "network_traffic.http",
            "dns" => "network_traffic.dns",
            "icmp" => "network_traffic.icmp",
            "flow" => "network_traffic.flow",
            "alert" => "network_traffic.alert",
            "process" => "network_traffic.process",
            other => other,
        }
    }

    /// `data_stream` of a type, in profile `network_traffic`.
    fn data_stream(&self, kind: &'static str) -> Option<doc::DataStream<'_>> {
        self.settings.is_network_traffic().then(|| doc::DataStream {
            kind: "logs",
            dataset: self.dataset(kind),
            namespace: &self.settings.namespace,
        })
    }
}

/// Longest event that is not about a message, in bytes.
const MOST: usize = 64 * 1024;
/// Longest alert: what it is about has an event of its own, and several may be about one message.
const MOST_OF_ALERT: usize = 8 * 1024;
/// So many long texts may be in an event.
const TEXTS: usize = 16;

/// Longest event about messages of so many bytes.
fn most(bytes: u64) -> usize {
    bytes.saturating_mul(4).saturating_add(4096).try_into().unwrap_or(usize::MAX)
}

/// Text of a field of unknown encoding. Each byte that is not UTF-8 becomes U+FFFD, as Go's encoder does it.
pub fn lossy(bytes: &[u8]) -> Text<'_> {
    let valid = match str::from_utf8(bytes) {
        Ok(valid) => return valid.into(),
        Err(_) => bytes.utf8_chunks(),
    };
    let mut out = String::with_capacity(bytes.len());
    for chunk in valid {
        out.push_str(chunk.valid());
        out.extend(std::iter::repeat_n(char::REPLACEMENT_CHARACTER, chunk.invalid().len()));
    }
    out.into()
}

#[skip_serializing_none]
#[derive(Serialize)]
struct Tail<'a> {
    ecs: Ecs,
    agent: OursOr<'a, Agent<'a>>,
    host: Option<OursOr<'a, Host<'a>>>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    tags: &'a [String],
    #[serde(rename = "@metadata")]
    metadata: Option<Metadata>,
}

/// What this program says, or another sensor said before it, as JSON.
#[derive(Serialize)]
#[serde(untagged)]
enum OursOr<'a, T> {
    Ours(T),
    Theirs(Theirs<'a>),
}

/// JSON that was read from another sensor's event.
struct Theirs<'a>(&'a str);

impl Serialize for Theirs<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serde_json::from_str::<serde_json::Value>(self.0).unwrap_or_default().serialize(serializer)
    }
}

#[derive(Serialize)]
struct Ecs {
    version: &'static str,
}

#[skip_serializing_none]
#[derive(Serialize)]
struct Agent<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    name: &'a str,
    version: &'static str,
    id: Option<&'a str>,
    ephemeral_id: Option<&'a str>,
}

#[derive(Serialize)]
struct Host<'a> {
    name: &'a str,
}

#[derive(Serialize)]
struct Metadata {
    beat: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    version: &'static str,
}

/// Renders the constant members. The tag `forwarded` drops `host`, as Packetbeat's default configuration does. What was
/// read from another sensor's event keeps that sensor's agent and host.
fn tail(settings: &Settings, origin: Option<&Origin>) -> Vec<u8> {
    let version = env!("CARGO_PKG_VERSION");
    let sensor = settings.sensor.as_ref();
    let forwarded = settings.tags.iter().any(|tag| tag == "forwarded");
    let constant = Tail {
        ecs: Ecs { version: ECS_VERSION },
        agent: match origin.and_then(|origin| origin.agent.as_deref()) {
            Some(agent) => OursOr::Theirs(Theirs(agent)),
            None => OursOr::Ours(Agent {
                kind: "packetbeat",
                name: &settings.name,
                version,
                id: sensor.and_then(|s| s.agent_id.as_deref()),
                ephemeral_id: sensor.and_then(|s| s.ephemeral_id.as_deref()),
            }),
        },
        host: match origin {
            Some(origin) => origin.host.as_deref().map(|host| OursOr::Theirs(Theirs(host))),
            None => sensor.filter(|_| !forwarded).map(|s| OursOr::Ours(Host { name: &s.host_name })),
        },
        tags: &settings.tags,
        metadata: settings.metadata.then_some(Metadata { beat: "packetbeat", kind: "_doc", version }),
    };
    let mut out = vec![b','];
    out.extend(object_body(&constant));
    let (root, nested): (Vec<_>, Vec<_>) =
        settings.fields.iter().partition(|(name, _)| settings.fields_under_root && !is_taken(name));
    for (name, value) in root {
        out.push(b',');
        out.extend(object_body(&std::collections::BTreeMap::from([(name, value)])));
    }
    if !nested.is_empty() {
        out.extend_from_slice(b",\"fields\":{");
        out.extend(object_body(&nested.into_iter().collect::<std::collections::BTreeMap<_, _>>()));
        out.push(b'}');
    }
    out.extend_from_slice(b"}\n");
    out
}

/// The members of an object, without its braces.
fn object_body(object: &impl Serialize) -> Vec<u8> {
    let text = serde_json::to_vec(object).unwrap_or_default();
    text.strip_prefix(b"{").and_then(|t| t.strip_suffix(b"}")).unwrap_or_default().to_vec()
}

/// Whether events use this root key themselves.
fn is_taken(name: &str) -> bool {
    // `user.name` is written dotted, and `fields` is where the user's own go otherwise
    name == "user.name"
        || name == "fields"
        || FIELDS.iter().map(|field| field.name).any(|field| {
            let root = field.split_once('.').map_or(field, |(root, _)| root);
            root == name && root != "user"
        })
}

#[cfg(test)]
mod tests;
