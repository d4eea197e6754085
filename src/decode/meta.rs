//! What decoding says about a packet: plain, owned values ([`Meta`]) beside the payload slice, so that a packet can be
//! handed to another thread by copying the one and appending the other to an arena.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use crate::packet::Timestamp;

/// A link-layer address.
pub type Mac = [u8; 6];

/// VLAN ids of one frame, outermost first; at most [`Vlans::MAX`], further ones are skipped over and counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Vlans {
    ids: [u16; Self::MAX],
    len: u8,
}

impl Vlans {
    /// How many ids are kept.
    pub const MAX: usize = 4;

    /// Adds an inner id (12 bits); `false` when there is no room.
    pub fn push(&mut self, id: u16) -> bool {
        match self.ids.get_mut(usize::from(self.len)) {
            Some(slot) => {
                *slot = id;
                self.len = self.len.saturating_add(1);
                true
            }
            None => false,
        }
    }

    /// The ids, outermost first.
    pub fn ids(&self) -> &[u16] {
        self.ids.get(..usize::from(self.len)).unwrap_or_default()
    }
}

/// Which tunnel a packet came out of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TunnelKind {
    /// IP in IP, any combination of versions (RFC 2003, 2473, 4213).
    IpIp,
    /// GRE without ERSPAN (RFC 2784, 2890).
    Gre,
    /// ERSPAN type I, II or III inside GRE.
    Erspan,
    /// VXLAN (RFC 7348).
    Vxlan,
    /// GENEVE (RFC 8926).
    Geneve,
    /// GTP-U (3GPP TS 29.281).
    GtpU,
    /// MPLS (RFC 3032), with or without pseudo-wire.
    Mpls,
    /// PPPoE session (RFC 2516).
    Pppoe,
    /// MPLS over UDP (RFC 7510).
    MplsUdp,
    /// Generic UDP Encapsulation (draft-ietf-intarea-gue), versions 0 and 1.
    Gue,
    /// TaZmen Sniffer Protocol.
    Tzsp,
    /// L2TP version 3 over IP or UDP (RFC 3931), version 2 (RFC 2661).
    L2tp,
    /// Teredo (RFC 4380).
    Teredo,
    /// LISP (RFC 9300).
    Lisp,
    /// An IP packet, or GRE, right inside a datagram to any port (foo over UDP).
    Fou,
    /// A service header of its own ethertype (RFC 8300).
    Nsh,
    /// Ethernet in IP (RFC 3378).
    EtherIp,
    /// IP in ESP without encryption (RFC 2410, RFC 4303).
    Esp,
    /// A frame of a customer in a provider's (IEEE 802.1ah).
    Pbb,
    /// TRILL (RFC 6325).
    Trill,
    /// A frame between access point and controller (CAPWAP, RFC 5415).
    Capwap,
}

impl TunnelKind {
    /// Lower-case name, as written to `network.tunnel`.
    pub fn name(self) -> &'static str {
        match self {
            Self::IpIp => "ipip",
            Self::Gre => "gre",
            Self::Erspan => "erspan",
            Self::Vxlan => "vxlan",
            Self::Geneve => "geneve",
            Self::GtpU => "gtp-u",
            Self::Mpls => "mpls",
            Self::Pppoe => "pppoe",
            Self::MplsUdp => "mpls-udp",
            Self::Gue => "gue",
            Self::Tzsp => "tzsp",
            Self::L2tp => "l2tp",
            Self::Teredo => "teredo",
            Self::Lisp => "lisp",
            Self::Fou => "fou",
            Self::Nsh => "nsh",
            Self::EtherIp => "etherip",
            Self::Esp => "esp",
            Self::Pbb => "pbb",
            Self::Trill => "trill",
            Self::Capwap => "capwap",
        }
    }
}

/// One tunnel that was opened, with its outer ends where it has IP ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Hop {
    /// Which tunnel.
    pub kind: TunnelKind,
    /// Outer source and destination address.
    pub ends: Option<(IpAddr, IpAddr)>,
    /// VNI, GRE key, session id, TEID or MPLS label, where the tunnel has one.
    pub id: Option<u32>,
}

/// Tunnels around a packet, outermost first; at most [`Hops::MAX`]. Shared, because most packets are inside none and all
/// of a tunnel's levels, messages and events name the same ones.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Hops(Option<Arc<[Option<Hop>; Self::MAX]>>);

impl Hops {
    /// Nesting limit.
    pub const MAX: usize = 4;

