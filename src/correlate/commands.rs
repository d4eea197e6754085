//! Process starts whose command lines name metadata (contract section 7), joined with what the process then did.
//!
//! A command line is seen before the request that it leads to, and often more than once: a shell is given it, and runs a
//! program with the same URL. So its alert waits [`HOLD`]: what the same process or its child does meanwhile is joined to
//! one chain, and the strongest alert of them is the one that is raised. Bounded by [`HELD`].

use std::collections::VecDeque;
use std::sync::Arc;

use super::subject;
use crate::alert::{Alert, ChainLink, HttpSubject, Rule, Severity, Subject};
use crate::conn::{Conn, Origin, Process};
use crate::detect::{Command, Imds, Sensitivity};
use crate::id::EventId;
use crate::packet::Timestamp;

/// How long the alert of a command line waits for what the process does.
const HOLD: i64 = 2 * Timestamp::SECOND;
/// Most command lines remembered.
const HELD: usize = 1024;
/// Most command lines that one alert lists.
const LISTED: usize = 8;

/// Command lines of which the alert waits, or was raised within the window.
#[derive(Debug)]
pub struct Commands {
    held: VecDeque<Held>,
    /// How long a command line may explain what its process does.
    window: i64,
    /// By how much the clocks of two sensors may differ.
    skew: i64,
}

#[derive(Debug)]
struct Held {
    alert: Alert,
    /// Processes that had this command line: a shell, and what it ran.
    processes: Vec<Who>,
    time: Timestamp,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    /// Raised, or part of a stronger alert.
    Settled,
}

/// A process on a host. Without a number it is nobody.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Who {
    pid: u32,
    host: Option<Box<str>>,
}

impl Who {
    fn of(conn: &Conn) -> Option<Self> {
        let process = conn.process.as_deref().filter(|process| process.pid != 0)?;
        Some(Self { pid: process.pid, host: host(conn.told_by.as_deref()) })
    }

    fn parent_of(conn: &Conn) -> Option<Self> {
        let pid = conn.process.as_deref()?.parent.filter(|pid| *pid > 1)?;
        Some(Self { pid, host: host(conn.told_by.as_deref()) })
    }
}

fn host(origin: Option<&Origin>) -> Option<Box<str>> {
    origin.and_then(|origin| origin.host_name.clone())
}

impl Commands {
    /// `window` and `skew` in nanoseconds of packet time.
    pub fn new(window: i64, skew: i64) -> Self {
        Self { held: VecDeque::new(), window, skew }
    }

    /// Takes the alert of a command line.
    pub fn hold(&mut self, alert: Alert, conn: &Conn, time: Timestamp, out: &mut Vec<Arc<Alert>>) {
        let who = Who::of(conn);
        let parent = Who::parent_of(conn);
        let is_of = |held: &&mut Held| {
            let knows = |who: &Option<Who>| who.as_ref().is_some_and(|who| held.processes.contains(who));
            held.state == State::Waiting && (knows(&who) || knows(&parent))
        };
        if let Some(held) = self.held.iter_mut().rev().find(is_of) {
            held.processes.extend(who);
            return held.add(alert);
        }
        if self.held.len() >= HELD {
            self.drop_oldest(out);
        }
        self.held.push_back(Held { alert, processes: who.into_iter().collect(), time, state: State::Waiting });
    }

    /// Decides what waited until `now`.
    pub fn expire(&mut self, now: Timestamp, out: &mut Vec<Arc<Alert>>) {
        let hold = HOLD.saturating_add(self.skew);
        for held in &mut self.held {
            if held.state == State::Waiting && now.since(held.time) > hold {
                held.settle(out);
            }
        }
        let remembered = self.window.max(hold);
        while self.held.front().is_some_and(|held| now.since(held.time) > remembered) {
            self.drop_oldest(out);
        }
    }

    /// The end of input.
    pub fn finish(&mut self, out: &mut Vec<Arc<Alert>>) {
        while !self.held.is_empty() {
            self.drop_oldest(out);
        }
    }

