//! Alerts that belong together: one theft is one incident, however many alerts it raised.
//!
//! ```text
//! high, critical ──► shares an event or a connection with an incident?            ──► joins it (two that it ties become one)
//!                    else its actor or its credential, within NEAR of its last?   ──► joins it
//!                    else                                                         ──► begins one, and takes what waits
//! low, medium    ──► the same questions; what nobody claims waits, and is at last one of the other alerts
//! ```
//!
//! Bounds: incidents, what each holds, the index of what they share, and what waits; all of them count what they leave out.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use super::alert::{Alert, Credential, HIGH, Step};
use super::time::{Nanos, SECOND};

/// Time within which the same actor or credential makes one incident.
const NEAR: Nanos = 900 * SECOND;
/// Incidents at the same time.
const MOST_INCIDENTS: usize = 5000;
/// Things by which incidents are found again.
const MOST_KEYS: usize = 200_000;
/// Alerts below high that wait to be claimed.
const MOST_WAITING: usize = 2048;
/// Kinds of alert that one incident lists.
const MOST_LINES: usize = 60;
/// Chains that one incident shows.
const MOST_CHAINS: usize = 3;
/// Credentials, addresses and other names that one incident lists, each.
const MOST_NAMES: usize = 1000;

/// What belongs together.
#[derive(Clone, Debug, Default)]
pub(super) struct Incident {
    pub(super) first: Nanos,
    pub(super) last: Nanos,
    pub(super) severity: u64,
    pub(super) risk: u64,
    tells: u64,
    pub(super) alerts: u64,
    /// The sentence and the rule of its gravest alert.
    pub(super) headline: String,
    pub(super) name: String,
    pub(super) issued: bool,
    pub(super) left: bool,
    pub(super) lines: BTreeMap<LineKey, Line>,
    pub(super) lines_left_out: u64,
    pub(super) chains: Vec<Chain>,
    pub(super) chains_left_out: u64,
    /// By what tells one from another: the public identifier and the fingerprint.
    pub(super) credentials: BTreeMap<(String, String), Credential>,
    pub(super) clients: BTreeSet<String>,
    pub(super) processes: BTreeSet<String>,
    pub(super) services: BTreeSet<String>,
    /// Alerts of its own that have no chain, for the picture.
    pub(super) moments: Vec<Step>,
}

/// What makes alerts of an incident one line: rule, source address, destination and URL.
pub(super) type LineKey = (std::cmp::Reverse<u64>, String, String, String, String);

/// Alerts of one kind in an incident.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) count: u64,
    pub(super) first: Nanos,
    pub(super) last: Nanos,
    pub(super) message: String,
}

/// The steps of one correlated alert.
#[derive(Clone, Debug)]
pub(super) struct Chain {
    pub(super) severity: u64,
    pub(super) start: Nanos,
    pub(super) rule: String,
    pub(super) steps: Vec<Step>,
}

impl Chain {
    /// How far it went: a credential that was issued, one that left.
    fn reach(&self) -> usize {
        self.steps.iter().filter(|step| matches!(step.what.as_str(), "issued" | "relayed")).count()
    }
}

/// All incidents of a run so far.
#[derive(Debug, Default)]
pub(super) struct Incidents {
    incidents: BTreeMap<u64, Incident>,
    next: u64,
    /// Where an incident went that turned out to be part of another.
    absorbed: HashMap<u64, u64>,
    index: HashMap<String, (u64, Nanos)>,
    keys: VecDeque<String>,
    waiting: VecDeque<Waiting>,
    /// How many of those that wait have this key.
    wanted: HashMap<String, u32>,
    /// Incidents dropped because there were too many.
    pub(super) left_out: u64,
}

/// An alert below high that nobody has claimed yet.
#[derive(Debug)]
struct Waiting {
    alert: Alert,
    bonds: Vec<String>,
    likenesses: Vec<String>,
}

impl Incidents {
    /// Takes an alert; gives back what nobody claimed in time.
    pub(super) fn add(&mut self, alert: Alert) -> Option<Alert> {
        let owners = self.owners(&alert);
        match (owners.first().copied(), alert.severity >= HIGH) {
            (Some(first), _) => self.join(first, &owners, &alert),
            (None, true) => self.begin(&alert),
            (None, false) => return self.wait(alert),
        }
        None
    }

    /// What still waits, and all incidents, gravest first, then oldest.
    pub(super) fn finish(mut self) -> (Vec<Incident>, Vec<Alert>, u64) {
        let waiting = std::mem::take(&mut self.waiting).into_iter().map(|one| one.alert).collect();
        let mut incidents: Vec<_> = self.incidents.into_values().collect();
        incidents.sort_by_key(|one| (std::cmp::Reverse((one.severity, one.left, one.issued, one.risk)), one.first));
        (incidents, waiting, self.left_out)
    }

