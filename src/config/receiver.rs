//! From an `[[output]]` table whose `to` is a URL to the settings of a network output: environment and files are read,
//! and keys that its protocol has no use for are errors, since whoever sets one expects it to do something.

use std::path::Path;
use std::time::Duration;

use super::file;
use crate::output::net::secret::{Secret, from_environment};
use crate::output::net::settings::{Settings, SettingsError, Tls};
use crate::output::net::url::{Protocol, Target};

/// Joins and checks the keys of one output.
///
/// # Errors
/// [`SettingsError`]: the key, and what is wrong with its value.
pub fn settings(output: &file::Output, namespace: &str) -> Result<Settings, SettingsError> {
    let wrong = |key: &'static str| move |text: String| SettingsError { key, text };
    let word = from_environment(&output.to).map_err(wrong("to"))?;
    let target = Target::parse(&word).map_err(|error| SettingsError { key: "to", text: error.to_string() })?;
    let username = output.username.as_deref().map(from_environment).transpose().map_err(wrong("username"))?;
    let mut secrets = Secrets::default();
    let headers = output.headers.iter().map(|(name, value)| {
        let value = secrets.read("headers", Some(value), None)?;
        Ok((name.clone(), value.unwrap_or_default()))
    });
    let headers = headers.collect::<Result<_, _>>()?;
    let default = Settings::new(target);
    let settings = Settings {
        username: username.map(|name| name.to_string()).or(default.username),
        password: secrets
            .read("password", output.password.as_deref(), output.password_file.as_deref())?
            .or(default.password),
        api_key: secrets.read("api_key", output.api_key.as_deref(), output.api_key_file.as_deref())?,
        token: secrets.read("token", output.token.as_deref(), output.token_file.as_deref())?,
        headers,
        tls: Tls {
            ca: output.ca.clone(),
            certificate: output.certificate.clone(),
            key: output.key.clone(),
            verify: output.verify.unwrap_or_default(),
        },
        compression: output.compression,
        batch: output.batch,
        timeout: output.timeout.map_or(default.timeout, |span| Duration::from_nanos(span.0.max(0).unsigned_abs())),
        pipeline: output.pipeline.clone(),
        namespace: namespace.to_owned(),
        body: output.body,
        template: output.template.unwrap_or_default(),
        per_minute: output.per_minute.unwrap_or(default.per_minute),
        redis_type: output.redis_type.unwrap_or_default(),
        sasl: output.sasl.unwrap_or_default(),
        min_severity: output.min_severity.unwrap_or(default.min_severity),
        missing: secrets.missing,
        target: default.target,
    };
    check_use(&settings, output)?;
    settings.check()?;
    Ok(settings)
}

fn check_use(settings: &Settings, output: &file::Output) -> Result<(), SettingsError> {
    use Protocol::{Elasticsearch, Kafka, Logstash, Otlp, Redis, SyslogTcp, SyslogUdp, Webhook};
    let target = &settings.target;
    let uses: [(_, _, &[Protocol]); 12] = [
        ("api_key", settings.api_key.is_some(), &[Elasticsearch, Webhook]),
        ("token", settings.token.is_some(), &[Elasticsearch, Webhook, Otlp]),
        ("headers", !settings.headers.is_empty(), &[Elasticsearch, Webhook, Otlp]),
        ("username", settings.username.is_some(), &[Elasticsearch, Webhook, Otlp, Kafka, Redis]),
        ("password", settings.password.is_some(), &[Elasticsearch, Webhook, Otlp, Kafka, Redis]),
        ("compression", settings.compression.is_some(), &[Elasticsearch, Otlp, Kafka, Logstash]),
        ("pipeline", settings.pipeline.is_some(), &[Elasticsearch]),
        ("body", settings.body.is_some(), &[SyslogUdp, SyslogTcp]),
        ("template", output.template.is_some(), &[Webhook]),
        ("per_minute", output.per_minute.is_some(), &[Webhook]),
        ("redis_type", output.redis_type.is_some(), &[Redis]),
        ("sasl", output.sasl.is_some(), &[Kafka]),
    ];
    match uses.iter().find(|(_, given, by)| *given && !by.contains(&target.protocol)) {
        Some((key, ..)) => Err(SettingsError { key, text: format!("has no use with {}://", target.scheme) }),
        None => Ok(()),
    }
}

/// Reads secrets, and notes the first that this machine does not have: a configuration can be checked elsewhere than
/// where it is used.
#[derive(Default)]
struct Secrets {
    missing: Option<SettingsError>,
}

impl Secrets {
    fn read(
        &mut self,
        key: &'static str,
        given: Option<&str>,
        file: Option<&Path>,
    ) -> Result<Option<Secret>, SettingsError> {
        let found = match (given, file) {
            (Some(_), Some(_)) => {
                let text = format!("`{key}` and `{key}_file` exclude each other");
                return Err(SettingsError { key, text });
            }
            (None, None) => return Ok(None),
            (Some(text), None) => from_environment(text).map(|text| Secret::new(text.to_string())),
            (None, Some(path)) => Secret::read(path),
        };
        Ok(Some(found.unwrap_or_else(|text| {
            self.missing.get_or_insert(SettingsError { key, text });
            Secret::default()
        })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(toml: &str) -> Result<Settings, SettingsError> {
        settings(&toml::from_str(toml).unwrap(), "default")
    }

    #[test]
    fn what_is_given_is_joined() {
        let joined = of("to = \"elasticsearch+https://u:in-url@a/x\"\nusername = \"v\"\ntimeout = \"5s\"").unwrap();
        assert_eq!(joined.username.as_deref(), Some("v"));
        assert_eq!(joined.password.unwrap().expose(), "in-url");
        assert_eq!(joined.timeout, Duration::from_secs(5));
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
            ("to = \"redis://a\"\ntimeout = \"0s\"", "timeout: is at least"),
        ] {
            let error = of(toml).expect_err(toml);
            assert!(format!("{}: {error}", error.key).contains(expected), "{toml}: {}: {error}", error.key);
        }
    }

    #[test]
    fn secrets_that_are_not_here_are_missed_only_when_the_output_is_opened() {
        for (toml, expected) in [
            ("to = \"redis://a\"\npassword = \"${IMDSWATCH_NO_SUCH}\"", "the environment has no variable"),
            ("to = \"redis://a\"\npassword_file = \"/no/such\"", "cannot take a secret from /no/such"),
        ] {
            let joined = of(toml).unwrap();
            let error = crate::output::net::open(&joined).err().expect(toml);
            assert!(error.key == "password" && error.text.contains(expected), "{error:?}");
        }
    }

    #[test]
    fn no_secret_is_shown() {
        let joined = of("to = \"webhook+https://a/p4th\"\ntoken = \"t0ken\"\n[headers]\nX = \"h3ader\"").unwrap();
        let shown = format!("{joined:?}");
        for secret in ["p4th", "t0ken", "h3ader"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
}
