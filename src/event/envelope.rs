//! What all events have in common: ids, direction, Community ID, the two ends, times and sums.
//!
//! In: [`Exchange`] (connection, times and sizes of the two messages) and the settings. Out: an [`Envelope`] that the
//! protocol's module completes. Pure: the same exchange gives the same document.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Serialize, Serializer};
use sha1::{Digest, Sha1};

use super::doc::{End, Envelope, Event, Id, Ip, Kubernetes, Network, ProcessDoc, Tunnel};
use super::settings::Settings;
use super::{Context, Writer};
use crate::conn::{Conn, Endpoint, Proto};
use crate::decode::meta::Mac;
use crate::id::{EventId, IdHasher};
use crate::observe::{Observation, What};
use crate::packet::Timestamp;

/// Id of a transaction's event. `kind` is the event's type, `first` the time of its first packet, `ordinal` tells apart
/// what has all else in common (number on the connection, HTTP/2 stream, question number).
pub fn event_id(kind: &str, conn: &Conn, first: Timestamp, ordinal: u64) -> EventId {
    conn_id(kind, conn, first).number(ordinal).finish()
}

/// Id of the event that an observation becomes, or would become.
pub fn observation_id(observation: &Observation) -> EventId {
    match &observation.what {
        What::Http(exchange) => {
            let tx = &exchange.0;
            let message = tx.request.as_ref().or(tx.response.as_ref());
            let first = message.map_or(observation.time, |message| message.first);
            let ordinal = u64::from(tx.ordinal) << 32 | u64::from(tx.stream.unwrap_or(0));
            // Two readings of one stretch of a stream differ in their head alone.
            let head = message.filter(|_| tx.conflict).map(|message| message.head.raw.as_slice());
            conn_id("http", &tx.conn, first).number(ordinal).bytes(head.unwrap_or_default()).finish()
        }
        What::Dns(exchange) => {
            let tx = &exchange.0;
            let message = tx.query.as_ref().or(tx.response.as_ref());
            let first = message.map_or(observation.time, |message| message.time);
            let ordinal = message.map_or(0, |message| u64::from(message.id)) << 32 | tx.question as u64;
            event_id("dns", &tx.conn, first, ordinal)
        }
        What::Icmp(tx) => {
            let message = tx.request.as_ref().or(tx.response.as_ref());
            let first = message.map_or(observation.time, |message| message.time);
            let kind = message.map_or(0, |message| u64::from(message.kind) << 8 | u64::from(message.code));
            event_id("icmp", &tx.conn, first, kind)
        }
        What::Flow(record) => super::flow_event_id(record),
        What::Connection(connection) => event_id("connection", &connection.conn, connection.first, 0),
        What::Tokens(tokens) => event_id("tokens", &tokens.conn, tokens.time, 0),
        What::Command(command) => {
            let pid = command.conn.process.as_ref().map_or(0, |process| process.pid);
            event_id("command", &command.conn, command.time, u64::from(pid))
        }
    }
}

fn conn_id(kind: &str, conn: &Conn, first: Timestamp) -> IdHasher {
    let mut id = IdHasher::new(kind);
    id.end(&conn.client).end(&conn.server).number(u64::from(conn.proto.number())).number(first.0 as u64);
    if let Some(origin) = &conn.told_by {
        id.number(origin.hash);
    }
    id
}

/// `network.community_id`, version 1, seed 0: `1:` and 28 characters of base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CommunityId([u8; 30]);

impl CommunityId {
    /// The id of a conversation. `ports` as for TCP and UDP; for ICMP see [`CommunityId::icmp`].
    pub fn new(source: IpAddr, destination: IpAddr, proto: u8, ports: (u16, u16)) -> Self {
        let swap = (canonical(destination), ports.1) < (canonical(source), ports.0);
        Self::ordered(source, destination, proto, ports, swap)
    }

