//! The configuration file as written: TOML, unknown keys are errors. Packetbeat's settings keep their names.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

use crate::alert::Severity;
use crate::cli::{EventSet, Format, Profile};
use crate::correlate::AllowEntry;
use crate::duration::Span;
use crate::event::settings::Network;
use crate::event::time::Precision;
use crate::output::net;

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct File {
    /// `agent.name`, `host.name`.
    pub name: Option<String>,
    /// Written to every event.
    pub tags: Vec<String>,
    /// Written to every event.
    pub fields: BTreeMap<String, serde_json::Value>,
    /// Write `fields` at the root.
    pub fields_under_root: bool,
    /// Shape of events.
    pub profile: Option<Profile>,
    /// Networks that count as internal.
    pub internal_networks: Option<Vec<Network>>,
    /// Leave out `egress` transactions.
    pub ignore_outgoing: bool,
    /// One bound over all tables: a number of bytes or text with a unit.
    pub memory: Option<Size>,
    /// Worker threads.
    pub threads: Option<usize>,
    /// Key of credential fingerprints.
    pub fingerprint_key: Option<String>,
    /// `timestamp.precision`.
    pub timestamp: Timestamp,
    /// Events.
    pub events: Events,
    /// Capture.
    pub capture: Capture,
    /// Decoding.
    pub decode: Decode,
    /// HTTP.
    pub http: Http,
    /// DNS.
    pub dns: Dns,
    /// ICMP.
    pub icmp: Icmp,
    /// Flows.
    pub flows: Flows,
    /// Alerts.
    pub alerts: Alerts,
    /// Outputs.
    pub output: Vec<Output>,
    /// Folder in which events of network outputs wait, live; empty: they wait in memory.
    pub spool: Option<PathBuf>,
    /// Bytes of each spool.
    pub spool_most: Option<Size>,
    /// File for events that a receiver will never take, in replay.
    pub dead_letters: Option<PathBuf>,
    /// Additions to the catalogue.
    pub catalogue: crate::catalogue::Additions,
    /// Metrics endpoint.
    pub metrics: Metrics,
    /// Least privilege.
    pub process: ProcessSection,
}

/// A number of bytes: an integer, or text such as `64M`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Number(u64),
            Text(String),
        }
        match Form::deserialize(deserializer)? {
            Form::Number(n) => Ok(Self(n)),
            Form::Text(text) => crate::cli::parse_size(&text).map(Self).map_err(serde::de::Error::custom),
        }
    }
}

/// `[timestamp]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timestamp {
    /// millisecond, microsecond or nanosecond.
    pub precision: Option<Precision>,
}

/// `[events]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Events {
    /// As `--events`.
    pub write: Option<EventSet>,
    /// `process.name` of metadata events without a known process, profile `network_traffic`.
    pub unknown_process: Option<String>,
    /// `data_stream.namespace`.
    pub namespace: Option<String>,
    /// Whether `@metadata` is written.
    pub metadata: Option<bool>,
    /// As `--stats`, in packet time for replay.
    pub stats: Option<Span>,
}

/// `[capture]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Capture {
    /// As `-i`.
    pub interfaces: Vec<String>,
    /// As the trailing words.
    pub filter: Option<String>,
    /// As `--snaplen`.
    pub snaplen: Option<u32>,
    /// As `--buffer`.
    pub buffer: Option<Size>,
    /// `false` is `--no-promisc`.
    pub promiscuous: Option<bool>,
}

/// `[decode]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Decode {
    /// UDP ports of VXLAN.
    pub vxlan_ports: Option<Vec<u16>>,
}

/// `[http]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// Header names.
    pub send_headers: Vec<String>,
    /// All headers.
    pub send_all_headers: bool,
    /// Cookies as objects.
    pub split_cookie: bool,
    /// On by default, other than in Packetbeat.
    pub redact_authorization: Option<bool>,
    /// Headers whose values become `REDACTED`.
    pub redact_headers: Vec<String>,
    /// Parameters whose values become `xxxxx`.
    pub hide_keywords: Vec<String>,
    /// Header with the real client.
    pub real_ip_header: Option<String>,
    /// Content types of bodies to write.
    pub include_body_for: Vec<String>,
    /// The same, requests only.
    pub include_request_body_for: Vec<String>,
    /// The same, responses only.
    pub include_response_body_for: Vec<String>,
    /// Undo content encodings.
    pub decode_body: Option<bool>,
    /// Bytes kept of a message.
    pub max_message_size: Option<Size>,
    /// Raw request.
    pub send_request: bool,
    /// Raw response.
    pub send_response: bool,
    /// Accepted as Packetbeat has it; a request here waits as long as its connection is tracked.
    pub transaction_timeout: Option<Span>,
    /// `false` turns off looking for metadata addresses in other traffic.
    pub ssrf: Option<bool>,
}

