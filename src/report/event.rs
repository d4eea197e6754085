//! An event as it was written, read back: the few fields that a report needs, all of them optional. Unknown fields are
//! passed over, so that events of older and newer versions can be read.

use std::net::IpAddr;

use serde::{Deserialize, Deserializer};

/// One line of NDJSON.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Event {
    #[serde(rename = "@timestamp")]
    pub(super) timestamp: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) message: String,
    pub(super) event: Meta,
    pub(super) source: End,
    pub(super) destination: End,
    pub(super) url: Url,
    pub(super) rule: Rule,
    pub(super) user_agent: UserAgent,
    pub(super) process: Process,
    pub(super) imds: Option<Imds>,
    pub(super) imdswatch: Option<Own>,
}

/// `event.*`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Meta {
    pub(super) id: String,
    pub(super) kind: String,
    pub(super) severity: u64,
    pub(super) risk_score: f64,
    pub(super) start: String,
}

/// One end of a conversation.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct End {
    pub(super) ip: Option<IpAddr>,
    pub(super) port: Option<u16>,
}

impl End {
    /// `ip:port` as `imds.chain` writes it; empty where the address is not known.
    pub(super) fn text(&self) -> String {
        match (self.ip, self.port) {
            (Some(ip), Some(port)) => std::net::SocketAddr::new(ip, port).to_string(),
            (Some(ip), None) => ip.to_string(),
            _ => String::new(),
        }
    }

    /// The address alone.
    pub(super) fn host(&self) -> String {
        self.ip.map(|ip| ip.to_string()).unwrap_or_default()
    }
}

/// `url.*`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Url {
    pub(super) full: String,
    pub(super) original: String,
}

/// `rule.*`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Rule {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) version: String,
}

/// `user_agent.*`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct UserAgent {
    pub(super) original: String,
}

/// `process.*`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Process {
    pub(super) name: String,
    pub(super) command_line: String,
}

/// `imds.*`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Imds {
    pub(super) provider: String,
    pub(super) service: String,
    pub(super) path: String,
    pub(super) sensitivity: String,
    pub(super) credential: Credential,
    pub(super) client: Client,
    #[serde(deserialize_with = "one_or_many")]
    pub(super) signals: Vec<String>,
    pub(super) allowed_by: String,
    #[serde(deserialize_with = "null_is_none")]
    pub(super) chain: Vec<Link>,
    pub(super) repeats: u64,
}

/// `imds.credential.*`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Credential {
    pub(super) issued: bool,
    pub(super) kind: String,
    pub(super) id: String,
    #[serde(deserialize_with = "one_or_many")]
    pub(super) ids: Vec<String>,
    pub(super) scope: String,
    pub(super) expires: String,
    pub(super) fingerprint: String,
}

/// `imds.client.*`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Client {
    pub(super) name: String,
    pub(super) shape: String,
}

/// One entry of `imds.chain`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Link {
    pub(super) id: String,
    pub(super) time: String,
    pub(super) what: String,
    pub(super) source: String,
    pub(super) destination: String,
    pub(super) url: String,
}

/// `imdswatch.*`: the program's own counters.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Own {
    pub(super) stats: serde_json::Map<String, serde_json::Value>,
}

/// Elasticsearch does not tell one value from a list of one, and neither do events that passed through it.
fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        Many(Vec<String>),
        One(String),
    }
    Ok(match Option::deserialize(deserializer)? {
        Some(OneOrMany::Many(many)) => many,
        Some(OneOrMany::One(one)) => vec![one],
        None => Vec::new(),
    })
}

fn null_is_none<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