    /// The id of an ICMP conversation: type and counterpart take the place of ports; a type that has no counterpart is
    /// one-way, and then its ends are not ordered.
    pub fn icmp(source: IpAddr, destination: IpAddr, proto: u8, kind: u8, code: u8) -> Self {
        match counterpart(proto, kind) {
            Some(other) => Self::new(source, destination, proto, (u16::from(kind), u16::from(other))),
            None => Self::ordered(source, destination, proto, (u16::from(kind), u16::from(code)), false),
        }
    }

    fn ordered(source: IpAddr, destination: IpAddr, proto: u8, ports: (u16, u16), swap: bool) -> Self {
        let (low, high) = if swap { (destination, source) } else { (source, destination) };
        let ports = if swap { (ports.1, ports.0) } else { ports };
        let mut input = [0; 40]; // begins with the seed
        let mut len = 2;
        let mut add = |bytes: &[u8]| {
            input[len..len + bytes.len()].copy_from_slice(bytes);
            len += bytes.len();
        };
        for ip in [low, high] {
            match ip.to_canonical() {
                IpAddr::V4(v4) => add(&v4.octets()),
                IpAddr::V6(v6) => add(&v6.octets()),
            }
        }
        add(&[proto, 0]);
        add(&ports.0.to_be_bytes());
        add(&ports.1.to_be_bytes());
        let mut text = *b"1:............................";
        let written = STANDARD.encode_slice(Sha1::digest(&input[..len]), &mut text[2..]);
        debug_assert_eq!(written, Ok(28));
        Self(text)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl Serialize for CommunityId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

/// Addresses compare by their bytes; both of a packet have the same length.
fn canonical(ip: IpAddr) -> u128 {
    match ip.to_canonical() {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// The ICMP type that answers `kind` (Community ID specification; 15 is paired in one direction only, as in Packetbeat).
fn counterpart(proto: u8, kind: u8) -> Option<u8> {
    let pairs: &[(u8, u8)] = if proto == 1 {
        &[(8, 0), (0, 8), (13, 14), (14, 13), (15, 16), (10, 9), (9, 10), (17, 18), (18, 17)]
    } else {
        &[
            (128, 129),
            (129, 128),
            (133, 134),
            (134, 133),
            (135, 136),
            (136, 135),
            (130, 131),
            (131, 130),
            (139, 140),
            (140, 139),
            (144, 145),
            (145, 144),
        ]
    };
    pairs.iter().find(|(from, _)| *from == kind).map(|(_, to)| *to)
}

/// `network.type` of an address.
pub fn ip_version(ip: IpAddr) -> &'static str {
    match ip.to_canonical() {
        IpAddr::V4(_) => "ipv4",
        IpAddr::V6(_) => "ipv6",
    }
}

/// `network.direction` (Packetbeat's order of tests: local ends first, link-local counting as local, then networks).
pub fn direction(settings: &Settings, source: IpAddr, destination: IpAddr) -> &'static str {
    let local = |ip: IpAddr| {
        let ip = ip.to_canonical();
        let near = match ip {
            IpAddr::V4(v4) => v4.is_loopback() || v4.is_link_local() || v4.octets()[..3] == [224, 0, 0],
            IpAddr::V6(v6) => {
                v6.is_loopback() || v6.is_unicast_link_local() || (v6.is_multicast() && v6.segments()[0] & 0xf == 2)
            }
        };
        near || settings.local_addresses.contains(ip)
    };
    if local(destination) {
        return "ingress";
    }
    if local(source) {
        return "egress";
    }
    if settings.internal_networks.is_empty() {
        return "unknown";
    }
    let internal = |ip: IpAddr| settings.internal_networks.iter().any(|net| net.contains(ip));
    match (internal(source), internal(destination)) {
        (true, true) => "internal",
        (true, false) => "outbound",
        (false, true) => "inbound",
        (false, false) => "external",
    }
}

/// One message of an exchange.
#[derive(Clone, Copy, Debug)]
pub struct Side {
    /// Time of its first packet.
    pub first: Timestamp,
    /// Its size at the application layer.
    pub bytes: u64,
}

/// A transaction as the envelope sees it.
#[derive(Clone, Copy, Debug)]
pub struct Exchange<'a> {
    /// `http`, `dns`, `icmp`.
    pub kind: &'static str,
    /// The ends; `client` becomes `source`.
    pub conn: &'a Conn,
    /// The request, if seen.
    pub request: Option<Side>,
    /// The response, if seen.
    pub response: Option<Side>,
    /// Type and code of the (first) ICMP message, for the Community ID.
    pub icmp: Option<(u8, u8)>,
}

impl Writer {
    /// The envelope of a transaction: everything of sections 1.2 to 1.5 of `packetbeat-events.md`, `status` and the
    /// protocol's own fields excepted.
    pub fn exchange<'a>(&'a self, id: EventId, exchange: &Exchange<'a>, context: &Context<'a>) -> Envelope<'a> {
        let Exchange { kind, conn, request, response, .. } = *exchange;
        let start = request.map(|side| side.first);
        let end = response.map(|side| side.first);
        let mut event = self.event(id, kind);
        event.types = if kind == "icmp" { &["connection"] } else { &["connection", "protocol"] };
        let first = self.stamp(start.or(end).unwrap_or_default());
        event.start = start.map(|_| first);
        event.end = end.map(|time| self.stamp(time));
        event.duration = start.zip(end).map(|(start, end)| end.since(start)).filter(|nanos| *nanos >= 0);
        let mut envelope = Envelope::new(kind, first, event);
        envelope.data_stream = self.data_stream(kind);

