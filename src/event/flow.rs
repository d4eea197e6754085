//! The event of a flow (section 4 of the event format), and Packetbeat's `flow.id`.
//!
//! In: a flow's [`Record`]. Out: a [`Doc`]. Unlike transactions, flows have neither `client` and `server` nor `related`,
//! `network.direction` or `status`.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde::{Serialize, Serializer};

use super::Writer;
use super::doc::{Body, Doc, End, Envelope, Flow, Imds, Ip, MacText, Network, OneOrMany, ProcessDoc, SignalList};
use super::envelope::{CommunityId, ip_version, mac_bytes};
use super::mask::Masker;
use crate::conn::Process;
use crate::conn::Proto;
use crate::detect::Signals;
use crate::flow::{Counters, Pairs, Record};
use crate::id::{EventId, IdHasher};

/// What is known of a flow beyond its counters.
#[derive(Clone, Copy, Debug, Default)]
pub struct FlowContext<'a> {
    /// Provider and service, where the flow touches a metadata service.
    pub imds: Option<(&'a str, &'a str)>,
    /// What was noticed about it.
    pub signals: Signals,
    /// The process at the source's end.
    pub process: Option<&'a Process>,
}

/// `event.id` of a flow's report: the same for the same first packet, reports of one flow counted by their time.
pub fn flow_event_id(record: &Record) -> EventId {
    let mut id = IdHasher::new("flow");
    id.bytes(&mac_bytes(record.macs));
    for ip in record.addresses.iter().flat_map(|(source, destination)| [source, destination]) {
        id.ip(*ip);
    }
    if let Some((proto, source, destination)) = record.ports {
        id.number(u64::from(proto.number())).number(u64::from(source)).number(u64::from(destination));
    }
    for vlan in record.vlans.ids() {
        id.number(u64::from(*vlan));
    }
    let report = if record.last_report { u64::MAX } else { record.reported.0 as u64 };
    id.number(record.first.0 as u64).number(u64::from(record.level)).number(report).finish()
}

/// The document of a flow.
pub(super) fn document<'a>(writer: &'a Writer, id: EventId, record: &'a Record, context: &FlowContext<'a>) -> Doc<'a> {
    let mut event = writer.event(id, "flow");
    event.types = if record.last_report { &["connection", "end"] } else { &["connection"] };
    event.action = Some("network_flow");
    event.start = Some(writer.stamp(record.first));
    event.end = Some(writer.stamp(record.last));
    event.duration = Some(record.last.since(record.first).max(0));
    let mut envelope = Envelope::new("flow", writer.stamp(record.reported), event);
    envelope.data_stream = writer.data_stream("flow");
    envelope.network = Some(network(record));

    let (source_mac, destination_mac) = record.macs.unzip();
    let (source_ip, destination_ip) = record.addresses.unzip();
    let (source_port, destination_port) = record.ports.map(|(_, source, destination)| (source, destination)).unzip();
    envelope.source = Some(end(source_mac, source_ip, source_port, record.source));
    envelope.destination = Some(End {
        address: destination_ip.map(Ip),
        ..end(destination_mac, destination_ip, destination_port, record.destination)
    });
    if let Some(process) = context.process {
        let process = Box::new(ProcessDoc::new(process, |time| writer.stamp(time), &Masker::default()));
        if let Some(source) = &mut envelope.source {
            source.process = Some(process.clone());
        }
        envelope.process = Some(process);
    }
    if let Some((provider, service)) = context.imds {
        let signals = SignalList(context.signals);
        envelope.imds = Some(Imds { provider, service, signals, ..Imds::default() });
        writer.add_unknown_process(&mut envelope);
    }
    let flow = Flow {
        id: flow_id(record),
        last: record.last_report,
        vlan: Some(OneOrMany(inner_two(record.vlans.ids()))).filter(|vlan| !vlan.0.is_empty()),
    };
    Doc { envelope, body: Body::Flow(flow) }
}

/// One end; a side that never sent has no counters. Unlike on transactions, port 0 is written.
fn end<'a>(mac: Option<[u8; 6]>, ip: Option<IpAddr>, port: Option<u16>, sent: Counters) -> End<'a> {
    let has_sent = sent.packets > 0;
    End {
        mac: mac.map(MacText),
        ip: ip.map(Ip),
        port,
        bytes: has_sent.then_some(sent.bytes),
        packets: has_sent.then_some(sent.packets),
        ..End::default()
    }
}