    fn drop_oldest(&mut self, out: &mut Vec<Arc<Alert>>) {
        if let Some(mut held) = self.held.pop_front() {
            held.settle(out);
        }
    }

    /// Joins the alerts from `first` on, which are about requests, lookups and connections, with the command lines that
    /// led to them. What a command line's alert says as strongly is left out.
    pub fn join(&mut self, first: usize, alerts: &mut Vec<Arc<Alert>>) {
        if self.held.is_empty() {
            return;
        }
        let mut nth = first;
        while let Some(alert) = alerts.get_mut(nth) {
            nth += 1;
            if alert.rule == Rule::ImdsCommand || alert.repeats.is_some() {
                continue;
            }
            let legs = [Some(&alert.subject), alert.leg.as_ref()];
            let fits = |held: &&mut Held| {
                let led_to = |leg: &Arc<Subject>| held.led_to(leg, self.skew, self.window);
                legs.iter().flatten().any(|leg| led_to(leg))
            };
            let Some(held) = self.held.iter_mut().rev().find(fits) else { continue };
            if held.state == State::Waiting && alert.severity < held.alert.severity {
                held.alert.chain.push(alert.subject.link(what(alert.rule), alert.subject.start));
                held.alert.chain.sort_by_key(|link| link.time);
                nth -= 1;
                alerts.remove(nth);
                continue;
            }
            held.state = State::Settled;
            let alert = Arc::make_mut(alert);
            for link in held.links() {
                // where the command line itself confirmed a forgery it stands there as what was fetched
                match alert.chain.iter_mut().find(|known| known.id == link.id) {
                    Some(known) => known.what = link.what,
                    None => alert.chain.push(link),
                }
            }
            alert.chain.sort_by_key(|link| link.time);
        }
    }
}

/// Word for an event in a chain.
fn what(rule: Rule) -> &'static str {
    match rule {
        Rule::ImdsLookup => "dns",
        _ => "request",
    }
}

impl Held {
    /// Joins another command line of the same process, or of its child: the stronger one is told, and of two that are
    /// alike the later, which is the program that a shell ran.
    fn add(&mut self, mut other: Alert) {
        let mut chain = std::mem::take(&mut self.alert.chain);
        if chain.is_empty() {
            chain.push(link(&self.alert));
        }
        if chain.len() < LISTED {
            chain.push(link(&other));
        }
        if other.severity >= self.alert.severity {
            std::mem::swap(&mut self.alert, &mut other);
        }
        self.alert.chain = chain;
    }

    fn links(&self) -> Vec<ChainLink> {
        if self.alert.chain.is_empty() { vec![link(&self.alert)] } else { self.alert.chain.clone() }
    }

    fn settle(&mut self, out: &mut Vec<Arc<Alert>>) {
        if std::mem::replace(&mut self.state, State::Settled) == State::Waiting {
            out.push(Arc::new(self.alert.clone()));
        }
    }

    /// Whether what was seen is what the command line says: by the process, or where that is not known by path and host
    /// soon after.
    fn led_to(&self, leg: &Subject, skew: i64, window: i64) -> bool {
        let after = leg.start.since(self.time);
        if after < -skew - Timestamp::SECOND || after > window {
            return false;
        }
        match Who::of(&leg.conn) {
            Some(who) if self.processes.iter().any(|own| own.host.is_some() == who.host.is_some()) => {
                self.processes.contains(&who)
            }
            _ => after <= HOLD + skew && self.is_on(leg) && self.asked_for(leg),
        }
    }

    /// Whether the leg's client may be the host of the command line.
    fn is_on(&self, leg: &Subject) -> bool {
        let origin = self.alert.subject.conn.told_by.as_deref();
        let ips = origin.map(|origin| origin.host_ips.as_slice()).unwrap_or_default();
        ips.is_empty() || ips.contains(&leg.conn.client.ip.to_canonical())
    }

