//! How bad it is (contract section 4): the severity table by who asks, what habits take off, and the risk score that
//! orders alerts inside a severity. Pure.

use super::actor::{Asker, Assessment};
use super::habits::Known;
use crate::alert::{Rule, Severity};
use crate::detect::{Client, Imds, Sensitivity, Signal, Signals, Standing};

/// What severity is judged by.
#[derive(Clone, Copy, Debug)]
pub struct Grounds {
    /// Whose request it is.
    pub asker: Asker,
    /// What is known of its habit.
    pub known: Known,
    /// All signals.
    pub signals: Signals,
    /// An identity document that proves nothing to anybody: without signature or token.
    pub unsigned: bool,
}

/// The row of the request family that an exchange belongs to. What is not there gives nothing away.
pub fn rule(imds: &Imds) -> Rule {
    match imds.sensitivity {
        _ if imds.credential.as_ref().is_some_and(|credential| credential.issued) => Rule::ImdsCredentialIssued,
        Sensitivity::Credential => Rule::ImdsCredentialRequest,
        Sensitivity::Identity | Sensitivity::UserData if imds.signals.has(Signal::NotFound) => Rule::ImdsDiscovery,
        Sensitivity::Identity => Rule::ImdsIdentity,
        Sensitivity::UserData => Rule::ImdsUserData,
        Sensitivity::Token => Rule::ImdsToken,
        Sensitivity::Discovery => Rule::ImdsDiscovery,
    }
}

/// Severity in context.
pub fn severity(rule: Rule, grounds: &Grounds) -> Severity {
    let severity = match rule {
        Rule::ImdsCredentialIssued => credential(grounds),
        Rule::ImdsCredentialRequest => credential(grounds).lower(),
        Rule::ImdsUserData | Rule::ImdsIdentity => read(grounds),
        _ => rule.base_severity(),
    };
    if grounds.signals.has(Signal::ForeignHost) || grounds.signals.has(Signal::Forwarded) {
        return severity.max(Severity::Medium);
    }
    severity
}

fn credential(grounds: &Grounds) -> Severity {
    let first = match grounds.asker {
        Asker::Tool | Asker::Nobody => Severity::Critical,
        Asker::Program | Asker::Sdk => Severity::High,
        Asker::Agent => Severity::Medium,
    };
    let steps = grounds.known.steps_of(grounds.asker);
    let severity = (0..steps).fold(first, |severity, _| severity.lower());
    match grounds.known.more {
        true => severity.max(Severity::Medium),
        false => severity,
    }
}

/// Identity and user data.
fn read(grounds: &Grounds) -> Severity {
    let harmless = grounds.asker == Asker::Agent || grounds.unsigned && grounds.asker < Asker::Nobody;
    let again = grounds.known.steps > 0 && grounds.asker != Asker::Tool;
    if harmless || again && !grounds.known.more { Severity::Low } else { Severity::Medium }
}

/// `imds-enumeration`.
pub fn walk(impossible: bool, credential: bool) -> Severity {
    if impossible || credential { Severity::High } else { Severity::Low }
}

/// `event.risk_score` of the request family. Inside a severity what a tool or a liar got stands before what nobody known
/// got, and there a newcomer to a host before who was there with it, most of all a library without a name of its program; that before the rest, and what came of nothing last.
pub fn risk(rule: Rule, severity: Severity, signals: Signals, client: &Client, asked: &Assessment) -> u8 {
    let credential = matches!(rule, Rule::ImdsCredentialIssued | Rule::ImdsCredentialRequest);
    let asker = asked.asker;
    let who = match (asker, client.standing) {
        (Asker::Tool, _) if credential => 6,
        (Asker::Nobody, _) if credential && asked.newcomer => 5 + u8::from(client.known.is_some()),
        (Asker::Nobody, Standing::Library) if credential => 4,
        (Asker::Nobody, _) if credential => 3,
        (Asker::Tool | Asker::Nobody, _) => 2,
        _ => 0,
    };
    let odd = [Signal::V1, Signal::NoUserAgent, Signal::MoreThanUsual, Signal::TokenShared];
    let more = odd.iter().any(|signal| signals.has(*signal)) && asker >= Asker::Nobody;
    top(severity) - 9 + who + u8::from(more) - lost(signals)
}

