//! One side of an exchange as the matcher looks at it: the request's target and hosts, and what its headers tell.

#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

use super::canonical::canonical_host;
use super::path::{Normalised, Target, normalise_path};
use super::{HostRef, Signal, Signals};
use crate::catalogue::{Catalogue, Endpoint};
use crate::proto::http::{Head, Message, Transaction};

/// Most characters of a header value that are recorded.
const MAX_VALUE: usize = 256;
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
        Self { message, head, target, path, hosts }
    }

    /// Endpoints that the request names by host name or address.
    pub(super) fn named(&self, catalogue: &Catalogue) -> Vec<&'static Endpoint> {
        let of = |host: &HostRef| match host {
            HostRef::Name(name) => catalogue.endpoints_named(name),
            HostRef::Address(ip) => catalogue.endpoints_at(*ip).to_vec(),
        };
        self.hosts.iter().map(of).find(|found| !found.is_empty()).unwrap_or_default()
    }

    /// What target and headers tell of who asks.
    pub(super) fn signals(&self, catalogue: &Catalogue) -> Signals {
        let mut signals = Signals::default();
        if self.path.obfuscated {
            signals.add(Signal::ObfuscatedPath);
        }
        for (name, value) in self.head.fields() {
            if catalogue.is_forwarding_header(name) {
                signals.add(Signal::Forwarded);
            }
            let page = name.eq_ignore_ascii_case(b"accept")
                && [&b"text/html"[..], b"image/"].iter().any(|kind| value.starts_with(kind));
            if page || catalogue.is_browser_header(name) {
                signals.add(Signal::BrowserLike);
            }
        }
        match self.head.field("user-agent").filter(|agent| !agent.is_empty()) {
            // A head that was cut may have lost it.
            None if !self.head.complete => {}
            None => signals.add(Signal::NoUserAgent),
            Some(agent) if catalogue.is_tool(agent) => signals.add(Signal::ToolUserAgent),
            Some(agent) if catalogue.agents_called(agent).next().is_some() => signals.add(Signal::SdkUserAgent),
            Some(agent) if catalogue.is_renderer(agent) => signals.add(Signal::BrowserLike),
            Some(_) => {}
        }
        signals
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
    pub(super) fn recorded(&self, catalogue: &Catalogue) -> Vec<(String, String)> {
        let fields = self.head.fields().filter_map(|(name, value)| {
            let name = String::from_utf8_lossy(name).to_ascii_lowercase();
            let secret = catalogue.recorded_header(&name)? && !catalogue.is_constant(name.as_bytes(), value);
            let value = String::from_utf8_lossy(value);
            let shown = if secret { String::new() } else { value.chars().take(MAX_VALUE).collect() };
            Some((name, shown))
        });
        fields.take(MAX_RECORDED).collect()
    }
}

/// Host fields, and HTTP/2's `:authority`.
fn host_fields(head: &Head) -> impl Iterator<Item = &[u8]> {
    let is_host = |name: &[u8]| name.eq_ignore_ascii_case(b"host") || name == b":authority";
    head.fields().filter(move |(name, _)| is_host(name)).map(|(_, value)| value)
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
