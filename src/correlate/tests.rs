//! Hand-built sequences of observations.

mod rebinding;
mod ssrf;

use std::borrow::Borrow;
use std::net::IpAddr;

use super::*;
use crate::catalogue::ClientKind;
use crate::conn::{Endpoint, Order, Proto};
use crate::detect::{
    Carried, Client, Credential, DnsVerdict, Imds, Part, RecognisedBy, Recorded, Secret, Seen, Sensitivity, Shape,
    Spot, Standing, TokenHash, Tokens, Verdict,
};
use crate::proto::dns;
use crate::proto::http::message::{Body, Head, Message, Start, Version};

static CATALOGUE: std::sync::LazyLock<Arc<Catalogue>> =
    std::sync::LazyLock::new(|| Arc::new(Catalogue::builtin().unwrap()));

/// Milliseconds of packet time.
fn ms(at: i64) -> Timestamp {
    Timestamp(at * 1_000_000)
}

fn end(text: &str) -> Endpoint {
    let address: std::net::SocketAddr = text.parse().unwrap();
    Endpoint { ip: address.ip(), port: address.port() }
}

fn conn(client: &str, server: &str) -> Conn {
    Conn::between(end(client), end(server), Proto::Tcp)
}

fn message(first: i64, last: i64, lines: &[&str]) -> Message {
    let mut raw = Vec::new();
    let mut range = |text: &str| {
        let start = raw.len() as u32;
        raw.extend_from_slice(text.as_bytes());
        start..raw.len() as u32
    };
    let (start, fields) = lines.split_first().unwrap();
    let words: Vec<&str> = start.split(' ').collect();
    let start = match words[0].parse() {
        Ok(status) => Start::Response { status, phrase: range("OK") },
        Err(_) => Start::Request { method: range(words[0]), target: range(words[1]) },
    };
    let fields = fields.iter().map(|line| line.split_once(": ").unwrap()).map(|(n, v)| (range(n), range(v))).collect();
    let head = Head { start, version: Some(Version { major: 1, minor: 1 }), fields, complete: true, raw };
    let body = Body { len: 0, captured: Vec::new(), whole: true, later: None };
    Message {
        first: ms(first),
        last: ms(last),
        first_index: 0,
        head,
        body,
        bytes: 0,
        gap: false,
        cut: false,
        complete: true,
    }
}

/// One HTTP exchange under construction.
pub(super) struct Exchange {
    tx: http::Transaction,
    verdict: Verdict,
    end: i64,
}

/// `GET target` from `client` to `server`, `from..to` milliseconds, answered with `status` (0: not answered).
fn get(client: &str, server: &str, target: &str, (from, to): (i64, i64), status: u16) -> Exchange {
    let request = format!("GET {target}");
    let answer = status.to_string();
    let tx = http::Transaction {
        conn: conn(client, server),
        request: Some(message(from, from, &[&request, "Host: h", "User-Agent: test/1"])),
        response: (status > 0).then(|| message(to, to, &[&answer])),
        notes: Vec::new(),
        conflict: false,
        via: None,
        ordinal: 0,
        stream: None,
    };
    Exchange { tx, verdict: Verdict::default(), end: to }
}

const ROLE: &str = "/latest/meta-data/iam/security-credentials/demo";
/// What the only secret is seen by.
const SECRET: Seen = Seen::new(4 * 42, Spot::Open);

const KEY: &[u8] = b"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

fn secret() -> Secret {
    Secret { anchors: Arc::new([SECRET.anchor()]), ..Secret::new(KEY, Part::Key).unwrap() }
}

/// Whether a text holds a secret that was issued.
fn is_issued(run: &Run, text: &[u8]) -> bool {
    run.correlator.issued().starts::<false>(text).next().is_some()
}

