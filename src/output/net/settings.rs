//! Settings of one network output: the keys of its `[[output]]` table and its URL, read, checked and joined.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::secret::{Secret, from_environment};
use super::url::{Protocol, Target};
use crate::alert::Severity;
use crate::config::file;

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
    /// Joins and checks the keys of one output whose `to` is a URL.
    ///
    /// # Errors
    /// [`SettingsError`]: the key, and what is wrong with its value.
    pub fn of(output: &file::Output, namespace: &str) -> Result<Self, SettingsError> {
        let wrong = |key: &'static str| move |text: String| SettingsError { key, text };
        let word = from_environment(&output.to).map_err(wrong("to"))?;
        let target = Target::parse(&word).map_err(|error| SettingsError { key: "to", text: error.to_string() })?;
        let username = output.username.as_deref().map(from_environment).transpose().map_err(wrong("username"))?;
        let password = secret("password", output.password.as_deref(), output.password_file.as_deref())?;
        let headers = output.headers.iter().map(|(name, value)| {
            let value = from_environment(value).map_err(wrong("headers"))?;
            Ok((name.clone(), Secret::new(value.to_string())))
        });
        let settings = Self {
            username: username.map(|name| name.to_string()).or_else(|| target.user.clone()),
            password: password.or_else(|| target.password.clone()),
            api_key: secret("api_key", output.api_key.as_deref(), output.api_key_file.as_deref())?,
            token: secret("token", output.token.as_deref(), output.token_file.as_deref())?,
            headers: headers.collect::<Result<_, _>>()?,
            tls: Tls {
                ca: output.ca.clone(),
                certificate: output.certificate.clone(),
                key: output.key.clone(),
                verify: output.verify.unwrap_or_default(),
            },
            compression: output.compression,
            batch: output.batch,
            timeout: output.timeout.map_or(TIMEOUT, |span| Duration::from_nanos(span.0.max(0).unsigned_abs())),
            pipeline: output.pipeline.clone(),
            namespace: namespace.to_owned(),
            body: output.body,
            template: output.template.unwrap_or_default(),
            per_minute: output.per_minute.unwrap_or(60),
            redis_type: output.redis_type.unwrap_or_default(),
            sasl: output.sasl.unwrap_or_default(),
            min_severity: output.min_severity.unwrap_or(Severity::High),
            target,
        };
        settings.check(output)?;
        Ok(settings)
    }

    /// The settings of a URL alone, as `-o URL` gives it.
    ///
    /// # Errors
    /// As [`Settings::of`].
    pub fn of_url(url: &str) -> Result<Self, SettingsError> {
        Self::of(&file::Output { to: url.to_owned(), ..file::Output::default() }, "default")
    }

    /// Keys that this protocol has no use for are errors: whoever set one expects it to do something.
    fn check(&self, output: &file::Output) -> Result<(), SettingsError> {
        use Protocol::{Elasticsearch, Kafka, Logstash, Otlp, Redis, SyslogTcp, SyslogUdp, Webhook};
        let of = |key, given: bool, protocols: &'static [Protocol]| (key, given, protocols);
        const HTTP: &[Protocol] = &[Elasticsearch, Webhook, Otlp];
        let uses = [
            of("api_key", self.api_key.is_some(), &[Elasticsearch, Webhook]),
            of("token", self.token.is_some(), HTTP),
            of("headers", !self.headers.is_empty(), HTTP),
            of("username", self.username.is_some(), &[Elasticsearch, Webhook, Otlp, Kafka, Redis]),
            of("password", self.password.is_some(), &[Elasticsearch, Webhook, Otlp, Kafka, Redis]),
            of("compression", self.compression.is_some(), &[Elasticsearch, Otlp, Kafka, Logstash]),
            of("pipeline", self.pipeline.is_some(), &[Elasticsearch]),
            of("body", self.body.is_some(), &[SyslogUdp, SyslogTcp]),
            of("template", output.template.is_some(), &[Webhook]),
            of("per_minute", output.per_minute.is_some(), &[Webhook]),
            of("redis_type", output.redis_type.is_some(), &[Redis]),
            of("sasl", output.sasl.is_some(), &[Kafka]),
        ];
        let scheme = self.target.scheme;
        let error = |key, text: String| Err(SettingsError { key, text });
        if let Some((key, ..)) = uses.iter().find(|(_, given, by)| *given && !by.contains(&self.target.protocol)) {
            return error(key, format!("has no use with {scheme}://"));
        }
        let tls = &self.tls;
        let any_tls = tls.ca.is_some() || tls.certificate.is_some() || tls.key.is_some() || output.verify.is_some();
        if any_tls && !self.target.tls {
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

fn secret(
    key: &'static str,
    given: Option<&str>,
    file: Option<&std::path::Path>,
) -> Result<Option<Secret>, SettingsError> {
    let found = match (given, file) {
        (Some(_), Some(_)) => Err(format!("`{key}` and `{key}_file` exclude each other")),
        (Some(text), None) => from_environment(text).map(|text| Some(Secret::new(text.to_string()))),
        (None, Some(path)) => Secret::read(path).map(Some),
        (None, None) => Ok(None),
    };
    found.map_err(|text| SettingsError { key, text })
}

/// As long as Packetbeat waits for Logstash; a third of what it gives Elasticsearch.
const TIMEOUT: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    fn of(toml: &str) -> Result<Settings, SettingsError> {
        Settings::of(&toml::from_str(toml).unwrap(), "default")
    }

    #[test]
    fn what_is_given_is_joined() {
        let settings = of("to = \"elasticsearch+https://u:in-url@a/x\"\nusername = \"v\"\ntimeout = \"5s\"").unwrap();
        assert_eq!(settings.username.as_deref(), Some("v"));
        assert_eq!(settings.password.unwrap().expose(), "in-url");
        assert_eq!(settings.timeout, Duration::from_secs(5));
    }

    #[test]
    fn keys_without_use_or_sense_are_errors() {
        for (toml, expected) in [
            ("to = \"kafka://a/t\"\npipeline = \"p\"", "pipeline: has no use with kafka://"),
            ("to = \"kafka://a/t\"\nca = \"f\"", "to: certificates and `verify` are for TLS"),
            ("to = \"kafka+tls://a/t\"\nkey = \"f\"", "certificate: is missing beside `key`"),
            ("to = \"elasticsearch+http://a\"\npassword = \"x\"", "username: is missing beside"),
            ("to = \"elasticsearch+http://a\"\napi_key = \"x\"\ntoken = \"y\"", "api_key: only one of"),
            ("to = \"elasticsearch+http://a\"\napi_key = \"x\\ny\"", "headers: a header, token or key"),
            ("to = \"elasticsearch+http://a\"\napi_key = \"x\"\napi_key_file = \"y\"", "exclude each other"),
            ("to = \"webhook+http://a\"\ntemplate = \"pagerduty\"", "api_key: PagerDuty's"),
            ("to = \"webhook+http://a\"\nper_minute = 0", "per_minute: is at least 1"),
            ("to = \"webhook+http://a\"\n[headers]\n\"a b\" = \"c\"", "headers: a header's name"),
            ("to = \"redis://a\"\npassword = \"${IMDSWATCH_NO_SUCH}\"", "password: the environment has no variable"),
            ("to = \"redis://a\"\npassword_file = \"/no/such\"", "password: cannot take a secret from /no/such"),
            ("to = \"redis://a\"\ntimeout = \"0s\"", "timeout: is at least"),
        ] {
            let error = of(toml).expect_err(toml);
            assert!(format!("{}: {error}", error.key).contains(expected), "{toml}: {}: {error}", error.key);
        }
    }

    #[test]
    fn no_secret_is_shown() {
        let settings = of("to = \"webhook+https://a/p4th\"\ntoken = \"t0ken\"\n[headers]\nX = \"h3ader\"").unwrap();
        let shown = format!("{settings:?}");
        for secret in ["p4th", "t0ken", "h3ader"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
}
