//! What the user may choose about events: a plain struct with the defaults of the contract, read from the
//! configuration file's `events` section.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::{Arc, PoisonError, RwLock};

use serde::Deserialize;

use super::time::Precision;
use crate::catalogue::Headers;
use crate::net;

/// Shape of events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// As Packetbeat writes.
    #[default]
    Packetbeat,
    /// As Elastic's Network Packet Capture integration, so that its prebuilt rules fire.
    NetworkTraffic,
}

/// Addresses of this host, which may change while it is watched. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct LocalAddresses(Arc<RwLock<Vec<IpAddr>>>);

impl LocalAddresses {
    /// From now on these are.
    pub fn set(&self, addresses: Vec<IpAddr>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = addresses;
    }

    /// Whether it is one of them.
    pub fn contains(&self, ip: IpAddr) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).contains(&ip)
    }
}

/// Settings of the events.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Shape of events.
    pub profile: Profile,
    /// `agent.name`, and `host.name` in live capture.
    pub name: String,
    /// `data_stream.namespace` of profile `network_traffic`.
    pub namespace: String,
    /// Written to `tags`.
    pub tags: Vec<String>,
    /// Written to `fields`.
    pub fields: BTreeMap<String, serde_json::Value>,
    /// Write `fields` at the root instead; names that events use themselves stay in `fields`.
    pub fields_under_root: bool,
    /// Write `@metadata`, as Packetbeat's file and console outputs do.
    pub metadata: bool,
    /// How exactly times are written.
    pub timestamp_precision: Precision,
    /// Networks that count as internal: names (`private`, `loopback`, …) or CIDRs.
    pub internal_networks: Vec<Network>,
    /// Leave out transactions whose direction is `egress`.
    pub ignore_outgoing: bool,
    /// `process.name` of metadata events whose process is not known (profile `network_traffic`); empty leaves it out.
    pub unknown_process: String,
    /// HTTP.
    pub http: HttpSettings,
    /// DNS.
    pub dns: DnsSettings,
    /// Flows.
    pub flows: FlowSettings,
    /// The sensor's own addresses: live capture only, never read from a file.
    #[serde(skip)]
    pub local_addresses: LocalAddresses,
    /// Identity of this sensor, in live capture only.
    #[serde(skip)]
    pub sensor: Option<SensorInfo>,
    /// What the catalogue says of headers: of which the value may be written.
    #[serde(skip, default = "Headers::builtin")]
    pub headers: Arc<Headers>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            profile: Profile::Packetbeat,
            name: "imdswatch".into(),
            namespace: "default".into(),
            tags: Vec::new(),
            fields: BTreeMap::new(),
            fields_under_root: false,
            metadata: true,
            timestamp_precision: Precision::Millisecond,
            internal_networks: vec![Network::Private],
            ignore_outgoing: false,
            unknown_process: "unknown".into(),
            http: HttpSettings::default(),
            dns: DnsSettings::default(),
            flows: FlowSettings::default(),
            local_addresses: LocalAddresses::default(),
            sensor: None,
            headers: Headers::builtin(),
        }
    }
}

impl Settings {
    /// Whether the profile is `network_traffic`.
    pub fn is_network_traffic(&self) -> bool {
        self.profile == Profile::NetworkTraffic
    }
}

/// Identity of a live sensor.
#[derive(Clone, Debug, Default)]
pub struct SensorInfo {
    /// `host.name`.
    pub host_name: String,
    /// `agent.id`: stays the same over restarts.
    pub agent_id: Option<String>,
    /// `agent.ephemeral_id`: new at every start.
    pub ephemeral_id: Option<String>,
}

/// Settings of HTTP transactions.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpSettings {
    /// Headers that are written, any case.
    pub send_headers: Vec<String>,
    /// Write all headers.
    pub send_all_headers: bool,
    /// Write cookies as objects.
    pub split_cookie: bool,
    /// Write `*` for the values of Authorization and Proxy-Authorization (on, other than in Packetbeat).
    pub redact_authorization: bool,
    /// Headers whose values become `REDACTED`.
    pub redact_headers: Vec<String>,
    /// Parameters whose values become `xxxxx` (lower case).
    pub hide_keywords: Vec<String>,
    /// Header that names the real client.
    pub real_ip_header: String,
    /// Content types (parts of) whose bodies are written.
    pub include_body_for: Vec<String>,
    /// The same for requests only.
    pub include_request_body_for: Vec<String>,
    /// The same for responses only.
    pub include_response_body_for: Vec<String>,
    /// Undo content encodings of bodies that are written.
    pub decode_body: bool,
    /// Bytes of a message that are kept, in bytes.
    pub max_message_size: usize,
    /// Write the raw request.
    pub send_request: bool,
    /// Write the raw response.
    pub send_response: bool,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            send_headers: Vec::new(),
            send_all_headers: false,
            split_cookie: false,
            redact_authorization: true,
            redact_headers: Vec::new(),
            hide_keywords: Vec::new(),
            real_ip_header: String::new(),
            include_body_for: Vec::new(),
            include_request_body_for: Vec::new(),
            include_response_body_for: Vec::new(),
            decode_body: true,
            max_message_size: 10 * 1024 * 1024,
            send_request: false,
            send_response: false,
        }
    }
}

impl HttpSettings {
    /// Whether bodies of any kind are written.
    pub fn writes_bodies(&self) -> bool {
        let types = [&self.include_body_for, &self.include_request_body_for, &self.include_response_body_for];
        types.iter().any(|types| !types.is_empty())
    }
}

/// Settings of DNS transactions.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DnsSettings {
    /// Write authorities.
    pub include_authorities: bool,
    /// Write additionals.
    pub include_additionals: bool,
    /// Write the query as text.
    pub send_request: bool,
    /// Write the response as text.
    pub send_response: bool,
}

