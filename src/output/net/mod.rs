//! Outputs over the network, one file per protocol. Each is a [`Receiver`]: a batch of events in, what became of each out.
//!
//! In: the [`Settings`] of one output. All share one way of connecting ([`connect`]) and one TLS ([`tls`]); those over HTTP
//! share one client ([`http`]). Whatever a receiver answers is bounded in bytes and in time.

use super::receiver::{Endpoint, Receiver};

mod bodies;
mod cef;
pub mod connect;
pub mod elasticsearch;
mod fields;
mod hosts;
pub mod http;
mod kafka;
mod logstash;
mod otlp;
mod redis;
pub mod secret;
pub mod settings;
pub mod setup;
mod syslog;
mod text;
pub mod tls;
pub mod url;
mod webhook;

pub use settings::{Settings, SettingsError};
pub use url::{HostPort, Protocol, Target};

/// Opens one connection's worth of an output: reads certificates, connects to nothing yet. Outputs that send several
/// requests at once open several.
///
/// # Errors
/// [`SettingsError`]: a file or secret that cannot be used.
pub fn open(settings: &Settings) -> Result<Box<dyn Receiver>, SettingsError> {
    if let Some(missing) = &settings.missing {
        return Err(missing.clone());
    }
    Ok(match settings.target.protocol {
        Protocol::Elasticsearch => Box::new(elasticsearch::Elasticsearch::new(settings)?),
        Protocol::Kafka => Box::new(kafka::Kafka::new(settings)?),
        Protocol::Logstash => Box::new(logstash::Logstash::new(settings)?),
        Protocol::SyslogUdp | Protocol::SyslogTcp => Box::new(syslog::Syslog::new(settings)?),
        Protocol::Redis => Box::new(redis::Redis::new(settings)?),
        Protocol::Webhook => Box::new(webhook::Webhook::new(settings)?),
        Protocol::Otlp => Box::new(otlp::Otlp::new(settings)?),
    })
}

/// The ends of an output's connections.
fn endpoints(target: &Target, udp: bool) -> Vec<Endpoint> {
    target.hosts.iter().map(|host| Endpoint { host: host.host.clone(), port: host.port, udp }).collect()
}
