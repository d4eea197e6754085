//! What alerts are about: compact copies of transactions, their place in a chain, and stable ids.

use std::hash::Hasher;
use std::sync::Arc;

use siphasher::sip128::{Hasher128, SipHasher13};

use crate::alert::{ChainLink, DnsSubject, HttpSubject, Outcome, Rule, Subject};
use crate::conn::{Conn, Endpoint};
use crate::detect::{Connection, DnsVerdict, Imds, Signal, Signals, Tokens};
use crate::id::EventId;
use crate::memo::Memo;
use crate::packet::Timestamp;
use crate::proto::dns::names;
use crate::proto::{dns, http};

/// Longest text that is copied from a message, in bytes.
const TEXT: usize = 2048;

/// `event.id` of an alert: the same packets give the same id. `nth` tells apart alerts of one rule about one event.
pub fn alert_id(rule: Rule, event: EventId, nth: u64) -> EventId {
    let mut hasher = SipHasher13::new(); // ids need to be stable, not secret
    hasher.write(rule.id().as_bytes());
    hasher.write_u8(0);
    hasher.write(&event.text());
    hasher.write(&nth.to_le_bytes());
    EventId(hasher.finish128().as_u128())
}

/// Hash of what the closure writes, for keys of tables.
pub fn key(fill: impl FnOnce(&mut SipHasher13)) -> u128 {
    let mut hasher = SipHasher13::new();
    fill(&mut hasher);
    hasher.finish128().as_u128()
}

/// HTTP parts, and metadata parts, that are remembered.
const SHARED: usize = 1024;

/// Makes subjects of HTTP exchanges, of which many say the same.
#[derive(Debug, Default)]
pub struct Subjects {
    http: Memo<Arc<HttpSubject>, SHARED>,
    imds: Memo<Arc<Imds>, SHARED>,
}

impl Subjects {
    /// A copy of an exchange; `signals` are added to those of the verdict.
    pub fn of_http(
        &mut self,
        tx: &http::Transaction,
        imds: Option<&Arc<Imds>>,
        signals: Signals,
        event_id: EventId,
    ) -> Arc<Subject> {
        let http = self.http(tx);
        self.with_http(tx, http, imds, signals, event_id)
    }

    /// The same, where its HTTP part is made already.
    pub fn with_http(
        &mut self,
        tx: &http::Transaction,
        http: Arc<HttpSubject>,
        imds: Option<&Arc<Imds>>,
        signals: Signals,
        event_id: EventId,
    ) -> Arc<Subject> {
        let start = tx.request.as_ref().or(tx.response.as_ref()).map_or(Timestamp(0), |message| message.first);
        Arc::new(Subject {
            conn: tx.conn.clone(),
            start,
            end: tx.response.as_ref().map(|response| response.last),
            event_id,
            imds: imds.map(|imds| self.imds(imds, &http)),
            http: Some(http),
            dns: None,
            command: None,
            signals: imds.map(|imds| imds.signals.union(signals)).unwrap_or_default(),
            service: None,
        })
    }

    /// The HTTP part of an exchange's copy.
    pub fn http(&mut self, tx: &http::Transaction) -> Arc<HttpSubject> {
        let head = tx.request.as_ref().map(|request| &request.head);
        let method = head.map(|head| cut(head.method())).unwrap_or_default();
        let target = head.map(|head| cut(head.target())).unwrap_or_default();
        let host = head.and_then(|head| head.field("host")).map(cut);
        let user_agent = head.and_then(|head| head.field("user-agent")).map(cut);
        let status = tx.response.as_ref().and_then(|response| response.head.status());
        let version = head.and_then(|head| head.version).map(|version| (version.major, version.minor));
        let is_same = |known: &HttpSubject| {
            known.target.as_bytes() == target
                && known.user_agent.as_deref().map(str::as_bytes) == user_agent
                && known.host.as_deref().map(str::as_bytes) == host
                && known.method.as_bytes() == method
                && (known.status, known.version) == (status, version)
        };
        self.http.share((target, user_agent, host, method, status, version), is_same, || HttpSubject {
            method: text(method),
            target: text(target),
            host: host.map(text),
            user_agent: user_agent.map(text),
            status,
            version,
        })
    }

    /// The same without session tokens, which are another's business and differ each time. Requests alike lead to answers
    /// alike, but for a credential that was issued.
    fn imds(&mut self, imds: &Arc<Imds>, http: &Arc<HttpSubject>) -> Arc<Imds> {
        if imds.credential.as_ref().is_some_and(|credential| credential.issued) {
            return imds.clone();
        }
        let is_same = |known: &Imds| {
            let Imds {
                provider,
                service,
                path,
                path_id,
                sensitivity,
                version,
                credential,
                headers,
                client,
                signals,
                recognised_by,
                session_token: _,
                issued_token: _,
            } = known;
            (path, headers, signals) == (&imds.path, &imds.headers, &imds.signals)
                && (provider, service, path_id) == (&imds.provider, &imds.service, &imds.path_id)
                && (sensitivity, version, recognised_by, client)
                    == (&imds.sensitivity, &imds.version, &imds.recognised_by, &imds.client)
                && *credential == imds.credential
        };
        self.imds.share((Arc::as_ptr(http), imds.signals), is_same, || Imds {
            session_token: None,
            issued_token: None,
            ..Imds::clone(imds)
        })
    }
}

