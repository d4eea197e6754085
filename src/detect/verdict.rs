//! What the matcher says of an observation. Nothing here holds a secret value: credentials are named by their public
//! identifier and by keyed hashes.

use std::net::IpAddr;
use std::sync::Arc;

use super::client::Client;
use super::recorded::Recorded;
use super::relay;
use super::secret::Secret;
use super::tokens::Seen;
use crate::catalogue::Catalogue;
pub use crate::catalogue::Sensitivity;
use crate::conn::{Bytes, Conn, Endpoint};
use crate::packet::Timestamp;
use crate::proto::http::Transaction;

macro_rules! signals {
    ($($(#[doc = $doc:literal])* $name:ident = $slug:literal),* $(,)?) => {
        /// Everything that can be noticed about an event (contract section 4).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Signal { $($(#[doc = $doc])* $name),* }

        impl Signal {
            /// All of them, sorted by their slugs.
            pub const ALL: &'static [Signal] = &[$(Signal::$name),*];

            /// As written to `imds.signals`.
            pub fn slug(self) -> &'static str {
                match self { $(Self::$name => $slug),* }
            }
        }
    };
}

signals! {
    // In the order of their slugs, in which they are written.
    /// Headers that only browsers and page renderers send.
    BrowserLike = "browser-like",
    /// User-Agent of an SDK or agent whose other habits do not fit.
    ClaimedIdentityMismatch = "claimed-identity-mismatch",
    /// The body of an answer has the markers of a credential, whatever was asked of whom.
    CredentialShaped = "credential-shaped",
    /// IP TTL shows a hop between client and sensor.
    ExtraHop = "extra-hop",
    /// First request of this kind by this client in this run.
    FirstSeen = "first-seen",
    /// Host names neither the address nor a metadata name.
    ForeignHost = "foreign-host",
    /// X-Forwarded-For, Forwarded, Via or the like.
    Forwarded = "forwarded",
    /// A path that no service has and only word lists ask for.
    ImpossiblePath = "impossible-path",
    /// A credential was issued.
    Issued = "issued",
    /// More issuances than this actor's habit, or one again long before it expires.
    MoreThanUsual = "more-than-usual",
    /// One host speaks several clouds' protocols.
    MultiCloud = "multi-cloud",
    /// No User-Agent.
    NoUserAgent = "no-user-agent",
    /// 404.
    NotFound = "not-found",
    /// Path spelt so that plain matching misses it.
    ObfuscatedPath = "obfuscated-path",
    /// A leg through a proxy, DNAT or emulator.
    Proxied = "proxied",
    /// The service refused (401, 403, 400, 429, 5xx, or an error in a 200).
    Refused = "refused",
    /// An issued credential was seen leaving.
    Relayed = "relayed",
    /// The answer does not look like the genuine service's.
    RogueResponder = "rogue-responder",
    /// Complete and consistent order of an SDK.
    SdkPattern = "sdk-pattern",
    /// User-Agent of a cloud SDK or agent.
    SdkUserAgent = "sdk-user-agent",
    /// The work that a message may cost was used up: the rest was read literally.
    SearchCut = "search-cut",
    /// Bytes of the exchange are missing.
    StreamGap = "stream-gap",
    /// Overlapping TCP segments differ.
    TcpOverlapConflict = "tcp-overlap-conflict",
    /// Session token used after its time.
    TokenExpired = "token-expired",
    /// Session token used by another client than it was issued to.
    TokenShared = "token-shared",
    /// The process is a general tool, or runs a program that was given as an argument.
    ToolProcess = "tool-process",
    /// User-Agent of a general tool or library.
    ToolUserAgent = "tool-user-agent",
    /// Packets cut by the snaplen.
    TruncatedCapture = "truncated-capture",
    /// Seen inside a tunnel.
    Tunnelled = "tunnelled",
    /// No answer seen.
    Unanswered = "unanswered",
    /// A bearer or session token used by another client than it was issued to.
    UsedElsewhere = "used-elsewhere",
    /// Request of the service's first version, without its session token or header.
    V1 = "v1",
    /// Version 1 by a client that used version 2 before.
    V1AfterV2 = "v1-after-v2",
}

/// A set of signals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Signals(u64);

impl Signals {
    /// Adds one.
    pub fn add(&mut self, signal: Signal) {
        self.0 |= 1 << signal as u8;
    }

    /// Takes one out.
    pub fn remove(&mut self, signal: Signal) {
        self.0 &= !(1 << signal as u8);
    }

    /// Whether it is in.
    pub fn has(self, signal: Signal) -> bool {
        self.0 & (1 << signal as u8) != 0
    }

    /// Both sets together.
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Slugs, sorted.
    pub fn slugs(self) -> Vec<&'static str> {
        self.sorted().collect()
    }

    /// The same, one after the other.
    pub fn sorted(self) -> impl Iterator<Item = &'static str> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let first = Signal::ALL.get(rest.trailing_zeros() as usize)?;
            rest &= !(1 << *first as u8);
            Some(first.slug())
        })
    }
}

