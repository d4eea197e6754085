//! Credentials that were issued on the wire and are seen again in clear text (contract section 4, "Relay").
//!
//! In: hashes of the secrets of each issuance, and of what is seen elsewhere. Out: sightings, each after a short wait, so
//! that of several hops that pass one message on the outermost is told. Bounded by count.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};

use super::issue::HOLD;
use super::subject;
use super::{Correlator, span};
use crate::alert::{Alert, Subject};
use crate::detect::{DnsVerdict, IssuedSecrets, Part, Secret, Seen, Signal, Signals, Spot, Tokens, Verdict};
use crate::id::EventId;
use crate::packet::Timestamp;
use crate::proto::{dns, http};

/// Most sightings that wait, and most uses by holders that are remembered.
const WAITING: usize = 4096;
/// How many of them, the newest, one is compared with: hops of one message come close to each other.
const COMPARED: usize = 256;
/// Most clients of one secret that are remembered.
const HOLDERS: usize = 8;
/// Blocks of secrets for each entry of other tables.
const BLOCKS: usize = 16;

/// Issued secrets, and sightings that wait.
#[derive(Debug)]
pub struct Relays {
    issued: IssuedSecrets,
    young: Generation,
    old: Generation,
    waiting: VecDeque<(Timestamp, Sighting)>,
    /// Exchanges in which holders used their tokens, latest last: a proxy's leg is within one.
    uses: VecDeque<(Timestamp, Timestamp, Arc<Subject>)>,
    evicted: u64,
}

/// Secrets that came at about the same time: they are forgotten together.
#[derive(Debug, Default)]
struct Generation {
    issuers: Vec<Issuer>,
    /// Place of a secret in `issuers`, by a hash of all of it.
    known: HashMap<u64, u32, RandomState>,
    anchors: HashMap<u64, u32, RandomState>,
}

/// Who has a secret.
#[derive(Debug)]
struct Issuer {
    part: Part,
    /// The exchange that issued it last.
    subject: Arc<Subject>,
    holders: Vec<IpAddr>,
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
    /// Nothing but a token that another client uses as its own.
    pub elsewhere: bool,
}

/// Issued secrets in a message.
#[derive(Debug, Default)]
struct Found {
    /// Where they were issued.
    issued: Vec<Arc<Subject>>,
    /// None stands outside the places where it belongs; another client uses it.
    elsewhere: bool,
    /// A holder's token stands where it belongs.
    used: Option<Arc<Subject>>,
}

impl Relays {
    /// Room for the secrets of some `limit` credentials.
    pub fn new(limit: usize) -> Self {
        Self {
            issued: IssuedSecrets::new(limit.saturating_mul(BLOCKS)),
            young: Generation::default(),
            old: Generation::default(),
            waiting: VecDeque::new(),
            uses: VecDeque::new(),
            evicted: 0,
        }
    }

    /// Secrets that made room for others.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// What finds the secrets in texts.
    pub fn issued(&self) -> &IssuedSecrets {
        &self.issued
    }

    /// Whether no secret was issued.
    pub fn is_empty(&self) -> bool {
        self.issued.is_empty()
    }

    /// Remembers the secrets of an issuance.
    pub fn issue(&mut self, secrets: &[Secret], subject: &Arc<Subject>) {
        let client = subject.conn.client.ip;
        for secret in secrets {
            let digest = secret.digest;
            if let Some(known) = self.young.find(digest) {
                known.subject = Arc::clone(subject);
                if known.holders.len() < HOLDERS && !known.holders.contains(&client) {
                    known.holders.push(client);
                }
                continue;
            }
            let mut holders = self.old.find(digest).map(|known| known.holders.clone()).unwrap_or_default();
            if holders.len() < HOLDERS && !holders.contains(&client) {
                holders.push(client);
            }
            if self.issued.add(secret) {
                self.evicted += self.old.issuers.len() as u64;
                self.old = std::mem::take(&mut self.young);
            }
            self.young.add(digest, secret, Issuer { part: secret.part, subject: Arc::clone(subject), holders });
        }
    }