/// A copy of a DNS transaction.
pub fn of_dns(tx: &dns::Transaction, verdict: &DnsVerdict, event_id: EventId) -> Arc<Subject> {
    let messages = || tx.query.iter().chain(tx.response.iter());
    let question = messages().find_map(|message| message.questions.get(tx.question));
    let metadata = verdict.metadata_answers.iter().map(|(address, ..)| *address);
    let answer = verdict.metadata_answers.first().map(|(_, provider, service)| (*provider, *service));
    Arc::new(Subject {
        conn: tx.conn.clone(),
        start: messages().next().map_or(Timestamp(0), |message| message.time),
        end: tx.response.as_ref().map(|response| response.time),
        event_id,
        http: None,
        dns: Some(Box::new(DnsSubject {
            name: verdict.name.clone(),
            qtype: question.map(|question| names::rtype(question.qtype).into_owned()).unwrap_or_default(),
            resolved: metadata.chain(verdict.other_answers.iter().copied()).collect(),
            response_code: tx.response.as_ref().map(|response| names::rcode(response.flags & 15).into_owned()),
        })),
        command: None,
        imds: None,
        signals: Signals::default(),
        service: verdict.metadata_name.or(answer),
    })
}

/// A copy of a connection without a readable request.
pub fn of_connection(connection: &Connection, event_id: EventId) -> Arc<Subject> {
    Arc::new(Subject {
        conn: connection.conn.clone(),
        start: connection.first,
        end: Some(connection.last),
        event_id,
        http: None,
        dns: None,
        command: None,
        imds: None,
        signals: Signals::default(),
        service: Some((connection.provider, connection.service)),
    })
}

/// A copy of a conversation in which tokens were seen.
pub fn of_tokens(tokens: &Tokens, event_id: EventId) -> Arc<Subject> {
    Arc::new(Subject {
        conn: tokens.conn.clone(),
        start: tokens.time,
        end: None,
        event_id,
        http: None,
        dns: None,
        command: None,
        imds: None,
        signals: Signals::default(),
        service: None,
    })
}

impl HttpSubject {
    /// URL that `server` was asked for.
    pub fn url(&self, server: &Endpoint) -> String {
        url(&self.target, self.host.as_deref(), server)
    }
}

impl Subject {
    /// `ip:port` of the client.
    pub fn source(&self) -> String {
        end(&self.conn.client)
    }

    /// `ip:port` of the server.
    pub fn destination(&self) -> String {
        end(&self.conn.server)
    }

    /// URL or name that was asked for; empty where there is none.
    pub fn url(&self) -> String {
        match (&self.http, &self.dns) {
            (Some(http), _) => http.url(&self.conn.server),
            (None, Some(dns)) => dns.name.clone(),
            (None, None) => String::new(),
        }
    }

    /// Its place in a chain.
    pub fn link(&self, what: &'static str, time: Timestamp) -> ChainLink {
        ChainLink {
            id: self.event_id,
            time,
            what,
            source: self.conn.client,
            destination: self.conn.server,
            url: self.url().into(),
            origin: self.conn.told_by.clone(),
        }
    }

    /// When it was over, as far as is known.
    pub fn over(&self) -> Timestamp {
        self.end.unwrap_or(self.start)
    }

    /// Outcome of the exchange by its answer.
    pub fn outcome(&self) -> Outcome {
        let signals = self.signals;
        match self.http.as_ref().and_then(|http| http.status) {
            _ if signals.has(Signal::Refused) || signals.has(Signal::NotFound) => Outcome::Failure,
            Some(status) if status >= 400 => Outcome::Failure,
            Some(_) => Outcome::Success,
            None => Outcome::Unknown,
        }
    }
}

/// The place of an HTTP exchange in a chain.
pub fn link_of_http(tx: &http::Transaction, what: &'static str, time: Timestamp, event_id: EventId) -> ChainLink {
    let head = tx.request.as_ref().map(|request| &request.head);
    let shown = |bytes| String::from_utf8_lossy(cut(bytes));
    let target = head.map(|head| shown(head.target())).unwrap_or_default();
    let host = head.and_then(|head| head.field("host")).map(shown);
    ChainLink {
        id: event_id,
        time,
        what,
        source: tx.conn.client,
        destination: tx.conn.server,
        url: url(&target, host.as_deref(), &tx.conn.server).into(),
        origin: tx.conn.told_by.clone(),
    }
}

/// URL of a request.
fn url(target: &str, host: Option<&str>, server: &Endpoint) -> String {
    match host {
        _ if target.contains("://") => target.to_owned(),
        Some(host) => ["http://", host, target].concat(),
        None => ["http://", &end(server), target].concat(),
    }
}

/// The client's address, or where another sensor did not tell it the host's name.
pub fn client(conn: &Conn) -> String {
    let host = conn.told_by.as_ref().and_then(|origin| origin.host_name.as_deref());
    match host.filter(|_| conn.client.ip.is_unspecified()) {
        Some(host) => host.chars().filter(|c| !c.is_control()).take(200).collect(),
        None if conn.client.ip.is_unspecified() && conn.told_by.is_some() => "a host".to_owned(),
        None => conn.client.ip.to_string(),
    }
}

/// `ip:port` or `[ip]:port`.
pub fn end(endpoint: &Endpoint) -> String {
    std::net::SocketAddr::new(endpoint.ip, endpoint.port).to_string()
}

/// Whether two conversations have the same ends.
pub fn same_ends(a: &Conn, b: &Conn) -> bool {
    a.client == b.client && a.server == b.server
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// As much as is copied of a text.
fn cut(bytes: &[u8]) -> &[u8] {
    bytes.get(..TEXT).unwrap_or(bytes)
}