/// Why an exchange counts as metadata traffic (contract section 3, rules 1 to 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecognisedBy {
    /// 1: the server end is an address of the catalogue.
    Address,
    /// 2: Host, absolute-form or CONNECT target is a metadata name or address.
    Name,
    /// 3: an entry with `any_address` and its header, or a credential path on a listed port of a `match = "path"` endpoint.
    Path,
    /// 4: the response proves that a credential was issued.
    Response,
}

/// Keyed hash of one credential-shaped token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenHash(pub u64);

/// What is known of a credential that was asked for or issued.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credential {
    /// The response proves that it was returned.
    pub issued: bool,
    /// Kind: `aws-access-key`, `oauth2-token`, `jwt`, `private-key`, `password`, …
    pub kind: Option<&'static str>,
    /// Non-secret identifier: access key id, client id, account e-mail.
    pub id: Option<String>,
    /// Role, resource, audience, scopes.
    pub scope: Option<String>,
    /// Expiry as RFC 3339, UTC.
    pub expires: Option<String>,
    /// Hex of a keyed hash of the secret value.
    pub fingerprint: Option<String>,
}

/// Metadata traffic: the `imds` object without what the correlator adds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imds {
    /// Catalogue provider, or `unknown`.
    pub provider: &'static str,
    /// Catalogue service.
    pub service: &'static str,
    /// Normalised path.
    pub path: String,
    /// Id of the catalogue entry.
    pub path_id: Option<&'static str>,
    /// What the path gives away.
    pub sensitivity: Sensitivity,
    /// `v1` or `v2`, where the service has both.
    pub version: Option<&'static str>,
    /// On credential paths, or when a body proves one.
    pub credential: Option<Credential>,
    /// Headers that tell metadata clients apart: lower-case name and value (token headers: value empty).
    pub headers: Recorded,
    /// Who asks, by the form of the request.
    pub client: Client,
    /// What was noticed.
    pub signals: Signals,
    /// By which rule it is metadata traffic.
    pub recognised_by: RecognisedBy,
    /// Keyed hash of the session token that the request carries, if any; never written.
    pub session_token: Option<TokenHash>,
    /// Keyed hash of the session token that the response issues, with its lifetime in seconds; never written.
    pub issued_token: Option<(TokenHash, u64)>,
}

/// Where in a request something stood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Query parameter.
    Query(String),
    /// The target's path.
    Path,
    /// Absolute-form target.
    AbsoluteForm,
    /// Host header.
    Host,
    /// Another header.
    Header(String),
    /// Form field.
    Form(String),
    /// JSON value, with its key.
    Json(String),
    /// Multipart field.
    Multipart(String),
    /// XML text, attribute, entity or DTD identifier.
    Xml,
    /// Elsewhere in the body.
    Body,
}

/// A host that a request names, canonical.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostRef {
    /// An address, disguises undone.
    Address(IpAddr),
    /// A name: lower case, no trailing dot.
    Name(String),
}

/// What a candidate is by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CandidateKind {
    /// Any whole URL: becomes an attempt when its host resolves to a metadata address in the capture, or leads there by redirect.
    Url,
    /// Names a metadata target without being a URL value (prose, command, bare host, excluded header): confirmed or nothing.
    Mention,
    /// Raises `ssrf-attempt` by itself.
    Attempt,
}

/// A target that a request to some server names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// What it is by itself.
    pub kind: CandidateKind,
    /// Where it stood.
    pub place: Place,
    /// The URL as decoded there, bounded in length (for `imds.chain` and messages).
    pub url: String,
    /// Canonical host.
    pub host: HostRef,
    /// Port, if the URL names one.
    pub port: Option<u16>,
    /// Normalised path as `imds.path`; `None` where the URL has no path or only `/`.
    pub path: Option<String>,
    /// The host was written in a disguise.
    pub disguised: bool,
    /// Host or path are those of a metadata service, whatever `kind` says.
    pub is_metadata: bool,
    /// It confirms only what is asked while the request that names it is open: a record of what happened, or put together
    /// from fields of their own.
    pub while_open: bool,
}

/// What the matcher says of an HTTP exchange.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Set when it is metadata traffic.
    pub imds: Option<Arc<Imds>>,
    /// Targets named in the request (only when the request goes to some other server).
    pub candidates: Vec<Candidate>,
    /// The request's own whole URL: canonical host and `path?query` as sent; for the redirect rule.
    pub own_url: Option<Box<(HostRef, String)>>,
    /// Where the response sends its client (3xx with Location, Refresh), or leads it by a page.
    pub redirects: Vec<Candidate>,
    /// The work that the search for targets may cost was used up; the rest was read literally.
    pub cut: bool,
    /// Secrets that the answer gives out: credentials, and the metadata service's own session tokens.
    pub issued: Vec<Secret>,
    /// A credential in the answer of a server that is no metadata service: another sensor may know where it was issued.
    pub shaped: Option<Box<Credential>>,
    /// What may be an issued credential.
    pub carried: Carried,
}