    /// The secrets among `seen`, carried by `client`, that were issued before `last`; none if the exchange is a leg of the
    /// issuance itself.
    fn find(&self, seen: &[Seen], client: IpAddr, last: Timestamp, own_fingerprint: Option<&str>) -> Found {
        let mut found = Found { elsewhere: true, ..Found::default() };
        let mut looked_up: HashSet<Seen, RandomState> = HashSet::default();
        for seen in seen {
            let Some(issuer) = self.young.issuer(*seen).or_else(|| self.old.issuer(*seen)) else { continue };
            if !looked_up.insert(*seen) || issuer.subject.over() > last {
                continue;
            }
            if own_fingerprint.is_some() && fingerprint(&issuer.subject) == own_fingerprint {
                continue;
            }
            match issuer.meaning(seen.spot(), client) {
                Meaning::Belongs => {}
                Meaning::Used => found.used = Some(Arc::clone(&issuer.subject)),
                Meaning::Elsewhere => add(&mut found.issued, &issuer.subject),
                Meaning::Leaves => {
                    found.elsewhere = false;
                    add(&mut found.issued, &issuer.subject);
                }
            }
        }
        found.elsewhere &= !found.issued.is_empty();
        found
    }

    /// A holder used its token: a proxy that passes the request on is no other holder.
    fn used(&mut self, span: (Timestamp, Timestamp), issued: Arc<Subject>) {
        let is_passed_on = |inner: &Sighting| {
            inner.elsewhere
                && span.0 <= inner.span.0
                && inner.span.1 <= span.1
                && inner.issued.iter().any(|of| Arc::ptr_eq(of, &issued))
        };
        self.withdraw(is_passed_on);
        if self.uses.len() >= WAITING {
            self.uses.pop_front();
        }
        self.uses.push_back((span.0, span.1, issued));
    }

    /// Whether a holder's own request is on its way meanwhile.
    fn is_passed_on(&self, sighting: &Sighting) -> bool {
        let outer = |(first, last, issued): &(Timestamp, Timestamp, Arc<Subject>)| {
            *first <= sighting.span.0
                && sighting.span.1 <= *last
                && sighting.issued.iter().any(|of| Arc::ptr_eq(of, issued))
        };
        sighting.elsewhere && self.uses.iter().rev().take(COMPARED).any(outer)
    }

    /// Drops those of the newest sightings that are another's.
    fn withdraw(&mut self, is_anothers: impl Fn(&Sighting) -> bool) {
        let from = self.waiting.len().saturating_sub(COMPARED);
        if self.waiting.iter().skip(from).any(|(_, inner)| is_anothers(inner)) {
            let mut at = 0;
            self.waiting.retain(|(_, inner)| {
                at += 1;
                at <= from || !is_anothers(inner)
            });
        }
    }

