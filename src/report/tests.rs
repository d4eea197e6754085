//! Reports of made-up events: what is grouped, what is shown, and what hostile values do.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use serde_json::{Value, json};

use super::{Collector, Input, Note};

const ATTACKER: &str = "203.0.113.66";
const SERVER: &str = "10.20.0.10";
const SERVICE: &str = "169.254.169.254";

fn alert(rule: &str, severity: u64, second: u64, ends: [(&str, u16); 2]) -> Value {
    json!({
        "@timestamp": format!("2026-11-24T03:{:02}:{:02}.100Z", second / 60, second % 60), "type": "alert",
        "message": format!("{rule} happened"),
        "event": {"id": format!("{rule}{second}"), "kind": "alert", "severity": severity, "risk_score": severity,
                  "start": format!("2026-11-24T03:{:02}:{:02}.000Z", second / 60, second % 60)},
        "source": {"ip": ends[0].0, "port": ends[0].1}, "destination": {"ip": ends[1].0, "port": ends[1].1},
        "url": {"full": "http://169.254.169.254/latest/meta-data/iam/security-credentials/web"},
        "rule": {"id": rule, "name": rule, "version": "1"}, "user_agent": {"original": "curl/8"},
        "imds": {"provider": "aws", "service": "imds", "path": "/latest/meta-data/iam/security-credentials/web", "sensitivity": "credential", "signals": []}
    })
}

fn issued(second: u64, host: &str, port: u16, id: &str) -> Value {
    let mut event = alert("imds-credential-issued", 99, second, [(host, port), (SERVICE, 80)]);
    event["imds"]["credential"] = json!({"issued": true, "kind": "aws-access-key", "id": id, "scope": "web", "expires": "2026-11-24T09:00:00Z", "fingerprint": format!("f{id}")});
    event
}

fn confirmed(second: u64, port: u16, id: &str) -> Value {
    let mut event = alert("ssrf-confirmed", 99, second, [(ATTACKER, 4000), (SERVER, 80)]);
    let step = |id: &str, millis: u64, what: &str, source: &str, destination: &str| json!({"id": id, "time": format!("2026-11-24T03:{:02}:{:02}.{millis:03}Z", second / 60, second % 60), "what": what, "source": source, "destination": destination, "url": "/x"});
    let (front, back) = (format!("{ATTACKER}:4000"), format!("{SERVER}:{port}"));
    event["imds"]["chain"] = json!([
        step("e1", 0, "request", &front, "10.20.0.10:80"),
        step("e2", 3, "fetch", &back, "169.254.169.254:80"),
        step("e2", 9, "issued", &back, "169.254.169.254:80"),
        step("e1", 90, "relayed", &front, "10.20.0.10:80"),
    ]);
    event["imds"]["credential"] =
        json!({"issued": true, "kind": "aws-access-key", "id": id, "fingerprint": format!("f{id}")});
    event["imds"]["signals"] = json!(["issued", "relayed"]);
    event
}

fn collect(events: &[Value]) -> Collector {
    let mut collector = Collector::default();
    for event in events {
        collector.line(event.to_string().as_bytes()).unwrap();
    }
    collector
}

fn incidents(events: &[Value]) -> Vec<super::incident::Incident> {
    collect(events).incidents.finish().0
}

#[test]
fn what_one_theft_raised_is_one_incident() {
    let low = alert("imds-token", 21, 1, [(SERVER, 5001), (SERVICE, 80)]);
    let found = incidents(&[low, issued(2, SERVER, 5000, "ASIA1"), confirmed(2, 5000, "ASIA1")]);
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].alerts, found[0].severity, found[0].issued, found[0].left), (3, 99, true, true));
    assert_eq!(found[0].credentials.len(), 1);
    assert_eq!(found[0].headline, "ssrf-confirmed happened", "what tells most stands first");
}

#[test]
fn thefts_that_share_nothing_are_incidents_of_their_own() {
    let found = incidents(&[issued(1, "10.0.0.1", 5000, "ASIA1"), issued(2, "10.0.0.2", 5000, "ASIA2")]);
    assert_eq!(found.len(), 2);
    // The same actor an hour later is another.
    let found = incidents(&[issued(1, "10.0.0.1", 5000, "ASIA1"), issued(3000, "10.0.0.1", 5001, "ASIA2")]);
    assert_eq!(found.len(), 2);
    let found = incidents(&[issued(1, "10.0.0.1", 5000, "ASIA1"), issued(60, "10.0.0.1", 5001, "ASIA2")]);
    assert_eq!(found.len(), 1);
}

#[test]
fn two_incidents_that_turn_out_to_be_one_are_joined() {
    let found = incidents(&[issued(1, "10.0.0.1", 5000, "ASIA1"), issued(2, "10.0.0.2", 5001, "ASIA2"), {
        let mut joining = alert("credential-relayed", 99, 3, [(ATTACKER, 1), ("10.0.0.1", 80)]);
        joining["imds"]["chain"] = json!([
            {"id": "a", "time": "2026-11-24T03:00:01.000Z", "what": "issued", "source": "10.0.0.1:5000", "destination": "169.254.169.254:80"},
            {"id": "b", "time": "2026-11-24T03:00:02.000Z", "what": "issued", "source": "10.0.0.2:5001", "destination": "169.254.169.254:80"}]);
        joining
    }]);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].alerts, 3);
}

#[test]
fn a_day_without_theft_says_so_and_what_could_not_be_seen() {
    let mut collector = collect(&[alert("imds-token", 21, 1, [(SERVER, 1), (SERVICE, 80)])]);
    collector.note(Note { subject: "packets dropped by kernel".into(), text: "17".into(), lost: true });
    collector.input(Input { name: "a.ndjson".into(), size: 5, sha256: "ab".into() });
    let html = collector.html().unwrap();
    for part in [
        "No theft of credentials was seen",
        "packets dropped by kernel",
        "a.ndjson",
        "None of high or critical severity",
    ] {
        assert!(html.contains(part), "{part}");
    }
}

