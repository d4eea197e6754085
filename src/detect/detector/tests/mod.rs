//! Tests of the matcher on hand-made exchanges: what is asked and by whom here, what was issued in [`issued`].

mod issued;

use super::*;
use crate::conn::Proto;
use crate::detect::{CandidateKind, Seen, Signal, Spot};
use crate::proto::http::{Body, Head, Message, Start, Version as HttpVersion};

/// A message from its text; lines may end in `\n` alone.
fn message(text: &str) -> Message {
    let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
    let mut raw = Vec::new();
    let mut add = |bytes: &str| {
        let start = raw.len() as u32;
        raw.extend_from_slice(bytes.as_bytes());
        start..raw.len() as u32
    };
    let mut lines = head.lines().map(str::trim_start);
    let first = lines.next().unwrap();
    let start = match first.strip_prefix("HTTP/1.1 ") {
        Some(rest) => Start::Response { status: rest[..3].parse().unwrap(), phrase: add(&rest[3..]) },
        None => {
            let mut words = first.split(' ');
            Start::Request { method: add(words.next().unwrap()), target: add(words.next().unwrap()) }
        }
    };
    let fields = lines.map(|l| l.split_once(": ").unwrap()).map(|(n, v)| (add(n), add(v))).collect();
    Message {
        first: Timestamp::new(1_795_490_000, 0),
        last: Timestamp::new(1_795_490_000, 0),
        first_index: 0,
        head: Head { raw, start, version: Some(HttpVersion { major: 1, minor: 1 }), fields, complete: true },
        body: Body { len: body.len() as u64, captured: body.as_bytes().to_vec(), whole: true, later: None },
        bytes: text.len() as u64,
        gap: false,
        cut: false,
        complete: true,
    }
}

fn conn(server: &str) -> Conn {
    let server: std::net::SocketAddr = server.parse().unwrap();
    let end = |ip: IpAddr, port| conn::Endpoint { ip, port };
    Conn {
        client_ttl: Some(64),
        server_ttl: Some(64),
        ..Conn::between(end("10.20.0.10".parse().unwrap(), 40000), end(server.ip(), server.port()), Proto::Tcp)
    }
}

fn exchange(request: &str, response: &str, server: &str) -> Transaction {
    let of = |text: &str| (!text.is_empty()).then(|| message(text));
    Transaction {
        conn: conn(server),
        request: of(request),
        response: of(response),
        notes: Vec::new(),
        conflict: false,
        via: None,
        ordinal: 0,
        stream: None,
    }
}

fn detector() -> Detector {
    Detector::new(Arc::new(Catalogue::builtin().unwrap()), Config::default())
}

fn imds(request: &str, response: &str, server: &str) -> Option<Imds> {
    judged(&mut detector(), &exchange(request, response, server)).imds.map(Arc::unwrap_or_clone)
}

/// The verdict; what the response counts for is never skipped.
fn judged(detector: &mut Detector, tx: &Transaction) -> Verdict {
    let verdict = detector.http(tx, true);
    if let (Some(_), Some(request)) = (&verdict.imds, &tx.request) {
        let at_service = detector.metadata_endpoint(tx.conn.server);
        assert!(at_service || detector.reads_response(request, [tx.conn.server.port, 0]), "{request:?}");
    }
    verdict
}

const AWS: &str = "169.254.169.254:80";
const KEY: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

fn aws_keys() -> String {
    format!(
        "{{\n  \"Code\" : \"Success\",\n  \"Type\" : \"AWS-HMAC\",\n  \"AccessKeyId\" : \"ASIAEXAMPLE000DEMO01\",\n  \
         \"SecretAccessKey\" : \"{KEY}\",\n  \"Token\" : \"IQoJb3JpZ2luX2VjEXAMPLEFAKE1/abcdefgh0123456789==\",\n  \
         \"Expiration\" : \"2026-11-24T09:20:57Z\"\n}}"
    )
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\nServer: EC2ws\n\n{body}")
}

