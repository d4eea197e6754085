//! One side of an exchange as the matcher looks at it: the request's target and hosts, and what its headers tell.

#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

use std::cell::OnceCell;

use hashbrown::HashMap;

use super::canonical::canonical_host;
use super::path::{Normalised, Target, normalise_path};
use super::recorded::Recorded;
use super::{HostRef, Signal, Signals};
use crate::catalogue::{Catalogue, Endpoint, HeaderFacts, HeaderRule};
use crate::proto::http::{Head, Message, Transaction};

/// Most headers that are recorded.
const MAX_RECORDED: usize = 48;

/// A request, looked at once.
pub(super) struct Request<'t> {
    pub(super) message: &'t Message,
    pub(super) head: &'t Head,
    pub(super) target: Target<'t>,
    /// Normalised; empty for CONNECT.
    pub(super) path: Normalised,
    /// Hosts that it names: target, proxy conversation around it, Host fields.
    pub(super) hosts: Vec<HostRef>,
    facts: OnceCell<Vec<HeaderFacts>>,
}

impl<'t> Request<'t> {
    pub(super) fn new(tx: &'t Transaction, message: &'t Message) -> Self {
        let head = &message.head;
        let raw = head.target();
        let connect = head.method().eq_ignore_ascii_case(b"CONNECT");
        let (target, path) = match connect {
            true => {
                let target = Target { authority: Some(raw), ..Target::default() };
                (target, Normalised { path: String::new(), obfuscated: false })
            }
            false => (Target::new(raw), normalise_path(raw)),
        };
        let authorities = target.authority.into_iter().chain(tx.via.as_deref()).chain(host_fields(head));
        let hosts = authorities.map(without_user).filter_map(canonical_host).collect();
        Self { message, head, target, path, hosts, facts: OnceCell::new() }
    }

    /// Its fields with what is known of each; looked up once, and only for requests that matter.
    pub(super) fn fields(&self, catalogue: &Catalogue) -> impl Iterator<Item = (&'t [u8], &'t [u8], HeaderFacts)> {
        let facts = self.facts.get_or_init(|| self.head.fields().map(|(name, _)| catalogue.header(name)).collect());
        self.head.fields().zip(facts).map(|((name, value), facts)| (name, value, *facts))
    }

    /// Endpoints that the request names by host name or address.
    pub(super) fn named(&self, catalogue: &Catalogue) -> Vec<&'static Endpoint> {
        self.hosts.iter().map(|host| endpoints_of(host, catalogue)).find(|found| !found.is_empty()).unwrap_or_default()
    }

    /// What target and headers tell of who asks.
    pub(super) fn signals(&self, catalogue: &Catalogue, agents: &mut UserAgents) -> Signals {
        let mut signals = Signals::default();
        if self.path.obfuscated {
            signals.add(Signal::ObfuscatedPath);
        }
        for (name, value, facts) in self.fields(catalogue) {
            if facts.forwarding {
                signals.add(Signal::Forwarded);
            }
            let page = name.eq_ignore_ascii_case(b"accept")
                && [&b"text/html"[..], b"image/"].iter().any(|kind| value.starts_with(kind));
            if page || facts.browser {
                signals.add(Signal::BrowserLike);
            }
        }
        match self.head.field("user-agent").filter(|agent| !agent.is_empty()) {
            Some(agent) => signals.union(agents.signals(catalogue, agent)),
            // A head that was cut may have lost it.
            None if !self.head.complete => signals,
            None => {
                signals.add(Signal::NoUserAgent);
                signals
            }
        }
    }

    /// Whether the Host field names something that is neither a metadata service nor the server itself.
    pub(super) fn has_foreign_host(&self, catalogue: &Catalogue, server: std::net::IpAddr) -> bool {
        let Some(written) = host_fields(self.head).next() else { return false };
        match canonical_host(written) {
            None => !written.is_empty(),
            Some(HostRef::Name(name)) => catalogue.endpoints_named(&name).is_empty(),
            Some(HostRef::Address(ip)) => {
                let known = ip == super::canonical::canonical_ip(server) || !catalogue.endpoints_at(ip).is_empty();
                !known || is_wildcard(catalogue, written)
            }
        }
    }

    /// Headers that tell metadata clients apart, in order; secrets without value.
    pub(super) fn recorded(&self, catalogue: &Catalogue) -> Recorded {
        let mut out = Recorded::default();
        for (name, value, facts) in self.fields(catalogue).filter(|(.., facts)| facts.recorded).take(MAX_RECORDED) {
            let is_hidden = facts.secret && !catalogue.is_constant(name, value);
            out.push(name, if is_hidden { b"" } else { value });
        }
        out
    }
}

/// What User-Agents tell, remembered: few are in use at a time, and each is compared with many patterns.
#[derive(Debug, Default)]
pub(super) struct UserAgents {
    known: HashMap<Box<[u8]>, Signals, foldhash::fast::RandomState>,
}

impl UserAgents {
    /// Most User-Agents that are remembered; then it starts anew.
    const MAX: usize = 256;

    fn signals(&mut self, catalogue: &Catalogue, agent: &[u8]) -> Signals {
        if let Some(known) = self.known.get(agent) {
            return *known;
        }
        let mut signals = Signals::default();
        if catalogue.is_tool(agent) {
            signals.add(Signal::ToolUserAgent);
        } else if catalogue.agents_called(agent).next().is_some() {
            signals.add(Signal::SdkUserAgent);
        } else if catalogue.is_renderer(agent) {
            signals.add(Signal::BrowserLike);
        }
        if self.known.len() >= Self::MAX {
            self.known.clear();
        }
        self.known.insert(agent.into(), signals);
        signals
    }
}

/// Services that a host is an address or a name of.
pub(super) fn endpoints_of(host: &HostRef, catalogue: &Catalogue) -> Vec<&'static Endpoint> {
    match host {
        HostRef::Name(name) => catalogue.endpoints_named(name),
        HostRef::Address(ip) => catalogue.endpoints_at(*ip).to_vec(),
    }
}

/// Host fields, and HTTP/2's `:authority`.
pub(super) fn host_fields(head: &Head) -> impl Iterator<Item = &[u8]> {
    let is_host = |name: &[u8]| name.eq_ignore_ascii_case(b"host") || name == b":authority";
    head.fields().filter(move |(name, _)| is_host(name)).map(|(_, value)| value)
}

/// Value of the first field of a head that fits a rule.
pub(super) fn fitting<'h>(head: &'h Head, rule: &HeaderRule) -> Option<&'h [u8]> {
    head.values(&rule.name).find(|value| rule.takes(value))
}

fn without_user(authority: &[u8]) -> &[u8] {
    let start = memchr::memrchr(b'@', authority).map_or(0, |at| at.saturating_add(1));
    authority.get(start..).unwrap_or_default()
}

/// An address written into a name of a wildcard DNS service.
fn is_wildcard(catalogue: &Catalogue, written: &[u8]) -> bool {
    let text = String::from_utf8_lossy(written).to_ascii_lowercase();
    let name = text.rsplit_once(':').map_or(text.as_str(), |(name, _)| name).trim_end_matches('.');
    catalogue.wildcard_dns().iter().any(|suffix| name.ends_with(suffix.as_str()))
}
