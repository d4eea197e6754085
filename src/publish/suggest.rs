//! `--suggest-allow`: allow-list entries for what was seen, for a person to review and paste.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::alert::{Alert, Rule};
use crate::correlate::{AllowEntry, Network};

/// Who did what, by everything that an entry can name: client, User-Agent, path, process.
type Habit = (String, Option<String>, String, Option<String>);

/// Habits kept; later ones are left out and counted.
const MAX: usize = 1000;

/// Collects habits from alerts of the request family.
#[derive(Debug, Default)]
pub struct Suggestions {
    seen: BTreeMap<Habit, (u64, Rule)>,
    left_out: u64,
}

impl Suggestions {
    /// Takes one more alert.
    pub fn see(&mut self, alert: &Alert) {
        let Some(imds) = &alert.subject.imds else { return };
        if matches!(alert.rule, Rule::SsrfAttempt | Rule::SsrfConfirmed | Rule::CredentialRelayed) {
            return;
        }
        let subject = &alert.subject;
        let user_agent = subject.http.as_ref().and_then(|http| http.user_agent.clone());
        let process = subject.conn.process.as_ref().map(|process| process.name.clone());
        let habit = (subject.conn.client.ip.to_string(), user_agent, imds.path.clone(), process);
        if self.seen.len() >= MAX && !self.seen.contains_key(&habit) {
            self.left_out += 1;
            return;
        }
        self.seen.entry(habit).or_insert((0, alert.rule)).0 += 1;
    }

    /// The entries as TOML, with comments that say what they would keep back.
    pub fn toml(&self) -> String {
        let mut out = String::from(
            "# Allow-list entries for what was seen. Review each one: an entry keeps alerts back for whatever it matches.\n",
        );
        for ((client, user_agent, path, process), (times, rule)) in &self.seen {
            let entry = AllowEntry {
                name: format!("{} from {client}", process.as_deref().unwrap_or("client")),
                process: process.clone(),
                executable: None,
                client: Network::parse(client),
                user_agent: user_agent.clone(),
                path: Some(path.clone()).filter(|path| !path.is_empty()),
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
