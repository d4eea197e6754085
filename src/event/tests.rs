//! Whole events: the examples of the event format, and what must never be written.

use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::alert::{Alert, ChainLink, DnsSubject, HttpSubject, Outcome, Rule, Severity, Subject};
use crate::conn::{Conn, Endpoint, Proto};
use crate::detect::{
    Candidate, CandidateKind, Credential, HostRef, Imds, Place, RecognisedBy, Recorded, Sensitivity, Signal,
};
use crate::proto::http::{Body, Head, Message, Note, Start, Transaction, Version};

pub(super) fn end(text: &str) -> Endpoint {
    let end: std::net::SocketAddr = text.parse().unwrap();
    Endpoint { ip: end.ip(), port: end.port() }
}

pub(super) fn conn(client: &str, server: &str) -> Conn {
    Conn::between(end(client), end(server), Proto::Tcp)
}

/// A message from its text, as the parser would give it: body counted by Content-Length or by what is there.
pub(super) fn message(text: &str, first: Timestamp) -> Message {
    let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
    let raw = format!("{}\r\n\r\n", head.replace('\n', "\r\n"));
    let range = |part: &str| {
        let start = part.as_ptr() as usize - raw.as_ptr() as usize;
        start as u32..(start + part.len()) as u32
    };
    let mut lines = raw.trim_end().split("\r\n");
    let line = lines.next().unwrap();
    let mut version = None;
    let start = if let Some(rest) = line.strip_prefix("HTTP/1.1 ") {
        let (status, phrase) = rest.split_once(' ').unwrap_or((rest, ""));
        Start::Response { status: status.parse().unwrap(), phrase: range(phrase) }
    } else {
        version = Some(Version { major: 1, minor: 1 });
        let (method, rest) = line.split_once(' ').unwrap();
        Start::Request { method: range(method), target: range(rest.rsplit_once(' ').unwrap().0) }
    };
    let fields: Vec<_> = lines
        .map(|line| {
            let (name, value) = line.split_once(':').unwrap();
            (range(name), range(value.trim()))
        })
        .collect();
    let head = Head { start, version, fields, complete: true, raw: raw.clone().into_bytes() };
    let announced = head.field("content-length").and_then(|value| str::from_utf8(value).ok()?.parse().ok());
    let len = announced.unwrap_or(body.len() as u64);
    Message {
        first,
        last: first,
        first_index: 0,
        bytes: raw.len() as u64 + len,
        body: Body { len, captured: body.as_bytes().to_vec(), whole: true, later: None },
        head,
        gap: false,
        cut: false,
        complete: true,
    }
}

pub(super) fn exchange(conn: Conn, request: Option<&str>, response: Option<&str>) -> Transaction {
    let start = Timestamp::new(1_789_899_330, 123_456_789);
    let mut notes = Vec::new();
    notes.extend(response.is_none().then_some(Note::UnmatchedRequest));
    notes.extend(request.is_none().then_some(Note::UnmatchedResponse));
    Transaction {
        conn,
        request: request.map(|text| message(text, start)),
        response: response.map(|text| message(text, start.plus(1_874_000))),
        notes,
        conflict: false,
        via: None,
        ordinal: 0,
        stream: None,
    }
}

pub(super) fn imds(path: &str) -> Imds {
    let mut signals = Signals::default();
    signals.add(Signal::V1);
    let mut headers = Recorded::default();
    headers.push(b"Host", b"169.254.169.254");
    Imds {
        provider: "aws",
        service: "imds",
        path: path.to_owned(),
        path_id: Some("aws-role-creds"),
        sensitivity: Sensitivity::Credential,
        version: Some("v1"),
        credential: Some(Credential {
            issued: true,
            kind: Some("aws-access-key"),
            id: Some("ASIAEXAMPLE".to_owned()),
            scope: Some("web-role".to_owned()),
            ..Credential::default()
        }),
        headers,
        client: crate::detect::Client::default(),
        signals,
        recognised_by: RecognisedBy::Address,
        session_token: None,
        issued_token: None,
    }
}