/// `[dns]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dns {
    /// Write authorities.
    pub include_authorities: bool,
    /// Write additionals.
    pub include_additionals: bool,
    /// Query as text.
    pub send_request: bool,
    /// Response as text.
    pub send_response: bool,
    /// Packet time after which a query counts as unanswered.
    pub transaction_timeout: Option<Span>,
}

/// `[icmp]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Icmp {
    /// Packet time after which a request counts as unanswered.
    pub transaction_timeout: Option<Span>,
}

/// `[flows]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Flows {
    /// Whether flows are written at all.
    pub enabled: Option<bool>,
    /// Silence after which a flow is over.
    pub timeout: Option<Span>,
    /// Time between reports; `-1s`: at the end only.
    pub period: Option<Span>,
    /// Reset counters after each report.
    pub enable_delta_flow_reports: bool,
}

/// `[alerts]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Alerts {
    /// Packet time within which repeats are counted and SSRF legs joined.
    pub window: Option<Span>,
    /// Longest packet time within which repeats are counted.
    pub window_most: Option<Span>,
    /// As `--state`.
    pub state: Option<PathBuf>,
    /// As `--min-severity`.
    pub min_severity: Option<Severity>,
    /// As `--fail-on`.
    pub fail_on: Option<Severity>,
    /// `false` drops the built-in allow list.
    pub default_allow: Option<bool>,
    /// Entries of the allow list.
    pub allow: Vec<AllowEntry>,
}

/// `[[output]]`. What has no use for where `to` leads is an error, see [`super::receiver::settings`].
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Output {
    /// `-`, a path or a URL.
    pub to: String,
    /// Form.
    pub format: Option<Format>,
    /// As `--rotate`.
    pub rotate: Option<String>,
    /// As `--keep`.
    pub keep: Option<usize>,
    /// What goes here, if less than the run writes.
    pub events: Option<EventSet>,
    /// Alerts below do not go here.
    pub min_severity: Option<Severity>,
    /// User name.
    pub username: Option<String>,
    /// Password, in place or as `${ENVIRONMENT}`.
    pub password: Option<String>,
    /// File with the password.
    pub password_file: Option<PathBuf>,
    /// Elasticsearch's API key (`ID:KEY` or encoded), PagerDuty's routing key.
    pub api_key: Option<String>,
    /// File with the API key.
    pub api_key_file: Option<PathBuf>,
    /// Bearer token.
    pub token: Option<String>,
    /// File with the bearer token.
    pub token_file: Option<PathBuf>,
    /// Further HTTP headers.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// PEM file of authorities to trust instead of the public ones.
    pub ca: Option<PathBuf>,
    /// PEM file of the own certificate.
    pub certificate: Option<PathBuf>,
    /// PEM file of the own key.
    pub key: Option<PathBuf>,
    /// How much of the server's certificate is checked.
    pub verify: Option<net::settings::Verify>,
    /// Compression of what is sent.
    pub compression: Option<net::settings::Compression>,
    /// Events in a request at most.
    pub batch: Option<usize>,
    /// How long events wait for others to share a request.
    pub flush: Option<Span>,
    /// Bound on each wait for the network.
    pub timeout: Option<Span>,
    /// Longest wait between two tries.
    pub backoff: Option<Span>,
    /// Requests at once.
    pub requests: Option<usize>,
    /// Replay: how long to go on without progress.
    pub give_up: Option<Span>,
    /// As at the top, for this output.
    pub spool: Option<PathBuf>,
    /// As at the top, for this output.
    pub spool_most: Option<Size>,
    /// As at the top, for this output.
    pub dead_letters: Option<PathBuf>,
    /// Ingest pipeline of Elasticsearch.
    pub pipeline: Option<String>,
    /// What a syslog message holds.
    pub body: Option<net::settings::Body>,
    /// Shape of webhook requests.
    pub template: Option<net::settings::Template>,
    /// Webhook requests a minute.
    pub per_minute: Option<u32>,
    /// List or channel.
    pub redis_type: Option<net::settings::RedisType>,
    /// How Kafka is shown the password.
    pub sasl: Option<net::settings::Sasl>,
}

impl Output {
    /// Wipes what is secret of it, once it is settled what it means.
    pub fn wipe(&mut self) {
        use zeroize::Zeroize;
        for secret in [&mut self.password, &mut self.api_key, &mut self.token] {
            secret.zeroize();
        }
        self.to.zeroize();
        self.headers.values_mut().for_each(Zeroize::zeroize);
    }
}

/// `[metrics]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Metrics {
    /// As `--metrics`.
    pub listen: Option<SocketAddr>,
}

/// `[process]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProcessSection {
    /// As `--user`.
    pub user: Option<String>,
    /// As `--hostfs`.
    pub hostfs: Option<PathBuf>,
    /// `false` is `--no-sandbox`.
    pub sandbox: Option<bool>,
}