/// What may be an issued credential, in both messages of an exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Carried {
    /// Nobody has looked yet, because who judged the exchange cannot know whether a credential was issued before: who knows
    /// looks ([`Verdict::search`]).
    Unsearched,
    /// What was found.
    Found {
        /// In the request.
        request: Vec<Seen>,
        /// In the answer.
        response: Vec<Seen>,
    },
}

impl Default for Carried {
    fn default() -> Self {
        Self::Found { request: Vec::new(), response: Vec::new() }
    }
}

impl Carried {
    /// What was found in the request and in the answer.
    pub fn found(&self) -> [&[Seen]; 2] {
        match self {
            Self::Unsearched => [&[], &[]],
            Self::Found { request, response } => [request, response],
        }
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.found().iter().all(|found| found.is_empty())
    }
}

/// What the matcher says of a DNS transaction.
#[derive(Clone, Debug, Default)]
pub struct DnsVerdict {
    /// The question is a metadata name: its provider and service.
    pub metadata_name: Option<(&'static str, &'static str)>,
    /// Metadata addresses among the answers (A, AAAA, mapped forms, end of CNAME chains): address, provider, service.
    pub metadata_answers: Vec<(IpAddr, &'static str, &'static str)>,
    /// Other addresses among the answers.
    pub other_answers: Vec<IpAddr>,
    /// Question name: lower case, labels joined by dots with dots inside labels escaped.
    pub name: String,
    /// What may be an issued credential in the question's labels.
    pub tokens: Vec<Seen>,
}

impl DnsVerdict {
    /// Whether it asks for a metadata name or was answered with a metadata address.
    pub fn is_about_metadata(&self) -> bool {
        self.metadata_name.is_some() || !self.metadata_answers.is_empty()
    }

    /// Whether the correlator can make anything of it.
    pub fn matters(&self) -> bool {
        self.is_about_metadata() || !self.other_answers.is_empty() || !self.tokens.is_empty()
    }
}

impl Verdict {
    /// Looks for tokens in the exchange that this is the verdict on.
    pub fn search(&mut self, tx: &Transaction, catalogue: &Catalogue) {
        self.carried = relay::tokens(catalogue, tx, self.imds.is_some(), relay::Searched::default());
    }

    /// Whether the answer proves that a credential was issued.
    pub fn issues_credential(&self) -> bool {
        self.imds.as_ref().is_some_and(|imds| imds.credential.as_ref().is_some_and(|credential| credential.issued))
    }

    /// Whether the correlator can make anything of it; what was not searched aside.
    pub fn matters(&self) -> bool {
        self.imds.is_some()
            || !self.candidates.is_empty()
            || !self.redirects.is_empty()
            || !self.carried.is_empty()
            || self.cut
    }
}

/// Why no request could be read on a connection to a metadata address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NoRequest {
    /// SYN without an established connection.
    SynOnly,
    /// Connection refused.
    Refused,
    /// TLS.
    Tls,
    /// Established, but nothing that is HTTP.
    NotHttp,
    /// Another sensor tells of the connection, not of what went over it.
    Reported,
}

/// A connection to a metadata address without a readable request.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Its ends.
    pub conn: Conn,
    /// Why.
    pub why: NoRequest,
    /// First packet.
    pub first: Timestamp,
    /// Last packet.
    pub last: Timestamp,
    /// Catalogue provider (`unknown` where several share the address).
    pub provider: &'static str,
    /// Catalogue service.
    pub service: &'static str,
}

/// A process was started whose command line names metadata.
#[derive(Clone, Debug)]
pub struct Command {
    /// No conversation: the process, the address of its host where that is known, and the sensor that tells of it.
    pub conn: Conn,
    /// When it was started.
    pub time: Timestamp,
    /// The command line, bounded in length.
    pub line: Arc<str>,
    /// The URL, address or path that it names, as written.
    pub named: Arc<str>,
    /// What that is.
    pub imds: Arc<Imds>,
    /// It names the address or name, and asks for nothing there.
    pub is_mention: bool,
    /// It could not be read whole, and all that is known is that the process connected to this metadata service.
    pub reached: Option<Endpoint>,
    /// It asks for the index of a tree that holds credentials, in a program that was given as an argument.
    pub is_walk: bool,
}

/// Credential-shaped tokens seen in cleartext outside HTTP and DNS.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// The conversation; `client` is the sender of the bytes.
    pub conn: Conn,
    /// When.
    pub time: Timestamp,
    /// What may be an issued credential.
    pub hashes: Vec<Seen>,
    /// Protocol by its first bytes, where known.
    pub hint: Option<Bytes>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_told_in_the_order_of_their_slugs() {
        assert!(Signal::ALL.iter().enumerate().all(|(place, signal)| *signal as usize == place));
        assert!(Signal::ALL.is_sorted_by_key(|signal| signal.slug()));
        let mut signals = Signals::default();
        assert!(signals.slugs().is_empty());
        Signal::ALL.iter().rev().for_each(|signal| signals.add(*signal));
        assert_eq!(signals.slugs(), Signal::ALL.iter().map(|signal| signal.slug()).collect::<Vec<_>>());
    }
}