fn settings() -> Settings {
    Settings { metadata: false, ..Settings::default() }
}

fn all_headers() -> Settings {
    Settings { http: settings::HttpSettings { send_all_headers: true, ..Default::default() }, ..settings() }
}

/// `serde_json` with our meaning of bytes.
struct BytesAreText;

impl serde_json::ser::Formatter for BytesAreText {
    fn write_byte_array<W: ?Sized + std::io::Write>(&mut self, writer: &mut W, ascii: &[u8]) -> std::io::Result<()> {
        serde_json::to_writer(writer, str::from_utf8(ascii).unwrap()).map_err(Into::into)
    }
}

fn write(settings: Settings, tx: &Transaction, verdict: &Verdict, context: &Context<'_>) -> Value {
    let (writer, id) = (Writer::new(settings), event_id("http", &tx.conn, Timestamp(0), 0));
    let mut out = Vec::new();
    writer.http(&mut out, id, tx, verdict, context);
    let mut reference = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut reference, BytesAreText);
    http::document(&writer, id, tx, verdict, context).serialize(&mut serializer).unwrap();
    let reference = String::from_utf8(reference).unwrap();
    assert!(out.starts_with(reference.trim_end_matches('}').as_bytes()), "{reference}");
    assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 1);
    fields::check(&out).unwrap();
    serde_json::from_slice(&out).unwrap()
}

fn event(settings: Settings, tx: &Transaction) -> Value {
    write(settings, tx, &Verdict::default(), &Context::default())
}

/// The event without what names the sensor and without our additions.
fn as_packetbeat(mut event: Value) -> Value {
    for key in ["agent", "ecs"] {
        event.as_object_mut().unwrap().remove(key).unwrap();
    }
    event["event"].as_object_mut().unwrap().remove("id").unwrap();
    event["destination"].as_object_mut().unwrap().remove("address");
    if let Some(url) = event.get_mut("url") {
        url.as_object_mut().unwrap().remove("original");
    }
    event
}

const CREDENTIALS: &str = "GET /latest/meta-data/iam/security-credentials/web-role HTTP/1.1\nHost: 169.254.169.254\n\
                           User-Agent: curl/8.5.0\nAccept: */*";

#[test]
fn a_matched_exchange_as_in_the_event_format() {
    let response = "HTTP/1.1 200 OK\nContent-Type: text/plain\nContent-Length: 1418\nServer: EC2ws";
    let mut tx = exchange(conn("10.0.1.23:43512", "169.254.169.254:80"), Some(CREDENTIALS), Some(response));
    tx.request.as_mut().unwrap().bytes = 128;
    tx.response.as_mut().unwrap().bytes = 1519;
    assert_eq!(
        as_packetbeat(event(settings(), &tx)),
        json!({
            "@timestamp": "2026-09-20T10:15:30.123Z", "type": "http", "status": "OK", "method": "GET",
            "query": "GET /latest/meta-data/iam/security-credentials/web-role",
            "event": {
                "kind": "event", "category": ["network"], "type": ["connection", "protocol"], "dataset": "http",
                "duration": 1_874_000, "start": "2026-09-20T10:15:30.123Z", "end": "2026-09-20T10:15:30.125Z"
            },
            "network": {
                "type": "ipv4", "transport": "tcp", "protocol": "http", "direction": "ingress",
                "community_id": "1:mSxoQIe+bcDD8ljEdXsBsM9jkOA=", "bytes": 1647
            },
            "source": {"ip": "10.0.1.23", "port": 43512, "bytes": 128},
            "client": {"ip": "10.0.1.23", "port": 43512, "bytes": 128},
            "destination": {"ip": "169.254.169.254", "port": 80, "bytes": 1519},
            "server": {"ip": "169.254.169.254", "port": 80, "bytes": 1519},
            "related": {"ip": ["10.0.1.23", "169.254.169.254"]},
            "url": {
                "full": "http://169.254.169.254/latest/meta-data/iam/security-credentials/web-role", "scheme": "http",
                "domain": "169.254.169.254", "path": "/latest/meta-data/iam/security-credentials/web-role"
            },
            "user_agent": {"original": "curl/8.5.0"},
            "http": {
                "version": "1.1",
                "request": {"method": "GET", "bytes": 128, "headers": {"content-length": 0}},
                "response": {
                    "status_code": 200, "status_phrase": "ok", "bytes": 1519, "body": {"bytes": 1418},
                    "headers": {"content-length": 1418, "content-type": "text/plain"}
                }
            }
        })
    );
}

