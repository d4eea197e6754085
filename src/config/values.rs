//! Values that can be read and still make no sense: said before a run, not by what it then fails to do.

use super::ConfigError;
use super::file::File;
use crate::catalogue::Catalogue;
use crate::cli::Run;
use crate::correlate::Config as Correlation;
use crate::duration::Span;

type Checked = Result<(), ConfigError>;

/// Checks what does not depend on other parts of the configuration.
///
/// # Errors
/// [`ConfigError`]
pub(super) fn check(run: &Run, file: &File) -> Checked {
    if run.stats == Some(0) || file.events.stats.is_some_and(|every| every.0 <= 0) {
        let flag = run.stats.filter(|seconds| *seconds == 0).map(|_| "--stats:");
        return Err(ConfigError::of(flag, "events.stats", "the interval is at least one second"));
    }
    if file.fingerprint_key.as_ref().is_some_and(String::is_empty) {
        return wrong("fingerprint_key", "is empty: anybody could compute the fingerprints");
    }
    if file.events.namespace.as_deref().is_some_and(|name| !is_namespace(name)) {
        return wrong(
            "events.namespace",
            "is a name of 1 to 100 bytes without capitals, blanks and any of -\\/*?\"<>|,#:",
        );
    }
    if file.spool_most.is_some_and(|most| most.0 == 0) {
        return wrong("spool_most", "has no room for events");
    }
    spans(file)
}

fn wrong(key: &str, text: &str) -> Checked {
    Err(ConfigError::Value { key: key.to_owned(), text: text.to_owned() })
}

/// As Elasticsearch restricts `data_stream.namespace`.
fn is_namespace(name: &str) -> bool {
    let is_allowed = |c: char| !c.is_uppercase() && !c.is_whitespace() && !"-\\/*?\"<>|,#:".contains(c);
    (1..=100).contains(&name.len()) && name.chars().all(is_allowed)
}

fn spans(file: &File) -> Checked {
    let spans = [
        ("alerts.window", file.alerts.window),
        ("alerts.clock_skew", file.alerts.clock_skew),
        ("alerts.window_most", file.alerts.window_most),
        ("dns.transaction_timeout", file.dns.transaction_timeout),
        ("icmp.transaction_timeout", file.icmp.transaction_timeout),
        ("http.transaction_timeout", file.http.transaction_timeout),
    ];
    if let Some((key, _)) = spans.iter().find(|(_, span)| span.is_some_and(|span| span.0 < 0)) {
        return wrong(key, "is a time before zero");
    }
    let window = file.alerts.window.unwrap_or(Span(Correlation::default().window));
    match file.alerts.window_most {
        Some(most) if most.0 < window.0 => wrong("alerts.window_most", "is shorter than alerts.window"),
        _ => Ok(()),
    }
}

/// Names of clients in the allow list: one that the catalogue does not have would never match.
///
/// # Errors
/// [`ConfigError`]
pub(super) fn clients(file: &File, catalogue: &Catalogue) -> Checked {
    for (nth, entry) in file.alerts.allow.iter().enumerate() {
        let Some(name) = &entry.client_name else { continue };
        if !catalogue.clients().iter().any(|client| client.name().eq_ignore_ascii_case(name)) {
            let text = format!("the catalogue has no client `{name}`; imds.client.name of an event is such a name");
            return wrong(&format!("alerts.allow.{nth}.client_name"), &text);
        }
    }
    Ok(())
}
