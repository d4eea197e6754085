//! What events of one kind alone hold.

use super::{DnsSubject, Flow, Http, Icmp, RuleDoc, Stats, Text, Threat, Url, UserAgent};
use crate::event::dns::Dns;

/// What an event says besides its [`Envelope`](super::Envelope), by its kind.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one exists at a time, and not for long")]
pub enum Body<'a> {
    /// An HTTP exchange.
    Http(HttpEvent<'a>),
    /// A DNS transaction.
    Dns(DnsEvent<'a>),
    /// An ICMP transaction.
    Icmp(IcmpEvent<'a>),
    /// A flow, or what became of it since its last report.
    Flow(Flow<'a>),
    /// An alert.
    Alert(AlertEvent<'a>),
    /// A connection that another sensor reports: the envelope says it all.
    Connection,
    /// The start of a process: what its command line names.
    Process(Url<'a>),
    /// Counters of the program.
    Stats(Stats<'a>),
}

/// What the event of an HTTP exchange says.
#[derive(Debug, Default)]
pub struct HttpEvent<'a> {
    /// `OK` or `Error`.
    pub status: &'static str,
    /// Method.
    pub method: Option<Text<'a>>,
    /// Method and path.
    pub query: Option<Text<'a>>,
    /// User of HTTP Basic authentication.
    pub user_name: Option<Text<'a>>,
    /// URL of the request.
    pub url: Option<Url<'a>>,
    /// User-Agent of the request.
    pub user_agent: Option<UserAgent<'a>>,
    /// ECS `http`.
    pub http: Http<'a>,
    /// The request as sent, with `send_request`.
    pub request: Option<Text<'a>>,
    /// The response as sent, with `send_response`.
    pub response: Option<Text<'a>>,
}

/// What the event of a DNS transaction says.
#[derive(Debug, Default)]
pub struct DnsEvent<'a> {
    /// `OK` or `Error`.
    pub status: &'static str,
    /// Opcode.
    pub method: Option<Text<'a>>,
    /// The question in one line.
    pub query: Option<Text<'a>>,
    /// Name asked for.
    pub resource: Option<Text<'a>>,
    /// ECS `dns`, with what Packetbeat adds.
    pub dns: Option<Dns<'a>>,
    /// The query as text, with `send_request`.
    pub request: Option<Text<'a>>,
    /// The response as text, with `send_response`.
    pub response: Option<Text<'a>>,
}

/// What the event of an ICMP transaction says.
#[derive(Debug)]
pub struct IcmpEvent<'a> {
    /// `OK` or `Error`.
    pub status: &'static str,
    /// The destination address.
    pub path: Text<'a>,
    /// Packetbeat's `icmp`.
    pub icmp: Icmp<'a>,
}

/// What an alert says: its rule, and of its subject what identifies it.
#[derive(Debug)]
pub struct AlertEvent<'a> {
    /// One sentence: what happened, and what to do.
    pub message: Text<'a>,
    /// The rule.
    pub rule: RuleDoc,
    /// MITRE ATT&CK.
    pub threat: Threat,
    /// URL of the request, or what the command line names.
    pub url: Option<Url<'a>>,
    /// User-Agent of the request.
    pub user_agent: Option<UserAgent<'a>>,
    /// Method, version and status.
    pub http: Option<Http<'a>>,
    /// Question and answer.
    pub dns: Option<DnsSubject<'a>>,
}