#[test]
fn an_unanswered_request_has_neither_end_nor_duration() {
    let put = "PUT /latest/api/token HTTP/1.1\nHost: 169.254.169.254";
    let event = event(settings(), &exchange(conn("10.0.1.23:43514", "169.254.169.254:80"), Some(put), None));
    assert_eq!(event["status"], "Error");
    assert_eq!(event["error"]["message"], "Unmatched request");
    assert_eq!(event["network"]["community_id"], "1:2SA9v1ZROv5Xh1UAqsbDaueuTiM=");
    for part in ["/event/end", "/event/duration", "/destination/bytes", "/http/response"] {
        assert_eq!(event.pointer(part), None, "{part}");
    }
}

#[test]
fn an_unmatched_response_keeps_the_client_as_source() {
    let response = "HTTP/1.1 404 Not Found\nContent-Length: 7";
    let event = event(settings(), &exchange(conn("127.0.0.1:63082", "127.0.0.1:8080"), None, Some(response)));
    assert_eq!((&event["source"]["port"], &event["destination"]["port"]), (&json!(63082), &json!(8080)));
    assert_eq!(event["source"].get("bytes"), None);
    assert_eq!(event["error"]["message"], "Unmatched response");
    assert_eq!(event["@timestamp"], event["event"]["end"]);
    for part in ["/event/start", "/method", "/query", "/url", "/http/version", "/http/request"] {
        assert_eq!(event.pointer(part), None, "{part}");
    }
}

#[test]
fn host_and_port_give_domain_url_and_note() {
    let get = |host: &str| format!("GET /_cat/shards HTTP/1.1\nHost: {host}");
    let table = [
        ("localhost", 80, json!("localhost"), "http://localhost/_cat/shards"),
        ("localhost:9200", 9200, json!("localhost"), "http://localhost:9200/_cat/shards"),
        ("fd00::42", 80, Value::Null, "http://[fd00::42]/_cat/shards"),
        ("[::1]:9200", 9200, Value::Null, "http://[::1]:9200/_cat/shards"),
        ("myhost:9200", 80, json!("myhost"), "http://myhost:9200/_cat/shards"),
        ("myhost:50000", 50000, json!("myhost"), "http://myhost:50000/_cat/shards"),
    ];
    for (host, port, domain, full) in table {
        let tx = exchange(conn("10.0.0.1:1", &format!("10.0.0.2:{port}")), Some(&get(host)), None);
        let event = event(settings(), &tx);
        assert_eq!(event["destination"].get("domain").unwrap_or(&Value::Null), &domain, "{host}");
        assert_eq!(event["server"].get("domain"), event["destination"].get("domain"));
        assert_eq!(event["url"]["full"], full);
        let mismatch = json!(["Unmatched request", "Host header port number mismatch"]);
        assert_eq!(event["error"]["message"] == mismatch, port == 80 && host.contains(":9200"), "{host}");
    }
}

