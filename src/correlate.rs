//! What observations mean together: observations in packet order go in, alerts come out (contract section 4).
//!
//! One instance per run, in the publisher, because the legs of a theft are different connections and so different
//! workers. State is bounded by [`Config::limit`] and by age; packet time is the only time. The same observations in the
//! same order give the same alerts.

mod allow;
mod client;
mod issue;
mod message;
mod repeats;
mod subject;
mod table;

use std::hash::Hasher;
use std::sync::Arc;

pub use allow::{AllowEntry, Date, Network, matches_glob};

use crate::alert::{Alert, Outcome, Rule, Severity, Subject};
use crate::catalogue::Catalogue;
use crate::detect::{Connection, DnsVerdict, Imds, Sensitivity, Signal, Signals, TokenHash, Verdict};
use crate::observe::{Conn, Observation, What};
use crate::packet::Timestamp;
use crate::proto::{dns, http};

use allow::Question;
use client::{Clients, Habit, Request};
use issue::{Issuances, LegSeen};
use repeats::{Key, Repeats};
use subject::{alert_id, key};
use table::Table;

/// Settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// Window for repeats and for what follows an inbound request, in nanoseconds of packet time.
    pub window: i64,
    /// Who may use metadata services; the first entry that matches gives its name.
    pub allow: Vec<AllowEntry>,
    /// Most entries of each table.
    pub limit: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { window: 60 * Timestamp::SECOND, allow: AllowEntry::defaults(), limit: 65_536 }
    }
}

/// What the correlator knows of an observation beyond the matcher's verdict.
#[derive(Clone, Debug, Default)]
pub struct Remarks {
    /// Signals to write with those of the verdict.
    pub signals: Signals,
    /// Allow-list entry that kept an alert back.
    pub allowed_by: Option<Arc<str>>,
}

/// How often bounds were met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Clients, session tokens and issued secrets that made room for others.
    pub evicted: u64,
    /// Repeat windows that ended early.
    pub windows_cut: u64,
    /// Alerts kept back by the allow list.
    pub allowed: u64,
    /// Alerts counted as repeats.
    pub repeats: u64,
}

/// Joins observations over time.
#[derive(Debug)]
pub struct Correlator {
    config: Config,
    catalogue: Arc<Catalogue>,
    /// Latest packet time.
    now: Timestamp,
    clients: Clients,
    issuances: Issuances,
    repeats: Repeats,
    /// Keyed hashes of secrets that were issued.
    issued: Table<TokenHash, Arc<Subject>>,
    /// Clients and servers with a readable request between them.
    readable: Table<(std::net::IpAddr, std::net::IpAddr), ()>,
    counters: Counters,
}

impl Correlator {
    /// A correlator that has seen nothing.
    pub fn new(config: Config, catalogue: Arc<Catalogue>) -> Self {
        Self {
            now: Timestamp(i64::MIN),
            clients: Clients::new(config.limit, config.window),
            issuances: Issuances::default(),
            repeats: Repeats::new(config.window, config.limit),
            issued: Table::new(config.limit),
            readable: Table::new(config.limit),
            counters: Counters::default(),
            catalogue,
            config,
        }
    }

    /// Takes one observation, in packet order. `event_id` is the `event.id` of its own event. What it raises, and what
    /// waited for it, is appended to `alerts`.
    pub fn observe(&mut self, obs: &Observation, event_id: &str, alerts: &mut Vec<Alert>) -> Remarks {
        self.tick(obs.time, alerts);
        match &obs.what {
            What::Http(exchange) => self.http(&exchange.0, &exchange.1, event_id, alerts),
            What::Dns(exchange) => self.dns(&exchange.0, &exchange.1, event_id, alerts),
            What::Connection(connection) => self.connection(connection, event_id, alerts),
            What::Tokens(_) | What::Icmp(_) | What::Flow(_) => Remarks::default(),
        }
    }

    /// Moves packet time on.
    pub fn tick(&mut self, now: Timestamp, alerts: &mut Vec<Alert>) {
        if now <= self.now {
            return;
        }
        self.now = now;
        self.issuances.expire(now, alerts);
        self.repeats.expire(now, alerts);
    }

    /// Replaces the allow list.
    pub fn set_allow(&mut self, allow: Vec<AllowEntry>) {
        self.config.allow = allow;
    }

    /// The end of the run: what waits is decided with what is known.
    pub fn finish(&mut self, alerts: &mut Vec<Alert>) {
        self.issuances.finish(alerts);
        self.repeats.finish(alerts);
    }

    /// Whether a credential with this secret was issued on the wire.
    pub fn is_issued(&self, token: TokenHash) -> bool {
        self.issued.peek(&token).is_some()
    }

    /// Whether any credential was issued: while not, nothing needs to be masked.
    pub fn has_issued(&self) -> bool {
        !self.issued.is_empty()
    }

