//! Events of DNS transactions, read back as JSON and compared with what Packetbeat writes.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::conn::{Conn, Endpoint, Proto};
use crate::event::{Settings, event_id};
use crate::packet::Timestamp;
use crate::proto::dns::parse;

fn conn() -> Conn {
    let end = |ip: &str, port| Endpoint { ip: ip.parse().unwrap(), port };
    Conn::between(end("10.0.0.10", 4000), end("10.0.0.2", 53), Proto::Udp)
}

fn event_of(tx: &Transaction, settings: Settings, verdict: &DnsVerdict) -> Value {
    let writer = Writer::new(settings);
    let mut out = Vec::new();
    writer.dns(&mut out, event_id("dns", &tx.conn, Timestamp(0), 0), tx, verdict, &Context::default());
    serde_json::from_slice(&out).unwrap()
}

fn event(query: Option<&[u8]>, response: Option<&[u8]>, notes: Vec<Note>) -> Value {
    let read = |bytes: &[u8], time| Message { time: Timestamp(time), ..parse(bytes).unwrap() };
    let (query, response) = (query.map(|q| read(q, 1_000_000)), response.map(|r| read(r, 3_500_000)));
    let settings = Settings {
        dns: crate::event::settings::DnsSettings {
            include_authorities: true,
            include_additionals: true,
            send_request: true,
            send_response: true,
        },
        ..Settings::default()
    };
    let (query, response) = (query.map(Arc::new), response.map(Arc::new));
    event_of(&Transaction { conn: conn(), query, response, notes, question: 0 }, settings, &DnsVerdict::default())
}

const QUERY: &[u8] = b"\x12\x34\x01\x20\0\x01\0\0\0\0\0\0\x01x\x0CInstanceData\x03ec2\x08internal\0\0\x01\0\x01";

/// A response to [`QUERY`] with these records as answers.
fn response(records: &[(u16, &[u8])]) -> Vec<u8> {
    let mut out = QUERY.to_vec();
    out[2..4].copy_from_slice(&[0x85, 0x80]);
    out[7] = records.len() as u8;
    for (rtype, rdata) in records {
        out.extend_from_slice(&[0xC0, 12]);
        out.extend(rtype.to_be_bytes());
        out.extend_from_slice(&[0, 1, 0, 0, 0, 60]);
        out.extend((rdata.len() as u16).to_be_bytes());
        out.extend_from_slice(rdata);
    }
    out
}

/// The answers without what is the same on all of them.
fn answers(records: &[(u16, &[u8])]) -> Vec<Value> {
    let event = event(None, Some(&response(records)), vec![]);
    let mut answers = event["dns"]["answers"].as_array().cloned().unwrap_or_default();
    for answer in &mut answers {
        let answer = answer.as_object_mut().unwrap();
        assert_eq!(answer.remove("name"), Some(json!("x.InstanceData.ec2.internal")));
        assert_eq!((answer.remove("class"), answer.remove("ttl")), (Some(json!("IN")), Some(json!("60"))));
    }
    answers
}

#[test]
fn an_answered_query() {
    let mut event = event(Some(QUERY), Some(&response(&[(1, &[169, 254, 169, 254]), (1, &[1, 2, 3, 4])])), vec![]);
    let dns = event["dns"].take();
    assert_eq!(
        dns,
        json!({
            "id": 0x1234, "type": "answer", "op_code": "QUERY", "response_code": "NOERROR",
            "flags": {"authoritative": true, "truncated_response": false, "recursion_desired": true,
                      "recursion_available": true, "authentic_data": false, "checking_disabled": false},
            "header_flags": ["AA", "RD", "RA"],
            "question": {"name": "x.InstanceData.ec2.internal", "type": "A", "class": "IN",
                         "registered_domain": "ec2.internal", "etld_plus_one": "ec2.internal",
                         "top_level_domain": "internal", "subdomain": "x.InstanceData"},
            "answers_count": 2, "authorities_count": 0, "additionals_count": 0,
            "answers": [
                {"name": "x.InstanceData.ec2.internal", "type": "A", "class": "IN", "ttl": "60", "data": "169.254.169.254"},
                {"name": "x.InstanceData.ec2.internal", "type": "A", "class": "IN", "ttl": "60", "data": "1.2.3.4"}],
            "resolved_ip": ["169.254.169.254", "1.2.3.4"],
        })
    );
    assert_eq!((&event["type"], &event["status"], &event["method"]), (&json!("dns"), &json!("OK"), &json!("QUERY")));
    assert_eq!(event["query"], "class IN, type A, x.InstanceData.ec2.internal");
    assert_eq!(event["resource"], "x.InstanceData.ec2.internal");
    assert_eq!(event["related"]["ip"], json!(["10.0.0.10", "10.0.0.2", "169.254.169.254", "1.2.3.4"]));
    assert_eq!((&event["source"]["bytes"], &event["destination"]["bytes"]), (&json!(45), &json!(77)));
    assert_eq!(event["event"]["duration"], 2_500_000);
    assert_eq!(event["event"]["dataset"], "dns");
    let question = "QUESTION class IN, type A, x.InstanceData.ec2.internal";
    let request = format!("ID 4660; QR query; OPCODE QUERY; FLAGS rd ad; RCODE NOERROR; {question}");
    let response = format!(
        "ID 4660; QR response; OPCODE QUERY; FLAGS aa rd ra; RCODE NOERROR; {question}; ANSWER 169.254.169.254; 1.2.3.4"
    );
    assert_eq!((&event["request"], &event["response"]), (&json!(request), &json!(response)));
}

