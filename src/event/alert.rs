//! The event of an alert (contract section 4).
//!
//! In: an [`Alert`]. Out: a [`Doc`] with rule, ATT&CK technique, the ends and protocol fields of its subject, and the
//! `imds` object of its metadata leg.

use std::borrow::Cow;
use std::net::SocketAddr;

use super::doc::{
    AlertEvent, Body, Catalogued, DisplayString, DnsQuestion, DnsSubject, Doc, End, Envelope, Event, Http, HttpRequest,
    HttpResponse, Id, Imds, Ip, Link, LinkEnd, Network, RuleDoc, SignalList, Technique, Text, Threat, Url, UserAgent,
};
use super::envelope::{end_of, forget_unknown_ends};
use super::url::{self, Host, Params, Target};
use super::{Context, Writer, command, http};
use crate::alert::{Alert, HttpSubject, Outcome, Rule, Subject};
use crate::conn::Endpoint;
use crate::rules;

/// The document of an alert.
pub(super) fn document<'a>(writer: &'a Writer, alert: &'a Alert, context: &Context<'a>) -> Doc<'a> {
    let subject = &*alert.subject;
    let mut envelope = Envelope::new("alert", writer.stamp(alert.time), event(writer, alert));
    envelope.data_stream = writer.data_stream("alert");
    let mut body = AlertEvent {
        message: context.mask.sentence(&alert.message),
        rule: rule(alert.rule),
        threat: threat(alert.rule),
        url: None,
        user_agent: None,
        http: None,
        dns: None,
    };
    let host = host_of(subject).unwrap_or_default();
    match &subject.command {
        Some(line) => add_command(writer, (&mut envelope, &mut body), alert, line, context),
        None => {
            add_ends(writer, &mut envelope, subject);
            relate(&mut envelope, subject, host, context);
        }
    }
    if let Some(leg) = &alert.leg {
        relate(&mut envelope, leg, host_of(leg).unwrap_or_default(), context);
    }
    if let Some(http) = subject.http.as_ref().filter(|_| subject.command.is_none()) {
        add_http(writer, (&mut envelope, &mut body), alert, (http, host), context);
    }
    body.dns = subject.dns.as_ref().map(|dns| DnsSubject {
        kind: if dns.response_code.is_some() { "answer" } else { "query" },
        question: DnsQuestion { name: context.mask.text(Cow::Borrowed(&dns.name)), kind: &dns.qtype },
        response_code: dns.response_code.as_deref(),
        resolved_ip: dns.resolved.iter().copied().map(Ip).collect(),
    });
    if subject.command.is_none() {
        writer.add_process(&mut envelope, &subject.conn, context);
    }
    envelope.origin = subject.conn.told_by.as_deref();
    envelope.event.provider = envelope.origin.map(|origin| origin.sensor);
    if envelope.origin.is_some() {
        forget_unknown_ends(&mut envelope);
    }
    // a command line that led to a confirmed forgery has no ends
    envelope.related.forget_unspecified();
    if subject.imds.is_some() {
        writer.add_unknown_process(&mut envelope);
    }
    envelope.imds = Some(imds(writer, alert, context)).filter(|imds| !imds.is_empty());
    Doc { envelope, body: Body::Alert(body) }
}

/// The two ends of a conversation.
fn add_ends<'a>(writer: &Writer, envelope: &mut Envelope<'a>, subject: &'a Subject) {
    envelope.network = Some(Network { protocol: protocol(subject), ..writer.network(&subject.conn, None) });
    envelope.source = Some(end_of(&subject.conn.client));
    envelope.client = envelope.source.clone();
    let server = end_of(&subject.conn.server);
    envelope.server = Some(server.clone());
    envelope.destination = Some(End { address: server.ip, ..server });
}

/// The process, where its start is what the alert is about, and what its command line names.
fn add_command<'a>(
    writer: &'a Writer,
    (envelope, body): (&mut Envelope<'a>, &mut AlertEvent<'a>),
    alert: &'a Alert,
    line: &'a str,
    context: &Context<'a>,
) {
    let subject = &*alert.subject;
    command::add_process(writer, envelope, subject.conn.process.as_deref(), line, context);
    subject.conn.told_by.iter().flat_map(|origin| &origin.host_ips).for_each(|ip| envelope.related.add_ip(*ip));
    if let Some(http) = &subject.http {
        body.url = Some(command::named(&http.target, context)).filter(|named| named.original.is_some());
    }
}

