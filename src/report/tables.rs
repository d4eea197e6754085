//! What a report counts beside incidents: clients, credentials, usual clients, what was allowed, other alerts, hours.

use std::collections::{BTreeMap, BTreeSet};

use memchr::memmem;

use super::alert::{Alert, Credential, HIGH, credential};
use super::event::Event;
use super::time::{self, HOUR, Nanos};
use super::visible::visible;

/// Rows of one table; credentials and clients are never fewer than a thousand.
const MOST_ROWS: usize = 5000;
/// Holders of one credential, and addresses of one usual client, that are named.
const MOST_NAMES: usize = 50;
/// Buckets of the strip before their width is doubled.
const MOST_BUCKETS: usize = 4096;

/// A table with a bound: rows beyond it are counted and left out.
#[derive(Debug)]
pub(super) struct Bounded<K, V> {
    pub(super) rows: BTreeMap<K, V>,
    pub(super) left_out: u64,
}

impl<K, V> Default for Bounded<K, V> {
    fn default() -> Self {
        Self { rows: BTreeMap::new(), left_out: 0 }
    }
}

impl<K: Ord, V: Default> Bounded<K, V> {
    fn row(&mut self, key: K) -> Option<&mut V> {
        if self.rows.len() >= MOST_ROWS && !self.rows.contains_key(&key) {
            self.left_out += 1;
            return None;
        }
        Some(self.rows.entry(key).or_default())
    }
}

/// How often, and when first and last.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    pub(super) count: u64,
    pub(super) first: Nanos,
    pub(super) last: Nanos,
}

impl Seen {
    fn add(&mut self, count: u64, time: Nanos) {
        self.first = if self.count == 0 { time } else { self.first.min(time) };
        self.last = if self.count == 0 { time } else { self.last.max(time) };
        self.count += count;
    }
}

/// One client of metadata services.
#[derive(Debug, Default)]
pub(super) struct Client {
    pub(super) seen: Seen,
    pub(super) credentials: u64,
    pub(super) alerts: u64,
    pub(super) worst: u64,
    pub(super) providers: BTreeSet<String>,
    pub(super) names: BTreeSet<String>,
}

/// One credential.
#[derive(Debug, Default)]
pub(super) struct Holder {
    pub(super) seen: Seen,
    pub(super) left: u64,
    pub(super) worst: u64,
    pub(super) details: Credential,
    pub(super) holders: BTreeSet<String>,
}

/// A client that asks as its kind usually does: what low alerts and allowed events say.
#[derive(Debug, Default)]
pub(super) struct Usual {
    pub(super) seen: Seen,
    pub(super) hosts: BTreeSet<String>,
}

/// Alerts of one kind that belong to no incident.
#[derive(Debug, Default)]
pub(super) struct Other {
    pub(super) seen: Seen,
    pub(super) risk: u64,
    pub(super) message: String,
}

/// Severity (gravest first), rule, source address, path or URL.
pub(super) type OtherKey = (std::cmp::Reverse<u64>, String, String, String);

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Tables {
    pub(super) clients: Bounded<String, Client>,
    pub(super) credentials: Bounded<(String, String), Holder>,
    /// Client name, provider, path.
    pub(super) usual: Bounded<(String, String, String), Usual>,
    /// Entry, client address, path.
    pub(super) allowed: Bounded<(String, String, String), Seen>,
    pub(super) others: Bounded<OtherKey, Other>,
    pub(super) hours: Hours,
    /// Counters of the last `stats` event.
    pub(super) stats: BTreeMap<String, u64>,
    /// Versions of the rules that the alerts name.
    pub(super) versions: BTreeSet<String>,
    /// Alerts by severity: low, medium, high, critical.
    pub(super) severities: [u64; 4],
    pub(super) unread_connections: u64,
}

/// Whether a line is more than something to be counted: all that is not, is not parsed.
pub(super) fn is_of_interest(line: &[u8]) -> bool {
    let has = |needle: &str| memmem::find(line, needle.as_bytes()).is_some();
    has("\"imds\"") || has("alert") || has("imdswatch.stats") || has("\"stats\"")
}

impl Tables {
    /// An event that is only counted.
    pub(super) fn pass(&mut self, line: &[u8]) {
        let key = b"\"@timestamp\":\"";
        let text = memmem::find(line, key).and_then(|at| line.get(at + key.len()..)).and_then(|rest| {
            let end = memchr::memchr(b'"', rest)?;
            std::str::from_utf8(rest.get(..end)?).ok()
        });
        if let Some(time) = text.and_then(time::parse) {
            self.hours.add(time, None);
        }
    }

    /// Any event that was read.
    pub(super) fn event(&mut self, event: &Event) {
        let Some(time) = time::parse(&event.timestamp) else { return };
        let alert = event.event.kind == "alert";
        if alert {
            insert(&mut self.versions, visible(&event.rule.version));
        }
        self.hours.add(time, alert.then_some(event.event.severity));
        if let Some(own) = &event.imdswatch {
            self.stats.extend(own.stats.iter().filter_map(|(name, value)| Some((visible(name), value.as_u64()?))));
        }
        if !alert {
            self.traffic(event, time);
        }
    }

