//! What is remembered of a conversation's first packets, to be written with each of its transactions.

use std::net::IpAddr;

use crate::conn::{Conn, Endpoint, Proto};
use crate::decode::meta::{Hops, Mac, Meta, Vlans};
use crate::stream::Dir;

/// Link and network facts of a conversation.
#[derive(Clone, Debug)]
pub(super) struct FirstPacketInfo {
    first_index: u64,
    /// TTL of each side's first packet: of who sent the first packet, and of the other.
    ttls: [Option<u8>; 2],
    macs: Option<(Mac, Mac)>,
    vlans: Vlans,
    hops: Hops,
    /// Whether the first packet came from the client.
    from_client: bool,
}

impl FirstPacketInfo {
    /// From the first packet, taken to be the client's.
    pub(super) fn new(meta: &Meta) -> Self {
        Self {
            first_index: meta.index,
            ttls: [meta.net.map(|net| net.ttl), None],
            macs: meta.macs,
            vlans: meta.vlans,
            hops: meta.hops.clone(),
            from_client: true,
        }
    }

    /// From the first packet, sent in this direction.
    pub(super) fn sent(meta: &Meta, dir: Dir) -> Self {
        Self { from_client: dir == Dir::ToServer, ..Self::new(meta) }
    }

    /// Learns from a later packet.
    pub(super) fn see(&mut self, meta: &Meta, dir: Dir) {
        let slot = if (dir == Dir::ToServer) == self.from_client { 0 } else { 1 };
        if let (Some(ttl @ None), Some(net)) = (self.ttls.get_mut(slot), meta.net) {
            *ttl = Some(net.ttl);
        }
    }

    /// The conversation between the addresses of `meta`, whose sender is taken to be the client.
    pub(super) fn portless(&self, meta: &Meta) -> Conn {
        let unknown = IpAddr::from([0; 4]);
        let (source, destination) = meta.net.map_or((unknown, unknown), |net| (net.source, net.destination));
        let proto = if source.is_ipv6() { Proto::Icmp6 } else { Proto::Icmp };
        self.conn(Endpoint { ip: source, port: 0 }, Endpoint { ip: destination, port: 0 }, proto)
    }

    /// The conversation between these ends.
    pub(super) fn conn(&self, client: Endpoint, server: Endpoint, proto: Proto) -> Conn {
        let [first, other] = self.ttls;
        let (client_ttl, server_ttl) = if self.from_client { (first, other) } else { (other, first) };
        let macs = if self.from_client { self.macs } else { self.macs.map(|(a, b)| (b, a)) };
        Conn {
            client,
            server,
            proto,
            first_index: self.first_index,
            client_ttl,
            server_ttl,
            macs,
            vlans: self.vlans,
            hops: self.hops.clone(),
            told_by: None,
            process: None,
            origin: None,
        }
    }
}
