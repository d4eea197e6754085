//! `--suggest-allow`: allow-list entries for what was seen, for a person to review and paste.
//!
//! In: each request that the allow list did not cover, as it was judged. Out: one entry for each actor and client network,
//! with the very paths that were asked for. An entry that a critical alert of the same input would fall under is not
//! offered. Bounded by actors and by paths of each.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::IpAddr;

use crate::alert::{Alert, Severity, Subject};
use crate::correlate::{AllowEntry, OneOrMany};
use crate::detect::{Client, Signal, Signals};
use crate::net::Network;
use crate::packet::Timestamp;

/// Most actors; later ones are left out and counted.
const MAX: usize = 1000;
/// Most paths of each; later ones are left out and counted.
const PATHS: usize = 128;
/// Longest User-Agent that is named whole, in characters.
const AGENT: usize = 200;
/// Fewest leading bits that the addresses of one entry have in common, for IPv4 and IPv6.
const IN_COMMON: (u8, u8) = (16, 48);

/// Collects who asked for what.
#[derive(Debug, Default)]
pub struct Suggestions {
    seen: BTreeMap<Actor, BTreeMap<IpAddr, Seen>>,
    count: usize,
    /// What a critical alert was about.
    critical: BTreeSet<(Actor, IpAddr, String)>,
    left_out: u64,
}

/// Who asks, by what an entry can name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Actor {
    process: Option<String>,
    name: Option<&'static str>,
    shape: Option<String>,
    /// User-Agent with stars for versions; empty where none is sent.
    user_agent: String,
}

/// What an actor at one address asked for.
#[derive(Clone, Debug)]
struct Seen {
    paths: BTreeSet<String>,
    times: u64,
    first: Timestamp,
    last: Timestamp,
    signals: Signals,
}

impl Suggestions {
    /// Takes one more request that was judged.
    pub fn judged(&mut self, subject: &Subject) {
        let Some((actor, path)) = what(subject) else { return };
        let against = [Signal::ForeignHost, Signal::Forwarded, Signal::ClaimedIdentityMismatch];
        if against.iter().any(|signal| subject.signals.has(*signal)) {
            return; // no entry could cover it
        }
        let client = subject.conn.client.ip;
        let known = self.seen.get(&actor).is_some_and(|clients| clients.contains_key(&client));
        if !known && self.count >= MAX {
            self.left_out += 1;
            return;
        }
        self.count += usize::from(!known);
        let new = || Seen::new(subject.start);
        let seen = self.seen.entry(actor).or_default().entry(client).or_insert_with(new);
        seen.times += 1;
        seen.last = seen.last.max(subject.start);
        seen.signals = seen.signals.union(subject.signals);
        if seen.paths.len() >= PATHS && !seen.paths.contains(path) {
            self.left_out += 1;
        } else if !seen.paths.contains(path) {
            seen.paths.insert(path.to_owned());
        }
    }

    /// Takes one more alert: what a critical one is about is not to be allowed.
    pub fn raised(&mut self, alert: &Alert) {
        if alert.severity < Severity::Critical || self.critical.len() >= MAX * PATHS {
            return;
        }
        let subjects = std::iter::once(&alert.subject).chain(&alert.leg);
        let found = subjects.filter_map(|subject| Some((what(subject)?, subject.conn.client.ip)));
        self.critical.extend(found.map(|((actor, path), client)| (actor, client, path.to_owned())));
    }

    /// The entries as TOML, with comments that say what speaks for and against each.
    pub fn toml(&self) -> String {
        let mut out = String::from(
            "# Allow-list entries for what was seen. Review each one: an entry keeps alerts back for whatever it matches.\n",
        );
        for (actor, clients) in &self.seen {
            for (network, seen) in self.networks(actor, clients) {
                entry(&mut out, actor, network, &seen);
            }
        }
        if self.left_out > 0 {
            let _ = writeln!(out, "\n# {} more were left out.", self.left_out);
        }
        out
    }

    /// The networks from which an actor asks, with what it asks for there and may be allowed: neighbouring addresses
    /// together, if they have enough in common and no critical alert speaks against it.
    fn networks(&self, actor: &Actor, clients: &BTreeMap<IpAddr, Seen>) -> Vec<(Network, Seen)> {
        let bars = self.bars(actor);
        let barred =
            |network: Network, path: &str| bars.iter().any(|(client, bar)| network.contains(*client) && *bar == path);
        let mut groups: Vec<(Network, Seen)> = Vec::new();
        for (client, seen) in clients {
            let (own, mut seen) = (Network::of(*client), seen.clone());
            seen.paths.retain(|path| !barred(own, path));
            if seen.paths.is_empty() {
                continue;
            }
            let joined = groups.last().and_then(|(network, sum)| {
                let joined = network.joined(own, IN_COMMON)?;
                let mut paths = sum.paths.union(&seen.paths);
                (!paths.any(|path| barred(joined, path))).then_some(joined)
            });
            match (joined, groups.last_mut()) {
                (Some(joined), Some((network, sum))) => {
                    *network = joined;
                    sum.join(&seen);
                }
                _ => groups.push((own, seen)),
            }
        }
        groups
    }

