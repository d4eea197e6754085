//! What is usual at several addresses of one network (contract section 4, habits): a pod, task or host that starts under a
//! new address and asks as its neighbours have asked for hours is no news.
//!
//! In: the first deed of each habit, and one for each hour in which it goes on. Bounded; what was not seen for longest makes room.

use std::hash::Hash;
use std::net::IpAddr;

use super::actor::Asker;
use super::habits::Deed;
use super::subject::key;
use super::table::Table;
use crate::packet::Timestamp;

const HOUR: i64 = 3600 * Timestamp::SECOND;
/// How often others must have done a thing before it is usual; once in an hour counts.
const TIMES: u32 = 3;
/// For how long others must have done it, in nanoseconds: those who are known, and nobody known.
const SINCE: (i64, i64) = (3 * HOUR, 6 * HOUR);
/// What others did is forgotten when none did it for so long, in nanoseconds.
const FORGOTTEN: i64 = 30 * 24 * HOUR;
/// For so long after a tool or a liar asked for a credential nothing is usual at its address, in nanoseconds.
const SUSPECT: i64 = HOUR;
/// Addresses that are counted apart from the rest, for each thing.
const APART: usize = 4;

/// What is usual in the networks seen.
#[derive(Debug)]
pub struct Neighbours {
    usual: Table<u128, Usual>,
    /// When a tool or a liar last asked for a credential at an address.
    suspects: Table<IpAddr, Timestamp>,
}

/// What was done how often, by the last few addresses and by all before them.
#[derive(Debug, Default)]
struct Usual {
    apart: Vec<(IpAddr, Tally)>,
    rest: Option<Tally>,
}

/// How often, and between when and when.
#[derive(Clone, Copy, Debug)]
pub struct Tally {
    /// Hours in which it was done, each address for itself.
    pub times: u32,
    /// First time.
    pub first: Timestamp,
    /// Last time.
    pub last: Timestamp,
}

/// What makes deeds of several addresses one thing: all that makes a habit but the address, and its network instead. `None`
/// where the address is not known.
pub fn group(deed: &Deed<'_>) -> Option<u128> {
    let who = &deed.who;
    let network = match who.client.to_canonical() {
        address if address.is_unspecified() => return None,
        IpAddr::V4(address) => u64::from(u32::from(address) >> 16),
        IpAddr::V6(address) => (u128::from(address) >> 80) as u64 | 1 << 63,
    };
    let asker = deed.asker.max(Asker::Program);
    Some(key(|hasher| {
        (network, who.process, asker, deed.provider, deed.path_id, deed.scope, deed.given).hash(hasher);
        match who.name {
            Some(name) => name.hash(hasher),
            None => (who.shape, who.family).hash(hasher),
        }
    }))
}

impl Neighbours {
    /// Room for `limit` things and as many addresses.
    pub fn new(limit: usize) -> Self {
        Self { usual: Table::new(limit), suspects: Table::new(limit) }
    }

    /// Whether other addresses have done this for long enough.
    pub fn is_usual(&self, group: u128, deed: &Deed<'_>) -> bool {
        let Deed { asker, time, who, .. } = deed;
        let suspect = self.suspects.peek(&who.client).is_some_and(|since| time.since(*since) < SUSPECT);
        let since = if *asker == Asker::Nobody { SINCE.1 } else { SINCE.0 };
        let others = self.usual.peek(&group).and_then(|usual| usual.others(who.client));
        !suspect
            && *asker != Asker::Tool
            && !deed.is_anybody
            && others.is_some_and(|others| {
                others.times >= TIMES && time.since(others.first) >= since && time.since(others.last) < FORGOTTEN
            })
    }

    /// Counts what was done at an address.
    pub fn learn(&mut self, group: u128, client: IpAddr, tally: Tally) {
        self.usual.entry(group, Usual::default).add(client, tally);
    }

    /// Remembers that a tool or a liar asked for a credential.
    pub fn suspect(&mut self, client: IpAddr, time: Timestamp) {
        *self.suspects.entry(client, || time) = time;
    }
}

impl Usual {
    fn add(&mut self, client: IpAddr, tally: Tally) {
        if let Some((_, known)) = self.apart.iter_mut().find(|(known, _)| *known == client) {
            *known = known.joined(tally);
            return;
        }
        if self.apart.len() >= APART {
            let (_, oldest) = self.apart.remove(0);
            self.rest = Some(self.rest.map_or(oldest, |rest| rest.joined(oldest)));
        }
        self.apart.push((client, tally));
    }

    fn others(&self, client: IpAddr) -> Option<Tally> {
        let others = self.apart.iter().filter(|(known, _)| *known != client).map(|(_, tally)| *tally);
        others.chain(self.rest).reduce(Tally::joined)
    }
}

impl Tally {
    /// Done once.
    pub fn once(time: Timestamp) -> Self {
        Self { times: 1, first: time, last: time }
    }

    fn joined(self, other: Self) -> Self {
        Self {
            times: self.times.saturating_add(other.times),
            first: self.first.min(other.first),
            last: self.last.max(other.last),
        }
    }
}
