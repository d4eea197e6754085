//! What the template is given: every string as it is to stand, every table capped.

mod rows;

use std::collections::BTreeSet;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, context};
use serde::Serialize;

use self::rows::{AllowedRow, ClientRow, CredentialRow, OtherRow, Table, UsualRow, list};

use super::alert::Credential;
use super::incident::{Chain, Incident};
use super::picture::{self, Graph, Strip, Timeline};
use super::revoke::{self, Revocation};
use super::tables::Tables;
use super::text::sentence;
use super::time::{self, Nanos};
use super::visible::visible;
use super::{Collector, Input, Note};

/// Incidents that are shown with their pictures.
const MOST_PICTURES: usize = 25;
/// Incidents that are listed at all.
const MOST_LISTED: usize = 1500;
/// Credentials of one incident whose revocation stands beside it.
const MOST_REVOKED: usize = 8;
/// The whole report.
#[derive(Debug, Serialize)]
pub(super) struct View {
    version: &'static str,
    verdict: Verdict,
    incidents: Vec<IncidentView>,
    briefly: Vec<Brief>,
    incidents_left_out: u64,
    strip: Option<Strip>,
    clients: Table<ClientRow>,
    credentials: Table<CredentialRow>,
    usual: Table<UsualRow>,
    others: Table<OtherRow>,
    allowed: Table<AllowedRow>,
    coverage: Vec<Fact>,
    versions: Vec<String>,
    inputs: Vec<InputRow>,
}

/// The first thing that is read.
#[derive(Debug, Serialize)]
struct Verdict {
    class: &'static str,
    word: &'static str,
    sentence: String,
    facts: Vec<Fact>,
}

/// A name and its value.
#[derive(Debug, Serialize)]
struct Fact {
    name: String,
    value: String,
    lost: bool,
}

#[derive(Debug, Serialize)]
struct IncidentView {
    number: usize,
    severity: &'static str,
    name: String,
    state: &'static str,
    headline: String,
    first: String,
    last: String,
    lasted: String,
    alerts: u64,
    facts: Vec<Fact>,
    revocations: Vec<RevocationView>,
    chains: Vec<ChainView>,
    chains_left_out: u64,
    timeline: Option<Timeline>,
    graph: Option<Graph>,
    lines: Vec<LineView>,
    lines_left_out: u64,
}

/// An incident beyond those that have pictures.
#[derive(Debug, Serialize)]
struct Brief {
    number: usize,
    severity: &'static str,
    state: &'static str,
    headline: String,
    first: String,
    alerts: u64,
    credentials: String,
}

/// Credentials that the same command ends.
#[derive(Debug, Default, Serialize)]
struct RevocationView {
    credentials: Vec<CredentialView>,
    more: usize,
    what: String,
    command: String,
    /// What to look at afterwards, for each of the credentials.
    then: Vec<String>,
}

impl RevocationView {
    fn add(&mut self, credential: CredentialView, then: String) {
        if self.credentials.len() >= MOST_REVOKED {
            self.more += 1;
            return;
        }
        self.credentials.push(credential);
        if !then.is_empty() && !self.then.contains(&then) {
            self.then.push(then);
        }
    }
}

#[derive(Debug, Serialize)]
struct CredentialView {
    id: String,
    kind: String,
    scope: String,
    expires: String,
    fingerprint: String,
}

#[derive(Debug, Serialize)]
struct ChainView {
    rule: String,
    steps: Vec<StepView>,
}

#[derive(Debug, Serialize)]
struct StepView {
    offset: String,
    time: String,
    word: String,
    source: String,
    destination: String,
    url: String,
}

#[derive(Debug, Serialize)]
struct LineView {
    severity: &'static str,
    rule: String,
    count: u64,
    first: String,
    last: String,
    message: String,
}

#[derive(Debug, Serialize)]
struct InputRow {
    name: String,
    size: String,
    sha256: String,
}

/// Low, medium, high, critical.
pub(super) fn severity_word(severity: u64) -> &'static str {
    match severity {
        99.. => "critical",
        73.. => "high",
        47.. => "medium",
        1.. => "low",
        0 => "none",
    }
}

/// How far it went.
pub(super) fn state(incident: &Incident) -> &'static str {
    match (incident.left, incident.issued) {
        (true, _) => "a credential left in clear text",
        (_, true) => "a credential was issued",
        _ => "no credential was seen to be issued",
    }
}

