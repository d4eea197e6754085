//! Credentials that were issued on the wire and are seen again in clear text (contract section 4, "Relay").
//!
//! In: keyed hashes of the secrets of each issuance, and of the tokens seen elsewhere. Out: sightings, each after a short
//! wait, so that of several hops that pass one message on the outermost is told. Bounded by count.

use std::collections::VecDeque;
use std::sync::Arc;

use super::issue::HOLD;
use super::table::Table;
use crate::alert::Subject;
use crate::detect::TokenHash;
use crate::packet::Timestamp;

/// Most sightings that wait.
const WAITING: usize = 4096;

/// Issued secrets, and sightings that wait.
#[derive(Debug)]
pub struct Relays {
    /// The exchange that issued each secret last.
    issued: Table<TokenHash, Arc<Subject>>,
    waiting: VecDeque<(Timestamp, Sighting)>,
}

/// A message that carries issued secrets.
#[derive(Debug)]
pub struct Sighting {
    /// What carried them.
    pub subject: Arc<Subject>,
    /// First and last byte of the exchange.
    pub span: (Timestamp, Timestamp),
    /// Where the secrets were issued, latest issuance of each.
    pub issued: Vec<Arc<Subject>>,
    /// It went from the client to the server.
    pub in_request: bool,
}

impl Relays {
    /// Room for `limit` secrets.
    pub fn new(limit: usize) -> Self {
        Self { issued: Table::new(limit), waiting: VecDeque::new() }
    }

    /// Secrets that made room for others.
    pub fn evicted(&self) -> u64 {
        self.issued.evicted
    }

    /// Whether this secret was issued.
    pub fn is_issued(&self, token: TokenHash) -> bool {
        self.issued.peek(&token).is_some()
    }

    /// Whether no secret was issued.
    pub fn is_empty(&self) -> bool {
        self.issued.is_empty()
    }

    /// Remembers the secrets of an issuance.
    pub fn issue(&mut self, secrets: &[TokenHash], subject: &Arc<Subject>) {
        for secret in secrets {
            let known = self.issued.entry(*secret, || subject.clone());
            if !Arc::ptr_eq(known, subject) {
                *known = subject.clone();
            }
        }
    }

    /// Where the secrets among `tokens` were issued, before `last`; none if the exchange is a leg of the issuance itself.
    pub fn find(&self, tokens: &[TokenHash], last: Timestamp, own_fingerprint: Option<&str>) -> Vec<Arc<Subject>> {
        let mut found: Vec<Arc<Subject>> = Vec::new();
        for issued in tokens.iter().filter_map(|token| self.issued.peek(token)) {
            let is_leg = own_fingerprint.is_some() && fingerprint(issued) == own_fingerprint;
            if !is_leg && issued.over() <= last && !found.iter().any(|known| Arc::ptr_eq(known, issued)) {
                found.push(issued.clone());
            }
        }
        found
    }

    /// Takes a sighting; it waits for the hop that passes it on.
    pub fn sight(&mut self, sighting: Sighting, now: Timestamp, out: &mut Vec<Sighting>) {
        if self.waiting.len() >= WAITING {
            out.extend(self.waiting.pop_front().map(|(_, sighting)| sighting));
        }
        self.waiting.retain(|(_, inner)| !sighting.passes_on(inner));
        if !self.waiting.iter().any(|(_, outer)| outer.passes_on(&sighting) || outer.is_same_stream(&sighting)) {
            self.waiting.push_back((now.plus(HOLD), sighting));
        }
    }

    /// Sightings that waited long enough.
    pub fn expire(&mut self, now: Timestamp, out: &mut Vec<Sighting>) {
        while self.waiting.front().is_some_and(|(until, _)| *until <= now) {
            out.extend(self.waiting.pop_front().map(|(_, sighting)| sighting));
        }
    }

    /// All sightings that wait.
    pub fn finish(&mut self, out: &mut Vec<Sighting>) {
        out.extend(self.waiting.drain(..).map(|(_, sighting)| sighting));
    }
}

impl Sighting {
    /// Whether `inner` is the same message on its way to this one's other end.
    fn passes_on(&self, inner: &Self) -> bool {
        let (outer, within) = (&self.subject.conn, &inner.subject.conn);
        let same_kind = self.subject.http.is_some() == inner.subject.http.is_some()
            && self.subject.dns.is_some() == inner.subject.dns.is_some();
        same_kind
            && self.in_request == inner.in_request
            && outer.server != within.server
            && self.span.0 <= inner.span.0
            && inner.span.1 <= self.span.1
            && inner.issued.iter().any(|issued| self.issued.iter().any(|own| Arc::ptr_eq(own, issued)))
    }

    /// Whether both are pieces of one conversation that is no HTTP.
    fn is_same_stream(&self, other: &Self) -> bool {
        let raw = |subject: &Subject| subject.http.is_none() && subject.dns.is_none();
        raw(&self.subject)
            && raw(&other.subject)
            && super::subject::same_ends(&self.subject.conn, &other.subject.conn)
            && other.issued.iter().all(|issued| self.issued.iter().any(|own| Arc::ptr_eq(own, issued)))
    }
}

fn fingerprint(issued: &Subject) -> Option<&str> {
    issued.imds.as_ref()?.credential.as_ref()?.fingerprint.as_deref()
}