fn network<'a>(record: &Record) -> Network<'a> {
    let Counters { bytes, packets } = record.source;
    let mut network = Network {
        kind: record.addresses.map(|(source, _)| ip_version(source)),
        bytes: Some(bytes.saturating_add(record.destination.bytes)),
        packets: Some(packets.saturating_add(record.destination.packets)),
        ..Network::default()
    };
    let Some((source, destination)) = record.addresses else {
        return network;
    };
    if let Some((proto, source_port, destination_port)) = record.ports {
        network.transport = Some(proto.name());
        network.community_id =
            Some(CommunityId::new(source, destination, proto.number(), (source_port, destination_port)));
    }
    if let Some((kind, code)) = record.icmp {
        let proto = if source.is_ipv4() { Proto::Icmp } else { Proto::Icmp6 };
        network.transport = Some(proto.name());
        network.community_id = Some(CommunityId::icmp(source, destination, proto.number(), kind, code));
    }
    network
}

/// Flags of a flow id, and the offset that each has in its header.
mod part {
    pub const ETH: usize = 0;
    pub const OUTER_VLAN: usize = 1;
    pub const VLAN: usize = 2;
    pub const IP4: usize = 4;
    pub const IP6: usize = 6;
    pub const UDP: usize = 9;
    pub const TCP: usize = 10;
    pub const COUNT: usize = 12;
}

/// Packetbeat's `flow.id`: base64 of a header (flags, offset of each part or 0xFF, numbers of Ethernet, VLAN and IP
/// layers) and the parts in order of decoding, each pair of ends turned as the first unequal pair demands.
pub fn flow_id(record: &Record) -> FlowId {
    let mut id = Parts { flags: 0, offsets: [0xff; part::COUNT], bytes: [0; FlowId::PARTS], len: 0 };
    let mut pairs = Pairs::default();
    if let Some((source, destination)) = record.macs {
        id.pair(part::ETH, pairs.order(source, destination));
    }
    let vlans = record.vlans.ids();
    match inner_two(vlans) {
        [one] => id.part(part::VLAN, &one.to_le_bytes()),
        // A third tag takes the place of the first, and so on.
        [outer, inner] if vlans.len() % 2 == 1 => {
            id.part(part::VLAN, &inner.to_le_bytes());
            id.part(part::OUTER_VLAN, &outer.to_le_bytes());
        }
        [outer, inner] => {
            id.part(part::OUTER_VLAN, &outer.to_le_bytes());
            id.part(part::VLAN, &inner.to_le_bytes());
        }
        _ => {}
    }
    match record.addresses {
        Some((IpAddr::V4(source), IpAddr::V4(destination))) => {
            id.pair(part::IP4, pairs.order(source.octets(), destination.octets()));
        }
        Some((IpAddr::V6(source), IpAddr::V6(destination))) => {
            id.pair(part::IP6, pairs.order(source.octets(), destination.octets()));
        }
        _ => {}
    }
    if let Some((proto, source, destination)) = record.ports {
        let which = if proto == Proto::Tcp { part::TCP } else { part::UDP };
        id.pair(which, pairs.order(source.to_le_bytes(), destination.to_le_bytes()));
    }
    let layers = [u8::from(record.macs.is_some()), vlans.len() as u8, u8::from(record.addresses.is_some())];
    id.encode(layers)
}

/// Packetbeat keeps two VLAN ids, the innermost.
fn inner_two(vlans: &[u16]) -> &[u16] {
    &vlans[vlans.len().saturating_sub(2)..]
}

/// `flow.id` as text.
#[derive(Clone, Copy, Debug)]
pub struct FlowId {
    text: [u8; Self::TEXT],
    len: usize,
}

impl FlowId {
    /// Bytes of flags, offsets and numbers of layers.
    const HEADER: usize = 2 + part::COUNT + 3;
    /// Most bytes of parts: MAC addresses, two VLAN ids, IPv6 addresses, ports.
    const PARTS: usize = 12 + 4 + 32 + 4;
    const TEXT: usize = (Self::HEADER + Self::PARTS).div_ceil(3) * 4;

    /// The text.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.text[..self.len]).unwrap_or_default()
    }
}

impl Serialize for FlowId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.text[..self.len])
    }
}

/// A flow id in the making.
struct Parts {
    flags: u16,
    offsets: [u8; part::COUNT],
    bytes: [u8; FlowId::PARTS],
    len: usize,
}

impl Parts {
    fn part(&mut self, which: usize, bytes: &[u8]) {
        self.flags |= 1 << which;
        self.offsets[which] = self.len as u8;
        self.add(bytes);
    }

    fn pair<const N: usize>(&mut self, which: usize, (low, high): ([u8; N], [u8; N])) {
        self.part(which, &low);
        self.add(&high);
    }

