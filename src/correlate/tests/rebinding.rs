//! Names that lead to metadata services.

use super::*;

fn rebindings(alerts: &[Alert]) -> Vec<(Severity, Vec<&'static str>)> {
    let of_rule = alerts.iter().filter(|alert| alert.rule == Rule::DnsRebinding);
    of_rule.map(|alert| (alert.severity, words(alert))).collect()
}

#[test]
fn foreign_names_for_metadata_addresses_are_rebinding() {
    let name = "rebind.attacker.example";
    let mut run = Run::new();
    run.observe(ms(1), lookup(APP, name, (0, 1), &["203.0.113.80"]));
    run.observe(ms(3), lookup(APP, name, (2, 3), &["169.254.169.254"]));
    run.observe(ms(4), lookup(APP, "cdn.example", (3, 4), &["198.51.100.1"]));
    assert_eq!(rebindings(&run.finish()), [(Severity::Critical, vec!["dns", "dns"])]);
    let mut run = Run::new();
    run.observe(ms(3), lookup(APP, name, (2, 3), &["169.254.169.254", "203.0.113.80"]));
    assert_eq!(rebindings(&run.finish()), [(Severity::High, vec!["dns"])]);
}

#[test]
fn a_fetch_by_name_makes_rebinding_critical_and_names_an_attempt() {
    let name = "static.attacker.example";
    let fetch = |at| get(APP, IMDS, ROLE, (at, at + 1), 200).issued(RecognisedBy::Address).header("Host", name, true);
    let mut run = Run::new();
    run.observe(ms(3), lookup(APP, name, (2, 3), &["169.254.169.254"]));
    run.see(fetch(4));
    run.see(inbound(ATTACKER, FRONT, &fetch_url(&format!("http://{name}{ROLE}")), (0, 9), 200));
    let alerts = run.finish();
    assert_eq!(rebindings(&alerts), [(Severity::Critical, vec!["dns", "fetch"])]);
    assert_eq!(ssrf_alerts(&alerts), expected("ssrf-confirmed"));
    let alert = alerts.iter().find(|alert| alert.rule == Rule::SsrfConfirmed).unwrap();
    assert_eq!(words(alert)[..3], ["request", "dns", "fetch"]);
    // a fetch after the alert was written raises the stronger one
    let mut run = Run::new();
    run.observe(ms(3), lookup(APP, name, (2, 3), &["169.254.169.254"]));
    run.see(fetch(30_000));
    let found = rebindings(&run.finish());
    assert_eq!(found, [(Severity::High, vec!["dns"]), (Severity::Critical, vec!["dns", "fetch"])]);
}

#[test]
fn a_url_whose_name_resolves_to_a_service_is_an_attempt_before_and_after() {
    let url = fetch_url("http://plain.attacker.example/anything");
    let mut run = Run::new();
    run.observe(ms(3), lookup(APP, "plain.attacker.example", (2, 3), &["169.254.169.254"]));
    run.see(inbound(ATTACKER, FRONT, &url, (0, 9), 403));
    assert_eq!(ssrf_alerts(&run.finish()), expected("ssrf-attempt"));
    let mut run = Run::new();
    run.see(inbound(ATTACKER, FRONT, &url, (0, 9), 202));
    run.correlator.tick(ms(5_000), &mut run.alerts);
    assert!(run.alerts.is_empty());
    run.observe(ms(6_000), lookup(APP, "plain.attacker.example", (5_999, 6_000), &["169.254.169.254"]));
    assert_eq!(ssrf_alerts(&run.finish()), expected("ssrf-attempt"));
}
