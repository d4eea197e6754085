//! Rule files for other engines, made of the catalogue: `imdswatch rules --export` (contract section 8).
//!
//! In: the catalogue. Out: text in the engine's own format. What the engines cannot say (disguises, proof, history) stays
//! with this program: the rules for its alerts hand those on.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::IpAddr;

use serde_json::{Value, json};

use crate::catalogue::{Catalogue, Path, PathPattern, Sensitivity};
use crate::correlate::AllowEntry;
use crate::rules::TECHNIQUE;

/// Strings of command lines that name metadata: those of the source rule, with the addresses and names of the catalogue.
const COMMAND_PATHS: [&str; 7] = [
    "metadata/instance",
    "iam/security-credentials",
    "latest/meta-data",
    "latest/dynamic",
    "instance-identity",
    "computeMetadata",
    "metadata/v1",
];

/// DNS, DHCP and time at the same addresses, in Sigma. As ranges: not every engine compares a number with a list.
const NEIGHBOURS: &str = "    filter_main_dns:
        DestinationPort|gte: 53
        DestinationPort|lte: 53
    filter_main_dhcp:
        DestinationPort|gte: 67
        DestinationPort|lte: 68
    filter_main_time:
        DestinationPort|gte: 123
        DestinationPort|lte: 123
";

/// Addresses at which nothing but metadata is served, and names that have a dot, without wildcards.
struct Indicators {
    addresses: Vec<IpAddr>,
    names: Vec<String>,
}

impl Indicators {
    fn of(catalogue: &Catalogue) -> Self {
        let endpoints = || catalogue.endpoints().iter().filter(|endpoint| endpoint.by_address());
        let addresses: BTreeSet<IpAddr> = endpoints().flat_map(|endpoint| endpoint.addresses.iter().copied()).collect();
        let names = endpoints().flat_map(|endpoint| &endpoint.domains).filter_map(|domain| domain.literal());
        let names: BTreeSet<String> = names.filter(|name| name.contains('.')).map(str::to_ascii_lowercase).collect();
        Self { addresses: addresses.into_iter().collect(), names: names.into_iter().collect() }
    }

    /// What is looked for in command lines.
    fn in_commands(&self) -> Vec<String> {
        let addresses = self.addresses.iter().map(IpAddr::to_string);
        addresses.chain(self.names.iter().cloned()).chain(COMMAND_PATHS.map(str::to_owned)).collect()
    }
}

fn agents() -> Vec<String> {
    AllowEntry::defaults().into_iter().filter_map(|entry| entry.process).collect()
}

/// Sigma rules: the two patterns of the source rule, and this program's own alerts.
pub fn sigma(catalogue: &Catalogue) -> String {
    let indicators = Indicators::of(catalogue);
    let list = |indent: usize, items: &[String]| {
        items.iter().fold(String::new(), |mut out, item| {
            let _ = writeln!(out, "{:indent$}- '{}'", "", item.replace('\'', "''"));
            out
        })
    };
    let agents = agents();
    let images: Vec<String> = agents.iter().flat_map(|name| [format!("/{name}"), format!("\\{name}")]).collect();
    let addresses: Vec<String> = indicators.addresses.iter().map(IpAddr::to_string).collect();
    let head = |title: &str, id: &str, description: &str, logsource: &str| {
        format!(
            "title: {title}\nid: {id}\nstatus: stable\ndescription: {description}\nreferences:\n    - {TECHNIQUE}\n\
             author: imdswatch\ndate: 2026-11-30\ntags:\n    - attack.credential-access\n    - attack.t1552.005\n\
             logsource:\n{logsource}"
        )
    };
    let commands = format!(
        "{}detection:\n    selection:\n        CommandLine|contains:\n{}    filter_main_agents:\n        Image|endswith:\n{}    \
         condition: selection and not 1 of filter_main_*\nfalsepositives:\n    - Provisioning tools and health checks that \
         read the instance's region or id\n    - Firewall rules and searches that only name the address\nlevel: medium\n",
        head(
            "Command Line Names a Cloud Metadata Service",
            "5d7c0c3e-6a51-4b0e-9f57-3c9a1f0f6d11",
            "A process was started whose command line names the address, a name or a path of an instance metadata service.",
            "    category: process_creation\n"
        ),
        list(12, &indicators.in_commands()),
        list(12, &images),
    );
    let connections = format!(
        "{}detection:\n    selection_address:\n        DestinationIp:\n{}    selection_name:\n        DestinationHostname:\n{}    \
         filter_main_agents:\n        Image|endswith:\n{}{NEIGHBOURS}    condition: 1 of selection_* and not 1 of \
         filter_main_*\nfalsepositives:\n    - SDKs and agents that are not on the list\nlevel: low\n",
        head(
            "Connection to a Cloud Metadata Service",
            "0b8f7a5e-2f0d-4b3c-8d3b-7a8f5a0f3c22",
            "A process that is no known agent connected to an instance metadata service.",
            "    category: network_connection\n"
        ),
        list(12, &addresses),
        list(12, &indicators.names),
        list(12, &images),
    );
    let alerts = format!(
        "{}detection:\n    selection:\n        event.kind: alert\n        rule.ruleset: imdswatch\n        event.severity|gte: \
         73\n    condition: selection\nfalsepositives:\n    - Clients that are new on a host; see imds.signals\nlevel: high\n",
        head(
            "imdswatch Alert of High or Critical Severity",
            "c1a4b7de-91b0-4a68-b9a5-5e1c2d7f8e33",
            "imdswatch saw a credential asked for, issued, or leaving, or a request forgery that reached a metadata service.",
            "    product: imdswatch\n    service: alert\n"
        ),
    );
    [commands, connections, alerts].join("---\n")
}

