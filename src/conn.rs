//! Who talks: the ends of a conversation, its protocol, the process at its client's end, and the place of what is found
//! in the run. Everything from the pipeline to the outputs is about these; they know of nothing above packets.

use std::net::IpAddr;
use std::sync::Arc;

use crate::decode::meta::{Hops, Mac, Meta, Vlans};
use crate::packet::Timestamp;

/// One end of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    /// Address.
    pub ip: IpAddr,
    /// Port; 0 where the protocol has none.
    pub port: u16,
}

impl Endpoint {
    /// Source and destination of a packet, with port 0 where its transport has none; `None` without network layer.
    pub fn of(meta: &Meta) -> Option<(Self, Self)> {
        let net = meta.net?;
        let (source, destination) = meta.ports().unwrap_or_default();
        Some((Self { ip: net.source, port: source }, Self { ip: net.destination, port: destination }))
    }
}

/// Transport protocol of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Proto {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP for IPv4.
    Icmp,
    /// ICMP for IPv6.
    Icmp6,
}

impl Proto {
    /// IP protocol number.
    pub fn number(self) -> u8 {
        match self {
            Self::Icmp => 1,
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Icmp6 => 58,
        }
    }

    /// Name as in `network.transport`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Icmp => "icmp",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Icmp6 => "ipv6-icmp",
        }
    }
}

/// The conversation that a transaction belongs to. `client` is the side that asks: it sent the SYN, or the request.
#[derive(Clone, Debug)]
pub struct Conn {
    /// Who asks.
    pub client: Endpoint,
    /// Who answers.
    pub server: Endpoint,
    /// Transport.
    pub proto: Proto,
    /// Number of the first packet seen of it.
    pub first_index: u64,
    /// IP TTL or hop limit of the client's first packet, if seen.
    pub client_ttl: Option<u8>,
    /// IP TTL or hop limit of the server's first packet, if seen.
    pub server_ttl: Option<u8>,
    /// Client's and server's MAC, where the link layer has them.
    pub macs: Option<(Mac, Mac)>,
    /// VLAN ids of the first packet.
    pub vlans: Vlans,
    /// Tunnels of the first packet.
    pub hops: Hops,
    /// The client's end as a PROXY protocol header gives it: who asks a load balancer, which is the client here.
    pub origin: Option<Endpoint>,
    /// The process at the client's end, in live capture, when it is known for sure.
    pub process: Option<Arc<Process>>,
}

impl Conn {
    /// A conversation of which only its ends are known, first seen in the run's first packet.
    pub fn between(client: Endpoint, server: Endpoint, proto: Proto) -> Self {
        Self {
            client,
            server,
            proto,
            first_index: 0,
            client_ttl: None,
            server_ttl: None,
            macs: None,
            vlans: Vlans::default(),
            hops: Hops::default(),
            origin: None,
            process: None,
        }
    }

    /// The same conversation seen from its other end; process and origin are those of a client, and left out.
    pub fn turned(self) -> Self {
        Self {
            client: self.server,
            server: self.client,
            client_ttl: self.server_ttl,
            server_ttl: self.client_ttl,
            macs: self.macs.map(|(client, server)| (server, client)),
            origin: None,
            process: None,
            ..self
        }
    }

    /// The same conversation with `client` as its client: turned round if that is its server.
    pub fn with_client(self, client: Endpoint) -> Self {
        if self.client == client { self } else { self.turned() }
    }
}

/// What is known of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// Process id.
    pub pid: u32,
    /// Name: the executable's base name where it can be read, else comm.
    pub name: String,
    /// Path of the executable.
    pub executable: Option<String>,
    /// Arguments.
    pub args: Vec<String>,
    /// Start time.
    pub start: Option<Timestamp>,
    /// Parent's process id.
    pub parent: Option<u32>,
    /// Parent's name, where it can be read.
    pub parent_name: Option<String>,
    /// Stable id over reuse of pids: a hash of boot id, pid and start time.
    pub entity_id: Option<String>,
    /// Owner's user id.
    pub user: Option<u32>,
    /// Container id from the cgroup.
    pub container: Option<String>,
}

/// An application-layer text field of unknown encoding, as bytes.
pub type Bytes = Box<[u8]>;

/// Place of an observation in the output: compared field by field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Order {
    /// Number of the packet that completed it, or of the packet that set the tick on which it expired;
    /// `u64::MAX` for what was still open at the end.
    pub at: u64,
    /// `false` on ticks: a tick comes before the packet that set it.
    pub in_packet: bool,
    /// On ticks, number of the first packet of what is reported: orders what expires together. Else 0.
    pub first: u64,
    /// On ticks, tells kinds of observations with the same first packet apart. Else 0.
    pub rank: u8,
    /// Running number within the packet or tick.
    pub nth: u32,
}
