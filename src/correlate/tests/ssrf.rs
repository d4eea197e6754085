//! Request forgery: attempts, confirmations, redirects, and what is neither.

use super::*;

#[test]
fn a_fetch_while_the_inbound_request_is_open_confirms_it() {
    let mut run = Run::new();
    // any address of the host may fetch
    run.see(get("10.20.1.77:5", IMDS, ROLE, (10, 20), 200).issued(RecognisedBy::Address).signals(&[Signal::V1]));
    run.see(inbound(ATTACKER, FRONT, &imds_url(), (0, 30), 200).carries(SECRET, false));
    let alerts = run.finish();
    assert_eq!(ssrf_alerts(&alerts), expected("ssrf-confirmed"));
    let alert = alerts.iter().find(|alert| alert.rule == Rule::SsrfConfirmed).unwrap();
    assert_eq!(words(alert), ["request", "fetch", "issued", "relayed"]);
    assert_eq!(alert.signals.slugs(), ["issued", "relayed"]);
    assert_eq!((alert.severity, alert.outcome), (Severity::Critical, Outcome::Success));
    assert_eq!(alert.leg.as_ref().unwrap().event_id, EventId(1));
    assert_eq!(rules(&alerts).iter().filter(|(rule, _)| *rule == "imds-credential-issued").count(), 1);
    let relayed: Vec<_> = alerts.iter().filter(|alert| alert.rule == Rule::CredentialRelayed).collect();
    assert_eq!(relayed.len(), 1);
    assert_eq!(words(relayed[0]), ["issued", "relayed"]);
}

#[test]
fn an_attempt_that_leads_nowhere_stays_one() {
    let mut run = Run::new();
    run.see(inbound(ATTACKER, FRONT, &imds_url(), (0, 5), 403));
    assert!(run.alerts.is_empty(), "it waits for what belongs to it");
    // an agent fetches the same path later: it is an SDK's habit
    let agent =
        get(APP, IMDS, ROLE, (3_000, 3_001), 200).issued(RecognisedBy::Address).v2(1).signals(&[Signal::SdkUserAgent]);
    run.see(agent);
    let alerts = run.finish();
    assert_eq!(ssrf_alerts(&alerts), expected("ssrf-attempt"));
    let attempt = alerts.iter().find(|alert| alert.rule == Rule::SsrfAttempt).unwrap();
    assert_eq!(
        (attempt.severity, attempt.outcome, attempt.signals.slugs()),
        (Severity::Medium, Outcome::Failure, vec!["refused"])
    );
}

#[test]
fn a_later_fetch_by_the_server_confirms_within_the_window() {
    for (client, at, confirmed) in [(APP, 30_000, true), (APP, 61_000, false), ("10.20.9.9:1", 30_000, false)] {
        let mut run = Run::new();
        run.see(inbound(ATTACKER, FRONT, &imds_url(), (0, 5), 202));
        run.see(get(client, IMDS, ROLE, (at, at + 1), 200).issued(RecognisedBy::Address));
        let found = ssrf_alerts(&run.finish());
        assert_eq!(found.iter().any(|(rule, ..)| *rule == "ssrf-confirmed"), confirmed, "{client} {at}");
    }
}

#[test]
fn another_path_confirms_nothing_and_a_suffix_does() {
    let mut run = Run::new();
    run.see(get(APP, IMDS, "/latest/meta-data", (1, 2), 200).imds(Sensitivity::Discovery, RecognisedBy::Address));
    run.see(inbound(ATTACKER, FRONT, &imds_url(), (0, 5), 200));
    assert_eq!(ssrf_alerts(&run.finish()), expected("ssrf-attempt"));
    let mut run = Run::new();
    run.see(get(APP, IMDS, "/latest/user-data", (1, 2), 200).imds(Sensitivity::UserData, RecognisedBy::Address));
    run.see(inbound(ATTACKER, FRONT, "/fetch?url=http://2852039166/imds/latest/user-data", (0, 5), 200));
    assert_eq!(ssrf_alerts(&run.finish()), expected("ssrf-confirmed"));
}

#[test]
fn mentions_are_silent_until_the_host_makes_the_request() {
    let command = "/ping?host=x;curl%20http://169.254.169.254/latest/user-data";
    let mut run = Run::new();
    run.see(inbound(ATTACKER, FRONT, command, (0, 5), 200));
    assert!(run.finish().is_empty());
    let mut run = Run::new();
    run.see(get(APP, IMDS, "/latest/user-data", (1, 2), 200).imds(Sensitivity::UserData, RecognisedBy::Address));
    run.see(inbound(ATTACKER, FRONT, command, (0, 5), 200));
    assert_eq!(ssrf_alerts(&run.finish()), expected("ssrf-confirmed"));
}

