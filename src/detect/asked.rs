//! What a request asks for, as far as its target and hosts say: the path as it is compared, the entries that fit it, the
//! services that it names.
//!
//! In: head and proxy conversation of a request. Out: a [`RequestTarget`]. Programs ask their metadata service for the
//! same few paths in the same words again and again, so [`TargetCache`] remembers what that came to: at most
//! [`MAX`] targets of at most [`TargetCache::LENGTH`] bytes, none of which could hold a secret.

#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

use std::sync::Arc;

use super::canonical::canonical_host;
use super::path::{Normalised, Target};
use super::request::{endpoints_of, endpoints_perhaps_of, host_fields, is_wildcard};
use super::{Seen, relay, tokens};
use crate::catalogue::{Catalogue, Endpoint, PathMatch};
use crate::memo::Memo;
use crate::proto::http::{Head, Message, Transaction};

/// What target and hosts say.
#[derive(Debug)]
pub(super) struct RequestTarget {
    /// Normalised; empty for CONNECT.
    pub(super) path: Normalised,
    /// Entries that fit the path.
    pub(super) matches: Vec<PathMatch>,
    /// Endpoints that the request names by host name or address.
    pub(super) named: Vec<&'static Endpoint>,
    /// A Host field alone names them: anyone can write that to any server.
    pub(super) by_host_field: bool,
    /// Besides target and host it took a header to know.
    by_header: bool,
    /// Only of what is remembered.
    pub(super) remembered: Option<Remembered>,
}

/// What else is known of a request whose only host is a Host field that plainly names a metadata service.
#[derive(Debug)]
pub(super) struct Remembered {
    /// Hashes that the relay search finds in its target.
    pub(super) tokens: Vec<Seen>,
}

impl RequestTarget {
    /// Of a request that is not looked up.
    pub(super) fn new(catalogue: &Catalogue, tx: &Transaction, message: &Message, target: &Target<'_>) -> Self {
        let head = &message.head;
        let path = match head.is_connect() {
            true => Normalised { path: String::new(), obfuscated: false },
            false => target.normalise(head.target()),
        };
        let matches = catalogue.paths_like(&path.path, target.query);
        // Hosts that it names: target, proxy conversation around it, Host fields.
        let outer = target.authority.into_iter().chain(tx.via.as_deref()).map(|host| (host, false));
        let authorities = outer.chain(host_fields(head).map(|host| (host, true)));
        let hosts = authorities.filter_map(|(host, is_field)| Some((canonical_host(without_user(host))?, is_field)));
        let hosts: Vec<_> = hosts.collect();
        let mut named = hosts.iter().map(|(host, is_field)| (endpoints_of(host, catalogue), *is_field));
        let strong = named.find(|(found, _)| !found.is_empty());
        let nothing =
            Self { named: Vec::new(), by_host_field: false, by_header: false, matches, path, remembered: None };
        if let Some((named, by_host_field)) = strong {
            return Self { named, by_host_field, ..nothing };
        }
        for (host, by_host_field) in hosts {
            let named = endpoints_perhaps_of(&host, catalogue);
            let by_path = named.iter().copied().filter(|e| nothing.has_path_of(e)).collect::<Vec<_>>();
            let by_header = by_path.is_empty();
            let named = if by_header { spoken(named, head) } else { by_path };
            if !named.is_empty() {
                return Self { named, by_host_field, by_header, ..nothing };
            }
        }
        nothing
    }

    /// Whether the path is one of this service, and not one that any has.
    fn has_path_of(&self, endpoint: &Endpoint) -> bool {
        self.matches.iter().any(|found| found.fit.literals > 0 && found.path.is_at(endpoint))
    }

