//! What actors do again and again (contract section 4, habits): how often each fetched which credential, or read which
//! identity or user data, and what that takes off the severity.
//!
//! Bounded; the habit that was not seen for longest makes room. What is remembered goes into a state file and back.

use serde::{Deserialize, Serialize};

use super::actor::{ActorId, Asker};
use super::neighbours::{self, Neighbours, Tally};
use super::subject::key;
use super::table::Table;
use crate::packet::Timestamp;

/// A habit is forgotten when it was not seen for so long, in nanoseconds.
const FORGOTTEN: i64 = 30 * DAY;
const DAY: i64 = 24 * HOUR;
const HOUR: i64 = 60 * MINUTE;
const MINUTE: i64 = 60 * Timestamp::SECOND;
/// Issuances in one hour that may be more than usual.
const MANY: u32 = 4;
/// How many times the most of any earlier hour is more than usual.
const TIMES: u32 = 3;
/// Fingerprints that are remembered of each habit.
const FINGERPRINTS: usize = 4;
/// Longest text of a habit, in bytes.
const TEXT: usize = 128;
/// Version of the state file's form.
pub const VERSION: u32 = 1;

/// All habits.
#[derive(Debug)]
pub struct Habits {
    habits: Table<u128, Habit>,
    neighbours: Neighbours,
}

/// What an actor did, by everything that makes it one habit.
#[derive(Clone, Debug)]
pub struct Deed<'a> {
    /// Who.
    pub actor: ActorId,
    /// What it is taken for: who leaves a known client's steps has no part in that client's habit.
    pub asker: Asker,
    /// Whose habit it is, for people.
    pub who: Who<'a>,
    /// Catalogue provider.
    pub provider: &'a str,
    /// Kind of path.
    pub path_id: &'a str,
    /// Role, resource, audience.
    pub scope: &'a str,
    /// Whether it was given: to be refused is another habit.
    pub given: bool,
    /// Whether it was done with a library under its own name, which anybody's program may be.
    pub is_anybody: bool,
    /// Whether it is a credential that was asked for.
    pub is_about_credential: bool,
    /// When.
    pub time: Timestamp,
    /// Keyed hash of the credential, and when it expires.
    pub fingerprint: Option<(&'a str, Option<Timestamp>)>,
}

/// An actor as people would name it.
#[derive(Clone, Copy, Debug)]
pub struct Who<'a> {
    /// Client address.
    pub client: std::net::IpAddr,
    /// Process, where known.
    pub process: Option<&'a str>,
    /// Name of the known client.
    pub name: Option<&'a str>,
    /// Shape in hexadecimal.
    pub shape: Option<crate::detect::Shape>,
    /// User-Agent family.
    pub family: &'a str,
}

/// What is known of a deed before it was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// How often it was done before.
    pub times: u32,
    /// Steps that it takes off the severity of somebody who is known.
    pub steps: u8,
    /// The same for nobody who is known.
    pub slow_steps: u8,
    /// More than this actor's habit.
    pub more: bool,
}

/// One habit, as it stands in the state file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Habit {
    /// Number of actor and deed, in hexadecimal.
    #[serde(with = "hex")]
    key: u128,
    /// Number of the deed and of all who do it in this network, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "optional_hex")]
    group: Option<u128>,
    /// Client address.
    pub client: String,
    /// Process, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
    /// Name of the known client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Shape in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shape: Option<String>,
    /// User-Agent family.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub family: String,
    /// Catalogue provider.
    pub provider: String,
    /// Kind of path.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub path_id: String,
    /// Role, resource, audience.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub scope: String,
    /// Whether it was given.
    pub given: bool,
    /// How often.
    pub times: u32,
    /// First, last, and when the last step was taken, in nanoseconds.
    pub first: i64,
    /// See `first`.
    pub last: i64,
    stepped: i64,
    steps: u8,
    slow_steps: u8,
    /// The present hour, how often in it, and the most in any earlier one.
    hour: i64,
    in_hour: u32,
    most: u32,
    /// It fetched one credential again long before it expires.
    again: bool,
    /// Hashes of the credentials fetched last, and when each was fetched first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    credentials: Vec<(u64, i64)>,
}

impl Habits {
    /// Room for `limit` habits.
    pub fn new(limit: usize) -> Self {
        Self { habits: Table::new(limit), neighbours: Neighbours::new(limit) }
    }

    /// Habits that made room for others.
    pub fn evicted(&self) -> u64 {
        self.habits.evicted
    }