const ROLE: &str =
    "GET /latest/meta-data/iam/security-credentials/demo HTTP/1.1\nHost: 169.254.169.254\nUser-Agent: curl/8.0";

#[test]
fn who_asks_by_form_and_name() {
    use crate::detect::Standing::{Known, Library, Mismatch, Tool};
    const JAVA: &str = "Accept: text/html, image/gif, image/jpeg, */*; q=0.2\nConnection: keep-alive";
    const RUBY: &str = "Accept-Encoding: gzip;q=1.0,deflate;q=0.6,identity;q=0.3\nAccept: */*";
    let (azure, google) = ("/metadata/identity/oauth2/token?resource=x", "/computeMetadata/v1/project/project-id");
    let (host, flavor, aws) = ("Host: 169.254.169.254", "Metadata-Flavor: Google", "/latest/meta-data/");
    for (target, headers, name, standing) in [
        (azure, format!("Metadata: true\nUser-Agent: Java/17.0.15\n{host}\n{JAVA}"), Some("msal4j"), Known),
        (google, format!("User-Agent: Faraday v2.9.0\n{flavor}\n{RUBY}\n{host}"), Some("google-auth-ruby"), Known),
        (aws, format!("{host}\nUser-Agent: aws-sdk-php/3.316.6 GuzzleHttp/7"), Some("aws-sdk-php"), Known),
        (aws, format!("User-Agent: Java/17.0.15\n{host}\n{JAVA}"), Some("java"), Library),
        (
            aws,
            format!("{host}\nUser-Agent: Go-http-client/1.1\nAccept: */*\nAccept-Encoding: gzip"),
            Some("go"),
            Library,
        ),
        (aws, format!("{host}\nUser-Agent: tinyagent/1.0"), None, Library),
        (aws, format!("{host}\nUser-Agent: curl/8.5.0"), Some("curl"), Tool),
        (aws, format!("{host}\nUser-Agent: tinyagent/1.0\nAccept: */*"), None, Tool),
        // curl under names that it does not have
        (aws, format!("{host}\nUser-Agent: aws-sdk-php/3.316.6 GuzzleHttp/7\nAccept: */*"), None, Mismatch),
        (aws, format!("{host}\nUser-Agent: Go-http-client/1.1\nAccept: */*"), None, Mismatch),
        (aws, format!("{host}\nUser-Agent: GuzzleHttp/7\nAccept: */*"), None, Mismatch),
        (aws, format!("{host}\nUser-Agent: Java-http-client/17.0.15\nAccept: */*"), None, Mismatch),
        (azure, format!("{host}\nUser-Agent: Java/17.0.15\nAccept: */*\nMetadata: true"), None, Mismatch),
        (google, format!("{host}\nUser-Agent: Faraday v2.9.0\nAccept: */*\n{flavor}"), None, Mismatch),
    ] {
        let client = imds(&format!("GET {target} HTTP/1.1\n{headers}"), &ok(""), AWS).unwrap().client;
        assert_eq!((client.name(), client.standing), (name, standing), "{target}\n{headers}");
    }
}

#[test]
fn who_answered_last_decides_what_several_have() {
    let mut detector = detector();
    let request = "GET /openstack/latest/meta_data.json HTTP/1.1\nHost: 169.254.169.254";
    let tx = exchange(request, "HTTP/1.1 200 OK\n\n{}", AWS);
    assert_eq!(detector.http(&tx, true).imds.unwrap().provider, "openstack");
    detector.http(&exchange("GET /openstack/latest/securitykey HTTP/1.1", "HTTP/1.1 200 OK\n\n{}", AWS), true);
    assert_eq!(detector.http(&tx, true).imds.unwrap().provider, "huawei");
    let index = exchange("GET /index.html HTTP/1.1", "HTTP/1.1 404 Not Found\nServer: EC2ws", AWS);
    assert_eq!(detector.http(&index, true).imds.unwrap().provider, "aws");
    let nothing = exchange("GET /index.html HTTP/1.1", "HTTP/1.1 404 Not Found", AWS);
    assert_eq!(detector.http(&nothing, true).imds.unwrap().provider, "unknown");
}