#[test]
fn credentials_that_one_command_ends_stand_under_it_once() {
    let html = collect(&[issued(1, SERVER, 5000, "ASIA1"), issued(60, SERVER, 5001, "ASIA2")]).html().unwrap();
    assert_eq!(html.matches("aws iam put-role-policy").count(), 1);
    for id in ["ASIA1", "ASIA2"] {
        assert!(html.contains(&format!("AttributeValue={id}")), "where to look for {id}");
    }
    assert!(html.contains("alerts by rules of version 1."), "the version that the alerts name");
}

#[test]
fn the_same_events_give_the_same_bytes() {
    let events = [issued(2, SERVER, 5000, "ASIA1"), confirmed(2, 5000, "ASIA1")];
    assert_eq!(collect(&events).html().unwrap(), collect(&events).html().unwrap());
}

/// Values that do harm where they are not escaped, or show nothing.
fn hostile() -> Vec<String> {
    let markup = [
        "<script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "'><svg/onload=alert(1)>",
        "</style><style>*{display:none}",
        "<a href=javascript:alert(1)>x</a>",
        "<!--",
        "]]>",
        "</title></svg>",
    ];
    let template = ["{{ 7*7 }}", "{% raw %}", "{{ report.version }}", "${7*7}", "url(http://evil.example/x)"];
    let display = ["\u{202e}evil\u{2066}", "a\r\nb\tc\0d\u{1b}[2J\u{9b}31m", "\u{feff}\u{200b}", "\u{2028}"];
    let text = |text: &&str| (*text).to_owned();
    let long = std::iter::once(format!("<b>{}", "A".repeat(1 << 20)));
    markup.iter().map(text).chain(template.iter().map(text)).chain(display.iter().map(text)).chain(long).collect()
}

/// Puts the value into every string of the event but its kind and its times.
fn poison(value: &mut Value, with: &str, key: &str) {
    match value {
        Value::String(text) if !matches!(key, "kind" | "@timestamp" | "start" | "ip" | "time") => with.clone_into(text),
        Value::Array(list) => list.iter_mut().for_each(|one| poison(one, with, key)),
        Value::Object(map) => map.iter_mut().for_each(|(key, one)| poison(one, with, key)),
        _ => {}
    }
}

#[test]
fn nothing_of_the_wire_acts_in_a_report() {
    for value in hostile() {
        let mut events = [
            confirmed(2, 5000, "ASIA1"),
            issued(3, SERVER, 5000, "x"),
            alert("imds-token", 21, 4, [(SERVER, 1), (SERVICE, 80)]),
        ];
        for event in &mut events {
            let rule = event["rule"]["id"].clone();
            poison(event, &value, "");
            // With the steps' own words too, so that the pictures are drawn.
            event["rule"]["id"] = rule;
            if let Some(steps) = event["imds"].get_mut("chain").and_then(Value::as_array_mut) {
                steps
                    .iter_mut()
                    .zip(["request", "fetch", "issued", "relayed"])
                    .for_each(|(step, what)| step["what"] = what.into());
            }
        }
        let mut collector = collect(&events);
        collector.note(Note { subject: value.clone(), text: value.clone(), lost: true });
        collector.input(Input { name: value.clone(), size: 1, sha256: String::new() });
        let html = collector.html().unwrap();
        let tags = |name: &str| html.matches(&format!("<{name}")).count();
        assert_eq!(
            (tags("script"), tags("img"), tags("!--"), tags("style"), tags("a ")),
            (0, 0, 0, 1, 1),
            "{value:.60}"
        );
        assert!(html.len() < 200_000, "{}", html.len());
        assert!(!html.contains("onerror=alert(1)>") && !html.contains(">49<") && !html.contains(" 49"), "{value:.60}");
        let style = html.split("<style>").nth(1).unwrap().split("</style>").next().unwrap();
        assert!(!style.contains("url("));
        let acts = |c: char| {
            c.is_control() && c != '\n'
                || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
        };
        assert_eq!(html.chars().find(|c| acts(*c)), None, "{value:.60}");
        let hrefs: Vec<_> = html.match_indices("href=\"").map(|(at, _)| &html[at + 6..at + 7]).collect();
        assert!(hrefs.iter().all(|first| *first == "#"), "{hrefs:?}");
    }
}

#[test]
fn many_incidents_are_bounded_and_counted() {
    let mut collector = Collector::default();
    for number in 0..6000_u64 {
        let host = format!("10.{}.{}.{}", number / 65_536, number / 256 % 256, number % 256);
        let mut event = issued(number % 3000, &host, 5000, &format!("ASIA{number}"));
        event["event"]["id"] = json!(number.to_string());
        collector.line(event.to_string().as_bytes()).unwrap();
    }
    let html = collector.html().unwrap();
    assert!(html.len() < 5_000_000, "{}", html.len());
    assert!(html.contains("4500 more incidents, the least grave, are left out here"), "counted");
}

#[test]
fn text_for_a_terminal_has_one_paragraph_an_incident() {
    let text = collect(&[issued(2, SERVER, 5000, "ASIA1"), confirmed(2, 5000, "ASIA1")]).text();
    assert_eq!(text.matches("\n\n").count(), 1, "{text}");
    assert!(
        text.starts_with(
            "Incident 1: CRITICAL, a credential left in clear text. 2 alerts from 2026-11-24 03:00:02.000 UTC on"
        ),
        "{text}"
    );
}
