//! What one exchange with a metadata service shows by itself (contract section 4).

#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

use super::Detector;
use crate::detect::canonical::canonical_ip;
use crate::detect::proof::Answer;
use crate::detect::provider::Choice;
use crate::detect::request::{Request, fitting};
use crate::detect::{Imds, RecognisedBy, Signal, Signals};
use crate::proto::http::Transaction;

impl Detector {
    pub(super) fn signals(
        &mut self,
        tx: &Transaction,
        request: Option<&Request<'_>>,
        answer: Option<&Answer<'_>>,
        choice: &Choice,
        imds: &Imds,
    ) -> Signals {
        let mut signals = request.map(|r| r.signals(&self.catalogue, &mut self.agents)).unwrap_or_default();
        let entry = choice.entry.map(|m| m.path.entry);
        let status = tx.response.as_ref().and_then(|r| r.head.status());
        let issued = imds.credential.as_ref().is_some_and(|c| c.issued);
        let messages = || tx.request.iter().chain(&tx.response);
        let own_address = choice.endpoints.iter().any(|e| e.addresses.contains(&canonical_ip(tx.conn.server.ip)));
        let conditions = [
            (Signal::V1, imds.version == Some("v1") || entry.is_some_and(|e| e.legacy)),
            (
                Signal::ForeignHost,
                imds.recognised_by == RecognisedBy::Address
                    && request.is_some_and(|r| r.has_foreign_host(&self.catalogue, tx.conn.server.ip)),
            ),
            (Signal::ImpossiblePath, entry.is_some_and(|e| e.impossible)),
            (Signal::NotFound, status == Some(404)),
            (
                Signal::Refused,
                matches!(status, Some(400 | 401 | 403 | 429 | 500..=599))
                    || answer.is_some_and(|a| a.is_refusal(entry, imds.sensitivity)),
            ),
            (Signal::Unanswered, request.is_some() && tx.response.is_none()),
            (Signal::Issued, issued),
            (Signal::ExtraHop, tx.conn.client_ttl.is_some_and(is_forwarded_ttl)),
            (Signal::TcpOverlapConflict, tx.conflict),
            (Signal::StreamGap, messages().any(|m| m.gap)),
            (Signal::TruncatedCapture, messages().any(|m| m.cut)),
            (Signal::Tunnelled, !tx.conn.hops.is_empty()),
            (
                Signal::Proxied,
                match imds.recognised_by {
                    RecognisedBy::Name | RecognisedBy::Response => !own_address,
                    RecognisedBy::Address | RecognisedBy::Path => false,
                },
            ),
            (
                Signal::RogueResponder,
                imds.recognised_by == RecognisedBy::Address
                    && answer.is_some_and(Answer::is_success)
                    && !is_genuine(tx, choice),
            ),
        ];
        conditions.into_iter().filter(|(_, holds)| *holds).for_each(|(signal, _)| signals.add(signal));
        signals
    }
}

/// One to four hops below what systems start with: the packet passed a router or bridge before the sensor.
fn is_forwarded_ttl(ttl: u8) -> bool {
    matches!(ttl, 60..=63 | 124..=127 | 251..=254)
}

/// Whether the answer carries a header of the genuine service, where those are known.
fn is_genuine(tx: &Transaction, choice: &Choice) -> bool {
    let mut rules =
        choice.endpoints.iter().filter(|e| e.service == choice.service).flat_map(|e| &e.server_headers).peekable();
    // A head that the capture cut may have had the header.
    let whole = tx.response.as_ref().filter(|response| response.head.complete && !response.gap);
    let Some(response) = whole.filter(|_| rules.peek().is_some()) else { return true };
    rules.any(|rule| fitting(&response.head, rule).is_some())
}