#[test]
fn proxied_legs() {
    let proxy = "10.20.0.10:8080";
    let absolute =
        "GET http://169.254.169.254/latest/meta-data/iam/security-credentials/demo HTTP/1.1\nHost: 169.254.169.254";
    let got = imds(absolute, &ok(&aws_keys()), proxy).unwrap();
    assert_eq!(
        (got.recognised_by, got.provider, got.path.as_str()),
        (RecognisedBy::Name, "aws", "/latest/meta-data/iam/security-credentials/demo")
    );
    assert!(
        got.signals.has(Signal::Proxied) && got.signals.has(Signal::Issued) && !got.signals.has(Signal::ForeignHost)
    );
    let connect = imds(
        "CONNECT metadata.google.internal:80 HTTP/1.1\nHost: metadata.google.internal:80",
        "HTTP/1.1 200 OK",
        proxy,
    )
    .unwrap();
    assert_eq!((connect.provider, connect.path.as_str(), connect.sensitivity), ("gcp", "", Sensitivity::Discovery));
    let mut inner = exchange(&ROLE.replace("Host: 169.254.169.254", "Host: x"), &ok(&aws_keys()), proxy);
    inner.via = Some(b"169.254.169.254:80"[..].into());
    assert_eq!(detector().http(&inner, true).imds.unwrap().recognised_by, RecognisedBy::Name);
    let dnat =
        imds(&ROLE.replace("Host: 169.254.169.254", "Host: 10.20.0.2"), &ok(&aws_keys()), "10.20.0.2:80").unwrap();
    assert_eq!((dnat.recognised_by, dnat.provider), (RecognisedBy::Response, "aws"));
    assert!(dnat.signals.has(Signal::Proxied));
}

#[test]
fn ordinary_services_are_silent() {
    let page = format!(
        "HTTP/1.1 200 OK\nContent-Type: text/html\n\n<html>curl http://169.254.169.254/ <pre>{}</pre></html>",
        aws_keys()
    );
    let oauth = "HTTP/1.1 200 OK\n\n{\"access_token\":\"abcDEF0123456789\",\"token_type\":\"Bearer\",\"expires_in\":3600,\"expires_on\":1}";
    for (request, response, server) in [
        ("GET /docs/imds HTTP/1.1\nHost: docs.example", page.as_str(), "93.184.216.34:80"),
        (
            "GET /latest/meta-data/iam/security-credentials/demo HTTP/1.1\nHost: docs.example",
            page.as_str(),
            "93.184.216.34:80",
        ),
        (
            "GET /latest/meta-data/iam/security-credentials/demo HTTP/1.1\nHost: app.example",
            "HTTP/1.1 404 Not Found",
            "93.184.216.34:80",
        ),
        ("POST /oauth2/token HTTP/1.1\nHost: login.example", oauth, "93.184.216.34:80"),
        ("GET /metadata/identity/oauth2/token HTTP/1.1\nHost: login.example", oauth, "93.184.216.34:80"),
        (
            "GET /computeMetadata/v1/instance/service-accounts/default/token HTTP/1.1\nHost: app.example",
            oauth,
            "93.184.216.34:80",
        ),
        ("GET /computeMetadata/v1/docs HTTP/1.1\nHost: app.example", &ok("x"), "93.184.216.34:80"),
        ("GET /latest/api/token HTTP/1.1\nHost: app.example", &ok("x"), "93.184.216.34:80"),
        ("GET /latest/user-data HTTP/1.1\nHost: app.example", &ok("x"), "169.254.7.7:80"),
        ("GET /v1/credentials HTTP/1.1\nHost: app.example", &ok(&aws_keys()), "93.184.216.34:80"),
        ("GET / HTTP/1.1\nHost: localhost", &ok("x"), "127.0.0.1:9001"),
        ("GET /x HTTP/1.1\nHost: 169.254.169.254", &ok("x"), "169.254.169.254:53"),
    ] {
        let request = request.to_owned();
        let got = imds(&request, response, server);
        if server.ends_with(":53") {
            assert_eq!(got.unwrap().recognised_by, RecognisedBy::Name);
        } else {
            assert_eq!(got, None, "{request}");
        }
    }
}

