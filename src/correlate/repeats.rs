//! Repeats do not flood (contract section 4): the first alert of a thing passes at once, what follows is counted, and one
//! more alert with the count is written when a window ends. Windows grow while the thing is remembered: a poller costs one
//! alert, and then a summary at the end of each window in which it came again.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::quality::RandomState;
use hashbrown::HashMap;

use super::subject::alert_id;
use crate::alert::{Alert, ChainLink, Merged, Rule, Severity};
use crate::conn::{Conn, Endpoint};
use crate::packet::Timestamp;

/// Hash of all that makes two alerts repeats of one thing.
pub type Key = u128;

/// Lengths of the windows of one thing, one after the other, in nanoseconds; the last one again and again.
const LENGTHS: [i64; 4] = [0, 600 * Timestamp::SECOND, 3600 * Timestamp::SECOND, 86_400 * Timestamp::SECOND];
/// Most public ids that a summary lists.
const IDS: usize = 16;
/// Issuances of one thing within an hour that are each an alert.
const EACH: usize = 5;
const HOUR: i64 = 3600 * Timestamp::SECOND;

/// Sightings of a thing that are remembered, where several sensors tell of it.
const SIGHTINGS: usize = 16;
/// Exchanges that are remembered: what one sensor tells of one may differ from what another does, and so be another thing.
const EXCHANGES: usize = 256;

/// What an alert is beside those of before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// The first of its kind.
    New,
    /// One more; it is counted.
    Counted,
    /// What another sensor told of already.
    Told,
}

/// What was alerted, at most `limit` things; the window that ends next ends early when there are more.
#[derive(Debug)]
pub struct Repeats {
    things: HashMap<Key, Thing, RandomState>,
    /// For each length of window, the ends of such windows in order.
    windows: [VecDeque<(Timestamp, Key)>; LENGTHS.len()],
    lengths: [i64; LENGTHS.len()],
    limit: usize,
    /// How far apart in time two sensors may tell of one exchange, in nanoseconds.
    apart: i64,
    exchanges: VecDeque<Exchange>,
    /// Another sensor than this program has told of something.
    is_mixed: bool,
    /// Windows that ended early.
    pub evicted: u64,
}

/// One thing within its window.
#[derive(Debug)]
struct Thing {
    first: Arc<Alert>,
    /// How often in this window, and in all.
    count: u64,
    total: u64,
    /// First and last in this window.
    from: Timestamp,
    last: Timestamp,
    /// Public ids of the credentials issued, and how many more.
    ids: Vec<String>,
    more_ids: u64,
    /// When each of the last few issuances was an alert of its own.
    each: VecDeque<Timestamp>,
    sightings: VecDeque<Sighting>,
}

/// An exchange by its ends, and the sensors that told of it so far.
#[derive(Debug)]
struct Exchange {
    time: Timestamp,
    client: Endpoint,
    server: IpAddr,
    sensors: Vec<Option<&'static str>>,
}

/// One exchange, and the sensors that told of it so far; packets are a sensor without a name.
#[derive(Debug)]
struct Sighting {
    time: Timestamp,
    port: u16,
    sensors: Vec<Option<&'static str>>,
}

impl Repeats {
    /// The first window, and the longest, in nanoseconds of packet time; a first one of zero lets every alert pass.
    pub fn new(window: i64, most: i64, limit: usize) -> Self {
        let mut lengths = LENGTHS.map(|length| length.min(most).max(window));
        lengths[0] = window;
        let (things, windows, exchanges) = Default::default();
        let (limit, apart) = (limit.max(1), Timestamp::SECOND);
        Self { things, windows, lengths, limit, apart, exchanges, is_mixed: false, evicted: 0 }
    }

    /// The same where the clocks of sensors differ by so many nanoseconds.
    pub fn with_skew(self, skew: i64) -> Self {
        Self { apart: Timestamp::SECOND.saturating_add(skew), ..self }
    }

    /// Whether an alert repeats one of before; if so it is counted, unless another sensor told of the same exchange.
    pub fn repeat(&mut self, key: Key, alert: &AlertOf<'_>) -> Repeat {
        let was_told = alert.seen_by.is_some_and(|seen| self.was_told(alert.time, seen));
        let Some(thing) = self.things.get_mut(&key) else { return Repeat::New };
        if was_told || alert.seen_by.is_some_and(|seen| thing.was_told(alert.time, seen, self.apart)) {
            return Repeat::Told;
        }
        if alert.each && thing.takes_each(alert.time) {
            return Repeat::New;
        }
        thing.count(alert);
        Repeat::Counted
    }