    /// Incidents that the alert belongs to, in the order of their beginning.
    fn owners(&self, alert: &Alert) -> Vec<u64> {
        let known = |key: &String| self.index.get(key).and_then(|(id, time)| Some((self.living(*id)?, *time)));
        let bound: BTreeSet<_> = alert.bonds().iter().filter_map(known).map(|(id, _)| id).collect();
        if !bound.is_empty() {
            return bound.into_iter().collect();
        }
        let near = |(_, time): &(u64, Nanos)| (alert.start - time).abs() <= NEAR;
        let like: BTreeSet<_> = alert.likenesses().iter().filter_map(known).filter(near).map(|(id, _)| id).collect();
        like.into_iter().collect()
    }

    /// The incident that this one is part of now; `None` where it was dropped.
    fn living(&self, mut id: u64) -> Option<u64> {
        while let Some(other) = self.absorbed.get(&id) {
            id = *other;
        }
        self.incidents.contains_key(&id).then_some(id)
    }

    /// Lets an alert wait to be claimed; gives back the oldest where there are too many.
    fn wait(&mut self, alert: Alert) -> Option<Alert> {
        let one = Waiting { bonds: alert.bonds(), likenesses: alert.likenesses(), alert };
        for key in one.bonds.iter().chain(&one.likenesses) {
            *self.wanted.entry(key.clone()).or_default() += 1;
        }
        self.waiting.push_back(one);
        let oldest = (self.waiting.len() > MOST_WAITING).then(|| self.waiting.pop_front()).flatten()?;
        self.forget(&oldest);
        Some(oldest.alert)
    }

    fn forget(&mut self, one: &Waiting) {
        for key in one.bonds.iter().chain(&one.likenesses) {
            if let Some(count) = self.wanted.get_mut(key) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    self.wanted.remove(key);
                }
            }
        }
    }

    fn join(&mut self, first: u64, owners: &[u64], alert: &Alert) {
        for id in owners.iter().skip(1) {
            if let (Some(other), Some(incident)) = (self.incidents.remove(id), self.incidents.get_mut(&first)) {
                incident.absorb(other);
                self.absorbed.insert(*id, first);
            }
        }
        if let Some(incident) = self.incidents.get_mut(&first) {
            incident.add(alert);
        }
        self.point(first, alert);
        self.claim(first, alert);
    }

    fn begin(&mut self, alert: &Alert) {
        if self.incidents.len() >= MOST_INCIDENTS {
            let least = self.incidents.iter().min_by_key(|(id, one)| (one.severity, one.risk, **id)).map(|(id, _)| *id);
            least.and_then(|id| self.incidents.remove(&id));
            self.left_out += 1;
        }
        let id = self.next;
        self.next += 1;
        let mut incident = Incident { first: alert.start, last: alert.start, ..Incident::default() };
        incident.add(alert);
        self.incidents.insert(id, incident);
        self.point(id, alert);
        self.claim(id, alert);
    }

    fn point(&mut self, id: u64, alert: &Alert) {
        for key in alert.bonds().into_iter().chain(alert.likenesses()) {
            if self.index.insert(key.clone(), (id, alert.start)).is_none() {
                self.keys.push_back(key);
            }
        }
        while self.keys.len() > MOST_KEYS {
            self.keys.pop_front().and_then(|key| self.index.remove(&key));
        }
    }

    /// Takes from what waits all that shares something with the alert that has just joined.
    fn claim(&mut self, id: u64, alert: &Alert) {
        let (bonds, likenesses) = (alert.bonds(), alert.likenesses());
        if !bonds.iter().chain(&likenesses).any(|key| self.wanted.contains_key(key)) {
            return;
        }
        let shares = |one: &Waiting| {
            one.bonds.iter().any(|bond| bonds.contains(bond))
                || (alert.start - one.alert.start).abs() <= NEAR
                    && one.likenesses.iter().any(|like| likenesses.contains(like))
        };
        let (claimed, waiting) = std::mem::take(&mut self.waiting).into_iter().partition::<VecDeque<_>, _>(shares);
        self.waiting = waiting;
        for one in claimed {
            self.forget(&one);
            if let Some(incident) = self.incidents.get_mut(&id) {
                incident.add(&one.alert);
            }
            self.point(id, &one.alert);
        }
    }
}

