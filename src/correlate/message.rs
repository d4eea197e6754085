//! The sentence of each alert, for the person who has to act on it, and its risk score.

use crate::alert::{Rule, Severity, Subject};
use crate::detect::{Connection, Imds, NoRequest, Signal, Signals};

/// `event.risk_score`: the severity, lowered within its band when nothing came of it or a known pattern explains it.
pub fn risk(severity: Severity, signals: Signals) -> u8 {
    let harmless = [Signal::Refused, Signal::NotFound, Signal::Unanswered, Signal::SdkPattern];
    let lowered = harmless.iter().filter(|signal| signals.has(**signal)).count().min(2) as u8;
    severity.number() - 8 * lowered.min(2)
}

/// For alerts of the request family.
pub fn request(rule: Rule, subject: &Subject, imds: &Imds, signals: Signals) -> String {
    let (client, service) = (subject.conn.client.ip, service(imds));
    let with = agent(subject);
    let path = &imds.path;
    let what = match rule {
        Rule::ImdsCredentialIssued => {
            let credential = credential(imds);
            let advice = if signals.has(Signal::SdkPattern) {
                "as an SDK does; make sure that this host runs what needs them"
            } else {
                "revoke the credential's sessions unless this was the host's own application"
            };
            return format!("{client} was given {credential} by {service} ({path}){with}: {advice}");
        }
        Rule::ImdsCredentialRequest => format!("asked {service} for credentials at {path}{}", ending(signals)),
        Rule::ImdsIdentity => format!("asked {service} for a signed identity at {path}{}", ending(signals)),
        Rule::ImdsUserData => {
            format!("read user data of {service} at {path}{}, which often holds secrets", ending(signals))
        }
        Rule::ImdsToken => format!("asked {service} for a session token{}", ending(signals)),
        _ => format!("read {path} of {service}{}", ending(signals)),
    };
    format!("{client} {what}{with}{}", remark(signals))
}

/// For `imds-enumeration`.
pub fn enumeration(subject: &Subject, imds: &Imds, steps: usize, impossible: bool) -> String {
    let (client, with) = (subject.conn.client.ip, agent(subject));
    if impossible {
        let path = &imds.path;
        return format!("{client} asked {} for {path}, a path that only word lists have{with}", service(imds));
    }
    format!(
        "{client} walks the tree of {}, {steps} paths or more so far{with}: find out what runs there",
        service(imds)
    )
}

/// For `imds-connection`.
pub fn connection(connection: &Connection) -> String {
    let (client, server) = (connection.conn.client.ip, super::subject::end(&connection.conn.server));
    let why = match connection.why {
        NoRequest::SynOnly => "tried to reach, without an answer,",
        NoRequest::Refused => "was refused by",
        NoRequest::Tls => "spoke TLS with",
        NoRequest::NotHttp => "spoke something other than HTTP with",
    };
    format!("{client} {why} the metadata address {server}")
}

/// `the AWS metadata service (imds)`.
pub fn service(imds: &Imds) -> String {
    match imds.provider {
        "unknown" => "the metadata service".to_owned(),
        provider => format!("the {provider} metadata service ({})", imds.service),
    }
}

/// What was issued: kind, id, scope, expiry.
pub fn credential(imds: &Imds) -> String {
    let Some(credential) = &imds.credential else { return "a credential".to_owned() };
    let mut text = format!("a credential ({}", credential.kind.unwrap_or("kind unknown"));
    for (name, value) in [("", &credential.id), ("for ", &credential.scope), ("valid until ", &credential.expires)] {
        if let Some(value) = value {
            text.push_str(", ");
            text.push_str(name);
            text.push_str(value);
        }
    }
    text.push(')');
    text
}

fn agent(subject: &Subject) -> String {
    let process = subject.conn.process.as_ref().map(|process| format!("process {}", process.name));
    let user_agent = subject.http.as_ref().and_then(|http| http.user_agent.as_ref());
    match process.or_else(|| user_agent.map(|agent| agent.chars().take(80).collect())) {
        Some(agent) => format!(" with {agent}"),
        None => String::new(),
    }
}

fn ending(signals: Signals) -> &'static str {
    if signals.has(Signal::Refused) {
        " and was refused"
    } else if signals.has(Signal::NotFound) {
        ", which is not there,"
    } else if signals.has(Signal::Unanswered) {
        " and got no answer"
    } else {
        ""
    }
}

fn remark(signals: Signals) -> &'static str {
    if signals.has(Signal::Forwarded) {
        "; the request was forwarded for someone else"
    } else if signals.has(Signal::ForeignHost) {
        "; the Host header names another host"
    } else if signals.has(Signal::V1AfterV2) {
        "; it used session tokens before and none now"
    } else {
        ""
    }
}
