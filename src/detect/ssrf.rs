//! Targets that a request to some server names: what makes it an attempt at request forgery, or may yet (contract
//! section 4, "SSRF").
//!
//! In: a request and the catalogue. Out: a bounded number of candidates of each kind, each a host in canonical form with
//! its path. A request without anything like a URL in its values costs a few searches and no allocation. Each text is
//! walked once, decoding goes through a fixed number of rounds, and all of it takes its steps from one budget
//! ([`budget::Budget`]): when that is used up, the rest is searched literally and the verdict says so. Never fails; what
//! cannot be read is passed over.
//!
//! `search` judges a value and keeps the candidates; `target`, `headers` and `body` say what the values are; `markup` and
//! `text` look into documents and prose; `records` tells what is only a report; `page` is about answers.
#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

mod body;
mod budget;
mod field;
mod headers;
mod later;
mod literal;
mod markup;
mod page;
mod protobuf;
mod records;
mod search;
mod target;
mod text;

pub use later::LaterTargets;
pub use page::redirect;
pub use search::{ATTEMPTS, MENTIONS, ORDINARY};

use search::Search;

use super::canonical::{self, Parsed};
use super::request::endpoints_perhaps_of;
use super::{Candidate, HostRef, Imds, Place, RecognisedBy, Verdict};
use crate::bytes::{find, lossy};
use crate::catalogue::{Catalogue, PathMatch, is_shared};
use crate::proto::http::{Message, Transaction};

/// Longest URL of a request's own that is kept, in bytes.
const URL: usize = 1024;

/// What is known of the hosts that a request's Host fields name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hosts {
    /// They were not looked up.
    Unknown,
    /// None is a metadata service, user information (`user@`) aside.
    Ordinary,
    /// They name the service whose own protocol the request speaks: it goes there by some way (address translation, a node
    /// agent, a mesh sidecar).
    Own,
}

/// The part of a verdict that is about other targets than the server: what the request names, and where the response
/// sends its client. A request to a metadata service itself names no other target.
pub fn judge(tx: &Transaction, imds: Option<&Imds>, catalogue: &Catalogue) -> Verdict {
    judge_knowing(Hosts::Unknown, tx, imds, catalogue)
}

/// The same where something may be known of the request's Host fields.
pub(super) fn judge_knowing(hosts: Hosts, tx: &Transaction, imds: Option<&Imds>, catalogue: &Catalogue) -> Verdict {
    let mut verdict = Verdict::default();
    let Some(request) = &tx.request else { return verdict };
    let is_one_host = tx.conn.server.ip.is_loopback() || tx.conn.client.ip == tx.conn.server.ip;
    let is_local_service =
        || tx.conn.server.ip.is_loopback() && catalogue.path_endpoints_on(tx.conn.server.port).next().is_some();
    match imds.map(|imds| imds.recognised_by) {
        Some(RecognisedBy::Address | RecognisedBy::Path) => return verdict,
        // an agent on the host itself to which requests for the service are diverted
        Some(RecognisedBy::Name) if is_local_service() => return verdict,
        _ => {}
    }
    let (mut candidates, cut) = candidates(request, hosts, catalogue);
    let is_connect = request.head.is_connect();
    let tunnel = tx.via.as_deref().or(is_connect.then_some(request.head.target()));
    let leads_there = |(host, port): (HostRef, Option<u16>)| is_target(catalogue, &host, port);
    if tunnel.and_then(canonical::canonical_authority).is_some_and(leads_there) {
        // A client's own tunnel to the service: the Host names the server that it goes to.
        candidates.retain(|candidate| candidate.place != Place::Host);
    }
    if is_one_host {
        // a client's own proxy
        candidates.retain(|candidate| !matches!(candidate.place, Place::Host | Place::AbsoluteForm));
    }
    verdict.candidates = candidates;
    verdict.cut = cut;
    let names = |response: &&Message| ["location", "refresh"].iter().any(|name| response.head.field(name).is_some());
    let response = tx.response.as_ref().filter(names);
    if response.is_some() || !verdict.candidates.is_empty() {
        verdict.own_url = own_url(request).map(Box::new);
    }
    let asked = verdict.own_url.as_ref().map(|own| &own.0);
    verdict.redirects.extend(response.and_then(|response| redirect(response, asked, catalogue)));
    if let Some((own, leads)) = tx.response.as_ref().and_then(|response| page::leads(request, response, catalogue)) {
        verdict.own_url.get_or_insert_with(|| Box::new(own));
        verdict.redirects.extend(leads);
    }
    verdict
}

/// Targets that `request` names, and whether the work that it may cost was used up. The caller leaves out requests to a
/// metadata service itself.
fn candidates(request: &Message, hosts: Hosts, catalogue: &Catalogue) -> (Vec<Candidate>, bool) {
    let (head, body) = (&request.head, &request.body);
    let later = body.later.as_ref().map_or(0, |later| later.rest().len());
    // A compressed head is read as what it was on the wire: a reference to a field costs its sender one byte.
    let head = head.raw.len().min(request.bytes as usize);
    let mut search = Search::new(catalogue, head.saturating_add(body.captured.len()).saturating_add(later));
    search.target(request);
    search.headers(request, hosts);
    search.body(request);
    search.join_fields();
    if search.budget.is_cut() {
        search.literally(request);
    }
    (search.found, search.budget.is_cut())
}

/// Whether `host` is a metadata service that URLs can name; `port` of the URL, if it names one.
pub fn is_target(catalogue: &Catalogue, host: &HostRef, port: Option<u16>) -> bool {
    match host {
        HostRef::Address(ip) => catalogue.is_metadata(*ip, port.unwrap_or(80)) && !is_shared(*ip),
        HostRef::Name(name) => !catalogue.endpoints_named(name).is_empty(),
    }
}

/// Whether a host that may be somebody else's (a short name, an address in shared space) is a metadata service's by the
/// path that is asked of it.
pub fn is_target_by_path(catalogue: &Catalogue, host: &HostRef, path: Option<&str>) -> bool {
    let endpoints = endpoints_perhaps_of(host, catalogue);
    let theirs = |found: PathMatch| found.fit.literals > 0 && endpoints.iter().any(|e| found.path.is_at(e));
    !endpoints.is_empty() && path.is_some_and(|path| catalogue.paths_like(path, b"").into_iter().any(theirs))
}

/// The whole URL that a request asks for: canonical host, and path and query as sent.
pub fn own_url(request: &Message) -> Option<(HostRef, String)> {
    let target = request.head.target();
    let absolute = absolute_form(target);
    let authority = match &absolute {
        Some(parsed) => Some(parsed.host.clone()),
        None => {
            request.head.field("host").or_else(|| request.head.field(":authority")).and_then(canonical::canonical_host)
        }
    }?;
    let target = lossy(target.get(..URL).unwrap_or(target));
    let target = if absolute.is_some() { canonical::target_of(&target).to_owned() } else { target.into_owned() };
    Some((authority, target))
}

fn absolute_form(target: &[u8]) -> Option<Parsed> {
    is_absolute(target).then(|| canonical::hosts(target).into_iter().next()).flatten()
}

fn is_absolute(target: &[u8]) -> bool {
    target.first().is_some_and(u8::is_ascii_alphabetic) && find(target, b"://").is_some()
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects)]
mod tests;
