//! The event as it is written: one typed document per line, borrowed from what it describes.
//!
//! In: fields filled by the sibling modules. Out: JSON through serde, unset fields left out. Everything that is the same
//! on all events of a run (`agent`, `host`, `ecs`, tags) is rendered once by [`super::Writer`] and is not part of it.
//! Bound: holds slices of its subject and nothing that outlives it.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};

use super::dns::Dns;
use super::envelope::{CommunityId, EventId};
use super::flow::FlowId;
use super::time::Stamp;
use crate::decode::meta::{Hop, Mac};
use crate::detect::Signals;
use crate::process::Process;

/// Text of an event: borrowed where it can be written as it is.
pub type Text<'a> = Cow<'a, str>;

/// One event. The serialised order of keys is the order of the fields.
#[derive(Debug, Serialize)]
pub struct Doc<'a> {
    /// Time of the event's first packet (alerts: of the packet that completed it).
    #[serde(rename = "@timestamp")]
    pub timestamp: Stamp,
    /// Protocol, `flow`, `alert` or `stats`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// `OK` or `Error`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<&'static str>,
    /// HTTP method, DNS opcode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<Text<'a>>,
    /// One-line summary of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<Text<'a>>,
    /// DNS question name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<Text<'a>>,
    /// ICMP: the destination address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<Text<'a>>,
    /// Remarks.
    #[serde(skip_serializing_if = "Notes::is_empty")]
    pub error: Notes<'a>,
    /// Alerts: one sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<Text<'a>>,
    /// ECS event.
    pub event: Event<'a>,
    /// Elastic's data stream (profile `network_traffic`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_stream: Option<DataStream<'a>>,
    /// Network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<Network<'a>>,
    /// Who sent the request (flows: the first packet).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<End<'a>>,
    /// Copy of `source`; not on flows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<End<'a>>,
    /// The other end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<End<'a>>,
    /// Copy of `destination`; not on flows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<End<'a>>,
    /// The process at the local end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessDoc<'a>>,
    /// Addresses, hosts and users that the event names.
    #[serde(skip_serializing_if = "Related::is_empty")]
    pub related: Related<'a>,
    /// HTTP Basic user. Packetbeat writes this one key dotted.
    #[serde(rename = "user.name", skip_serializing_if = "Option::is_none")]
    pub user_name: Option<Text<'a>>,
    /// URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<Url<'a>>,
    /// User-Agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<UserAgent<'a>>,
    /// HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<Http<'a>>,
    /// DNS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns: Option<Box<Dns<'a>>>,
    /// DNS, on alerts; never beside `dns`.
    #[serde(rename = "dns", skip_serializing_if = "Option::is_none")]
    pub dns_subject: Option<DnsSubject<'a>>,
    /// ICMP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icmp: Option<Icmp<'a>>,
    /// Flow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flow: Option<Flow<'a>>,
    /// Alerts: the rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<RuleDoc<'a>>,
    /// Alerts: MITRE ATT&CK.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threat: Option<Threat>,
    /// The metadata service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub imds: Option<Imds<'a>>,
    /// Raw request, with `send_request`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<Text<'a>>,
    /// Raw response, with `send_response`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response: Option<Text<'a>>,
    /// Counters, on `stats` events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub imdswatch: Option<Stats<'a>>,
}

impl<'a> Doc<'a> {
    /// A document with nothing but its time, type and event object.
    pub fn new(kind: &'static str, timestamp: Stamp, event: Event<'a>) -> Self {
        Self {
            timestamp,
            kind,
            status: None,
            method: None,
            query: None,
            resource: None,
            path: None,
            error: Notes::default(),
            message: None,
            event,
            data_stream: None,
            network: None,
            source: None,
            client: None,
            destination: None,
            server: None,
            process: None,
            related: Related::default(),
            user_name: None,
            url: None,
            user_agent: None,
            http: None,
            dns: None,
            dns_subject: None,
            icmp: None,
            flow: None,
            rule: None,
            threat: None,
            imds: None,
            request: None,
            response: None,
            imdswatch: None,
        }
    }
}

/// `error.message`: a string when there is one remark, an array when there are more.
#[derive(Debug, Default)]
pub struct Notes<'a>(pub Vec<Text<'a>>);

impl<'a> Notes<'a> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a remark.
    pub fn push(&mut self, note: impl Into<Text<'a>>) {
        self.0.push(note.into());
    }
}

