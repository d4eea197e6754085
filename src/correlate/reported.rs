//! One thing that several sensors saw is alerted once (contract section 7).
//!
//! What is read from other sensors' events waits a moment: where packets, or another sensor, tell of the same exchange,
//! lookup or connection, the alert that says most is raised, and the others are links of its chain. Their clocks may
//! differ. Bounded by [`HELD`] and [`RECENT`].

use std::collections::VecDeque;
use std::sync::Arc;

use super::subject;
use crate::alert::{Alert, Rule, Severity, Subject};
use crate::detect::Connection;
use crate::id::EventId;
use crate::packet::Timestamp;

/// How long an alert of another sensor waits, besides the difference of clocks: less than a command line's, which may be
/// what led to it.
const HOLD: i64 = Timestamp::SECOND / 2;
/// Most alerts that wait, and most that are remembered.
const HELD: usize = 4096;
const RECENT: usize = 256;

/// Alerts of other sensors that wait, and what packets told.
#[derive(Debug)]
pub struct Reported {
    held: VecDeque<(Timestamp, Alert)>,
    recent: VecDeque<(Arc<Subject>, Severity)>,
    /// Connections of which other sensors told the process, and whose requests are alerted where they are seen.
    connected: VecDeque<Arc<Subject>>,
    skew: i64,
}

impl Reported {
    /// `skew` in nanoseconds.
    pub fn new(skew: i64) -> Self {
        Self { held: VecDeque::new(), recent: VecDeque::new(), connected: VecDeque::new(), skew }
    }

    /// Looks through the alerts from `first` on.
    pub fn join(&mut self, first: usize, alerts: &mut Vec<Arc<Alert>>, now: Timestamp) {
        let mut nth = first;
        while let Some(alert) = alerts.get_mut(nth) {
            nth += 1;
            if alert.repeats.is_some() || alert.rule == Rule::ImdsCommand {
                continue;
            }
            let is_reported = alert.subject.conn.told_by.is_some();
            self.name_process(alert);
            if alert.rule == Rule::SsrfAttempt {
                self.led_to(Arc::make_mut(alert));
            }
            let same = |(_, held): &(Timestamp, Alert)| is_same(&held.subject, &alert.subject, self.skew);
            match self.held.iter().position(same) {
                Some(at) if is_reported => {
                    nth -= 1;
                    let other = Arc::unwrap_or_clone(alerts.remove(nth));
                    if let Some((_, held)) = self.held.get_mut(at) {
                        let (mut strong, weak) = stronger(held.clone(), other);
                        absorb(&mut strong, &weak.subject, what(&weak));
                        *held = strong;
                    }
                }
                Some(at) if self.held.get(at).is_some_and(|(_, held)| held.severity <= alert.severity) => {
                    if let Some((_, held)) = self.held.remove(at) {
                        absorb(Arc::make_mut(alert), &held.subject, what(&held));
                    }
                    let alert = alert.clone();
                    self.remember(&alert);
                }
                _ if is_reported => {
                    nth -= 1;
                    let alert = alerts.remove(nth);
                    let is_known = |(subject, severity): &(Arc<Subject>, Severity)| {
                        *severity >= alert.severity && is_same(subject, &alert.subject, self.skew)
                    };
                    if !self.recent.iter().any(is_known) {
                        let until = now.plus(HOLD.saturating_add(self.skew));
                        self.held.push_back((until, Arc::unwrap_or_clone(alert)));
                    }
                }
                _ => {
                    let alert = alert.clone();
                    self.remember(&alert);
                }
            }
        }
    }

    /// A connection that is no alert by itself: it may say which process asked what packets, or another sensor, tell of.
    pub fn connected(&mut self, connection: &Connection, event_id: EventId) {
        if connection.conn.told_by.is_none() || connection.conn.process.is_none() {
            return;
        }
        if self.connected.len() >= RECENT {
            self.connected.pop_front();
        }
        self.connected.push_back(subject::of_connection(connection, event_id));
    }

    /// The process of a connection that was told of before is that of the request on it.
    fn name_process(&self, alert: &mut Arc<Alert>) {
        if alert.subject.conn.process.is_some() || self.connected.is_empty() {
            return;
        }
        let its = self.connected.iter().rev().find(|connected| is_same(connected, &alert.subject, self.skew));
        if let Some(connected) = its {
            absorb(Arc::make_mut(alert), connected, "request");
        }
    }

    /// Whether another sensor's alert of the same thing waits.
    pub fn waits_for(&self, alert: &Alert) -> bool {
        self.held.iter().any(|(_, held)| is_same(&held.subject, &alert.subject, self.skew))
    }