/// Highest score of a severity's alerts.
pub fn top(severity: Severity) -> u8 {
    match severity {
        Severity::Critical => 100,
        Severity::High => 80,
        Severity::Medium => 55,
        Severity::Low => 28,
    }
}

/// What came of nothing.
pub fn lost(signals: Signals) -> u8 {
    let nothing = [Signal::Refused, Signal::NotFound, Signal::Unanswered];
    if nothing.iter().any(|signal| signals.has(*signal)) { 8 } else { 0 }
}

/// `event.risk_score` of what joins several events.
pub fn risk_of_chain(rule: Rule, severity: Severity, signals: Signals, fetched: bool) -> u8 {
    let below = match rule {
        Rule::SsrfConfirmed if signals.has(Signal::Issued) => 0,
        Rule::CredentialRelayed => 1,
        Rule::DnsRebinding if fetched => 7,
        _ => 9,
    };
    top(severity) - below - lost(signals)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grounds(asker: Asker, steps: u8) -> Grounds {
        let known = Known { times: steps.into(), steps, slow_steps: steps, more: false };
        Grounds { asker, known, signals: Signals::default(), unsigned: false }
    }

    #[test]
    fn the_severity_table() {
        use Severity::{Critical, High, Low, Medium};
        let issued = |asker, steps| severity(Rule::ImdsCredentialIssued, &grounds(asker, steps));
        for (asker, first, second, then) in [
            (Asker::Tool, Critical, Critical, Critical),
            (Asker::Nobody, Critical, High, Medium),
            (Asker::Program, High, Medium, Low),
            (Asker::Sdk, High, Medium, Low),
            (Asker::Agent, Medium, Low, Low),
        ] {
            assert_eq!([issued(asker, 0), issued(asker, 1), issued(asker, 2)], [first, second, then], "{asker:?}");
        }
        assert_eq!(issued(Asker::Nobody, 3), Low);
        assert_eq!(severity(Rule::ImdsCredentialRequest, &grounds(Asker::Tool, 2)), High);
        let more = Grounds { known: Known { more: true, ..grounds(Asker::Sdk, 3).known }, ..grounds(Asker::Sdk, 3) };
        assert_eq!(severity(Rule::ImdsCredentialIssued, &more), Medium);
    }

    #[test]
    fn reads_are_medium_first_and_low_by_agents() {
        let read = |asker, steps| severity(Rule::ImdsUserData, &grounds(asker, steps));
        assert_eq!([read(Asker::Tool, 0), read(Asker::Tool, 5)], [Severity::Medium; 2]);
        assert_eq!([read(Asker::Nobody, 0), read(Asker::Nobody, 1)], [Severity::Medium, Severity::Low]);
        assert_eq!(read(Asker::Agent, 0), Severity::Low);
        let unsigned = Grounds { unsigned: true, ..grounds(Asker::Sdk, 0) };
        assert_eq!(severity(Rule::ImdsIdentity, &unsigned), Severity::Low);
    }

    #[test]
    fn risk_orders_thefts_first_inside_a_severity() {
        let mut issued = Signals::default();
        issued.add(Signal::Issued);
        let client = Client::default();
        let of = |asker, newcomer| {
            let asked = Assessment { asker, newcomer, ..Assessment::default() };
            risk(Rule::ImdsCredentialIssued, Severity::Critical, Signals::default(), &client, &asked)
        };
        let chain = |rule, fetched| risk_of_chain(rule, Severity::Critical, issued, fetched);
        let order = [
            chain(Rule::SsrfConfirmed, false),
            chain(Rule::CredentialRelayed, false),
            of(Asker::Tool, false),
            of(Asker::Nobody, true),
            of(Asker::Nobody, false),
            chain(Rule::DnsRebinding, true),
            chain(Rule::DnsRebinding, false),
        ];
        assert!(order.windows(2).all(|pair| pair[0] > pair[1]), "{order:?}");
        for (severity, below) in [(Severity::Critical, Severity::High), (Severity::High, Severity::Medium)] {
            assert!(top(severity) - 9 - 8 > top(below), "bands do not overlap");
        }
    }
}
