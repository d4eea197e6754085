//! What stands between the queue of an output and its receiver: a batch of rendered events in, what became of each out.
//!
//! A [`Receiver`] knows one protocol: connecting, TLS, authentication, rotation among hosts, and how to read an answer.
//! It keeps nothing between calls but its connection, and it waits only for the network, with a bound on every wait.
//! When to send, how much, and whether again is the caller's: what is not decided by a [`Reply`] is to be sent again.

use std::time::Duration;

use serde::Deserialize;

use crate::alert::Severity;

/// What an event is, as far as outputs tell events apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// An alert.
    Alert,
    /// Anything else: a transaction, a flow, statistics.
    #[default]
    Event,
}

/// One rendered event.
#[derive(Clone, Copy, Debug, Default)]
pub struct Event<'a> {
    /// The event as one JSON object, without a line end.
    pub json: &'a [u8],
    /// `event.id`; empty where there is none (statistics).
    pub id: &'a str,
    /// What it is.
    pub kind: Kind,
    /// `event.severity` of an alert.
    pub severity: Option<Severity>,
    /// `network.community_id`; empty where there is none.
    pub community_id: &'a str,
    /// `event.dataset`: `http`, `dns`, `flow`, `alert`; with a prefix in profile `network_traffic`.
    pub dataset: &'a str,
}

impl<'a> Event<'a> {
    /// Reads what outputs need from the JSON of an event. What cannot be read is left empty: the receiver judges it.
    pub fn read(json: &'a [u8]) -> Self {
        let head: Head<'_> = serde_json::from_slice(json).unwrap_or_default();
        let is_alert = head.event.kind.is_some_and(|kind| kind == "alert");
        Self {
            json,
            id: head.event.id.unwrap_or_default(),
            kind: if is_alert { Kind::Alert } else { Kind::Event },
            severity: head.event.severity.filter(|_| is_alert).map(severity),
            community_id: head.network.community_id.unwrap_or_default(),
            dataset: head.event.dataset.unwrap_or_default(),
        }
    }
}

/// Severity by `event.severity`, 0 to 100.
fn severity(number: u64) -> Severity {
    match number {
        0..=21 => Severity::Low,
        22..=47 => Severity::Medium,
        48..=73 => Severity::High,
        _ => Severity::Critical,
    }
}

/// The members of an event that outputs look at. Values with escapes are none of these and are left out.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Head<'a> {
    #[serde(borrow)]
    event: HeadEvent<'a>,
    #[serde(borrow)]
    network: HeadNetwork<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct HeadEvent<'a> {
    id: Option<&'a str>,
    kind: Option<&'a str>,
    severity: Option<u64>,
    dataset: Option<&'a str>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct HeadNetwork<'a> {
    community_id: Option<&'a str>,
}

/// What became of one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver has it.
    Taken,
    /// The receiver has had it before, which is as good.
    Duplicate,
    /// The receiver will never take it, for this reason: a dead letter.
    Rejected(String),
    /// Not now: to be sent again.
    Again,
}

/// What is wrong with a whole request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Nobody there, connection lost, time-out, an answer that cannot be read, 5xx: another try may succeed.
    Away,
    /// The receiver asks for patience (429, a full disk).
    Busy,
    /// The batch is larger than the receiver takes: send less at once. One event that is too large alone is a dead letter.
    TooLarge,
    /// Authentication, rights, a missing index or topic, a certificate: people have to mend it, events wait.
    Refused,
    /// No fault: the output's own rate is used up until [`Trouble::after`].
    Paced,
}

/// Trouble with a whole request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Trouble {
    /// Which kind.
    pub fault: Fault,
    /// What a person has to know: who, what, why. Without secrets.
    pub text: String,
    /// The earliest time of the next try, from now, where the receiver named one (`Retry-After`).
    pub after: Option<Duration>,
}

impl Trouble {
    /// Trouble of a kind.
    pub fn new(fault: Fault, text: impl Into<String>) -> Self {
        Self { fault, text: text.into(), after: None }
    }

    /// [`Fault::Away`].
    pub fn away(text: impl Into<String>) -> Self {
        Self::new(Fault::Away, text)
    }

    /// [`Fault::Refused`].
    pub fn refused(text: impl Into<String>) -> Self {
        Self::new(Fault::Refused, text)
    }
}

/// What became of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// One for each event, in the order of the batch. May be shorter: events beyond its end are [`Outcome::Again`].
    pub outcomes: Vec<Outcome>,
    /// Why some are to be sent again, where there is a reason to give.
    pub trouble: Option<Trouble>,
}

impl Reply {
    /// All of `count` events were taken.
    pub fn taken(count: usize) -> Self {
        Self { outcomes: vec![Outcome::Taken; count], trouble: None }
    }
}

impl From<Trouble> for Reply {
    /// Nothing was decided.
    fn from(trouble: Trouble) -> Self {
        Self { outcomes: Vec::new(), trouble: Some(trouble) }
    }
}

/// How much one call of [`Receiver::send`] may carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Events at most.
    pub events: usize,
    /// Bytes of JSON at most; a single event may be larger.
    pub bytes: usize,
}

/// An end of a connection that an output makes, for the sandbox and for resolution before it closes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// UDP instead of TCP.
    pub udp: bool,
}

/// What an output needs of the system once it runs. Certificates and keys are read when it is opened, so it needs no files
/// but those of the resolver.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Connections, in the order of the configuration.
    pub endpoints: Vec<Endpoint>,
    /// Whether the receiver names further hosts and ports by itself (Kafka's brokers).
    pub follows: bool,
}

/// One connection to one receiver.
pub trait Receiver: Send {
    /// Sends a batch and waits, for a bounded time, for what the receiver says to it.
    fn send(&mut self, batch: &[Event<'_>]) -> Reply;

    /// How much a batch may hold.
    fn limits(&self) -> Limits;

    /// What the sandbox has to let through.
    fn needs(&self) -> Needs;

    /// Connects and authenticates without sending an event, for `imdswatch test output`; each step is a line.
    ///
    /// # Errors
    /// The step that failed. Steps that succeeded before it are in `steps`.
    fn check(&mut self, steps: &mut Vec<String>) -> Result<(), Trouble>;

    /// Whether only alerts go here, whatever the configuration says of `events` (webhooks).
    fn alerts_only(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_of_an_event_is_read_wherever_it_stands() {
        let json = br#"{"message":"a \"kind\":\"alert\"","network":{"community_id":"1:x=","odd":[{}]},"event":{"id":"ab","kind":"alert","severity":73,"dataset":"alert"}}"#;
        let event = Event::read(json);
        assert_eq!((event.id, event.kind, event.community_id), ("ab", Kind::Alert, "1:x="));
        assert_eq!((event.severity, event.dataset), (Some(Severity::High), "alert"));
    }

    #[test]
    fn what_is_no_event_has_an_empty_head() {
        for json in [&b"{"[..], b"[]", b"{\"event\":1}", b"{\"event\":{\"id\":\"a\\u0062\"}}"] {
            assert_eq!(Event::read(json).id, "", "{}", String::from_utf8_lossy(json));
        }
    }
}