    fn remember(&mut self, alert: &Arc<Alert>) {
        if self.recent.len() >= RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back((alert.subject.clone(), alert.severity));
    }

    /// Connections that the server of an attempt then made to a metadata service: links of its chain.
    fn led_to(&mut self, attempt: &mut Alert) {
        let server = attempt.subject.conn.server.ip;
        let (start, slack) = (attempt.subject.start, HOLD.saturating_add(self.skew));
        let is_of = |held: &Alert| {
            held.rule == Rule::ImdsConnection
                && held.subject.conn.client.ip == server
                && held.subject.start.since(start).abs() <= slack
        };
        let mut links = Vec::new();
        self.held.retain(|(_, held)| {
            let is_of = is_of(held);
            if is_of {
                links.push(held.subject.link("fetch", held.subject.start));
            }
            !is_of
        });
        if !links.is_empty() {
            if attempt.chain.is_empty() {
                attempt.chain.push(attempt.subject.link("request", start));
            }
            attempt.chain.append(&mut links);
            attempt.chain.sort_by_key(|link| link.time);
        }
    }

    /// Raises what waited until `now`.
    pub fn expire(&mut self, now: Timestamp, out: &mut Vec<Arc<Alert>>) {
        while let Some((_, alert)) = self.held.pop_front_if(|(until, _)| *until <= now) {
            out.push(Arc::new(alert));
        }
        while self.held.len() > HELD {
            out.extend(self.held.pop_front().map(|(_, alert)| Arc::new(alert)));
        }
    }

    /// The end of input.
    pub fn finish(&mut self, out: &mut Vec<Arc<Alert>>) {
        out.extend(self.held.drain(..).map(|(_, alert)| Arc::new(alert)));
    }
}

/// The one that says more first.
fn stronger(a: Alert, b: Alert) -> (Alert, Alert) {
    let says = |alert: &Alert| (alert.severity, alert.subject.http.is_some(), alert.subject.dns.is_some());
    if says(&b) > says(&a) { (b, a) } else { (a, b) }
}

/// Takes what another sensor told of the same thing into an alert: its event becomes a link, and its process is known.
fn absorb(alert: &mut Alert, other: &Subject, what: &'static str) {
    if alert.chain.is_empty() {
        alert.chain.push(alert.subject.link("request", alert.subject.start));
    }
    alert.chain.push(other.link(what, other.start));
    alert.chain.sort_by_key(|link| link.time);
    if alert.subject.conn.process.is_none() && other.conn.process.is_some() {
        let mut subject = Subject::clone(&alert.subject);
        subject.conn.process.clone_from(&other.conn.process);
        alert.subject = Arc::new(subject);
    }
}

fn what(alert: &Alert) -> &'static str {
    if alert.rule == Rule::ImdsLookup { "dns" } else { "request" }
}

/// Whether two sensors tell of one thing.
fn is_same(a: &Subject, b: &Subject, skew: i64) -> bool {
    let (one, other) = (&a.conn, &b.conn);
    if a.event_id == b.event_id || one.told_by.is_none() && other.told_by.is_none() {
        return false;
    }
    let is_soon = a.start.since(b.start).abs() <= skew.saturating_add(Timestamp::SECOND);
    let is_end = |a: crate::conn::Endpoint, b: crate::conn::Endpoint| {
        let is_unknown = a.ip.is_unspecified() || b.ip.is_unspecified();
        let is_port = a.port == 0 || b.port == 0 || a.port == b.port;
        is_unknown || a.ip.to_canonical() == b.ip.to_canonical() && is_port
    };
    is_soon && is_end(one.client, other.client) && is_end(one.server, other.server) && says_the_same(a, b)
}

fn says_the_same(a: &Subject, b: &Subject) -> bool {
    let is_known = |subject: &Subject| !subject.conn.client.ip.is_unspecified();
    match (&a.http, &b.http, &a.dns, &b.dns) {
        (_, _, Some(a), Some(b)) => a.name.eq_ignore_ascii_case(&b.name),
        (Some(one), Some(other), ..) => match (&a.imds, &b.imds) {
            (Some(a), Some(b)) => a.path == b.path,
            _ => one.target == other.target,
        },
        // a connection, and what went over it
        (Some(_), None, None, None) | (None, Some(_), None, None) | (None, None, None, None) => {
            let is_there = |subject: &Subject| subject.imds.is_some() || subject.http.is_none();
            is_known(a) && is_known(b) && is_there(a) && is_there(b)
        }
        _ => false,
    }
}