    /// What is known of a deed; now it was done once more.
    pub fn learn(&mut self, deed: &Deed<'_>) -> Known {
        let key = deed.key();
        let habit = self.habits.entry(key, || Habit::new(key, deed));
        if deed.time.since(Timestamp(habit.last)) > FORGOTTEN {
            *habit = Habit::new(key, deed);
        }
        if habit.is_first_of_hour(deed.time) {
            habit.compare(deed, &mut self.neighbours);
        }
        habit.learn(deed)
    }

    /// What was learned, the habit that was not seen for longest first.
    pub fn all(&self) -> impl Iterator<Item = &Habit> {
        self.habits.oldest_first()
    }

    /// Takes up what was learned before, in the order of [`Self::all`].
    pub fn restore(&mut self, habits: Vec<Habit>) {
        for habit in habits {
            let key = habit.key;
            if let (Some(group), Ok(client)) = (habit.group, habit.client.parse()) {
                self.neighbours.learn(group, client, habit.tally());
            }
            *self.habits.entry(key, Habit::default) = habit;
        }
    }
}

impl Deed<'_> {
    fn key(&self) -> u128 {
        use std::hash::Hash;
        let asker = self.asker.max(Asker::Program);
        key(|hasher| (self.actor, asker, self.provider, self.path_id, cut(self.scope), self.given).hash(hasher))
    }
}

impl Habit {
    /// What it holds of the wire's texts.
    pub fn texts(&mut self) -> impl Iterator<Item = &mut String> {
        [&mut self.family, &mut self.scope].into_iter()
    }

    /// Severity steps that it takes off by now, of somebody who is known.
    pub fn steps(&self) -> u8 {
        self.steps
    }

    fn new(key: u128, deed: &Deed<'_>) -> Self {
        let Who { client, process, name, shape, family } = deed.who;
        Self {
            key,
            client: client.to_string(),
            process: process.map(|name| cut(name).to_owned()),
            name: name.map(str::to_owned),
            shape: shape.map(|shape| shape.to_string()),
            family: cut(family).to_owned(),
            provider: deed.provider.to_owned(),
            path_id: deed.path_id.to_owned(),
            scope: cut(deed.scope).to_owned(),
            given: deed.given,
            first: deed.time.0,
            last: deed.time.0,
            stepped: deed.time.0,
            hour: deed.time.0.div_euclid(HOUR),
            ..Self::default()
        }
    }

    fn is_first_of_hour(&self, time: Timestamp) -> bool {
        self.times == 0 || time.0.div_euclid(HOUR) > self.hour
    }

    /// What neighbours have done for long takes off all that an own habit would.
    fn compare(&mut self, deed: &Deed<'_>, neighbours: &mut Neighbours) {
        if deed.asker == Asker::Tool && deed.is_about_credential {
            neighbours.suspect(deed.who.client, deed.time);
        }
        let Some(group) = neighbours::group(deed) else { return };
        self.group = Some(group);
        if self.slow_steps < 3 && neighbours.is_usual(group, deed) {
            // nor can it be told yet what this one does out of turn
            (self.steps, self.slow_steps, self.again) = (3, 3, true);
        }
        neighbours.learn(group, deed.who.client, Tally::once(deed.time));
    }

    /// What it counts for its neighbours.
    fn tally(&self) -> Tally {
        let hours = self.last.saturating_sub(self.first) / HOUR;
        let times = self.times.min(u32::try_from(hours).unwrap_or(u32::MAX).saturating_add(1));
        Tally { times, first: Timestamp(self.first), last: Timestamp(self.last) }
    }

    fn learn(&mut self, deed: &Deed<'_>) -> Known {
        let now = deed.time;
        let since = |before: i64| now.since(Timestamp(before));
        if self.times > 0 {
            self.step(since(self.stepped), since(self.first), now);
        }
        let known = Known {
            times: self.times,
            steps: self.steps,
            slow_steps: self.slow_steps,
            more: self.is_more_in_hour(now) | self.is_again(deed),
        };
        self.times = self.times.saturating_add(1);
        self.last = self.last.max(now.0);
        known
    }

    /// The second time takes one step off, the third, a minute later at least, all of them; from nobody who is known one
    /// step in ten minutes, and the last only after a day.
    fn step(&mut self, since_step: i64, since_first: i64, now: Timestamp) {
        let slow = match self.slow_steps {
            0 | 1 => since_step >= 10 * MINUTE,
            2 => since_first >= DAY,
            _ => false,
        };
        let fast = self.steps == 0 || self.steps < 3 && since_step >= MINUTE;
        if fast {
            self.steps = if self.steps == 0 { 1 } else { 3 };
        }
        if slow {
            self.slow_steps += 1;
        }
        if fast || slow {
            self.stepped = now.0;
        }
    }

