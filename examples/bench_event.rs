use imdswatch::decode::meta::{Hops, Vlans};
use imdswatch::detect::*;
use imdswatch::event::*;
use imdswatch::observe::{Conn, Endpoint, Proto};
use imdswatch::packet::Timestamp;
use imdswatch::proto::http::{Body, Head, Message, Note, Start, Transaction, Version};
fn end(text: &str) -> Endpoint {
    let end: std::net::SocketAddr = text.parse().unwrap();
    Endpoint { ip: end.ip(), port: end.port() }
}

fn conn(client: &str, server: &str) -> Conn {
    Conn {
        client: end(client),
        server: end(server),
        proto: Proto::Tcp,
        first_index: 0,
        client_ttl: None,
        server_ttl: None,
        macs: None,
        vlans: Vlans::default(),
        hops: Hops::default(),
        process: None,
    }
}

/// A message from its text, as the parser would give it: body counted by Content-Length or by what is there.
fn message(text: &str, first: Timestamp) -> Message {
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
        body: Body { len, captured: body.as_bytes().to_vec(), whole: true },
        head,
        gap: false,
        cut: false,
        complete: true,
    }
}

fn exchange(conn: Conn, request: Option<&str>, response: Option<&str>) -> Transaction {
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

fn imds(path: &str) -> Imds {
    let mut signals = Signals::default();
    signals.add(Signal::V1);
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
        headers: vec![("host".to_owned(), "169.254.169.254".to_owned())],
        signals,
        leg: Leg::Address,
        session_token: None,
        issued_token: None,
    }
}

fn main() {
    let tx = exchange(
        conn("10.0.1.23:43512", "169.254.169.254:80"),
        Some(
            "GET /latest/meta-data/iam/security-credentials/web-role HTTP/1.1\nHost: 169.254.169.254\nUser-Agent: curl/8.5.0\nAccept: */*",
        ),
        Some("HTTP/1.1 200 OK\nContent-Type: text/plain\nContent-Length: 1418\nServer: EC2ws"),
    );
    let verdict = Verdict {
        imds: Some(Box::new(imds("/latest/meta-data/iam/security-credentials/web-role"))),
        ..Verdict::default()
    };
    let writer = Writer::new(Settings::default());
    for mode in 0..3 {
        let issued = |hash: TokenHash| hash.0 == 7;
        let mask = if mode == 1 { Masker::new(&issued) } else { Masker::default() };
        let ctx = Context { mask, ..Context::default() };
        let mut out = Vec::new();
        let t = std::time::Instant::now();
        let n = 300_000u64;
        let v = if mode == 2 { Verdict::default() } else { verdict.clone() };
        for i in 0..n {
            if out.len() > 1 << 20 {
                out.clear();
            }
            let id = event_id("http", &tx.conn, Timestamp(i as i64), i);
            writer.http(&mut out, id, &tx, &v, &ctx);
        }
        let s = t.elapsed().as_secs_f64();
        println!("mode {mode}: {:.0} events/s, {:.2} us", n as f64 / s, s * 1e6 / n as f64);
    }
}
