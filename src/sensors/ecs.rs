//! Events in Elastic Common Schema: Elastic Endpoint, Auditbeat 7 and 8, Winlogbeat and Elastic Agent, Sysmon for Linux,
//! Packetbeat, and modules that write Suricata's, Zeek's or Falco's events so.

use std::sync::Arc;

use serde_json::Value;

use super::value::{Event, conn, ip, name_process, nowhere, origin, proto};
use super::{Connection, Dns, Fact, Http, Kind, sysmon, time};
use crate::conn::{Conn, Endpoint, Origin, Process, Proto};
use crate::packet::Timestamp;

/// What an event tells; nothing where it is of a kind that has nothing to do with us.
pub(super) fn facts(event: Event<'_>, raw: &[u8]) -> Vec<Fact> {
    if is_an_alert_of_others(event) {
        return Vec::new();
    }
    let origin = Arc::new(origin(event, sensor(event), raw));
    let at = when(event);
    if let Some(data) = event.below("winlog.event_data").filter(|_| !event.has("process.executable")) {
        let id = event.number(&["winlog.event_id", "event.code"]).unwrap_or(0);
        return sysmon::facts(data, id, at, &origin);
    }
    if is_start(event) {
        let here = conn(host(event), nowhere(0), Proto::Tcp, &origin);
        return vec![Fact { time: at, conn: with_process(here, event), kind: Kind::Start }];
    }
    network(event, at, &origin).into_iter().collect()
}

/// Alerts that Elastic or this program made of other events: those tell it.
fn is_an_alert_of_others(event: Event<'_>) -> bool {
    event.is("event.kind", "signal") || event.is("rule.ruleset", "imdswatch")
}