impl View {
    /// Everything that was collected, as it is to be shown.
    pub(super) fn of(collector: Collector) -> Self {
        let Collector { events, unreadable, incidents, mut tables, notes, inputs } = collector;
        let (incidents, waiting, left_out) = incidents.finish();
        waiting.iter().for_each(|alert| tables.other(alert));
        let now = tables.hours.buckets.keys().next_back().map_or(0, |at| at * tables.hours.width);
        let now = incidents.iter().map(|one| one.last).max().unwrap_or(now);
        let strip = picture::strip(&mut tables.hours);
        let coverage = coverage(&tables, events, unreadable, notes);
        let numbered: Vec<_> = incidents.iter().enumerate().map(|(at, one)| (at + 1, one)).collect();
        let (pictured, rest) = numbered.split_at(numbered.len().min(MOST_PICTURES));
        let listed = rest.iter().take(MOST_LISTED - MOST_PICTURES);
        let unlisted = numbered.len().saturating_sub(MOST_LISTED) as u64;
        Self {
            version: env!("CARGO_PKG_VERSION"),
            verdict: verdict(&incidents, &tables, events, &coverage),
            incidents: pictured.iter().map(|(number, one)| incident(*number, one, now)).collect(),
            briefly: listed.map(|(number, one)| brief(*number, one)).collect(),
            incidents_left_out: left_out + unlisted,
            strip,
            clients: rows::clients(&tables),
            credentials: rows::credentials(&tables),
            usual: rows::usual(&tables),
            others: rows::others(&tables),
            allowed: rows::allowed(&tables),
            coverage,
            versions: tables.versions.into_iter().collect(),
            inputs: inputs.into_iter().map(input).collect(),
        }
    }
}

/// Renders the template.
pub(super) fn html(view: &View) -> Result<String, minijinja::Error> {
    let mut environment = Environment::new();
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    // The name's ending turns escaping on.
    environment.add_template("report.html", include_str!("../data/report.html"))?;
    environment
        .get_template("report.html")?
        .render(context! { report => Serde(view), style => include_str!("../data/report.css") })
}

fn verdict(incidents: &[Incident], tables: &Tables, events: u64, coverage: &[Fact]) -> Verdict {
    let losses = coverage.iter().filter(|fact| fact.lost).map(|fact| fact.name.clone()).collect();
    let unseen = list(&losses);
    let left = incidents.iter().filter(|one| one.left).count();
    let issued = incidents.iter().filter(|one| one.issued && !one.left).count();
    let grave = incidents.iter().filter(|one| one.severity >= 99).count();
    let (class, word) = match (left, grave, incidents.len()) {
        (1.., ..) => ("critical", "A credential left in clear text"),
        (_, 1.., _) if issued > 0 => ("critical", "A credential was issued to somebody who should not have it"),
        (_, 1.., _) => ("critical", "An attack on the metadata service"),
        (.., 1..) => ("high", "Somebody to look at"),
        _ => ("none", "No theft of credentials was seen"),
    };
    let sentence = match incidents {
        [] if events == 0 => "There was no event to judge.".to_owned(),
        [] => "No alert of high or critical severity was raised. What the sensor could not see is listed below."
            .to_owned(),
        [one] => sentence(&one.headline),
        [first, ..] => format!("The gravest of {} incidents: {}", incidents.len(), sentence(&first.headline)),
    };
    let [low, medium, high, critical] = tables.severities;
    let ids = ids(incidents.iter().filter(|one| one.severity >= 99));
    let revoke = if ids.is_empty() { "nothing that was seen".to_owned() } else { list(&ids) };
    let fact = |name: &str, value: String| Fact { name: name.to_owned(), value, lost: false };
    let facts = vec![
        fact("Incidents", format!("{} ({left} in which a credential left)", incidents.len())),
        fact("Revoke now", revoke),
        fact("Alerts", format!("{critical} critical, {high} high, {medium} medium, {low} low")),
        fact("Not seen", unseen),
    ];
    Verdict { class, word, sentence, facts }
}

fn incident(number: usize, one: &Incident, now: Nanos) -> IncidentView {
    let fact = |name: &str, names: &BTreeSet<String>| {
        (!names.is_empty()).then(|| Fact { name: name.to_owned(), value: list(names), lost: false })
    };
    IncidentView {
        number,
        severity: severity_word(one.severity),
        name: one.name.clone(),
        state: state(one),
        headline: sentence(&one.headline),
        first: time::show(one.first),
        last: time::show(one.last),
        lasted: time::span(one.last - one.first),
        alerts: one.alerts,
        facts: [fact("Service", &one.services), fact("Asked by", &one.clients), fact("Process", &one.processes)]
            .into_iter()
            .flatten()
            .collect(),
        revocations: revocations(one, now),
        chains: one.chains.iter().map(chain).collect(),
        chains_left_out: one.chains_left_out,
        timeline: picture::timeline(one),
        graph: picture::graph(one),
        lines: lines(one),
        lines_left_out: one.lines_left_out,
    }
}

