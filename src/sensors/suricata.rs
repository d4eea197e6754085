//! Suricata's EVE events: http, dns (versions 1 to 3 of the record), flow, tls, and alerts with what they are about.

use std::sync::Arc;

use serde_json::Value;

use super::value::{Event, conn, ip, nowhere, origin, proto};
use super::{Connection, Dns, Fact, Http, Kind, time};
use crate::conn::{Origin, Proto};
use crate::packet::Timestamp;

/// Whether an event is Suricata's.
pub(super) fn is_eve(event: Event<'_>) -> bool {
    event.has("event_type") && event.has("timestamp")
}

/// What an event tells.
pub(super) fn facts(event: Event<'_>, raw: &[u8]) -> Vec<Fact> {
    let mut origin = origin(event, "suricata", raw);
    if let Some(host) = event.text("host") {
        origin.host_name = Some(host.as_ref().into()); // the sensor's
        origin.host = Some(serde_json::json!({ "name": host }).to_string().into());
    }
    let origin = Arc::new(origin);
    let Some(at) = event.text("timestamp").and_then(|text| time::parse(&text)) else { return Vec::new() };
    let kind = event.text("event_type").unwrap_or_default();
    match &*kind {
        "dns" => dns(event, at, &origin),
        "http" | "alert" | "fileinfo" | "flow" | "tls" | "netflow" => exchange(event, &kind, at, &origin),
        _ => Vec::new(),
    }
}

fn exchange(event: Event<'_>, kind: &str, at: Timestamp, origin: &Arc<Origin>) -> Vec<Fact> {
    let source = event.end(&["src_ip"], &["src_port"]);
    let destination = event.end(&["dest_ip"], &["dest_port"]);
    let (Some(source), Some(destination)) = (source, destination) else { return Vec::new() };
    // An alert's and a file's ends are those of the packet, which may be the server's.
    let is_turned = kind != "http" && event.is("direction", "to_client")
        || kind == "fileinfo" && event.has("http.status") && source.port < destination.port;
    let (client, server) = if is_turned { (destination, source) } else { (source, destination) };
    let conn = conn(client, server, proto(event.text("proto").as_deref()), origin);
    let started = event.text("flow.start").and_then(|text| time::parse(&text)).filter(|_| kind == "flow");
    let kind = match event.below("http").and_then(http) {
        Some(http) => Kind::Http(Box::new(http)),
        None if kind == "fileinfo" => return Vec::new(),
        None => Kind::Connection(Connection { end: Some(at), is_refused: event.is("flow.state", "new") }),
    };
    vec![Fact { time: started.unwrap_or(at), conn, kind }]
}

fn http(http: Event<'_>) -> Option<Http> {
    let mut fields: Vec<(String, String)> = Vec::new();
    if let Some(Value::Array(headers)) = http.get("request_headers") {
        let pair = |header: &Value| Some((Event(header).owned(&["name"])?, Event(header).owned(&["value"])?));
        fields.extend(headers.iter().filter_map(pair).filter(|(name, _)| !name.eq_ignore_ascii_case("host")));
    }
    let told = [("User-Agent", "http_user_agent"), ("Referer", "http_refer"), ("X-Forwarded-For", "xff")];
    for (name, path) in told {
        if let Some(value) = http.owned(&[path])
            && !fields.iter().any(|(known, _)| known.eq_ignore_ascii_case(name))
        {
            fields.push((name.to_owned(), value));
        }
    }
    let port = http.text("http_port").map(|port| format!(":{port}")).unwrap_or_default();
    Some(Http {
        method: http.owned(&["http_method"]).unwrap_or_default(),
        target: http.owned(&["url"])?,
        host: http.owned(&["hostname"]).map(|host| host + &port),
        fields,
        status: http.number(&["status"]).and_then(|status| u16::try_from(status).ok()),
        location: http.owned(&["redirect"]),
        end: None,
    })
}

fn dns(event: Event<'_>, at: Timestamp, origin: &Arc<Origin>) -> Vec<Fact> {
    let Some(dns) = event.below("dns") else { return Vec::new() };
    let is_answer = ["answer", "response"].iter().any(|kind| dns.is("type", kind));
    let source = event.end(&["src_ip"], &["src_port"]).unwrap_or(nowhere(0));
    let destination = event.end(&["dest_ip"], &["dest_port"]).unwrap_or(nowhere(53));
    // version 1 tells of an answer from its sender's side
    let is_turned = is_answer && source.port == 53 && destination.port != 53;
    let (client, server) = if is_turned { (destination, source) } else { (source, destination) };
    let mut names: Vec<_> = dns.text("rrname").into_iter().map(std::borrow::Cow::into_owned).collect();
    if let Some(Value::Array(queries)) = dns.get("queries").or_else(|| dns.get("query")) {
        names.extend(queries.iter().filter_map(|query| Event(query).owned(&["rrname"])));
    }
    names.dedup();
    let mut addresses: Vec<_> = dns.text("rdata").as_deref().and_then(ip).into_iter().collect();
    if let Some(Value::Array(answers)) = dns.get("answers") {
        addresses.extend(answers.iter().filter_map(|answer| ip(&Event(answer).text("rdata")?)));
    }
    for kind in ["grouped.A", "grouped.AAAA"] {
        addresses.extend(dns.texts(kind).iter().filter_map(|text| ip(text)));
    }
    let code = match dns.text("rcode").as_deref() {
        None | Some("NOERROR") => 0,
        Some("NXDOMAIN") => 3,
        Some(_) => 2,
    };
    let conn = conn(client, server, proto(event.text("proto").as_deref().or(Some("UDP"))), origin);
    let made = names.into_iter().map(|name| Fact {
        time: at,
        conn: crate::conn::Conn {
            proto: if conn.proto == Proto::Tcp { Proto::Tcp } else { Proto::Udp },
            ..conn.clone()
        },
        kind: Kind::Dns(Box::new(Dns {
            name,
            kind: dns.owned(&["rrtype"]),
            addresses: addresses.clone(),
            is_answered: is_answer || !addresses.is_empty(),
            code,
        })),
    });
    made.collect()
}