    fn traffic(&mut self, event: &Event, time: Nanos) {
        let Some(imds) = event.imds.as_ref().filter(|imds| !imds.provider.is_empty()) else { return };
        if let Some(client) = self.clients.row(event.source.host()) {
            client.seen.add(1, time);
            client.credentials += u64::from(imds.credential.issued);
            insert(&mut client.providers, visible(&imds.provider));
            insert(&mut client.names, named(event));
        }
        if !imds.allowed_by.is_empty() {
            let key = (visible(&imds.allowed_by), event.source.host(), visible(&imds.path));
            if let Some(row) = self.allowed.row(key) {
                row.add(1, time);
            }
        }
        if let Some(details) = credential(&imds.provider, &imds.credential).filter(|_| imds.credential.issued) {
            self.issued(details, event.source.host(), time, 0, false);
        }
    }

    fn issued(&mut self, details: Credential, host: String, time: Nanos, severity: u64, left: bool) {
        let Some(key) = details.key() else { return };
        let Some(row) = self.credentials.row(key) else { return };
        row.seen.add(u64::from(severity == 0), time);
        row.left += u64::from(left);
        row.worst = row.worst.max(severity);
        if row.details.expires <= details.expires {
            row.details = details;
        }
        insert(&mut row.holders, host);
    }

    /// An alert, whether it makes an incident or not.
    pub(super) fn alert(&mut self, alert: &Alert) {
        let class = match alert.severity {
            0..47 => 0,
            47..HIGH => 1,
            HIGH..99 => 2,
            _ => 3,
        };
        if let Some(count) = self.severities.get_mut(class) {
            *count += alert.count;
        }
        self.unread_connections += if alert.rule == "imds-connection" { alert.count } else { 0 };
        // The host that asked: the ends of a correlated alert are those of the request that caused it.
        let fetch = alert.chain.iter().find(|step| matches!(step.what.as_str(), "fetch" | "issued"));
        let asker = fetch.map_or(alert.source_host.clone(), |step| host(&step.source).to_owned());
        if let Some(details) = alert.credential.clone().filter(|_| alert.issued || alert.left) {
            self.issued(details, asker.clone(), alert.start, alert.severity, alert.left);
        }
        if alert.provider.is_empty() {
            return;
        }
        if let Some(client) = self.clients.row(asker) {
            client.alerts += alert.count;
            client.worst = client.worst.max(alert.severity);
            if client.seen.count == 0 {
                client.seen.add(0, alert.start);
            }
            insert(&mut client.providers, alert.provider.clone());
            insert(&mut client.names, if fetch.is_some() { String::new() } else { alert.client.clone() });
        }
    }

    /// An alert that no incident claimed.
    pub(super) fn other(&mut self, alert: &Alert) {
        let what = if alert.path.is_empty() { &alert.what } else { &alert.path };
        let key = (std::cmp::Reverse(alert.severity), alert.name.clone(), alert.source_host.clone(), what.clone());
        if let Some(row) = self.others.row(key) {
            row.seen.add(alert.count, alert.start);
            row.risk = row.risk.max(alert.risk);
            row.message.clone_from(&alert.message);
        }
        if alert.severity < 47 && !alert.client.is_empty() && alert.rule.starts_with("imds-") {
            let key = (alert.client.clone(), alert.provider.clone(), alert.path.clone());
            if let Some(row) = self.usual.row(key) {
                row.seen.add(alert.count, alert.start);
                insert(&mut row.hosts, alert.source_host.clone());
            }
        }
    }
}

/// The address of `ip:port`.
pub(super) fn host(end: &str) -> &str {
    let address = end.rsplit_once(':').map_or(end, |(address, _)| address);
    address.trim_start_matches('[').trim_end_matches(']')
}

fn named(event: &Event) -> String {
    let name = event.imds.as_ref().map_or("", |imds| imds.client.name.as_str());
    visible(if name.is_empty() { &event.user_agent.original } else { name })
}

fn insert(names: &mut BTreeSet<String>, name: String) {
    if !name.is_empty() && names.len() < MOST_NAMES {
        names.insert(name);
    }
}

/// Events by time, in buckets of an hour that grow where a capture is long.
#[derive(Debug)]
pub(super) struct Hours {
    pub(super) width: Nanos,
    /// Events, and alerts of high and of critical severity.
    pub(super) buckets: BTreeMap<Nanos, [u64; 3]>,
}

impl Default for Hours {
    fn default() -> Self {
        Self { width: HOUR, buckets: BTreeMap::new() }
    }
}

impl Hours {
    fn add(&mut self, time: Nanos, severity: Option<u64>) {
        let bucket = self.buckets.entry(time.div_euclid(self.width)).or_default();
        let class =
            severity.filter(|severity| *severity >= HIGH).map_or(0, |severity| if severity >= 99 { 2 } else { 1 });
        bucket[0] += 1;
        if class > 0 {
            bucket[class] += 1;
        }
        if self.buckets.len() > MOST_BUCKETS {
            self.widen();
        }
    }

    /// Doubles the width of a bucket.
    pub(super) fn widen(&mut self) {
        self.width *= 2;
        for (at, counts) in std::mem::take(&mut self.buckets) {
            let bucket = self.buckets.entry(at.div_euclid(2)).or_default();
            bucket.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        }
    }
}