        let bytes = |side: Option<Side>| side.map(|side| side.bytes).filter(|bytes| *bytes > 0);
        let total = bytes(request).unwrap_or(0).saturating_add(bytes(response).unwrap_or(0));
        envelope.network = Some(Network {
            protocol: (kind != "icmp").then_some(kind),
            bytes: (total > 0).then_some(total),
            ..self.network(conn, exchange.icmp)
        });
        envelope.source = Some(End { bytes: bytes(request), ..end_of(&conn.client) });
        envelope.client = envelope.source.clone();
        envelope.destination = Some(End { bytes: bytes(response), ..end_of(&conn.server) });
        envelope.server = envelope.destination.clone();
        if let Some(end) = &mut envelope.destination {
            end.address = end.ip;
        }
        envelope.related.add_ip(conn.client.ip);
        envelope.related.add_ip(conn.server.ip);
        if let Some(origin) = &conn.origin {
            envelope.client = Some(End { bytes: bytes(request), ..end_of(origin) });
            if let Some(network) = &mut envelope.network {
                network.forwarded_ip = Some(origin.ip.to_string().into());
            }
            envelope.related.add_ip(origin.ip);
        }
        self.add_process(&mut envelope, conn, context);
        add_origin(&mut envelope, id, conn);
        envelope
    }

    /// Whether the settings leave out transactions of this conversation (`ignore_outgoing`).
    pub fn is_ignored(&self, conn: &Conn) -> bool {
        self.settings().ignore_outgoing && direction(self.settings(), conn.client.ip, conn.server.ip) == "egress"
    }

    /// `event` with what every event of a kind has.
    pub(super) fn event<'a>(&self, id: EventId, kind: &'static str) -> Event<'a> {
        Event {
            id: Id::Ours(id),
            kind: "event",
            category: match kind {
                "http" if self.settings.is_network_traffic() => &["network", "web"],
                _ => &["network"],
            },
            types: &[],
            dataset: self.dataset(kind).into(),
            action: None,
            module: self.settings.is_network_traffic().then_some("network_traffic"),
            provider: None,
            outcome: None,
            severity: None,
            risk_score: None,
            start: None,
            end: None,
            duration: None,
        }
    }

    /// The Community ID of a conversation that has ports. Events of one come together: the last is remembered.
    fn community_id(&self, conn: &Conn) -> CommunityId {
        let ends = (conn.client, conn.server, conn.proto);
        if let Some((known, id)) = self.last_community.get()
            && known == ends
        {
            return id;
        }
        let Conn { client, server, proto, .. } = conn;
        let id = CommunityId::new(client.ip, server.ip, proto.number(), (client.port, server.port));
        self.last_community.set(Some((ends, id)));
        id
    }

    /// `network` with what a connection says.
    pub(super) fn network<'a>(&self, conn: &Conn, icmp: Option<(u8, u8)>) -> Network<'a> {
        let Conn { client, server, proto, .. } = conn;
        Network {
            kind: Some(ip_version(client.ip)),
            transport: Some(proto.name()),
            direction: Some(direction(&self.settings, client.ip, server.ip)),
            community_id: match (proto, icmp) {
                (Proto::Icmp | Proto::Icmp6, Some((kind, code))) => {
                    Some(CommunityId::icmp(client.ip, server.ip, proto.number(), kind, code))
                }
                (Proto::Icmp | Proto::Icmp6, None) => None,
                _ => Some(self.community_id(conn)),
            },
            tunnel: conn.hops.iter().map(Tunnel::from).collect(),
            ..Network::default()
        }
    }

    /// The process at the client's end: at that end and, as Packetbeat does, at the root; `unknown` where the profile
    /// asks for it.
    pub(super) fn add_process<'a>(&'a self, envelope: &mut Envelope<'a>, conn: &'a Conn, context: &Context<'a>) {
        let Some(process) = &conn.process else {
            return;
        };
        let process = Box::new(ProcessDoc::new(process, |time| self.stamp(time), &context.mask));
        if let Some(source) = &mut envelope.source {
            source.process = Some(process.clone());
        }
        envelope.container.clone_from(&process.container);
        envelope.kubernetes = conn.process.as_deref().and_then(Kubernetes::of);
        envelope.process = Some(process);
    }

    /// `process.name: unknown` on an event that touches a metadata service, where no process is known.
    pub(super) fn add_unknown_process<'a>(&'a self, envelope: &mut Envelope<'a>) {
        let name = self.settings.unknown_process.as_str();
        if envelope.process.is_none() && self.settings.is_network_traffic() && !name.is_empty() {
            envelope.process = Some(Box::new(ProcessDoc { name: Some(name.into()), ..ProcessDoc::default() }));
        }
    }
}

