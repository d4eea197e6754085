//! OpenTelemetry logs: OTLP over HTTP in its JSON form (opentelemetry.io/docs/specs/otlp, version 1.x), one log record for
//! each event. The record's body is the event as it is; what is searched for stands in attributes.

use std::io::Write as _;

use flate2::Compression as Level;
use flate2::write::GzEncoder;
use serde::Deserialize;
use serde_json::{Value, json};

use super::connect::Dialer;
use super::fields::Fields;
use super::http::{Answer, Client};
use super::settings::{Compression, Settings};
use super::text::{nanoseconds, plain};
use super::url::HostPort;
use super::{SettingsError, endpoints, tls};
use crate::alert::Severity;
use crate::output::receiver::{Event, Fault, Limits, Needs, Outcome, Receiver, Reply, Trouble};

/// A client of an OTLP receiver.
pub struct Otlp {
    client: Client,
    settings: Settings,
    path: String,
}

impl Otlp {
    /// Reads certificates; connects to nothing yet.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn new(settings: &Settings) -> Result<Self, SettingsError> {
        let tls = settings.target.tls.then(|| tls::configuration(&settings.tls)).transpose()?;
        let dialer = Dialer { tls, timeout: settings.timeout };
        let path = match settings.target.path.expose() {
            "" | "/" => "/v1/logs".to_owned(),
            path => path.to_owned(),
        };
        Ok(Self { client: Client::new(settings, dialer, 1 << 20), path, settings: settings.clone() })
    }

    fn post(&self, batch: &[Event<'_>]) -> Result<(HostPort, Answer), Trouble> {
        let host = self.settings.target.hosts.first().ok_or_else(|| Trouble::refused("no host"))?;
        let mut body = request(batch).to_string().into_bytes();
        let mut headers = vec![("content-type", "application/json")];
        if self.settings.compression != Some(Compression::None) {
            let mut encoder = GzEncoder::new(Vec::new(), Level::new(1));
            // Writing to memory does not fail.
            let _ = encoder.write_all(&body);
            body = encoder.finish().unwrap_or_default();
            headers.push(("content-encoding", "gzip"));
        }
        let answer = self.client.send("POST", host, &self.path, &headers, &body)?;
        Ok((host.clone(), answer))
    }
}

