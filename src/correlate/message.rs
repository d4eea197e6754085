//! The sentence of each alert, for the person who has to act on it, and its risk score.

use std::fmt::{self, Write as _};
use std::net::IpAddr;

use super::rebind::Lookup;
use super::relay::Sighting;
use super::ssrf::Finding;
use crate::alert::{Rule, Sentence, Subject};
use crate::detect::{Candidate, Connection, Imds, NoRequest, Place, Signal, Signals};

/// For alerts of the request family. There is one for each request, so it is put together without `fmt`.
pub fn request(rule: Rule, subject: &Subject, imds: &Imds, signals: Signals) -> Sentence {
    let ([with, name], service, ending) = (With(subject).parts(), Service(imds).parts(), ending(signals));
    let path = imds.path.as_str();
    let credential = imds.credential.as_ref().filter(|_| rule == Rule::ImdsCredentialIssued);
    let told = credential.map(|c| [&c.id, &c.scope, &c.expires].into_iter().flatten().map(String::len).sum());
    // what differs in length, and room for the longest of the sentences around it
    let mut out = Sentence::with_capacity(path.len() + name.len() + told.map_or(128, |len: usize| len + 224));
    let _ = write!(out, "{}", subject.conn.client.ip); // a text takes everything
    if rule == Rule::ImdsCredentialIssued {
        let advice = if signals.has(Signal::SdkPattern) {
            ": as an SDK does; make sure that this host runs what needs them"
        } else {
            ": revoke the credential's sessions unless this was the host's own application"
        };
        out.say(" was given ");
        add_credential(&mut out, imds);
        out.say(" by ");
        say(&mut out, &service);
        out.say(" (").quote(path).say(")").say(with).quote(name).say(advice);
        return out;
    }
    let tunnel = subject.http.as_ref().is_some_and(|http| http.method == "CONNECT");
    // Who was not given something has not read it.
    let given = ending.is_empty();
    let (before, after, named) = match rule {
        Rule::ImdsCredentialRequest => (" asked ", " for credentials at ", path),
        Rule::ImdsIdentity if given => (" was given a signed identity by ", " at ", path),
        Rule::ImdsIdentity => (" asked ", " for a signed identity at ", path),
        Rule::ImdsUserData if given => (" read user data, which often holds secrets, of ", " at ", path),
        Rule::ImdsUserData => (" asked ", " for user data at ", path),
        Rule::ImdsToken => (" asked ", " for a session token", ""),
        _ if path.is_empty() && tunnel => (" asked for a tunnel to ", "", ""),
        _ if path.is_empty() => (" was answered by ", ", its request was not captured", ""),
        _ if given => {
            out.say(" read ").quote(path);
            (" of ", "", "")
        }
        _ => (" asked ", " for ", path),
    };
    out.say(before);
    say(&mut out, &service);
    out.say(after).quote(named);
    out.say(with).quote(name).say(ending).say(remark(signals));
    out
}

fn say(out: &mut Sentence, parts: &[&str]) {
    for part in parts {
        out.say(part);
    }
}

/// For `imds-enumeration`.
pub fn enumeration(subject: &Subject, imds: &Imds, steps: usize, impossible: bool) -> String {
    let (client, with) = (subject.conn.client.ip, With(subject));
    if impossible {
        let path = &imds.path;
        return format!("{client} asked {} for {path}, a path that only word lists have{with}", Service(imds));
    }
    format!(
        "{client} walks the tree of {}, {steps} paths or more so far{with}: find out what runs there",
        Service(imds)
    )
}

/// For `imds-connection`.
pub fn connection(connection: &Connection) -> String {
    let (client, server) = (super::subject::client(&connection.conn), super::subject::end(&connection.conn.server));
    let with = connection.conn.process.as_ref().map(|process| format!(" with process {}", process.name));
    let why = match connection.why {
        NoRequest::SynOnly => "tried to reach, without an answer,",
        NoRequest::Refused => "was refused by",
        NoRequest::Tls => "spoke TLS with",
        NoRequest::NotHttp => "connected, without an HTTP request that could be read, to",
        NoRequest::Reported => "connected to",
    };
    format!("{client} {why} the metadata address {server}{}", with.unwrap_or_default())
}

/// For `ssrf-attempt`.
pub fn attempt(finding: &Finding) -> String {
    let (client, server) = ends(&finding.inbound);
    let Candidate { url, place, .. } = &finding.candidate;
    let disguise = if finding.candidate.disguised { " in disguise" } else { "" };
    let by = match finding.between.last() {
        Some(link) if link.what == "dns" => format!(" by the name {}", link.url),
        Some(link) => format!(" by way of {}", link.url),
        None => disguise.to_owned(),
    };
    let status = finding.inbound.http.as_ref().and_then(|http| http.status);
    let answer = status.map_or_else(|| "got no answer".to_owned(), |status| format!("was answered {status}"));
    format!("{client} named a metadata service{by} to {server} ({}: {}) and {answer}", shown(place), clip(url))
}

