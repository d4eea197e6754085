//! `--suggest-allow`: allow-list entries for what was seen, for a person to review and paste.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::quality::RandomState;
use hashbrown::HashMap;

use crate::alert::{Alert, Rule, Subject};
use crate::correlate::AllowEntry;
use crate::net::Network;

/// Who did what, by everything that an entry can name: client, User-Agent, path, process.
type Habit<'a> = (String, Option<&'a str>, &'a str, Option<&'a str>);

/// Habits kept; later ones are left out and counted.
const MAX: usize = 1000;

/// Collects habits from alerts of the request family.
#[derive(Debug, Default)]
pub struct Suggestions {
    /// By a hash of the habit.
    seen: HashMap<u64, Seen, RandomState>,
    left_out: u64,
}

/// A habit: an alert of it that was seen first, and how many there were.
#[derive(Debug)]
struct Seen {
    subject: Arc<Subject>,
    rule: Rule,
    times: u64,
}

impl Suggestions {
    /// Takes one more alert.
    pub fn see(&mut self, alert: &Alert) {
        let Some(imds) = &alert.subject.imds else { return };
        if matches!(alert.rule, Rule::SsrfAttempt | Rule::SsrfConfirmed | Rule::CredentialRelayed) {
            return;
        }
        let subject = &alert.subject;
        let (user_agent, process) = names(subject);
        let key = self.seen.hasher().hash_one((subject.conn.client.ip, user_agent, &imds.path, process));
        if self.seen.len() >= MAX && !self.seen.contains_key(&key) {
            self.left_out += 1;
            return;
        }
        let new = || Seen { subject: Arc::clone(subject), rule: alert.rule, times: 0 };
        self.seen.entry(key).or_insert_with(new).times += 1;
    }

    /// The habits, in a stable order.
    fn habits(&self) -> BTreeMap<Habit<'_>, (u64, Rule)> {
        let habits = self.seen.values().filter_map(|Seen { subject, rule, times }| {
            let (user_agent, process) = names(subject);
            let client = subject.conn.client.ip.to_string();
            Some(((client, user_agent, subject.imds.as_ref()?.path.as_str(), process), (*times, *rule)))
        });
        habits.collect()
    }

    /// The entries as TOML, with comments that say what they would keep back.
    pub fn toml(&self) -> String {
        let mut out = String::from(
            "# Allow-list entries for what was seen. Review each one: an entry keeps alerts back for whatever it matches.\n",
        );
        for ((client, user_agent, path, process), (times, rule)) in self.habits() {
            let entry = AllowEntry {
                name: format!("{} from {client}", process.unwrap_or("client")),
                process: process.map(str::to_owned),
                executable: None,
                client: Network::parse(&client),
                user_agent: user_agent.map(str::to_owned),
                path: Some(path.to_owned()).filter(|path| !path.is_empty()),
                expires: None,
                comment: Some("reviewed by, why".to_owned()),
            };
            let Ok(text) = toml::to_string(&entry) else { continue };
            let _ = write!(out, "\n# {times} × {}\n[[alerts.allow]]\n{text}", rule.id());
        }
        if self.left_out > 0 {
            let _ = writeln!(out, "\n# {} more were left out.", self.left_out);
        }
        out
    }
}

/// User-Agent and process of a subject.
fn names(subject: &Subject) -> (Option<&str>, Option<&str>) {
    let user_agent = subject.http.as_ref().and_then(|http| http.user_agent.as_deref());
    (user_agent, subject.conn.process.as_ref().map(|process| process.name.as_str()))
}