    /// Takes a sighting; it waits for the hop that passes it on.
    pub fn sight(&mut self, sighting: Sighting, now: Timestamp, out: &mut Vec<Sighting>) {
        if self.waiting.len() >= WAITING {
            out.extend(self.waiting.pop_front().map(|(_, sighting)| sighting));
        }
        self.withdraw(|inner| sighting.passes_on(inner));
        let is_known = |outer: &Sighting| outer.passes_on(&sighting) || outer.is_same_stream(&sighting);
        let newest = self.waiting.iter().rev().take(COMPARED);
        if !newest.map(|(_, outer)| outer).any(is_known) && !self.is_passed_on(&sighting) {
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

/// What it means that a secret is seen.
enum Meaning {
    /// It is where it belongs, whoever sends it.
    Belongs,
    /// Its holder uses it.
    Used,
    /// Another client uses it.
    Elsewhere,
    /// It is anywhere else.
    Leaves,
}

impl Issuer {
    fn meaning(&self, spot: Spot, client: IpAddr) -> Meaning {
        let uses = || if self.holders.contains(&client) { Meaning::Used } else { Meaning::Elsewhere };
        match (self.part, spot) {
            // A signed URL or form is made to be handed on.
            (Part::Access, _) | (Part::Session, Spot::Signed) => Meaning::Belongs,
            (Part::Session, Spot::SignedHeader) | (Part::Bearer, Spot::Authorization) => uses(),
            _ => Meaning::Leaves,
        }
    }
}

impl Generation {
    fn find(&mut self, digest: u64) -> Option<&mut Issuer> {
        let place = *self.known.get(&digest)?;
        self.issuers.get_mut(place as usize)
    }

    fn issuer(&self, seen: Seen) -> Option<&Issuer> {
        let place = *self.anchors.get(&seen.anchor())?;
        self.issuers.get(place as usize)
    }

    fn add(&mut self, digest: u64, secret: &Secret, issuer: Issuer) {
        let place = self.issuers.len() as u32; // far below that many
        self.issuers.push(issuer);
        self.known.insert(digest, place);
        let anchors = secret.anchors.iter().map(|anchor| Seen::new(*anchor, Spot::Open).anchor());
        self.anchors.extend(anchors.map(|anchor| (anchor, place)));
    }
}

fn add(issued: &mut Vec<Arc<Subject>>, subject: &Arc<Subject>) {
    if !issued.iter().any(|known| Arc::ptr_eq(known, subject)) {
        issued.push(Arc::clone(subject));
    }
}

impl Correlator {
    /// What an exchange carries; whether an issued secret is among it, and what to say of that.
    pub(super) fn carried(
        &mut self,
        tx: &http::Transaction,
        verdict: &Verdict,
        event_id: EventId,
        alerts: &mut Vec<Arc<Alert>>,
    ) -> Signals {
        let mut signals = Signals::default();
        if verdict.carried.is_empty() || self.relays.is_empty() {
            return signals;
        }
        let imds = verdict.imds.as_ref();
        let own = imds.and_then(|imds| imds.credential.as_ref()).filter(|credential| credential.issued);
        let fingerprint = own.and_then(|credential| credential.fingerprint.as_deref());
        let (first, end) = span(tx);
        let [in_request, in_response] = verdict.carried.found();
        let sides = [(true, &tx.request, in_request), (false, &tx.response, in_response)];
        for (in_request, message, seen) in sides {
            let last = message.as_ref().map_or(end, |message| message.last);
            let found = self.relays.find(seen, tx.conn.client.ip, last, fingerprint);
            if let Some(issued) = found.used {
                self.relays.used((first, end), issued);
            }
            let (issued, elsewhere) = (found.issued, found.elsewhere);
            if issued.iter().all(|subject| subject.event_id == event_id) {
                continue;
            }
            signals.add(if elsewhere { Signal::UsedElsewhere } else { Signal::Relayed });
            let subject = self.subjects.of_http(tx, imds, Signals::default(), event_id);
            self.sight(Sighting { subject, span: (first, end), issued, in_request, elsewhere }, alerts);
        }
        signals
    }

    /// The same for clear text that is neither HTTP nor DNS.
    pub(super) fn carried_in_text(&mut self, tokens: &Tokens, event_id: EventId, alerts: &mut Vec<Arc<Alert>>) {
        let found = self.relays.find(&tokens.hashes, tokens.conn.client.ip, tokens.time, None);
        let (issued, elsewhere) = (found.issued, found.elsewhere);
        if !issued.is_empty() && !issued.iter().any(|issued| subject::same_ends(&issued.conn, &tokens.conn)) {
            let subject = subject::of_tokens(tokens, event_id);
            let span = (tokens.time, tokens.time);
            self.sight(Sighting { subject, span, issued, in_request: true, elsewhere }, alerts);
        }
    }

    /// The same for the name that a DNS query asks for; whether an issued secret is in it.
    pub(super) fn carried_in_name(
        &mut self,
        tx: &dns::Transaction,
        verdict: &DnsVerdict,
        event_id: EventId,
        alerts: &mut Vec<Arc<Alert>>,
    ) -> bool {
        if verdict.tokens.is_empty() || self.relays.is_empty() {
            return false;
        }
        let span = super::lookup::dns_span(tx);
        let issued = self.relays.find(&verdict.tokens, tx.conn.client.ip, span.1, None).issued;
        let is_relayed = !issued.is_empty();
        if is_relayed {
            let subject = subject::of_dns(tx, verdict, event_id);
            self.sight(Sighting { subject, span, issued, in_request: true, elsewhere: false }, alerts);
        }
        is_relayed
    }

    fn sight(&mut self, sighting: Sighting, alerts: &mut Vec<Arc<Alert>>) {
        let mut sightings = Vec::new();
        self.relays.sight(sighting, self.now, &mut sightings);
        self.tell(Vec::new(), Vec::new(), sightings, alerts);
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
            && subject::same_ends(&self.subject.conn, &other.subject.conn)
            && other.issued.iter().all(|issued| self.issued.iter().any(|own| Arc::ptr_eq(own, issued)))
    }
}

fn fingerprint(issued: &Subject) -> Option<&str> {
    issued.imds.as_ref()?.credential.as_ref()?.fingerprint.as_deref()
}