#[test]
fn one_side_alone_is_an_error_with_a_remark() {
    let asked = event(Some(QUERY), None, vec![Note::NoResponse]);
    assert_eq!((&asked["status"], &asked["dns"]["type"]), (&json!("Error"), &json!("query")));
    assert_eq!(asked["error"]["message"], "No response to this query was received");
    assert_eq!(asked["dns"]["header_flags"], json!(["RD", "AD"]));
    let answered = event(None, Some(&response(&[])), vec![Note::OrphanResponse, Note::NonEdnsResponseTooBig]);
    assert_eq!((&answered["status"], &answered["dns"]["type"]), (&json!("Error"), &json!("answer")));
    assert_eq!(answered["query"], "class IN, type A, x.InstanceData.ec2.internal");
    assert_eq!(
        answered["error"]["message"],
        json!([
            "Response: received without an associated Query",
            "Response: Non-EDNS packet has size greater than 512"
        ])
    );
    let mut refused = response(&[]);
    refused[3] |= 5;
    assert_eq!(event(Some(QUERY), Some(&refused), vec![])["status"], "Error");
}

#[test]
fn record_data_by_type() {
    let at: &[u8] = &[0xC0, 12];
    let name = "x.InstanceData.ec2.internal";
    let wire = "\\001x\\012InstanceData\\003ec2\\008internal\\000";
    let soa = [at, at, &[0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 5]].concat();
    let rrsig =
        [&[0, 1, 13, 2, 0, 0, 1, 44, 0x69, 0x55, 0xB9, 0, 0x67, 0x74, 0x85, 0x80, 0x12, 0x67][..], at, &[1, 2, 3]]
            .concat();
    let nsec = [at, &[0, 6, 0x40, 1, 0, 0, 0, 3]].concat();
    let cases: &[(u16, &[u8], Value)] = &[
        (
            28,
            &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 169, 254, 169, 254],
            json!({"type": "AAAA", "data": "169.254.169.254"}),
        ),
        (5, at, json!({"type": "CNAME", "data": name})),
        (12, &[0], json!({"type": "PTR", "data": "."})),
        (15, &[0, 10, 0xC0, 12], json!({"type": "MX", "preference": 10, "data": name})),
        (16, b"\x04a \"b\x03\x01\\\xFF", json!({"type": "TXT", "data": "a \\\"b \\001\\\\\\255"})),
        (
            33,
            &[0, 1, 0, 2, 0, 80, 0xC0, 12],
            json!({"type": "SRV", "priority": 1, "weight": 2, "port": 80, "data": name}),
        ),
        (
            6,
            &soa,
            json!({"type": "SOA", "rname": name, "serial": 1, "refresh": 2, "retry": 3, "expire": 4, "minimum": 5, "data": name}),
        ),
        (
            43,
            &[0xB2, 0x12, 7, 2, 0xAB, 0xCD],
            json!({"type": "DS", "key_tag": "45586", "algorithm": "RSASHA1-NSEC3-SHA1", "digest_type": "SHA256", "data": "ABCD"}),
        ),
        (
            46,
            &rrsig,
            json!({"type": "RRSIG", "type_covered": "A", "algorithm": "ECDSAP256SHA256", "labels": "2", "original_ttl": "300", "expiration": "20260101000000", "inception": "20250101000000", "key_tag": "4711", "signer_name": name, "data": "AQID"}),
        ),
        (47, &nsec, json!({"type": "NSEC", "type_bits": "A MX RRSIG NSEC", "data": "x.InstanceData.ec2.internal."})),
        (
            48,
            &[1, 1, 3, 13, 3, 1, 0, 1],
            json!({"type": "DNSKEY", "flags": "257", "protocol": "3", "algorithm": "ECDSAP256SHA256", "data": "AwEAAQ=="}),
        ),
        (
            50,
            &[1, 1, 0, 12, 1, 0xAB, 3, 1, 2, 3, 0, 1, 0x40],
            json!({"type": "NSEC3", "hash": "SHA1", "flags": "1", "iterations": "12", "salt": "AB", "type_bits": "A", "data": "04106"}),
        ),
        (
            51,
            &[1, 0, 0, 10, 0],
            json!({"type": "NSEC3PARAM", "hash": "SHA1", "flags": "0", "iterations": "10", "data": "-"}),
        ),
        (39, at, json!({"type": "DNAME", "data": wire})),
        (
            65,
            &[0, 1, 0xC0, 12, 0, 3, 0, 2, 1, 0xBB],
            json!({"type": "HTTPS", "data": format!("\\000\\001{wire}\\000\\003\\000\\002\\001\\187")}),
        ),
        (99, b"\x03a\tb", json!({"type": "SPF", "data": "\\003a\\tb"})),
        (4711, b"\r\n\"\x80", json!({"type": "4711", "data": "\\r\\n\\\"\\128"})),
    ];
    for (rtype, rdata, expected) in cases {
        assert_eq!(answers(&[(*rtype, rdata)]), std::slice::from_ref(expected), "type {rtype}");
    }
    // Not listed, but counted.
    let event = event(None, Some(&response(&[(1, &[]), (41, &[]), (5, &[])])), vec![]);
    assert_eq!(event["dns"]["answers_count"], 3);
    assert_eq!(event["dns"]["answers"].as_array().map(Vec::len), Some(1));
}

