//! What the event of a metadata exchange says and the alerts about it say again: rendered once.
//!
//! In: the exchange and its document. Out: members as JSON, for that event and for alerts about it that follow before
//! anything else is observed. Bound: the members of one request of at most [`LONGEST`] bytes.

use std::ops::Range;

use serde::Serialize;

use super::doc::{Doc, Imds, Member, Url, UserAgent};
use super::json;
use crate::alert::Alert;
use crate::detect::Signals;
use crate::id::EventId;
use crate::proto::http::{Message, Transaction};

/// Longest head of a request whose members are kept, in bytes: of longer ones alerts may tell less.
const LONGEST: usize = 2048;

/// Members of the event that was written last.
#[derive(Debug, Default)]
pub struct Said {
    /// `event.id`.
    of: Option<EventId>,
    json: Vec<u8>,
    url: Range<usize>,
    user_agent: Range<usize>,
    imds: Range<usize>,
    /// Signals in `imds`.
    signals: Signals,
}

impl Said {
    /// Forgets what was said: another secret may be issued with the next observation.
    pub fn forget(&mut self) {
        self.of = None;
    }

    /// Renders members of an exchange's event in their places.
    pub(super) fn keep<'a>(&'a mut self, id: EventId, tx: &Transaction, doc: &mut Doc<'a>) {
        let imds = doc.imds.as_ref().and_then(Member::typed).filter(|imds| imds.allowed_by.is_none());
        let Some(imds) = imds.filter(|_| tx.stream.is_none() && tx.request.as_ref().is_some_and(is_told_alike)) else {
            return;
        };
        self.of = Some(id);
        self.signals = imds.signals.0;
        self.json.clear();
        self.url = self.render(doc.url.as_ref());
        self.user_agent = self.render(doc.user_agent.as_ref());
        self.imds = self.render(Some(imds));
        let said = &*self;
        (doc.url, doc.user_agent, doc.imds) = (said.url(), said.user_agent(), said.part(&said.imds));
    }

    /// Puts `url` and `user_agent` in their places, if the alert is about the same exchange; whether it is.
    pub(super) fn request<'a>(&'a self, alert: &Alert, doc: &mut Doc<'a>) -> bool {
        let is_same = self.is_about(alert);
        if is_same {
            (doc.url, doc.user_agent) = (self.url(), self.user_agent());
        }
        is_same
    }

    /// The `imds` object, where the alert has nothing else to say.
    pub(super) fn imds(&self, alert: &Alert) -> Option<Member<'_, Imds<'_>>> {
        let adds = alert.leg.is_some() || alert.repeats.is_some() || !alert.chain.is_empty();
        let is_same = self.is_about(alert) && !adds && alert.signals == self.signals && alert.subject.imds.is_some();
        self.part(&self.imds).filter(|_| is_same)
    }

    fn is_about(&self, alert: &Alert) -> bool {
        self.of == Some(alert.subject.event_id)
    }

    fn url(&self) -> Option<Member<'_, Url<'_>>> {
        self.part(&self.url)
    }

    fn user_agent(&self) -> Option<Member<'_, UserAgent<'_>>> {
        self.part(&self.user_agent)
    }

    fn part<T>(&self, range: &Range<usize>) -> Option<Member<'_, T>> {
        self.json.get(range.clone()).filter(|json| !json.is_empty()).map(Member::Said)
    }

    fn render<T: Serialize>(&mut self, member: Option<&T>) -> Range<usize> {
        let start = self.json.len();
        if member.is_some_and(|member| json::write(&mut self.json, member).is_err()) {
            self.json.truncate(start); // cannot happen, see `Writer::line`
        }
        start..self.json.len()
    }
}

/// Whether alerts tell target, host and User-Agent of a request as its event does: which of several fields counts, what a
/// form adds, how damaged text is mended and where long text ends are other questions there.
fn is_told_alike(request: &Message) -> bool {
    let head = &request.head;
    let is_single = |name| head.values(name).nth(1).is_none();
    head.raw.len() <= LONGEST
        && head.raw.is_ascii()
        && !head.method().is_empty()
        && request.body.captured.is_empty()
        && is_single("host")
        && is_single("user-agent")
        && head.field("user-agent") != Some(b"")
}