/// For `ssrf-confirmed`.
pub fn confirmed(finding: &Finding, leg: &Subject, signals: Signals) -> String {
    let (client, server) = ends(&finding.inbound);
    let imds = leg.imds.as_deref();
    let what = imds.map_or_else(|| "the metadata service".to_owned(), |imds| Service(imds).to_string());
    let path = imds.map(|imds| imds.path.as_str()).unwrap_or_default();
    let came_of_it = if signals.has(Signal::Issued) {
        let credential = imds.map_or_else(|| "a credential".to_owned().into(), credential);
        let reached = if signals.has(Signal::Relayed) { " and passed on" } else { "" };
        format!("{credential} was issued{reached}: close the hole and revoke the credential's sessions")
    } else if signals.has(Signal::Refused) || signals.has(Signal::NotFound) {
        "the service refused: close the hole".to_owned()
    } else if signals.has(Signal::Unanswered) {
        "the service gave no answer: close the hole".to_owned()
    } else {
        "the service answered: close the hole".to_owned()
    };
    let place = shown(&finding.candidate.place);
    let way = match finding.between.iter().filter(|link| link.what == "redirect").count() {
        0 => "",
        1 => " and a redirect",
        _ => " and redirects",
    };
    format!("{client} made {server} fetch {path} from {what} by {place}{way}; {came_of_it}")
}

/// For `dns-rebinding`.
pub fn rebinding(lookup: &Lookup) -> String {
    let (client, name, (address, provider)) = (lookup.subject.conn.client.ip, &lookup.name, lookup.address);
    let before = if lookup.elsewhere.is_some() { ", after it resolved elsewhere," } else { "" };
    let then = match &lookup.fetch {
        Some(fetch) => format!(" and {} then asked it for {}", fetch.conn.client.ip, fetch.url()),
        None => String::new(),
    };
    let whose = if provider == "unknown" { String::new() } else { format!(" ({provider})") };
    format!("{client} looked up {name}, which{before} resolved to the metadata address {address}{whose}{then}")
}

/// For `credential-relayed`.
pub fn relayed(sighting: &Sighting, issued: &Subject) -> String {
    let conn = &sighting.subject.conn;
    let (from, to) = if sighting.in_request { (&conn.client, &conn.server) } else { (&conn.server, &conn.client) };
    let what = issued.imds.as_deref().map_or_else(|| "a credential".to_owned().into(), credential);
    let how = match (&sighting.subject.http, &sighting.subject.dns) {
        (Some(_), _) => "in HTTP",
        (_, Some(_)) => "in a DNS name",
        _ => "in clear text",
    };
    let (from, to, holder) = (from.ip, super::subject::end(to), issued.conn.client.ip);
    format!("{what} that was issued to {holder} went from {from} to {to} {how}: revoke the credential's sessions")
}

fn ends(subject: &Subject) -> (IpAddr, String) {
    (subject.conn.client.ip, super::subject::end(&subject.conn.server))
}

/// Where a target stood, in words.
fn shown(place: &Place) -> String {
    match place {
        Place::Query(name) if name.is_empty() => "query".to_owned(),
        Place::Query(name) => format!("query parameter {}", clip(name)),
        Place::Path => "the path".to_owned(),
        Place::AbsoluteForm => "the request target".to_owned(),
        Place::Host => "the Host header".to_owned(),
        Place::Header(name) => format!("header {}", clip(name)),
        Place::Form(name) => format!("form field {}", clip(name)),
        Place::Json(name) => format!("JSON value {}", clip(name)),
        Place::Multipart(name) => format!("multipart field {}", clip(name)),
        Place::Xml => "XML".to_owned(),
        Place::Body => "the body".to_owned(),
    }
}

/// Text of a sender's choosing, cut to a length that a sentence bears, without control characters.
fn clip(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

/// `the AWS metadata service (imds)`.
struct Service<'i>(&'i Imds);

impl Service<'_> {
    fn parts(&self) -> [&'static str; 5] {
        match self.0.provider {
            "unknown" => ["the metadata service", "", "", "", ""],
            provider => ["the ", provider, " metadata service (", self.0.service, ")"],
        }
    }
}

impl fmt::Display for Service<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts().iter().try_for_each(|part| f.write_str(part))
    }
}