/// Settings of flows.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FlowSettings {
    /// Seconds of silence after which a flow is over.
    pub timeout: u32,
    /// Seconds between reports of flows that go on; 0 reports them at their end only.
    pub period: u32,
    /// Reset the counters after each report.
    pub delta: bool,
}

impl Default for FlowSettings {
    fn default() -> Self {
        Self { timeout: 30, period: 0, delta: false }
    }
}

/// One entry of `internal_networks`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Network {
    /// 10/8, 172.16/12, 192.168/16, fd00::/8.
    Private,
    /// Neither private nor one of the special kinds below.
    Public,
    /// 127/8, ::1.
    Loopback,
    /// Any unicast address that is not link-local or loopback.
    GlobalUnicast,
    /// 169.254/16, fe80::/10.
    LinkLocalUnicast,
    /// ffx1::/16.
    InterfaceLocalMulticast,
    /// 224.0.0/24, ffx2::/16.
    LinkLocalMulticast,
    /// 224/4, ff00::/8.
    Multicast,
    /// 0.0.0.0, ::.
    Unspecified,
    /// A prefix.
    Cidr(net::Network),
}

impl Network {
    /// Whether `ip` belongs to it.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        match self {
            Self::Private => is_private(ip),
            Self::Public => {
                let special = [
                    Self::Private,
                    Self::Loopback,
                    Self::LinkLocalUnicast,
                    Self::InterfaceLocalMulticast,
                    Self::LinkLocalMulticast,
                    Self::Unspecified,
                ];
                !special.iter().any(|net| net.contains(ip)) && ip != IpAddr::from([255; 4])
            }
            Self::Loopback => ip.is_loopback(),
            Self::GlobalUnicast => {
                let others = [Self::Loopback, Self::LinkLocalUnicast, Self::Multicast, Self::Unspecified];
                !others.iter().any(|net| net.contains(ip)) && ip != IpAddr::from([255; 4])
            }
            Self::LinkLocalUnicast => match ip {
                IpAddr::V4(v4) => v4.is_link_local(),
                IpAddr::V6(v6) => v6.is_unicast_link_local(),
            },
            Self::InterfaceLocalMulticast => multicast_scope(ip) == Some(1),
            Self::LinkLocalMulticast => match ip {
                IpAddr::V4(v4) => v4.octets()[..3] == [224, 0, 0],
                IpAddr::V6(_) => multicast_scope(ip) == Some(2),
            },
            Self::Multicast => ip.is_multicast(),
            Self::Unspecified => ip.is_unspecified(),
            Self::Cidr(network) => network.contains(ip),
        }
    }
}

fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_private(),
        IpAddr::V6(v6) => v6.octets()[0] == 0xfd,
    }
}

/// Scope field of an IPv6 multicast address (RFC 4291 section 2.7).
fn multicast_scope(ip: IpAddr) -> Option<u8> {
    match ip {
        IpAddr::V6(v6) if v6.is_multicast() => Some(v6.octets()[1] & 0xf),
        _ => None,
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "private" => Self::Private,
            "public" => Self::Public,
            "loopback" => Self::Loopback,
            "unicast" | "global_unicast" => Self::GlobalUnicast,
            "link_local_unicast" => Self::LinkLocalUnicast,
            "interface_local_multicast" => Self::InterfaceLocalMulticast,
            "link_local_multicast" => Self::LinkLocalMulticast,
            "multicast" => Self::Multicast,
            "unspecified" => Self::Unspecified,
            other => {
                let unknown = || format!("`{other}` is neither the name of a network nor a CIDR");
                Self::Cidr(net::Network::parse(other).filter(|_| other.contains('/')).ok_or_else(unknown)?)
            }
        })
    }
}

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inside(net: &str, ip: &str) -> bool {
        net.parse::<Network>().unwrap().contains(ip.parse().unwrap())
    }

    #[test]
    fn networks_by_name_and_prefix() {
        for ip in ["10.1.2.3", "172.31.0.1", "192.168.0.1", "fd00:ec2::254", "::ffff:10.0.0.1"] {
            assert!(inside("private", ip) && !inside("public", ip), "{ip}");
        }
        for ip in ["8.8.8.8", "172.32.0.1", "2001:db8::1", "100.100.100.200"] {
            assert!(inside("public", ip) && inside("unicast", ip) && !inside("private", ip), "{ip}");
        }
        assert!(inside("link_local_unicast", "169.254.169.254") && !inside("public", "169.254.169.254"));
        assert!(inside("link_local_multicast", "ff02::1") && inside("multicast", "ff05::1"));
        assert!(inside("100.64.0.0/10", "100.100.100.200") && !inside("100.64.0.0/10", "100.128.0.1"));
        assert!(inside("0.0.0.0/0", "1.2.3.4") && inside("::/0", "fe80::1") && !inside("::/0", "1.2.3.4"));
        assert!("10.0.0.0/33".parse::<Network>().is_err() && "nonsense".parse::<Network>().is_err());
    }

    #[test]
    fn defaults_read_from_an_empty_section_and_unknown_keys_are_refused() {
        let settings: Settings = toml::from_str("").unwrap();
        assert!(settings.http.redact_authorization && settings.internal_networks == [Network::Private]);
        assert!(toml::from_str::<Settings>("[http]\nsend_al_headers = true").is_err());
        let own = "internal_networks = [\"10.0.0.0/8\"]\ntimestamp_precision = \"nanosecond\"\n[fields]\nsite = 3";
        let settings: Settings = toml::from_str(own).unwrap();
        assert_eq!(settings.timestamp_precision, Precision::Nanosecond);
        assert_eq!(settings.fields["site"], 3);
    }
}
