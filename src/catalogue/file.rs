//! The catalogue's data file and the tables that a configuration adds to it: what is written, with every value parsed.
//!
//! A value of the wrong form, an unknown key or a missing one is an error of the TOML parser, with line and column. What
//! only shows when tables are put together (an unknown endpoint, an id given twice) is a [`CatalogueError`].

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;

use super::clients::Client;
use super::pattern::{HeaderChoice, HeaderRule, PathPattern, QueryRule};
use crate::text::glob::Glob;

/// Why a catalogue cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CatalogueError {
    /// What is wrong, with the id of the entry.
    pub message: String,
    /// Bytes of the text that it was read from.
    pub span: Option<Range<usize>>,
}

impl CatalogueError {
    pub(super) fn new(span: Range<usize>, message: String) -> Self {
        Self { message, span: Some(span) }
    }

    /// Line in `text`, the text that was parsed; lines count from 1.
    pub fn line(&self, text: &str) -> Option<usize> {
        let head = text.get(..self.span.as_ref()?.start)?;
        Some(head.bytes().filter(|b| *b == b'\n').count().saturating_add(1))
    }
}

impl From<toml::de::Error> for CatalogueError {
    fn from(e: toml::de::Error) -> Self {
        Self { message: e.message().to_owned(), span: e.span() }
    }
}

/// The whole data file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) schema: u32,
    pub(super) classes: BTreeMap<String, Vec<String>>,
    pub(super) credential: CredentialKeys,
    pub(super) generic: Generic,
    pub(super) headers: Headers,
    pub(super) user_agents: UserAgents,
    pub(super) allow: Allow,
    pub(super) names: Names,
    pub(super) endpoint: Vec<Endpoint>,
    pub(super) path: Vec<PathEntry>,
    pub(super) agent: Vec<Agent>,
    pub(super) sources: BTreeMap<String, String>,
}

/// Where documents that return credentials hold what: keys in the order in which they are looked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CredentialKeys {
    /// The credential itself.
    pub secret: Vec<String>,
    /// Secrets that come with it.
    pub companion: Vec<String>,
    /// Public identifiers.
    pub identifier: Vec<String>,
    /// A point in time.
    pub expiry: Vec<String>,
    /// What it is good for.
    pub scope: Vec<String>,
    /// A session token, on token paths.
    pub session: Vec<String>,
    /// Words of a text that refuses, in lower case.
    pub refusal: Vec<String>,
}

/// The default allow list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Allow {
    pub(super) processes: Vec<String>,
}

/// Regular expressions for paths of services that the catalogue does not know.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Generic {
    pub(super) credential_path: String,
    pub(super) credential_path_any_host: String,
}

/// Lists of header names.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Headers {
    pub(super) forwarding: Vec<String>,
    pub(super) browser: Vec<String>,
    pub(super) recorded: Vec<String>,
    pub(super) secret: Vec<String>,
    pub(super) secret_like: Vec<Glob>,
    pub(super) private: Vec<String>,
}

/// User-Agent globs.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UserAgents {
    pub(super) tools: Vec<Glob>,
    pub(super) renderers: Vec<Glob>,
}

/// Domain suffixes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Names {
    pub(super) wildcard_dns: Vec<String>,
    pub(super) overlay: Vec<String>,
    pub(super) api_domains: Vec<String>,
}

/// Tables that may also stand in the configuration, under `[[catalogue.endpoint]]`, `[[catalogue.path]]`,
/// `[[catalogue.agent]]` and `[[catalogue.client]]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Additions {
    /// Services.
    #[serde(default)]
    pub endpoint: Vec<Endpoint>,
    /// Paths.
    #[serde(default)]
    pub path: Vec<PathEntry>,
    /// Programs that read metadata as a matter of course.
    #[serde(default)]
    pub agent: Vec<Agent>,
    /// How clients ask.
    #[serde(default)]
    pub client: Vec<Client>,
}

