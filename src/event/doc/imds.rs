//! The `imds` object.

use std::net::{IpAddr, SocketAddr};

use serde::{Serialize, Serializer};
use serde_with::skip_serializing_none;

use super::{DisplayString, Id, Text};
use crate::detect::{Shape, Signals};
use crate::event::time::Stamp;

/// The `imds` object (contract section 3).
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize)]
pub struct Imds<'a> {
    /// Provider.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub provider: &'a str,
    /// Service.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub service: &'a str,
    /// Normalised path.
    pub path: Option<Text<'a>>,
    /// Catalogue entry.
    pub path_id: Option<&'a str>,
    /// What the path gives away.
    pub sensitivity: Option<&'static str>,
    /// `v1` or `v2`.
    pub version: Option<&'a str>,
    /// Credential.
    pub credential: Option<Credential<'a>>,
    /// Who asks, by the form of the request.
    pub client: Option<Client<'a>>,
    /// Headers that tell metadata clients apart.
    #[serde(skip_serializing_if = "NamedTexts::is_empty")]
    pub headers: NamedTexts<'a>,
    /// What was noticed.
    #[serde(skip_serializing_if = "SignalList::is_empty")]
    pub signals: SignalList,
    /// Allow-list entry that kept an alert back.
    pub allowed_by: Option<&'a str>,
    /// Joined events.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub chain: Vec<Link<'a>>,
    /// How many followed the first.
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

/// `imds.client`.
#[skip_serializing_none]
#[derive(Clone, Debug, Serialize)]
pub struct Client<'a> {
    /// Shape.
    pub shape: Option<DisplayString<Shape>>,
    /// Name of the known client.
    pub name: Option<&'a str>,
}

/// `imds.credential`.
#[skip_serializing_none]
#[derive(Clone, Debug, Serialize)]
pub struct Credential<'a> {
    /// Whether the response proves it.
    pub issued: bool,
    /// Kind.
    pub kind: Option<&'a str>,
    /// Non-secret identifier.
    pub id: Option<Text<'a>>,
    /// Those of the issuances that a summary stands for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<Text<'a>>,
    /// How many more there are.
    pub more_ids: Option<u64>,
    /// Role, resource, audience.
    pub scope: Option<Text<'a>>,
    /// Expiry.
    pub expires: Option<&'a str>,
    /// Keyed hash of the secret value.
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
        serializer.collect_seq(self.0.sorted())
    }
}

/// An end of a step of `imds.chain`.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(untagged)]
pub enum LinkEnd {
    /// Address and port.
    Socket(DisplayString<SocketAddr>),
    /// An address alone, where the port was not told.
    Address(DisplayString<IpAddr>),
}

/// One step of `imds.chain`.
#[derive(Clone, Debug, Serialize)]
pub struct Link<'a> {
    /// `event.id`.
    pub id: Id<'a>,
    /// Its time.
    pub time: Stamp,
    /// request, response, dns, redirect, fetch, issued, relayed.
    pub what: &'static str,
    /// `ip:port`, as far as it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<LinkEnd>,
    /// `ip:port`, as far as it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<LinkEnd>,
    /// URL or name.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub url: Text<'a>,
}