    /// Whether another sensor told of the exchange between these ends, whatever it told; remembers that this one did.
    fn was_told(&mut self, time: Timestamp, seen: SeenBy) -> bool {
        self.is_mixed |= seen.sensor.is_some();
        let is_known = seen.client.port != 0 && !seen.client.ip.is_unspecified();
        let is_same = |known: &&mut Exchange| {
            (known.client, known.server) == (seen.client, seen.server)
                && time.since(known.time).abs() <= self.apart
                && !known.sensors.contains(&seen.sensor)
        };
        if self.is_mixed
            && is_known
            && let Some(known) = self.exchanges.iter_mut().find(is_same)
        {
            known.sensors.push(seen.sensor);
            return true;
        }
        if self.exchanges.len() >= EXCHANGES {
            self.exchanges.pop_front();
        }
        let SeenBy { client, server, sensor } = seen;
        self.exchanges.push_back(Exchange { time, client, server, sensors: vec![sensor] });
        false
    }

    /// Remembers the first alert of a thing, from the window of number `from` on.
    pub fn open(&mut self, key: Key, first: &Arc<Alert>, from: usize, now: Timestamp, out: &mut Vec<Arc<Alert>>) {
        if self.lengths[0] <= 0 {
            return;
        }
        if let Some(thing) = self.things.get_mut(&key) {
            thing.first = first.clone(); // an issuance that is an alert of its own: later ones follow it
            return;
        }
        if self.things.len() >= self.limit {
            self.evicted += 1;
            if let Some(level) = self.next() {
                self.close(level, true, out);
            }
        }
        self.things.insert(key, Thing::new(first));
        self.push(from, now, key);
    }

    /// Ends the windows that are over at `now`.
    pub fn expire(&mut self, now: Timestamp, out: &mut Vec<Arc<Alert>>) {
        while let Some(level) = self.next().filter(|level| self.end(*level).is_some_and(|end| end <= now)) {
            self.close(level, false, out);
        }
    }

    /// Ends all windows.
    pub fn finish(&mut self, out: &mut Vec<Arc<Alert>>) {
        while let Some(level) = self.next() {
            self.close(level, true, out);
        }
    }

    fn push(&mut self, level: usize, start: Timestamp, key: Key) {
        let level = level.min(LENGTHS.len() - 1);
        self.windows[level].push_back((start.plus(self.lengths[level]), key));
    }

    fn end(&self, level: usize) -> Option<Timestamp> {
        self.windows[level].front().map(|(end, _)| *end)
    }

    /// The length of the window that ends next.
    fn next(&self) -> Option<usize> {
        (0..LENGTHS.len()).filter(|level| self.end(*level).is_some()).min_by_key(|level| self.end(*level))
    }

    /// Ends the first window of a length; the next longer one begins, unless the thing did not come again in the longest.
    fn close(&mut self, level: usize, last: bool, out: &mut Vec<Arc<Alert>>) {
        let Some((end, key)) = self.windows[level].pop_front() else { return };
        let Some(thing) = self.things.get_mut(&key) else { return };
        let came = thing.count > 0;
        if came {
            out.push(Arc::new(thing.summary()));
        }
        if last || !came && level + 1 == LENGTHS.len() {
            self.things.remove(&key);
        } else {
            self.push(level + 1, end, key);
        }
    }
}

/// What is counted of an alert that may be a repeat.
#[derive(Clone, Copy, Debug)]
pub struct AlertOf<'a> {
    /// When.
    pub time: Timestamp,
    /// Public id of the credential issued.
    pub id: Option<&'a str>,
    /// The first few within an hour are each an alert of their own.
    pub each: bool,
    /// Where several sensors may tell of it: whose exchange it is, and who tells.
    pub seen_by: Option<SeenBy>,
}

/// The ends of a conversation, and the sensor that told of it, if it is another than this program.
#[derive(Clone, Copy, Debug)]
pub struct SeenBy {
    client: Endpoint,
    server: IpAddr,
    sensor: Option<&'static str>,
}

/// See [`SeenBy`].
pub fn seen_by(conn: &Conn) -> SeenBy {
    let client = Endpoint { ip: conn.client.ip.to_canonical(), port: conn.client.port };
    SeenBy { client, server: conn.server.ip.to_canonical(), sensor: conn.told_by.as_ref().map(|origin| origin.sensor) }
}