#[test]
fn edns_is_shown_by_its_options() {
    let mut query = QUERY.to_vec();
    query[11] = 1;
    query.extend_from_slice(b"\0\0\x29\x0F\xA0\x01\0\x80\0\0\x3A\0\x0A\0\x08\x01\x02\x03\x04\x05\x06\x07\x08\0\x08\0\x07\0\x01\x18\0\x01\x02\x03\0\x03\0\x01\xAB\0\x0C\0\x02\0\0\xFD\xE9\0\x01\x07\0\x05\0\x02\x08\x63\0\x02\0\x04\0\0\x0E\x10\0\x06\0\x01\x02");
    let event = event(Some(&query), None, vec![]);
    assert_eq!(
        event["dns"]["opt"],
        json!({"do": true, "version": "0", "udp_size": 4000, "ext_rcode": "BADSIG", "cookie": "0102030405060708",
               "subnet": "1.2.3.0/24/0", "nsid": "ab", "local": "65001:0x07", "dau": " RSASHA256 99", "ul": "3600 0", "dhu": " SHA256"})
    );
    assert_eq!(event["dns"]["header_flags"], json!(["RD", "AD", "DO"]));
    assert_eq!((&event["dns"]["additionals_count"], &event["dns"]["response_code"]), (&json!(0), &json!("BADSIG")));
    assert_eq!(event["request"].as_str().map(|text| text.ends_with("; ADDITIONAL ")), Some(true));
}

#[test]
fn names_are_parted_by_the_public_suffix_list() {
    let all = |name| {
        let Domain { registered, etld_plus_one, top_level, subdomain } = Domain::of(name);
        [registered, etld_plus_one, top_level, subdomain].map(|part| part.unwrap_or("-"))
    };
    assert_eq!(all("metadata.google.internal"), ["google.internal", "google.internal", "internal", "metadata"]);
    assert_eq!(all("a.b.example.co.uk"), ["example.co.uk", "example.co.uk", "co.uk", "a.b"]);
    assert_eq!(all("x.foo.github.io"), ["foo.github.io", "foo.github.io", "github.io", "x"]);
    assert_eq!(all("Example.CO.UK"), ["CO.UK", "CO.UK", "UK", "Example"]);
    assert_eq!(all("co.uk"), ["co.uk", "-", "uk", "-"]);
    assert_eq!(all("localhost"), ["-"; 4]);
    assert_eq!(all("."), [".", "-", "-", "-"]);
    assert_eq!(all("169.254.169.254"), ["-"; 4]);
    assert_eq!(all("a\\..com"), ["-"; 4]);
}

#[test]
fn a_metadata_name_makes_it_a_metadata_event() {
    let query = Some(Message { time: Timestamp(0), ..parse(QUERY).unwrap() });
    let query = query.map(Arc::new);
    let tx = Transaction { conn: conn(), query, response: None, notes: vec![], question: 0 };
    let verdict = DnsVerdict { metadata_name: Some(("aws", "imds")), ..DnsVerdict::default() };
    let event = event_of(&tx, Settings::default(), &verdict);
    assert_eq!(event["imds"], json!({"provider": "aws", "service": "imds"}));
    assert_eq!(event_of(&tx, Settings::default(), &DnsVerdict::default()).get("imds"), None);
}
