//! One alert as the report keeps it: short, and safe to show.

use super::event::{Event, Link};
use super::time::{self, Nanos};
use super::visible::{visible, visible_most};

/// Severity from which an alert makes an incident: high.
pub(super) const HIGH: u64 = 73;

/// An alert, each text already made visible and cut.
#[derive(Clone, Debug)]
pub(super) struct Alert {
    /// When it began, where that is known: an exchange's alert is stamped with its end.
    pub(super) start: Nanos,
    pub(super) severity: u64,
    pub(super) risk: u64,
    pub(super) rule: String,
    pub(super) name: String,
    pub(super) message: String,
    pub(super) source: String,
    pub(super) source_host: String,
    pub(super) destination: String,
    pub(super) what: String,
    pub(super) client: String,
    pub(super) process: String,
    pub(super) provider: String,
    pub(super) service: String,
    pub(super) path: String,
    pub(super) credential: Option<Credential>,
    pub(super) chain: Vec<Step>,
    pub(super) issued: bool,
    pub(super) left: bool,
    /// How many sightings it stands for.
    pub(super) count: u64,
    id: String,
}

/// What is known of a credential; never its secret part, which events do not hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Credential {
    pub(super) provider: String,
    pub(super) kind: String,
    pub(super) id: String,
    pub(super) fingerprint: String,
    pub(super) scope: String,
    pub(super) expires: String,
}

impl Credential {
    /// What tells it from others, `None` where nothing does.
    pub(super) fn key(&self) -> Option<(String, String)> {
        (!self.id.is_empty() || !self.fingerprint.is_empty()).then(|| (self.id.clone(), self.fingerprint.clone()))
    }
}

/// One step of `imds.chain`.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) id: String,
    pub(super) time: Option<Nanos>,
    pub(super) what: String,
    pub(super) source: String,
    pub(super) destination: String,
    pub(super) url: String,
}

/// Steps of a chain that are read: what a program of ours writes is far below.
const MOST_STEPS: usize = 64;

impl Alert {
    /// From an event; `None` where its time cannot be read.
    pub(super) fn of(event: &Event) -> Option<Self> {
        let end = time::parse(&event.timestamp)?;
        let imds = event.imds.as_ref();
        let text = |value: fn(&super::event::Imds) -> &str| visible(imds.map_or("", value));
        let has = |signal: &str| imds.is_some_and(|imds| imds.signals.iter().any(|one| one == signal));
        let credential = imds.and_then(|imds| credential(&imds.provider, &imds.credential));
        let url = if event.url.full.is_empty() { &event.url.original } else { &event.url.full };
        Some(Self {
            start: time::parse(&event.event.start).unwrap_or(end),
            severity: event.event.severity,
            risk: event.event.risk_score.clamp(0.0, 100.0) as u64,
            rule: visible(&event.rule.id),
            name: visible(&event.rule.name),
            message: visible_most(&event.message, 900),
            source: event.source.text(),
            source_host: event.source.host(),
            destination: event.destination.text(),
            what: visible(url),
            client: match text(|imds| &imds.client.name) {
                name if name.is_empty() => visible(&event.user_agent.original),
                name => name,
            },
            process: visible(if event.process.name.is_empty() {
                &event.process.command_line
            } else {
                &event.process.name
            }),
            provider: text(|imds| &imds.provider),
            service: text(|imds| &imds.service),
            path: text(|imds| &imds.path),
            issued: imds.is_some_and(|imds| imds.credential.issued) || has("issued"),
            left: event.rule.id == "credential-relayed" || has("relayed"),
            chain: imds.map(|imds| imds.chain.iter().take(MOST_STEPS).map(step).collect()).unwrap_or_default(),
            count: imds.map_or(0, |imds| imds.repeats).max(1),
            id: visible(&event.event.id),
            credential,
        })
    }

    /// What other alerts of the same doing share with it for certain: events and connections.
    pub(super) fn bonds(&self) -> Vec<String> {
        let mut bonds = vec![format!("e{}", self.id), format!("c{}>{}", self.source, self.destination)];
        for step in &self.chain {
            bonds.push(format!("e{}", step.id));
            bonds.push(format!("c{}>{}", step.source, step.destination));
        }
        bonds.retain(|bond| bond.len() > 2);
        bonds
    }

    /// What they share if they are near in time: the actor, and a credential that was issued or left.
    pub(super) fn likenesses(&self) -> Vec<String> {
        let key = self.credential.as_ref().and_then(Credential::key).filter(|_| self.issued || self.left);
        let actor = format!("a{} {} {}", self.source_host, self.process, self.client);
        key.map(|(id, fingerprint)| format!("k{id} {fingerprint}")).into_iter().chain([actor]).collect()
    }
}

/// What an event tells of a credential; `None` where it tells nothing that would know it again.
pub(super) fn credential(provider: &str, told: &super::event::Credential) -> Option<Credential> {
    let id = if told.id.is_empty() { told.ids.first().map_or("", String::as_str) } else { &told.id };
    let credential = Credential {
        provider: visible(provider),
        kind: visible(&told.kind),
        id: visible(id),
        fingerprint: visible(&told.fingerprint),
        scope: visible(&told.scope),
        expires: visible(&told.expires),
    };
    credential.key().is_some().then_some(credential)
}

fn step(link: &Link) -> Step {
    Step {
        id: visible(&link.id),
        time: time::parse(&link.time),
        what: visible(&link.what),
        source: visible(&link.source),
        destination: visible(&link.destination),
        url: visible(&link.url),
    }
}