impl Incident {
    fn add(&mut self, alert: &Alert) {
        let grade = (alert.severity, tells(&alert.rule), alert.risk);
        self.lead(grade, &alert.message, &alert.name);
        self.alerts += alert.count;
        (self.first, self.last) = (self.first.min(alert.start), self.last.max(alert.start));
        self.issued |= alert.issued;
        self.left |= alert.left;
        if let Some(credential) = alert.credential.as_ref().filter(|_| alert.issued || alert.left) {
            self.add_credential(credential);
        }
        note(&mut self.clients, Some(alert.client.clone()).filter(|name| !name.is_empty()));
        note(&mut self.processes, Some(alert.process.clone()).filter(|name| !name.is_empty()));
        let service = format!("{} {}", alert.provider, alert.service);
        note(&mut self.services, Some(service.trim().to_owned()).filter(|name| !name.is_empty()));
        self.add_line(alert);
        if alert.chain.is_empty() {
            self.add_moment(alert);
        } else {
            self.add_chain(Chain {
                severity: alert.severity,
                start: alert.start,
                rule: alert.rule.clone(),
                steps: alert.chain.clone(),
            });
        }
    }

    fn add_line(&mut self, alert: &Alert) {
        let key = (
            std::cmp::Reverse(alert.severity),
            alert.rule.clone(),
            alert.source_host.clone(),
            alert.destination.clone(),
            alert.what.clone(),
        );
        let (count, start, message) = (alert.count, alert.start, alert.message.clone());
        self.merge_line(key, Line { count, first: start, last: start, message });
    }

    fn add_moment(&mut self, alert: &Alert) {
        if self.moments.len() < MOST_LINES {
            self.moments.push(Step {
                id: String::new(),
                time: Some(alert.start),
                what: alert.rule.clone(),
                source: alert.source.clone(),
                destination: alert.destination.clone(),
                url: alert.what.clone(),
            });
        }
    }

    fn add_chain(&mut self, chain: Chain) {
        self.chains.push(chain);
        self.chains.sort_by_key(|one| (std::cmp::Reverse((one.severity, one.reach())), one.start));
        if self.chains.len() > MOST_CHAINS {
            self.chains.pop();
            self.chains_left_out += 1;
        }
    }

    /// Takes over what another holds that turned out to be the same.
    fn absorb(&mut self, other: Self) {
        self.lead((other.severity, other.tells, other.risk), &other.headline, &other.name);
        self.alerts += other.alerts;
        (self.first, self.last) = (self.first.min(other.first), self.last.max(other.last));
        self.issued |= other.issued;
        self.left |= other.left;
        self.lines_left_out += other.lines_left_out;
        self.chains_left_out += other.chains_left_out;
        other.credentials.values().for_each(|one| self.add_credential(one));
        other.clients.into_iter().for_each(|one| note(&mut self.clients, Some(one)));
        other.processes.into_iter().for_each(|one| note(&mut self.processes, Some(one)));
        other.services.into_iter().for_each(|one| note(&mut self.services, Some(one)));
        other.chains.into_iter().for_each(|chain| self.add_chain(chain));
        let room = MOST_LINES.saturating_sub(self.moments.len());
        self.moments.extend(other.moments.into_iter().take(room));
        for (key, line) in other.lines {
            self.merge_line(key, line);
        }
    }

    /// Takes the sentence for the incident's own where its alert is graver, or as grave and tells more.
    fn lead(&mut self, grade: (u64, u64, u64), headline: &str, name: &str) {
        if self.headline.is_empty() || grade > (self.severity, self.tells, self.risk) {
            (self.severity, self.tells, self.risk) = grade;
            (self.headline, self.name) = (headline.to_owned(), name.to_owned());
        }
    }

    /// The same credential is issued again and again until it expires: the latest says most.
    fn add_credential(&mut self, credential: &Credential) {
        let Some(key) = credential.key() else { return };
        let full = self.credentials.len() >= MOST_NAMES && !self.credentials.contains_key(&key);
        if full {
            return;
        }
        let known = self.credentials.entry(key).or_insert_with(|| credential.clone());
        if (&known.expires, &known.scope) < (&credential.expires, &credential.scope) {
            known.clone_from(credential);
        }
    }

    fn merge_line(&mut self, key: LineKey, line: Line) {
        if let Some(own) = self.lines.get_mut(&key) {
            own.count += line.count;
            (own.first, own.last) = (own.first.min(line.first), own.last.max(line.last));
        } else if self.lines.len() < MOST_LINES {
            self.lines.insert(key, line);
        } else {
            self.lines_left_out += line.count;
        }
    }
}

/// How much an alert of this rule tells of what happened: who did it, through what, and whether it left.
fn tells(rule: &str) -> u64 {
    match rule {
        "ssrf-confirmed" => 4,
        "credential-relayed" => 3,
        "dns-rebinding" | "imds-command" => 2,
        "imds-credential-issued" => 1,
        _ => 0,
    }
}

fn note<T: Ord>(names: &mut BTreeSet<T>, name: Option<T>) {
    if names.len() < MOST_NAMES {
        names.extend(name);
    }
}
