//! Rules, severities and alerts: what the correlator raises and `event` writes (contract section 4).

use std::sync::Arc;

use crate::conn::{Conn, Endpoint, Origin};
use crate::detect::{Imds, Signals};
use crate::id::EventId;
use crate::packet::Timestamp;

pub use sentence::Sentence;

mod sentence;

/// `event.severity`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// 21.
    Low,
    /// 47.
    Medium,
    /// 73.
    High,
    /// 99.
    Critical,
}

impl Severity {
    /// The number written to `event.severity`.
    pub fn number(self) -> u8 {
        match self {
            Self::Low => 21,
            Self::Medium => 47,
            Self::High => 73,
            Self::Critical => 99,
        }
    }

    /// Lower-case name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }

    /// One step down, at least low.
    pub fn lower(self) -> Self {
        match self {
            Self::Low | Self::Medium => Self::Low,
            Self::High => Self::Medium,
            Self::Critical => Self::High,
        }
    }
}

/// The alert table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// `imds-connection`
    ImdsConnection,
    /// `imds-lookup`
    ImdsLookup,
    /// `imds-discovery`
    ImdsDiscovery,
    /// `imds-token`
    ImdsToken,
    /// `imds-user-data`
    ImdsUserData,
    /// `imds-identity`
    ImdsIdentity,
    /// `imds-credential-request`
    ImdsCredentialRequest,
    /// `imds-credential-issued`
    ImdsCredentialIssued,
    /// `imds-enumeration`
    ImdsEnumeration,
    /// `ssrf-attempt`
    SsrfAttempt,
    /// `ssrf-confirmed`
    SsrfConfirmed,
    /// `dns-rebinding`
    DnsRebinding,
    /// `credential-relayed`
    CredentialRelayed,
    /// `imds-command`
    ImdsCommand,
}

impl Rule {
    /// All rules in the order of the contract's table.
    pub const ALL: &'static [Self] = &[
        Self::ImdsConnection,
        Self::ImdsLookup,
        Self::ImdsDiscovery,
        Self::ImdsToken,
        Self::ImdsUserData,
        Self::ImdsIdentity,
        Self::ImdsCredentialRequest,
        Self::ImdsCredentialIssued,
        Self::ImdsEnumeration,
        Self::SsrfAttempt,
        Self::SsrfConfirmed,
        Self::DnsRebinding,
        Self::CredentialRelayed,
        Self::ImdsCommand,
    ];

    /// `rule.id`.
    pub fn id(self) -> &'static str {
        match self {
            Self::ImdsConnection => "imds-connection",
            Self::ImdsLookup => "imds-lookup",
            Self::ImdsDiscovery => "imds-discovery",
            Self::ImdsToken => "imds-token",
            Self::ImdsUserData => "imds-user-data",
            Self::ImdsIdentity => "imds-identity",
            Self::ImdsCredentialRequest => "imds-credential-request",
            Self::ImdsCredentialIssued => "imds-credential-issued",
            Self::ImdsEnumeration => "imds-enumeration",
            Self::SsrfAttempt => "ssrf-attempt",
            Self::SsrfConfirmed => "ssrf-confirmed",
            Self::DnsRebinding => "dns-rebinding",
            Self::CredentialRelayed => "credential-relayed",
            Self::ImdsCommand => "imds-command",
        }
    }

    /// Whether it is about one request to a metadata service.
    pub fn is_request(self) -> bool {
        matches!(
            self,
            Self::ImdsDiscovery
                | Self::ImdsToken
                | Self::ImdsUserData
                | Self::ImdsIdentity
                | Self::ImdsCredentialRequest
                | Self::ImdsCredentialIssued
        )
    }

    /// Severity before context.
    pub fn base_severity(self) -> Severity {
        match self {
            Self::ImdsConnection | Self::ImdsLookup | Self::ImdsDiscovery | Self::ImdsToken => Severity::Low,
            Self::ImdsUserData | Self::ImdsIdentity | Self::SsrfAttempt => Severity::Medium,
            Self::ImdsCredentialRequest | Self::ImdsEnumeration | Self::DnsRebinding | Self::ImdsCommand => {
                Severity::High
            }
            Self::ImdsCredentialIssued | Self::SsrfConfirmed | Self::CredentialRelayed => Severity::Critical,
        }
    }
}