    /// Counters so far.
    pub fn counters(&self) -> Counters {
        Counters {
            evicted: self.clients.evicted() + self.issued.evicted + self.readable.evicted,
            windows_cut: self.repeats.evicted,
            ..self.counters
        }
    }

    fn http(&mut self, tx: &http::Transaction, verdict: &Verdict, event_id: &str, alerts: &mut Vec<Alert>) -> Remarks {
        let mut remarks = Remarks::default();
        if let Some(imds) = &verdict.imds {
            remarks = self.metadata(tx, imds, event_id, alerts);
        }
        remarks
    }

    /// The request family, and walks of the tree.
    fn metadata(&mut self, tx: &http::Transaction, imds: &Imds, event_id: &str, alerts: &mut Vec<Alert>) -> Remarks {
        let request = tx.request.as_ref();
        let user_agent = request.and_then(|request| request.head.field("user-agent")).unwrap_or_default();
        let message = request.or(tx.response.as_ref());
        let (start, end) = span(tx);
        self.readable.entry((tx.conn.client.ip, tx.conn.server.ip), || ());
        let habit = match message {
            Some(_) if request.is_some() => {
                let asked = Request { tx, imds, user_agent, start };
                let link = || subject::of_http(tx, None, Signals::default(), event_id).link("request", start);
                self.clients.learn(asked, &self.catalogue, link)
            }
            _ => Habit::default(),
        };
        let mut signals = habit.signals;
        let leg = LegSeen::of(&tx.conn, imds, start, end);
        if leg.as_ref().is_some_and(|leg| self.issuances.is_other_leg(leg)) {
            signals.add(Signal::Proxied);
        }
        let all = imds.signals.union(signals);
        let agent = String::from_utf8_lossy(user_agent);
        let asked = Question {
            user_agent: (!agent.is_empty()).then_some(&*agent),
            ..self.question(&tx.conn, Some(&imds.path))
        };
        let contradicted = all.has(Signal::ForeignHost) || all.has(Signal::Forwarded);
        let allowed_by = if contradicted { None } else { self.allowed(&asked) };

        let subject = || subject::of_http(tx, Some(imds), signals, event_id);
        if let Some(credential) = imds.credential.as_ref().filter(|credential| credential.issued) {
            let subject = subject();
            for secret in &credential.secrets {
                self.issued.entry(*secret, || subject.clone());
            }
        }
        if allowed_by.is_some() {
            self.counters.allowed += 1;
            return Remarks { signals, allowed_by };
        }
        let rule = rule(imds);
        let severity = severity(rule, all, &habit);
        let make = |_: &mut Self| {
            let subject = subject();
            let message = message::request(rule, &subject, imds, all);
            alert(rule, severity, subject, all, end, message)
        };
        match leg {
            Some(leg) => {
                let alert = make(self);
                self.issuances.settle(leg, alert, self.now, alerts);
            }
            None if rule == Rule::ImdsCredentialIssued => alerts.push(make(self)),
            None => {
                let scope = imds.credential.as_ref().and_then(|credential| credential.scope.as_deref());
                let what = [imds.provider, imds.path_id.unwrap_or_default(), scope.unwrap_or_default()];
                let key = repeat_key(rule, severity, &tx.conn, all, &what);
                self.raise(key, end, alerts, make);
            }
        }
        if let Some(chain) = habit.walk {
            self.walk(tx, imds, all, (subject(), end, chain), alerts);
        }
        Remarks { signals, allowed_by: None }
    }

    /// `imds-enumeration`.
    fn walk(
        &mut self,
        tx: &http::Transaction,
        imds: &Imds,
        signals: Signals,
        (subject, end, chain): (Arc<Subject>, Timestamp, Vec<crate::alert::ChainLink>),
        alerts: &mut Vec<Alert>,
    ) {
        let rule = Rule::ImdsEnumeration;
        let impossible = signals.has(Signal::ImpossiblePath);
        let key = repeat_key(rule, rule.base_severity(), &tx.conn, Signals::default(), &[imds.provider]);
        self.raise(key, end, alerts, |_| {
            let message = message::enumeration(&subject, imds, chain.len(), impossible);
            Alert { chain, ..alert(rule, rule.base_severity(), subject, signals, end, message) }
        });
    }

    fn dns(&mut self, tx: &dns::Transaction, verdict: &DnsVerdict, event_id: &str, alerts: &mut Vec<Alert>) -> Remarks {
        let Some((provider, _)) = verdict.metadata_name else { return Remarks::default() };
        let allowed_by = self.allowed(&self.question(&tx.conn, None));
        if allowed_by.is_some() {
            self.counters.allowed += 1;
            return Remarks { allowed_by, ..Remarks::default() };
        }
        let rule = Rule::ImdsLookup;
        let key = repeat_key(rule, Severity::Low, &tx.conn, Signals::default(), &[&verdict.name]);
        self.raise(key, self.now, alerts, |correlator| {
            let subject = subject::of_dns(tx, verdict, event_id);
            let (client, name) = (subject.conn.client.ip, &verdict.name);
            let message = format!("{client} looked up {name}, a name of the {provider} metadata service");
            alert(rule, Severity::Low, subject, Signals::default(), correlator.now, message)
        });
        Remarks::default()
    }

