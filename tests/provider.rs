//! A provider that a configuration adds is as whole as one of the compiled-in catalogue: its credentials are issued,
//! masked, fingerprinted and found leaving, and no header that carries its secrets is written.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests fail by panicking"
)]

mod common;

use common::config_with;
use common::wire::{Wire, alerts, events, message};
use imdswatch::catalogue::Headers;
use imdswatch::config;
use serde_json::Value;

const VM: &str = "10.20.0.10";
const SERVICE: &str = "169.254.169.254:80";
const SECRET: &str = "Vq3zT8mLw1Kc9RbXn5Jd2YhG7sPf4AeU6oBi0DtW";

const ACME: &str = r#"
[http]
send_all_headers = true
redact_authorization = false
split_cookie = true
send_request = true
send_response = true
include_body_for = ["json", "text"]

[[catalogue.endpoint]]
id = "acme"
provider = "acme"
service = "imds"
addresses = ["169.254.169.254"]
ports = [80]
server_headers = ["Server: acme"]
session_header = "X-My-Session"

[[catalogue.path]]
id = "acme-credentials"
provider = "acme"
service = "imds"
endpoints = ["acme"]
patterns = ["/acme/v1/credentials/*"]
sensitivity = "credential"
kind = "acme-key"
scope = "path"
proof = ["ApiKeyId", "ApiSecret"]
secret = ["ApiSecret"]
companion = ["ApiCompanion"]
identifier = ["ApiKeyId"]
expiry = ["ApiEnd"]

[[catalogue.path]]
id = "acme-session"
provider = "acme"
service = "imds"
endpoints = ["acme"]
patterns = ["/acme/v1/session"]
sensitivity = "token"
secret = ["SessionKey"]
"#;

fn answer(body: &str) -> Vec<u8> {
    message(&format!("HTTP/1.1 200 OK\nServer: acme\nContent-Type: application/json\n\n{body}"))
}

fn get(target: &str, host: &str) -> Vec<u8> {
    message(&format!("GET {target} HTTP/1.1\nHost: {host}\nUser-Agent: curl/8.5.0"))
}

#[test]
fn its_credentials_are_issued_masked_fingerprinted_and_found_leaving() {
    let companion = "Ht6Yq2Wn8Zr4Xm0Lk";
    let body = format!(
        r#"{{"ApiKeyId": "AK-1234", "ApiSecret": "{SECRET}", "ApiCompanion": "{companion}", "ApiEnd": "2026-11-24T12:00:00Z"}}"#
    );
    let mut wire = Wire::default();
    wire.exchange(VM, SERVICE, &get("/acme/v1/credentials/web", "169.254.169.254"), &answer(&body));
    for secret in [SECRET, companion] {
        wire.exchange(VM, "203.0.113.9:80", &get(&format!("/collect?k={secret}"), "drop.example"), &answer("{}"));
    }
    let output = wire.replay(&config_with(&["-e", "all"], ACME));
    assert!(!output.contains(SECRET) && !output.contains(companion), "{output}");
    let events = events(&output);
    let found = alerts(&events);
    assert!(found.iter().any(|alert| alert.starts_with("imds-credential-issued")), "{found:?}");
    assert_eq!(found.iter().filter(|alert| alert.starts_with("credential-relayed")).count(), 2, "{found:?}");
    let credential =
        &events.iter().find(|event| event["imds"]["credential"].is_object()).unwrap()["imds"]["credential"];
    assert_eq!(credential["issued"], true);
    assert_eq!(credential["kind"], "acme-key");
    assert_eq!(credential["id"], "AK-1234");
    assert_eq!(credential["scope"], "web");
    assert_eq!(credential["expires"], "2026-11-24T12:00:00Z");
    assert_eq!(credential["fingerprint"].as_str().map(str::len), Some(32));
}

#[test]
fn its_session_token_joins_the_requests_that_carry_it() {
    let token = "Session0123456789abcdefSESSION";
    let mut wire = Wire::default();
    let issued = answer(&format!(r#"{{"SessionKey": "{token}", "expires_in": 60}}"#));
    wire.exchange(VM, SERVICE, &get("/acme/v1/session", "169.254.169.254"), &issued);
    let with = |host: &str| {
        message(&format!("GET /acme/v1/about HTTP/1.1\nHost: {host}\nUser-Agent: curl/8.5.0\nX-My-Session: {token}"))
    };
    wire.exchange("10.20.0.11", SERVICE, &with("169.254.169.254"), &answer("{}"));
    let output = wire.replay(&config_with(&["-e", "all"], ACME));
    assert!(!output.contains(token), "{output}");
    let is_shared = |event: &Value| {
        event["imds"]["signals"].as_array().is_some_and(|all| all.contains(&Value::from("token-shared")))
    };
    assert!(events(&output).iter().any(is_shared), "{output}");
}

/// Each header that the catalogue or the configuration calls secret, in each place where headers are written.
#[test]
fn no_header_that_carries_a_secret_is_written() {
    let config = config_with(&["-e", "all"], ACME);
    let names = [
        "X-My-Session",
        "X-aws-ec2-metadata-token",
        "X-metadata-token",
        "X-aliyun-ecs-metadata-token",
        "X-volc-ecs-metadata-token",
        "Metadata-Token",
        "Secret",
        "X-IDENTITY-HEADER",
        "X-MS-Azure-Host-Authorization",
        "X-Amz-Security-Token",
        "Authorization",
        "Proxy-Authorization",
        "Cookie",
    ];
    for name in names {
        for value in [SECRET.to_owned(), format!("Bearer {SECRET}"), format!("session={SECRET}")] {
            let mut wire = Wire::default();
            let lines =
                format!("GET /acme/v1/about HTTP/1.1\nHost: 169.254.169.254\n{name}: {value}\n folded-{SECRET}");
            wire.exchange(VM, SERVICE, &message(&lines), &answer("{}"));
            let output = wire.replay(&config);
            assert!(output.contains(&name.to_lowercase()), "{name} is not named: {output}");
            assert!(!output.contains(SECRET), "{name}: {output}");
        }
    }
    let headers = Headers::builtin();
    assert!(names.iter().skip(1).all(|name| !headers.may_write(name.as_bytes(), SECRET.as_bytes(), true)));
}

#[test]
fn a_credential_path_without_a_known_secret_is_refused() {
    let refused = |text: &str| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("acme.toml");
        std::fs::write(&path, text).unwrap();
        config::check(&path).err().map(|error| error.to_string())
    };
    assert_eq!(refused(ACME), None);
    let silent = ACME.replace("secret = [\"ApiSecret\"]\n", "");
    let error = refused(&silent).unwrap();
    let line = silent.lines().position(|line| line == "id = \"acme-credentials\"").unwrap() + 1;
    assert!(error.contains("`acme-credentials`: which key of the answer holds the secret?"), "{error}");
    assert!(error.contains(&format!("line {line}")), "{error}");
    assert_eq!(refused(&silent.replace("ApiSecret", "SecretAccessKey")), None);
}