/// One metadata service at its addresses and names.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// Unique name.
    pub id: Spanned<String>,
    /// `imds.provider`.
    pub provider: String,
    /// `imds.service`; `not-metadata` for what only lives beside a metadata service.
    pub service: String,
    /// By what it is recognised.
    #[serde(default, rename = "match")]
    pub by: Recognised,
    /// Addresses.
    #[serde(default)]
    pub addresses: Vec<IpAddr>,
    /// Ports it listens on.
    #[serde(default)]
    pub ports: Vec<u16>,
    /// Host names, `*` for the characters of one or more labels.
    #[serde(default)]
    pub domains: Vec<Glob>,
    /// Request headers that only its clients send.
    #[serde(default)]
    pub client_headers: Vec<HeaderRule>,
    /// Response headers that only it sends.
    #[serde(default)]
    pub server_headers: Vec<HeaderRule>,
    /// Request header that carries the session token.
    pub session_header: Option<HeaderRule>,
    /// Request header that asks for a session token of some lifetime.
    pub session_ttl_header: Option<String>,
    /// Whether requests without session token are served.
    pub session: Option<Session>,
    /// Where the facts come from.
    #[serde(default)]
    pub sources: Vec<String>,
}

/// By what an endpoint is recognised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Recognised {
    /// By its address or name.
    #[default]
    Address,
    /// Only by a credential path on its port: anything may use its address.
    Path,
}

/// Whether a service has a version without session token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Session {
    /// Version 1 without, version 2 with token.
    Optional,
    /// No version without token.
    Required,
}

impl Endpoint {
    /// Unique name.
    pub fn id(&self) -> &str {
        self.id.get_ref()
    }

    /// Whether its addresses and names alone make traffic metadata traffic.
    pub fn by_address(&self) -> bool {
        self.by == Recognised::Address && !self.not_metadata()
    }

    /// Whether a header that only its clients send is among `fields`.
    pub fn is_spoken<'f>(&self, mut fields: impl Iterator<Item = (&'f [u8], &'f [u8])>) -> bool {
        let ttl =
            |name: &[u8]| self.session_ttl_header.as_ref().is_some_and(|ttl| ttl.as_bytes().eq_ignore_ascii_case(name));
        let rules = self.client_headers.iter().chain(&self.session_header);
        fields.any(|(name, value)| ttl(name) || rules.clone().any(|rule| rule.fits(name, value)))
    }

    /// Whether it only marks what is no metadata service.
    pub fn not_metadata(&self) -> bool {
        self.service == "not-metadata"
    }
}

/// One path of a service, or several that give the same away.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PathEntry {
    /// Unique name: `imds.path_id`.
    pub id: Spanned<String>,
    /// `imds.provider`.
    pub provider: String,
    /// `imds.service`.
    pub service: String,
    /// Ids of the endpoints that have it.
    pub endpoints: Vec<String>,
    /// Patterns of the normalised path.
    pub patterns: Vec<PathPattern>,
    /// Query parameters without which it is another path.
    #[serde(default)]
    pub query: Vec<QueryRule>,
    /// Headers without which the service refuses.
    #[serde(default)]
    pub required_headers: Vec<HeaderChoice>,
    /// Headers that its clients may send; recorded.
    #[serde(default)]
    pub optional_headers: Vec<String>,
    /// What it gives away.
    pub sensitivity: Sensitivity,
    /// Kind of credential.
    pub kind: Option<String>,
    /// Where the credential's scope stands.
    pub scope: Option<ScopeAt>,
    /// Version, where the path tells.
    pub version: Option<Version>,
    /// A generation without protection: counts as version 1.
    #[serde(default)]
    pub legacy: bool,
    /// Metadata traffic on any server, given the required headers.
    #[serde(default)]
    pub any_address: bool,
    /// No service has it.
    #[serde(default)]
    pub impossible: bool,
    /// What an answer with the credential holds: all of them.
    #[serde(default)]
    pub proof: Vec<Marker>,
    /// What an answer with the credential holds: one of them.
    #[serde(default)]
    pub proof_any: Vec<Marker>,
    /// Bodies that refuse.
    #[serde(default)]
    pub refusal: Vec<String>,
    /// Keys of the credential itself, before those of [`CredentialKeys`].
    #[serde(default)]
    pub secret: Vec<String>,
    /// Keys of secrets that come with it, likewise.
    #[serde(default)]
    pub companion: Vec<String>,
    /// Keys of its public identifier, likewise.
    #[serde(default)]
    pub identifier: Vec<String>,
    /// Keys of the time at which it ends, likewise.
    #[serde(default)]
    pub expiry: Vec<String>,
    /// Where the facts come from.
    #[serde(default)]
    pub sources: Vec<String>,
}