    fn asked_for(&self, leg: &Subject) -> bool {
        let path = |subject: &Subject| subject.imds.as_ref().map(|imds| imds.path.clone());
        let own = path(&self.alert.subject).filter(|path| path.len() > 1);
        own.is_some() && own == path(leg)
    }
}

fn link(alert: &Alert) -> ChainLink {
    alert.subject.link("command", alert.subject.start)
}

/// What the alert is about.
pub fn subject(command: &Command, event_id: EventId) -> Arc<Subject> {
    let signals = command.imds.signals;
    let http = HttpSubject { target: command.named.to_string(), ..HttpSubject::default() };
    Arc::new(Subject {
        conn: command.conn.clone(),
        start: command.time,
        end: None,
        event_id,
        http: Some(Arc::new(http)),
        dns: None,
        command: Some(command.line.clone()),
        imds: Some(command.imds.clone()),
        signals,
        service: None,
    })
}

/// By the path: what it gives away.
pub fn severity(command: &Command) -> Severity {
    match command.imds.sensitivity {
        _ if command.is_mention => Severity::Low,
        Sensitivity::Credential => Severity::High,
        _ if command.is_walk => Severity::High,
        Sensitivity::Identity | Sensitivity::UserData => Severity::Medium,
        Sensitivity::Token | Sensitivity::Discovery => Severity::Low,
    }
}

/// The sentence of the alert.
pub fn message(command: &Command) -> String {
    let Command { conn, imds, named, reached, .. } = command;
    let process = conn.process.as_deref();
    let name = process.map(|process| process.name.as_str()).filter(|name| !name.is_empty()).unwrap_or("a process");
    let on = conn.told_by.as_deref().and_then(|origin| origin.host_name.as_deref());
    let on = on.map(|host| format!(" on {}", clean(host))).unwrap_or_default();
    let by = process.and_then(parent).map(|parent| format!(", started by {}", clean(&parent)));
    if let Some(service) = reached {
        let (name, by, whose) = (clean(name), by.unwrap_or_default(), whose(imds));
        return format!(
            "{name}{on}{by} connected to the metadata service at {}{whose}; its arguments could not be read",
            service.ip
        );
    }
    let what = match imds.sensitivity {
        _ if command.is_mention => "names the metadata service",
        Sensitivity::Credential => "asks for credentials",
        Sensitivity::Identity => "asks for a signed identity",
        Sensitivity::UserData => "asks for user data, which often holds secrets",
        Sensitivity::Token => "asks for a session token",
        Sensitivity::Discovery if command.is_walk => "looks for credentials",
        Sensitivity::Discovery => "reads configuration",
    };
    let whose = whose(imds);
    format!("{}{on}{} {what}{whose}: {}", clean(name), by.unwrap_or_default(), clean(named))
}

fn whose(imds: &Imds) -> String {
    match imds.provider {
        "unknown" => String::new(),
        provider => format!(" ({provider} {})", imds.service),
    }
}

fn parent(process: &Process) -> Option<String> {
    process.parent_name.clone().or_else(|| process.parent.map(|pid| format!("process {pid}")))
}

/// Text of a sender's choosing, cut to a length that a sentence bears, without control characters.
fn clean(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

/// What makes two command lines repeats of one thing.
pub fn repeat_key(command: &Command, severity: Severity) -> super::repeats::Key {
    use std::hash::{Hash, Hasher};
    let process = command.conn.process.as_deref();
    let name = process.map(|process| process.name.as_str()).unwrap_or_default();
    let host = command.conn.told_by.as_deref().and_then(|origin| origin.host_name.as_deref());
    subject::key(|hasher| {
        (Rule::ImdsCommand, severity, host, command.conn.client.ip, command.imds.provider).hash(hasher);
        for part in [name, &command.imds.path] {
            hasher.write(part.as_bytes());
            hasher.write_u8(0);
        }
    })
}
