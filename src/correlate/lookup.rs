//! Names: lookups of those of metadata services, and other names that resolve to their addresses.

use std::sync::Arc;

use super::actor::Assessment;
use super::raise::alert;
use super::{CorrelationResult, Correlator, repeat_key, subject};
use crate::alert::{Alert, Rule, Severity};
use crate::detect::{DnsVerdict, Signal, Signals};
use crate::id::EventId;
use crate::packet::Timestamp;
use crate::proto::dns;

impl Correlator {
    pub(super) fn dns(
        &mut self,
        tx: &dns::Transaction,
        verdict: &DnsVerdict,
        event_id: EventId,
        alerts: &mut Vec<Arc<Alert>>,
    ) -> CorrelationResult {
        let mut remarks = CorrelationResult::default();
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
        let key =
            repeat_key((rule, Severity::Low), &tx.conn, &Assessment::default(), Signals::default(), &[&verdict.name]);
        self.raise((key, &tx.conn), self.now, 0, alerts, |correlator| {
            let subject = subject::of_dns(tx, verdict, event_id);
            let (client, name) = (subject::client(&subject.conn), &verdict.name);
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
}

/// Question and answer of a DNS transaction, as far as seen.
pub(super) fn dns_span(tx: &dns::Transaction) -> (Timestamp, Timestamp) {
    let (query, response) = (tx.query.as_ref(), tx.response.as_ref());
    let first = query.or(response).map_or_else(Timestamp::default, |message| message.time);
    (first, response.map_or(first, |response| response.time))
}