/// Elastic detection rules, one JSON object a line, as Kibana imports them.
pub fn elastic(catalogue: &Catalogue) -> String {
    let indicators = Indicators::of(catalogue);
    let quoted =
        |items: Vec<String>| items.iter().map(|item| Value::from(item.as_str()).to_string()).collect::<Vec<_>>();
    let patterns = quoted(indicators.in_commands().iter().map(|text| format!("*{text}*")).collect()).join(", ");
    let commands = format!(
        "any where event.category == \"process\" and event.type == \"start\" and (process.args : ({patterns}) or \
         process.command_line : ({patterns})) and not process.name in~ ({})",
        quoted(agents()).join(", ")
    );
    let sequence = |first: (&str, &str), second: (&str, &str)| {
        format!(
            "sequence with maxspan=60s [any where rule.id == \"{}\"] by {} [any where rule.id == \"{}\"] by {}",
            first.0, first.1, second.0, second.1
        )
    };
    let (attempt, issued) = (("ssrf-attempt", "destination.ip"), ("imds-credential-issued", "source.ip"));
    let rules = [
        rule(Rule {
            id: "imdswatch-alerts",
            name: "imdswatch Alert",
            description: "Hands on every alert of imdswatch, with its own severity, risk score and name.",
            query: "event.kind : \"alert\" and rule.ruleset : \"imdswatch\"".to_owned(),
            severity: "medium",
            risk: 47,
            more: json!({
                "type": "query", "language": "kuery", "rule_name_override": "rule.name",
                "severity_mapping": severities(), "risk_score_mapping":
                    [{"field": "event.risk_score", "operator": "equals", "value": ""}],
            }),
        }),
        rule(Rule {
            id: "imdswatch-command-line",
            name: "Command Line Names a Cloud Metadata Service",
            description: "A process was started whose arguments name an instance metadata service.",
            query: commands,
            severity: "medium",
            risk: 47,
            more: json!({"type": "eql", "language": "eql"}),
        }),
        rule(Rule {
            id: "imdswatch-ssrf-over-sensors",
            name: "Request Forgery Followed by an Issued Credential",
            description: "A request that names a metadata service was sent to a host, and that host was then given a \
                          credential: two sensors, or two legs.",
            query: sequence(attempt, issued),
            severity: "critical",
            risk: 99,
            more: json!({"type": "eql", "language": "eql", "timestamp_field": "event.start"}),
        }),
        rule(Rule {
            id: "imdswatch-ssrf-over-sensors-reversed",
            name: "Request Forgery Around an Issued Credential",
            description: "The same where the clocks of the two sensors differ, so that the issuance seems to come first.",
            query: sequence(issued, attempt),
            severity: "critical",
            risk: 99,
            more: json!({"type": "eql", "language": "eql", "timestamp_field": "event.start"}),
        }),
    ];
    rules.iter().fold(String::new(), |mut out, rule| {
        let _ = writeln!(out, "{rule}");
        out
    })
}