#[test]
fn of_proxy_hops_the_outermost_gives_the_ends() {
    let hop = |run: &mut Run, status| {
        run.see(inbound("127.0.0.1:50000", "127.0.0.1:8000", &imds_url(), (5, 25), status).carries(SECRET, false));
        run.see(inbound(ATTACKER, FRONT, &imds_url(), (0, 30), status).carries(SECRET, false));
    };
    let mut run = Run::new();
    hop(&mut run, 403);
    assert_eq!(ssrf_alerts(&run.finish()), expected("ssrf-attempt"));
    let mut run = Run::new();
    run.see(get(APP, IMDS, ROLE, (10, 20), 200).issued(RecognisedBy::Address));
    hop(&mut run, 200);
    let alerts = run.finish();
    assert_eq!(ssrf_alerts(&alerts), expected("ssrf-confirmed"));
    let relays: Vec<_> = alerts.iter().filter(|alert| alert.rule == Rule::CredentialRelayed).collect();
    assert_eq!(relays.iter().map(|alert| alert.subject.source()).collect::<Vec<_>>(), [ATTACKER]);
    // a job queue behind the proxy fetches later: the alert still has the outer ends
    let mut run = Run::new();
    run.see(inbound("10.20.0.1:50000", "10.20.0.99:8000", &imds_url(), (5, 25), 200));
    run.see(inbound(ATTACKER, FRONT, &imds_url(), (0, 30), 200));
    run.see(get("10.20.0.99:1", IMDS, ROLE, (9_000, 9_001), 200).issued(RecognisedBy::Address));
    let found = ssrf_alerts(&run.finish());
    assert_eq!(found, [expected("ssrf-attempt"), expected("ssrf-confirmed")].concat());
}

#[test]
fn a_diverted_metadata_request_is_no_attempt() {
    let mut run = Run::new();
    let after_dnat = get(HOST, "10.0.0.5:8181", ROLE, (11, 19), 200).header("Host", "169.254.169.254", true);
    run.see(after_dnat);
    run.see(get(HOST, IMDS, ROLE, (10, 20), 200).issued(RecognisedBy::Address));
    assert!(ssrf_alerts(&run.finish()).is_empty());
}

#[test]
fn a_scanner_of_many_servers_is_told_for_each() {
    let mut run = Run::new();
    run.see(inbound("203.0.113.66:35605", "10.20.0.11:80", &imds_url(), (1, 4), 404));
    run.see(inbound(ATTACKER, FRONT, &imds_url(), (0, 5), 404));
    assert_eq!(ssrf_alerts(&run.finish()).len(), 2);
}

#[test]
fn redirects_are_followed() {
    let to = |path: &str, location: &str, at| {
        let asked = get(APP, "203.0.113.66:80", path, (at, at), 302).header("Host", "203.0.113.66", true);
        asked.header("Location", location, false)
    };
    let role = format!("http://169.254.169.254{ROLE}");
    let mut run = Run::new();
    run.see(to("/r", "/r2?x=%41", 2));
    run.see(to("/r2?x=A", &role, 3));
    run.see(get(APP, IMDS, ROLE, (4, 5), 200).issued(RecognisedBy::Address));
    run.see(inbound(ATTACKER, FRONT, &fetch_url("http://203.0.113.66/r"), (0, 9), 200));
    let alerts = run.finish();
    assert_eq!(ssrf_alerts(&alerts), expected("ssrf-confirmed"));
    let alert = alerts.iter().find(|alert| alert.rule == Rule::SsrfConfirmed).unwrap();
    assert_eq!(words(alert), ["request", "redirect", "redirect", "fetch", "issued", "response"]);
    // without the fetch it is an attempt; a redirect elsewhere is nothing
    let mut run = Run::new();
    run.see(to("/r", &role, 2));
    run.see(inbound(ATTACKER, FRONT, &fetch_url("http://203.0.113.66/r"), (0, 9), 200));
    assert_eq!(ssrf_alerts(&run.finish()), expected("ssrf-attempt"));
    let mut run = Run::new();
    run.see(to("/r", "http://cdn.example/x.png", 2));
    run.see(inbound(ATTACKER, FRONT, &fetch_url("http://203.0.113.66/r"), (0, 9), 200));
    assert!(run.finish().is_empty());
}

#[test]
fn the_hosts_own_fetch_raises_nothing() {
    let target = format!("/r?u=http://169.254.169.254{ROLE}");
    let mut run = Run::new();
    run.see(inbound(APP, "203.0.113.66:80", &target, (2, 3), 200).header("Host", "evil.example", true));
    run.see(inbound(ATTACKER, FRONT, &fetch_url(&format!("http://evil.example{target}")), (0, 9), 200));
    // the URL that is handed in carries another: that request is an attempt, and the fetch of the first one nothing more
    assert_eq!(ssrf_alerts(&run.finish()), expected("ssrf-attempt"));
}

#[test]
fn a_request_that_is_metadata_traffic_itself_does_not_confirm_itself() {
    let mut run = Run::new();
    let target = format!("http://169.254.169.254{ROLE}");
    let mut absolute = get(ATTACKER, "10.20.0.10:8080", &target, (0, 9), 200).issued(RecognisedBy::Name);
    absolute = absolute.header("Via", "x", false);
    run.see(absolute);
    let alerts = run.finish();
    let found: Vec<_> = ssrf_alerts(&alerts).into_iter().map(|(rule, ..)| rule).collect();
    assert_eq!(found, ["ssrf-attempt"]);
}