impl Exchange {
    fn imds(mut self, sensitivity: Sensitivity, by: RecognisedBy) -> Self {
        let target = String::from_utf8_lossy(self.tx.request.as_ref().unwrap().head.target()).into_owned();
        self.verdict.imds = Some(Arc::new(Imds {
            provider: "aws",
            service: "imds",
            path: crate::detect::canonical::normalise_path(target.as_bytes()),
            path_id: Some("aws-role-creds"),
            sensitivity,
            version: Some("v1"),
            credential: None,
            headers: Recorded::default(),
            client: Client::default(),
            signals: Signals::default(),
            recognised_by: by,
            session_token: None,
            issued_token: None,
        }));
        self
    }

    /// The answer proves a credential with the secret [`SECRET`].
    fn issued(mut self, by: RecognisedBy) -> Self {
        self = self.imds(Sensitivity::Credential, by);
        self.imds_mut().credential = Some(Credential {
            issued: true,
            kind: Some("aws-role-keys"),
            id: Some("ASIAEXAMPLE".into()),
            scope: Some("demo".into()),
            fingerprint: Some("f00d".into()),
            ..Credential::default()
        });
        self.verdict.issued = vec![secret()];
        self
    }

    /// By a client that the catalogue knows.
    fn by(mut self, name: &str) -> Self {
        let known = CATALOGUE.clients().iter().find(|client| client.name() == name).copied().unwrap();
        let standing = if known.kind == ClientKind::Tool { Standing::Tool } else { Standing::Known };
        self.imds_mut().client = Client { shape: Some(Shape(1)), family: name.into(), known: Some(known), standing };
        self
    }

    fn imds_mut(&mut self) -> &mut Imds {
        Arc::make_mut(self.verdict.imds.as_mut().unwrap())
    }

    fn signals(mut self, signals: &[Signal]) -> Self {
        signals.iter().for_each(|signal| self.imds_mut().signals.add(*signal));
        self
    }

    fn v2(mut self, token: u64) -> Self {
        self.imds_mut().version = Some("v2");
        self.imds_mut().session_token = Some(TokenHash(token));
        self
    }
}

/// A run: observations in, alerts out.
struct Run {
    correlator: Correlator,
    alerts: Vec<Arc<Alert>>,
    next: u64,
}

impl Run {
    fn new() -> Self {
        Self { correlator: Correlator::new(Config::default(), CATALOGUE.clone()), alerts: Vec::new(), next: 0 }
    }

    fn see(&mut self, exchange: Exchange) -> CorrelationResult {
        self.observe(ms(exchange.end), What::Http(Box::new((exchange.tx, exchange.verdict))))
    }

    fn observe(&mut self, time: Timestamp, what: What) -> CorrelationResult {
        self.next += 1;
        let obs = Observation { order: Order { at: self.next, ..Order::default() }, time, what };
        self.correlator.observe(&obs, EventId(self.next.into()), &mut self.alerts)
    }

    fn alerts_so_far(&self) -> Vec<Alert> {
        self.alerts.iter().map(|alert| Alert::clone(alert)).collect()
    }

    fn finish(mut self) -> Vec<Alert> {
        self.correlator.finish(&mut self.alerts);
        self.alerts.into_iter().map(Arc::unwrap_or_clone).collect()
    }
}

fn rules(alerts: &[impl Borrow<Alert>]) -> Vec<(&'static str, Severity)> {
    alerts.iter().map(Borrow::borrow).map(|alert| (alert.rule.id(), alert.severity)).collect()
}

const HOST: &str = "10.0.0.1:4000";
const IMDS: &str = "169.254.169.254:80";

const ATTACKER: &str = "203.0.113.66:35604";
const FRONT: &str = "10.20.0.10:80";
const APP: &str = "10.20.0.10:45678";

/// A request that the matcher searches for targets.
fn inbound(client: &str, server: &str, target: &str, span: (i64, i64), status: u16) -> Exchange {
    let mut exchange = get(client, server, target, span, status);
    exchange.verdict = crate::detect::ssrf::judge(&exchange.tx, None, &CATALOGUE);
    exchange
}

fn fetch_url(url: &str) -> String {
    format!("/fetch?url={url}")
}

fn imds_url() -> String {
    fetch_url(&format!("http://169.254.169.254{ROLE}"))
}