fn event<'a>(writer: &Writer, alert: &'a Alert) -> Event<'a> {
    let mut event = writer.event(alert.id, "alert");
    event.kind = "alert";
    event.category = match alert.subject.command {
        Some(_) => &["process", "intrusion_detection"],
        None => &["network", "intrusion_detection"],
    };
    event.types = match alert.outcome {
        Outcome::Unknown => &["info"],
        Outcome::Success => &["info", "allowed"],
        Outcome::Failure => &["info", "denied"],
    };
    event.outcome = Some(match alert.outcome {
        Outcome::Unknown => "unknown",
        Outcome::Success => "success",
        Outcome::Failure => "failure",
    });
    event.severity = Some(alert.severity.number());
    event.risk_score = Some(alert.risk_score);
    let (start, end) = match &alert.repeats {
        Some(merged) => (merged.from, Some(merged.last)),
        None => (alert.subject.start, alert.subject.end),
    };
    event.start = Some(writer.stamp(start));
    event.end = end.map(|end| writer.stamp(end));
    event.duration = end.map(|end| end.since(start)).filter(|nanos| *nanos >= 0);
    event
}

fn rule(rule: Rule) -> RuleDoc {
    let text = rules::text(rule);
    RuleDoc {
        id: rule.id(),
        name: text.name,
        description: text.description,
        reference: text.references.first().copied().unwrap_or(rules::TECHNIQUE),
        ruleset: rules::RULESET,
        version: env!("CARGO_PKG_VERSION"),
    }
}

/// Credential Access through Unsecured Credentials; SSRF also exploits a public-facing application.
fn threat(rule: Rule) -> Threat {
    const ACCESS: Catalogued = Catalogued {
        id: &["TA0006"],
        name: &["Credential Access"],
        reference: &["https://attack.mitre.org/tactics/TA0006/"],
    };
    const UNSECURED: Catalogued = Catalogued {
        id: &["T1552"],
        name: &["Unsecured Credentials"],
        reference: &["https://attack.mitre.org/techniques/T1552/"],
    };
    const UNSECURED_AND_EXPLOIT: Catalogued = Catalogued {
        id: &["T1552", "T1190"],
        name: &["Unsecured Credentials", "Exploit Public-Facing Application"],
        reference: &["https://attack.mitre.org/techniques/T1552/", "https://attack.mitre.org/techniques/T1190/"],
    };
    const METADATA: Catalogued =
        Catalogued { id: &["T1552.005"], name: &["Cloud Instance Metadata API"], reference: &[rules::TECHNIQUE] };
    let Catalogued { id, name, reference } = match rule {
        Rule::SsrfAttempt | Rule::SsrfConfirmed => UNSECURED_AND_EXPLOIT,
        _ => UNSECURED,
    };
    let technique = Technique { id, name, reference, subtechnique: METADATA };
    Threat { framework: "MITRE ATT&CK", tactic: ACCESS, technique }
}

fn protocol(subject: &Subject) -> Option<&'static str> {
    match (&subject.http, &subject.dns) {
        (Some(_), _) => Some("http"),
        (None, Some(_)) => Some("dns"),
        (None, None) => None,
    }
}

fn host_of(subject: &Subject) -> Option<Host<'_>> {
    Some(Host::of(subject.http.as_ref()?.host.as_deref()?.as_bytes()))
}

/// Everything that the alert touches at one of its legs: the ends, answered addresses, names.
fn relate<'a>(envelope: &mut Envelope<'a>, subject: &'a Subject, host: Host<'a>, context: &Context<'a>) {
    envelope.related.add_ip(subject.conn.client.ip);
    envelope.related.add_ip(subject.conn.server.ip);
    subject.dns.iter().flat_map(|dns| &dns.resolved).for_each(|ip| envelope.related.add_ip(*ip));
    if let Some(dns) = &subject.dns {
        envelope.related.add_host(context.mask.text(Cow::Borrowed(&dns.name)));
    }
    let name = context.mask.text(super::lossy(host.name));
    match host.ip {
        Some(ip) => envelope.related.add_spelt_ip(ip, name),
        None => envelope.related.add_host(name),
    }
}