    /// Adds the next inner tunnel; `false` when the limit is reached.
    pub fn push(&mut self, hop: Hop) -> bool {
        let hops = Arc::make_mut(self.0.get_or_insert_default());
        match hops.iter_mut().find(|h| h.is_none()) {
            Some(slot) => {
                *slot = Some(hop);
                true
            }
            None => false,
        }
    }

    /// The tunnels, outermost first.
    pub fn iter(&self) -> impl Iterator<Item = &Hop> {
        self.0.iter().flat_map(|hops| hops.iter()).flatten()
    }

    /// Whether there is any.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

/// Whether a checksum holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checksum {
    /// Not computed: bytes are missing, it is absent (UDP 0), or nobody needs it yet.
    #[default]
    Unknown,
    /// Computed and right.
    Good,
    /// Computed and wrong: offloaded, damaged, or a decoy.
    Bad,
}

/// The network layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Net {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Transport protocol number after all IPv6 extension headers.
    pub protocol: u8,
    /// IPv4 time to live or IPv6 hop limit.
    pub ttl: u8,
    /// IPv4 header checksum; `Unknown` for IPv6.
    pub checksum: Checksum,
    /// Whether this is a fragment that could not be (or is not yet) put together.
    pub fragment: bool,
    /// Whether it was put together from fragments.
    pub reassembled: bool,
}

impl Net {
    /// A whole packet whose checksum nobody has looked at.
    pub fn new(source: IpAddr, destination: IpAddr, protocol: u8, ttl: u8) -> Self {
        let checksum = Checksum::Unknown;
        Self { source, destination, protocol, ttl, checksum, fragment: false, reassembled: false }
    }
}

/// TCP flags (RFC 9293 section 3.1), low byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// FIN.
    pub const FIN: u8 = 0x01;
    /// SYN.
    pub const SYN: u8 = 0x02;
    /// RST.
    pub const RST: u8 = 0x04;
    /// PSH.
    pub const PSH: u8 = 0x08;
    /// ACK.
    pub const ACK: u8 = 0x10;
    /// URG.
    pub const URG: u8 = 0x20;

    /// Whether any of the flags in `mask` is set.
    pub fn any(self, mask: u8) -> bool {
        self.0 & mask != 0
    }

    /// FIN set.
    pub fn fin(self) -> bool {
        self.any(Self::FIN)
    }

    /// SYN set.
    pub fn syn(self) -> bool {
        self.any(Self::SYN)
    }

    /// RST set.
    pub fn rst(self) -> bool {
        self.any(Self::RST)
    }

    /// ACK set.
    pub fn ack(self) -> bool {
        self.any(Self::ACK)
    }

    /// URG set.
    pub fn urg(self) -> bool {
        self.any(Self::URG)
    }
}

/// A TCP header; the payload is beside it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tcp {
    /// Source port.
    pub source: u16,
    /// Destination port.
    pub destination: u16,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number (meaningful with ACK).
    pub ack: u32,
    /// Flags.
    pub flags: TcpFlags,
    /// Window, unscaled.
    pub window: u16,
    /// Urgent pointer (meaningful with URG).
    pub urgent: u16,
    /// Timestamps option: TSval, TSecr (RFC 7323).
    pub timestamps: Option<(u32, u32)>,
    /// Window scale option (only on SYN).
    pub window_scale: Option<u8>,
    /// Checksum over pseudo-header and segment.
    pub checksum: Checksum,
}

/// The transport layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// No IP, an unreadable header, or a fragment: the payload is what follows the last header read.
    #[default]
    None,
    /// TCP.
    Tcp(Tcp),
    /// UDP ports and checksum.
    Udp {
        /// Source port.
        source: u16,
        /// Destination port.
        destination: u16,
        /// Checksum; 0 on the wire is `Unknown`.
        checksum: Checksum,
    },
    /// ICMP or ICMPv6 (told apart by the IP version); the payload starts after the 4-byte header (type, code, checksum).
    Icmp {
        /// Type.
        kind: u8,
        /// Code.
        code: u8,
    },
    /// Another IP protocol.
    Other,
}

/// Why decoding stopped before the payload of a known transport. Each is a counter in the closing summary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stop {
    /// The capture's link type is not supported.
    LinkType,
    /// A header was cut by the snaplen or the end of the packet.
    Cut(Layer),
    /// A header contradicts itself (version, header length, lengths).
    Malformed(Layer),
    /// Nested deeper than the limits.
    TooDeep,
    /// Not IP (ARP, LLDP …); not an error.
    NotIp,
    /// A fragment that waits for its others; not an error.
    Fragment,
}

