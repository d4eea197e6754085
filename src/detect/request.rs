//! One side of an exchange as the matcher looks at it: the request's target and hosts, and what its headers tell.

#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

use std::cell::OnceCell;

use super::asked::RequestTarget;
use super::canonical::canonical_host;
use super::path::Target;
use super::recorded::Recorded;
use super::{HostRef, Signal, Signals, tokens};
use crate::catalogue::{self, Catalogue, Endpoint, HeaderFacts, HeaderRule};
use crate::memo::Memo;
use crate::proto::http::{Head, Message};

/// Most headers that are recorded.
const MAX_RECORDED: usize = 48;

/// A request, looked at once.
pub(super) struct Request<'t> {
    pub(super) message: &'t Message,
    pub(super) head: &'t Head,
    pub(super) target: Target<'t>,
    /// What target and hosts say.
    pub(super) asked: &'t RequestTarget,
    facts: OnceCell<Vec<HeaderFacts>>,
}

impl<'t> Request<'t> {
    /// A message whose target is `target`, and `asked` what it asks for.
    pub(super) fn new(message: &'t Message, target: Target<'t>, asked: &'t RequestTarget) -> Self {
        Self { message, head: &message.head, target, asked, facts: OnceCell::new() }
    }

    /// Its fields with what is known of each; looked up once, and only for requests that matter.
    pub(super) fn fields(
        &self,
        catalogue: &Catalogue,
    ) -> impl Iterator<Item = (&'t [u8], &'t [u8], HeaderFacts)> + Clone {
        let facts =
            self.facts.get_or_init(|| self.head.fields().map(|(name, _)| catalogue.headers().facts(name)).collect());
        self.head.fields().zip(facts).map(|((name, value), facts)| (name, value, *facts))
    }

    /// What target and headers tell of who asks.
    pub(super) fn signals(&self, catalogue: &Catalogue, agents: &mut UserAgents) -> Signals {
        let mut signals = Signals::default();
        if self.asked.path.obfuscated {
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
        if self.asked.remembered.is_some() {
            return false;
        }
        let Some(written) = host_fields(self.head).next() else { return false };
        match canonical_host(written) {
            None => !written.is_empty(),
            Some(HostRef::Name(name)) => {
                catalogue.endpoints_named(&name).is_empty() && catalogue.endpoints_named_shortly(&name).is_empty()
            }
            Some(HostRef::Address(ip)) => {
                let known = ip == super::canonical::canonical_ip(server) || !catalogue.endpoints_at(ip).is_empty();
                !known || is_wildcard(catalogue, written)
            }
        }
    }

    /// Headers that tell metadata clients apart, in order; secrets without value.
    pub(super) fn recorded(&self, catalogue: &Catalogue) -> Recorded {
        let recorded = self.fields(catalogue).filter(|(.., facts)| facts.recorded).take(MAX_RECORDED);
        let shown = recorded.map(|(name, value, facts)| {
            let may_write = catalogue.headers().may_write_known(facts, name, value, true);
            (name, if may_write { value } else { b"" })
        });
        Recorded::new(shown)
    }
}

/// Most User-Agents that are remembered.
const MAX_AGENTS: usize = 256;

/// What User-Agents tell, remembered: few are in use at a time, and each is compared with many patterns.
#[derive(Debug, Default)]
pub(super) struct UserAgents {
    known: Memo<UserAgent, MAX_AGENTS>,
}

/// What one User-Agent tells.
#[derive(Debug)]
pub(super) struct UserAgent {
    /// As sent.
    text: Box<[u8]>,
    signals: Signals,
    /// Hashes that the relay search finds in it.
    pub(super) tokens: Vec<tokens::Seen>,
}

impl UserAgents {
    /// Longest that is remembered, in bytes.
    const LENGTH: usize = 512;

    /// What was found out about a User-Agent.
    pub(super) fn known(&self, agent: &[u8]) -> Option<&UserAgent> {
        self.known.get(agent, |known| *known.text == *agent)
    }

    fn signals(&mut self, catalogue: &Catalogue, agent: &[u8]) -> Signals {
        if let Some(known) = self.known(agent) {
            return known.signals;
        }
        let mut signals = Signals::default();
        if catalogue.is_tool(agent) {
            signals.add(Signal::ToolUserAgent);
        } else if catalogue.agents_called(agent).next().is_some() {
            signals.add(Signal::SdkUserAgent);
        } else if catalogue.is_renderer(agent) {
            signals.add(Signal::BrowserLike);
        }
        if agent.len() <= Self::LENGTH {
            let mut found = Vec::new();
            tokens::tokens_in(agent, &mut found);
            *self.known.place(agent) = Some(UserAgent { text: agent.into(), signals, tokens: found });
        }
        signals
    }
}

/// Services that a host is an address or a name of.
pub(super) fn endpoints_of(host: &HostRef, catalogue: &Catalogue) -> Vec<&'static Endpoint> {
    match host {
        HostRef::Name(name) => catalogue.endpoints_named(name),
        HostRef::Address(ip) if catalogue::is_shared(*ip) => Vec::new(),
        HostRef::Address(ip) => catalogue.endpoints_at(*ip).to_vec(),
    }
}

/// Services that a host may be an address or a name of: it may as well be somebody else's, so that the request has to
/// show what it means.
pub(super) fn endpoints_perhaps_of(host: &HostRef, catalogue: &Catalogue) -> Vec<&'static Endpoint> {
    match host {
        HostRef::Name(name) => catalogue.endpoints_named_shortly(name).to_vec(),
        HostRef::Address(ip) if catalogue::is_shared(*ip) => catalogue.endpoints_at(*ip).to_vec(),
        HostRef::Address(_) => Vec::new(),
    }
}

/// Host fields, and HTTP/2's `:authority`.
pub(super) fn host_fields(head: &Head) -> impl Iterator<Item = &[u8]> {
    head.fields().filter(|(name, _)| is_host_field(name)).map(|(_, value)| value)
}

/// Whether a field is one of those.
pub(super) fn is_host_field(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"host") || name == b":authority"
}

/// Value of the first field of a head that fits a rule.
pub(super) fn fitting<'h>(head: &'h Head, rule: &HeaderRule) -> Option<&'h [u8]> {
    head.values(&rule.name).find(|value| rule.takes(value))
}

/// An address written into a name of a wildcard DNS service.
pub(super) fn is_wildcard(catalogue: &Catalogue, written: &[u8]) -> bool {
    let text = String::from_utf8_lossy(written).to_ascii_lowercase();
    let name = text.rsplit_once(':').map_or(text.as_str(), |(name, _)| name).trim_end_matches('.');
    catalogue.wildcard_dns().iter().any(|suffix| name.ends_with(suffix.as_str()))
}