#[test]
fn forms_join_the_query_and_keywords_are_hidden_everywhere() {
    let post = "POST /login?user=old&pass=secret0 HTTP/1.1\nContent-Type: application/x-www-form-urlencoded\n\
                Content-Length: 23\n\nuser=monica&pass=secret";
    let tx = exchange(conn("10.0.0.1:1", "10.0.0.2:80"), Some(post), None);
    assert_eq!(event(settings(), &tx)["url"]["query"], "pass=secret&user=monica");
    let mut hiding = settings();
    hiding.http.hide_keywords = vec!["pass".into(), "password".into()];
    let hidden = event(hiding, &tx);
    assert_eq!(hidden["url"]["query"], "pass=xxxxx&user=monica");
    assert_eq!(hidden["url"]["original"], "/login?user=old&pass=xxxxx");
    assert_eq!(hidden["url"]["path"], "/login");
    assert!(!hidden.to_string().contains("secret"));
}

#[test]
fn headers_by_the_settings_with_redactions() {
    let get = "GET / HTTP/1.1\nHost: a.example\nAuthorization: Basic cGFja2V0OmJlYXQ=\nCookie: A=\"1\"; b=2;\nX-A: 1\nx-a: 2\n\
               X-Forwarded-For: 192.0.2.7 , 10.0.0.1\nX-aws-ec2-metadata-token: AQAEAtoken==";
    let tx = exchange(conn("10.0.0.1:1", "10.0.0.2:80"), Some(get), Some("HTTP/1.1 200 OK\nSet-Cookie: s=1; Path=/"));
    assert_eq!(event(settings(), &tx)["http"]["request"]["headers"], json!({"content-length": 0}));

    let mut open = all_headers();
    open.http.redact_authorization = false;
    open.http.real_ip_header = "X-Forwarded-For".into();
    open.http.split_cookie = true;
    open.http.redact_headers = vec!["X-A".into()];
    open.http.send_request = true;
    let full = event(open, &tx);
    let headers = &full["http"]["request"]["headers"];
    assert_eq!(headers["authorization"], "Basic cGFja2V0OmJlYXQ=");
    assert_eq!(headers["cookie"], json!({"a": "1", "b": "2"}));
    assert_eq!(headers["x-a"], "REDACTED, REDACTED");
    assert_eq!(headers["x-aws-ec2-metadata-token"], "xxxxx");
    assert_eq!(full["http"]["response"]["headers"]["set-cookie"], json!({"s": "1", "path": "/"}));
    assert_eq!((&full["user.name"], &full["related"]["user"]), (&json!("packet"), &json!(["packet"])));
    assert_eq!(full["network"]["forwarded_ip"], "192.0.2.7");
    assert_eq!(full["related"]["ip"], json!(["10.0.0.1", "10.0.0.2", "192.0.2.7"]));
    assert!(!full.to_string().contains("AQAEAtoken"));

    let closed = event(
        Settings { http: settings::HttpSettings { send_request: true, ..all_headers().http }, ..settings() },
        &tx,
    );
    assert_eq!(closed["http"]["request"]["headers"]["authorization"], "*");
    assert!(closed["request"].as_str().unwrap().contains("Authorization:*****"), "{}", closed["request"]);
    assert!(closed.get("user.name").is_none() && !closed.to_string().contains("cGFja2V0"));
}

