//! Alerts made of what was found: severity and risk, message, chain, outcome. Pure.

use std::sync::Arc;

use super::judge;
use super::message;
use super::rebind::Lookup;
use super::relay::Sighting;
use super::ssrf::Finding;
use super::subject::alert_id;
use crate::alert::{Alert, Outcome, Rule, Sentence, Severity, Subject};
use crate::detect::{Signal, Signals};
use crate::packet::Timestamp;

/// An alert about one event, without chain.
pub fn alert(
    rule: Rule,
    severity: Severity,
    subject: Arc<Subject>,
    signals: Signals,
    time: Timestamp,
    message: impl Into<Sentence>,
) -> Alert {
    let outcome = match (&subject.http, rule) {
        (Some(_), Rule::ImdsCredentialIssued) => Outcome::Success,
        (Some(_), _) => subject.outcome(),
        _ => Outcome::Unknown,
    };
    Alert {
        rule,
        severity,
        risk_score: judge::risk_of_chain(rule, severity, signals, false),
        id: alert_id(rule, subject.event_id, 0),
        time,
        subject,
        leg: None,
        signals,
        outcome,
        message: message.into(),
        chain: Vec::new(),
        repeats: None,
    }
}

/// `ssrf-confirmed`: the ends of the inbound request, and the metadata request that says most about what came of it.
pub fn confirmed(finding: &Finding) -> Option<Alert> {
    let rule = Rule::SsrfConfirmed;
    let issued = |subject: &Subject| {
        let credential = subject.imds.as_ref().and_then(|imds| imds.credential.as_ref());
        credential.is_some_and(|credential| credential.issued)
    };
    let leg = finding.fetches.iter().find(|fetch| issued(fetch)).or_else(|| finding.fetches.first())?;
    let mut signals = Signals::default();
    for grade in [Signal::Refused, Signal::NotFound, Signal::Unanswered] {
        if leg.signals.has(grade) {
            signals.add(grade);
        }
    }
    if issued(leg) {
        signals.add(Signal::Issued);
    }
    if finding.relayed {
        signals.add(Signal::Relayed);
    }
    if finding.cut {
        signals.add(Signal::SearchCut);
    }
    let inbound = &finding.inbound;
    let mut chain = vec![inbound.link("request", inbound.start)];
    chain.extend(finding.between.iter().cloned());
    for fetch in &finding.fetches {
        chain.push(fetch.link("fetch", fetch.start));
        if issued(fetch) {
            chain.push(fetch.link("issued", fetch.over()));
        }
    }
    if inbound.end.is_some() {
        chain.push(inbound.link(if finding.relayed { "relayed" } else { "response" }, finding.end));
    }
    chain.sort_by_key(|link| link.time);
    let message = message::confirmed(finding, leg, signals);
    let time = finding.end.max(leg.over());
    let outcome = if issued(leg) { Outcome::Success } else { leg.outcome() };
    let alert = alert(rule, rule.base_severity(), inbound.clone(), signals, time, message);
    Some(Alert { leg: Some(leg.clone()), outcome, chain, ..alert })
}

/// `dns-rebinding`.
pub fn rebinding(lookup: &Lookup, has_other_use: bool) -> Alert {
    let rule = Rule::DnsRebinding;
    let is_proven = lookup.elsewhere.is_some() || lookup.fetch.is_some();
    let severity = match is_proven {
        _ if has_other_use && lookup.fetch.is_none() => Severity::Medium,
        true => Severity::Critical,
        false => rule.base_severity(),
    };
    let subject = lookup.subject.clone();
    let mut chain: Vec<_> = lookup.elsewhere.iter().cloned().collect();
    chain.push(subject.link("dns", lookup.span.1));
    chain.extend(lookup.fetch.iter().map(|fetch| fetch.link("fetch", fetch.start)));
    chain.sort_by_key(|link| link.time);
    let time = lookup.fetch.as_ref().map_or(lookup.span.1, |fetch| fetch.over());
    let id = alert_id(rule, subject.event_id, u64::from(lookup.fetch.is_some()));
    let alert = alert(rule, severity, subject, Signals::default(), time, message::rebinding(lookup));
    let risk_score = judge::risk_of_chain(rule, severity, Signals::default(), lookup.fetch.is_some());
    Alert { id, risk_score, leg: lookup.fetch.clone(), outcome: Outcome::Success, chain, ..alert }
}

/// `credential-relayed`.
pub fn relayed(sighting: &Sighting) -> Option<Alert> {
    let rule = Rule::CredentialRelayed;
    let issued = sighting.issued.first()?;
    let (subject, time) = (sighting.subject.clone(), sighting.span.1);
    let mut signals = Signals::default();
    signals.add(Signal::Issued);
    signals.add(if sighting.elsewhere { Signal::UsedElsewhere } else { Signal::Relayed });
    let mut chain: Vec<_> = sighting.issued.iter().map(|issued| issued.link("issued", issued.over())).collect();
    chain.push(subject.link("relayed", time));
    chain.sort_by_key(|link| link.time);
    let message = message::relayed(sighting, issued);
    let id = alert_id(rule, subject.event_id, u64::from(sighting.in_request));
    let alert = alert(rule, rule.base_severity(), subject, signals, time, message);
    Some(Alert { id, leg: Some(issued.clone()), outcome: Outcome::Success, chain, ..alert })
}