impl Stop {
    /// Every reason, in a fixed order.
    pub const ALL: [Self; 12] = [
        Self::LinkType,
        Self::Cut(Layer::Link),
        Self::Cut(Layer::Ip),
        Self::Cut(Layer::Tunnel),
        Self::Cut(Layer::Transport),
        Self::Malformed(Layer::Link),
        Self::Malformed(Layer::Ip),
        Self::Malformed(Layer::Tunnel),
        Self::Malformed(Layer::Transport),
        Self::TooDeep,
        Self::NotIp,
        Self::Fragment,
    ];
}

impl Stop {
    /// Whether something could not be read that should have been; the rest is ordinary traffic.
    pub fn is_error(self) -> bool {
        !matches!(self, Self::NotIp | Self::Fragment)
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LinkType => f.write_str("unsupported link type"),
            Self::Cut(layer) => write!(f, "{layer} cut off"),
            Self::Malformed(layer) => write!(f, "malformed {layer}"),
            Self::TooDeep => f.write_str("nested too deep"),
            Self::NotIp => f.write_str("not IP"),
            Self::Fragment => f.write_str("fragment"),
        }
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Link => "link header",
            Self::Ip => "IP header",
            Self::Tunnel => "tunnel header",
            Self::Transport => "transport header",
        })
    }
}

/// Names of layers in [`Stop`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Layer {
    /// Link layer and its tags.
    Link,
    /// IP and its extension headers.
    Ip,
    /// Tunnel headers.
    Tunnel,
    /// TCP, UDP, ICMP.
    Transport,
}

/// One level of a decoded packet: the frame as captured, or what came out of a tunnel.
#[derive(Clone, Debug)]
pub struct Meta {
    /// Run-wide number of the captured packet (of the one that completed it, where fragments were put together).
    pub index: u64,
    /// Packet time.
    pub time: Timestamp,
    /// Capture interface.
    pub interface: u32,
    /// Bytes of this level on the wire, its link header included: the original frame length on the outermost level,
    /// what the headers around it announce on an inner one. Where fragments were put together, that of the packet that
    /// completed them (which is what Packetbeat counts for the flow; the other fragments count nowhere).
    pub wire_len: u32,
    /// Source and destination MAC, where this level has an Ethernet header.
    pub macs: Option<(Mac, Mac)>,
    /// VLAN ids of this level.
    pub vlans: Vlans,
    /// EtherType of this level's payload, 0 where the link layer has none.
    pub ethertype: u16,
    /// The network layer.
    pub net: Option<Net>,
    /// The transport layer.
    pub transport: Transport,
    /// Tunnels around this level.
    pub hops: Hops,
    /// Whether this is the innermost level: the one that streams and protocols are read from.
    pub innermost: bool,
    /// Length of the transport header at the start of the segment: 20 to 60 for TCP, 8 for UDP, 4 for ICMP, else 0.
    pub header_len: u8,
    /// Bytes of transport payload that the headers announce but the capture does not have (snaplen).
    pub missing: u32,
    /// Where decoding of this level stopped, if it did not reach a transport payload.
    pub stop: Option<Stop>,
}

impl Meta {
    /// A level of which nothing more is known yet, taken to be the innermost one.
    #[inline]
    pub fn new(index: u64, time: Timestamp, interface: u32, wire_len: u32) -> Self {
        Self {
            index,
            time,
            interface,
            wire_len,
            macs: None,
            vlans: Vlans::default(),
            ethertype: 0,
            net: None,
            transport: Transport::None,
            hops: Hops::default(),
            innermost: true,
            header_len: 0,
            missing: 0,
            stop: None,
        }
    }

    /// The transport payload in `segment`, the slice that the decoder hands out beside this `Meta` (from the transport
    /// header on; it is all that another thread needs, and what checksums are computed over).
    pub fn payload<'s>(&self, segment: &'s [u8]) -> &'s [u8] {
        segment.get(usize::from(self.header_len)..).unwrap_or_default()
    }

    /// Source and destination port, for TCP and UDP.
    pub fn ports(&self) -> Option<(u16, u16)> {
        match self.transport {
            Transport::Tcp(tcp) => Some((tcp.source, tcp.destination)),
            Transport::Udp { source, destination, .. } => Some((source, destination)),
            _ => None,
        }
    }
}
