//! What a DNS transaction says of metadata services: questions for their names, answers with their addresses.

#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

use std::net::IpAddr;

use super::canonical::canonical_ip;
use super::provider::{UNKNOWN, one_provider};
use super::{DnsVerdict, tokens};
use crate::bytes::{Reader, lossy};
use crate::catalogue::{Catalogue, Endpoint, is_shared};
use crate::proto::dns::{Message, Name, RData, Transaction};

/// Most metadata addresses of one answer that are kept, and most others.
const MAX_ADDRESSES: usize = 64;

/// Most names that a name is an alias of.
const MAX_ALIASES: usize = 64;

/// Judges a transaction by its question and the addresses in its answer section, CNAME chains included.
pub(super) fn judge(catalogue: &Catalogue, tx: &Transaction, search: bool) -> DnsVerdict {
    let mut verdict = DnsVerdict::default();
    let mut is_overlay = false;
    let question = [&tx.query, &tx.response].into_iter().flatten().find_map(|m| m.questions.get(tx.question));
    if let Some(question) = question {
        verdict.name = shown(&question.name);
        verdict.metadata_name = service(&catalogue.endpoints_named(&verdict.name));
        is_overlay = catalogue.is_overlay_name(&verdict.name);
        if search {
            tokens::tokens_in_name(&question.name, &mut verdict.tokens);
        }
    }
    let answers = tx.response.iter().flat_map(|m| &m.answers);
    if verdict.metadata_name.is_none() {
        let aliases = answers.clone().filter_map(|record| match &record.data {
            RData::Name(name) if record.rtype == CNAME => Some(name),
            _ => None,
        });
        verdict.metadata_name =
            aliases.take(MAX_ALIASES).find_map(|name| service(&catalogue.endpoints_named(&shown(name))));
    }
    let addresses = answers.flat_map(|record| {
        let (address, hinted) = match &record.data {
            RData::A(v4) => (Some(IpAddr::V4(*v4)), Vec::new()),
            RData::Aaaa(v6) => (Some(IpAddr::V6(*v6)), Vec::new()),
            RData::WithName(_, _, parameters) if matches!(record.rtype, SVCB | HTTPS) => (None, hints(parameters)),
            _ => (None, Vec::new()),
        };
        address.into_iter().chain(hinted)
    });
    for address in addresses {
        let ip = canonical_ip(address);
        // clusters and overlay networks have such addresses of their own
        let found = service(catalogue.endpoints_at(ip)).filter(|_| !is_overlay || !is_shared(ip));
        match found {
            Some((provider, service)) => push(&mut verdict.metadata_answers, (address, provider, service)),
            None => push(&mut verdict.other_answers, address),
        }
    }
    if verdict.metadata_name.is_none() {
        verdict.metadata_name = match verdict.metadata_answers.is_empty() {
            // a name that may be anybody's own
            false => service(catalogue.endpoints_named_shortly(&verdict.name)),
            // another name for one, whose addresses the asker looks up next
            true => tx.response.as_ref().and_then(|response| service_behind(catalogue, response)),
        };
    }
    verdict
}

fn push<T>(list: &mut Vec<T>, item: T) {
    if list.len() < MAX_ADDRESSES {
        list.push(item);
    }
}

const CNAME: u16 = 5;
const SVCB: u16 = 64;
const HTTPS: u16 = 65;

/// Addresses among service parameters: ipv4hint and ipv6hint (RFC 9460 section 7.3), which clients connect to.
fn hints(parameters: &[u8]) -> Vec<IpAddr> {
    let mut out = Vec::new();
    let mut reader = Reader::new(parameters);
    while let (Some(key), Some(len)) = (reader.u16(), reader.u16()) {
        let Some(mut value) = reader.sub(usize::from(len)) else { break };
        match key {
            4 => out.extend(std::iter::from_fn(|| value.array::<4>()).map(IpAddr::from)),
            6 => out.extend(std::iter::from_fn(|| value.array::<16>()).map(IpAddr::from)),
            _ => {}
        }
    }
    out
}

/// The service that an answer's CNAMEs lead to by name.
fn service_behind(catalogue: &Catalogue, response: &Message) -> Option<(&'static str, &'static str)> {
    response.answers.iter().take(MAX_ADDRESSES).find_map(|record| match &record.data {
        RData::Name(name) if record.rtype == CNAME => service(&catalogue.endpoints_named(&shown(name))),
        _ => None,
    })
}

/// Provider and service; unknown where several share a name or address.
fn service(endpoints: &[&'static Endpoint]) -> Option<(&'static str, &'static str)> {
    let first = endpoints.first()?;
    Some(match one_provider(endpoints) {
        Some(provider) => (provider, first.service.as_str()),
        None => (UNKNOWN, "imds"),
    })
}

/// Lower case, labels joined by dots; dots and backslashes inside labels escaped, other bytes that are no text replaced.
fn shown(name: &Name) -> String {
    let mut out = String::with_capacity(64);
    for label in name.labels() {
        if !out.is_empty() {
            out.push('.');
        }
        let text = lossy(label);
        if memchr::memchr2(b'.', b'\\', label).is_none() {
            out.push_str(&text);
            continue;
        }
        for c in text.chars() {
            if matches!(c, '.' | '\\') {
                out.push('\\');
            }
            out.push(c);
        }
    }
    out.make_ascii_lowercase();
    out
}