    fn is_more_in_hour(&mut self, now: Timestamp) -> bool {
        let hour = now.0.div_euclid(HOUR);
        if hour > self.hour {
            (self.most, self.in_hour, self.hour) = (self.most.max(self.in_hour), 0, hour);
        }
        self.in_hour = self.in_hour.saturating_add(1);
        self.most > 0 && self.in_hour >= MANY && self.in_hour > self.most.saturating_mul(TIMES)
    }

    /// Whether a credential is fetched again with more than half its life left, by somebody who never did so.
    fn is_again(&mut self, deed: &Deed<'_>) -> bool {
        let Some((fingerprint, expires)) = deed.fingerprint else { return false };
        let hash = key(|hasher| std::hash::Hash::hash(fingerprint, hasher)) as u64;
        let before = self.credentials.iter().find(|(known, _)| *known == hash);
        let Some((_, first)) = before else {
            if self.credentials.len() >= FINGERPRINTS {
                self.credentials.remove(0);
            }
            self.credentials.push((hash, deed.time.0));
            return false;
        };
        let Some(expires) = expires else { return false };
        let (left, life) = (expires.since(deed.time), expires.since(Timestamp(*first)));
        let is_again = left > life / 2;
        is_again && !std::mem::replace(&mut self.again, true)
    }
}

impl Known {
    /// Steps off the severity of what this asker does.
    pub fn steps_of(self, asker: Asker) -> u8 {
        match asker {
            Asker::Tool => 0,
            Asker::Nobody => self.slow_steps,
            Asker::Program | Asker::Sdk | Asker::Agent => self.steps,
        }
    }
}