fn add_http<'a>(
    writer: &'a Writer,
    (envelope, body): (&mut Envelope<'a>, &mut AlertEvent<'a>),
    alert: &'a Alert,
    (http, host): (&'a HttpSubject, Host<'a>),
    context: &Context<'a>,
) {
    let masked = |text: Text<'a>| context.mask.text(text);
    let port = host.port.unwrap_or(alert.subject.conn.server.port);
    if !host.name.is_empty() && host.ip.is_none() {
        for end in [&mut envelope.destination, &mut envelope.server].into_iter().flatten() {
            end.domain = Some(masked(super::lossy(host.name)));
        }
    }
    if !http.method.is_empty() {
        body.url = Some(subject_url(writer, http, (host.name, port), context));
    }
    if let Some(agent) = &http.user_agent {
        body.user_agent = Some(UserAgent { original: masked(Cow::Borrowed(agent)) });
    }
    let method = Some(masked(Cow::Borrowed(&http.method))).filter(|method| !method.is_empty());
    body.http = Some(Http {
        version: http.version.map(version),
        request: method.map(|method| HttpRequest { method: Some(method), ..HttpRequest::default() }),
        response: http.status.map(|status| HttpResponse { status_code: Some(status), ..HttpResponse::default() }),
    });
}

fn subject_url<'a>(
    writer: &Writer,
    http: &'a HttpSubject,
    (host, port): (&'a [u8], u16),
    context: &Context<'a>,
) -> Url<'a> {
    let hidden = |key: &[u8]| http::is_keyword(&writer.settings().http, key);
    let target = Target::parse(http.target.as_bytes());
    let query = target.as_ref().map(|target| {
        let (mut params, _) = Params::parse(target.query);
        params.hide(hidden);
        params.encode()
    });
    let original = url::hide_in_target(http.target.as_bytes(), hidden);
    let mask = http::url_mask(context.mask, http.target.as_bytes(), host);
    http::url_object(original, target, query.unwrap_or_default(), (host, port), &mask)
}

/// `http.version`.
fn version(version: (u8, u8)) -> Text<'static> {
    match version {
        (1, 1) => Cow::Borrowed("1.1"),
        (major, minor) => format!("{major}.{minor}").into(),
    }
}

fn socket(end: &Endpoint) -> SocketAddr {
    SocketAddr::new(end.ip, end.port)
}

/// An end, if it is known: of a command line, and in what other sensors write, it may not be.
fn known(end: &Endpoint) -> Option<LinkEnd> {
    match end.port {
        _ if end.ip.is_unspecified() => None,
        0 => Some(LinkEnd::Address(DisplayString(end.ip))),
        _ => Some(LinkEnd::Socket(DisplayString(socket(end)))),
    }
}

/// The metadata leg's object where there is one, else the subject's own, with what the alert adds.
fn imds<'a>(writer: &Writer, alert: &'a Alert, context: &Context<'a>) -> Imds<'a> {
    let leg = alert.leg.as_ref().and_then(|leg| leg.imds.as_deref());
    let (provider, service) = alert.subject.service.unwrap_or_default();
    let mut imds = match leg.or(alert.subject.imds.as_deref()) {
        Some(imds) => super::imds::object(imds, context),
        None => Imds { provider, service, ..Imds::default() },
    };
    imds.signals = SignalList(alert.signals);
    imds.allowed_by = None;
    imds.repeats = alert.repeats.as_ref().map(|merged| merged.count);
    if let (Some(merged), Some(credential)) = (&alert.repeats, &mut imds.credential) {
        credential.ids = merged.ids.iter().map(|id| context.mask.text(Cow::Borrowed(id))).collect();
        credential.more_ids = Some(merged.more_ids).filter(|more| *more > 0);
    }
    imds.chain = alert
        .chain
        .iter()
        .map(|link| Link {
            id: Id::of(link.id, link.origin.as_deref()),
            time: writer.stamp(link.time),
            what: link.what,
            source: known(&link.source),
            destination: known(&link.destination),
            url: context.mask.text(Cow::Borrowed(&link.url)),
        })
        .collect();
    imds
}
