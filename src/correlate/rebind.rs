//! Names that are no metadata names and resolve to a metadata address (contract section 4, `dns-rebinding`).
//!
//! In: DNS transactions and metadata requests. Out: findings, after a short wait for the fetch that makes them critical.
//! Remembers how each name was resolved, for request forgery by name. Bounded by count.

use std::collections::VecDeque;
use std::hash::Hasher;
use std::net::IpAddr;
use std::sync::Arc;

use super::issue::HOLD;
use super::subject::key;
use super::table::Table;
use crate::alert::{ChainLink, Subject};
use crate::conn::{Conn, Endpoint};
use crate::id::EventId;
use crate::packet::Timestamp;

/// Most lookups remembered.
const LOOKUPS: usize = 1024;

/// How names were resolved, and lookups that wait or may still be followed.
#[derive(Debug)]
pub struct Rebinds {
    /// By a hash of the name.
    names: Table<u128, Name>,
    /// In the order in which their waiting ends.
    waiting: VecDeque<Lookup>,
    /// Told, but not followed by a fetch yet.
    told: VecDeque<Lookup>,
    window: i64,
}

/// How a name was resolved so far; small, so that the table of all names stays in a cache.
#[derive(Debug, Default)]
struct Name {
    /// To another address, first.
    elsewhere: Option<Box<Elsewhere>>,
    /// To a metadata address, last.
    metadata: Option<Box<ChainLink>>,
}

/// An earlier resolution: what its link in a chain needs, kept small because every name of the run has one.
#[derive(Debug)]
struct Elsewhere {
    id: EventId,
    time: Timestamp,
    client: Endpoint,
    server: Endpoint,
}

/// A lookup of a foreign name that led to a metadata address.
#[derive(Clone, Debug)]
pub struct Lookup {
    /// The transaction.
    pub subject: Arc<Subject>,
    /// Question and answer.
    pub span: (Timestamp, Timestamp),
    /// The name.
    pub name: String,
    /// Metadata address that was answered, with its provider.
    pub address: (IpAddr, &'static str),
    /// When it resolved elsewhere before.
    pub elsewhere: Option<ChainLink>,
    /// The metadata request that followed.
    pub fetch: Option<Arc<Subject>>,
    until: Timestamp,
}

impl Rebinds {
    /// Room for `limit` names; a fetch follows within `window` nanoseconds.
    pub fn new(limit: usize, window: i64) -> Self {
        Self { names: Table::new(limit), waiting: VecDeque::new(), told: VecDeque::new(), window }
    }

    /// Names that made room for others.
    pub fn evicted(&self) -> u64 {
        self.names.evicted
    }

    /// How `name` was resolved to a metadata address.
    pub fn resolved(&self, name: &str) -> Option<ChainLink> {
        self.names.peek(&hash(name))?.metadata.as_deref().cloned()
    }

    /// A name resolved to ordinary addresses only.
    pub fn elsewhere(&mut self, name: &str, conn: &Conn, time: Timestamp, event_id: EventId) {
        let known = self.names.entry(hash(name), Name::default);
        let (client, server) = (conn.client, conn.server);
        let new = || Box::new(Elsewhere { id: event_id, time, client, server });
        known.elsewhere.get_or_insert_with(new);
    }

    /// A foreign name resolved to a metadata address.
    pub fn metadata(
        &mut self,
        (subject, span): (Arc<Subject>, (Timestamp, Timestamp)),
        name: &str,
        address: (IpAddr, &'static str),
        now: Timestamp,
        out: &mut Vec<Lookup>,
    ) {
        let known = self.names.entry(hash(name), Name::default);
        known.metadata = Some(Box::new(subject.link("dns", span.1)));
        let elsewhere = known.elsewhere.as_ref().map(|seen| ChainLink {
            id: seen.id,
            time: seen.time,
            what: "dns",
            source: seen.client,
            destination: seen.server,
            url: name.into(),
        });
        // of several resolvers on the way to one answer the first one's client is the one that asked
        let within =
            |inner: (Timestamp, Timestamp), outer: (Timestamp, Timestamp)| outer.0 <= inner.0 && inner.1 <= outer.1;
        self.waiting.retain(|known| known.name != name || known.span == span || !within(known.span, span));
        if self.waiting.len() >= LOOKUPS {
            out.extend(self.waiting.pop_front());
        }
        let until = now.plus(HOLD);
        let name = name.to_owned();
        self.waiting.push_back(Lookup { subject, span, name, address, elsewhere, fetch: None, until });
    }

    /// A metadata request: it follows a lookup by its Host header, or, without one, by its ends.
    pub fn fetch(&mut self, subject: &Arc<Subject>, out: &mut Vec<Lookup>) {
        if self.waiting.is_empty() && self.told.is_empty() {
            return;
        }
        let host = subject.http.as_ref().and_then(|http| http.host.as_deref());
        let host = host.map(|host| host.split(':').next().unwrap_or(host).trim_end_matches('.').to_ascii_lowercase());
        let follows = |lookup: &Lookup| {
            let named = match &host {
                Some(host) => *host == lookup.name,
                None => {
                    subject.conn.client.ip == lookup.subject.conn.client.ip
                        && subject.conn.server.ip.to_canonical() == lookup.address.0.to_canonical()
                }
            };
            named && subject.start >= lookup.span.0
        };
        for lookup in self.waiting.iter_mut().filter(|lookup| lookup.fetch.is_none() && follows(lookup)) {
            lookup.fetch = Some(subject.clone());
        }
        if let Some(at) = self.told.iter().position(follows)
            && let Some(lookup) = self.told.remove(at)
        {
            out.push(Lookup { fetch: Some(subject.clone()), ..lookup });
        }
    }

    /// Lookups that waited long enough; those that may still be followed are kept for the window.
    pub fn expire(&mut self, now: Timestamp, out: &mut Vec<Lookup>) {
        while self.waiting.front().is_some_and(|lookup| lookup.until <= now) {
            let Some(lookup) = self.waiting.pop_front() else { return };
            if lookup.fetch.is_none() {
                if self.told.len() >= LOOKUPS {
                    self.told.pop_front();
                }
                self.told.push_back(lookup.clone());
            }
            out.push(lookup);
        }
        while self.told.front().is_some_and(|lookup| now.since(lookup.span.1) > self.window) {
            self.told.pop_front();
        }
    }

    /// All lookups that wait.
    pub fn finish(&mut self, out: &mut Vec<Lookup>) {
        out.extend(self.waiting.drain(..));
    }
}

fn hash(name: &str) -> u128 {
    key(|hasher| hasher.write(name.as_bytes()))
}
