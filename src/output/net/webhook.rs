//! Webhooks: one HTTP request for each alert, in the shape that a chat, a pager or another collector expects.
//!
//! What was sent once is not sent again (by `event.id`, as far back as [`REMEMBERED`] alerts), and no more than so many a
//! minute: the rest waits.

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

use super::connect::Dialer;
use super::http::{Answer, Client};
use super::settings::{Settings, Template};
use super::url::HostPort;
use super::{SettingsError, bodies, endpoints, tls};
use crate::output::receiver::{Event, Fault, Kind, Limits, Needs, Outcome, Receiver, Reply, Trouble};

/// A webhook.
pub struct Webhook {
    client: Client,
    settings: Settings,
    path: String,
    sent: Remembered,
    pace: Pace,
}

impl Webhook {
    /// Reads certificates; connects to nothing yet.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn new(settings: &Settings) -> Result<Self, SettingsError> {
        let tls = settings.target.tls.then(|| tls::configuration(&settings.tls)).transpose()?;
        let dialer = Dialer { tls, timeout: settings.timeout };
        let path = match settings.target.path.expose() {
            "" | "/" => default_path(settings.template).to_owned(),
            path => path.to_owned(),
        };
        Ok(Self {
            client: Client::new(settings, dialer, 64 << 10),
            path,
            sent: Remembered::default(),
            pace: Pace::new(settings.per_minute),
            settings: settings.clone(),
        })
    }

    fn is_wanted(&self, event: &Event<'_>) -> bool {
        event.kind == Kind::Alert && event.severity.is_none_or(|severity| severity >= self.settings.min_severity)
    }

    fn one(&mut self, host: &HostPort, event: &Event<'_>) -> Result<Outcome, Trouble> {
        if !self.is_wanted(event) {
            return Ok(Outcome::Taken);
        }
        if self.sent.contains(event.id) {
            return Ok(Outcome::Duplicate);
        }
        self.pace.take(Instant::now()).map_err(|wait| Trouble {
            fault: Fault::Paced,
            text: format!("{host}: {} requests a minute are used up", self.settings.per_minute),
            after: Some(wait),
        })?;
        let body = bodies::render(self.settings.template, event, self.settings.api_key.as_ref());
        let answer = self.client.send("POST", host, &self.path, &[("content-type", "application/json")], &body)?;
        let outcome = judge(host, &answer)?;
        self.sent.insert(event.id);
        Ok(outcome)
    }
}

impl Receiver for Webhook {
    fn send(&mut self, batch: &[Event<'_>]) -> Reply {
        let Some(host) = self.settings.target.hosts.first().cloned() else { return Reply::default() };
        let mut reply = Reply::default();
        for event in batch {
            match self.one(&host, event) {
                Ok(outcome) => reply.outcomes.push(outcome),
                Err(trouble) => {
                    reply.trouble = Some(trouble);
                    break;
                }
            }
        }
        reply
    }

    fn limits(&self) -> Limits {
        Limits { events: self.settings.batch.unwrap_or(10), bytes: 1 << 20 }
    }

    fn needs(&self) -> Needs {
        Needs { endpoints: endpoints(&self.settings.target, false), follows: false }
    }

    fn check(&mut self, steps: &mut Vec<String>) -> Result<(), Trouble> {
        let Some(host) = self.settings.target.hosts.first() else { return Ok(()) };
        let stream = Dialer {
            tls: self
                .settings
                .target
                .tls
                .then(|| tls::configuration(&self.settings.tls))
                .transpose()
                .map_err(|error| Trouble::refused(error.text))?,
            timeout: self.settings.timeout,
        }
        .dial(host)?;
        steps.push(format!("{host} is connected{}", if stream.is_tls() { " over TLS" } else { "" }));
        Ok(())
    }

    fn alerts_only(&self) -> bool {
        true
    }
}

/// Where each service takes alerts, for URLs that end after the host.
fn default_path(template: Template) -> &'static str {
    match template {
        Template::Generic | Template::Slack => "/",
        Template::Pagerduty => "/v2/enqueue",
        Template::Alertmanager => "/api/v2/alerts",
        Template::Splunk => "/services/collector/event",
    }
}

fn judge(host: &HostPort, answer: &Answer) -> Result<Outcome, Trouble> {
    let text = format!("{host}: {} {}", answer.status, answer.text()).trim_end().to_owned();
    let fault = match answer.status {
        200..=299 => return Ok(Outcome::Taken),
        400 | 413 | 422 => return Ok(Outcome::Rejected(text)),
        429 => Fault::Busy,
        408 | 500.. => Fault::Away,
        _ => Fault::Refused,
    };
    Err(Trouble { fault, text, after: answer.after })
}

/// Ids that were sent, the last [`REMEMBERED`] of them.
#[derive(Default)]
struct Remembered {
    ids: HashSet<String>,
    order: VecDeque<String>,
}

impl Remembered {
    fn contains(&self, id: &str) -> bool {
        self.ids.contains(id)
    }

    fn insert(&mut self, id: &str) {
        if id.is_empty() || id.len() > 512 || !self.ids.insert(id.to_owned()) {
            return;
        }
        self.order.push_back(id.to_owned());
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
    }
}

/// Alerts whose ids are remembered.
const REMEMBERED: usize = 10_000;

/// So many a minute, at once or spread.
struct Pace {
    each: Duration,
    /// When the allowance is whole again: at most a minute from now.
    full: Option<Instant>,
}

impl Pace {
    fn new(per_minute: u32) -> Self {
        Self { each: Duration::from_secs(60) / per_minute.max(1), full: None }
    }

    /// Uses one up, or says how long to wait for it.
    fn take(&mut self, now: Instant) -> Result<(), Duration> {
        let full = self.full.map_or(now, |full| full.max(now)) + self.each;
        let ahead = full.saturating_duration_since(now);
        if ahead > Duration::from_secs(60) {
            return Err(ahead - Duration::from_secs(60));
        }
        self.full = Some(full);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_has_so_many_requests_and_the_next_ones_come_one_by_one() {
        let mut pace = Pace::new(3);
        let start = Instant::now();
        assert!((0..3).all(|_| pace.take(start).is_ok()));
        assert_eq!(pace.take(start), Err(Duration::from_secs(20)));
        pace.take(start + Duration::from_secs(20)).unwrap();
        assert!(pace.take(start + Duration::from_secs(21)).is_err());
        assert!((0..3).all(|_| pace.take(start + Duration::from_secs(200)).is_ok()));
    }

    #[test]
    fn ids_are_forgotten_in_turn() {
        let mut sent = Remembered::default();
        (0..=REMEMBERED).for_each(|id| sent.insert(&id.to_string()));
        assert!(!sent.contains("0") && sent.contains("1") && !sent.contains(""));
        assert_eq!(sent.ids.len(), REMEMBERED);
    }

    #[test]
    fn what_the_service_says_is_done_retried_or_a_dead_letter() {
        let host = HostPort { host: "h".into(), port: 1 };
        let judged = |status| judge(&host, &Answer { status, after: None, body: Vec::new() });
        assert_eq!(judged(202), Ok(Outcome::Taken));
        assert!(matches!(judged(400), Ok(Outcome::Rejected(_))));
        assert_eq!(
            [404, 429, 500, 302].map(|status| judged(status).unwrap_err().fault),
            [Fault::Refused, Fault::Busy, Fault::Away, Fault::Refused]
        );
    }
}