impl Serialize for Notes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        match self.0.as_slice() {
            [one] => map.serialize_entry("message", one)?,
            many => map.serialize_entry("message", many)?,
        }
        map.end()
    }
}

/// ECS `event`.
#[derive(Debug, Serialize)]
pub struct Event<'a> {
    /// Stable across replays of the same packets.
    pub id: IdText<'a>,
    /// `event`, `alert` or `metric`.
    pub kind: &'static str,
    /// Categories.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub category: &'static [&'static str],
    /// Types.
    #[serde(rename = "type", skip_serializing_if = "<[_]>::is_empty")]
    pub types: &'static [&'static str],
    /// Protocol, or dotted in profile `network_traffic`.
    pub dataset: Text<'a>,
    /// `network_flow` on flows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<&'static str>,
    /// `network_traffic`, in that profile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub module: Option<&'static str>,
    /// Alerts: `success`, `failure`, `unknown`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<&'static str>,
    /// Alerts: 21, 47, 73, 99.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severity: Option<u8>,
    /// Alerts: 0 to 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub risk_score: Option<u8>,
    /// First packet of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<Stamp>,
    /// First packet of the response (flows: last packet).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<Stamp>,
    /// Nanoseconds between the two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<i64>,
}

/// `event.id`: of transactions and flows a hash made here, of alerts what the correlator made.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(untagged)]
pub enum IdText<'a> {
    /// Transactions, flows, stats.
    Event(EventId),
    /// Alerts.
    Alert(&'a str),
}

/// `data_stream.*`.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct DataStream<'a> {
    /// `logs`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// `network_traffic.http` and so on.
    pub dataset: &'static str,
    /// Namespace from the settings.
    pub namespace: &'a str,
}

/// ECS `network`.
#[derive(Debug, Default, Serialize)]
pub struct Network<'a> {
    /// `ipv4` or `ipv6`.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<&'static str>,
    /// Transport.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transport: Option<&'static str>,
    /// Application protocol.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<&'static str>,
    /// Direction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direction: Option<&'static str>,
    /// Community ID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub community_id: Option<CommunityId>,
    /// Both directions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Both directions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packets: Option<u64>,
    /// First value of the real-IP header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forwarded_ip: Option<Text<'a>>,
    /// Tunnels that the packets came out of, outermost first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tunnel: Vec<Tunnel>,
}

/// One tunnel of `network.tunnel`.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Tunnel {
    /// Which.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// VNI, key, session or label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<u32>,
    /// Outer source address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Ip>,
    /// Outer destination address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<Ip>,
}

impl From<&Hop> for Tunnel {
    fn from(hop: &Hop) -> Self {
        let (source, destination) = hop.ends.unzip();
        Self { kind: hop.kind.name(), id: hop.id, source: source.map(Ip), destination: destination.map(Ip) }
    }
}

/// An address as Go prints it: an IPv4-mapped IPv6 address is written as the IPv4 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ip(pub IpAddr);

impl Ip {
    /// The text that it is displayed as.
    pub fn text(self) -> String {
        let IpAddr::V4(v4) = self.0.to_canonical() else { return self.to_string() };
        let mut out = String::with_capacity("255.255.255.255".len());
        for octet in v4.octets() {
            if !out.is_empty() {
                out.push('.');
            }
            out.push_str(itoa::Buffer::new().format(octet));
        }
        out
    }
}

impl fmt::Display for Ip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.to_canonical().fmt(f)
    }
}

impl Serialize for Ip {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.to_canonical().serialize(serializer)
    }
}

/// A MAC as Packetbeat prints it since 8.5: `AA-BB-CC-DD-EE-FF`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MacText(pub Mac);

impl MacText {
    fn write(self, text: &mut [u8; 17]) -> &str {
        const HEX: &[u8; 16] = b"0123456789ABCDEF";
        for (pair, byte) in text.chunks_mut(3).zip(self.0) {
            pair[0] = HEX[usize::from(byte >> 4)];
            pair[1] = HEX[usize::from(byte & 15)];
        }
        str::from_utf8(text).unwrap_or_default()
    }
}

impl fmt::Display for MacText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.write(&mut [b'-'; 17]))
    }
}

impl Serialize for MacText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.write(&mut [b'-'; 17]))
    }
}