/// What differs between Elastic rules.
struct Rule {
    id: &'static str,
    name: &'static str,
    description: &'static str,
    query: String,
    severity: &'static str,
    risk: u8,
    more: Value,
}

fn severities() -> Value {
    let one = |value: &str, severity: &str| json!({"field": "event.severity", "operator": "equals", "value": value, "severity": severity});
    json!([one("21", "low"), one("47", "medium"), one("73", "high"), one("99", "critical")])
}

fn rule(of: Rule) -> Value {
    let mut rule = json!({
        "id": of.id, "rule_id": of.id, "name": of.name, "description": of.description, "query": of.query,
        "severity": of.severity, "risk_score": of.risk, "enabled": true, "version": 1, "license": "Apache-2.0",
        "author": ["imdswatch"], "from": "now-9m", "to": "now", "interval": "5m", "max_signals": 100,
        "index": ["imdswatch-*", "packetbeat-*", "logs-network_traffic.*", "logs-endpoint.events.*", "auditbeat-*", "winlogbeat-*"],
        "references": [TECHNIQUE], "false_positives": [], "tags": ["Domain: Cloud", "Tactic: Credential Access", "imdswatch"],
        "threat": [{
            "framework": "MITRE ATT&CK",
            "tactic": {"id": "TA0006", "name": "Credential Access", "reference": "https://attack.mitre.org/tactics/TA0006/"},
            "technique": [{
                "id": "T1552", "name": "Unsecured Credentials", "reference": "https://attack.mitre.org/techniques/T1552/",
                "subtechnique": [{"id": "T1552.005", "name": "Cloud Instance Metadata API", "reference": TECHNIQUE}],
            }],
        }],
    });
    if let (Value::Object(rule), Value::Object(more)) = (&mut rule, of.more) {
        rule.extend(more);
    }
    rule
}

/// First number of our Suricata rules, in the range for local use.
const SID: u32 = 1_552_000;

/// Suricata rules: a request for each credential path, targets in requests to other servers, lookups.
pub fn suricata(catalogue: &Catalogue) -> String {
    let indicators = Indicators::of(catalogue);
    let addresses = indicators.addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(",");
    let mut out =
        String::from("# Made by `imdswatch rules --export suricata` of its catalogue of metadata services.\n");
    let mut sid = SID;
    let mut add = |action: &str, message: &str, body: &str, class: &str| {
        sid += 1;
        let _ = writeln!(
            out,
            "alert {action} (msg:\"IMDSWATCH {message}\"; {body} classtype:{class}; reference:url,{}; \
             metadata:mitre_tactic_id TA0006, mitre_technique_id T1552_005; sid:{sid}; rev:1;)",
            TECHNIQUE.trim_start_matches("https://").trim_end_matches('/')
        );
    };
    for path in catalogue.paths().iter().filter(|path| is_exported(path)) {
        for pattern in &path.entry.patterns {
            let (regex, literal) = (regex_of(catalogue, path, pattern), pattern.longest_literal());
            // a path without a word of its own is anybody's
            if literal.len() < 2 {
                continue;
            }
            let body = format!(
                "flow:established,to_server; http.uri; content:\"{}\"; pcre:\"/^{}/\";",
                content(&literal),
                regex.replace('/', "\\/").replace(';', "\\x3b").replace('"', "\\x22")
            );
            let message =
                format!("credential asked of the {} metadata service ({})", path.entry.provider, path.entry.id());
            add(&format!("http any any -> [{addresses}] any"), &content(&message), &body, "credential-theft");
        }
    }
    for target in indicators.addresses.iter().map(IpAddr::to_string).chain(indicators.names.iter().cloned()) {
        let body =
            |buffer: &str| format!("flow:established,to_server; {buffer}; content:\"{}\"; nocase;", content(&target));
        let ends = format!("http any any -> [{}] any", negated(&indicators.addresses));
        let message = |place: &str| content(&format!("{target} named in the {place} of a request to another server"));
        add(&ends, &message("target"), &body("http.uri"), "web-application-attack");
        add(&ends, &message("body"), &body("http.request_body"), "web-application-attack");
    }
    for name in &indicators.names {
        let body = format!("dns.query; content:\"{}\"; nocase; bsize:{};", content(name), name.len());
        let message = content(&format!("lookup of the metadata name {name}"));
        add("dns any any -> any any", &message, &body, "policy-violation");
    }
    out
}