fn sensor(event: Event<'_>) -> &'static str {
    const KNOWN: &[(&str, &str)] = &[
        ("endpoint", "endpoint"),
        ("auditd", "auditbeat"),
        ("system", "auditbeat"),
        ("auditbeat", "auditbeat"),
        ("sysmon_linux", "sysmon"),
        ("packetbeat", "packetbeat"),
        ("network_traffic", "packetbeat"),
        ("suricata", "suricata"),
        ("zeek", "zeek"),
        ("falco", "falco"),
    ];
    let told = event.texts("event.module").into_iter().chain(event.texts("agent.type"));
    let mut told =
        told.chain(event.text("event.dataset").map(|name| name.split('.').next().unwrap_or("").to_owned().into()));
    let known = told.find_map(|name| KNOWN.iter().find(|(known, _)| *known == name));
    match known {
        Some((_, sensor)) => sensor,
        None if event.has("winlog") => "winlogbeat",
        None if event.has("record_type") || event.has("auditd") => "auditbeat",
        None if ["http", "dns", "flow"].iter().any(|kind| event.is("type", kind)) => "packetbeat",
        None => "ecs",
    }
}

fn when(event: Event<'_>) -> Timestamp {
    let times = ["event.start", "@timestamp", "event.created", "process.start"];
    // an event without a time tells what happened all the same
    times.iter().find_map(|path| time::parse(&event.text(path)?)).unwrap_or_default()
}

/// Actions that mean that a process was started, over all sources.
const STARTS: &[&str] = &["exec", "exec_event", "executed", "process_started", "processrollup2", "created-process"];

/// Whether a process was started. A fork runs the program of its parent, which is told already.
fn is_start(event: Event<'_>) -> bool {
    let actions = || event.texts("event.action").into_iter().chain(event.texts("summary.action"));
    if actions().any(|action| matches!(&*action, "fork" | "existing_process" | "end" | "process_stopped")) {
        return false;
    }
    let is_named = actions().any(|action| {
        let action = action.to_ascii_lowercase();
        STARTS.contains(&action.as_str()) || action.starts_with("process creat")
    });
    let is_process = event.is("event.category", "process") || event.is("ecs.event.category", "process");
    let is_typed = event.is("event.type", "start") || event.is("ecs.event.type", "start");
    is_named || is_process && is_typed
}

/// The address of the host that the event is from, as a client of nothing in particular.
fn host(event: Event<'_>) -> Endpoint {
    let usual = event.texts("host.ip").iter().filter_map(|text| ip(text)).find(|ip| ip.is_ipv4() && !ip.is_loopback());
    usual.map_or(nowhere(0), |ip| Endpoint { ip, port: 0 })
}

fn with_process(conn: Conn, event: Event<'_>) -> Conn {
    let process = process(event);
    let is_known = process.pid != 0 || !process.name.is_empty();
    Conn { process: is_known.then(|| Arc::new(process)), ..conn }
}

fn process(event: Event<'_>) -> Process {
    let number = |paths: &[&str]| event.number(paths).and_then(|number| u32::try_from(number).ok());
    let args = event.texts("process.args").into_iter().map(std::borrow::Cow::into_owned).collect();
    let mut process = Process {
        pid: number(&["process.pid"]).unwrap_or(0),
        executable: event.owned(&["process.executable", "process.exe"]),
        args,
        command_line: event.owned(&["process.command_line"]),
        start: event.text("process.start").and_then(|text| time::parse(&text)),
        parent: number(&["process.parent.pid", "process.ppid"]),
        parent_name: event.owned(&["process.parent.name"]),
        parent_executable: event.owned(&["process.parent.executable"]),
        entity_id: event.owned(&["process.entity_id"]),
        user: number(&["process.user.id", "user.id", "user.ids.uid"]),
        user_name: event.owned(&["process.user.name", "user.name"]),
        container: event.owned(&["container.id", "process.container.id"]),
        pod: event.owned(&["kubernetes.pod.uid", "orchestrator.resource.id"]),
        ..Process::default()
    };
    // The kernel cuts a title at 128 bytes: it is the last resort.
    if process.args.is_empty() && process.command_line.is_none() {
        process.command_line = event.owned(&["process.title"]);
        process.is_cut = process.command_line.as_ref().is_some_and(|title| title.len() >= 127);
    }
    name_process(&mut process, event.text("process.name").as_deref());
    process
}

fn network(event: Event<'_>, at: Timestamp, origin: &Arc<Origin>) -> Option<Fact> {
    let client = event.end(&["client.ip", "source.ip", "source.address"], &["client.port", "source.port"]);
    let server_ips = ["server.ip", "destination.ip", "destination.address"];
    let server = event.end(&server_ips, &["server.port", "destination.port"]);
    let proto = proto(event.first(&["network.transport", "network.iana_number"]).as_deref());
    let of = |client: Option<Endpoint>, server: Option<Endpoint>, port| {
        let ends = (client.unwrap_or_else(|| host(event)), server.unwrap_or(nowhere(port)));
        with_process(conn(ends.0, ends.1, proto, origin), event)
    };
    if let Some(name) = event.text("dns.question.name") {
        let kind = Kind::Dns(Box::new(dns(event, &name)));
        let conn = Conn { proto: Proto::Udp, ..of(client, server, 53) };
        return Some(Fact { time: at, conn, kind });
    }
    if let Some(http) = http(event) {
        return Some(Fact { time: at, conn: of(client, server, 80), kind: Kind::Http(Box::new(http)) });
    }
    let is_end =
        event.texts("event.action").iter().any(|action| action.contains("disconnect") || action.contains("closed"));
    let server = server.filter(|_| !is_end)?;
    let kind = Kind::Connection(Connection {
        end: event.text("event.end").and_then(|text| time::parse(&text)),
        is_refused: event.is("event.outcome", "failure") && !event.is("auditd.data.exit", "EINPROGRESS"),
    });
    Some(Fact { time: at, conn: of(client, Some(server), 0), kind })
}

fn dns(event: Event<'_>, name: &str) -> Dns {
    let resolved = event.texts("dns.resolved_ip");
    let answers = match event.get("dns.answers") {
        Some(Value::Array(answers)) => answers.iter().filter_map(|answer| Event(answer).text("data")).collect(),
        _ => event.texts("dns.answers.data"),
    };
    let addresses: Vec<_> = resolved.iter().chain(&answers).filter_map(|text| ip(text)).collect();
    let code = event.text("dns.response_code");
    Dns {
        name: name.to_owned(),
        kind: event.owned(&["dns.question.type"]),
        is_answered: event.is("dns.type", "answer") || !addresses.is_empty(),
        addresses,
        code: match code.as_deref() {
            None | Some("NOERROR" | "0") => 0,
            Some("NXDOMAIN") => 3,
            Some(_) => 2,
        },
    }
}

fn http(event: Event<'_>) -> Option<Http> {
    let is_http =
        ["http.request.method", "http.response.status_code", "http.version"].iter().any(|path| event.has(path));
    let target = event.text("url.original").or_else(|| event.text("url.full"));
    let target = target.or_else(|| event.text("url.path")).filter(|_| is_http)?;
    let path = event.text("url.path");
    let query = event.text("url.query");
    let full = event.text("url.full");
    // `url.full` is put together from the Host header: what was sent is path and query, unless the target was absolute.
    let target = match (path, query) {
        (Some(path), Some(query)) if full.as_deref() == Some(&*target) => format!("{path}?{query}"),
        (Some(path), None) if full.as_deref() == Some(&*target) => path.into_owned(),
        _ => target.into_owned(),
    };
    let domain = event.text("url.domain");
    let port = event.text("url.port").map(|port| format!(":{port}")).unwrap_or_default();
    let written = event.text("http.request.headers.host").map(std::borrow::Cow::into_owned);
    let mut fields: Vec<(String, String)> = Vec::new();
    if let Some(Value::Object(headers)) = event.get("http.request.headers") {
        let headers = Event(event.get("http.request.headers")?).0.as_object().unwrap_or(headers);
        for name in headers.keys().filter(|name| !name.eq_ignore_ascii_case("host")) {
            fields.extend(
                Event(event.get("http.request.headers")?).text(name).map(|value| (name.clone(), value.into_owned())),
            );
        }
    }
    let mut add = |name: &str, value: Option<std::borrow::Cow<'_, str>>| {
        if let Some(value) = value.filter(|_| !fields.iter().any(|(known, _)| known.eq_ignore_ascii_case(name))) {
            fields.push((name.to_owned(), value.into_owned()));
        }
    };
    add("User-Agent", event.text("user_agent.original"));
    add("Referer", event.text("http.request.referrer"));
    add("X-Forwarded-For", event.text("network.forwarded_ip"));
    Some(Http {
        method: event.owned(&["http.request.method"]).map(|method| method.to_ascii_uppercase()).unwrap_or("GET".into()),
        target,
        host: written.or_else(|| domain.map(|domain| format!("{domain}{port}"))),
        fields,
        status: event.number(&["http.response.status_code"]).and_then(|status| u16::try_from(status).ok()),
        location: event.owned(&["http.response.headers.location"]),
        end: event.text("event.end").and_then(|text| time::parse(&text)),
    })
}