#[test]
fn an_answer_without_its_request_is_judged_by_the_address() {
    let got = imds("", &ok(&aws_keys()), AWS).unwrap();
    assert_eq!(
        (got.provider, got.path.as_str(), got.path_id, got.sensitivity),
        ("aws", "", None, Sensitivity::Credential)
    );
    assert!(got.credential.unwrap().issued && got.signals.has(Signal::Issued) && !got.signals.has(Signal::Unanswered));
    let list = imds("", &ok("demo"), AWS).unwrap();
    assert_eq!((list.sensitivity, list.credential), (Sensitivity::Discovery, None));
    assert_eq!(imds("", &ok(&aws_keys()), "93.184.216.34:80"), None);
}

#[test]
fn what_breaks_off_is_judged_by_what_is_there() {
    let whole = aws_keys();
    for (upto, issued) in [("\"Token\"", true), ("\"SecretAccessKey\"", false), ("I/K7MDENG", true)] {
        let at = whole.find(upto).unwrap();
        let mut tx = exchange(ROLE, &ok(&whole[..at]), AWS);
        let response = tx.response.as_mut().unwrap();
        (response.cut, response.complete, response.body.whole) = (true, false, false);
        let got = detector().http(&tx, true).imds.unwrap();
        let credential = got.credential.clone().unwrap();
        assert_eq!(credential.issued, issued, "{upto}");
        assert_eq!(credential.fingerprint.is_some(), upto == "\"Token\"", "{upto}");
        assert!(got.signals.has(Signal::TruncatedCapture));
    }
}

#[test]
fn signals_of_a_driven_server() {
    let request = "GET /latest/meta-data/%69am/security-credentials/demo HTTP/1.1\nHost: rebind.attacker.example\nX-Forwarded-For: 1.2.3.4\nReferer: http://x/\nUser-Agent: Mozilla/5.0";
    let mut tx = exchange(request, &ok(&aws_keys()).replace("EC2ws", "nginx"), AWS);
    tx.conn.client_ttl = Some(63);
    tx.conflict = true;
    let got = detector().http(&tx, true).imds.unwrap();
    for signal in [
        Signal::ForeignHost,
        Signal::Forwarded,
        Signal::BrowserLike,
        Signal::ObfuscatedPath,
        Signal::ExtraHop,
        Signal::TcpOverlapConflict,
        Signal::RogueResponder,
        Signal::V1,
        Signal::Issued,
    ] {
        assert!(got.signals.has(signal), "{signal:?}");
    }
    let plain = imds(&ROLE.replace("Host: 169.254.169.254", "Host: 0xA9FEA9FE:80"), &ok(&aws_keys()), AWS).unwrap();
    assert!(!plain.signals.has(Signal::ForeignHost));
    let wildcard =
        imds(&ROLE.replace("Host: 169.254.169.254", "Host: 169-254-169-254.nip.io"), &ok(&aws_keys()), AWS).unwrap();
    assert!(wildcard.signals.has(Signal::ForeignHost));
    assert!(imds("GET / HTTP/1.1\nHost: 169.254.169.254", "", AWS).unwrap().signals.has(Signal::NoUserAgent));
}

#[test]
fn connections_without_requests() {
    let detector = detector();
    let at = |server: &str| {
        let time = Timestamp::new(1, 0);
        detector.connection(conn(server), NoRequest::SynOnly, time, time).map(|c| (c.provider, c.service))
    };
    assert_eq!(at(AWS), Some(("unknown", "imds")));
    assert_eq!(at("168.63.129.16:32526"), Some(("azure", "wireserver")));
    assert_eq!(at("169.254.170.2:80"), Some(("aws", "ecs-task")));
    assert_eq!(at("169.254.169.254:53"), None);
    assert_eq!(at("127.0.0.1:51679"), None);
}