impl<'a> AlertOf<'a> {
    /// Of an alert.
    pub fn new(alert: &'a Alert) -> Self {
        let issued = alert.rule == Rule::ImdsCredentialIssued;
        let credential = alert.subject.imds.as_ref().and_then(|imds| imds.credential.as_ref());
        let id = credential.and_then(|credential| credential.id.as_deref());
        Self {
            time: alert.time,
            id: id.filter(|_| issued),
            each: issued && alert.severity >= Severity::High,
            seen_by: Some(seen_by(&alert.subject.conn)),
        }
    }
}

impl Thing {
    fn new(first: &Arc<Alert>) -> Self {
        Self {
            first: first.clone(),
            count: 0,
            total: 0,
            from: first.time,
            last: first.time,
            ids: Vec::new(),
            more_ids: 0,
            each: VecDeque::from([first.time]),
            sightings: VecDeque::new(),
        }
    }

    /// Whether another sensor told of this exchange; remembers that this one did. Among packets alone, nothing is
    /// remembered.
    fn was_told(&mut self, time: Timestamp, seen: SeenBy, apart: i64) -> bool {
        let (first, port, sensor) = (seen_by(&self.first.subject.conn), seen.client.port, seen.sensor);
        if self.sightings.is_empty() {
            if sensor.is_none() && first.sensor.is_none() {
                return false;
            }
            let (time, port) = (self.first.time, first.client.port);
            self.sightings.push_back(Sighting { time, port, sensors: vec![first.sensor] });
        }
        let is_same = |seen: &&mut Sighting| {
            let is_port = seen.port == 0 || port == 0 || seen.port == port;
            is_port && time.since(seen.time).abs() <= apart && !seen.sensors.contains(&sensor)
        };
        if let Some(seen) = self.sightings.iter_mut().find(is_same) {
            seen.sensors.push(sensor);
            return true;
        }
        if self.sightings.len() >= SIGHTINGS {
            self.sightings.pop_front();
        }
        self.sightings.push_back(Sighting { time, port, sensors: vec![sensor] });
        false
    }

    fn count(&mut self, alert: &AlertOf<'_>) {
        if self.count == 0 && self.total > 0 {
            self.from = alert.time;
        }
        self.count += 1;
        self.total += 1;
        self.last = self.last.max(alert.time);
        if let Some(id) = alert.id.filter(|id| !self.ids.iter().any(|known| known == id)) {
            match self.ids.len() {
                ..IDS => self.ids.push(id.to_owned()),
                _ => self.more_ids += 1,
            }
        }
    }

    /// Whether an issuance is among the first within an hour.
    fn takes_each(&mut self, time: Timestamp) -> bool {
        while self.each.front().is_some_and(|old| time.since(*old) >= HOUR) {
            self.each.pop_front();
        }
        let takes = self.each.len() < EACH;
        if takes {
            self.each.push_back(time);
        }
        takes
    }

    /// The alert that says how many followed. To have seen something of medium severity again is nothing new: of the
    /// request family that is low.
    fn summary(&mut self) -> Alert {
        let first = Alert::clone(&self.first);
        let (count, from, last) = (self.count, self.from, self.last);
        let ids = std::mem::take(&mut self.ids);
        let merged = Merged { count, from, last, ids, more_ids: std::mem::take(&mut self.more_ids) };
        self.count = 0;
        let link = ChainLink { id: first.id, origin: None, ..first.subject.link("request", first.time) };
        let times = if count == 1 { "once more".to_owned() } else { format!("{count} more times") };
        let mut message = first.message.clone();
        message.say(&format!(" ({times} until {})", clock(last)));
        let quiet = first.rule.is_request() && first.severity == Severity::Medium;
        Alert {
            id: alert_id(first.rule, first.id, self.total),
            severity: if quiet { Severity::Low } else { first.severity },
            risk_score: if quiet { first.risk_score.min(super::judge::top(Severity::Low)) } else { first.risk_score },
            time: last,
            message,
            chain: vec![link],
            repeats: Some(Box::new(merged)),
            ..first
        }
    }
}

/// Time of day in UTC, for messages.
fn clock(time: Timestamp) -> String {
    let second = time.seconds().rem_euclid(86_400);
    format!("{:02}:{:02}:{:02} UTC", second / 3600, second / 60 % 60, second % 60)
}