/// Every way to revoke something of the incident once, with the credentials that it ends.
fn revocations(one: &Incident, now: Nanos) -> Vec<RevocationView> {
    let mut views: Vec<RevocationView> = Vec::new();
    for credential in one.credentials.values() {
        let Revocation { what, command, then } = revoke::revocation(credential, now);
        let at = views.iter().position(|view| view.what == what && view.command == command);
        let at = at.unwrap_or_else(|| {
            views.push(RevocationView { what, command, ..RevocationView::default() });
            views.len() - 1
        });
        if let Some(view) = views.get_mut(at) {
            view.add(shown(credential), then);
        }
    }
    views
}

/// Public identifiers of what was issued; the fingerprint where there is none.
fn ids<'i>(incidents: impl IntoIterator<Item = &'i Incident>) -> BTreeSet<String> {
    let credentials = incidents.into_iter().flat_map(|one| one.credentials.values());
    credentials.map(|one| if one.id.is_empty() { one.fingerprint.clone() } else { one.id.clone() }).collect()
}

fn lines(one: &Incident) -> Vec<LineView> {
    let view = |((severity, rule, ..), line): (&super::incident::LineKey, &super::incident::Line)| LineView {
        severity: severity_word(severity.0),
        rule: rule.clone(),
        count: line.count,
        first: time::show(line.first),
        last: time::show(line.last),
        message: line.message.clone(),
    };
    one.lines.iter().map(view).collect()
}

fn chain(chain: &Chain) -> ChainView {
    let first = chain.steps.iter().find_map(|step| step.time).unwrap_or_default();
    let steps = chain.steps.iter().map(|step| StepView {
        offset: step.time.map(|time| time::span(time - first)).unwrap_or_default(),
        time: step.time.map(time::show).unwrap_or_default(),
        word: picture::word(&step.what),
        source: step.source.clone(),
        destination: step.destination.clone(),
        url: step.url.clone(),
    });
    ChainView { rule: chain.rule.clone(), steps: steps.collect() }
}

fn brief(number: usize, one: &Incident) -> Brief {
    let ids = ids([one]);
    Brief {
        number,
        severity: severity_word(one.severity),
        state: state(one),
        headline: sentence(&one.headline),
        first: time::show(one.first),
        alerts: one.alerts,
        credentials: list(&ids),
    }
}

fn shown(credential: &Credential) -> CredentialView {
    CredentialView {
        id: credential.id.clone(),
        kind: credential.kind.clone(),
        scope: credential.scope.clone(),
        expires: credential.expires.clone(),
        fingerprint: credential.fingerprint.clone(),
    }
}

/// Counters of `stats` events that say that something was not seen.
const LOSSES: &[&str] = &["drop", "lost", "undecoded", "evicted", "gap", "bad_", "reject"];

fn coverage(tables: &Tables, events: u64, unreadable: u64, notes: Vec<Note>) -> Vec<Fact> {
    let fact = |name: &str, value: String, lost| Fact { name: name.to_owned(), value, lost };
    let mut facts = vec![fact("Events read", events.to_string(), false)];
    if unreadable > 0 {
        facts.push(fact("Lines that are no events", unreadable.to_string(), true));
    }
    facts.extend(notes.into_iter().map(|note| fact(&visible(&note.subject), visible(&note.text), note.lost)));
    let lost = |name: &str| LOSSES.iter().any(|part| name.contains(part));
    let stats = tables.stats.iter().filter(|(name, count)| **count > 0 && (lost(name) || name.as_str() == "packets"));
    facts.extend(stats.map(|(name, count)| fact(&name.replace('_', " "), count.to_string(), lost(name))));
    if tables.unread_connections > 0 {
        let text = format!("{}: encrypted, not HTTP, or without an answer", tables.unread_connections);
        facts.push(fact("Connections to metadata addresses in which no request could be read", text, true));
    }
    let tls = "What is encrypted is not read: an SSRF request inside TLS, a credential that leaves inside TLS.";
    facts.push(fact("TLS", tls.to_owned(), true));
    facts
}

fn input(input: Input) -> InputRow {
    let sha256 = if input.sha256.is_empty() { "not taken".to_owned() } else { input.sha256 };
    InputRow { name: visible(&input.name), size: input.size.to_string(), sha256 }
}