#[test]
fn questions_and_answers() {
    use crate::proto::dns::{Message, Name, Question, RData, Record};
    let name = |text: &str| {
        let mut name = Name::default();
        text.split('.').for_each(|label| name.push(label.as_bytes()));
        name
    };
    let ask = |question: &str, answers: Vec<RData>| {
        let questions = vec![Question { name: name(question), qtype: 1, class: 1 }];
        let answers = answers
            .into_iter()
            .map(|data| (if matches!(data, RData::WithName(..)) { 65 } else { 1 }, data))
            .map(|(rtype, data)| Record { name: name(question), rtype, class: 1, ttl: 0, data })
            .collect();
        let message = Message { questions, answers, ..Message::default() };
        let tx = dns::Transaction {
            conn: conn("10.0.0.2:53"),
            query: None,
            response: Some(message.into()),
            notes: vec![],
            question: 0,
        };
        detector().dns(&tx, true)
    };
    let google = ask("MetaData.Google.Internal", vec![]);
    assert_eq!(
        (google.metadata_name, google.name.as_str()),
        (Some(("gcp", "metadata-server")), "metadata.google.internal")
    );
    let rebind = ask(
        "a.attacker.example",
        vec![
            RData::A([203, 0, 113, 80].into()),
            RData::A([169, 254, 169, 254].into()),
            RData::Aaaa("::ffff:100.100.100.200".parse().unwrap()),
        ],
    );
    assert_eq!(rebind.metadata_name, None);
    let alias = ask("a.attacker.example", vec![RData::Name(name("metadata.google.internal"))]);
    assert_eq!(alias.metadata_name, None, "of another type");
    assert_eq!(rebind.other_answers.len(), 1);
    assert_eq!(rebind.metadata_answers.iter().map(|a| a.1).collect::<Vec<_>>(), ["unknown", "alibaba"]);
    assert_eq!(ask("localhost", vec![RData::A([127, 0, 0, 1].into())]).metadata_answers, []);
    // Priority 1, target ".", alpn, then an address to connect to at once.
    let parameters = [&[0, 1, 0, 3, 2, b'h', b'2', 0, 4, 0, 4][..], &[169, 254, 169, 254]].concat();
    let hint = RData::WithName(vec![0, 1], Name::default(), parameters);
    assert_eq!(ask("a.attacker.example", vec![hint]).metadata_answers.len(), 1);
}

/// A request made from an entry's own pattern, headers and endpoint is told to be that entry.
#[test]
fn every_entry_can_be_reached() {
    let catalogue = Catalogue::builtin().unwrap();
    let mut missed = Vec::new();
    for path in catalogue.paths() {
        let entry = path.entry;
        let Some(endpoint) = path
            .endpoints
            .iter()
            .find(|e| e.by_address() && !e.addresses.is_empty())
            .or_else(|| path.endpoints.first())
        else {
            continue;
        };
        let ip = endpoint.addresses.first().copied().unwrap_or_else(|| IpAddr::from([10, 1, 1, 1]));
        let port = endpoint.ports.first().copied().unwrap_or(41299);
        let server = std::net::SocketAddr::new(ip, port).to_string();
        let headers: String = entry
            .required_headers
            .iter()
            .map(|choice| &choice.0[0])
            .map(|rule| format!("\n{}: {}", rule.name, rule.value.as_deref().unwrap_or("x")))
            .collect();
        let host = endpoint
            .domains
            .iter()
            .find_map(|d| d.literal())
            .filter(|_| ip == IpAddr::from([10, 1, 1, 1]))
            .unwrap_or("x");
        for pattern in &entry.patterns {
            let query: String = entry.query.iter().map(|rule| format!("{}&", rule.sample())).collect();
            let request = format!("GET {}?{query} HTTP/1.1\nHost: {host}{headers}", pattern.sample());
            imds(&request, &ok(&aws_keys()), "93.184.216.34:80");
            let got = imds(&request, "", &server);
            let told = got.as_ref().map(|i| (i.provider, i.path_id.unwrap_or("-"), i.sensitivity));
            if told != Some((&entry.provider, entry.id(), entry.sensitivity)) {
                missed.push(format!("{} {} {} -> {told:?}", entry.id(), server, pattern.sample()));
            }
        }
    }
    // Behind an entry that is more exact or comes first, or no metadata traffic by path alone.
    let hidden = [
        "aws-iid-signed",
        "aws-metadata-other",
        "aws-ecs-agent-introspect",
        "aws-lambda-next",
        "cs-userdata",
        "upc-json",
        "ncp-creds",
    ];
    let missed: Vec<_> = missed.iter().filter(|m| !hidden.iter().any(|id| m.starts_with(id))).collect();
    assert!(missed.is_empty(), "{missed:#?}");
}