#[test]
fn bodies_are_written_where_asked_for_but_never_those_of_metadata_answers() {
    let response = "HTTP/1.1 200 OK\nContent-Type: text/html; charset=utf-8\nContent-Length: 6\n\nsecret";
    let tx = exchange(conn("10.0.0.1:1", "10.0.0.2:80"), Some(CREDENTIALS), Some(response));
    let asked = Settings {
        http: settings::HttpSettings {
            include_body_for: vec!["text/html".into()],
            send_response: true,
            send_request: true,
            ..all_headers().http
        },
        ..settings()
    };
    let open = event(asked.clone(), &tx);
    assert_eq!(open["http"]["response"]["body"], json!({"bytes": 6, "content": "secret"}));
    assert!(open["response"].as_str().unwrap().ends_with("\r\n\r\nsecret"));
    let verdict = Verdict { imds: Some(Arc::new(imds("/x"))), ..Verdict::default() };
    let candidate = Candidate {
        kind: CandidateKind::Mention,
        place: Place::Body,
        url: "http://169.254.169.254/x".into(),
        host: HostRef::Name("x".into()),
        port: None,
        path: None,
        disguised: false,
        is_metadata: true,
        while_open: false,
    };
    let elsewhere = Candidate { is_metadata: false, ..candidate.clone() };
    let named = |candidate| Verdict { candidates: vec![candidate], ..Verdict::default() };
    let shown = write(asked.clone(), &tx, &named(elsewhere), &Context::default());
    assert_eq!(shown["http"]["response"]["body"]["content"], "secret", "a Referer is no metadata target");
    for verdict in [verdict, named(candidate)] {
        let closed = write(asked.clone(), &tx, &verdict, &Context::default());
        assert_eq!(closed["http"]["response"]["body"], json!({"bytes": 6}));
        assert!(!closed.to_string().contains("secret\""));
    }
}

#[test]
fn issued_credentials_are_masked_in_every_text() {
    let get = "GET /a/IQoJb3JpZ2luX2VjE?t=IQoJb3JpZ2luX2VjE&ok=1 HTTP/1.1\nHost: IQoJb3JpZ2luX2VjE.evil.example\n\
               User-Agent: IQoJb3JpZ2luX2VjE\nReferer: http://x/IQoJb3JpZ2luX2VjE\nCookie: c=IQoJb3JpZ2luX2VjE";
    let tx = exchange(conn("10.0.0.1:1", "10.0.0.2:80"), Some(get), None);
    let mut issued = crate::detect::IssuedSecrets::new(0);
    issued.add(&crate::detect::Secret::new(b"IQoJb3JpZ2luX2VjE", crate::detect::Part::Session).unwrap());
    let context = Context { mask: Masker::new(&issued), ..Context::default() };
    let masked = write(all_headers(), &tx, &Verdict::default(), &context);
    assert!(!masked.to_string().contains("IQoJb3JpZ2luX2VjE"), "{masked}");
    assert_eq!(masked["url"]["query"], "ok=1&t=xxxxx");
    assert_eq!(masked["destination"]["domain"], "xxxxx.evil.example");
}

#[test]
fn metadata_events_carry_the_imds_object_and_the_profile_its_fields() {
    let tx = exchange(conn("10.0.1.23:43512", "169.254.169.254:80"), Some(CREDENTIALS), Some("HTTP/1.1 200 OK"));
    let verdict = Verdict { imds: Some(Arc::new(imds("/latest/x"))), ..Verdict::default() };
    let mut signals = Signals::default();
    signals.add(Signal::FirstSeen);
    let context = Context { signals, allowed_by: Some("cloud-init"), ..Context::default() };
    let network_traffic = Settings { profile: Profile::NetworkTraffic, ..settings() };
    let event = write(network_traffic, &tx, &verdict, &context);
    assert_eq!(
        event["imds"],
        json!({
            "provider": "aws", "service": "imds", "path": "/latest/x", "path_id": "aws-role-creds",
            "sensitivity": "credential", "version": "v1",
            "credential": {"issued": true, "kind": "aws-access-key", "id": "ASIAEXAMPLE", "scope": "web-role"},
            "headers": {"host": "169.254.169.254"}, "signals": ["first-seen", "v1"], "allowed_by": "cloud-init"
        })
    );
    assert_eq!(event["process"], json!({"name": "unknown"}));
    assert_eq!(event["event"]["module"], "network_traffic");
    assert_eq!(event["event"]["dataset"], "network_traffic.http");
    assert_eq!(event["event"]["category"], json!(["network", "web"]));
    let stream = json!({"type": "logs", "dataset": "network_traffic.http", "namespace": "default"});
    assert_eq!(event["data_stream"], stream);
    assert_eq!(event["destination"]["address"], "169.254.169.254");
}