    /// Whether path or headers are those of one of these services, which their address alone does not prove.
    pub(super) fn is_meant_for(&self, endpoints: &[&'static Endpoint], head: &Head) -> bool {
        endpoints.iter().any(|endpoint| self.has_path_of(endpoint) || endpoint.is_spoken(head.fields()))
    }
}

/// A target by its key.
type Known = (TargetKey<Box<[u8]>>, Arc<RequestTarget>);

/// Most targets that are remembered.
const MAX: usize = 1024;

/// What metadata services were asked for, remembered.
#[derive(Debug, Default)]
pub(super) struct TargetCache {
    known: Memo<Known, MAX>,
}

/// The bytes that all follows from; compared as sent.
#[derive(Clone, Copy, Debug, Hash)]
struct TargetKey<B> {
    target: B,
    host: B,
}

impl TargetKey<&[u8]> {
    fn is(&self, known: &TargetKey<Box<[u8]>>) -> bool {
        self.target == &*known.target && self.host == &*known.host
    }
}

impl TargetCache {
    /// Longest target or host that is remembered, in bytes.
    const LENGTH: usize = 256;

    /// What a request to a metadata service asks for.
    pub(super) fn asked(
        &mut self,
        catalogue: &Catalogue,
        tx: &Transaction,
        message: &Message,
        target: &Target<'_>,
    ) -> Arc<RequestTarget> {
        let head = &message.head;
        let key = target_key(tx, head);
        if let Some(key) = key
            && let Some((_, known)) = self.known.get(key, |(known, _)| key.is(known))
        {
            return Arc::clone(known);
        }
        let mut asked = RequestTarget::new(catalogue, tx, message, target);
        let Some(key) = key.filter(|key| is_harmless(catalogue, key, &asked)) else {
            return Arc::new(asked);
        };
        asked.remembered = Some(Remembered { tokens: relay::tokens_of_target(head) });
        let asked = Arc::new(asked);
        let owned = TargetKey { target: key.target.into(), host: key.host.into() };
        *self.known.place(key) = Some((owned, Arc::clone(&asked)));
        asked
    }

    /// How many are remembered.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }
}

/// The key, if it is one of the usual form: a path without query, and one Host field.
fn target_key<'t>(tx: &Transaction, head: &'t Head) -> Option<TargetKey<&'t [u8]>> {
    let mut hosts = host_fields(head);
    let key = TargetKey { target: head.target(), host: hosts.next()? };
    let TargetKey { target, host } = key;
    let is_usual = target.first() == Some(&b'/')
        && target.len() <= TargetCache::LENGTH
        && host.len() <= TargetCache::LENGTH
        && memchr::memchr2(b'?', b'#', target).is_none()
        && memchr::memchr(b'@', host).is_none()
        && tx.via.is_none()
        && hosts.next().is_none()
        && !head.is_connect();
    is_usual.then_some(key)
}

/// Whether a target may be remembered: metadata services are asked for it, and no part of it looks like a secret.
fn is_harmless(catalogue: &Catalogue, key: &TargetKey<&[u8]>, asked: &RequestTarget) -> bool {
    let parts = key.target.split(|b| *b == b'/').chain([key.host]);
    !asked.matches.is_empty()
        && !asked.named.is_empty()
        && !asked.by_header
        && !is_wildcard(catalogue, key.host)
        && !parts.into_iter().any(tokens::is_token)
}

/// The target in its parts; that of CONNECT is an authority.
pub(super) fn target(head: &Head) -> Target<'_> {
    match head.is_connect() {
        true => Target { authority: Some(head.target()), ..Target::default() },
        false => Target::new(head.target()),
    }
}

/// Those of the services whose clients send such headers.
fn spoken(endpoints: Vec<&'static Endpoint>, head: &Head) -> Vec<&'static Endpoint> {
    endpoints.into_iter().filter(|endpoint| endpoint.is_spoken(head.fields())).collect()
}

fn without_user(authority: &[u8]) -> &[u8] {
    let start = memchr::memrchr(b'@', authority).map_or(0, |at| at.saturating_add(1));
    authority.get(start..).unwrap_or_default()
}