#[test]
fn a_tunnel_of_ones_own_to_the_service_is_no_forgery() {
    let kinds = |via: &str| {
        let tx = Transaction { via: Some(via.as_bytes().into()), ..exchange(ROLE, &ok(&aws_keys()), "192.0.2.8:3128") };
        detector().http(&tx, true).candidates.iter().map(|c| c.kind).collect::<Vec<_>>()
    };
    assert_eq!(kinds("169.254.169.254:80"), []);
    assert_eq!(kinds("shop.example:80"), [CandidateKind::Attempt]);
}

/// Requests asked again and again, among others: each is judged as if it were the first.
#[test]
fn what_is_remembered_changes_no_verdict() {
    let requests = [
        (ROLE, AWS),
        ("GET /latest/meta-data/iam/security-credentials/demo HTTP/1.1\nHost: 169.254.169.254.nip.io", AWS),
        ("GET /latest/meta-data/iam/security-credentials/demo HTTP/1.1\nHost: example.com\nVia: x", AWS),
        ("GET /latest/meta-data/iam/security-credentials/demo HTTP/1.1\nHost: u@169.254.169.254", AWS),
        ("GET /latest/meta-data/iam/security-credentials/demo HTTP/1.1\nHost: 169.254.169.254\nHost: x.example", AWS),
        ("GET /latest/meta-data/iam/security-credentials/demo?x=y HTTP/1.1\nHost: 169.254.169.254", AWS),
        ("GET /latest//meta-data/iam/ HTTP/1.1\nHost: 0xA9FEA9FE\nUser-Agent: abcdefghijklm0123456789/1", AWS),
        ("GET /latest/user-data/abcdefghij0123456789 HTTP/1.1\nHost: 169.254.169.254", AWS),
        ("GET /computeMetadata/v1/instance/service-accounts HTTP/1.1\nHost: metadata\nMetadata-Flavor: Google", AWS),
        ("GET /v2/credentials/6ba7b810-9dad-11d1-80b4-00c04fd430c8 HTTP/1.1\nHost: 169.254.170.2", "169.254.170.2:80"),
        ("CONNECT 169.254.169.254:80 HTTP/1.1\nHost: 169.254.169.254", AWS),
        ("GET /latest/meta-data/iam/security-credentials/demo HTTP/1.1\nHost: 169.254.169.254", "10.0.0.1:80"),
    ];
    let mut old = detector();
    for (request, server) in requests.iter().cycle().take(3 * requests.len()) {
        let tx = exchange(request, &ok(&aws_keys()), server);
        let mut new = detector();
        old.memory = Memory::default();
        let (got, want) = (old.http(&tx, true), new.http(&tx, true));
        assert_eq!((got.imds, got.carried), (want.imds, want.carried), "{request}");
    }
    // the first, the disguised address and the name; neither queries, users, nor what looks like a secret
    assert_eq!(old.targets.len(), 3);
}
