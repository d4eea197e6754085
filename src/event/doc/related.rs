//! Addresses, hosts and users that an event names, each once.

use std::net::IpAddr;

use serde::Serialize;

use super::{Ip, Text};

/// `related.*`; sets, in order of discovery.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Related<'a> {
    /// Addresses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ip: Vec<RelatedIp<'a>>,
    /// Host names (and Packetbeat puts the Referer here).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<Text<'a>>,
    /// Users.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub user: Vec<Text<'a>>,
}

impl<'a> Related<'a> {
    pub(super) fn is_empty(&self) -> bool {
        self.ip.is_empty() && self.hosts.is_empty() && self.user.is_empty()
    }

    /// Adds an address once.
    pub fn add_ip(&mut self, ip: IpAddr) {
        add(&mut self.ip, RelatedIp::Ip(Ip(ip.to_canonical())));
    }

    /// Takes out what stands for an address that is not known.
    pub fn forget_unspecified(&mut self) {
        self.ip.retain(|ip| !matches!(ip, RelatedIp::Ip(ip) if ip.0.is_unspecified()));
    }

    /// Adds what should be the text of an address, once; empty text is left out.
    pub fn add_ip_text(&mut self, text: Text<'a>) {
        match text.parse::<IpAddr>() {
            Ok(ip) => self.add_spelt_ip(ip, text),
            Err(_) if text.is_empty() => {}
            Err(_) => add(&mut self.ip, RelatedIp::Text(text)),
        }
    }

    /// Adds an address once, in its own spelling.
    pub fn add_spelt_ip(&mut self, ip: IpAddr, text: Text<'a>) {
        // that of version 4 can be spelt in one way only
        match ip.is_ipv4() || Ip(ip).to_string() == *text {
            true => self.add_ip(ip),
            false => add(&mut self.ip, RelatedIp::Text(text)),
        }
    }

    /// Adds a host once; empty text is left out.
    pub fn add_host(&mut self, host: Text<'a>) {
        if !host.is_empty() {
            add(&mut self.hosts, host);
        }
    }

    /// Adds a user once; empty text is left out.
    pub fn add_user(&mut self, user: Text<'a>) {
        if !user.is_empty() {
            add(&mut self.user, user);
        }
    }
}

/// Most entries of each list; what else an event names stands in its other fields.
const MOST: usize = 256;

/// Adds to a small list that is a set.
fn add<T: PartialEq>(list: &mut Vec<T>, item: T) {
    if list.len() < MOST && !list.contains(&item) {
        list.push(item);
    }
}

/// One of `related.ip`: an address, or what a header claims to be one (Packetbeat does not check).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum RelatedIp<'a> {
    /// An address, canonical.
    Ip(Ip),
    /// Anything else.
    Text(Text<'a>),
}
