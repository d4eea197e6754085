//! The allow list: who may use a metadata service without an alert (contract section 4).
//!
//! An entry matches when all criteria that it names match. What contradicts an entry (a foreign Host, a forwarding
//! header, a confirmed theft) is the caller's to check: this module only compares.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::civil::Date;
use crate::conn::Process;
use crate::detect::{Client, Shape};
use crate::net::Network;
use crate::packet::Timestamp;
use crate::text::glob;

/// One entry, as written in the configuration under `[[alerts.allow]]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct AllowEntry {
    /// Name that an allowed event carries in `imds.allowed_by`.
    pub name: String,
    /// Process name, ASCII case ignored.
    pub process: Option<String>,
    /// Path of the process's executable, with `*` and `?`.
    pub executable: Option<String>,
    /// The process's arguments joined by blanks, with `*` and `?`.
    pub args: Option<String>,
    /// Name of the process's parent, ASCII case ignored.
    pub parent: Option<String>,
    /// Addresses of the client.
    pub client: Option<Network>,
    /// User-Agent, with `*` and `?`; empty: none is sent.
    pub user_agent: Option<String>,
    /// `imds.client.shape`.
    pub shape: Option<String>,
    /// `imds.client.name`.
    pub client_name: Option<String>,
    /// Normalised paths, with `*` and `?`: one of them.
    pub path: Option<OneOrMany>,
    /// First moment at which the entry no longer holds.
    pub expires: Option<Date>,
    /// Why it is there.
    pub comment: Option<String>,
}

/// One text, or a list of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum OneOrMany {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

impl OneOrMany {
    /// All of them.
    pub fn all(&self) -> &[String] {
        match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::Many(texts) => texts,
        }
    }
}

/// What an entry is compared with.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Packet time.
    pub now: Timestamp,
    /// Who asks.
    pub client: IpAddr,
    /// Its process, if it is known.
    pub process: Option<&'a Process>,
    /// Its User-Agent, empty if it sent none; `None` where there is no request. Read as text only by an entry that asks
    /// for it.
    pub user_agent: Option<&'a [u8]>,
    /// Who it is by the form of its request, where there is one.
    pub client_form: Option<&'a Client>,
    /// Normalised path, if there is one.
    pub path: Option<&'a str>,
}

impl AllowEntry {
    /// The agents that the product's source rule names, by process name.
    pub fn defaults() -> Vec<Self> {
        let entry = |name: &String| Self { name: name.clone(), process: Some(name.clone()), ..Self::default() };
        crate::catalogue::allowed_processes().iter().map(entry).collect()
    }

    /// Whether every criterion of the entry holds.
    pub fn matches(&self, asked: &Question<'_>) -> bool {
        let is = |pattern: &str, text: &str| glob::matches(pattern.as_bytes(), text.as_bytes());
        let glob = |pattern: &Option<String>, text: Option<&str>| {
            pattern.as_ref().is_none_or(|pattern| text.is_some_and(|text| is(pattern, text)))
        };
        let agent = |pattern: &String| asked.user_agent.is_some_and(|agent| is_agent(pattern, agent));
        let same = |wanted: &Option<String>, name: Option<&str>| {
            wanted.as_ref().is_none_or(|wanted| name.is_some_and(|name| name.eq_ignore_ascii_case(wanted)))
        };
        let (process, form) = (asked.process, asked.client_form);
        let args = |pattern: &String| process.is_some_and(|process| is(pattern, &process.args.join(" ")));
        let shape = |wanted: &String| form.and_then(|form| form.shape).is_some_and(|shape| is_shape(wanted, shape));
        self.expires.is_none_or(|date| asked.now < date.start())
            && same(&self.process, process.map(|process| process.name.as_str()))
            && glob(&self.executable, process.and_then(|process| process.executable.as_deref()))
            && self.args.as_ref().is_none_or(args)
            && same(&self.parent, process.and_then(|process| process.parent_name.as_deref()))
            && self.client.is_none_or(|network| network.contains(asked.client))
            && self.user_agent.as_ref().is_none_or(agent)
            && self.shape.as_ref().is_none_or(shape)
            && same(&self.client_name, form.and_then(Client::name))
            && self
                .path
                .as_ref()
                .is_none_or(|paths| asked.path.is_some_and(|path| paths.all().iter().any(|pattern| is(pattern, path))))
    }
}

/// Whether a User-Agent is meant; an empty pattern is that none is sent.
fn is_agent(pattern: &str, agent: &[u8]) -> bool {
    if pattern.is_empty() { agent.is_empty() } else { glob::matches(pattern.as_bytes(), agent) }
}

fn is_shape(wanted: &str, shape: Shape) -> bool {
    u64::from_str_radix(wanted, 16) == Ok(shape.0)
}

/// An entry as typed.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    process: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    executable: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    args: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shape: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<OneOrMany>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comment: Option<String>,
}

impl TryFrom<Written> for AllowEntry {
    type Error = String;

