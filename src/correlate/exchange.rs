//! The request family (contract section 4): what an HTTP exchange with a metadata service means, and what any exchange may
//! lead to or carry.

use std::sync::Arc;

use super::actor::{Assessment, Request};
use super::allow::Question;
use super::habits::{self, Deed, Who};
use super::issue::LegSeen;
use super::judge::{self, Grounds};
use super::raise::alert;
use super::ssrf::{Fetch, Inbound};
use super::{CorrelationResult, Correlator, message, repeat_key, span, subject};
use crate::alert::{Alert, Rule, Subject};
use crate::catalogue::ClientKind;
use crate::detect::{Imds, RecognisedBy, Secret, Signal, Signals, Verdict};
use crate::id::EventId;
use crate::packet::Timestamp;
use crate::proto::http;

impl Correlator {
    pub(super) fn http(
        &mut self,
        tx: &http::Transaction,
        verdict: &Verdict,
        event_id: EventId,
        alerts: &mut Vec<Arc<Alert>>,
    ) -> CorrelationResult {
        let (first, end) = span(tx);
        let mut remarks = CorrelationResult::default();
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
        if tx.request.is_none() || !(imds.recognised_by == RecognisedBy::Address || issued) {
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
    ) -> CorrelationResult {
        let request = tx.request.as_ref();
        let user_agent = request.and_then(|request| request.head.field("user-agent")).unwrap_or_default();
        let (start, end) = span(tx);
        self.readable.entry((tx.conn.client.ip, tx.conn.server.ip), || ());
        let http = self.subjects.http(tx);
        let asked = match request {
            Some(_) => {
                let request = Request { tx, imds, user_agent, start, http: &http, event_id };
                self.actors.learn(request, &self.catalogue)
            }
            None => Assessment::default(),
        };
        let mut signals = asked.signals;
        let leg = self.issuances.leg(&tx.conn, imds, (start, end));
        if leg.as_ref().is_some_and(|leg| leg.is_other) {
            signals.add(Signal::Proxied);
        }
        let all = imds.signals.union(signals);
        let question = Question {
            user_agent: Some(user_agent),
            client_form: request.map(|_| &imds.client),
            ..self.question(&tx.conn, Some(&imds.path))
        };
        let contradicts = [Signal::ForeignHost, Signal::Forwarded, Signal::ClaimedIdentityMismatch];
        let contradicted = contradicts.iter().any(|signal| all.has(*signal));
        let allowed_by = if contradicted { None } else { self.allowed(&question) };
        let known = self.deed(tx, imds, &asked, end);
        if known.more {
            signals.add(Signal::MoreThanUsual);
        }
        let subject = self.subjects.with_http(tx, http, Some(imds), signals, event_id);
        self.relays.issue(issued, &subject);
        let added = signals;
        let signals = imds.signals.union(added);
        let grounds = Grounds { asker: asked.asker, known, signals, unsigned: self.is_unsigned(imds) };
        let rule = judge::rule(imds);
        let severity = judge::severity(rule, &grounds);
        let judged = Some((subject.clone(), rule, severity)).filter(|_| allowed_by.is_none());
        match allowed_by {
            Some(_) => self.counters.allowed += 1,
            None => self.request((tx, imds), leg, (&asked, grounds), &subject, alerts),
        }
        self.fetch(tx, imds, signals, subject, alerts);
        CorrelationResult { signals: added, allowed_by, judged }
    }

    /// What is known of a deed that habits are made of; now it was done once more.
    fn deed(&mut self, tx: &http::Transaction, imds: &Imds, asked: &Assessment, time: Timestamp) -> habits::Known {
        let rule = judge::rule(imds);
        if tx.request.is_none() || rule < Rule::ImdsUserData {
            return habits::Known::default();
        }
        let credential = imds.credential.as_ref();
        let issued = credential.filter(|credential| credential.issued);
        let fingerprint = issued.and_then(|issued| {
            Some((issued.fingerprint.as_deref()?, issued.expires.as_deref().and_then(habits::time)))
        });
        self.habits.learn(&Deed {
            actor: asked.actor,
            asker: asked.asker,
            who: Who {
                client: tx.conn.client.ip,
                process: tx.conn.process.as_ref().map(|process| process.name.as_str()),
                name: asked.name,
                shape: imds.client.shape,
                family: &imds.client.family,
            },
            provider: imds.provider,
            path_id: imds.path_id.unwrap_or_default(),
            scope: credential.and_then(|credential| credential.scope.as_deref()).unwrap_or_default(),
            given: rule != Rule::ImdsCredentialRequest,
            is_anybody: imds.client.kind() == Some(ClientKind::Library),
            is_about_credential: rule >= Rule::ImdsCredentialRequest,
            time,
            fingerprint,
        })
    }

    /// Whether an identity document proves nothing to anybody, because it has no signature.
    fn is_unsigned(&self, imds: &Imds) -> bool {
        imds.path_id.is_some_and(|id| self.catalogue.is_unsigned(id))
    }

    /// The alert of the request family, and that of a walk which it completes.
    fn request(
        &mut self,
        (tx, imds): (&http::Transaction, &Imds),
        leg: Option<LegSeen>,
        (asked, grounds): (&Assessment, Grounds),
        subject: &Arc<Subject>,
        alerts: &mut Vec<Arc<Alert>>,
    ) {
        let (_, end) = span(tx);
        let rule = judge::rule(imds);
        let (signals, severity) = (grounds.signals, judge::severity(rule, &grounds));
        let scope = imds.credential.as_ref().and_then(|credential| credential.scope.as_deref());
        let what = [imds.provider, imds.path_id.unwrap_or_default(), scope.unwrap_or_default()];
        let is_read = matches!(rule, Rule::ImdsUserData | Rule::ImdsIdentity);
        let key = match is_read {
            // all that one actor reads of identity and user data within a while is one thing
            true => repeat_key((Rule::ImdsIdentity, severity), &tx.conn, asked, Signals::default(), &[]),
            false => repeat_key((rule, severity), &tx.conn, asked, signals, &what),
        };
        let make = |_: &mut Self| {
            let message = message::request(rule, subject, imds, signals);
            let risk_score = judge::risk(rule, severity, signals, &imds.client, asked);
            Alert { risk_score, ..alert(rule, severity, subject.clone(), signals, end, message) }
        };
        match leg {
            Some(leg) => {
                let (alert, mut issued) = ((key, Arc::new(make(self))), Vec::new());
                self.issuances.settle(leg, alert, self.now, &mut issued);
                self.merge(issued, alerts);
            }
            None if rule == Rule::ImdsCredentialIssued => {
                let alert = (key, Arc::new(make(self)));
                self.merge(vec![alert], alerts);
            }
            None => self.raise((key, &tx.conn), end, usize::from(is_read), alerts, make),
        }
        if asked.walk.is_some() {
            self.walk((tx, imds, signals), asked, (subject.clone(), end), alerts);
        }
    }

    /// `imds-enumeration`.
    fn walk(
        &mut self,
        (tx, imds, signals): (&http::Transaction, &Imds, Signals),
        asked: &Assessment,
        (subject, end): (Arc<Subject>, Timestamp),
        alerts: &mut Vec<Arc<Alert>>,
    ) {
        let Some(walk) = asked.walk else { return };
        let rule = Rule::ImdsEnumeration;
        let severity = judge::walk(walk.impossible, walk.credential);
        let key = repeat_key((rule, severity), &tx.conn, asked, Signals::default(), &[imds.provider]);
        self.raise((key, &tx.conn), end, 0, alerts, |correlator| {
            let message = message::enumeration(&subject, imds, walk.steps, walk.impossible);
            let chain = correlator.actors.walk(asked.actor);
            Alert { chain, ..alert(rule, severity, subject, signals, end, message) }
        });
    }
}

/// Whether a metadata request has the habits of an SDK, so that it does not count for an inbound request of before.
fn is_sdk_like(signals: Signals) -> bool {
    let against = [Signal::V1, Signal::ForeignHost, Signal::Forwarded, Signal::ToolUserAgent, Signal::BrowserLike];
    signals.has(Signal::SdkPattern)
        || signals.has(Signal::SdkUserAgent) && !against.iter().any(|signal| signals.has(*signal))
}