/// One end: `source`, `destination`, `client`, `server`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct End<'a> {
    /// MAC, on flows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<MacText>,
    /// Address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<Ip>,
    /// The same as text, on destinations (ours).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<Ip>,
    /// Port; never 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Host name, if it is no address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<Text<'a>>,
    /// Bytes that it sent; never 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Packets that it sent, on flows; never 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packets: Option<u64>,
    /// Process at this end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessDoc<'a>>,
}

/// `process.*`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ProcessDoc<'a> {
    /// Process id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Name, or `unknown` (contract section 2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Text<'a>>,
    /// Path of the executable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub executable: Option<Text<'a>>,
    /// Arguments.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<Text<'a>>,
    /// Start time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<Stamp>,
    /// Id that survives reuse of pids.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entity_id: Option<Text<'a>>,
    /// Parent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<Parent>,
    /// Owner.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<User>,
    /// Container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<Container<'a>>,
}

/// `process.parent`.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Parent {
    /// Process id.
    pub pid: u32,
}

/// `process.user`.
#[derive(Clone, Copy, Debug)]
pub struct User(pub u32);

impl Serialize for User {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry("id", &Shown(self.0))?; // ECS: a keyword
        map.end()
    }
}

/// `process.container`.
#[derive(Clone, Debug, Serialize)]
pub struct Container<'a> {
    /// Container id.
    pub id: Text<'a>,
}

/// Anything with a `Display`, as a JSON string, without an allocation of its own.
#[derive(Clone, Copy, Debug)]
pub struct Shown<T>(pub T);

impl<T: fmt::Display> Serialize for Shown<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'a> ProcessDoc<'a> {
    /// What is written of `process`; `stamp` gives its start time the run's precision, `mask` hides issued credentials.
    pub fn new(
        process: &'a Process,
        stamp: impl Fn(crate::packet::Timestamp) -> Stamp,
        mask: &super::Masker<'_>,
    ) -> Self {
        Self {
            pid: Some(process.pid),
            name: Some(Cow::Borrowed(&process.name)),
            executable: process.executable.as_deref().map(Cow::Borrowed),
            args: process.args.iter().map(|arg| mask.text(Cow::Borrowed(arg))).collect(),
            start: process.start.map(stamp),
            entity_id: process.entity_id.as_deref().map(Cow::Borrowed),
            parent: process.parent.map(|pid| Parent { pid }),
            user: process.user.map(User),
            container: process.container.as_deref().map(|id| Container { id: Cow::Borrowed(id) }),
        }
    }
}

/// `related.*`; sets, in order of discovery.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Related<'a> {
    /// Addresses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ip: Vec<RelatedIp<'a>>,
    /// Host names (and Packetbeat puts the Referer here).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<Text<'a>>,
    /// Users.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub user: Vec<Text<'a>>,
}

impl<'a> Related<'a> {
    fn is_empty(&self) -> bool {
        self.ip.is_empty() && self.hosts.is_empty() && self.user.is_empty()
    }

    /// Adds an address once.
    pub fn add_ip(&mut self, ip: IpAddr) {
        add(&mut self.ip, RelatedIp::Ip(Ip(ip.to_canonical())));
    }

    /// Adds what should be the text of an address, once; empty text is left out.
    pub fn add_ip_text(&mut self, text: Text<'a>) {
        match text.parse::<IpAddr>() {
            Ok(ip) if Ip(ip).to_string() == *text => self.add_ip(ip),
            _ if text.is_empty() => {}
            _ => add(&mut self.ip, RelatedIp::Text(text)),
        }
    }

    /// Adds a host once; empty text is left out.
    pub fn add_host(&mut self, host: Text<'a>) {
        if !host.is_empty() {
            add(&mut self.hosts, host);
        }
    }

    /// Adds a user once; empty text is left out.
    pub fn add_user(&mut self, user: Text<'a>) {
        if !user.is_empty() {
            add(&mut self.user, user);
        }
    }
}

/// Adds to a small list that is a set.
fn add<T: PartialEq>(list: &mut Vec<T>, item: T) {
    if !list.contains(&item) {
        list.push(item);
    }
}

/// One of `related.ip`: an address, or what a header claims to be one (Packetbeat does not check).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum RelatedIp<'a> {
    /// An address, canonical.
    Ip(Ip),
    /// Anything else.
    Text(Text<'a>),
}