#[test]
fn bytes_that_are_not_utf8_become_one_replacement_each() {
    assert_eq!(lossy(b"a\xe2\x82b\xff"), "a\u{fffd}\u{fffd}b\u{fffd}");
    assert!(matches!(lossy("é".as_bytes()), Text::Borrowed("é")));
}

#[test]
fn the_tail_holds_what_names_the_sensor() {
    let mut settings = Settings { tags: vec!["a".into()], fields_under_root: true, ..Settings::default() };
    settings.fields.insert("site".into(), json!("x"));
    settings.fields.insert("event".into(), json!(1));
    settings.sensor =
        Some(settings::SensorInfo { host_name: "h".into(), agent_id: Some("i".into()), ephemeral_id: None });
    let mut out = Vec::new();
    Writer::new(settings).stats(&mut out, Timestamp(0), &[("packets", 3), ("flows", 1)]);
    fields::check(&out).unwrap_err(); // `site` is the user's own
    let event: Value = serde_json::from_slice(&out).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(event["agent"], json!({"type": "packetbeat", "name": "imdswatch", "version": version, "id": "i"}));
    assert_eq!(event["@metadata"], json!({"beat": "packetbeat", "type": "_doc", "version": version}));
    assert_eq!((&event["site"], &event["fields"]), (&json!("x"), &json!({"event": 1})));
    assert_eq!((&event["host"]["name"], &event["tags"]), (&json!("h"), &json!(["a"])));
    assert_eq!(event["imdswatch"]["stats"], json!({"packets": 3, "flows": 1}));
    assert_eq!((&event["event"]["kind"], &event["ecs"]["version"]), (&json!("metric"), &json!("8.0.0")));
}

pub(super) fn alert() -> Alert {
    let http = HttpSubject {
        method: "GET".into(),
        target: "/fetch?url=http://169.254.169.254/latest/".into(),
        host: Some("shop.example".into()),
        user_agent: Some("evil\u{1b}[31m".into()),
        status: Some(200),
        version: Some((1, 1)),
    };
    let subject = |conn, http, dns, imds: Option<Imds>| Subject {
        conn,
        start: Timestamp::new(1_789_899_330, 0),
        end: Some(Timestamp::new(1_789_899_331, 0)),
        event_id: EventId(0xe1),
        http,
        dns,
        command: None,
        signals: imds.as_ref().map(|imds| imds.signals).unwrap_or_default(),
        imds: imds.map(Arc::new),
        service: None,
    };
    let mut signals = Signals::default();
    signals.add(Signal::Issued);
    Alert {
        rule: Rule::SsrfConfirmed,
        severity: Severity::Critical,
        risk_score: 99,
        id: EventId(0xa1),
        time: Timestamp::new(1_789_899_331, 500_000_000),
        subject: subject(conn("203.0.113.66:41550", "10.20.0.10:80"), Some(http.into()), None, None).into(),
        leg: Some(subject(conn("10.20.0.10:50000", "169.254.169.254:80"), None, None, Some(imds("/latest"))).into()),
        signals,
        outcome: Outcome::Success,
        message: "203.0.113.66 made 10.20.0.10 fetch /latest".into(),
        chain: vec![ChainLink {
            id: EventId(0xe0),
            time: Timestamp::new(1_789_899_330, 0),
            what: "request",
            source: end("203.0.113.66:41550"),
            destination: end("10.20.0.10:80"),
            url: "http://shop.example/fetch".into(),
            origin: None,
        }],
        repeats: None,
    }
}

fn alert_event(alert: &Alert) -> Value {
    let mut out = Vec::new();
    Writer::new(settings()).alert(&mut out, alert, &Context::default());
    fields::check(&out).unwrap();
    serde_json::from_slice(&out).unwrap()
}