/// Keeps the id of an event that another sensor wrote, and says who that is.
pub(super) fn add_origin<'a>(envelope: &mut Envelope<'a>, id: EventId, conn: &'a Conn) {
    let Some(origin) = conn.told_by.as_deref() else { return };
    envelope.event.id = Id::of(id, Some(origin));
    envelope.event.provider = Some(origin.sensor);
    envelope.origin = Some(origin);
    forget_unknown_ends(envelope);
}

/// Takes out the ends that another sensor did not tell.
pub(super) fn forget_unknown_ends(envelope: &mut Envelope<'_>) {
    let is_unknown = |end: &&mut End<'_>| end.ip.is_some_and(|ip| ip.0.is_unspecified());
    let ends = [&mut envelope.source, &mut envelope.client, &mut envelope.destination, &mut envelope.server];
    let mut any = false;
    for end in ends.into_iter().flatten() {
        if is_unknown(&end) {
            (end.ip, end.address, any) = (None, None, true);
        }
    }
    if any {
        envelope.related.forget_unspecified();
        if let Some(network) = &mut envelope.network {
            (network.community_id, network.direction) = (None, None);
        }
    }
}

/// Address and port of an end.
pub(super) fn end_of<'a>(end: &Endpoint) -> End<'a> {
    End { ip: Some(Ip(end.ip)), port: Some(end.port).filter(|port| *port != 0), ..End::default() }
}

/// Bytes that tell a MAC pair apart in ids.
pub(super) fn mac_bytes(macs: Option<(Mac, Mac)>) -> [u8; 12] {
    let mut out = [0; 12];
    if let Some((source, destination)) = macs {
        out[..6].copy_from_slice(&source);
        out[6..].copy_from_slice(&destination);
    }
    out
}