/// ECS `url`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Url<'a> {
    /// Request target exactly as sent (ours).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub original: Option<Text<'a>>,
    /// Whole URL, re-escaped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub full: Option<Text<'a>>,
    /// Always `http` on HTTP transactions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheme: Option<&'static str>,
    /// Host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<Text<'a>>,
    /// Port, if it is not 80.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Decoded path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<Text<'a>>,
    /// Parameters, sorted and re-encoded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<Text<'a>>,
    /// What follows the last dot of the path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extension: Option<Text<'a>>,
}

/// ECS `user_agent`.
#[derive(Clone, Debug, Serialize)]
pub struct UserAgent<'a> {
    /// As sent.
    pub original: Text<'a>,
}

/// ECS `http`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Http<'a> {
    /// Version of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<Text<'a>>,
    /// Request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<HttpRequest<'a>>,
    /// Response.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response: Option<HttpResponse<'a>>,
}

/// ECS `http.request`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct HttpRequest<'a> {
    /// Method in its original case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<Text<'a>>,
    /// Referer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub referrer: Option<Text<'a>>,
    /// Start line, headers and body with its framing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<HttpBody<'a>>,
    /// Headers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers: Option<Headers<'a>>,
}

/// ECS `http.response`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct HttpResponse<'a> {
    /// Status code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_code: Option<u16>,
    /// Reason phrase in lower case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_phrase: Option<Text<'a>>,
    /// Start line, headers and body with its framing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<HttpBody<'a>>,
    /// Headers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers: Option<Headers<'a>>,
}

/// `http.request.body`, `http.response.body`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct HttpBody<'a> {
    /// Length; never 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Content, only where the settings ask for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<Text<'a>>,
}

/// Header fields: lower-case names, each once.
#[derive(Clone, Debug, Default)]
pub struct Headers<'a>(pub Vec<(Text<'a>, HeaderValue<'a>)>);

/// Value of a header.
#[derive(Clone, Debug, PartialEq)]
pub enum HeaderValue<'a> {
    /// `content-length`.
    Number(u64),
    /// Any other.
    Text(Text<'a>),
    /// Cookies split into names and values, each name once.
    Cookies(Vec<(Text<'a>, Text<'a>)>),
}

impl Serialize for Headers<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl Serialize for HeaderValue<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Number(n) => serializer.serialize_u64(*n),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Cookies(list) => serializer.collect_map(list.iter().map(|(name, value)| (name, value))),
        }
    }
}

/// What an alert says of the DNS transaction that it is about.
#[derive(Clone, Debug, Serialize)]
pub struct DnsSubject<'a> {
    /// `answer` or `query`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Question.
    pub question: DnsQuestion<'a>,
    /// RCODE name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_code: Option<&'a str>,
    /// Addresses answered.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resolved_ip: Vec<Ip>,
}

/// `dns.question` of an alert.
#[derive(Clone, Debug, Serialize)]
pub struct DnsQuestion<'a> {
    /// Name.
    pub name: Text<'a>,
    /// Type.
    #[serde(rename = "type", skip_serializing_if = "str::is_empty")]
    pub kind: &'a str,
}

/// Packetbeat's `icmp`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Icmp<'a> {
    /// 4 or 6.
    pub version: u8,
    /// Request or one-way message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<IcmpMessage<'a>>,
    /// Answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response: Option<IcmpMessage<'a>>,
}

/// `icmp.request`, `icmp.response`.
#[derive(Clone, Debug, Serialize)]
pub struct IcmpMessage<'a> {
    /// Name of type and code.
    pub message: Text<'a>,
    /// Type.
    #[serde(rename = "type")]
    pub kind: u8,
    /// Code.
    pub code: u8,
}

/// Packetbeat's `flow`.
#[derive(Clone, Debug, Serialize)]
pub struct Flow<'a> {
    /// Base64 of the flow's key.
    pub id: FlowId,
    /// Whether the flow is over.
    #[serde(rename = "final")]
    pub last: bool,
    /// VLAN ids.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vlan: Option<OneOrMany<'a>>,
}

/// A number when there is one, an array when there are more.
#[derive(Clone, Copy, Debug)]
pub struct OneOrMany<'a>(pub &'a [u16]);

impl Serialize for OneOrMany<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            [one] => serializer.serialize_u16(*one),
            many => many.serialize(serializer),
        }
    }
}