/// What was issued: kind, id, scope, expiry.
pub fn credential(imds: &Imds) -> Sentence {
    let mut text = Sentence::default();
    add_credential(&mut text, imds);
    text
}

fn add_credential(out: &mut Sentence, imds: &Imds) {
    let Some(credential) = &imds.credential else {
        out.say("a credential");
        return;
    };
    out.say("a credential (").say(credential.kind.unwrap_or("kind unknown"));
    for (name, value) in
        [(", ", &credential.id), (", for ", &credential.scope), (", valid until ", &credential.expires)]
    {
        if let Some(value) = value {
            out.say(name).quote(value);
        }
    }
    out.say(")");
}

/// With what somebody did something: the process, else what the beginning of its User-Agent claims.
struct With<'s>(&'s Subject);

impl<'s> With<'s> {
    fn parts(&self) -> [&'s str; 2] {
        let agent = || self.0.http.as_ref().and_then(|http| http.user_agent.as_deref());
        match &self.0.conn.process {
            Some(process) => [" with process ", &process.name],
            None => agent().map_or(["", ""], |agent| [" with ", beginning(agent)]),
        }
    }
}

/// The first 80 characters.
fn beginning(text: &str) -> &str {
    if text.len() <= 80 {
        return text;
    }
    let end = text.char_indices().nth(80).map_or(text.len(), |(at, _)| at);
    text.get(..end).unwrap_or(text)
}

impl fmt::Display for With<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts().iter().try_for_each(|part| f.write_str(part))
    }
}

fn ending(signals: Signals) -> &'static str {
    if signals.has(Signal::Refused) {
        " and was refused"
    } else if signals.has(Signal::NotFound) {
        ", which is not there"
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conn::{Conn, Endpoint, Proto};
    use crate::detect::{Client, RecognisedBy, Recorded, Sensitivity};
    use crate::id::EventId;
    use crate::packet::Timestamp;

    fn imds(path: &str) -> Imds {
        Imds {
            provider: "aws",
            service: "imds",
            path: path.to_owned(),
            path_id: None,
            sensitivity: Sensitivity::Discovery,
            version: None,
            credential: None,
            headers: Recorded::default(),
            client: Client::default(),
            signals: Signals::default(),
            recognised_by: RecognisedBy::Address,
            session_token: None,
            issued_token: None,
        }
    }

    fn subject() -> Subject {
        let end = |ip: [u8; 4], port| Endpoint { ip: ip.into(), port };
        Subject {
            conn: Conn::between(end([10, 0, 0, 1], 4000), end([169, 254, 169, 254], 80), Proto::Tcp),
            start: Timestamp(0),
            end: None,
            event_id: EventId(1),
            http: None,
            dns: None,
            command: None,
            imds: None,
            signals: Signals::default(),
            service: None,
        }
    }

    #[test]
    fn no_sentence_contradicts_its_outcome() {
        use Rule::{ImdsCredentialRequest, ImdsDiscovery, ImdsIdentity, ImdsToken, ImdsUserData};
        let outcomes = [
            (None, ""),
            (Some(Signal::Refused), " and was refused"),
            (Some(Signal::NotFound), ", which is not there"),
            (Some(Signal::Unanswered), " and got no answer"),
        ];
        for rule in [ImdsDiscovery, ImdsToken, ImdsUserData, ImdsIdentity, ImdsCredentialRequest] {
            for path in ["/latest/x", ""] {
                for (signal, ending) in outcomes {
                    let mut signals = Signals::default();
                    signal.into_iter().for_each(|signal| signals.add(signal));
                    let text = request(rule, &subject(), &imds(path), signals);
                    assert!(text.ends_with(ending) && !text.contains(",,"), "{text}");
                    let got = [" read ", " given "].iter().any(|word| text.contains(word));
                    assert!(signal.is_none() || !got, "{text}");
                }
            }
        }
    }

    #[test]
    fn sentences_are_as_they_were_meant() {
        let mut refused = Signals::default();
        refused.add(Signal::Refused);
        let service = "the aws metadata service (imds)";
        for (rule, signals, text) in [
            (Rule::ImdsDiscovery, Signals::default(), format!("10.0.0.1 read /a of {service}")),
            (Rule::ImdsDiscovery, refused, format!("10.0.0.1 asked {service} for /a and was refused")),
            (
                Rule::ImdsIdentity,
                Signals::default(),
                format!("10.0.0.1 was given a signed identity by {service} at /a"),
            ),
            (Rule::ImdsUserData, refused, format!("10.0.0.1 asked {service} for user data at /a and was refused")),
        ] {
            assert_eq!(*request(rule, &subject(), &imds("/a"), signals), *text);
        }
    }
}
