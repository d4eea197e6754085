//! What the catalogue knows, as a table of exchanges: `catalogue.toml` beside this file.
//!
//! Of each case: a `lookup` with its `addresses` (or the `alias` that it is of), then an exchange with `server` (or, without `request`, a connection
//! that carries something else) and those that come `then`, all from `client`. Then what the event says (`provider`, `service`, `path_id`,
//! `sensitivity`, `version`, `scope`, `id`, `expires`, `issued`, `signals` that stand in it and signals that it is
//! `without`), which `alerts` are raised, which are `not`, and
//! how severe they are `at_most`. A `secret` is a part of the answer that has to be masked and
//! found leaving (and means `issued`); `hidden` text must not be written.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests fail by panicking"
)]

mod common;

use std::net::IpAddr;

use common::config_with;
use common::wire::{Wire, alerts, events, message};
use imdswatch::config::Config;
use serde::Deserialize;
use serde_json::Value;

const LOUD: &str = r#"
[http]
send_all_headers = true
send_request = true
include_body_for = ["json", "text"]
"#;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    case: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    lookup: Option<String>,
    #[serde(default)]
    addresses: Vec<IpAddr>,
    alias: Option<String>,
    client: Option<String>,
    server: Option<String>,
    request: Option<String>,
    #[serde(default)]
    answer: String,
    #[serde(default)]
    then: Vec<Exchange>,
    provider: Option<String>,
    service: Option<String>,
    path_id: Option<String>,
    sensitivity: Option<String>,
    version: Option<String>,
    scope: Option<String>,
    id: Option<String>,
    expires: Option<String>,
    issued: Option<bool>,
    #[serde(default)]
    signals: Vec<String>,
    #[serde(default)]
    without: Vec<String>,
    secret: Option<String>,
    hidden: Option<String>,
    alerts: Option<Vec<String>>,
    #[serde(default)]
    not: Vec<String>,
    at_most: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Exchange {
    request: String,
    answer: String,
}

impl Case {
    fn output(&self, config: &Config) -> String {
        let client = self.client.as_deref().unwrap_or("10.20.0.10");
        let mut wire = Wire::default();
        if let Some(name) = &self.lookup {
            match &self.alias {
                Some(alias) => wire.alias(client, name, alias),
                None => wire.lookup(client, name, &self.addresses),
            }
        }
        let server = self.server.as_deref().unwrap_or("169.254.169.254:80");
        match &self.request {
            Some(request) => wire.exchange(client, server, &message(request), &message(&self.answer)),
            None if self.server.is_some() => wire.connect(client, server),
            None => {}
        }
        for Exchange { request, answer } in &self.then {
            wire.exchange(client, server, &message(request), &message(answer));
        }
        if let Some(secret) = &self.secret {
            let drop = format!("GET /collect?k={secret} HTTP/1.1\nHost: drop.example");
            wire.exchange("10.20.0.99", "203.0.113.9:80", &message(&drop), &message("HTTP/1.1 204 No Content"));
        }
        wire.replay(config)
    }

    /// What is wrong with what was written.
    fn faults(&self, output: &str) -> Vec<String> {
        let events = events(output);
        let mut faults = self.text_faults(output);
        faults.extend(self.alert_faults(&alerts(&events)));
        let says_nothing = self.sensitivity.is_none();
        let event =
            events.iter().find(|e| e["event"]["kind"] == "event" && e["type"] == "http" && e["imds"].is_object());
        match event {
            Some(event) => faults.extend(self.event_faults(&event["imds"])),
            None if says_nothing => {}
            None => faults.push("no event tells of a metadata service".to_owned()),
        }
        faults
    }

    fn text_faults(&self, output: &str) -> Vec<String> {
        let texts = self.secret.iter().chain(&self.hidden);
        texts.filter(|text| output.contains(text.as_str())).map(|text| format!("`{text}` is written")).collect()
    }

    fn alert_faults(&self, raised: &[String]) -> Vec<String> {
        let rules: Vec<&str> = raised.iter().map(|alert| alert.split(' ').next().unwrap()).collect();
        let mut faults = Vec::new();
        if self.alerts.as_ref().is_some_and(|wanted| *wanted != rules) {
            faults.push(format!("alerts {raised:?}"));
        }
        if self.secret.is_some()
            && !(rules.contains(&"imds-credential-issued") && rules.contains(&"credential-relayed"))
        {
            faults.push(format!("alerts {raised:?} instead of issued and relayed"));
        }
        faults.extend(
            self.not.iter().filter(|rule| rules.contains(&rule.as_str())).map(|rule| format!("{rule} is raised")),
        );
        let level = |name: &str| ["low", "medium", "high", "critical"].iter().position(|level| *level == name).unwrap();
        let above = |most: &String| raised.iter().any(|alert| level(alert.split(' ').nth(1).unwrap()) > level(most));
        if self.at_most.as_ref().is_some_and(above) {
            faults.push(format!("alerts {raised:?}"));
        }
        faults
    }

    fn event_faults(&self, imds: &Value) -> Vec<String> {
        let credential = &imds["credential"];
        let texts = [
            (&self.provider, &imds["provider"]),
            (&self.service, &imds["service"]),
            (&self.path_id, &imds["path_id"]),
            (&self.sensitivity, &imds["sensitivity"]),
            (&self.version, &imds["version"]),
            (&self.scope, &credential["scope"]),
            (&self.id, &credential["id"]),
            (&self.expires, &credential["expires"]),
        ];
        let differ = texts.into_iter().filter_map(|(wanted, found)| {
            let wanted = wanted.as_deref()?;
            (found != wanted).then(|| format!("{found} instead of {wanted}"))
        });
        let mut faults: Vec<String> = differ.collect();
        let issued = self.issued.or(self.secret.is_some().then_some(true));
        if issued.is_some_and(|issued| credential["issued"] != issued) {
            faults.push(format!("issued is {}", credential["issued"]));
        }
        let has = |signal: &&String| {
            imds["signals"].as_array().is_some_and(|all| all.contains(&Value::from(signal.as_str())))
        };
        faults.extend(self.signals.iter().filter(|signal| !has(signal)).map(|signal| format!("without {signal}")));
        faults.extend(self.without.iter().filter(has).map(|signal| format!("with {signal}")));
        faults
    }
}

#[test]
fn each_exchange_is_what_the_table_says() {
    let table: Table = toml::from_str(include_str!("catalogue.toml")).unwrap();
    let configs = [config_with(&["-e", "all"], ""), config_with(&["-e", "all"], LOUD)];
    let mut wrong = Vec::new();
    for case in &table.case {
        for config in &configs {
            wrong.extend(case.faults(&case.output(config)).into_iter().map(|fault| format!("{}: {fault}", case.name)));
        }
    }
    wrong.dedup();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
