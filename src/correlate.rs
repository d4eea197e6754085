//! What observations mean together: observations in packet order go in, alerts come out (contract section 4).
//!
//! One instance per run, in the publisher, because the legs of a theft are different connections and so different
//! workers. State is bounded by [`Config::limit`] and by age; packet time is the only time. The same observations in the
//! same order give the same alerts.

mod allow;
mod client;
mod issue;
mod message;
mod pool;
mod raise;
mod rebind;
mod relay;
mod repeats;
mod sets;
mod ssrf;
mod subject;
mod table;

use std::hash::Hasher;
use std::sync::Arc;

pub use allow::AllowEntry;

use crate::alert::{Alert, Outcome, Rule, Severity, Subject};
use crate::catalogue::Catalogue;
use crate::conn::Conn;
use crate::detect::{Connection, DnsVerdict, Grams, Imds, Leg, Secret, Sensitivity, Signal, Signals, Verdict};
use crate::id::EventId;
use crate::observe::{Observation, What};
use crate::packet::Timestamp;
use crate::proto::{dns, http};

use allow::Question;
use client::{Clients, Habit, Request};
use issue::{Issuances, LegSeen};
use raise::{alert, confirmed, rebinding, relayed};
use rebind::{Lookup, Rebinds};
use relay::{Relays, Sighting};
use repeats::{Key, Repeats};
use ssrf::{Fetch, Finding, Inbound, Ssrf};
use subject::{Subjects, key};
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
    /// Clients, session tokens, issued secrets and names that made room for others.
    pub evicted: u64,
    /// Inbound requests, metadata requests and redirects forgotten before their time.
    pub forgotten: u64,
    /// Repeat windows that ended early.
    pub windows_cut: u64,
    /// Alerts kept back by the allow list.
    pub allowed: u64,
    /// Alerts counted as repeats.
    pub repeats: u64,
    /// Messages whose search for targets used up the work that it may cost.
    pub searches_cut: u64,
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
    relays: Relays,
    ssrf: Ssrf,
    rebinds: Rebinds,
    subjects: Subjects,
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
            relays: Relays::new(config.limit),
            ssrf: Ssrf::new(config.window, config.limit),
            rebinds: Rebinds::new(config.limit, config.window),
            subjects: Subjects::default(),
            readable: Table::new(config.limit),
            counters: Counters::default(),
            catalogue,
            config,
        }
    }

    /// Takes one observation, in packet order. `event_id` is the `event.id` of its own event. What it raises, and what
    /// waited for it, is appended to `alerts`.
    pub fn observe(&mut self, obs: &Observation, event_id: EventId, alerts: &mut Vec<Arc<Alert>>) -> Remarks {
        self.advance(obs.time, alerts);
        match &obs.what {
            What::Http(exchange) => self.http(&exchange.0, &exchange.1, event_id, alerts),
            What::Dns(exchange) => self.dns(&exchange.0, &exchange.1, event_id, alerts),
            What::Connection(connection) => self.connection(connection, event_id, alerts),
            What::Tokens(tokens) => {
                self.carried_in_text(tokens, event_id, alerts);
                Remarks::default()
            }
            What::Icmp(_) | What::Flow(_) => Remarks::default(),
        }
    }

    /// Moves packet time on, or back where input begins that is older than what was read so far: then what waits is
    /// decided with what is known.
    pub fn tick(&mut self, now: Timestamp, alerts: &mut Vec<Arc<Alert>>) {
        if now < self.now {
            self.finish(alerts);
            self.now = now;
        }
        self.advance(now, alerts);
    }

    /// Decides what waited until `now`.
    fn advance(&mut self, now: Timestamp, alerts: &mut Vec<Arc<Alert>>) {
        if now <= self.now && !self.ssrf.is_crowded() {
            return;
        }
        let now = now.max(self.now);
        self.now = now;
        self.issuances.expire(now, alerts);
        let (mut findings, mut lookups, mut sightings) = Default::default();
        self.relays.expire(now, &mut sightings);
        self.rebinds.expire(now, &mut lookups);
        let Self { ssrf, rebinds, .. } = self;
        ssrf.expire(now, &|name| rebinds.resolved(name), &mut findings);
        self.tell(findings, lookups, sightings, alerts);
        self.repeats.expire(now, alerts);
    }

    /// Replaces the allow list.
    pub fn set_allow(&mut self, allow: Vec<AllowEntry>) {
        self.config.allow = allow;
    }

    /// The end of input: what waits is decided with what is known.
    pub fn finish(&mut self, alerts: &mut Vec<Arc<Alert>>) {
        self.issuances.finish(alerts);
        let (mut findings, mut lookups, mut sightings) = Default::default();
        self.relays.finish(&mut sightings);
        self.rebinds.finish(&mut lookups);
        let Self { ssrf, rebinds, .. } = self;
        ssrf.finish(&|name| rebinds.resolved(name), &mut findings);
        self.tell(findings, lookups, sightings, alerts);
        self.repeats.finish(alerts);
    }

    /// What finds the secrets that were issued in texts.
    pub fn issued(&self) -> &Grams {
        self.relays.grams()
    }

    /// Whether any credential or session token was issued: while not, nothing needs to be masked.
    pub fn has_issued(&self) -> bool {
        !self.relays.is_empty()
    }

    /// Counters so far.
    pub fn counters(&self) -> Counters {
        let tables = [self.clients.evicted(), self.relays.evicted(), self.rebinds.evicted(), self.readable.evicted];
        Counters {
            evicted: tables.iter().sum(),
            forgotten: self.ssrf.evicted,
            windows_cut: self.repeats.evicted,
            ..self.counters
        }
    }

    fn http(
        &mut self,
        tx: &http::Transaction,
        verdict: &Verdict,
        event_id: EventId,
        alerts: &mut Vec<Arc<Alert>>,
    ) -> Remarks {
        let (first, end) = span(tx);
        let mut remarks = Remarks::default();
        if let Some(imds) = &verdict.imds {
            remarks = self.metadata(tx, (imds, &verdict.issued), event_id, alerts);
        }
        let imds = verdict.imds.as_ref();
        let carried = self.carried(tx, verdict, event_id, alerts);
        remarks.signals = remarks.signals.union(carried);
        if let Some(own_url) = verdict.own_url.as_ref().filter(|_| !verdict.redirects.is_empty()) {
            let link = subject::link_of_http(tx, "redirect", end, event_id);
            for to in &verdict.redirects {
                self.ssrf.redirect(own_url, first, to.clone(), link.clone());
            }
        }
        if verdict.cut {
            self.counters.searches_cut += 1;
            remarks.signals.add(Signal::SearchCut);
        }
        if !verdict.candidates.is_empty() {
            let inbound = Inbound {
                subject: self.subjects.of_http(tx, imds, remarks.signals, event_id),
                first,
                end: if tx.response.is_some() { end } else { self.now },
                candidates: verdict.candidates.clone(),
                own_url: verdict.own_url.as_deref().cloned(),
                relayed: carried.has(Signal::Relayed),
                cut: verdict.cut,
            };
            self.ssrf.inbound(inbound, self.now);
        }
        remarks
    }

    /// A metadata request: it may be what an inbound request or a lookup led to.
    fn fetch(
        &mut self,
        tx: &http::Transaction,
        imds: &Imds,
        signals: Signals,
        subject: Arc<Subject>,
        alerts: &mut Vec<Arc<Alert>>,
    ) {
        let issued = imds.credential.as_ref().is_some_and(|credential| credential.issued);
        if tx.request.is_none() || !(imds.leg == Leg::Address || issued) {
            return;
        }
        let mut lookups = Vec::new();
        self.rebinds.fetch(&subject, &mut lookups);
        self.tell(Vec::new(), lookups, Vec::new(), alerts);
        let (first, _) = span(tx);
        let fetch = Fetch { subject, first, sdk: is_sdk_like(signals) };
        self.ssrf.leg(fetch, self.now);
    }

    /// The request family, and walks of the tree.
    fn metadata(
        &mut self,
        tx: &http::Transaction,
        (imds, issued): (&Arc<Imds>, &[Secret]),
        event_id: EventId,
        alerts: &mut Vec<Arc<Alert>>,
    ) -> Remarks {
        let request = tx.request.as_ref();
        let user_agent = request.and_then(|request| request.head.field("user-agent")).unwrap_or_default();
        let (start, end) = span(tx);
        self.readable.entry((tx.conn.client.ip, tx.conn.server.ip), || ());
        let http = self.subjects.http(tx);
        let habit = match request {
            Some(_) => {
                let asked = Request { tx, imds, user_agent, start, http: &http, event_id };
                self.clients.learn(asked, &self.catalogue)
            }
            None => Habit::default(),
        };
        let mut signals = habit.signals;
        let leg = self.issuances.leg(&tx.conn, imds, (start, end));
        if leg.as_ref().is_some_and(|leg| leg.is_other) {
            signals.add(Signal::Proxied);
        }
        let all = imds.signals.union(signals);
        let asked = Question {
            user_agent: Some(user_agent).filter(|agent| !agent.is_empty()),
            ..self.question(&tx.conn, Some(&imds.path))
        };
        let contradicted = all.has(Signal::ForeignHost) || all.has(Signal::Forwarded);
        let allowed_by = if contradicted { None } else { self.allowed(&asked) };

        let subject = self.subjects.with_http(tx, http, Some(imds), signals, event_id);
        self.relays.issue(issued, &subject);
        match allowed_by {
            Some(_) => self.counters.allowed += 1,
            None => self.request((tx, imds, all), leg, habit, &subject, alerts),
        }
        self.fetch(tx, imds, all, subject, alerts);
        Remarks { signals, allowed_by }
    }

    /// The alert of the request family, and that of a walk which it completes.
    fn request(
        &mut self,
        (tx, imds, signals): (&http::Transaction, &Imds, Signals),
        leg: Option<LegSeen>,
        habit: Habit,
        subject: &Arc<Subject>,
        alerts: &mut Vec<Arc<Alert>>,
    ) {
        let (_, end) = span(tx);
        let rule = rule(imds);
        let severity = severity(rule, signals, &habit);
        let make = |_: &mut Self| {
            let message = message::request(rule, subject, imds, signals);
            alert(rule, severity, subject.clone(), signals, end, message)
        };
        match leg {
            Some(leg) => {
                let alert = make(self);
                self.issuances.settle(leg, alert, self.now, alerts);
            }
            None if rule == Rule::ImdsCredentialIssued => alerts.push(Arc::new(make(self))),
            None => {
                let scope = imds.credential.as_ref().and_then(|credential| credential.scope.as_deref());
                let what = [imds.provider, imds.path_id.unwrap_or_default(), scope.unwrap_or_default()];
                let key = repeat_key(rule, severity, &tx.conn, signals, &what);
                self.raise(key, end, alerts, make);
            }
        }
        if let Some(chain) = habit.walk {
            self.walk(tx, imds, signals, (subject.clone(), end, chain), alerts);
        }
    }

    /// `imds-enumeration`.
    fn walk(
        &mut self,
        tx: &http::Transaction,
        imds: &Imds,
        signals: Signals,
        (subject, end, chain): (Arc<Subject>, Timestamp, Vec<crate::alert::ChainLink>),
        alerts: &mut Vec<Arc<Alert>>,
    ) {
        let rule = Rule::ImdsEnumeration;
        let impossible = signals.has(Signal::ImpossiblePath);
        let key = repeat_key(rule, rule.base_severity(), &tx.conn, Signals::default(), &[imds.provider]);
        self.raise(key, end, alerts, |_| {
            let message = message::enumeration(&subject, imds, chain.len(), impossible);
            Alert { chain, ..alert(rule, rule.base_severity(), subject, signals, end, message) }
        });
    }

    fn dns(
        &mut self,
        tx: &dns::Transaction,
        verdict: &DnsVerdict,
        event_id: EventId,
        alerts: &mut Vec<Arc<Alert>>,
    ) -> Remarks {
        let mut remarks = Remarks::default();
        if self.carried_in_name(tx, verdict, event_id, alerts) {
            remarks.signals.add(Signal::Relayed);
        }
        match verdict.metadata_name {
            Some((provider, _)) => remarks.allowed_by = self.lookup(tx, verdict, provider, event_id, alerts),
            None => self.resolution(tx, verdict, event_id, alerts),
        }
        remarks
    }

    /// `imds-lookup`; the allow-list entry that kept it back.
    fn lookup(
        &mut self,
        tx: &dns::Transaction,
        verdict: &DnsVerdict,
        provider: &str,
        event_id: EventId,
        alerts: &mut Vec<Arc<Alert>>,
    ) -> Option<Arc<str>> {
        let allowed_by = self.allowed(&self.question(&tx.conn, None));
        if allowed_by.is_some() {
            self.counters.allowed += 1;
            return allowed_by;
        }
        let rule = Rule::ImdsLookup;
        let key = repeat_key(rule, Severity::Low, &tx.conn, Signals::default(), &[&verdict.name]);
        self.raise(key, self.now, alerts, |correlator| {
            let subject = subject::of_dns(tx, verdict, event_id);
            let (client, name) = (subject.conn.client.ip, &verdict.name);
            let message = format!("{client} looked up {name}, a name of the {provider} metadata service");
            alert(rule, Severity::Low, subject, Signals::default(), correlator.now, message)
        });
        None
    }

    /// How a name that is no metadata name was resolved.
    fn resolution(
        &mut self,
        tx: &dns::Transaction,
        verdict: &DnsVerdict,
        event_id: EventId,
        alerts: &mut Vec<Arc<Alert>>,
    ) {
        if let Some((address, provider, _)) = verdict.metadata_answers.first() {
            let subject = subject::of_dns(tx, verdict, event_id);
            let span = dns_span(tx);
            let link = subject.link("dns", span.1);
            let (mut findings, mut lookups) = (Vec::new(), Vec::new());
            self.rebinds.metadata((subject, span), &verdict.name, (*address, provider), self.now, &mut lookups);
            self.ssrf.name_resolved(&verdict.name, &link, &mut findings);
            self.tell(findings, lookups, Vec::new(), alerts);
        } else if !verdict.other_answers.is_empty() {
            self.rebinds.elsewhere(&verdict.name, &tx.conn, dns_span(tx).1, event_id);
        }
    }

    /// Turns what was found out into alerts.
    fn tell(
        &mut self,
        findings: Vec<Finding>,
        lookups: Vec<Lookup>,
        sightings: Vec<Sighting>,
        alerts: &mut Vec<Arc<Alert>>,
    ) {
        for lookup in lookups {
            let has_other_use = self.catalogue.has_other_use(lookup.address.0);
            alerts.push(Arc::new(rebinding(&lookup, has_other_use)));
        }
        for finding in findings {
            match finding.fetches.is_empty() {
                true => self.attempt(&finding, alerts),
                false => alerts.extend(confirmed(&finding).map(Arc::new)),
            }
        }
        for sighting in sightings {
            alerts.extend(relayed(&sighting).map(Arc::new));
        }
    }

    /// `ssrf-attempt`.
    fn attempt(&mut self, finding: &Finding, alerts: &mut Vec<Arc<Alert>>) {
        let rule = Rule::SsrfAttempt;
        let subject = finding.inbound.clone();
        let http = subject.http.as_deref();
        let user_agent = http.and_then(|http| http.user_agent.as_deref()).map(str::as_bytes);
        let asked = Question { user_agent, ..self.question(&subject.conn, finding.candidate.path.as_deref()) };
        if self.allowed(&asked).is_some() {
            self.counters.allowed += 1;
            return;
        }
        let mut signals = Signals::default();
        match http.and_then(|http| http.status) {
            None => signals.add(Signal::Unanswered),
            Some(404) => signals.add(Signal::NotFound),
            Some(400..) => signals.add(Signal::Refused),
            Some(_) => {}
        }
        let host = format!("{:?}", finding.candidate.host);
        let path = finding.candidate.path.as_deref().unwrap_or("/");
        let key = repeat_key(rule, rule.base_severity(), &subject.conn, signals, &[&host, path]);
        let time = finding.end;
        self.raise(key, time, alerts, |_| {
            let mut chain = finding.between.clone();
            if !chain.is_empty() {
                chain.insert(0, subject.link("request", subject.start));
                chain.sort_by_key(|link| link.time);
            }
            let outcome = if signals == Signals::default() { Outcome::Unknown } else { subject.outcome() };
            let mut signals = signals;
            if finding.cut {
                signals.add(Signal::SearchCut);
            }
            let message = message::attempt(finding);
            Alert { chain, outcome, ..alert(rule, rule.base_severity(), subject, signals, time, message) }
        });
    }

    /// `imds-connection`: a connection without a readable request, unless the two have talked readably.
    fn connection(&mut self, connection: &Connection, event_id: EventId, alerts: &mut Vec<Arc<Alert>>) -> Remarks {
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
    fn raise(
        &mut self,
        key: Key,
        time: Timestamp,
        alerts: &mut Vec<Arc<Alert>>,
        make: impl FnOnce(&mut Self) -> Alert,
    ) {
        if self.repeats.is_repeat(key, time) {
            self.counters.repeats += 1;
            return;
        }
        let alert = Arc::new(make(self));
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

/// Whether a metadata request has the habits of an SDK, so that it does not count for an inbound request of before.
fn is_sdk_like(signals: Signals) -> bool {
    let against = [Signal::V1, Signal::ForeignHost, Signal::Forwarded, Signal::ToolUserAgent, Signal::BrowserLike];
    signals.has(Signal::SdkPattern)
        || signals.has(Signal::SdkUserAgent) && !against.iter().any(|signal| signals.has(*signal))
}

/// Question and answer of a DNS transaction, as far as seen.
fn dns_span(tx: &dns::Transaction) -> (Timestamp, Timestamp) {
    let (query, response) = (tx.query.as_ref(), tx.response.as_ref());
    let first = query.or(response).map_or_else(Timestamp::default, |message| message.time);
    (first, response.map_or(first, |response| response.time))
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
