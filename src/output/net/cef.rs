//! Common Event Format, version 0, as ArcSight, QRadar, Sentinel and Splunk read it.
//!
//! `CEF:0|imdswatch|imdswatch|VERSION|SIGNATURE|NAME|SEVERITY|EXTENSION`. Values from the wire are escaped and cut to the
//! dictionary's lengths (Micro Focus, "Implementing ArcSight CEF", revision 26), the whole to [`MOST`] bytes.

use super::fields::Fields;
use super::text::{cut, nanoseconds};

/// Bytes of a message at most: with its syslog header it fits a datagram of 8 kB.
pub const MOST: usize = 7800;

/// Key of the extension, field, bytes of its value at most.
const KEYS: &[(&str, &str, usize)] = &[
    ("externalId", "event.id", 64),
    ("msg", "message", 1023),
    ("outcome", "event.outcome", 63),
    ("cat", "event.dataset", 63),
    ("proto", "network.transport", 31),
    ("app", "network.protocol", 31),
    ("src", "source.ip", 45),
    ("spt", "source.port", 5),
    ("dst", "destination.ip", 45),
    ("dpt", "destination.port", 5),
    ("dhost", "destination.domain", 255),
    ("requestMethod", "http.request.method", 31),
    ("request", "url.full", 1023),
    ("requestClientApplication", "user_agent.original", 1023),
    ("sproc", "process.name", 255),
    ("spid", "process.pid", 10),
    ("dvchost", "agent.name", 100),
    ("reason", "rule.description", 1023),
];

/// Custom strings: label, field, bytes at most.
const STRINGS: &[(&str, &str, usize)] = &[
    ("provider", "imds.provider", 63),
    ("path", "imds.path", 1023),
    ("credentialId", "imds.credential.id", 255),
    ("credentialScope", "imds.credential.scope", 511),
    ("communityId", "network.community_id", 63),
    ("technique", "threat.technique.subtechnique.id", 63),
];

/// An event in CEF.
pub fn render(event: &Fields) -> String {
    let name = event.text("rule.name").map_or_else(|| transaction(event), str::to_owned);
    let signature = event.text("rule.id").or_else(|| event.text("event.dataset")).unwrap_or("event");
    let mut out = format!(
        "CEF:0|imdswatch|imdswatch|{}|{}|{}|{}|",
        env!("CARGO_PKG_VERSION"),
        header(cut(signature, 255)),
        header(cut(&name, 512)),
        severity(event),
    );
    let time = event.text("@timestamp").and_then(nanoseconds).map(|time| (time / 1_000_000).to_string());
    let first = time.map(|time| ("rt".to_owned(), time)).into_iter();
    let known = KEYS.iter().filter_map(|(key, field, most)| Some(((*key).to_owned(), shown(event, field, *most)?)));
    let custom = STRINGS.iter().zip(1..).filter_map(|((label, field, most), number)| {
        Some((format!("cs{number}Label={label} cs{number}"), shown(event, field, *most)?))
    });
    let mut separator = "";
    for (key, value) in first.chain(known).chain(custom) {
        let pair = format!("{separator}{key}={}", extension(&value));
        if out.len() + pair.len() > MOST {
            break;
        }
        out.push_str(&pair);
        separator = " ";
    }
    out
}

fn shown(event: &Fields, field: &str, most: usize) -> Option<String> {
    event.shown(field).filter(|text| !text.is_empty()).map(|text| cut(&text, most).to_owned())
}

/// What an event that is no alert is called.
fn transaction(event: &Fields) -> String {
    let kind = event.text("type").unwrap_or("event");
    format!("{kind} {}", if kind == "flow" { "record" } else { "transaction" })
}

/// 0 to 10: what is no alert 1, low 3, medium 5, high 8, critical 10.
fn severity(event: &Fields) -> u8 {
    match event.get("event.severity").and_then(serde_json::Value::as_u64) {
        _ if event.text("event.kind") != Some("alert") => 1,
        Some(0..=21) | None => 3,
        Some(22..=47) => 5,
        Some(48..=73) => 8,
        Some(_) => 10,
    }
}

fn header(text: &str) -> String {
    escaped(text, '|')
}

fn extension(text: &str) -> String {
    escaped(text, '=')
}

fn escaped(text: &str, special: char) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c == '\\' || c == special {
            out.push('\\');
        }
        out.push(if c.is_control() { ' ' } else { c });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_is_one_line_of_escaped_pairs() {
        let event = Fields::of(
            br#"{"@timestamp":"1970-01-01T00:00:01.5Z","message":"a=b|c\nd","event":{"kind":"alert","severity":99,"id":"e1"},
            "rule":{"id":"imds-x","name":"A|B"},"source":{"ip":"10.0.0.1","port":5},"imds":{"provider":"aws"}}"#,
        );
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(
            render(&event),
            format!(
                "CEF:0|imdswatch|imdswatch|{version}|imds-x|A\\|B|10|rt=1500 externalId=e1 msg=a\\=b|c d src=10.0.0.1 spt=5 \
                 cs1Label=provider cs1=aws"
            )
        );
    }

    #[test]
    fn whatever_comes_it_fits_a_datagram() {
        let long = "\\=é".repeat(5000);
        let json = serde_json::json!({"message": long, "url": {"full": long}, "user_agent": {"original": long},
            "rule": {"id": long, "name": long, "description": long}, "imds": {"path": long}});
        let line = render(&Fields::of(json.to_string().as_bytes()));
        assert!(line.len() <= MOST && !line.contains('\n'), "{}", line.len());
    }
}
