//! Bodies of webhook requests: what each service expects of an alert. Whatever came over the wire goes in as plain text,
//! never as markup.

use serde_json::{Value, json};

use super::fields::Fields;
use super::secret::Secret;
use super::settings::Template;
use super::text::{cut, nanoseconds, plain};
use crate::output::receiver::Event;

/// The body of one alert.
pub fn render(template: Template, event: &Event<'_>, routing_key: Option<&Secret>) -> Vec<u8> {
    let fields = Fields::of(event.json);
    let body = match template {
        Template::Generic => return event.json.to_vec(),
        Template::Slack => slack(&fields),
        Template::Pagerduty => pagerduty(&fields, event.id, routing_key.map_or("", Secret::expose)),
        Template::Alertmanager => alertmanager(&fields),
        Template::Splunk => splunk(&fields),
    };
    body.to_string().into_bytes()
}

fn severity(event: &Fields) -> &'static str {
    match event.get("event.severity").and_then(Value::as_u64) {
        Some(74..) => "critical",
        Some(48..) => "high",
        Some(22..) => "medium",
        _ => "low",
    }
}

fn summary(event: &Fields, most: usize) -> String {
    plain(event.text("message").or_else(|| event.text("rule.name")).unwrap_or("alert"), most)
}

/// Facts for people, those that there are.
fn facts(event: &Fields) -> Vec<(&'static str, String)> {
    let named = [
        ("Rule", "rule.id"),
        ("Provider", "imds.provider"),
        ("Credential", "imds.credential.id"),
        ("Scope", "imds.credential.scope"),
        ("Process", "process.name"),
        ("Sensor", "agent.name"),
    ];
    let ends = event.ends().map(|ends| ("Connection", ends));
    let found = named.iter().filter_map(|(label, name)| Some((*label, plain(&event.shown(name)?, 200))));
    ends.into_iter().chain(found).collect()
}

/// Incoming webhook, api.slack.com/messaging/webhooks: text in `plain_text` blocks is shown as it is; the notification's
/// own text is escaped.
fn slack(event: &Fields) -> Value {
    let title = format!("{} {}", severity(event).to_uppercase(), event.text("rule.name").unwrap_or("imdswatch"));
    let summary = summary(event, 2900);
    let text =
        format!("{title}: {}", cut(&summary, 500)).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let shown = |text: String| json!({"type": "plain_text", "text": text, "emoji": false});
    let facts = facts(event).into_iter().map(|(label, value)| shown(format!("{label}\n{value}")));
    json!({"text": text, "blocks": [
        {"type": "header", "text": shown(plain(&title, 150))},
        {"type": "section", "text": shown(summary)},
        {"type": "section", "fields": facts.collect::<Vec<_>>()},
    ]})
}

/// Events API version 2, developer.pagerduty.com: `dedup_key` keeps one incident for what is sent twice.
fn pagerduty(event: &Fields, id: &str, routing_key: &str) -> Value {
    let level = match severity(event) {
        "critical" => "critical",
        "high" => "error",
        "medium" => "warning",
        _ => "info",
    };
    json!({
        "routing_key": routing_key,
        "event_action": "trigger",
        "dedup_key": cut(id, 255),
        "payload": {
            "summary": summary(event, 1024),
            "source": event.shown("source.ip").or_else(|| event.shown("agent.name")).unwrap_or_else(|| "imdswatch".into()),
            "severity": level,
            "timestamp": event.text("@timestamp"),
            "component": event.shown("imds.provider"),
            "class": event.shown("rule.id"),
            "custom_details": event.whole(),
        },
    })
}

/// Prometheus Alertmanager API version 2: labels make an alert one with its repeats, so they hold what it is about and
/// not when.
fn alertmanager(event: &Fields) -> Value {
    let named = [
        ("source_ip", "source.ip"),
        ("destination_ip", "destination.ip"),
        ("provider", "imds.provider"),
        ("credential", "imds.credential.id"),
        ("sensor", "agent.name"),
    ];
    let mut labels: serde_json::Map<_, _> =
        named.iter().filter_map(|(label, name)| Some(((*label).to_owned(), event.shown(name)?.into()))).collect();
    labels.insert("alertname".into(), event.text("rule.id").unwrap_or("imdswatch").into());
    labels.insert("severity".into(), severity(event).into());
    json!([{
        "labels": labels,
        "annotations": {
            "summary": summary(event, 1000),
            "description": event.text("rule.description").unwrap_or_default(),
            "event_id": event.text("event.id").unwrap_or_default(),
        },
        "startsAt": event.text("@timestamp"),
    }])
}

/// HTTP event collector: the event with its own time.
fn splunk(event: &Fields) -> Value {
    let time = event.text("@timestamp").and_then(nanoseconds).map(|time| time as f64 / 1e9);
    json!({
        "time": time,
        "host": event.text("agent.name"),
        "source": "imdswatch",
        "sourcetype": "_json",
        "event": event.whole(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALERT: &[u8] = br#"{"@timestamp":"2026-11-24T03:29:04.5Z","message":"10.0.0.1 asked <!channel> & *more*","event":{"id":"e1","kind":"alert","severity":99},
        "rule":{"id":"imds-x","name":"Credential issued"},"source":{"ip":"10.0.0.1","port":5},"destination":{"ip":"169.254.169.254"}}"#;

    fn body(template: Template) -> Value {
        let key = Secret::new("r0ute".into());
        serde_json::from_slice(&render(template, &Event::read(ALERT), Some(&key))).unwrap()
    }

    #[test]
    fn slack_shows_what_came_over_the_wire_as_plain_text() {
        let body = body(Template::Slack);
        assert_eq!(body["text"], "CRITICAL Credential issued: 10.0.0.1 asked &lt;!channel&gt; &amp; *more*");
        assert!(!body["blocks"].to_string().contains("mrkdwn"));
        assert_eq!(body["blocks"][2]["fields"][0]["text"], "Connection\n10.0.0.1:5 -> 169.254.169.254");
    }

    #[test]
    fn pagers_and_alert_managers_get_what_they_require() {
        let pager = body(Template::Pagerduty);
        assert_eq!((&pager["routing_key"], &pager["dedup_key"]), (&json!("r0ute"), &json!("e1")));
        assert_eq!(
            (&pager["payload"]["severity"], &pager["payload"]["source"]),
            (&json!("critical"), &json!("10.0.0.1"))
        );
        let manager = body(Template::Alertmanager);
        assert_eq!(manager[0]["labels"]["alertname"], "imds-x");
        assert_eq!(manager[0]["startsAt"], "2026-11-24T03:29:04.5Z");
        assert_eq!(body(Template::Splunk)["time"], 1_795_490_944.5);
        assert_eq!(render(Template::Generic, &Event::read(ALERT), None), ALERT);
    }
}