/// ECS `rule`.
#[derive(Clone, Debug, Serialize)]
pub struct RuleDoc<'a> {
    /// Slug.
    pub id: &'static str,
    /// Title.
    pub name: &'a str,
    /// What it means.
    pub description: &'a str,
    /// Where to read on.
    pub reference: &'a str,
    /// `imdswatch`.
    pub ruleset: &'static str,
    /// Version of the rule set.
    pub version: &'static str,
}

/// ECS `threat`.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Threat {
    /// `MITRE ATT&CK`.
    pub framework: &'static str,
    /// Tactics.
    pub tactic: Catalogued,
    /// Techniques and their sub-techniques.
    pub technique: Technique,
}

/// Entries of a knowledge base as parallel arrays, as ECS wants them.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Catalogued {
    /// Ids.
    pub id: &'static [&'static str],
    /// Names.
    pub name: &'static [&'static str],
    /// Pages.
    pub reference: &'static [&'static str],
}

/// `threat.technique`.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Technique {
    /// The techniques.
    #[serde(flatten)]
    pub entries: Catalogued,
    /// Their sub-techniques.
    pub subtechnique: Catalogued,
}

/// The `imds` object (contract section 3).
#[derive(Clone, Debug, Default, Serialize)]
pub struct Imds<'a> {
    /// Provider.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub provider: &'a str,
    /// Service.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub service: &'a str,
    /// Normalised path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<Text<'a>>,
    /// Catalogue entry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_id: Option<&'a str>,
    /// What the path gives away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sensitivity: Option<&'static str>,
    /// `v1` or `v2`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<&'a str>,
    /// Credential.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<Credential<'a>>,
    /// Headers that tell metadata clients apart.
    #[serde(skip_serializing_if = "NamedTexts::is_empty")]
    pub headers: NamedTexts<'a>,
    /// What was noticed.
    #[serde(skip_serializing_if = "SignalList::is_empty")]
    pub signals: SignalList,
    /// Allow-list entry that kept an alert back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_by: Option<&'a str>,
    /// Joined events.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub chain: Vec<Link<'a>>,
    /// How many followed the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repeats: Option<u64>,
}

impl Imds<'_> {
    /// Whether nothing would be written: an attempt at request forgery of which nothing more came.
    pub fn is_empty(&self) -> bool {
        self.provider.is_empty()
            && self.path.is_none()
            && self.signals.is_empty()
            && self.chain.is_empty()
            && self.repeats.is_none()
    }
}

/// `imds.credential`.
#[derive(Clone, Debug, Serialize)]
pub struct Credential<'a> {
    /// Whether the response proves it.
    pub issued: bool,
    /// Kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<&'a str>,
    /// Non-secret identifier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<&'a str>,
    /// Role, resource, audience.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<&'a str>,
    /// Expiry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<&'a str>,
    /// Keyed hash of the secret value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<&'a str>,
}

/// An object of texts, each name once.
#[derive(Clone, Debug, Default)]
pub struct NamedTexts<'a>(pub Vec<(&'a str, Text<'a>)>);

impl NamedTexts<'_> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for NamedTexts<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

/// Signals as a sorted array of slugs.
#[derive(Clone, Copy, Debug, Default)]
pub struct SignalList(pub Signals);

impl SignalList {
    fn is_empty(&self) -> bool {
        self.0 == Signals::default()
    }
}

impl Serialize for SignalList {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let slugs = self.0.slugs();
        let mut list = serializer.serialize_seq(Some(slugs.len()))?;
        for slug in slugs {
            list.serialize_element(slug)?;
        }
        list.end()
    }
}

/// One step of `imds.chain`.
#[derive(Clone, Debug, Serialize)]
pub struct Link<'a> {
    /// `event.id`.
    pub id: &'a str,
    /// Its time.
    pub time: Stamp,
    /// request, response, dns, redirect, fetch, issued, relayed.
    pub what: &'static str,
    /// `ip:port`.
    pub source: &'a str,
    /// `ip:port`.
    pub destination: &'a str,
    /// URL or name.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub url: Text<'a>,
}

/// Counters of the program, on `stats` events.
#[derive(Clone, Debug, Serialize)]
pub struct Stats<'a> {
    /// Name and value.
    pub stats: Counters<'a>,
}

/// An object of numbers.
#[derive(Clone, Copy, Debug)]
pub struct Counters<'a>(pub &'a [(&'a str, u64)]);

impl Serialize for Counters<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}
