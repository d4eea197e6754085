//! What a request asks for, as far as its target and hosts say: the path as it is compared, the entries that fit it, the
//! services that it names.
//!
//! In: head and proxy conversation of a request. Out: an [`Asked`]. Programs ask their metadata service for the same few
//! paths in the same words again and again, so [`Questions`] remembers what that came to: at most [`Questions::MAX`]
//! questions of at most [`Questions::LENGTH`] bytes, none of which could hold a secret.

#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

use std::sync::Arc;

use hashbrown::{Equivalent, HashMap};

use super::canonical::canonical_host;
use super::path::{Normalised, Target};
use super::request::{endpoints_of, host_fields, is_wildcard};
use super::{HostRef, Seen, relay, tokens};
use crate::catalogue::{Catalogue, Endpoint, PathMatch};
use crate::proto::http::{Head, Message, Transaction};

/// What target and hosts say.
#[derive(Debug)]
pub(super) struct Asked {
    /// Normalised; empty for CONNECT.
    pub(super) path: Normalised,
    /// Entries that fit the path.
    pub(super) matches: Vec<PathMatch>,
    /// Endpoints that the request names by host name or address.
    pub(super) named: Vec<&'static Endpoint>,
    /// A Host field alone names them: anyone can write that to any server.
    pub(super) by_host_field: bool,
    /// Only of what is remembered.
    pub(super) remembered: Option<Remembered>,
}

/// What else is known of a request whose only host is a Host field that plainly names a metadata service.
#[derive(Debug)]
pub(super) struct Remembered {
    /// Hashes that the relay search finds in its target.
    pub(super) tokens: Vec<Seen>,
}

impl Asked {
    /// Of a request that is not looked up.
    pub(super) fn new(catalogue: &Catalogue, tx: &Transaction, message: &Message, target: &Target<'_>) -> Self {
        let head = &message.head;
        let path = match head.is_connect() {
            true => Normalised { path: String::new(), obfuscated: false },
            false => target.normalise(head.target()),
        };
        let matches = catalogue.paths_like(&path.path, target.query);
        // Hosts that it names: target, proxy conversation around it, Host fields.
        let named = |authority: &[u8]| {
            let host = canonical_host(without_user(authority))?;
            let found = endpoints_of(&host, catalogue);
            let counts = !found.is_empty() && (!is_short(&host) || is_asked(&found, &matches, head));
            counts.then_some(found)
        };
        let by_target = target.authority.into_iter().chain(tx.via.as_deref()).find_map(named);
        let by_host_field = by_target.is_none();
        let named = by_target.or_else(|| host_fields(head).find_map(named)).unwrap_or_default();
        Self { by_host_field: by_host_field && !named.is_empty(), named, matches, path, remembered: None }
    }
}

/// Whether a host is a name of one label, as many networks have some of their own.
fn is_short(host: &HostRef) -> bool {
    matches!(host, HostRef::Name(name) if !name.contains('.'))
}

/// Whether a request asks what one of `endpoints` has: by its path, or by a header that only its clients send.
fn is_asked(endpoints: &[&'static Endpoint], matches: &[PathMatch], head: &Head) -> bool {
    let has_path = |found: &PathMatch| found.fit.literals > 0 && endpoints.iter().any(|own| found.path.is_at(own));
    let has_header = |own: &&'static Endpoint| {
        own.client_headers.iter().any(|rule| head.fields().any(|(name, value)| rule.fits(name, value)))
    };
    matches.iter().any(has_path) || endpoints.iter().any(has_header)
}

/// Questions to metadata services, remembered.
#[derive(Debug, Default)]
pub(super) struct Questions {
    known: HashMap<Question<Box<[u8]>>, Arc<Asked>, foldhash::fast::RandomState>,
}

/// The bytes that all follows from; compared as sent.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Question<B> {
    target: B,
    host: B,
}

impl Equivalent<Question<Box<[u8]>>> for Question<&[u8]> {
    fn equivalent(&self, known: &Question<Box<[u8]>>) -> bool {
        self.target == &*known.target && self.host == &*known.host
    }
}

impl Questions {
    /// Most questions that are remembered; then it starts anew.
    const MAX: usize = 1024;
    /// Longest target or host that is remembered, in bytes.
    const LENGTH: usize = 256;

    /// What a request to a metadata service asks for.
    pub(super) fn asked(
        &mut self,
        catalogue: &Catalogue,
        tx: &Transaction,
        message: &Message,
        target: &Target<'_>,
    ) -> Arc<Asked> {
        let head = &message.head;
        let question = question(tx, head);
        if let Some(known) = question.as_ref().and_then(|question| self.known.get(question)) {
            return Arc::clone(known);
        }
        let mut asked = Asked::new(catalogue, tx, message, target);
        let Some(question) = question.filter(|question| is_harmless(catalogue, question, &asked)) else {
            return Arc::new(asked);
        };
        asked.remembered = Some(Remembered { tokens: relay::tokens_of_target(head) });
        if self.known.len() >= Self::MAX {
            self.known.clear();
        }
        let asked = Arc::new(asked);
        let question = Question { target: question.target.into(), host: question.host.into() };
        self.known.insert(question, Arc::clone(&asked));
        asked
    }

    /// How many are remembered.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }
}

/// The question, if it is one of the usual form: a path without query, and one Host field.
fn question<'t>(tx: &Transaction, head: &'t Head) -> Option<Question<&'t [u8]>> {
    let mut hosts = host_fields(head);
    let question = Question { target: head.target(), host: hosts.next()? };
    let Question { target, host } = question;
    let is_usual = target.first() == Some(&b'/')
        && target.len() <= Questions::LENGTH
        && host.len() <= Questions::LENGTH
        && memchr::memchr2(b'?', b'#', target).is_none()
        && memchr::memchr(b'@', host).is_none()
        && tx.via.is_none()
        && hosts.next().is_none()
        && !head.is_connect();
    is_usual.then_some(question)
}

/// Whether a question may be kept: it is one that a metadata service is asked, and no part of it looks like a secret.
fn is_harmless(catalogue: &Catalogue, question: &Question<&[u8]>, asked: &Asked) -> bool {
    let parts = question.target.split(|b| *b == b'/').chain([question.host]);
    !asked.matches.is_empty()
        && !asked.named.is_empty()
        && !is_wildcard(catalogue, question.host)
        && !parts.into_iter().any(tokens::is_token)
}

/// The target in its parts; that of CONNECT is an authority.
pub(super) fn target(head: &Head) -> Target<'_> {
    match head.is_connect() {
        true => Target { authority: Some(head.target()), ..Target::default() },
        false => Target::new(head.target()),
    }
}

fn without_user(authority: &[u8]) -> &[u8] {
    let start = memchr::memrchr(b'@', authority).map_or(0, |at| at.saturating_add(1));
    authority.get(start..).unwrap_or_default()
}
