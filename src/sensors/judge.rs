//! What another sensor saw, judged by the matcher that judges packets.
//!
//! In: a [`Fact`]. Out: what the publisher takes, if it has to do with metadata. Headers that a sensor did not tell were
//! not seen: nothing is concluded from their absence.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use super::{Connection, Dns, Fact, Http, Kind};
use crate::catalogue::Catalogue;
use crate::conn::{Conn, Endpoint, Process, Proto};
use crate::detect::{self, Detector, Imds, NoRequest, Signal, command};
use crate::observe::What;
use crate::packet::Timestamp;
use crate::proto::dns::{Message as DnsMessage, Name, Question, RData, Record, Transaction as Lookup};
use crate::proto::http::{Head, Message, Transaction};

/// The matcher, for facts.
pub struct Judge {
    detector: Detector,
    /// Running number, which tells apart what has all else in common.
    ordinal: u32,
    /// Questions told without their answers, which some sensors tell on their own.
    asked: VecDeque<(Timestamp, Asked)>,
}

/// A question for a metadata name: which sensor told of it, who asked and what.
type Asked = (Option<&'static str>, Endpoint, String);

/// Questions that are remembered, and how long one may wait for its answer.
const QUESTIONS: usize = 256;
const ANSWERED_WITHIN: i64 = 10 * Timestamp::SECOND;

/// What cannot be concluded where only some of the headers, or no answer, were told.
const UNSEEN: &[Signal] =
    &[Signal::V1, Signal::V1AfterV2, Signal::NoUserAgent, Signal::Unanswered, Signal::RogueResponder];

impl Judge {
    /// A matcher without memory.
    pub fn new(catalogue: Arc<Catalogue>, config: detect::Config) -> Self {
        Self { detector: Detector::new(catalogue, config), ordinal: 0, asked: VecDeque::new() }
    }

    /// What a fact is to the publisher, and when it was over.
    pub fn judge(&mut self, fact: Fact) -> Option<(Timestamp, What)> {
        let Fact { time, conn, kind } = fact;
        match kind {
            Kind::Start => {
                let command = command::judge(&mut self.detector, conn, time)?;
                Some((time, What::Command(Box::new(command))))
            }
            Kind::Connection(told) => self.connection(conn, time, &told),
            Kind::Http(told) => self.http(conn, time, &told),
            Kind::Dns(told) => self.dns(conn, time, &told),
        }
    }

    /// What a process start that this program saw itself is to the publisher. Where its arguments could not be read,
    /// `reached` is the metadata service that the process connected to.
    pub fn start(&mut self, time: Timestamp, process: Process, reached: Option<Endpoint>) -> Option<(Timestamp, What)> {
        let nowhere = Endpoint { ip: IpAddr::V4(Ipv4Addr::UNSPECIFIED), port: 0 };
        let conn = Conn { process: Some(Arc::new(process)), ..Conn::between(nowhere, nowhere, Proto::Tcp) };
        let Some(reached) = reached else { return self.judge(Fact { time, conn, kind: Kind::Start }) };
        let command = command::unread(&mut self.detector, conn, time, reached)?;
        Some((time, What::Command(Box::new(command))))
    }

    fn connection(&mut self, conn: Conn, time: Timestamp, told: &Connection) -> Option<(Timestamp, What)> {
        let why = if told.is_refused { NoRequest::Refused } else { NoRequest::Reported };
        let end = told.end.unwrap_or(time).max(time);
        let connection = self.detector.connection(conn, why, time, end)?;
        Some((time, What::Connection(Box::new(connection))))
    }

    fn http(&mut self, conn: Conn, time: Timestamp, told: &Http) -> Option<(Timestamp, What)> {
        let end = told.end.unwrap_or(time).max(time);
        let host = told.host.iter().map(|host| ("Host", host.as_str()));
        let fields = host.chain(told.fields.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let fields: Vec<_> = fields.map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
        let request = (!told.method.is_empty() || !told.target.is_empty()).then(|| {
            let method = if told.method.is_empty() { "GET" } else { &told.method };
            Head::reported_request(method.as_bytes(), told.target.as_bytes(), &fields)
        });
        let location: Vec<_> = told.location.iter().map(|to| (&b"Location"[..], to.as_bytes())).collect();
        let response =
            told.status.filter(|status| *status > 0).map(|status| Head::reported_response(status, &location));
        self.ordinal = self.ordinal.wrapping_add(1);
        let tx = Transaction {
            conn,
            request: request.map(|head| Message::reported(head, time, time)),
            response: response.map(|head| Message::reported(head, end, end)),
            notes: Vec::new(),
            conflict: false,
            via: None,
            ordinal: self.ordinal,
            stream: None,
        };
        let mut verdict = self.detector.http(&tx, false);
        if let Some(imds) = &mut verdict.imds {
            forget_unseen(Arc::make_mut(imds));
        }
        let is_told = verdict.imds.is_some() || !verdict.candidates.is_empty() || !verdict.redirects.is_empty();
        is_told.then(|| (end, What::Http(Box::new((tx, verdict)))))
    }

    fn dns(&mut self, conn: Conn, time: Timestamp, told: &Dns) -> Option<(Timestamp, What)> {
        let mut name = Name::default();
        let wire: usize = told.name.len();
        for label in told.name.trim_end_matches('.').split('.').filter(|_| wire <= Name::MAX) {
            let label = label.as_bytes();
            name.push(label.get(..label.len().min(63)).unwrap_or_default());
        }
        let qtype = number_of(told.kind.as_deref());
        let question = Question { name: name.clone(), qtype, class: 1 };
        let query = DnsMessage { time, flags: 0x0100, questions: vec![question.clone()], ..DnsMessage::default() };
        let answers = told.addresses.iter().map(|ip| {
            let (rtype, data) = match ip {
                IpAddr::V4(v4) => (1, RData::A(*v4)),
                IpAddr::V6(v6) => (28, RData::Aaaa(*v6)),
            };
            Record { name: name.clone(), rtype, class: 1, ttl: 0, data }
        });
        let response = told.is_answered.then(|| DnsMessage {
            time,
            flags: 0x8180 | u16::from(told.code & 15),
            questions: vec![question],
            answers: answers.collect(),
            ..DnsMessage::default()
        });
        let (query, response) = (Some(Arc::new(query)), response.map(Arc::new));
        let tx = Lookup { conn, query, response, notes: Vec::new(), question: 0 };
        let verdict = self.detector.dns(&tx, false);
        if !verdict.is_about_metadata() || self.is_known(&tx.conn, time, told) {
            return None;
        }
        Some((time, What::Dns(Box::new((tx, verdict)))))
    }

    /// Whether this is the answer to a question that the same sensor told of before.
    fn is_known(&mut self, conn: &Conn, time: Timestamp, told: &Dns) -> bool {
        let sensor = conn.told_by.as_ref().map(|origin| origin.sensor);
        let asked = (sensor, conn.client, told.name.trim_end_matches('.').to_ascii_lowercase());
        if told.is_answered {
            let is_its = |(at, known): &(Timestamp, Asked)| *known == asked && time.since(*at).abs() <= ANSWERED_WITHIN;
            return self.asked.iter().position(is_its).and_then(|at| self.asked.remove(at)).is_some();
        }
        if self.asked.len() >= QUESTIONS {
            self.asked.pop_front();
        }
        self.asked.push_back((time, asked));
        false
    }
}

fn forget_unseen(imds: &mut Imds) {
    UNSEEN.iter().for_each(|signal| imds.signals.remove(*signal));
    if imds.version == Some("v1") {
        imds.version = None;
    }
}

/// Number of a record type by its name.
fn number_of(kind: Option<&str>) -> u16 {
    match kind.map(str::to_ascii_uppercase).as_deref() {
        Some("AAAA") => 28,
        Some("CNAME") => 5,
        Some("TXT") => 16,
        Some("HTTPS") => 65,
        Some("ANY" | "*") => 255,
        _ => 1,
    }
}