    /// Addresses and paths that critical alerts about this actor are about.
    fn bars(&self, actor: &Actor) -> Vec<(IpAddr, &str)> {
        let own = self.critical.iter().filter(|(other, ..)| other == actor);
        own.map(|(_, client, path)| (*client, path.as_str())).collect()
    }
}

/// Who asks for what, where an entry can name both.
fn what(subject: &Subject) -> Option<(Actor, &str)> {
    let imds = subject.imds.as_ref()?;
    let sent = subject.http.as_ref().map(|http| http.user_agent.as_deref().unwrap_or_default())?;
    let Client { shape, .. } = imds.client;
    let name = imds.client.name();
    let actor = Actor {
        process: subject.conn.process.as_ref().map(|process| process.name.clone()),
        name,
        shape: if name.is_some() { None } else { Some(shape?.to_string()) },
        user_agent: starred(sent),
    };
    Some((actor, imds.path.as_str())).filter(|(_, path)| !path.is_empty())
}

impl Seen {
    fn new(time: Timestamp) -> Self {
        Self { paths: BTreeSet::new(), times: 0, first: time, last: time, signals: Signals::default() }
    }

    fn join(&mut self, other: &Self) {
        self.paths.extend(other.paths.iter().cloned());
        self.times += other.times;
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        self.signals = self.signals.union(other.signals);
    }
}

fn entry(out: &mut String, actor: &Actor, network: Network, seen: &Seen) {
    let who = actor.process.as_deref().or(actor.name).unwrap_or("client");
    let paths: Vec<String> = seen.paths.iter().cloned().collect();
    let allow = AllowEntry {
        name: format!("{who} from {network}"),
        process: actor.process.clone(),
        client: Some(network),
        user_agent: Some(actor.user_agent.clone()),
        shape: actor.shape.clone(),
        client_name: actor.name.map(str::to_owned),
        path: Some(match <[String; 1]>::try_from(paths) {
            Ok([path]) => OneOrMany::One(path),
            Err(paths) => OneOrMany::Many(paths),
        }),
        comment: Some("reviewed by, why".to_owned()),
        ..AllowEntry::default()
    };
    let Ok(text) = toml::to_string(&allow) else { return };
    let hours = seen.last.since(seen.first) / (3600 * Timestamp::SECOND);
    let _ = writeln!(out, "\n# {} requests within {hours} h", seen.times);
    let _ = writeln!(out, "# for: {}", reasons_for(actor, seen));
    if let Some(against) = reasons_against(actor, seen) {
        let _ = writeln!(out, "# against: {against}");
    }
    let _ = write!(out, "[[alerts.allow]]\n{text}");
}

fn reasons_for(actor: &Actor, seen: &Seen) -> &'static str {
    match actor.name {
        _ if seen.signals.has(Signal::SdkPattern) => "form, User-Agent and steps are a known SDK's",
        Some(_) => "form and User-Agent are those of a known client",
        None => "nothing but that it was here",
    }
}

fn reasons_against(actor: &Actor, seen: &Seen) -> Option<&'static str> {
    let has = |signal| seen.signals.has(signal);
    match actor.name {
        _ if has(Signal::TokenShared) => Some("it used a session token that was issued to another client"),
        _ if has(Signal::MoreThanUsual) => Some("it fetched more than is its habit"),
        _ if has(Signal::ToolUserAgent) => Some("anybody on this host can ask with such a tool"),
        None => Some("no client that is known asks like this"),
        Some(_) => None,
    }
}

/// A User-Agent with stars for versions and comments, as a pattern of an entry.
fn starred(user_agent: &str) -> String {
    let mut out = String::new();
    let mut depth = 0_usize;
    for word in user_agent.split(' ') {
        let inside = depth > 0 || word.starts_with('(');
        depth = (depth + word.matches('(').count()).saturating_sub(word.matches(')').count());
        let shown = match word.split_once('/') {
            _ if inside => "*".to_owned(),
            Some((product, _)) => format!("{product}/*"),
            None if word.contains(|c: char| c.is_ascii_digit()) => "*".to_owned(),
            None => word.to_owned(),
        };
        if out.ends_with('*') && shown == "*" {
            continue;
        }
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(&shown);
        if out.chars().count() > AGENT {
            out = out.chars().take(AGENT).collect::<String>() + "*";
            break;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_become_stars() {
        for (sent, pattern) in [
            ("Boto3/1.43 Python/3.11 Linux/6.1 Botocore/1.43", "Boto3/* Python/* Linux/* Botocore/*"),
            ("aws-sdk-go/1.55.8 (go1.26.8; linux; amd64)", "aws-sdk-go/*"),
            ("s3fs/1.90 (commit hash unknown; GnuTLS(gcrypt))", "s3fs/*"),
            ("ansible-httpget", "ansible-httpget"),
            ("", ""),
        ] {
            assert_eq!(starred(sent), pattern);
        }
    }
}
