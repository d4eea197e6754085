//! One issuance, one alert (contract section 4): the legs of one issuance are found by path, fingerprint and time.
//!
//! In: exchanges whose answer proves a credential. Out: whether to alert now, to wait for the leg to an address of the
//! catalogue, or not at all. Bounded by count and age.

use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::quality::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use super::repeats::Key;
use crate::alert::Alert;
use crate::conn::Conn;
use crate::detect::{Imds, RecognisedBy};
use crate::packet::Timestamp;

/// How long a leg to another address waits for the leg to a catalogue address, in nanoseconds of packet time.
pub const HOLD: i64 = 2 * Timestamp::SECOND;
/// Most legs remembered.
const LEGS: usize = 4096;
/// How long a leg is remembered after its answer, in nanoseconds: the other leg ends at most this much later.
const MEMORY: i64 = 60 * Timestamp::SECOND;

/// Recent legs, and alerts that wait.
#[derive(Debug, Default)]
pub struct Issuances {
    legs: Legs,
    waiting: VecDeque<(Timestamp, LegSeen, Issued)>,
}

/// The alert about an issuance, with what makes others repeats of it.
pub type Issued = (Key, Arc<Alert>);

/// One leg.
#[derive(Clone, Debug)]
pub struct LegSeen {
    /// Path and credential.
    imds: Arc<Imds>,
    first: Timestamp,
    end: Timestamp,
    client: crate::conn::Endpoint,
    server: crate::conn::Endpoint,
    to_catalogue: bool,
    /// Of the fingerprint.
    hash: u64,
    /// It is another leg of an issuance that was known before.
    pub is_other: bool,
}

impl LegSeen {
    fn fingerprint(&self) -> &str {
        let credential = self.imds.credential.as_ref();
        credential.and_then(|credential| credential.fingerprint.as_deref()).unwrap_or_default()
    }

    /// Whether both are legs of one issuance: same path and credential, one within the other, and not two clients of
    /// one server.
    fn joins(&self, other: &Self) -> bool {
        let within = |inner: &Self, outer: &Self| outer.first <= inner.first && inner.end <= outer.end;
        let other_ends = self.server != other.server || self.client.port == other.client.port;
        self.imds.path == other.imds.path
            && self.fingerprint() == other.fingerprint()
            && other_ends
            && (within(self, other) || within(other, self))
    }
}

impl Issuances {
    /// A leg, if the exchange issued a credential that has a fingerprint.
    pub fn leg(&self, conn: &Conn, imds: &Arc<Imds>, (first, end): (Timestamp, Timestamp)) -> Option<LegSeen> {
        let credential = imds.credential.as_ref().filter(|credential| credential.issued)?;
        let mut leg = LegSeen {
            imds: imds.clone(),
            first,
            end,
            client: conn.client,
            server: conn.server,
            to_catalogue: imds.recognised_by == RecognisedBy::Address,
            hash: self.legs.seed.hash_one(credential.fingerprint.as_ref()?),
            is_other: false,
        };
        leg.is_other = self.legs.are_joined_by(&leg);
        Some(leg)
    }

    /// Takes a leg with its alert: the alert passes, waits, or is dropped because another leg has it.
    pub fn settle(&mut self, leg: LegSeen, alert: Issued, now: Timestamp, out: &mut Vec<Issued>) {
        let waits = self.waiting.iter().position(|(_, waiting, _)| waiting.joins(&leg));
        match waits {
            // the leg to the catalogue's address takes the place of the one that waited
            Some(at) if leg.to_catalogue => {
                self.waiting.remove(at);
                out.push(alert);
            }
            _ if leg.is_other => {}
            _ if leg.to_catalogue => out.push(alert),
            _ => self.waiting.push_back((now.plus(HOLD), leg.clone(), alert)),
        }
        if self.waiting.len() > LEGS {
            out.extend(self.waiting.pop_front().map(|(_, _, alert)| alert));
        }
        self.legs.push(leg);
    }

    /// Lets alerts pass that waited long enough, and forgets old legs.
    pub fn expire(&mut self, now: Timestamp, out: &mut Vec<Issued>) {
        while self.waiting.front().is_some_and(|(until, ..)| *until <= now) {
            out.extend(self.waiting.pop_front().map(|(_, _, alert)| alert));
        }
        self.legs.expire(now);
    }

    /// Lets all waiting alerts pass.
    pub fn finish(&mut self, out: &mut Vec<Issued>) {
        out.extend(self.waiting.drain(..).map(|(_, _, alert)| alert));
    }
}

/// Recent legs, oldest first, found by their fingerprints.
#[derive(Debug, Default)]
struct Legs {
    /// Each with the number of the leg before it whose fingerprint has the same hash; that may be gone.
    legs: VecDeque<(LegSeen, Option<usize>)>,
    /// Number of the oldest leg.
    first: usize,
    /// Number of the last leg with each hash.
    last: HashTable<usize>,
    seed: RandomState,
}

impl Legs {
    fn are_joined_by(&self, leg: &LegSeen) -> bool {
        let get = |number: usize| self.legs.get(number.wrapping_sub(self.first));
        let has_hash = |number: &usize| get(*number).is_some_and(|(known, _)| known.hash == leg.hash);
        let last = self.last.find(leg.hash, has_hash).and_then(|number| get(*number));
        let mut same = std::iter::successors(last, |(_, before)| before.and_then(get));
        same.any(|(known, _)| known.joins(leg))
    }

    fn push(&mut self, leg: LegSeen) {
        if self.legs.len() >= LEGS {
            self.pop();
        }
        let Self { legs, first, last, .. } = self;
        let hash = |number: &usize| legs.get(number.wrapping_sub(*first)).map_or(0, |(known, _)| known.hash);
        let number = first.wrapping_add(legs.len());
        let before = match last.entry(leg.hash, |number| hash(number) == leg.hash, hash) {
            Entry::Occupied(mut entry) => Some(std::mem::replace(entry.get_mut(), number)),
            Entry::Vacant(entry) => {
                entry.insert(number);
                None
            }
        };
        self.legs.push_back((leg, before));
    }

    fn expire(&mut self, now: Timestamp) {
        while self.legs.front().is_some_and(|(leg, _)| now.since(leg.end) > MEMORY) {
            self.pop();
        }
    }

    fn pop(&mut self) {
        let Some((leg, _)) = self.legs.pop_front() else { return };
        if let Ok(entry) = self.last.find_entry(leg.hash, |number| *number == self.first) {
            entry.remove();
        }
        self.first = self.first.wrapping_add(1);
    }
}
