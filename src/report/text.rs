//! Incidents as text for a terminal, gravest first, one paragraph each.

use super::incident::Incident;
use super::time;
use super::view::{severity_word, state};

/// Incidents that are told in full.
const MOST: usize = 20;

/// One paragraph an incident; empty where there are none.
pub(super) fn paragraphs(incidents: &[Incident]) -> String {
    let mut text = String::new();
    for (number, incident) in incidents.iter().take(MOST).enumerate() {
        let (start, lasted) = (time::show(incident.first), time::span(incident.last - incident.first));
        let word = severity_word(incident.severity).to_uppercase();
        let count = if incident.alerts == 1 { "1 alert".to_owned() } else { format!("{} alerts", incident.alerts) };
        text.push_str(&format!("Incident {}: {word}, {}. {count} from {start} UTC on", number + 1, state(incident)));
        text.push_str(&if incident.last > incident.first { format!(", in {lasted}. ") } else { ". ".to_owned() });
        text.push_str(&sentence(&incident.headline));
        text.push_str("\n\n");
    }
    let left = incidents.len().saturating_sub(MOST);
    if left > 0 {
        text.push_str(&format!("{left} more incidents: write a report with -o FILE.html to see them all.\n\n"));
    }
    text
}

/// A message as a sentence that stands by itself.
pub(super) fn sentence(message: &str) -> String {
    let mut characters = message.chars();
    let first: String = characters.next().map(|first| first.to_uppercase().collect()).unwrap_or_default();
    let end = if message.ends_with('.') { "" } else { "." };
    format!("{first}{}{end}", characters.as_str())
}