impl PathEntry {
    /// Unique name.
    pub fn id(&self) -> &str {
        self.id.get_ref()
    }

    /// Whether the secret of an answer can be found: text is one as a whole, and of a document some key that proves it, or
    /// that the entry names, is known to hold the secret.
    pub(super) fn names_secret(&self, keys: &CredentialKeys) -> bool {
        let markers = self.proof.iter().chain(&self.proof_any);
        let mut known = markers.filter_map(|marker| match marker {
            Marker::Word(word) => Some(word),
            Marker::Pair(..) => None,
        });
        !self.secret.is_empty()
            || self.proof.is_empty() && self.proof_any.is_empty()
            || known.any(|word| !is_key(word) || keys.secret.contains(word) || keys.companion.contains(word))
    }

    /// Whether all required headers are among `fields`.
    pub fn has_required_headers<'f>(&self, fields: impl Iterator<Item = (&'f [u8], &'f [u8])> + Clone) -> bool {
        self.required_headers
            .iter()
            .all(|choice| fields.clone().any(|(name, value)| choice.0.iter().any(|rule| rule.fits(name, value))))
    }
}

/// How much a path gives away; ordered from least to most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sensitivity {
    /// Configuration only.
    Discovery,
    /// A session token of the metadata service.
    Token,
    /// User data, startup scripts.
    UserData,
    /// A signed identity document or identity token.
    Identity,
    /// A credential.
    Credential,
}

impl Sensitivity {
    /// As written to `imds.sensitivity`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Discovery => "discovery",
            Self::Token => "token",
            Self::UserData => "user-data",
            Self::Identity => "identity",
            Self::Credential => "credential",
        }
    }
}

/// Where a credential's scope stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScopeAt {
    /// In the path: what the last `*` stands for.
    Path,
}

/// Version of a metadata service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Version {
    /// Without session token or header.
    V1,
    /// With it.
    V2,
}

impl Version {
    /// As written to `imds.version`.
    pub fn name(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
        }
    }
}

/// Something that a body holds.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub enum Marker {
    /// A JSON key, or a substring where the body is no JSON.
    Word(String),
    /// A JSON key with this string value.
    Pair(String, String),
}

impl From<String> for Marker {
    fn from(text: String) -> Self {
        match text.split_once('=') {
            Some((key, value)) if !key.is_empty() && !value.is_empty() => Self::Pair(key.to_owned(), value.to_owned()),
            _ => Self::Word(text),
        }
    }
}

/// Whether a marker could be a JSON key; what is none (`sig=`, `BEGIN PRIVATE KEY`) stands in values or text.
pub fn is_key(word: &str) -> bool {
    word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// A program whose reads are normal when User-Agent, paths and order agree.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Agent {
    /// Unique name.
    pub id: Spanned<String>,
    /// Provider it belongs to; any if absent.
    pub provider: Option<String>,
    /// Process names.
    #[serde(default)]
    pub processes: Vec<Glob>,
    /// User-Agents.
    #[serde(default)]
    pub user_agents: Vec<Glob>,
    /// Paths it reads.
    pub patterns: Vec<PathPattern>,
    /// Headers it sends.
    #[serde(default)]
    pub headers: Vec<HeaderRule>,
    /// Where the facts come from.
    #[serde(default)]
    pub sources: Vec<String>,
}

impl Agent {
    /// Whether this is one of its paths.
    pub fn reads(&self, path: &str) -> bool {
        self.patterns.iter().any(|p| p.fit(path).is_some())
    }
}