    fn add(&mut self, bytes: &[u8]) {
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    fn encode(&self, layers: [u8; 3]) -> FlowId {
        let mut all = [0; FlowId::HEADER + FlowId::PARTS];
        let (header, parts) = all.split_at_mut(FlowId::HEADER);
        header[..2].copy_from_slice(&self.flags.to_le_bytes());
        header[2..2 + part::COUNT].copy_from_slice(&self.offsets);
        header[2 + part::COUNT..].copy_from_slice(&layers);
        parts.copy_from_slice(&self.bytes);
        let mut id = FlowId { text: [0; FlowId::TEXT], len: 0 };
        let written = STANDARD_NO_PAD.encode_slice(&all[..FlowId::HEADER + self.len], &mut id.text);
        debug_assert!(written.is_ok());
        id.len = written.unwrap_or_default();
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::meta::Vlans;

    pub(crate) fn record(source: (&str, u16), destination: (&str, u16)) -> Record {
        Record {
            addresses: Some((source.0.parse().unwrap(), destination.0.parse().unwrap())),
            ports: Some((Proto::Tcp, source.1, destination.1)),
            icmp: None,
            macs: None,
            vlans: Vlans::default(),
            first: Default::default(),
            last: Default::default(),
            reported: Default::default(),
            first_index: 0,
            level: 0,
            source: Counters { bytes: 3, packets: 1 },
            destination: Counters::default(),
            last_report: true,
        }
    }

    /// An id of Packetbeat's without its internal connection number.
    fn without_connection(id: &str) -> String {
        let mut raw = STANDARD_NO_PAD.decode(id).unwrap();
        raw[1] &= !0x08;
        raw[13] = 0xff;
        raw.truncate(raw.len() - 8);
        STANDARD_NO_PAD.encode(raw)
    }

    #[test]
    fn ids_are_packetbeats() {
        let mut flow = record(("203.0.113.3", 38901), ("198.51.100.2", 80));
        flow.macs = Some(([1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1]));
        flow.vlans.push(171);
        assert_eq!(flow_id(&flow).as_str(), "FQQA/wz/Dv//////Fv8BAQEBAgMEBQYGBQQDAgGrAMsAcQPGM2QC9ZdQAA");

        let mut flow = record(("10.0.1.23", 43512), ("169.254.169.254", 80));
        flow.macs = Some(([2, 0xa1, 0xb2, 0xc3, 0xd4, 0xe5], [2, 0xf0, 0xe0, 0xd0, 0xc0, 0xb0]));
        let theirs = "EQwA////DP//////FBgBAAECobLD1OUC8ODQwLAKAAEXqf6p/vipUAABAAAAAAAAAA";
        assert_eq!(flow_id(&flow).as_str(), without_connection(theirs));

        let flow = record(("127.0.0.1", 63081), ("127.0.0.1", 8080));
        assert_eq!(flow_id(&flow).as_str(), without_connection("EAz/////AP//////CAwAAAF/AAABfwAAAWn2kB8BAAAAAAAAAA"));
    }

    #[test]
    fn ids_of_frames_without_ports_and_with_two_vlans() {
        let mut arp = record(("1.1.1.1", 0), ("1.1.1.2", 0));
        (arp.addresses, arp.ports) = (None, None);
        arp.macs = Some(([0, 0x0d, 0x54, 0x9c, 0x5c, 0x0b], [0, 0xb0, 0x4a, 0x2e, 0x1c, 0x38]));
        assert_eq!(flow_id(&arp).as_str(), "AQAA//////////////8BAAAADVScXAsAsEouHDg");

        let mut ping = record(("192.168.1.1", 0), ("192.168.1.2", 0));
        ping.ports = None;
        ping.macs = Some(([8, 0, 0x27, 0x3d, 0x25, 0x4e], [0x1c, 0xaf, 0xf7, 0x70, 0xed, 0x7c]));
        ping.vlans.push(101);
        ping.vlans.push(600);
        assert_eq!(flow_id(&ping).as_str(), "FwAADA7/EP////////8BAgEIACc9JU4cr/dw7XxlAFgCwKgBAcCoAQI");

        let mut six = record(("::1", 0), ("::2", 0));
        six.ports = None;
        six.macs = Some(([0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 0, 2]));
        let theirs = "QQAA//////8M//////8BAAEAAAAAAAEAAAAAAAIAAAAAAAAAAAAAAAAAAAABAAAAAAAAAAAAAAAAAAAAAg";
        assert_eq!(flow_id(&six).as_str(), theirs);
    }
}