impl Receiver for Otlp {
    fn send(&mut self, batch: &[Event<'_>]) -> Reply {
        match self.post(batch) {
            Ok((host, answer)) => judge(&host, &answer, batch.len()),
            Err(trouble) => trouble.into(),
        }
    }

    fn limits(&self) -> Limits {
        Limits { events: self.settings.batch.unwrap_or(1000), bytes: 2 << 20 }
    }

    fn needs(&self) -> Needs {
        Needs { endpoints: endpoints(&self.settings.target, false), follows: false }
    }

    /// A request without records is one that receivers accept.
    fn check(&mut self, steps: &mut Vec<String>) -> Result<(), Trouble> {
        let (host, answer) = self.post(&[])?;
        match judge(&host, &answer, 0).trouble {
            None => steps.push(format!("{host} takes logs")),
            Some(trouble) => return Err(trouble),
        }
        Ok(())
    }
}

fn judge(host: &HostPort, answer: &Answer, count: usize) -> Reply {
    let text = format!("{host}: {} {}", answer.status, answer.text()).trim_end().to_owned();
    let fault = match answer.status {
        200..=299 => return partial(answer, count),
        400 | 413 | 422 => Fault::TooLarge,
        429 => Fault::Busy,
        408 | 500.. => Fault::Away,
        _ => Fault::Refused,
    };
    Trouble { fault, text, after: answer.after }.into()
}

/// A receiver that rejects some records says how many and not which, and must not be sent them again: all of them become
/// dead letters, so that none is lost.
fn partial(answer: &Answer, count: usize) -> Reply {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Body {
        #[serde(rename = "partialSuccess")]
        partial: Partial,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Partial {
        #[serde(rename = "rejectedLogRecords")]
        rejected: Value,
        #[serde(rename = "errorMessage")]
        message: String,
    }
    let partial = serde_json::from_slice::<Body>(&answer.body).unwrap_or_default().partial;
    // The JSON form writes 64-bit numbers as text.
    let rejected = partial.rejected.as_u64().or_else(|| partial.rejected.as_str()?.parse().ok()).unwrap_or(0);
    if rejected == 0 {
        return Reply::taken(count);
    }
    let reason =
        format!("{rejected} of {count} records rejected, without saying which: {}", plain(&partial.message, 200));
    Reply { outcomes: vec![Outcome::Rejected(reason); count], trouble: None }
}

fn request(batch: &[Event<'_>]) -> Value {
    let records: Vec<_> = batch.iter().map(record).collect();
    json!({"resourceLogs": [{
        "resource": {"attributes": [attribute("service.name", "imdswatch")]},
        "scopeLogs": [{
            "scope": {"name": "imdswatch", "version": env!("CARGO_PKG_VERSION")},
            "logRecords": records,
        }],
    }]})
}

fn record(event: &Event<'_>) -> Value {
    let fields = Fields::of(event.json);
    let (number, text) = match event.severity {
        None => (9, "INFO"),
        Some(Severity::Low) => (10, "INFO2"),
        Some(Severity::Medium) => (13, "WARN"),
        Some(Severity::High) => (17, "ERROR"),
        Some(Severity::Critical) => (21, "FATAL"),
    };
    let time = fields.text("@timestamp").and_then(nanoseconds).unwrap_or(0).max(0).to_string();
    let attributes = ATTRIBUTES.iter().filter_map(|name| Some(attribute(name, &fields.shown(name)?)));
    json!({
        "timeUnixNano": time,
        "observedTimeUnixNano": time,
        "severityNumber": number,
        "severityText": text,
        "body": {"stringValue": String::from_utf8_lossy(event.json)},
        "attributes": attributes.collect::<Vec<_>>(),
    })
}

fn attribute(name: &str, value: &str) -> Value {
    json!({"key": name, "value": {"stringValue": value}})
}

/// What is searched for.
const ATTRIBUTES: &[&str] = &[
    "event.id",
    "event.kind",
    "event.dataset",
    "rule.id",
    "source.ip",
    "destination.ip",
    "network.community_id",
    "imds.provider",
    "imds.path_id",
    "imds.credential.id",
    "agent.name",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(status: u16, body: &str) -> Reply {
        let host = HostPort { host: "h".into(), port: 1 };
        judge(&host, &Answer { status, after: None, body: body.into() }, 2)
    }

    #[test]
    fn a_record_has_the_events_time_and_body() {
        let json =
            br#"{"@timestamp":"1970-01-01T00:00:01.000000002Z","event":{"id":"e","kind":"alert","severity":73}}"#;
        let record = record(&Event::read(json));
        assert_eq!(record["timeUnixNano"], "1000000002");
        assert_eq!((&record["severityNumber"], &record["severityText"]), (&json!(17), &json!("ERROR")));
        assert_eq!(record["body"]["stringValue"].as_str().unwrap().as_bytes(), json);
        assert_eq!(record["attributes"][0], attribute("event.id", "e"));
    }

    #[test]
    fn rejected_records_are_never_taken_for_sent() {
        assert_eq!(judged(200, "{}"), Reply::taken(2));
        assert_eq!(
            judged(200, r#"{"partialSuccess":{"rejectedLogRecords":"0","errorMessage":"slow"}}"#),
            Reply::taken(2)
        );
        let reply = judged(200, r#"{"partialSuccess":{"rejectedLogRecords":"1","errorMessage":"no"}}"#);
        assert!(reply.outcomes.iter().all(|outcome| matches!(outcome, Outcome::Rejected(_))), "{reply:?}");
        assert_eq!(judged(404, "").trouble.unwrap().fault, Fault::Refused);
        assert_eq!(judged(413, "").trouble.unwrap().fault, Fault::TooLarge);
    }
}
