//! What an event says of network, link, ends, ICMP and flow.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use serde::{Serialize, Serializer};
use serde_with::skip_serializing_none;

use super::{ProcessDoc, Text};
use crate::decode::meta::{Hop, Mac};
use crate::event::envelope::CommunityId;
use crate::event::flow::FlowId;
use crate::text::hex;

/// ECS `network`.
#[skip_serializing_none]
#[derive(Debug, Default, Serialize)]
pub struct Network<'a> {
    /// `ipv4` or `ipv6`.
    #[serde(rename = "type")]
    pub kind: Option<&'static str>,
    /// Transport.
    pub transport: Option<&'static str>,
    /// Application protocol.
    pub protocol: Option<&'static str>,
    /// Direction.
    pub direction: Option<&'static str>,
    /// Community ID.
    pub community_id: Option<CommunityId>,
    /// Both directions.
    pub bytes: Option<u64>,
    /// Both directions.
    pub packets: Option<u64>,
    /// First value of the real-IP header.
    pub forwarded_ip: Option<Text<'a>>,
    /// Tunnels that the packets came out of, outermost first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tunnel: Vec<Tunnel>,
}

/// One tunnel of `network.tunnel`.
#[skip_serializing_none]
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Tunnel {
    /// Which.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// VNI, key, session or label.
    pub id: Option<u32>,
    /// Outer source address.
    pub source: Option<Ip>,
    /// Outer destination address.
    pub destination: Option<Ip>,
}

impl From<&Hop> for Tunnel {
    fn from(hop: &Hop) -> Self {
        let (source, destination) = hop.ends.unzip();
        Self { kind: hop.kind.name(), id: hop.id, source: source.map(Ip), destination: destination.map(Ip) }
    }
}

/// An address as Go prints it: an IPv4-mapped IPv6 address is written as the IPv4 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ip(pub IpAddr);

impl fmt::Display for Ip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.to_canonical().fmt(f)
    }
}

impl Serialize for Ip {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.to_canonical() {
            IpAddr::V4(ip) => serializer.serialize_bytes(dotted(ip, &mut [0; 16])),
            IpAddr::V6(ip) => serializer.collect_str(&ip),
        }
    }
}

/// An IPv4 address in `text`. Every event has several: formatting them was a tenth of writing a flow.
fn dotted(ip: Ipv4Addr, text: &mut [u8; 16]) -> &[u8] {
    let mut end = 0;
    for octet in ip.octets() {
        let (digits, len) = OCTETS[usize::from(octet)];
        text[end..end + 4].copy_from_slice(&digits);
        end += usize::from(len);
    }
    &text[..end - 1]
}

/// The digits of each octet with a dot behind them, and how many characters that is.
const OCTETS: [([u8; 4], u8); 256] = {
    let mut all = [([b'.'; 4], 0); 256];
    let mut octet = 0;
    while octet < 256 {
        let digits = [octet / 100, octet / 10 % 10, octet % 10];
        let len = 1 + (octet > 9) as usize + (octet > 99) as usize;
        let mut at = 0;
        while at < len {
            all[octet].0[at] = b'0' + digits[3 - len + at] as u8;
            at += 1;
        }
        all[octet].1 = len as u8 + 1;
        octet += 1;
    }
    all
};

/// A MAC as Packetbeat prints it since 8.5: `AA-BB-CC-DD-EE-FF`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MacText(pub Mac);

impl MacText {
    fn text(self) -> [u8; 17] {
        let mut text = [b'-'; 17];
        for (pair, byte) in text.chunks_mut(3).zip(self.0) {
            pair[..2].copy_from_slice(&hex::upper(byte));
        }
        text
    }
}

impl fmt::Display for MacText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(str::from_utf8(&self.text()).unwrap_or_default())
    }
}

impl Serialize for MacText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.text())
    }
}

/// One end: `source`, `destination`, `client`, `server`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize)]
pub struct End<'a> {
    /// MAC, on flows.
    pub mac: Option<MacText>,
    /// Address.
    pub ip: Option<Ip>,
    /// The same as text, on destinations (ours).
    pub address: Option<Ip>,
    /// Port; never 0.
    pub port: Option<u16>,
    /// Host name, if it is no address.
    pub domain: Option<Text<'a>>,
    /// Bytes that it sent; never 0.
    pub bytes: Option<u64>,
    /// Packets that it sent, on flows; never 0.
    pub packets: Option<u64>,
    /// Process at this end.
    pub process: Option<Box<ProcessDoc<'a>>>,
}

/// Packetbeat's `icmp`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize)]
pub struct Icmp<'a> {
    /// 4 or 6.
    pub version: u8,
    /// Request or one-way message.
    pub request: Option<IcmpMessage<'a>>,
    /// Answer.
    pub response: Option<IcmpMessage<'a>>,
}

/// `icmp.request`, `icmp.response`.
#[derive(Clone, Debug, Serialize)]
pub struct IcmpMessage<'a> {
    /// Name of type and code.
    pub message: Text<'a>,
    /// Type.
    #[serde(rename = "type")]
    pub kind: u8,
    /// Code.
    pub code: u8,
}

/// Packetbeat's `flow`.
#[skip_serializing_none]
#[derive(Clone, Debug, Serialize)]
pub struct Flow<'a> {
    /// Base64 of the flow's key.
    pub id: FlowId,
    /// Whether the flow is over.
    #[serde(rename = "final")]
    pub last: bool,
    /// VLAN ids.
    pub vlan: Option<OneOrMany<'a>>,
}

/// A number when there is one, an array when there are more.
#[derive(Clone, Copy, Debug)]
pub struct OneOrMany<'a>(pub &'a [u16]);

impl Serialize for OneOrMany<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            [one] => serializer.serialize_u16(*one),
            many => many.serialize(serializer),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_they_are_displayed() {
        let all = (0..=255).map(|n: u8| Ipv4Addr::new(n, 255 - n, n / 10, 9)).map(IpAddr::V4);
        for ip in all.chain(["::1", "fd00:ec2::254", "::ffff:10.20.0.10"].map(|text| text.parse().unwrap())) {
            let mut json = Vec::new();
            crate::event::json::write(&mut json, &Ip(ip)).unwrap();
            assert_eq!(String::from_utf8(json).unwrap(), format!("\"{}\"", Ip(ip)));
        }
    }
}