    fn try_from(from: Written) -> Result<Self, String> {
        let parse = |text: &String| Network::parse(text).ok_or_else(|| format!("`{text}` is no address or network"));
        let date = |text: &String| Date::parse(text).ok_or_else(|| format!("`{text}` is no date (YYYY-MM-DD)"));
        let entry = Self {
            client: from.client.as_ref().map(parse).transpose()?,
            expires: from.expires.as_ref().map(date).transpose()?,
            name: from.name,
            process: from.process,
            executable: from.executable,
            args: from.args,
            parent: from.parent,
            user_agent: from.user_agent,
            shape: from.shape,
            client_name: from.client_name,
            path: from.path,
            comment: from.comment,
        };
        if let Some(shape) = entry.shape.as_ref().filter(|shape| u64::from_str_radix(shape, 16).is_err()) {
            return Err(format!("`{shape}` is no shape (hexadecimal, as imds.client.shape is written)"));
        }
        let texts = [&entry.process, &entry.executable, &entry.args, &entry.parent, &entry.user_agent, &entry.shape];
        let any_text = texts.iter().any(|criterion| criterion.is_some()) || entry.client_name.is_some();
        if !any_text && entry.client.is_none() && entry.path.is_none() {
            let names = "process, executable, args, parent, client, user_agent, shape, client_name, path";
            return Err(format!("allow entry `{}` would allow everything: name one of {names}", entry.name));
        }
        // a tunnel asks for the empty path
        let never = |pattern: &&String| !pattern.is_empty() && !pattern.starts_with(['/', '*', '?']);
        if let Some(path) = entry.path.iter().flat_map(OneOrMany::all).find(never) {
            return Err(format!("path `{path}` would never match: a path begins with `/`"));
        }
        if entry.path.as_ref().is_some_and(|paths| paths.all().is_empty()) {
            return Err(format!("allow entry `{}` would never match: its list of paths is empty", entry.name));
        }
        Ok(entry)
    }
}

impl From<AllowEntry> for Written {
    fn from(from: AllowEntry) -> Self {
        Self {
            name: from.name,
            process: from.process,
            executable: from.executable,
            args: from.args,
            parent: from.parent,
            client: from.client.map(|network| network.to_string()),
            user_agent: from.user_agent,
            shape: from.shape,
            client_name: from.client_name,
            path: from.path,
            expires: from.expires.map(|date| date.to_string()),
            comment: from.comment,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(toml: &str) -> Result<AllowEntry, toml::de::Error> {
        toml::from_str(toml)
    }

    #[test]
    fn entries_are_read_and_written_back() {
        let text = "name = \"backup\"\nclient = \"10.0.0.0/8\"\nuser_agent = \"restic/*\"\nexpires = \"2027-03-01\"\n";
        let entry = entry(text).unwrap();
        assert_eq!(toml::to_string(&entry).unwrap(), text);
    }

    #[test]
    fn entries_that_allow_everything_or_make_no_sense_are_refused() {
        for bad in [
            "name = 'x'",
            "process = 'x'",
            "name = 'x'\nclient = '10.0.0.0/33'",
            "name = 'x'\nclient = 'all'",
            "name = 'x'\npath = '/a'\nexpires = 'soon'",
            "name = 'x'\npath = '/a'\nexpires = '2026-02-31'",
            "name = 'x'\nproces = 'y'",
            "name = 'x'\npath = 'latest/meta-data/*'",
            "name = 'x'\npath = []",
        ] {
            assert!(entry(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn all_criteria_must_hold() {
        let entry = entry("name = 'a'\nclient = 'fd00::/8'\npath = '/latest/*'\nexpires = '1970-01-03'").unwrap();
        let asked = Question {
            now: Timestamp::new(86_400 * 2 - 1, 0),
            client: "fd12::1".parse().unwrap(),
            process: None,
            user_agent: None,
            client_form: None,
            path: Some("/latest/user-data"),
        };
        assert!(entry.matches(&asked));
        assert!(!entry.matches(&Question { path: Some("/x"), ..asked }));
        assert!(!entry.matches(&Question { client: "10.0.0.1".parse().unwrap(), ..asked }));
        assert!(!entry.matches(&Question { now: Timestamp::new(86_400 * 2, 0), ..asked }));
    }

    #[test]
    fn default_entries_need_a_known_process() {
        let waagent = Process { name: "WaAgent".into(), ..Process::default() };
        let asked = Question {
            now: Timestamp(0),
            client: "10.0.0.1".parse().unwrap(),
            process: None,
            user_agent: None,
            client_form: None,
            path: None,
        };
        let allowed = |asked: &Question<'_>| AllowEntry::defaults().iter().any(|entry| entry.matches(asked));
        assert!(!allowed(&asked));
        assert!(allowed(&Question { process: Some(&waagent), ..asked }));
    }

    /// A client is the same however its address is written.
    #[test]
    fn networks_cover_mapped_addresses() {
        let entry = entry("name = 'a'\nclient = '10.0.0.0/8'").unwrap();
        let asked = |client: &str| Question {
            now: Timestamp(0),
            client: client.parse().unwrap(),
            process: None,
            user_agent: None,
            client_form: None,
            path: None,
        };
        assert!(entry.matches(&asked("10.20.0.10")) && entry.matches(&asked("::ffff:10.20.0.10")));
        assert!(!entry.matches(&asked("::ffff:11.20.0.10")));
    }
}