impl Exchange {
    fn header(mut self, name: &str, value: &str, in_request: bool) -> Self {
        let message = if in_request { &mut self.tx.request } else { &mut self.tx.response }.as_mut().unwrap();
        let head = &mut message.head;
        let start = head.raw.len() as u32;
        head.raw.extend_from_slice(name.as_bytes());
        let middle = head.raw.len() as u32;
        head.raw.extend_from_slice(value.as_bytes());
        head.fields.insert(0, (start..middle, middle..head.raw.len() as u32));
        let imds = self.verdict.imds.take();
        self.verdict = crate::detect::ssrf::judge(&self.tx, imds.as_deref(), &CATALOGUE);
        self.verdict.imds = imds;
        self
    }

    fn carries(mut self, token: Seen, in_request: bool) -> Self {
        if let Carried::Found { request, response } = &mut self.verdict.carried {
            if in_request { request } else { response }.push(token);
        }
        self
    }
}

fn ssrf_alerts(alerts: &[Alert]) -> Vec<(&'static str, String, String)> {
    let ssrf = alerts.iter().filter(|alert| matches!(alert.rule, Rule::SsrfAttempt | Rule::SsrfConfirmed));
    ssrf.map(|alert| (alert.rule.id(), alert.subject.source(), alert.subject.destination())).collect()
}

fn expected(rule: &'static str) -> Vec<(&'static str, String, String)> {
    vec![(rule, ATTACKER.to_owned(), FRONT.to_owned())]
}

fn words(alert: &Alert) -> Vec<&'static str> {
    alert.chain.iter().map(|link| link.what).collect()
}

fn lookup(client: &str, name: &str, span: (i64, i64), addresses: &[&str]) -> What {
    let addresses = addresses.iter().map(|address| address.parse::<IpAddr>().unwrap());
    let (metadata, other): (Vec<_>, Vec<_>) = addresses.partition(|ip| CATALOGUE.is_metadata(*ip, 80));
    let message = |at| dns::Message { time: ms(at), ..Default::default() };
    let tx = dns::Transaction {
        conn: conn(client, "10.20.0.53:53"),
        query: Some(message(span.0).into()),
        response: Some(message(span.1).into()),
        notes: Vec::new(),
        question: 0,
    };
    let verdict = DnsVerdict {
        name: name.to_owned(),
        metadata_answers: metadata.into_iter().map(|ip| (ip, "aws", "imds")).collect(),
        other_answers: other,
        ..DnsVerdict::default()
    };
    What::Dns(Box::new((tx, verdict)))
}

#[test]
fn one_alert_per_transaction_by_the_strongest_row() {
    let mut run = Run::new();
    run.see(get(HOST, IMDS, "/latest/user-data", (0, 1), 200).imds(Sensitivity::UserData, RecognisedBy::Address));
    run.see(get(HOST, IMDS, ROLE, (2, 3), 200).issued(RecognisedBy::Address));
    run.see(get(HOST, IMDS, ROLE, (4, 5), 404).imds(Sensitivity::Credential, RecognisedBy::Address));
    assert!(is_issued(&run, KEY) && !is_issued(&run, b"another/secret/that+nobody/issued"));
    let alerts = run.finish();
    let expected = [
        ("imds-user-data", Severity::Medium),
        ("imds-credential-issued", Severity::Critical),
        ("imds-credential-request", Severity::High),
    ];
    assert_eq!(rules(&alerts), expected);
    assert!(alerts[1].message.contains("ASIAEXAMPLE") && alerts[1].outcome == Outcome::Success);
    assert_eq!(alerts[2].outcome, Outcome::Failure);
}

