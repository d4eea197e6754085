//! What alerts are about: compact copies of transactions, their place in a chain, and stable ids.

use std::hash::Hasher;
use std::sync::Arc;

use siphasher::sip128::{Hasher128, SipHasher13};

use crate::alert::{ChainLink, DnsSubject, HttpSubject, Outcome, Rule, Subject};
use crate::detect::{Connection, DnsVerdict, Imds, Signal, Signals, Tokens};
use crate::observe::{Conn, Endpoint};
use crate::packet::Timestamp;
use crate::proto::dns::names;
use crate::proto::{dns, http};

/// Longest text that is copied from a message, in bytes.
const TEXT: usize = 2048;

/// `event.id` of an alert: the same packets give the same id. `nth` tells apart alerts of one rule about one event.
pub fn alert_id(rule: Rule, event: &str, nth: u64) -> String {
    let mut hasher = SipHasher13::new(); // ids need to be stable, not secret
    hasher.write(rule.id().as_bytes());
    hasher.write_u8(0);
    hasher.write(event.as_bytes());
    hasher.write(&nth.to_le_bytes());
    format!("{:032x}", hasher.finish128().as_u128())
}

/// Hash of what the closure writes, for keys of tables.
pub fn key(fill: impl FnOnce(&mut SipHasher13)) -> u128 {
    let mut hasher = SipHasher13::new();
    fill(&mut hasher);
    hasher.finish128().as_u128()
}

/// A copy of an HTTP exchange; `signals` are added to those of the verdict.
pub fn of_http(tx: &http::Transaction, imds: Option<&Arc<Imds>>, signals: Signals, event_id: &str) -> Arc<Subject> {
    let request = tx.request.as_ref();
    let start = request.or(tx.response.as_ref()).map_or(Timestamp(0), |message| message.first);
    Arc::new(Subject {
        conn: tx.conn.clone(),
        start,
        end: tx.response.as_ref().map(|response| response.last),
        event_id: event_id.to_owned(),
        http: Some(HttpSubject {
            method: request.map(|r| text(r.head.method())).unwrap_or_default(),
            target: request.map(|r| text(r.head.target())).unwrap_or_default(),
            host: request.and_then(|r| r.head.field("host")).map(text),
            user_agent: request.and_then(|r| r.head.field("user-agent")).map(text),
            status: tx.response.as_ref().and_then(|response| response.head.status()),
            version: request.and_then(|r| r.head.version).map(|v| format!("{}.{}", v.major, v.minor)),
        }),
        dns: None,
        imds: imds.cloned(),
        signals: imds.map(|imds| imds.signals.union(signals)).unwrap_or_default(),
        service: None,
    })
}

/// A copy of a DNS transaction.
pub fn of_dns(tx: &dns::Transaction, verdict: &DnsVerdict, event_id: &str) -> Arc<Subject> {
    let messages = || tx.query.iter().chain(tx.response.iter());
    let question = messages().find_map(|message| message.questions.get(tx.question));
    let metadata = verdict.metadata_answers.iter().map(|(address, ..)| *address);
    let answer = verdict.metadata_answers.first().map(|(_, provider, service)| (*provider, *service));
    Arc::new(Subject {
        conn: tx.conn.clone(),
        start: messages().next().map_or(Timestamp(0), |message| message.time),
        end: tx.response.as_ref().map(|response| response.time),
        event_id: event_id.to_owned(),
        http: None,
        dns: Some(DnsSubject {
            name: verdict.name.clone(),
            qtype: question.map(|question| names::rtype(question.qtype).into_owned()).unwrap_or_default(),
            resolved: metadata.chain(verdict.other_answers.iter().copied()).collect(),
            response_code: tx.response.as_ref().map(|response| names::rcode(response.flags & 15).into_owned()),
        }),
        imds: None,
        signals: Signals::default(),
        service: verdict.metadata_name.or(answer),
    })
}

/// A copy of a connection without a readable request.
pub fn of_connection(connection: &Connection, event_id: &str) -> Arc<Subject> {
    Arc::new(Subject {
        conn: connection.conn.clone(),
        start: connection.first,
        end: Some(connection.last),
        event_id: event_id.to_owned(),
        http: None,
        dns: None,
        imds: None,
        signals: Signals::default(),
        service: Some((connection.provider, connection.service)),
    })
}

/// A copy of a conversation in which tokens were seen.
pub fn of_tokens(tokens: &Tokens, event_id: &str) -> Arc<Subject> {
    Arc::new(Subject {
        conn: tokens.conn.clone(),
        start: tokens.time,
        end: None,
        event_id: event_id.to_owned(),
        http: None,
        dns: None,
        imds: None,
        signals: Signals::default(),
        service: None,
    })
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
            (Some(http), _) => url(&http.target, http.host.as_deref(), &self.conn.server),
            (None, Some(dns)) => dns.name.clone(),
            (None, None) => String::new(),
        }
    }

    /// Its place in a chain.
    pub fn link(&self, what: &'static str, time: Timestamp) -> ChainLink {
        ChainLink {
            id: self.event_id.clone(),
            time,
            what,
            source: self.source(),
            destination: self.destination(),
            url: self.url(),
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
pub fn link_of_http(tx: &http::Transaction, what: &'static str, time: Timestamp, event_id: &str) -> ChainLink {
    let head = tx.request.as_ref().map(|request| &request.head);
    let target = head.map(|head| text(head.target())).unwrap_or_default();
    let host = head.and_then(|head| head.field("host")).map(text);
    ChainLink {
        id: event_id.to_owned(),
        time,
        what,
        source: end(&tx.conn.client),
        destination: end(&tx.conn.server),
        url: url(&target, host.as_deref(), &tx.conn.server),
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

/// `ip:port` or `[ip]:port`.
pub fn end(endpoint: &Endpoint) -> String {
    std::net::SocketAddr::new(endpoint.ip, endpoint.port).to_string()
}

/// Whether two conversations have the same ends.
pub fn same_ends(a: &Conn, b: &Conn) -> bool {
    a.client == b.client && a.server == b.server
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.get(..TEXT).unwrap_or(bytes)).into_owned()
}
