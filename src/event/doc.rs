//! The event as it is written: one typed document per line, borrowed from what it describes.
//!
//! In: fields filled by the sibling modules. Out: JSON through serde, unset fields left out. Everything that is the same
//! on all events of a run (`agent`, `host`, `ecs`, tags) is rendered once by [`super::Writer`] and is not part of it.
//! What each protocol adds is in the modules below.
//! Bound: holds slices of its subject and nothing that outlives it.

mod alert;
mod body;
mod http;
mod imds;
mod members;
mod network;
mod process;
mod related;

use std::borrow::Cow;
use std::fmt;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_with::skip_serializing_none;

use super::time::Stamp;
use crate::conn::Origin;
use crate::id::EventId;

pub use self::alert::{Catalogued, DnsQuestion, DnsSubject, RuleDoc, Technique, Threat};
pub use self::body::{AlertEvent, Body, DnsEvent, HttpEvent, IcmpEvent};
pub use self::http::{HeaderValue, Headers, Http, HttpBody, HttpRequest, HttpResponse, Url, UserAgent};
pub use self::imds::{Client, Credential, Imds, Link, LinkEnd, NamedTexts, SignalList};
pub use self::network::{End, Flow, Icmp, IcmpMessage, Ip, MacText, Network, OneOrMany, Tunnel};
pub use self::process::{Container, Kubernetes, ProcessDoc};
pub use self::related::Related;

/// Text of an event: borrowed where it can be written as it is.
pub type Text<'a> = Cow<'a, str>;

/// One event.
#[derive(Debug)]
pub struct Doc<'a> {
    /// What events of every kind may hold.
    pub envelope: Envelope<'a>,
    /// What its kind adds.
    pub body: Body<'a>,
}

/// What events of every kind may hold.
#[derive(Debug)]
pub struct Envelope<'a> {
    /// Time of the event's first packet (alerts: of the packet that completed it).
    pub timestamp: Stamp,
    /// `type`: the protocol, `flow`, `alert`, `connection`, `process` or `stats`.
    pub kind: &'static str,
    /// Remarks.
    pub error: Notes<'a>,
    /// ECS event.
    pub event: Event<'a>,
    /// Elastic's data stream (profile `network_traffic`).
    pub data_stream: Option<DataStream<'a>>,
    /// Network.
    pub network: Option<Network<'a>>,
    /// Who sent the request (flows: the first packet).
    pub source: Option<End<'a>>,
    /// Copy of `source`; not on flows.
    pub client: Option<End<'a>>,
    /// The other end.
    pub destination: Option<End<'a>>,
    /// Copy of `destination`; not on flows.
    pub server: Option<End<'a>>,
    /// The process at the local end.
    pub process: Option<Box<ProcessDoc<'a>>>,
    /// Container of the process.
    pub container: Option<Container<'a>>,
    /// Pod of the process.
    pub kubernetes: Option<Kubernetes<'a>>,
    /// Addresses, hosts and users that the event names.
    pub related: Related<'a>,
    /// The metadata service.
    pub imds: Option<Imds<'a>>,
    /// The event of another sensor that it was read from, whose agent and host it keeps; not a member.
    pub origin: Option<&'a Origin>,
}

impl<'a> Envelope<'a> {
    /// With nothing but time, type and event object.
    pub fn new(kind: &'static str, timestamp: Stamp, event: Event<'a>) -> Self {
        Self {
            timestamp,
            kind,
            error: Notes::default(),
            event,
            data_stream: None,
            network: None,
            source: None,
            client: None,
            destination: None,
            server: None,
            process: None,
            container: None,
            kubernetes: None,
            related: Related::default(),
            imds: None,
            origin: None,
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

/// `event.id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Id<'a> {
    /// Of an event of this program.
    Ours(EventId),
    /// As another sensor chose it.
    Theirs(&'a str),
}

impl<'a> Id<'a> {
    /// The id of an event that was read from `origin`, if from any.
    pub fn of(id: EventId, origin: Option<&'a Origin>) -> Self {
        origin.and_then(|origin| origin.id.as_deref()).map_or(Self::Ours(id), Self::Theirs)
    }
}

impl Serialize for Id<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Ours(id) => id.serialize(serializer),
            Self::Theirs(id) => serializer.serialize_str(id),
        }
    }
}

/// ECS `event`.
#[skip_serializing_none]
#[derive(Debug, Serialize)]
pub struct Event<'a> {
    /// Stable across replays of the same packets; that of another sensor's event is kept.
    pub id: Id<'a>,
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
    pub action: Option<&'static str>,
    /// `network_traffic`, in that profile.
    pub module: Option<&'static str>,
    /// The kind of sensor that the event was read from.
    pub provider: Option<&'static str>,
    /// Alerts: `success`, `failure`, `unknown`.
    pub outcome: Option<&'static str>,
    /// Alerts: 21, 47, 73, 99.
    pub severity: Option<u8>,
    /// Alerts: 0 to 100.
    pub risk_score: Option<u8>,
    /// First packet of the request.
    pub start: Option<Stamp>,
    /// First packet of the response (flows: last packet).
    pub end: Option<Stamp>,
    /// Nanoseconds between the two.
    pub duration: Option<i64>,
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

/// Anything with a `Display`, as a JSON string, without an allocation of its own.
#[derive(Clone, Copy, Debug)]
pub struct DisplayString<T>(pub T);

impl<T: fmt::Display> Serialize for DisplayString<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
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