#[test]
fn an_alert_has_rule_technique_ends_and_both_legs() {
    let event = alert_event(&alert());
    assert_eq!(
        event["event"],
        json!({
            "id": format!("{:032x}", 0xa1), "kind": "alert", "category": ["network", "intrusion_detection"], "type": ["info", "allowed"],
            "dataset": "alert", "outcome": "success", "severity": 99, "risk_score": 99,
            "start": "2026-09-20T10:15:30.000Z", "end": "2026-09-20T10:15:31.000Z", "duration": 1_000_000_000
        })
    );
    assert_eq!(event["@timestamp"], "2026-09-20T10:15:31.500Z");
    assert_eq!((&event["source"]["ip"], &event["destination"]["ip"]), (&json!("203.0.113.66"), &json!("10.20.0.10")));
    assert_eq!(event["destination"]["domain"], "shop.example");
    assert_eq!(event["related"]["ip"], json!(["203.0.113.66", "10.20.0.10", "169.254.169.254"]));
    assert_eq!(event["related"]["hosts"], json!(["shop.example"]));
    assert_eq!((&event["rule"]["id"], &event["rule"]["ruleset"]), (&json!("ssrf-confirmed"), &json!("imdswatch")));
    assert_eq!(event["threat"]["technique"]["id"], json!(["T1552", "T1190"]));
    assert_eq!(event["threat"]["technique"]["subtechnique"]["id"], json!(["T1552.005"]));
    assert_eq!(event["threat"]["tactic"]["id"], json!(["TA0006"]));
    assert_eq!((&event["imds"]["provider"], &event["imds"]["signals"]), (&json!("aws"), &json!(["issued"])));
    assert_eq!(event["imds"]["chain"][0]["what"], "request");
    assert_eq!(event["url"]["original"], "/fetch?url=http://169.254.169.254/latest/");
    assert_eq!(event["http"]["response"]["status_code"], 200);
}

#[test]
fn a_lookup_alert_has_its_question_and_repeats_their_window() {
    let mut alert = alert();
    let dns = DnsSubject {
        name: "metadata.google.internal".into(),
        qtype: "A".into(),
        resolved: vec!["169.254.169.254".parse().unwrap()],
        response_code: Some("NOERROR".into()),
    };
    let mut conn = conn("10.0.0.1:5353", "10.0.0.2:53");
    conn.proto = Proto::Udp;
    alert.subject = Subject { conn, http: None, dns: Some(dns.into()), ..(*alert.subject).clone() }.into();
    (alert.leg, alert.rule, alert.outcome) = (None, Rule::ImdsLookup, Outcome::Unknown);
    alert.repeats = Some(Box::new(crate::alert::Merged {
        count: 7,
        from: Timestamp::new(1_789_899_331, 0),
        last: Timestamp::new(1_789_899_390, 0),
        ids: Vec::new(),
        more_ids: 0,
    }));
    let event = alert_event(&alert);
    assert_eq!(event["dns"]["question"], json!({"name": "metadata.google.internal", "type": "A"}));
    assert_eq!(event["dns"]["resolved_ip"], json!(["169.254.169.254"]));
    assert_eq!(event["imds"]["repeats"], 7);
    assert_eq!(event["event"]["end"], "2026-09-20T10:16:30.000Z");
    assert_eq!(event["event"]["type"], json!(["info"]));
    assert_eq!(event["threat"]["technique"]["id"], json!(["T1552"]));
    assert!(event.get("url").is_none());
}

#[test]
fn ids_are_stable_and_differ() {
    let (a, b) = (conn("10.0.0.1:1", "10.0.0.2:80"), conn("10.0.0.1:2", "10.0.0.2:80"));
    let id = |conn: &Conn, kind: &str, ordinal| event_id(kind, conn, Timestamp(5), ordinal).to_string();
    assert_eq!(id(&a, "http", 0), id(&a.clone(), "http", 0));
    let all = [id(&a, "http", 0), id(&b, "http", 0), id(&a, "dns", 0), id(&a, "http", 1)];
    assert_eq!(all.iter().collect::<std::collections::BTreeSet<_>>().len(), all.len());
    assert!(all.iter().all(|id| id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit())));
}