/// `event.outcome` and the `allowed|denied` of `event.type`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Outcome {
    /// Not known: no answer seen.
    #[default]
    Unknown,
    /// The service or server did what was asked.
    Success,
    /// It refused or failed.
    Failure,
}

/// The HTTP part of an alert's subject, already as text, bounded in length. Shared by subjects that have it in common.
#[derive(Clone, Debug, Default)]
pub struct HttpSubject {
    /// Method.
    pub method: String,
    /// Target as sent.
    pub target: String,
    /// Host header.
    pub host: Option<String>,
    /// User-Agent.
    pub user_agent: Option<String>,
    /// Status of the response.
    pub status: Option<u16>,
    /// Major and minor version of the request.
    pub version: Option<(u8, u8)>,
}

/// The DNS part of an alert's subject.
#[derive(Clone, Debug, Default)]
pub struct DnsSubject {
    /// Question name as Packetbeat writes it.
    pub name: String,
    /// Question type name.
    pub qtype: String,
    /// Addresses answered.
    pub resolved: Vec<std::net::IpAddr>,
    /// RCODE name, if answered.
    pub response_code: Option<String>,
}

/// What an alert is about: a compact copy of the transaction or connection it came from.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Ends and network facts.
    pub conn: Conn,
    /// First byte of the request (or first packet).
    pub start: Timestamp,
    /// Last byte of the answer seen.
    pub end: Option<Timestamp>,
    /// `event.id` of the transaction's own event.
    pub event_id: EventId,
    /// HTTP facts.
    pub http: Option<Arc<HttpSubject>>,
    /// DNS facts.
    pub dns: Option<Box<DnsSubject>>,
    /// A process start's command line: then `conn` names no conversation, but the process.
    pub command: Option<Arc<str>>,
    /// The `imds` object, if it has one.
    pub imds: Option<Arc<Imds>>,
    /// Its signals, with those that the correlator adds.
    pub signals: Signals,
    /// Provider and service of the address or name, where a connection or a lookup is all there is.
    pub service: Option<(&'static str, &'static str)>,
}

/// A step in `imds.chain`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainLink {
    /// `event.id` of the event joined.
    pub id: EventId,
    /// Its time.
    pub time: Timestamp,
    /// request, response, dns, redirect, fetch, issued, relayed.
    pub what: &'static str,
    /// Who asked.
    pub source: Endpoint,
    /// Who was asked.
    pub destination: Endpoint,
    /// URL or name.
    pub url: Box<str>,
    /// The event of another sensor that it is: that has an id of its own.
    pub origin: Option<Arc<Origin>>,
}

/// One alert, ready to be written.
#[derive(Clone, Debug)]
pub struct Alert {
    /// Which rule.
    pub rule: Rule,
    /// Severity after context.
    pub severity: Severity,
    /// 0 to 100.
    pub risk_score: u8,
    /// `event.id`, stable across replays of the same packets.
    pub id: EventId,
    /// When it was raised: packet time of what completed it.
    pub time: Timestamp,
    /// What it is about.
    pub subject: Arc<Subject>,
    /// The metadata leg written to `imds.*`, where it is not the subject's own (SSRF).
    pub leg: Option<Arc<Subject>>,
    /// Signals after context.
    pub signals: Signals,
    /// Outcome.
    pub outcome: Outcome,
    /// One sentence a person can act on.
    pub message: Sentence,
    /// Joined events.
    pub chain: Vec<ChainLink>,
    /// What a summary of repeats stands for.
    pub repeats: Option<Box<Merged>>,
}

/// Repeats of one alert within a window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merged {
    /// How many.
    pub count: u64,
    /// The first of them; of the first window, the alert that they follow.
    pub from: Timestamp,
    /// The last of them.
    pub last: Timestamp,
    /// Public ids of the credentials issued, as many as are listed.
    pub ids: Vec<String>,
    /// How many ids more there are.
    pub more_ids: u64,
}