    /// `imds-connection`: a connection without a readable request, unless the two have talked readably.
    fn connection(&mut self, connection: &Connection, event_id: &str, alerts: &mut Vec<Alert>) -> Remarks {
        let conn = &connection.conn;
        if self.readable.peek(&(conn.client.ip, conn.server.ip)).is_some() {
            return Remarks::default();
        }
        let allowed_by = self.allowed(&self.question(conn, None));
        if allowed_by.is_some() {
            self.counters.allowed += 1;
            return Remarks { allowed_by, ..Remarks::default() };
        }
        let rule = Rule::ImdsConnection;
        let why = format!("{:?}", connection.why);
        let key = repeat_key(rule, Severity::Low, conn, Signals::default(), &[&why]);
        self.raise(key, connection.last, alerts, |_| {
            let subject = subject::of_connection(connection, event_id);
            alert(rule, Severity::Low, subject, Signals::default(), connection.last, message::connection(connection))
        });
        Remarks::default()
    }

    /// Raises the alert that `make` makes, or counts it as a repeat.
    fn raise(&mut self, key: Key, time: Timestamp, alerts: &mut Vec<Alert>, make: impl FnOnce(&mut Self) -> Alert) {
        if self.repeats.is_repeat(key, time) {
            self.counters.repeats += 1;
            return;
        }
        let alert = make(self);
        self.repeats.open(key, &alert, self.now, alerts);
        alerts.push(alert);
    }

    fn question<'a>(&self, conn: &'a Conn, path: Option<&'a str>) -> Question<'a> {
        Question { now: self.now, client: conn.client.ip, process: conn.process.as_deref(), user_agent: None, path }
    }

    /// Name of the allow-list entry that matches.
    fn allowed(&self, asked: &Question<'_>) -> Option<Arc<str>> {
        self.config.allow.iter().find(|entry| entry.matches(asked)).map(|entry| entry.name.as_str().into())
    }
}

/// First byte of the exchange and the end of its answer, as far as seen.
fn span(tx: &http::Transaction) -> (Timestamp, Timestamp) {
    let (request, response) = (tx.request.as_ref(), tx.response.as_ref());
    let first = request.or(response).map_or_else(Timestamp::default, |message| message.first);
    (first, response.or(request).map_or(first, |message| message.last))
}

/// The row of the request family that an exchange belongs to.
fn rule(imds: &Imds) -> Rule {
    match imds.sensitivity {
        _ if imds.credential.as_ref().is_some_and(|credential| credential.issued) => Rule::ImdsCredentialIssued,
        Sensitivity::Credential => Rule::ImdsCredentialRequest,
        Sensitivity::Identity => Rule::ImdsIdentity,
        Sensitivity::UserData => Rule::ImdsUserData,
        Sensitivity::Token => Rule::ImdsToken,
        Sensitivity::Discovery => Rule::ImdsDiscovery,
    }
}

/// Severity in context (contract section 4).
fn severity(rule: Rule, signals: Signals, habit: &Habit) -> Severity {
    let base = rule.base_severity();
    let credential = matches!(rule, Rule::ImdsCredentialIssued | Rule::ImdsCredentialRequest);
    if signals.has(Signal::ForeignHost) || signals.has(Signal::Forwarded) {
        return base.max(Severity::Medium);
    }
    if signals.has(Signal::SdkPattern) {
        let lowered = base.lower();
        return if habit.sdk_before { lowered.lower() } else { lowered };
    }
    if habit.agent && !credential { Severity::Low } else { base }
}

/// An alert about one event, without chain.
fn alert(
    rule: Rule,
    severity: Severity,
    subject: Arc<Subject>,
    signals: Signals,
    time: Timestamp,
    message: String,
) -> Alert {
    let outcome = match (&subject.http, rule) {
        (Some(_), Rule::ImdsCredentialIssued) => Outcome::Success,
        (Some(_), _) => subject.outcome(),
        _ => Outcome::Unknown,
    };
    Alert {
        rule,
        severity,
        risk_score: message::risk(severity, signals),
        id: alert_id(rule, &subject.event_id, 0),
        time,
        subject,
        leg: None,
        signals,
        outcome,
        message,
        chain: Vec::new(),
        repeats: None,
    }
}

/// What makes two alerts repeats of one thing. `first-seen` does not tell a first from its repeats.
fn repeat_key(rule: Rule, severity: Severity, conn: &Conn, mut signals: Signals, what: &[&str]) -> Key {
    signals.remove(Signal::FirstSeen);
    key(|hasher| {
        use std::hash::Hash;
        (rule, severity, conn.client.ip, conn.server, signals).hash(hasher);
        for part in what {
            hasher.write(part.as_bytes());
            hasher.write_u8(0);
        }
    })
}

#[cfg(test)]
mod tests;