#[test]
fn community_ids_of_the_specification() {
    let of = |source: &str, destination: &str, proto| {
        let (source, destination) = (end(source), end(destination));
        let ports = (source.port, destination.port);
        CommunityId::new(source.ip, destination.ip, proto, ports).as_str().to_owned()
    };
    assert_eq!(of("128.232.110.120:34855", "66.35.250.204:80", 6), "1:LQU9qZlK+B5F3KDmev6m5PMibrg=");
    assert_eq!(of("66.35.250.204:80", "128.232.110.120:34855", 6), "1:LQU9qZlK+B5F3KDmev6m5PMibrg=");
    assert_eq!(of("192.168.1.52:54585", "8.8.8.8:53", 17), "1:d/FP5EW3wiY1vCndhwleRRKHowQ=");
    assert_eq!(of("172.31.98.49:55874", "93.184.216.34:80", 6), "1:TMPM5eEnGOXfxAjx6NKlyjx+X10=");
    let icmp = |source: &str, destination: &str, proto, kind, code| {
        let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
        CommunityId::icmp(source, destination, proto, kind, code).as_str().to_owned()
    };
    for (source, destination, kind) in [("192.168.0.89", "192.168.0.1", 8), ("192.168.0.1", "192.168.0.89", 0)] {
        assert_eq!(icmp(source, destination, 1, kind, 0), "1:X0snYXpgwiv9TZtqg64sgzUn6Dk=");
    }
    let (a, b) = ("3ffe:507::1:200:86ff:fe05:80da", "3ffe:507::1:260:97ff:fe07:69ea");
    assert_eq!(icmp(a, b, 58, 128, 0), "1:GpbEQrKqfWtsfsFiqg8fufoZe5Y=");
    assert_eq!(icmp(b, a, 58, 129, 0), "1:GpbEQrKqfWtsfsFiqg8fufoZe5Y=");
    assert_eq!(icmp(a, b, 58, 136, 0), "1:BtEUCMYecYjJ7spEkVZDiCFaMTY=");
    assert_eq!(icmp(b, a, 58, 3, 0), "1:NdobDX8PQNJbAyfkWxhtL2Pqp5w=");
    assert_eq!(icmp("fe80::260:97ff:fe07:69ea", "ff02::1", 58, 134, 0), "1:pkvHqCL88/tg1k4cPigmZXUtL00=");
}

#[test]
fn directions_in_packetbeats_order() {
    let mut settings = Settings::default();
    settings.local_addresses.set(vec!["10.9.9.9".parse().unwrap()]);
    let table = [
        ("10.0.0.1", "169.254.169.254", "ingress"),
        ("169.254.169.254", "10.0.0.1", "egress"),
        ("10.0.0.1", "10.9.9.9", "ingress"),
        ("10.9.9.9", "8.8.8.8", "egress"),
        ("10.0.0.1", "fd00:ec2::254", "internal"),
        ("10.0.0.1", "100.100.100.200", "outbound"),
        ("8.8.8.8", "192.168.0.1", "inbound"),
        ("8.8.8.8", "1.1.1.1", "external"),
        ("fe80::1", "2001:db8::1", "egress"),
        ("2001:db8::1", "ff02::1", "ingress"),
    ];
    for (source, destination, expected) in table {
        let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
        assert_eq!(envelope::direction(&settings, source, destination), expected, "{source} -> {destination}");
    }
    settings.internal_networks.clear();
    assert_eq!(envelope::direction(&settings, "8.8.8.8".parse().unwrap(), "1.1.1.1".parse().unwrap()), "unknown");
}