/// A pattern's paths, without the list of names above them, which gives nothing away by itself.
fn regex_of(catalogue: &Catalogue, path: &Path, pattern: &PathPattern) -> String {
    let (regex, sample) = (pattern.regex(), pattern.sample());
    let (Some(begin), Some(list)) = (regex.strip_suffix("(/|\\?|$)"), sample.strip_suffix("/sample")) else {
        return regex;
    };
    let is_list = |other: &&Path| {
        other.entry.provider == path.entry.provider
            && other.entry.patterns.iter().any(|pattern| pattern.sample() == list)
    };
    let above = catalogue.paths().iter().find(is_list);
    match above.is_some_and(|other| other.entry.sensitivity < Sensitivity::Credential) {
        true => format!("{begin}/[^/?]"),
        false => regex,
    }
}

/// Paths that give credentials away at an address of their own.
fn is_exported(path: &Path) -> bool {
    path.entry.sensitivity == Sensitivity::Credential && path.endpoints.iter().any(|endpoint| endpoint.by_address())
}

fn negated(addresses: &[IpAddr]) -> String {
    addresses.iter().map(|address| format!("!{address}")).collect::<Vec<_>>().join(",")
}

/// Text of a `content` or `msg`: what has a meaning there is written in hexadecimal.
fn content(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        match c {
            ';' | '"' | '\\' | ':' | '|' => {
                let _ = write!(out, "|{:02x}|", c as u32);
            }
            _ => out.push(c),
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalogue() -> Catalogue {
        Catalogue::builtin().unwrap()
    }

    #[test]
    fn every_credential_path_has_a_rule_that_fits_it() {
        let (catalogue, rules) = (catalogue(), suricata(&catalogue()));
        for path in catalogue.paths().iter().filter(|path| is_exported(path)) {
            let words = |pattern: &&PathPattern| pattern.longest_literal().len() > 1;
            for pattern in path.entry.patterns.iter().filter(words) {
                assert!(rules.contains(&format!("({})", path.entry.id())), "{}", path.entry.id());
                let sample = pattern.sample().replace("YYYY-MM-DD", "2024-01-01");
                let regex = regex::Regex::new(&format!("^{}", pattern.regex())).unwrap();
                assert!(regex.is_match(&sample), "{sample} {regex}");
                assert!(sample.contains(&pattern.longest_literal()), "{sample} {}", pattern.longest_literal());
                assert!(!regex.is_match("/index.html"), "{regex}");
                let own = regex::Regex::new(&format!("^{}", regex_of(&catalogue, path, pattern))).unwrap();
                assert!(own.is_match(&sample), "{sample} {own}");
                assert!(!own.is_match("/latest/meta-data/iam/security-credentials/"), "{own}");
            }
        }
        let sids: BTreeSet<&str> = rules.split("sid:").skip(1).map(|rest| rest.split(';').next().unwrap()).collect();
        assert_eq!(sids.len(), rules.lines().count() - 1);
    }

    #[test]
    fn elastic_rules_are_json_a_line() {
        let rules = elastic(&catalogue());
        for line in rules.lines() {
            let rule: Value = serde_json::from_str(line).unwrap();
            assert!(rule["query"].as_str().is_some_and(|query| !query.is_empty()) && rule["risk_score"].is_u64());
        }
        assert!(rules.contains("169.254.169.254") && rules.contains("metadata.google.internal"));
    }

    #[test]
    fn sigma_rules_are_documents_with_all_that_is_demanded() {
        for document in sigma(&catalogue()).split("---\n") {
            for key in ["title:", "id:", "logsource:", "detection:", "    condition:", "level:"] {
                assert!(document.lines().any(|line| line.starts_with(key)), "{key} {document}");
            }
        }
    }
}
