//! Settings of one network output: the keys of its `[[output]]` table and its URL, read, checked and joined.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::secret::Secret;
use super::url::{Protocol, Target};
use crate::alert::Severity;

/// How much of a server's certificate has to be right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verify {
    /// Signed by an authority, valid, and for this name.
    #[default]
    Full,
    /// Signed by an authority and valid, for whatever name.
    Certificate,
    /// Anything.
    None,
}

/// Compression of what is sent, where the protocol has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// As it is.
    None,
    /// gzip (Logstash: zlib) at level 1: half the client's time of level 6 for a sixth more bytes.
    Gzip,
}

/// What a syslog message holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Body {
    /// The event as it is.
    Json,
    /// Common Event Format.
    Cef,
}

/// What a webhook is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Template {
    /// The alert as it is.
    #[default]
    Generic,
    /// Slack's incoming webhook, also Mattermost and Rocket.Chat.
    Slack,
    /// PagerDuty Events API version 2.
    Pagerduty,
    /// Prometheus Alertmanager API version 2.
    Alertmanager,
    /// Splunk's HTTP event collector.
    Splunk,
}

/// How Redis keeps events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RedisType {
    /// Pushed to the end of a list.
    #[default]
    List,
    /// Published to a channel: who does not listen does not get it.
    Channel,
}

/// How a name and password are shown to Kafka.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Sasl {
    /// As they are; only over TLS.
    #[default]
    #[serde(rename = "plain")]
    Plain,
    /// Salted challenge and response with SHA-256.
    #[serde(rename = "scram-sha-256")]
    ScramSha256,
    /// The same with SHA-512.
    #[serde(rename = "scram-sha-512")]
    ScramSha512,
}

/// Certificates: file names, each PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Authorities to trust instead of the public ones.
    pub ca: Option<PathBuf>,
    /// Own certificate and its chain.
    pub certificate: Option<PathBuf>,
    /// Key of the own certificate; where it is left out it stands in the certificate's file.
    pub key: Option<PathBuf>,
    /// What is checked.
    pub verify: Verify,
}

/// One network output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where to.
    pub target: Target,
    /// User name.
    pub username: Option<String>,
    /// Password.
    pub password: Option<Secret>,
    /// Elasticsearch's API key, PagerDuty's routing key.
    pub api_key: Option<Secret>,
    /// Bearer token.
    pub token: Option<Secret>,
    /// Further HTTP headers.
    pub headers: Vec<(String, Secret)>,
    /// Certificates.
    pub tls: Tls,
    /// Compression, where one was asked for.
    pub compression: Option<Compression>,
    /// Events in a request at most, where it was said.
    pub batch: Option<usize>,
    /// Bound on each wait for the network: a connection, an answer.
    pub timeout: Duration,
    /// Ingest pipeline of Elasticsearch.
    pub pipeline: Option<String>,
    /// `data_stream.namespace`, for streams named after what is in them.
    pub namespace: String,
    /// Body of syslog messages, where it was said.
    pub body: Option<Body>,
    /// Shape of webhook requests.
    pub template: Template,
    /// Webhook requests a minute.
    pub per_minute: u32,
    /// How Redis keeps events.
    pub redis_type: RedisType,
    /// How Kafka is shown the password.
    pub sasl: Sasl,
    /// Alerts below this do not go to a webhook.
    pub min_severity: Severity,
    /// A secret that this machine does not have: the configuration can be checked, but not used.
    pub missing: Option<SettingsError>,
}

/// A setting that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct SettingsError {
    /// The key of the `[[output]]` table.
    pub key: &'static str,
    /// What is wrong. Without secrets.
    pub text: String,
}

impl Settings {
    /// What goes for a URL without further keys.
    pub fn new(target: Target) -> Self {
        Self {
            username: target.user.clone(),
            password: target.password.clone(),
            api_key: None,
            token: None,
            headers: Vec::new(),
            tls: Tls::default(),
            compression: None,
            batch: None,
            timeout: TIMEOUT,
            pipeline: None,
            namespace: "default".to_owned(),
            body: None,
            template: Template::default(),
            per_minute: 60,
            redis_type: RedisType::default(),
            sasl: Sasl::default(),
            min_severity: Severity::High,
            missing: None,
            target,
        }
    }

    /// The settings of a URL alone.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn of_url(url: &str) -> Result<Self, SettingsError> {
        let target = Target::parse(url).map_err(|error| SettingsError { key: "to", text: error.to_string() })?;
        let settings = Self::new(target);
        settings.check().map(|()| settings)
    }

    /// Whether the settings go together.
    ///
    /// # Errors
    /// [`SettingsError`]: the first that does not.
    pub fn check(&self) -> Result<(), SettingsError> {
        let tls = &self.tls;
        let error = |key, text: String| Err(SettingsError { key, text });
        let any_tls = tls.ca.is_some() || tls.certificate.is_some() || tls.key.is_some() || tls.verify != Verify::Full;
        if any_tls && !self.target.tls {
            let scheme = self.target.scheme;
            return error("to", format!("certificates and `verify` are for TLS, which {scheme}:// does not use"));
        }
        if tls.key.is_some() && tls.certificate.is_none() {
            return error("certificate", "is missing beside `key`".into());
        }
        if self.timeout < Duration::from_millis(100) {
            return error("timeout", "is at least 100ms".into());
        }
        if self.batch == Some(0) || self.per_minute == 0 {
            return error(if self.batch == Some(0) { "batch" } else { "per_minute" }, "is at least 1".into());
        }
        self.check_credentials()
    }

    fn check_credentials(&self) -> Result<(), SettingsError> {
        let error = |key, text: &str| Err(SettingsError { key, text: text.to_owned() });
        let ways = [self.password.is_some(), self.api_key.is_some(), self.token.is_some()];
        if self.target.protocol == Protocol::Elasticsearch && ways.iter().filter(|given| **given).count() > 1 {
            return error("api_key", "only one of `password`, `api_key` and `token` can be used");
        }
        if self.password.is_some() && self.username.is_none() && self.target.protocol != Protocol::Redis {
            return error("username", "is missing beside the password");
        }
        let routing = self.template == Template::Pagerduty && self.target.protocol == Protocol::Webhook;
        if routing && self.api_key.is_none() {
            return error("api_key", "PagerDuty's routing key is missing");
        }
        let header_safe = |text: &str| text.bytes().all(|b| (b' '..0x7f).contains(&b));
        let sent = self.headers.iter().map(|(_, value)| value).chain(&self.token).chain(&self.api_key);
        if !sent.map(Secret::expose).all(header_safe) {
            return error("headers", "a header, token or key holds what no HTTP header may");
        }
        let name_safe =
            |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        if !self.headers.iter().all(|(name, _)| name_safe(name)) {
            return error("headers", "a header's name has letters, digits, `-`, `_` and `.`");
        }
        Ok(())
    }
}

/// As long as Packetbeat waits for Logstash; a third of what it gives Elasticsearch.
const TIMEOUT: Duration = Duration::from_secs(30);