#[test]
fn repeats_are_counted_and_told_when_the_window_ends() {
    let mut run = Run::new();
    let read =
        |client, at| get(client, IMDS, "/latest", (at, at), 200).imds(Sensitivity::Discovery, RecognisedBy::Address);
    for at in 0..5 {
        run.see(read(HOST, at));
    }
    run.see(read("10.0.0.2:1", 9));
    assert_eq!(run.alerts.len(), 2, "another client is no repeat");
    run.correlator.tick(ms(60_000), &mut run.alerts);
    assert_eq!(run.alerts.len(), 3);
    let (summary, first) = (&run.alerts[2], &run.alerts[0]);
    let merged = summary.repeats.as_ref().unwrap();
    assert_eq!((merged.count, merged.from, merged.last), (4, ms(0), ms(4)));
    assert_eq!(summary.chain[0].id, first.id);
    assert_ne!(summary.id, first.id);
    run.see(read(HOST, 70_000));
    assert_eq!(run.alerts.len(), 3, "the next window is longer");
    let alerts = run.finish();
    assert_eq!(alerts.len(), 4, "nothing followed in the other client's");
    assert_eq!(alerts[3].repeats.as_ref().unwrap().from, ms(70_000));
}

#[test]
fn issuances_are_never_merged_but_their_legs_are() {
    let mut run = Run::new();
    // proxied: the leg to the service ends first
    run.see(get("10.0.0.9:5000", IMDS, ROLE, (2, 3), 200).issued(RecognisedBy::Address));
    let outer = run.see(get(HOST, "10.0.0.9:3128", ROLE, (1, 4), 200).issued(RecognisedBy::Name));
    assert!(outer.signals.has(Signal::Proxied));
    // a later fetch is another issuance
    run.see(get(HOST, IMDS, ROLE, (10, 12), 200).issued(RecognisedBy::Address));
    // after DNAT the inner leg ends first and waits for the outer
    run.see(get(HOST, "127.0.0.1:51679", ROLE, (21, 22), 200).issued(RecognisedBy::Path));
    assert_eq!(run.alerts.len(), 2);
    run.see(get(HOST, IMDS, ROLE, (20, 23), 200).issued(RecognisedBy::Address));
    // two clients of one server at the same time are two issuances
    run.see(get("10.0.0.3:1", IMDS, ROLE, (31, 32), 200).issued(RecognisedBy::Address));
    run.see(get("10.0.0.4:2", IMDS, ROLE, (30, 33), 200).issued(RecognisedBy::Address));
    // nobody sees the leg to the service
    run.see(get(HOST, "10.0.0.9:3128", ROLE, (40, 41), 200).issued(RecognisedBy::Name));
    let alerts = run.finish();
    let servers: Vec<_> = alerts.iter().map(|alert| (alert.subject.source(), alert.subject.destination())).collect();
    let expected = [
        ("10.0.0.9:5000", IMDS),
        (HOST, IMDS),
        (HOST, IMDS),
        ("10.0.0.3:1", IMDS),
        ("10.0.0.4:2", IMDS),
        (HOST, "10.0.0.9:3128"),
    ];
    assert_eq!(servers, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
}

fn sdk_refresh(run: &mut Run, at: i64, token: u64) -> Vec<CorrelationResult> {
    let mut put = get(HOST, IMDS, "/latest/api/token", (at, at), 200).imds(Sensitivity::Token, RecognisedBy::Address);
    put.imds_mut().issued_token = Some((TokenHash(token), 21600));
    put.imds_mut().version = Some("v2");
    let list = "/latest/meta-data/iam/security-credentials";
    let list = get(HOST, IMDS, list, (at + 1, at + 1), 200).imds(Sensitivity::Discovery, RecognisedBy::Address);
    let role = get(HOST, IMDS, ROLE, (at + 2, at + 2), 200).issued(RecognisedBy::Address);
    [put, list.v2(token), role.v2(token)].map(|x| run.see(x.by("botocore").signals(&[Signal::SdkUserAgent]))).into()
}

#[test]
fn a_complete_sdk_pattern_lowers_one_step_then_two() {
    let mut run = Run::new();
    let first = sdk_refresh(&mut run, 0, 1);
    assert!(first[2].signals.has(Signal::SdkPattern));
    sdk_refresh(&mut run, 100, 2);
    let issued: Vec<_> =
        run.finish().into_iter().filter(|a| a.rule == Rule::ImdsCredentialIssued).map(|a| a.severity).collect();
    assert_eq!(issued, [Severity::High, Severity::Medium]);
}

#[test]
fn tools_and_proxied_fetches_are_no_sdk_pattern() {
    for signal in [Signal::Proxied, Signal::ForeignHost, Signal::Forwarded] {
        let mut run = Run::new();
        sdk_refresh(&mut run, 0, 1);
        let role =
            get(HOST, IMDS, ROLE, (5, 5), 200).issued(RecognisedBy::Address).by("botocore").v2(1).signals(&[signal]);
        assert!(!run.see(role).signals.has(Signal::SdkPattern), "{}", signal.slug());
    }
}

#[test]
fn what_another_actor_of_the_same_address_did_counts_for_nothing() {
    let mut run = Run::new();
    for refresh in 0..20 {
        sdk_refresh(&mut run, refresh * 3_600_000, 1 + refresh as u64);
    }
    let at = 19 * 3_600_000;
    let role = |at| get(HOST, IMDS, ROLE, (at, at), 200).issued(RecognisedBy::Address);
    let signals = run.see(role(at + 5).by("curl").v2(20)).signals;
    assert!(signals.has(Signal::TokenShared) && !signals.has(Signal::SdkPattern));
    let late = run.see(role(at + 20_000).by("botocore").v2(20)).signals;
    assert!(!late.has(Signal::SdkPattern), "not within seconds of its list");
    let alerts = run.finish();
    let issued = alerts.iter().filter(|alert| alert.rule == Rule::ImdsCredentialIssued && alert.repeats.is_none());
    let mut severities: Vec<_> = issued.map(|alert| alert.severity).collect();
    severities.sort();
    // curl is a tool whatever the host is used to; what comes late is a known client out of its steps, and has no share in its habit.
    assert_eq!(severities, [Severity::Low, Severity::Medium, Severity::High, Severity::Critical, Severity::Critical]);
}

#[test]
fn the_sixth_issuance_within_an_hour_is_merged_and_its_id_is_kept() {
    let mut run = Run::new();
    for nth in 0..8 {
        let at = nth * 1000;
        let mut role = get(HOST, IMDS, ROLE, (at, at), 200).issued(RecognisedBy::Address).by("curl");
        let credential = role.imds_mut().credential.as_mut().unwrap();
        credential.id = Some(format!("ASIA{nth}"));
        credential.fingerprint = Some(format!("f{nth}"));
        run.see(role);
    }
    let alerts = run.finish();
    let (summaries, each): (Vec<_>, Vec<_>) = alerts.iter().partition(|alert| alert.repeats.is_some());
    assert_eq!((each.len(), summaries.len()), (5, 1));
    let merged = summaries[0].repeats.as_ref().unwrap();
    assert_eq!((merged.count, summaries[0].severity), (3, Severity::Critical));
    assert_eq!(merged.ids, ["ASIA5", "ASIA6", "ASIA7"]);
}

#[test]
fn identity_and_user_data_read_within_minutes_are_one_alert() {
    let mut run = Run::new();
    let reads = [("/latest/user-data", Sensitivity::UserData, 0), ("/latest/dynamic/x", Sensitivity::Identity, 90_000)];
    for (path, sensitivity, at) in reads {
        run.see(get(HOST, IMDS, path, (at, at), 200).imds(sensitivity, RecognisedBy::Address).by("curl"));
    }
    let missing =
        get(HOST, IMDS, "/latest/user-data", (99_000, 99_000), 404).imds(Sensitivity::UserData, RecognisedBy::Address);
    run.see(missing.by("curl").signals(&[Signal::NotFound]));
    let loud = [("imds-user-data", Severity::Medium), ("imds-discovery", Severity::Low)];
    assert_eq!(rules(&run.alerts), loud);
}

#[test]
fn a_poller_is_one_alert_and_a_summary_per_growing_window() {
    let mut run = Run::new();
    for minute in 0..=24 * 60 {
        let at = minute * 60_000;
        run.correlator.tick(ms(at), &mut run.alerts);
        if minute % 5 == 0 {
            run.see(get(HOST, IMDS, "/latest", (at, at), 200).imds(Sensitivity::Discovery, RecognisedBy::Address));
        }
    }
    let counts: Vec<_> = run.finish().iter().map(|alert| alert.repeats.as_ref().map(|merged| merged.count)).collect();
    assert_eq!(counts, [None, Some(2), Some(12), Some(274)]);
}

#[test]
fn memory_of_a_client_gives_signals() {
    let mut run = Run::new();
    let refresh = sdk_refresh(&mut run, 0, 1);
    assert!(
        refresh
            .iter()
            .all(|remarks| remarks.signals.has(Signal::FirstSeen) || !remarks.signals.has(Signal::MultiCloud))
    );
    let v1 = run.see(get(HOST, IMDS, ROLE, (5, 5), 200).issued(RecognisedBy::Address));
    assert!(v1.signals.has(Signal::V1AfterV2) && !v1.signals.has(Signal::FirstSeen));
    let shared = run.see(get("10.0.0.2:1", IMDS, ROLE, (6, 6), 200).issued(RecognisedBy::Address).v2(1));
    assert!(shared.signals.has(Signal::TokenShared) && !shared.signals.has(Signal::TokenExpired));
    let late = 21_600_001;
    let expired = run.see(
        get(HOST, IMDS, ROLE, (late, late), 401)
            .imds(Sensitivity::Credential, RecognisedBy::Address)
            .by("botocore")
            .v2(1),
    );
    assert!(expired.signals.has(Signal::TokenExpired) && !expired.signals.has(Signal::TokenShared));
    let mut other = get(HOST, IMDS, "/computeMetadata/v1", (late + 1, late + 1), 200)
        .imds(Sensitivity::Discovery, RecognisedBy::Address);
    other.imds_mut().provider = "gcp";
    assert!(run.see(other).signals.has(Signal::MultiCloud));
    let boto = get("10.0.0.8:1", IMDS, ROLE, (late + 2, late + 2), 200).issued(RecognisedBy::Address);
    assert!(run.see(boto.signals(&[Signal::SdkUserAgent])).signals.has(Signal::ClaimedIdentityMismatch));
}

#[test]
fn walks_are_told_once_and_sdks_do_not_walk() {
    let mut run = Run::new();
    sdk_refresh(&mut run, 0, 1);
    assert!(!run.alerts.iter().any(|alert| alert.rule == Rule::ImdsEnumeration));
    let tree = [
        "/latest",
        "/latest/meta-data",
        "/latest/meta-data/iam",
        "/latest/meta-data/iam/info",
        "/latest/meta-data/mac",
    ];
    for (at, path) in tree.iter().enumerate() {
        let at = 100 + at as i64;
        run.see(get("10.0.0.2:1", IMDS, path, (at, at), 200).imds(Sensitivity::Discovery, RecognisedBy::Address));
    }
    let walks: Vec<_> = run.finish().into_iter().filter(|alert| alert.rule == Rule::ImdsEnumeration).collect();
    assert_eq!(walks.iter().filter(|alert| alert.repeats.is_none()).count(), 1);
    assert_eq!((walks[0].severity, walks[0].chain.len()), (Severity::Low, 4));
    let mut run = Run::new();
    let credential = |at| get(HOST, IMDS, ROLE, (at, at), 200).issued(RecognisedBy::Address);
    run.see(credential(0));
    for (at, path) in tree.iter().enumerate() {
        let at = 100 + at as i64;
        run.see(get(HOST, IMDS, path, (at, at), 200).imds(Sensitivity::Discovery, RecognisedBy::Address));
    }
    let walk = run.alerts.iter().find(|alert| alert.rule == Rule::ImdsEnumeration).unwrap();
    assert_eq!(walk.severity, Severity::High);
}

#[test]
fn an_impossible_path_is_a_walk_by_itself_and_a_known_agent_never_walks() {
    let mut run = Run::new();
    let wordlist = get(HOST, IMDS, "/latest/user-data/iam/security-credentials", (0, 0), 404)
        .imds(Sensitivity::Discovery, RecognisedBy::Address);
    run.see(wordlist.signals(&[Signal::ImpossiblePath, Signal::NotFound]));
    assert!(run.alerts.iter().any(|alert| alert.rule == Rule::ImdsEnumeration));
    run.alerts.clear();
    for path in [
        "/latest/meta-data",
        "/latest/meta-data/a",
        "/latest/meta-data/a/b",
        "/latest/meta-data/a/b/c",
        "/latest/user-data",
    ] {
        let mut exchange =
            get("10.0.0.2:1", IMDS, path, (1, 1), 200).imds(Sensitivity::UserData, RecognisedBy::Address);
        exchange.tx.request = Some(message(1, 1, &[&format!("GET {path}"), "User-Agent: Cloud-Init/22.4"]));
        run.see(exchange);
    }
    let loud: Vec<_> = run.finish().into_iter().filter(|alert| alert.severity > Severity::Low).collect();
    assert!(loud.is_empty(), "{:?}", rules(&loud));
}

#[test]
fn the_allow_list_keeps_alerts_back_unless_contradicted() {
    let mut run = Run::new();
    let process = crate::conn::Process { name: "waagent".into(), ..Default::default() };
    let by_agent = |mut exchange: Exchange| {
        exchange.tx.conn.process = Some(Arc::new(process.clone()));
        exchange
    };
    let remarks = run.see(by_agent(get(HOST, IMDS, ROLE, (0, 0), 200).issued(RecognisedBy::Address)));
    assert_eq!(remarks.allowed_by.as_deref(), Some("waagent"));
    assert!(run.alerts.is_empty() && is_issued(&run, KEY) && run.correlator.counters().allowed == 1);
    let foreign =
        by_agent(get(HOST, IMDS, ROLE, (9, 9), 200).issued(RecognisedBy::Address).signals(&[Signal::ForeignHost]));
    assert_eq!(run.see(foreign).allowed_by, None);
    assert_eq!(rules(&run.alerts), [("imds-credential-issued", Severity::Critical)]);
}

fn connection(client: &str, at: i64) -> What {
    let connection = Connection {
        conn: conn(client, IMDS),
        why: crate::detect::NoRequest::SynOnly,
        first: ms(at),
        last: ms(at),
        provider: "unknown",
        service: "imds",
    };
    What::Connection(Box::new(connection))
}

#[test]
fn connections_without_a_request_are_told_unless_the_two_talk_readably() {
    let mut run = Run::new();
    run.observe(ms(0), connection(HOST, 0));
    run.observe(ms(1), connection("10.0.0.1:4001", 1));
    run.see(get("10.0.0.2:1", IMDS, "/", (2, 2), 200).imds(Sensitivity::Discovery, RecognisedBy::Address));
    run.observe(ms(3), connection("10.0.0.2:2", 3));
    let alerts = run.finish();
    assert_eq!(rules(&alerts).iter().filter(|(rule, _)| *rule == "imds-connection").count(), 2, "one and its repeats");
    assert!(alerts.iter().all(|alert| alert.severity == Severity::Low));
}

#[test]
fn the_same_observations_give_the_same_alerts() {
    let once = || {
        let mut run = Run::new();
        sdk_refresh(&mut run, 0, 1);
        run.see(get(HOST, IMDS, "/latest/user-data", (9, 9), 200).imds(Sensitivity::UserData, RecognisedBy::Address));
        format!("{:?}", run.finish())
    };
    assert_eq!(once(), once());
}

#[test]
fn names_of_services_are_lookups() {
    let lookup = |name: &str| DnsVerdict {
        metadata_name: Some(("gcp", "metadata-server")),
        name: name.to_owned(),
        ..DnsVerdict::default()
    };
    let tx = dns::Transaction {
        conn: conn(HOST, "10.0.0.53:53"),
        query: Some(dns::Message { time: ms(1), ..Default::default() }.into()),
        response: None,
        notes: Vec::new(),
        question: 0,
    };
    let mut run = Run::new();
    run.observe(ms(1), What::Dns(Box::new((tx, lookup("metadata.google.internal")))));
    let alerts = run.finish();
    assert_eq!(rules(&alerts), [("imds-lookup", Severity::Low)]);
    let client: IpAddr = "10.0.0.1".parse().unwrap();
    assert!(alerts[0].message.contains("metadata.google.internal") && alerts[0].subject.conn.client.ip == client);
}

#[test]
fn issued_secrets_are_seen_wherever_they_go_but_not_before_or_on_their_own_legs() {
    let relays = |run: Run| run.finish().into_iter().filter(|alert| alert.rule == Rule::CredentialRelayed).count();
    let mut run = Run::new();
    run.see(get(HOST, "203.0.113.9:80", "/drop", (0, 1), 200).carries(SECRET, true));
    run.see(get(HOST, IMDS, ROLE, (2, 3), 200).issued(RecognisedBy::Address).carries(SECRET, false));
    run.see(get("10.0.0.9:2", "10.0.0.1:3128", ROLE, (1, 4), 200).issued(RecognisedBy::Name).carries(SECRET, false));
    assert_eq!(relays(run), 0);
    let mut run = Run::new();
    run.see(get(HOST, IMDS, ROLE, (2, 3), 200).issued(RecognisedBy::Address).carries(SECRET, false));
    run.see(get(HOST, "203.0.113.9:80", "/drop", (10, 11), 200).carries(SECRET, true));
    let raw = |at, port| {
        let conn = conn(HOST, &format!("203.0.113.9:{port}"));
        What::Tokens(Box::new(Tokens {
            conn,
            time: ms(at),
            hashes: vec![SECRET, Seen::new(8, Spot::Open)],
            hint: None,
        }))
    };
    run.observe(ms(12), raw(12, 4444));
    run.observe(ms(13), raw(13, 4444));
    run.observe(ms(14), raw(14, 5555));
    let What::Dns(mut exfiltration) = lookup(HOST, "x.evil.example", (20, 21), &[]) else { unreachable!() };
    exfiltration.1.tokens.push(SECRET);
    assert!(run.observe(ms(21), What::Dns(exfiltration)).signals.has(Signal::Relayed));
    assert_eq!(relays(run), 4, "a POST, two streams and a name");
}

#[test]
fn older_input_begins_a_new_time() {
    let mut run = Run::new();
    let read =
        |at| get(HOST, IMDS, "/latest/user-data", (at, at), 200).imds(Sensitivity::UserData, RecognisedBy::Address);
    run.correlator.tick(ms(500_000), &mut run.alerts);
    run.see(read(500_000));
    run.see(inbound(ATTACKER, FRONT, &imds_url(), (500_000, 500_001), 403));
    run.correlator.tick(ms(1_000), &mut run.alerts);
    assert_eq!(ssrf_alerts(&run.alerts_so_far()), expected("ssrf-attempt"));
    run.see(read(1_000));
    run.correlator.tick(ms(61_001), &mut run.alerts);
    assert_eq!(run.alerts.iter().filter(|alert| alert.rule == Rule::ImdsUserData).count(), 2, "no window spans both");
}

/// Starts of processes do: the packets of the second in which they were may still be on their way.
#[test]
fn what_comes_in_ahead_of_the_packets_decides_nothing_early() {
    let mut run = Run::new();
    run.correlator.tick(ms(1_000), &mut run.alerts);
    run.see(inbound(ATTACKER, FRONT, &imds_url(), (2_005, 2_006), 403));
    run.correlator.tick(ms(2_001), &mut run.alerts);
    assert!(run.alerts_so_far().is_empty(), "it waits for a fetch that confirms it");
    run.correlator.tick(ms(62_000), &mut run.alerts);
    assert_eq!(ssrf_alerts(&run.alerts_so_far()), expected("ssrf-attempt"));
}

#[test]
fn floods_stay_within_bounds() {
    let mut run = Run::new();
    for at in 0..9_000i64 {
        let url = fetch_url(&format!("http://h{at}.example/{at}"));
        run.see(inbound(ATTACKER, FRONT, &url, (at, at), 302).header("Location", "/next", false));
    }
    assert!(run.correlator.counters().forgotten > 0);
    assert!(run.finish().is_empty());
}