fn cut(text: &str) -> &str {
    let mut end = TEXT.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// A moment as credentials' expiry is written: `2026-11-24T09:19:26Z`.
pub fn time(text: &str) -> Option<Timestamp> {
    let (date, clock) = text.strip_suffix('Z')?.split_once('T')?;
    let mut parts = clock.split([':', '.']).map(|part| part.parse::<i64>().ok());
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
    let seconds = hour.checked_mul(3600)?.checked_add(minute.checked_mul(60)?)?.checked_add(second)?;
    Some(crate::civil::Date::parse(date)?.start().plus(seconds.checked_mul(Timestamp::SECOND)?))
}

/// Numbers of 128 bits as text: JSON's are shorter.
mod hex {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(number: &u128, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{number:032x}"))
    }

    pub(super) fn deserialize<'d, D: Deserializer<'d>>(deserializer: D) -> Result<u128, D::Error> {
        let text = String::deserialize(deserializer)?;
        u128::from_str_radix(&text, 16).map_err(D::Error::custom)
    }
}

/// The same where there may be none.
mod optional_hex {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(number: &Option<u128>, serializer: S) -> Result<S::Ok, S::Error> {
        match number {
            Some(number) => super::hex::serialize(number, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'d, D: Deserializer<'d>>(deserializer: D) -> Result<Option<u128>, D::Error> {
        #[derive(Deserialize)]
        struct Number(#[serde(with = "super::hex")] u128);
        Ok(Option::<Number>::deserialize(deserializer)?.map(|Number(number)| number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deed(minutes: i64) -> Deed<'static> {
        Deed {
            actor: ActorId(7),
            asker: Asker::Sdk,
            who: Who { client: [10, 0, 0, 1].into(), process: None, name: Some("botocore"), shape: None, family: "" },
            provider: "aws",
            path_id: "aws-role-creds",
            scope: "demo",
            given: true,
            is_anybody: false,
            is_about_credential: true,
            time: Timestamp(minutes * MINUTE),
            fingerprint: None,
        }
    }

    #[test]
    fn a_habit_takes_off_severity_step_by_step() {
        let mut habits = Habits::new(10);
        let mut at = |minutes| {
            let known = habits.learn(&deed(minutes));
            (known.steps, known.slow_steps)
        };
        assert_eq!(at(0), (0, 0));
        assert_eq!(at(0), (1, 0));
        assert_eq!(at(0), (1, 0), "not within a minute");
        assert_eq!(at(5), (3, 0));
        assert_eq!(at(15), (3, 1));
        assert_eq!(at(20), (3, 1));
        assert_eq!(at(25), (3, 2));
        assert_eq!(at(23 * 60), (3, 2), "not before a day");
        assert_eq!(at(24 * 60), (3, 3));
        assert_eq!(at(24 * 60 + 31 * 24 * 60), (0, 0), "forgotten");
    }

    #[test]
    fn another_scope_starts_anew() {
        let mut habits = Habits::new(10);
        habits.learn(&deed(0));
        assert_eq!(habits.learn(&deed(5)).steps, 1);
        assert_eq!(habits.learn(&Deed { scope: "admin", ..deed(10) }).steps, 0);
        assert_eq!(habits.learn(&Deed { given: false, ..deed(10) }).steps, 0);
    }

    #[test]
    fn who_leaves_the_steps_has_no_part_in_the_habit() {
        let mut habits = Habits::new(10);
        for minutes in [0, 60, 120] {
            habits.learn(&deed(minutes));
        }
        assert_eq!(habits.learn(&Deed { asker: Asker::Nobody, ..deed(180) }).slow_steps, 0);
        assert_eq!(habits.learn(&Deed { asker: Asker::Program, ..deed(240) }).steps, 3);
    }

    #[test]
    fn more_than_usual_is_seen() {
        let mut habits = Habits::new(10);
        let more = |minutes| habits.learn(&deed(minutes)).more;
        let seen: Vec<bool> = [0, 60, 120, 121, 122, 123, 124].map(more).to_vec();
        assert_eq!(seen, [false, false, false, false, false, true, true]);
    }

    #[test]
    fn a_credential_fetched_again_early_is_seen_once() {
        let mut habits = Habits::new(10);
        let expires = Some(Timestamp(360 * MINUTE));
        let mut more = |minutes, fingerprint| {
            habits.learn(&Deed { fingerprint: Some((fingerprint, expires)), ..deed(minutes) }).more
        };
        assert!(!more(0, "a"));
        assert!(more(10, "a"));
        assert!(!more(20, "a"), "by now it is a habit");
    }

    fn at(address: u8, minutes: i64, asker: Asker) -> Deed<'static> {
        let who = Who { client: [10, 0, 7, address].into(), ..deed(0).who };
        Deed { actor: ActorId(address.into()), asker, who, ..deed(minutes) }
    }

    #[test]
    fn what_neighbours_did_for_hours_is_no_news() {
        for (asker, hours) in [(Asker::Sdk, 3), (Asker::Nobody, 6)] {
            let mut habits = Habits::new(100);
            let mut steps = |address, minutes| {
                let known = habits.learn(&at(address, minutes, asker));
                (known.steps, known.slow_steps)
            };
            assert_eq!(steps(1, 0), (0, 0));
            assert_eq!(steps(2, hours * 60 - 2), (0, 0), "not for long");
            assert_eq!(steps(1, hours * 60 - 1), (1, 1));
            assert_eq!(steps(3, hours * 60), (3, 3), "twice the one, once the other");
            assert_eq!(steps(1, hours * 60 + 1).1, 1, "nobody is its own neighbour");
        }
    }

    #[test]
    fn no_neighbour_speaks_for_a_tool_nor_where_one_was_used() {
        let mut habits = Habits::new(100);
        for minutes in [0, 120, 240, 360, 480] {
            habits.learn(&at(1, minutes, Asker::Sdk));
            habits.learn(&at(1, minutes, Asker::Tool));
        }
        assert_eq!(habits.learn(&at(2, 500, Asker::Tool)).slow_steps, 0);
        assert_eq!(habits.learn(&at(2, 559, Asker::Sdk)).steps, 0);
        assert_eq!(habits.learn(&at(3, 502, Asker::Sdk)).steps, 3);
        assert_eq!(habits.learn(&Deed { scope: "admin", ..at(4, 503, Asker::Sdk) }).steps, 0);
        let elsewhere = Who { client: [10, 1, 7, 1].into(), ..deed(0).who };
        assert_eq!(habits.learn(&Deed { who: elsewhere, ..at(5, 504, Asker::Sdk) }).steps, 0);
    }

    #[test]
    fn neighbours_are_known_over_restarts() {
        let mut habits = Habits::new(10);
        for minutes in [0, 120, 240] {
            habits.learn(&at(1, minutes, Asker::Sdk));
        }
        let text = serde_json::to_string(&habits.all().collect::<Vec<_>>()).unwrap();
        let mut again = Habits::new(10);
        again.restore(serde_json::from_str(&text).unwrap());
        assert_eq!(again.learn(&at(2, 300, Asker::Sdk)).steps, 3);
    }

    #[test]
    fn what_was_learned_is_written_and_read_back() {
        let mut habits = Habits::new(10);
        habits.learn(&deed(0));
        habits.learn(&deed(5));
        let text = serde_json::to_string(&habits.all().collect::<Vec<_>>()).unwrap();
        let mut again = Habits::new(10);
        again.restore(serde_json::from_str(&text).unwrap());
        assert_eq!(again.learn(&deed(10)), habits.learn(&deed(10)));
    }
}
